//! Why files cannot be had from a context.

use std::io;
use std::path::PathBuf;

use crate::containerfile::GlobError;
use crate::image::registry::RegistryError;
use crate::layer::{Digest, LayerError, ParseDigestError};

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
    #[error(transparent)]
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

/// What `ADD` takes from an address cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// A `--checksum` that is none.
    #[error("`--checksum` cannot be understood")]
    Checksum {
        /// Why.
        source: ParseDigestError,
    },
    /// What came is not what it should be.
    #[error("`{url}` is not what `--checksum` says: expected {expected}, found {found}")]
    Digest {
        /// The address.
        url: String,
        /// As the Containerfile says.
        expected: Digest,
        /// As it is.
        found: Digest,
    },
    /// It cannot be asked for.
    #[error("cannot fetch `{url}`")]
    Unreachable {
        /// The address.
        url: String,
        /// Why.
        source: Box<RegistryError>,
    },
    /// No answer came.
    #[error("cannot fetch `{url}`")]
    Transfer {
        /// The address.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// An answer broke off.
    #[error("cannot receive `{url}`")]
    Receive {
        /// The address.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// The server has it not, or does not give it.
    #[error("cannot fetch `{url}`: the server answered {status}")]
    Status {
        /// The address.
        url: String,
        /// HTTP's status.
        status: u16,
    },
    /// An answer that makes no sense.
    #[error("cannot fetch `{url}`: {reason}")]
    Answer {
        /// The address.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// It cannot be kept.
    #[error("cannot write `{}`", .path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no git.
    #[error("a repository is fetched by the program `git`, which is not there")]
    NoGit,
    /// git cannot do it.
    #[error("git cannot fetch `{url}`: {reason}")]
    Git {
        /// The address.
        url: String,
        /// What it says.
        reason: String,
    },
    /// What is in a repository cannot be had.
    #[error(transparent)]
    Context(#[from] ContextError),
}

impl RemoteError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Checksum { .. } => Some("as in `--checksum=sha256:…`".into()),
            Self::Digest { found, .. } => {
                Some(format!("if the file was changed on purpose, the new checksum is `{found}`"))
            }
            Self::Unreachable { source, .. } => source.hint(),
            Self::Transfer { .. } | Self::Receive { .. } => Some(
                "is the address right, and can this machine reach it? A proxy is given by `https_proxy`"
                    .into(),
            ),
            Self::Status { status: 404 | 410, .. } => Some("is the address right?".into()),
            Self::NoGit => Some("install it, or copy the files into the context".into()),
            Self::Context(err) => err.hint(),
            Self::Status { .. } | Self::Answer { .. } | Self::Write { .. } | Self::Git { .. } => None,
        }
    }
}

/// A path as messages show it.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string()
}
