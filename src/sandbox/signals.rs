//! Signals that this program gets while a container runs: they are the container's.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal};
use signal_hook::consts::signal::{
    SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::Cause;

use super::procfs;

/// The signals that are passed on.
pub(super) const FORWARDED: &[i32] =
    &[SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH];

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
}

#[derive(Debug)]
struct Target {
    pid: Pid,
    fd: OwnedFd,
    /// Whether it is the first process of a process id namespace, for which the kernel discards signals.
    is_first: bool,
}

impl Signals {
    /// Begins to catch signals.
    ///
    /// # Errors
    /// Where the system grants no handler or thread.
    pub fn catch() -> io::Result<Self> {
        // What is ignored, as by nohup, stays so for the program: a handler would not pass on.
        let ignored = procfs::ignored_signals();
        let caught = FORWARDED.iter().filter(|signal| !ignored(**signal));
        let mut signals = SignalsInfo::<WithOrigin>::new(caught)?;
        let handle = signals.handle();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
            for origin in &mut signals {
                // The terminal sends to every process of the foreground, the container's among them.
                let reached_it = matches!(origin.cause, Cause::Kernel);
                locked(&shared).take(origin.signal, reached_it);
            }
        })?;
        Ok(Self { state, handle, thread: Some(thread) })
    }

    /// The signal that asked this program to end.
    #[must_use]
    pub fn interrupted(&self) -> Option<i32> {
        locked(&self.state).deadly
    }

    /// Passes signals on to the process `pid`, a child of `parent` and the first process of a container, from now on.
    pub(super) fn pass_on_to(&self, pid: Pid, parent: Pid) {
        self.pass_on(pid, parent, true);
    }

    /// Passes signals on to the process `pid`, a child of `parent`, from now on.
    pub(super) fn pass_on_as_they_are(&self, pid: Pid, parent: Pid) {
        self.pass_on(pid, parent, false);
    }

    fn pass_on(&self, pid: Pid, parent: Pid, is_first: bool) {
        let Ok(fd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
        // The process may have ended and its number be another's by now.
        if procfs::parent(pid) != Some(parent) {
            return;
        }
        let mut state = locked(&self.state);
        let target = Target { pid, fd, is_first };
        // The kernel would discard any other for a first process that has not begun its program.
        match state.deadly.and_then(Signal::from_named_raw) {
            Some(_) if is_first => target.send(Signal::KILL),
            Some(signal) => target.send(signal),
            None => {}
        }
        state.target = Some(target);
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
    fn take(&mut self, signal: i32, reached_it: bool) {
        let Some(target) = &self.target else {
            if !matches!(signal, SIGCONT | SIGWINCH) {
                self.deadly = Some(signal);
            }
            return;
        };
        if target.is_first && procfs::takes_default(target.pid, signal) {
            // The kernel discards it, since the container's first process has no handler for it.
            target.send(Signal::KILL);
            self.deadly = Some(signal);
        } else if !reached_it && let Some(signal) = Signal::from_named_raw(signal) {
            target.send(signal);
        }
    }
}

impl Target {
    fn send(&self, signal: Signal) {
        // It may have ended a moment ago.
        let _ = rustix::process::pidfd_send_signal(&self.fd, signal);
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
