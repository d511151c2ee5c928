//! Which of the caller's streams the program gets, and the threads that copy where it cannot get them as they are.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::isatty;

use super::super::SandboxError;
use super::super::copying::{Event, copy, drain};
use super::super::link::Link;
use super::{Console, MADE, Pty, READY, Terminal};

/// The streams, as they will be.
#[derive(Debug)]
pub(in super::super) struct Streams {
    wanted: Terminal,
    pty: Option<Pty>,
    console: Option<Arc<Console>>,
    /// The end of the program's standard input into which is copied.
    input: Option<PipeWriter>,
    /// The ends of its output that are copied, and where to.
    outputs: Vec<(PipeReader, BorrowedFd<'static>)>,
    /// What takes all of its output, in place of what the caller has.
    taken: Option<PipeWriter>,
}

/// The copying, until it has ended.
#[derive(Debug)]
pub(in super::super) struct Running {
    wanted: Terminal,
    console: Option<Arc<Console>>,
    ended: Arc<Event>,
    /// The end of the program's standard input into which is copied.
    input: Option<PipeWriter>,
    /// Where to is copied.
    outputs: Vec<BorrowedFd<'static>>,
    /// Whether it has nothing of the caller's.
    is_taken: bool,
    threads: Vec<JoinHandle<()>>,
}

impl Streams {
    /// Looks at what the caller has.
    pub(in super::super) fn new(wanted: Terminal, taken: Option<PipeWriter>) -> Result<Self, SandboxError> {
        let mut streams = Self { wanted, pty: None, console: None, input: None, outputs: Vec::new(), taken };
        if wanted.tty {
            if wanted.interactive && !isatty(stdin()) {
                return Err(SandboxError::NoTerminal);
            }
            let screen = [stdin(), stdout(), stderr()].into_iter().find(|fd| isatty(fd));
            let keys = wanted.interactive.then(stdin);
            streams.pty = Some(Pty::like(screen));
            streams.console = Some(Arc::new(Console::new(screen, keys)));
        }
        Ok(streams)
    }

    /// What the container's first process is to make.
    pub(in super::super) fn pty(&self) -> Option<Pty> {
        self.pty
    }

    /// The caller's terminal, where the program has one of its own.
    pub(in super::super) fn console(&self) -> Option<Arc<Console>> {
        self.console.clone()
    }

    /// Gives `command` its streams.
    pub(in super::super) fn give(&mut self, command: &mut Command) -> io::Result<()> {
        if self.wanted.tty {
            command.stdin(Stdio::null()).stdout(Stdio::null());
            return Ok(());
        }
        if let Some(taken) = &self.taken {
            command.stdin(Stdio::null()).stdout(taken.try_clone()?).stderr(taken.try_clone()?);
            return Ok(());
        }
        if !self.wanted.interactive {
            command.stdin(Stdio::null());
        } else if isatty(stdin()) {
            let (theirs, ours) = io::pipe()?;
            command.stdin(theirs);
            self.input = Some(ours);
        }
        let same = is_same_terminal(stdout(), stderr());
        let mut shared = None;
        if isatty(stdout()) {
            let (ours, theirs) = io::pipe()?;
            // One pipe for both keeps what is written in its order.
            shared = same.then(|| theirs.try_clone()).transpose()?;
            command.stdout(theirs);
            self.outputs.push((ours, stdout()));
        }
        if let Some(theirs) = shared {
            command.stderr(theirs);
        } else if isatty(stderr()) {
            let (ours, theirs) = io::pipe()?;
            command.stderr(theirs);
            self.outputs.push((ours, stderr()));
        }
        Ok(())
    }

    /// Begins to copy what comes out, now that the process that was given them has started.
    pub(in super::super) fn begin(self, link: Arc<Link>) -> io::Result<Running> {
        let Self { wanted, console, input, outputs, taken, .. } = self;
        let ended = Arc::new(Event::new()?);
        let (is_taken, threads) = (taken.is_some(), Vec::new());
        let mut running = Running { wanted, console, ended, input, outputs: Vec::new(), is_taken, threads };
        if let Some(console) = &running.console {
            let (console, ended) = (Arc::clone(console), Arc::clone(&running.ended));
            running.threads.push(spawn("terminal", move || {
                let _ = show(&console, &link, wanted.interactive, &ended);
                // Closing it hangs up on the programs that are still there.
                console.disconnect();
            })?);
        }
        for (reader, to) in outputs {
            running.outputs.push(to);
            running.threads.push(spawn("output", move || {
                if let Ok(never) = Event::new() {
                    let _ = copy(reader, to, &never);
                }
            })?);
        }
        Ok(running)
    }
}

impl Running {
    /// The program has them now: begins to copy what goes in, and lets go of what it has got as it is.
    pub(in super::super) fn let_go(&mut self) -> io::Result<()> {
        if self.console.is_some() || self.is_taken {
            return Ok(());
        }
        let null = File::options().read(true).write(true).open("/dev/null")?;
        if let Some(writer) = self.input.take() {
            let ended = Arc::clone(&self.ended);
            self.threads.push(spawn("input", move || {
                let _ = copy(stdin(), writer, &ended);
            })?);
        } else if self.wanted.interactive {
            rustix::stdio::dup2_stdin(&null)?;
        }
        if !self.outputs.iter().any(|to| to.as_raw_fd() == stdout().as_raw_fd()) {
            rustix::stdio::dup2_stdout(&null)?;
        }
        Ok(())
    }

    /// Waits, after the container has ended, until all that it wrote has been shown.
    pub(in super::super) fn finish(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What comes out ends by itself, after the last of it.
        self.ended.happen();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        if let Some(console) = &self.console {
            console.suspend();
        }
    }
}

/// Copies between the caller's streams and the program's terminal, which comes through `link`.
fn show(console: &Arc<Console>, link: &Link, interactive: bool, ended: &Arc<Event>) -> io::Result<()> {
    let fds = link.hear(MADE)?;
    // The programs' side stays open here: a program may let go of its terminal, and another take it later.
    let Ok([master, _slave]) = <[_; 2]>::try_from(fds) else { return Err(io::ErrorKind::InvalidData.into()) };
    rustix::io::ioctl_fionbio(&master, true)?;
    let master = Arc::new(master);
    console.connect(Arc::clone(&master));
    link.say(READY, &[])?;
    std::thread::scope(|scope| {
        if interactive {
            scope.spawn(|| copy(stdin(), &*master, ended));
        }
        let shown = drain(&*master, stdout(), ended);
        ended.happen();
        shown
    })
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}

/// Whether both are one terminal.
fn is_same_terminal(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let device = |fd| rustix::fs::fstat(fd).ok().map(|there| there.st_rdev);
    isatty(one) && isatty(other) && device(one) == device(other)
}
