//! Why files cannot be had from a context.

use std::io;
use std::path::PathBuf;

use crate::containerfile::GlobError;
use crate::layer::LayerError;

/// Files that an instruction names cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// The folder cannot be opened.
    #[error("cannot open the folder `{}`", .path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or folder in it cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// Its path in the context.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There is nothing of that name.
    #[error("`{path}` is not there")]
    Missing {
        /// The name, as it was asked for.
        path: String,
        /// What else is known of it.
        why: Why,
    },
    /// A pattern that cannot be understood.
    #[error("{0}")]
    Pattern(#[from] GlobError),
    /// A line of an ignore file that cannot be understood.
    #[error("line {line} of `{file}` cannot be understood")]
    Ignore {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: GlobError,
    },
    /// More than is good.
    #[error("`{path}` has more than {limit} {what}")]
    TooMuch {
        /// Where.
        path: String,
        /// Of what.
        what: &'static str,
        /// The most there may be.
        limit: u64,
    },
    /// A file is not what it was when it was looked at.
    #[error("`{path}` changes while it is read")]
    Changed {
        /// Which.
        path: String,
    },
    /// A context that comes as an archive cannot be unpacked.
    #[error("cannot unpack the context that came as an archive")]
    Unpack {
        /// Why.
        source: LayerError,
    },
}

/// What is known of a name that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Nothing.
    Unknown,
    /// It is there, and an ignore file leaves it out.
    Ignored,
    /// A symbolic link on the way leads out, and is followed as if the context were all there is.
    LedOut {
        /// The link.
        link: String,
    },
    /// Something of a similar name is there.
    Similar {
        /// Its name.
        name: String,
    },
}

impl ContextError {
    pub(super) fn read(path: &[u8], source: impl Into<io::Error>) -> Self {
        let path = if path.is_empty() { ".".into() } else { shown(path) };
        Self::Read { path, source: source.into() }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Open { .. } => Some("the context is a folder, or an archive on the standard input".into()),
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("make it readable, or leave it out by a line in `.dockerignore`".into())
            }
            Self::Missing { why, .. } => Some(match why {
                Why::Unknown => "paths are seen from the context, which the command line names last".into(),
                Why::Ignored => {
                    "the ignore file leaves it out; a line that begins with `!` takes it back".into()
                }
                Why::LedOut { link } => format!(
                    "the link `{link}` leads out of the context, and nothing is copied from there: put the file itself into the context"
                ),
                Why::Similar { name } => format!("did you mean `{name}`?"),
            }),
            Self::TooMuch { .. } => Some("leave out what is not needed by `.dockerignore`".into()),
            Self::Changed { .. } => Some("build again when nothing writes to the context".into()),
            Self::Unpack { source } => source.hint(),
            Self::Read { .. } | Self::Pattern(_) | Self::Ignore { .. } => None,
        }
    }
}

/// A path as messages show it.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string()
}
