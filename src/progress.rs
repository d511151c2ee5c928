//! How work that can take over a second reports to whoever started it.
//!
//! The library never prints: it tells a [`Progress`], and the program draws it. Nothing here knows
//! of terminals.

use std::fmt;

/// Receives what long work has to say while it goes on.
pub trait Progress: Sync + fmt::Debug {
    /// Begins one piece of work of `total` bytes, or of unknown size.
    fn begin(&self, label: &str, total: Option<u64>) -> Box<dyn Task>;

    /// One sentence that the user may want to know, such as which of several ways was taken.
    fn note(&self, message: &str);

    /// One sentence that the user must know: something that was asked for is not done, or something was changed.
    fn warn(&self, message: &str) {
        self.note(message);
    }
}

/// One piece of work in progress. Dropping it ends it.
pub trait Task: Send + fmt::Debug {
    /// `bytes` more are done.
    fn advance(&self, bytes: u64);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _label: &str, _total: Option<u64>) -> Box<dyn Task> {
        Box::new(Silent)
    }

    fn note(&self, _message: &str) {}
}

impl Task for Silent {
    fn advance(&self, _bytes: u64) {}
}
