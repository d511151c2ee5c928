//! Why a container cannot be confined as it is wanted.

use std::io;
use std::path::PathBuf;

/// What a container may do cannot be had as it is wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfineError {
    /// There is no such capability.
    #[error("there is no capability `{name}`")]
    Capability {
        /// As given.
        name: String,
    },
    /// A `--security-opt` is not known.
    #[error("`--security-opt {text}`: {reason}")]
    Option {
        /// As given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of a seccomp profile cannot be read.
    #[error("reading the seccomp profile `{}`", path.display())]
    ReadProfile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no seccomp profile.
    #[error("`{}` is no seccomp profile in docker's format", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A seccomp profile wants what cannot be had.
    #[error("the seccomp profile cannot be used: {reason}")]
    Filter {
        /// Why.
        reason: String,
    },
    /// A limit is not right.
    #[error("`--ulimit {text}`: {reason}")]
    Ulimit {
        /// As given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A device is not to be had.
    #[error("the device `{text}`: {reason}")]
    Device {
        /// As given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ConfineError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Capability { .. } => "their names are in capabilities(7), as in `NET_ADMIN`; `ALL` is all of them".into(),
            Self::Option { .. } => "`--security-opt` takes `seccomp=unconfined`, `seccomp=PROFILE.json`, `no-new-privileges` and \
                 `systempaths=unconfined`"
                .into(),
            Self::Ulimit { .. } => "limits are given as `--ulimit nofile=1024:2048`".into(),
            Self::Device { .. } => "devices are given as `--device /dev/NAME[:/dev/OTHER]`".into(),
            Self::ReadProfile { .. } | Self::Profile { .. } | Self::Filter { .. } => return None,
        })
    }
}
