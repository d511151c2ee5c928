//! What can go wrong between a mirror and a file of a package.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::Sha256;

/// Something could not be had from Debian's archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebianError {
    /// The address of a mirror, or of a proxy, is none.
    #[error("`{address}` is no address of a {what}: {reason}")]
    Address {
        /// `mirror` or `proxy`.
        what: &'static str,
        /// As given.
        address: String,
        /// Why not.
        reason: &'static str,
    },
    /// A server could not be reached, or broke off, as often as it was tried.
    #[error("fetching `{url}`")]
    Transfer {
        /// What was fetched.
        url: String,
        /// Why the last try failed.
        #[source]
        source: Box<ureq::Error>,
    },
    /// A server broke off while it sent a file, as often as it was tried.
    #[error("receiving `{url}`")]
    Receive {
        /// What was fetched.
        url: String,
        /// Why the last try failed.
        #[source]
        source: io::Error,
    },
    /// A server refused.
    #[error("the server answered {status} for `{url}`")]
    Status {
        /// What was fetched.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// A file has another size than its signed index says.
    #[error("`{url}` is not what the signed index names: expected {expected} bytes but found {found}{}", if *more { " or more" } else { "" })]
    Size {
        /// What was fetched.
        url: String,
        /// Bytes, by the index.
        expected: u64,
        /// Bytes that came.
        found: u64,
        /// Whether there was more to come.
        more: bool,
    },
    /// A file has other content than its signed index says.
    #[error("`{url}` is not what the signed index names: expected SHA-256 {expected} but found {found}")]
    Digest {
        /// What was fetched.
        url: String,
        /// By the index.
        expected: Sha256,
        /// Of what came.
        found: Sha256,
    },
    /// A file is larger than any honest one.
    #[error("`{url}` is larger than {limit} bytes")]
    TooLarge {
        /// What was fetched.
        url: String,
        /// In bytes.
        limit: u64,
    },
    /// The mirror has no such suite.
    #[error("the mirror `{mirror}` has no suite `{suite}`")]
    NoSuite {
        /// The mirror's address.
        mirror: String,
        /// As asked for.
        suite: String,
    },
    /// There is no `gpgv`.
    #[error("`gpgv` cannot be started, which verifies the archive's signatures")]
    NoGpgv {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There are no keys to verify the archive with.
    #[error("no keys are named to verify the archive with")]
    NoKeyring,
    /// A file of keys is neither binary nor armoured.
    #[error("the keyring `{}` is damaged", path.display())]
    Keyring {
        /// The file.
        path: PathBuf,
    },
    /// A signature does not hold.
    #[error("the signature of `{url}` does not hold: {fault}")]
    Signature {
        /// The signed file.
        url: String,
        /// What is wrong with it.
        fault: SignatureFault,
    },
    /// A signed file is not what it should be.
    #[error("`{url}` is not right: {fault}")]
    Release {
        /// The signed file.
        url: String,
        /// What is wrong with it.
        fault: ReleaseFault,
    },
    /// A suite's signed list is older than it may be.
    #[error("`{url}` was valid until {until} only")]
    Expired {
        /// The signed file.
        url: String,
        /// As it says.
        until: String,
    },
    /// A suite has no such index.
    #[error("the suite `{suite}` has no packages of `{component}` for `{architecture}`")]
    NoIndex {
        /// The suite.
        suite: String,
        /// Such as `main`.
        component: String,
        /// Debian's name.
        architecture: String,
        /// The architectures that it has.
        has: Vec<String>,
    },
    /// An index is damaged, although its digest is right.
    #[error("the package index `{}` is not right: {reason}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An index does not have a package.
    #[error("the suite `{suite}` has no package `{package}` for `{architecture}`")]
    NoPackage {
        /// As asked for.
        package: String,
        /// The suite.
        suite: String,
        /// Debian's name.
        architecture: String,
    },
    /// A package depends on what the index has not.
    #[error("`{package}` depends on `{dependency}`, which the suite has not")]
    Unmet {
        /// The package.
        package: String,
        /// What it depends on, as it says.
        dependency: String,
    },
    /// Two packages that are wanted do not go together.
    #[error("`{package}` does not go with `{other}`: it declares `{relation}`")]
    Conflict {
        /// The package that says so.
        package: String,
        /// The other.
        other: String,
        /// What it conflicts with, or breaks.
        relation: String,
    },
    /// An index names a file outside the archive.
    #[error("the package `{package}` is said to be in `{file_name}`, which is no file beneath the mirror")]
    FileName {
        /// The package.
        package: String,
        /// Its `Filename`.
        file_name: String,
    },
    /// A file is no Debian package.
    #[error("`{}` is no Debian package: {reason}", path.display())]
    Deb {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// A package does not hold a file.
    #[error("the package `{}` holds no file `{name}`", path.display())]
    NoMember {
        /// The package.
        path: PathBuf,
        /// As asked for.
        name: String,
    },
    /// A file in a package is larger than it may be.
    #[error("`{name}` in the package `{}` is larger than {limit} bytes", path.display())]
    MemberSize {
        /// The package.
        path: PathBuf,
        /// The file in it.
        name: String,
        /// In bytes.
        limit: u64,
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
    /// A file could not be written.
    #[error("writing `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why a signature does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureFault {
    /// The text is not what was signed.
    Bad {
        /// The key it is said to be from.
        key: String,
    },
    /// It was made with keys that the keyring does not have.
    UnknownKeys {
        /// Their ids.
        keys: Vec<String>,
    },
    /// The key, or the signature, has expired, or the key was revoked.
    Expired {
        /// The key's id.
        key: String,
    },
    /// It uses a hash that can be forged.
    WeakHash {
        /// The key's fingerprint.
        key: String,
    },
    /// The file has no signature, or text outside the signed part.
    Malformed,
}

impl fmt::Display for SignatureFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad { key } => write!(f, "the text is not what the key {key} signed"),
            Self::UnknownKeys { keys } => {
                write!(f, "it was made with keys that the keyring does not have ({})", keys.join(", "))
            }
            Self::Expired { key } => write!(f, "the key {key}, or its signature, expired or was revoked"),
            Self::WeakHash { key } => write!(f, "the key {key} signed with a hash that can be forged"),
            Self::Malformed => f.write_str("it is not one whole signed text"),
        }
    }
}

/// What is wrong with a signed `Release`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReleaseFault {
    /// It is that of another suite.
    Suite {
        /// The suite that was asked for.
        expected: String,
        /// Its `Suite` and `Codename`.
        found: Vec<String>,
    },
    /// It lacks a field, or has one that cannot be read.
    Field {
        /// The field.
        name: &'static str,
    },
    /// It is no text of one paragraph.
    Form,
}

impl fmt::Display for ReleaseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suite { expected, found } => {
                write!(f, "expected the suite `{expected}` but found `{}`", found.join("`, `"))
            }
            Self::Field { name } => write!(f, "its field `{name}` is missing or cannot be read"),
            Self::Form => f.write_str("it is no control file of one paragraph"),
        }
    }
}

impl DebianError {
    /// Whether a mirror was asked and has no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 404 | 410),
            Self::Read { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Address { what: "proxy", .. } => {
                "a proxy is written `http://HOST:PORT`; apt's is `Acquire::http::Proxy` in `/etc/apt/apt.conf.d`".into()
            }
            Self::Address { .. } => {
                "a mirror is written `http://HOST/debian`, `file:///FOLDER`, or as the folder's path".into()
            }
            Self::Transfer { .. } | Self::Receive { .. } => {
                "check the network and the proxy, or name another mirror with `--mirror`".into()
            }
            Self::Status { status: 407, .. } => "the proxy wants a name and password".into(),
            Self::Status { status: 401 | 403, .. } => {
                "the server, or a proxy on the way, does not allow it; name another mirror with `--mirror`".into()
            }
            Self::Status { status: 404, .. } => {
                "a package file leaves a mirror when a point release replaces it; try again, since the index is read anew, or name Debian's dated snapshot archive with `--mirror`".into()
            }
            Self::Status { .. } => "try again later, or name another mirror with `--mirror`".into(),
            Self::Size { .. } | Self::Digest { .. } => {
                "the mirror, or a proxy on the way, is being changed or is broken: try again later, or name another with `--mirror`".into()
            }
            Self::NoSuite { .. } => {
                "older suites are in Debian's dated snapshot archive and in the archive of old releases: name one with `--mirror`".into()
            }
            Self::NoGpgv { .. } => "install it: `apt-get install gpgv` on Debian (elsewhere it is in `gnupg` or `gnupg2`)".into(),
            Self::NoKeyring => {
                "name a file of the archive's public keys with `--keyring`".into()
            }
            Self::Signature { fault: SignatureFault::UnknownKeys { .. } | SignatureFault::Expired { .. }, .. } => {
                "bring Debian's keys up to date with `apt-get install debian-archive-keyring`, or name the archive's keyring with `--keyring`".into()
            }
            Self::Signature { .. } => "do not trust this mirror; name another with `--mirror`".into(),
            Self::Expired { .. } => "the mirror is out of date, or this machine's clock is wrong; name another mirror with `--mirror`".into(),
            Self::Conflict { .. } => "leave one of the two out of `--include`".into(),
            Self::Unmet { .. } => {
                "it may be in another suite or component: name those with `--suite` and `--component`".into()
            }
            Self::NoIndex { has, .. } if !has.is_empty() => format!("it has {}", has.join(", ")),
            _ => return None,
        })
    }
}
