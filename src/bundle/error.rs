//! Why a bundle could not be made.

use std::io;
use std::path::PathBuf;

use crate::image::ImageError;

/// A bundle could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The program cannot be read.
    #[error("reading the program `{}`", path.display())]
    Read {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program is none, or damaged.
    #[error("`{}` is no program that can be bundled: {reason}", path.display())]
    NotProgram {
        /// The program.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The program needs a loader and libraries.
    #[error("`{}` is dynamically linked: it needs `{interpreter}`", path.display())]
    Dynamic {
        /// The program.
        path: PathBuf,
        /// Its loader.
        interpreter: String,
    },
    /// No guest of the catalogue has such programs.
    #[error("`{}` is for a machine that no emulator is known for", path.display())]
    UnknownGuest {
        /// The program.
        path: PathBuf,
    },
    /// The program is for another machine than the target is.
    #[error("`{}` is a program for {guest}, and the target `{target}` runs {expected}", path.display())]
    WrongTarget {
        /// The program.
        path: PathBuf,
        /// The program's guest, by QEMU's name.
        guest: String,
        /// The target.
        target: String,
        /// The target's guest.
        expected: String,
    },
    /// The target's CPU cannot run the program.
    #[error("the target `{target}` cannot run `{}`: {}", path.display(), reasons.join("; "))]
    Unfit {
        /// The program.
        path: PathBuf,
        /// The target.
        target: String,
        /// Why, one reason each.
        reasons: Vec<String>,
    },
    /// The program is foreign to the host, and no emulator was given.
    #[error("`{}` is for {guest} and needs an emulator on {host}", path.display())]
    NoEmulator {
        /// The program.
        path: PathBuf,
        /// Its guest.
        guest: String,
        /// The host's platform.
        host: String,
    },
    /// The image's config cannot be made from what was given.
    #[error("making the bundle's config")]
    Config {
        /// Why.
        #[source]
        source: Box<oci_spec::OciSpecError>,
    },
    /// The image cannot be written.
    #[error("writing the bundle")]
    Write {
        /// Why.
        #[source]
        source: ImageError,
    },
}

impl BundleError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Dynamic { .. } => "only static programs can be bundled yet: link it with `-static` \
                 (Go: `CGO_ENABLED=0`; Rust: a `-musl` target)"
                .into(),
            Self::NotProgram { .. } => "`polyarch inspect` shows what it is".into(),
            Self::UnknownGuest { .. } => "`polyarch target list` shows the machines that are known".into(),
            Self::WrongTarget { guest, .. } => {
                format!("leave `--target` out, or give one whose guest is `{guest}`: `polyarch target list`")
            }
            Self::Unfit { .. } => {
                "compile it for the target (`polyarch target show` has its limits), or leave `--target` out; \
                 `polyarch inspect` shows what the program fits"
                    .into()
            }
            Self::NoEmulator { guest, host, .. } => {
                format!("`polyarch emulator fetch --guest {guest} --host {host}` gets one")
            }
            _ => return None,
        })
    }
}
