//! The part of the container's first process: the session, and in it the terminal.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Uid};
use rustix::io::{Errno, FdFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{InputModes, OptionalActions};

use super::super::confine::Identity;
use super::super::link::Link;
use super::super::plan::{Failure, Step};
use super::{MADE, Pty, READY};

/// Where the container's devpts makes terminals.
const PTMX: &str = "/dev/pts/ptmx";
/// Where programs look for the terminal that they were started at.
const CONSOLE: &str = "/dev/console";

/// A terminal, both sides.
#[derive(Debug)]
pub(in super::super) struct Pair {
    /// The side of who shows it.
    pub(super) master: OwnedFd,
    /// The side of the programs.
    pub(super) slave: OwnedFd,
}

/// Makes a terminal in the container, whose mounts are in place, and hands it out; returns when the caller is ready for it.
pub(in super::super) fn make(pty: &Pty, link: &Link) -> Result<Pair, Failure> {
    let pair = open(Path::new(PTMX), pty)?;
    let fail = || Step::Terminal.on(PTMX);
    let name = rustix::pty::ptsname(&pair.master, Vec::new()).map_err(fail())?;
    File::create(CONSOLE).map_err(Step::Terminal.io(CONSOLE))?;
    rustix::mount::mount_bind(name.as_c_str(), CONSOLE).map_err(Step::Terminal.on(CONSOLE))?;
    hand_out(&pair, link)?;
    Ok(pair)
}

/// The same for a runtime, among the machine's own terminals: this is the one that the runtime is at, and it makes the program's.
pub(in super::super) fn make_outside(pty: &Pty, link: &Link) -> Result<Pair, Failure> {
    let pair = open(Path::new("/dev/ptmx"), pty)?;
    hand_out(&pair, link)?;
    Ok(pair)
}

fn hand_out(pair: &Pair, link: &Link) -> Result<(), Failure> {
    link.say(MADE, &[pair.master.as_fd(), pair.slave.as_fd()]).map_err(Step::Terminal.io(PTMX))?;
    link.hear(READY).map_err(Step::Terminal.io(PTMX))?;
    Ok(())
}

fn open(ptmx: &Path, pty: &Pty) -> Result<Pair, Failure> {
    let fail = || Step::Terminal.on(ptmx);
    // The kernel makes a new one for whoever opens this.
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let master = rustix::fs::open(ptmx, flags, rustix::fs::Mode::empty()).map_err(fail())?;
    rustix::pty::unlockpt(&master).map_err(fail())?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(fail())?;
    let pair = Pair { master, slave };
    if let Some(size) = pty.size {
        rustix::termios::tcsetwinsize(&pair.master, size.into()).map_err(fail())?;
    }
    if pty.utf8 {
        let mut modes = rustix::termios::tcgetattr(&pair.slave).map_err(fail())?;
        modes.input_modes |= InputModes::IUTF8;
        rustix::termios::tcsetattr(&pair.slave, OptionalActions::Now, &modes).map_err(fail())?;
    }
    Ok(pair)
}

/// Gives the program's streams to its user, who may open them anew (`/dev/stdout`): the terminal, and pipes. Files stay their owner's.
pub(in super::super) fn give_to(identity: &Identity, terminal: Option<&Pair>) {
    let user = Some(Uid::from_raw(identity.uid));
    let pipes = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let is_pipe = |fd: &BorrowedFd<'_>| {
        let there = rustix::fs::fstat(fd);
        there.is_ok_and(|there| FileType::from_raw_mode(there.st_mode) == FileType::Fifo)
    };
    let slave = terminal.map(|pair| pair.slave.as_fd());
    for fd in pipes.into_iter().filter(is_pipe).chain(slave) {
        // What came from somebody else cannot be given away.
        let _ = rustix::fs::fchown(fd, user, None);
    }
}

/// Makes this process the leader of a new session, at `terminal` where there is one, and connects it to that.
pub(in super::super) fn enter(terminal: Option<&Pair>) -> Result<(), Errno> {
    rustix::process::setsid()?;
    let Some(pair) = terminal else { return Ok(()) };
    rustix::process::ioctl_tiocsctty(&pair.slave)?;
    connect(pair.slave.as_fd())
}

/// Has every descriptor but the three streams close when the program begins. The caller may have left some open for us that lead out
/// of the container: a folder of the host is a way to all of it (CVE-2024-21626 in runc).
pub(in super::super) fn keep_streams_only() -> std::io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if number > 2 {
            #[expect(unsafe_code, reason = "these descriptors are nobody's in this program")]
            // SAFETY: only a flag of the descriptor changes, which is open or else the call fails; nothing is closed here.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            match rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC) {
                // The list's own, which is closed by now.
                Ok(()) | Err(Errno::BADF) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}

/// Lets go of the streams that are the program's by now, so that who is at their other ends sees when the program does.
pub(in super::super) fn leave_streams() {
    // Where there is no such device, it ends with the container.
    if let Ok(null) = File::options().read(true).write(true).open(Path::new("/dev/null")) {
        let _ = connect(null.as_fd());
    }
}

fn connect(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::stdio::dup2_stdin(fd)?;
    rustix::stdio::dup2_stdout(fd)?;
    rustix::stdio::dup2_stderr(fd)
}
