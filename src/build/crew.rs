//! How many of a build do something at once.

use std::sync::{Condvar, Mutex, PoisonError};

/// So many may be at work at once; others wait.
#[derive(Debug)]
pub(super) struct Crew {
    free: Mutex<usize>,
    changed: Condvar,
}

/// One of them at work, until this goes.
#[derive(Debug)]
pub(super) struct AtWork<'a>(&'a Crew);

impl Crew {
    pub(super) fn new(size: usize) -> Self {
        Self { free: Mutex::new(size.max(1)), changed: Condvar::new() }
    }

    pub(super) fn join(&self) -> AtWork<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free =
            self.changed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        AtWork(self)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.changed.notify_one();
    }
}
