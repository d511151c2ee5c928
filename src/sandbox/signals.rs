//! Signals that this program gets while a container runs: they are the container's.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal};
use signal_hook::consts::signal::{
    SIGABRT, SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGSYS, SIGTERM, SIGTRAP, SIGTSTP,
    SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH, SIGXCPU, SIGXFSZ,
};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::Cause;

use super::procfs;
use super::terminal::Console;

/// The signals that are passed on, besides the real-time ones.
///
/// Not among them are what cannot be caught, what tells this process of its own faults, children and pipes, and what stops a process in
/// the background that would use the terminal.
const NAMED: &[i32] = &[
    SIGABRT,
    SIGALRM,
    SIGCONT,
    SIGHUP,
    SIGINT,
    SIGIO,
    SIGPROF,
    SIGQUIT,
    SIGSYS,
    SIGTERM,
    SIGTRAP,
    SIGTSTP,
    SIGUSR1,
    SIGUSR2,
    SIGVTALRM,
    SIGWINCH,
    SIGXCPU,
    SIGXFSZ,
    libc::SIGPWR,
    libc::SIGSTKFLT,
];

/// The signals that are passed on and are not ignored here: what is ignored, as by nohup, stays so for the program. A handler would not
/// pass on.
pub(super) fn caught() -> impl Iterator<Item = i32> {
    let ignored = procfs::ignored_signals();
    NAMED.iter().copied().chain(libc::SIGRTMIN()..=libc::SIGRTMAX()).filter(move |signal| !ignored(*signal))
}

/// Catches signals from its making to its end.
///
/// Before a container's program is there, a signal that would end this program ends the preparation:
/// see [`Signals::interrupted`]. After, it is passed on.
#[derive(Debug)]
pub struct Signals {
    state: Arc<Mutex<State>>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// The signal that ended the preparation, or that the container was killed for.
    deadly: Option<i32>,
    target: Option<Target>,
    /// Containers that run side by side, which end where this program is asked to.
    steps: Vec<Target>,
    /// The terminal that the program has in the place of ours.
    console: Option<Arc<Console>>,
}

#[derive(Debug)]
struct Target {
    pid: Pid,
    fd: OwnedFd,
    role: Role,
}

/// What a process is to which signals are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A command in our own session, which the terminal reaches itself.
    Command,
    /// The program of a container and the first process of its process id namespace, for which the kernel discards signals. It leads a
    /// process group, which no terminal of ours reaches.
    First,
    /// A container's first process that passes everything on to the program and its process group.
    Init,
    /// The program of one of several containers, none of which gets signals: they end it.
    Step,
}

impl Signals {
    /// Begins to catch signals.
    ///
    /// # Errors
    /// Where the system grants no handler or thread.
    pub fn catch() -> io::Result<Self> {
        let mut signals = SignalsInfo::<WithOrigin>::new(caught())?;
        let handle = signals.handle();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
            for origin in &mut signals {
                // The terminal sends to every process of the foreground.
                let from_terminal = matches!(origin.cause, Cause::Kernel);
                let stop = locked(&shared).take(origin.signal, from_terminal);
                if stop {
                    // The state is open meanwhile. What comes first afterwards is the signal to go on.
                    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
                }
            }
        })?;
        Ok(Self { state, handle, thread: Some(thread) })
    }

    /// The signal that asked this program to end.
    #[must_use]
    pub fn interrupted(&self) -> Option<i32> {
        locked(&self.state).deadly
    }

    /// The size of our terminal, and who has it, are that console's matter from now on.
    pub(super) fn show_on(&self, console: Option<Arc<Console>>) {
        locked(&self.state).console = console;
    }

    /// Passes signals on to the process `pid`, a child of `parent`, from now on.
    pub(super) fn pass_on_to(&self, pid: Pid, parent: Pid, role: Role) {
        let Ok(fd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
        // The process may have ended and its number be another's by now.
        if procfs::parent(pid) != Some(parent) {
            return;
        }
        let mut state = locked(&self.state);
        let target = Target { pid, fd, role };
        if role == Role::Step {
            if state.deadly.is_some() {
                target.send(Signal::KILL);
            }
            state.steps.push(target);
            return;
        }
        match state.deadly {
            // The kernel would discard any other for a first process that has not begun its program.
            Some(_) if role != Role::Command => target.send(Signal::KILL),
            Some(signal) => target.send_number(signal),
            None => {}
        }
        state.target = Some(target);
    }

    /// The process `pid`, a [`Role::Step`], has ended.
    pub(super) fn forget(&self, pid: Pid) {
        locked(&self.state).steps.retain(|step| step.pid != pid);
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    /// Does what `signal` asks for; gives whether this process is to stop now.
    fn take(&mut self, signal: i32, from_terminal: bool) -> bool {
        match (&self.console, signal) {
            (Some(console), SIGWINCH) => {
                // The program's terminal tells the program.
                console.resize();
                return false;
            }
            (Some(console), SIGCONT) => console.resume(),
            (Some(console), SIGTSTP) => console.suspend(),
            _ => {}
        }
        let Some(target) = &self.target else {
            if !matches!(signal, SIGCONT | SIGWINCH | SIGTSTP) {
                self.deadly = Some(signal);
                for step in &self.steps {
                    step.send(Signal::KILL);
                }
            }
            return signal == SIGTSTP;
        };
        match (signal, target.role) {
            (SIGTSTP, Role::Command) => {
                if !from_terminal {
                    target.send(Signal::TSTP);
                }
                return true;
            }
            // At a terminal of its own it is stopped there.
            (SIGTSTP, _) if self.console.is_some() => return true,
            (SIGTSTP, Role::First) => {
                if procfs::catches(target.pid, SIGTSTP) {
                    target.send(Signal::TSTP);
                    return false;
                }
                target.send_group(Signal::STOP);
                return true;
            }
            (SIGTSTP, Role::Init) => {
                target.send(Signal::TSTP);
                return true;
            }
            (SIGCONT, Role::First) => target.send_group(Signal::CONT),
            (_, Role::First) if procfs::takes_default(target.pid, signal) => {
                // The kernel discards it, since the container's first process has no handler for it.
                target.send(Signal::KILL);
                self.deadly = Some(signal);
            }
            // As it would have been in our session.
            (_, Role::First) if from_terminal => {
                if let Some(signal) = Signal::from_named_raw(signal) {
                    target.send_group(signal);
                }
            }
            (_, Role::Command) if from_terminal => {}
            _ => target.send_number(signal),
        }
        false
    }
}

impl Target {
    fn send(&self, signal: Signal) {
        // It may have ended a moment ago.
        let _ = rustix::process::pidfd_send_signal(&self.fd, signal);
    }

    fn send_number(&self, signal: i32) {
        if let Some(signal) = named(signal) {
            self.send(signal);
        }
    }

    /// To all of the group that it leads, if it does already.
    fn send_group(&self, signal: Signal) {
        if rustix::process::getpgid(Some(self.pid)) == Ok(self.pid) {
            let _ = rustix::process::kill_process_group(self.pid, signal);
        }
    }
}

/// The signal of that number, which is one that we catch.
pub(super) fn named(signal: i32) -> Option<Signal> {
    let real_time = || {
        #[expect(unsafe_code, reason = "no safe way to name a real-time signal")]
        // SAFETY: it is none that the C library keeps for itself, for those are beneath SIGRTMIN.
        let signal = unsafe { Signal::from_raw_unchecked(signal) };
        signal
    };
    Signal::from_named_raw(signal)
        .or_else(|| (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&signal).then(real_time))
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
