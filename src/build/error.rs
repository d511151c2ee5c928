//! Why a build fails.

use crate::containerfile::{ContainerfileError, Position};

/// A build that cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The Containerfile cannot be understood, or asks for what is not there.
    #[error("{0}")]
    File(#[from] ContainerfileError),
}

impl BuildError {
    pub(super) fn at(at: Position, message: impl Into<String>) -> Self {
        Self::File(ContainerfileError::new(at, message))
    }

    pub(super) fn hinted(at: Position, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::File(ContainerfileError::new(at, message).hint(hint))
    }

    /// Where in the Containerfile, if it is there.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::File(err) => Some(err.at),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(err) => err.hint.clone(),
        }
    }
}
