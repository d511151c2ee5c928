//! Why a volume cannot be had.

use std::io;
use std::path::PathBuf;

/// A volume is not right, or its source is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// The text cannot be understood.
    #[error("the volume `{text}`: {reason}")]
    Syntax {
        /// As given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name stands where a path must.
    #[error("the volume `{text}`: `{name}` is a named volume, and polyarch keeps none")]
    Named {
        /// As given.
        text: String,
        /// The volume's name.
        name: String,
    },
    /// The source is not to be had.
    #[error("`{}`, which is to be mounted in the container", path.display())]
    Source {
        /// The path of this machine.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The source was missing and cannot be made.
    #[error("making the folder `{}`, which is to be mounted in the container", path.display())]
    Make {
        /// The path of this machine.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl VolumeError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Syntax { .. } => Some(
                "volumes are given as `-v SOURCE:TARGET[:ro]`, `--tmpfs TARGET[:OPTIONS]` or `--mount type=bind,src=SOURCE,dst=TARGET`"
                    .into(),
            ),
            Self::Named { name, .. } => {
                Some(format!("give a folder of this machine, as in `-v ./{name}:TARGET`"))
            }
            Self::Source { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("make it first; `-v` makes a missing folder by itself".into())
            }
            Self::Source { .. } | Self::Make { .. } => None,
        }
    }
}
