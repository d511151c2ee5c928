//! Why a bundle could not be made.

use std::io;
use std::path::PathBuf;

use crate::debian::DebianError;
use crate::image::ImageError;
use crate::layer::LayerError;
use crate::stub::StubError;

/// A bundle could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The program cannot be read.
    #[error("reading `{}`", path.display())]
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
    /// A script needs an interpreter, which was not bundled.
    #[error("`{}` is a script of `{interpreter}`", path.display())]
    Script {
        /// The script.
        path: PathBuf,
        /// Its interpreter.
        interpreter: String,
    },
    /// What a program needs is not in the root file system.
    #[error("`{}` needs what is not there: {}", path.display(), names.join(", "))]
    Missing {
        /// The program.
        path: PathBuf,
        /// What is missing.
        names: Vec<String>,
    },
    /// The layers of an image cannot be read.
    #[error("reading the files of the image")]
    Layers {
        /// Why.
        #[source]
        source: LayerError,
    },
    /// There is no stub for the host.
    #[error("there is no stub for the host `{host}`")]
    NoStub {
        /// The target.
        host: String,
    },
    /// A stub cannot be made.
    #[error("making the stub for `{path}`")]
    Stub {
        /// What it is to run.
        path: String,
        /// Why.
        #[source]
        source: StubError,
    },
    /// The list of what is in the bundle cannot be written.
    #[error("writing the bundle's manifest")]
    Manifest {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The base image is not for the host.
    #[error("the base image is for {platform}, and the host is {host}")]
    Base {
        /// The base's platform.
        platform: String,
        /// The host's.
        host: String,
    },
    /// The image is a bundle already.
    #[error("the image is a bundle already: it has `/.polyarch`")]
    IsBundle,
    /// A program or a library would take the place of the base image's own.
    #[error("the base image has a `{path}` of its own")]
    Conflict {
        /// The path.
        path: String,
    },
    /// What a flag asks for is not to be found.
    #[error("{what} cannot be found")]
    NoExtra {
        /// What.
        what: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// A whole image holds no program that needs an emulator on the host.
    #[error("the image holds no program that {host} does not run itself")]
    NothingForeign {
        /// The host's platform.
        host: String,
    },
    /// Debian has no static busybox for the host.
    #[error("there is no static busybox for the host `{host}`")]
    NoShell {
        /// The target.
        host: String,
    },
    /// The host's busybox cannot be had.
    #[error("getting a static busybox for the host `{host}`")]
    Shell {
        /// The target.
        host: String,
        /// Why.
        #[source]
        source: Box<DebianError>,
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
            Self::Dynamic { .. } => "say where its libraries are: `--from IMAGE`, `--from FOLDER` (a root file system), \
                 or `--from deb:PACKAGE`; or link it statically"
                .into(),
            Self::Script { .. } => "say where its interpreter is: `--from IMAGE`, `--from FOLDER` or `--from deb:PACKAGE`".into(),
            Self::Missing { .. } => "give `--from` a root file system that has it, such as the image that the program was built in".into(),
            Self::NoStub { .. } => {
                let hosts: Vec<&str> = crate::stub::HostPrograms::hosts().collect();
                format!("there are stubs for hosts whose programs QEMU calls {}", hosts.join(", "))
            }
            Self::Base { .. } => "`--base` takes an image of the platform that `--host` names".into(),
            Self::IsBundle => "bundle what it was made of".into(),
            Self::Conflict { .. } => "leave `--base` out, or take a base of another distribution".into(),
            Self::NoShell { .. } => "leave `--shell` out, or add one with `--include`".into(),
            Self::NoExtra { hint, .. } => (*hint).into(),
            Self::NothingForeign { .. } => "copy it as it is, with `polyarch copy`; or is `--host` another machine?".into(),
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
