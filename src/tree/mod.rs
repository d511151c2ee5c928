//! Read-only views of files, whichever form they come in: a file, a directory, a tar stream.
//!
//! [`identify`] tells what every program in such a view is. It never follows a symbolic link beneath an input,
//! never opens what is no regular file, and turns whatever goes wrong with one file into a record of its own.
//!
//! [`root`] shows a root file system as the programs in it see it, and [`libraries`] finds what their loader finds there.

mod archive;
mod content;
mod directory;
mod identify;
pub mod libraries;
pub(crate) mod metered;
mod mounts;
mod path;
mod record;
pub mod root;
pub(crate) mod sparse;

pub use archive::is_tar_header;
pub(crate) use archive::with_reader;
pub use identify::{identify, identify_stream};
pub use mounts::{Mount, mount_of, mounts};
pub(crate) use path::{by_name, normalized};
pub use record::{Content, Record};

use std::io;
use std::path::PathBuf;

/// An input could not be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// It cannot be opened.
    #[error("opening `{}`", path.display())]
    Open {
        /// As given.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is a fifo, a socket or a device.
    #[error("`{}` is a {what}, which is not read", path.display())]
    Special {
        /// As given.
        path: PathBuf,
        /// `fifo`, `socket`, `character device`, `block device`.
        what: &'static str,
    },
    /// The input broke off.
    #[error("reading `{}`", path.display())]
    Read {
        /// As given.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl TreeError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Special { what: "fifo", .. } => {
                Some("give `-` to read a stream from standard input".into())
            }
            Self::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run as a user who may read it".into())
            }
            _ => None,
        }
    }
}
