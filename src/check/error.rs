//! Why something could not be checked.

use crate::image::{ImageError, ReferenceError};
use crate::layer::LayerError;
use crate::tree::TreeError;

/// An input could not be checked at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It names nothing.
    #[error("checking `{input}`")]
    Reference {
        /// As given.
        input: String,
        /// Why.
        #[source]
        source: ReferenceError,
    },
    /// The image cannot be read.
    #[error("checking the image `{input}`")]
    Image {
        /// As given.
        input: String,
        /// Why.
        #[source]
        source: Box<ImageError>,
    },
    /// The image's layers cannot be read.
    #[error("reading the layers of `{input}`")]
    Layers {
        /// As given.
        input: String,
        /// Why.
        #[source]
        source: Box<LayerError>,
    },
    /// The folder or file cannot be read.
    #[error("checking `{input}`")]
    Tree {
        /// As given.
        input: String,
        /// Why.
        #[source]
        source: TreeError,
    },
    /// There is nothing to hold it against.
    #[error("nothing says what `{input}` is meant for")]
    NoTarget {
        /// As given.
        input: String,
    },
    /// Nothing in it is a program.
    #[error("`{input}` holds no program, and no library")]
    Empty {
        /// As given.
        input: String,
    },
}

impl CheckError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoTarget { .. } => Some(
                "files alone have no platform: give `--target`, such as `--target linux/arm64`, or `--target all`; a root file \
                 system is taken for one with `--root`"
                    .into(),
            ),
            Self::Empty { .. } => Some("check the path: what is meant may not have been built".into()),
            _ => None,
        }
    }
}
