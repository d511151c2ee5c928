//! Why a registry did not do what it should.

use std::io;
use std::path::PathBuf;

use crate::layer::Digest;

/// A registry, or what leads to it, failed us.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A text is no image's name.
    #[error("`{name}` is no image's name: {reason}")]
    Name {
        /// As given.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// `registries.conf` forbids it.
    #[error("`{name}` is not used, for `registries.conf` blocks `{prefix}`")]
    Blocked {
        /// The image.
        name: String,
        /// What is blocked.
        prefix: String,
    },
    /// A file could not be read.
    #[error("reading `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A `registries.conf` is wrong.
    #[error("`{}` is no `registries.conf`", path.display())]
    Registries {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A file of credentials is wrong. The parser's own words may show a secret, so only the place is told.
    #[error("`{}` is no file of credentials: line {line}, column {column}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A credential helper failed.
    #[error("`{helper}` did not give the credentials for `{registry}`: {reason}")]
    Helper {
        /// The program.
        helper: String,
        /// The host.
        registry: String,
        /// Why.
        reason: String,
    },
    /// A certificate or key cannot be used.
    #[error("`{}` cannot be used: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// A proxy's address is wrong; it may hold a password, so it is not shown.
    #[error("the {what} proxy's address is no URL of a proxy")]
    Proxy {
        /// `http` or `https`.
        what: &'static str,
    },
    /// No answer came.
    #[error("{method} `{url}`")]
    Transport {
        /// The request's method.
        method: &'static str,
        /// Without its parameters.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// An answer broke off.
    #[error("receiving `{url}`")]
    Receive {
        /// Without its parameters.
        url: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is to be sent cannot be read.
    #[error("reading what is to be sent to `{repository}`")]
    Content {
        /// Where it goes.
        repository: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The registry refused.
    #[error("{method} `{url}`: the registry answered {status}{told}")]
    Status {
        /// The request's method.
        method: &'static str,
        /// Without its parameters.
        url: String,
        /// HTTP's status.
        status: u16,
        /// `: ` and its own words, or nothing.
        told: String,
    },
    /// The registry wants to know who we are, or knows and does not let us.
    #[error("`{registry}` does not let us in{told}")]
    Unauthorized {
        /// The host.
        registry: String,
        /// `: ` and its own words, or nothing.
        told: String,
        /// Whether we have credentials for it.
        known: bool,
    },
    /// The image is not there.
    #[error("`{name}` is not there{told}")]
    NotFound {
        /// The image or blob.
        name: String,
        /// `: ` and the registry's words, or nothing.
        told: String,
    },
    /// An answer is not what the specification says.
    #[error("`{url}` is not answered as a registry does: {reason}")]
    Answer {
        /// Without its parameters.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// What came, or what was to be sent, is another than its digest says.
    #[error("{what} is not what it should be: expected {expected}, found {found}")]
    Digest {
        /// What.
        what: String,
        /// As it should be.
        expected: Digest,
        /// As it is.
        found: Digest,
    },
    /// What came, or what was to be sent, is of another size than it should be.
    #[error("{what} has {found} bytes, where it should have {expected}")]
    Size {
        /// What.
        what: String,
        /// In bytes.
        expected: u64,
        /// In bytes.
        found: u64,
    },
}

impl RegistryError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unauthorized { registry, known: false, .. } => {
                Some(format!("log in with `podman login {registry}` or `docker login {registry}`, or give `--creds USER:PASSWORD`"))
            }
            Self::Unauthorized { registry, known: true, .. } => {
                Some(format!("the credentials for `{registry}` are wrong or have not this right"))
            }
            Self::Transport { source, .. } if is_about_certificates(source) => Some(
                "give the registry's root certificate with `--cert-dir DIR`, or do not check with `--tls-verify=false`"
                    .into(),
            ),
            Self::Blocked { .. } => Some("see `blocked` in containers-registries.conf(5)".into()),
            Self::Status { status: 429, .. } => Some("the registry's limit is reached; log in or wait".into()),
            Self::Transport { .. } => Some(
                "is the registry's name right, and can this machine reach it? One without HTTPS needs `--tls-verify=false`, \
                 and a proxy `https_proxy`"
                    .into(),
            ),
            Self::NotFound { .. } => {
                Some("is the name and its tag right? A registry may say so also of what it hides from strangers".into())
            }
            Self::Digest { .. } | Self::Size { .. } => Some("the image or its transfer is damaged; try again".into()),
            _ => None,
        }
    }

    /// Whether another try, or another mirror, may go better.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Transport { source, .. } => {
                !is_about_certificates(source)
                    && matches!(
                        **source,
                        ureq::Error::Io(_)
                            | ureq::Error::Timeout(_)
                            | ureq::Error::ConnectionFailed
                            | ureq::Error::BodyStalled
                            | ureq::Error::Protocol(_)
                    )
            }
            Self::Receive { .. } => true,
            Self::Status { status, .. } => is_passing(*status),
            _ => false,
        }
    }
}

/// Whether a status tells of a failure that may pass.
pub(crate) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502..=504)
}

fn is_about_certificates(err: &ureq::Error) -> bool {
    // The type of the cause is of a library that we do not name.
    err.to_string().contains("certificate")
}
