//! The caller's terminal, while the program has one of its own: its size is the program's, and what is typed goes in raw.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::termios::{OptionalActions, Termios};

/// The caller's side of the program's terminal.
#[derive(Debug)]
pub(in super::super) struct Console {
    /// Which of the caller's streams shows it.
    screen: Option<BorrowedFd<'static>>,
    /// The terminal at which is typed.
    keys: Option<BorrowedFd<'static>>,
    /// The modes that the terminal had, while they are ours.
    saved: Mutex<Option<Termios>>,
    /// The program's terminal, once it is there.
    master: Mutex<Option<Arc<OwnedFd>>>,
}

impl Console {
    pub(super) fn new(screen: Option<BorrowedFd<'static>>, keys: Option<BorrowedFd<'static>>) -> Self {
        Self { screen, keys, saved: Mutex::default(), master: Mutex::default() }
    }

    /// The program's terminal is there.
    pub(super) fn connect(&self, master: Arc<OwnedFd>) {
        *locked(&self.master) = Some(master);
        self.resume();
    }

    /// The program's terminal is no more, or nobody sees it any more.
    pub(super) fn disconnect(&self) {
        self.suspend();
        *locked(&self.master) = None;
    }

    /// The size of the caller's terminal has changed.
    pub(in super::super) fn resize(&self) {
        if let (Some(screen), Some(master)) = (self.screen, &*locked(&self.master))
            && let Ok(size) = rustix::termios::tcgetwinsize(screen)
        {
            let _ = rustix::termios::tcsetwinsize(master, size);
        }
    }

    /// Takes the terminal, where this process has it and the program's is there.
    pub(in super::super) fn resume(&self) {
        self.resize();
        let Some(keys) = self.keys.filter(|keys| is_ours(*keys)) else { return };
        if locked(&self.master).is_none() {
            return;
        }
        let mut saved = locked(&self.saved);
        let Ok(modes) = rustix::termios::tcgetattr(keys) else { return };
        let mut raw = modes.clone();
        raw.make_raw();
        if rustix::termios::tcsetattr(keys, OptionalActions::Now, &raw).is_ok() {
            // Where they are ours already, those before count.
            saved.get_or_insert(modes);
        }
    }

    /// Gives the terminal back as it was.
    pub(in super::super) fn suspend(&self) {
        let Some(modes) = locked(&self.saved).take() else { return };
        // In the background another has the terminal, and its modes are that one's.
        if let Some(keys) = self.keys.filter(|keys| is_ours(*keys)) {
            let _ = rustix::termios::tcsetattr(keys, OptionalActions::Now, &modes);
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.suspend();
    }
}

/// Whether this process is in the foreground of `terminal`, or the terminal is nobody's.
fn is_ours(terminal: BorrowedFd<'_>) -> bool {
    rustix::termios::tcgetpgrp(terminal).map_or(true, |group| group == rustix::process::getpgrp())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
