//! `--init`: this program stays as the container's first process. It passes signals on to the container's program, which then is an
//! ordinary process to the kernel, and reaps what that one leaves.

use std::fmt;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus};

use super::{signals, terminal};

/// Which of the two this process is from now on.
#[derive(Debug)]
pub(super) enum Part {
    /// The one that is to become the program.
    Program,
    /// The first process, whose program is the other.
    Init(Init),
}

/// The first process, once the program's process is there.
#[derive(Debug)]
pub(super) struct Init {
    program: Pid,
    /// What it waits for, and keeps from acting otherwise.
    signals: Set,
}

/// A set of signals.
#[derive(Clone, Copy)]
struct Set(libc::sigset_t);

/// Makes a second process of this one, which must have one thread.
pub(super) fn divide() -> Result<Part, Errno> {
    let signals = Set::all();
    // Signals that come from here on wait for whichever process they are for.
    let before = signals.block()?;
    #[expect(unsafe_code, reason = "no safe way to divide a process")]
    // SAFETY: this process has one thread, so the new one finds no lock taken and nothing half done.
    let pid = unsafe { libc::fork() };
    match Pid::from_raw(pid) {
        Some(program) if pid > 0 => Ok(Part::Init(Init { program, signals })),
        _ if pid == 0 => before.block().map(|_| Part::Program),
        _ => Err(last_error()),
    }
}

impl Init {
    /// Does what a first process does until the program has ended; gives the program's status as a shell would.
    pub(super) fn run(self) -> u8 {
        terminal::leave_streams();
        // What is in its memory is nothing of the program's.
        let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
        loop {
            if let Some(status) = self.reap() {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                let code = signal.or(status.exit_status()).unwrap_or_default();
                return u8::try_from(code).unwrap_or(u8::MAX);
            }
            match self.signals.wait() {
                libc::SIGCHLD => {}
                signal => self.pass_on(signal),
            }
        }
    }

    /// Reaps all that have ended; gives the program's status where it is among them.
    fn reap(&self) -> Option<WaitStatus> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.program => return Some(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// What the keys of a terminal send, and what stops a job, is for all of the program's process group.
    fn pass_on(&self, signal: i32) {
        let Some(signal) = signals::named(signal) else { return };
        let _ = match signal {
            // The kernel would discard it for a group that is nobody's job.
            Signal::TSTP => rustix::process::kill_process_group(self.program, Signal::STOP),
            Signal::CONT | Signal::INT | Signal::QUIT => {
                rustix::process::kill_process_group(self.program, signal)
            }
            _ => rustix::process::kill_process(self.program, signal),
        };
    }
}

impl Set {
    /// All but those that the C library keeps for itself.
    fn all() -> Self {
        let mut set = std::mem::MaybeUninit::uninit();
        #[expect(unsafe_code, reason = "no safe way to make a set of signals")]
        // SAFETY: the call makes the set whole, and cannot fail.
        let set = unsafe {
            libc::sigfillset(set.as_mut_ptr());
            set.assume_init()
        };
        Self(set)
    }

    /// Keeps these signals, and no others, waiting; gives those that were until now.
    fn block(&self) -> Result<Self, Errno> {
        let mut before = Self::all();
        #[expect(unsafe_code, reason = "no safe way to block signals")]
        // SAFETY: both are whole sets, which the call does not keep.
        let result = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.0, &raw mut before.0) };
        if result == 0 { Ok(before) } else { Err(last_error()) }
    }

    /// Waits for one of them, which are blocked.
    fn wait(&self) -> i32 {
        let mut signal = 0;
        #[expect(unsafe_code, reason = "no safe way to wait for a blocked signal")]
        // SAFETY: the set is whole, and both live until the call returns. It fails for a wrong set only.
        unsafe {
            libc::sigwait(&raw const self.0, &raw mut signal);
        }
        signal
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Set")
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::AGAIN)
}
