//! What can go wrong with emulators.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::Refusal;
use crate::debian::DebianError;
use crate::target::{Platform, TargetError};

/// An emulator could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// The host's platform is not in the catalogue, so what its programs look like is not known.
    #[error("`{host}` is no host that emulators are known for")]
    Host {
        /// As asked for.
        host: Box<Platform>,
        /// Why.
        #[source]
        source: Box<TargetError>,
    },
    /// There is none, neither in the cache nor among the host's own programs.
    #[error("no static `qemu-{guest}` for {host} was found")]
    NotFound {
        /// QEMU's name of the guest.
        guest: String,
        /// The platform it should run on.
        host: Box<Platform>,
        /// Programs with the right name that are of no use.
        rejected: Vec<(PathBuf, Unfit)>,
    },
    /// The program that the user gave is of no use.
    #[error("`{}` cannot be used as an emulator on {host}: {unfit}", path.display())]
    Unfit {
        /// The program.
        path: PathBuf,
        /// The platform it should run on.
        host: Box<Platform>,
        /// What is wrong with it.
        unfit: Unfit,
    },
    /// A program in the cache is not what was put there.
    #[error("the cached emulator `{}` has changed: expected SHA-256 {expected} but found {found}", path.display())]
    Changed {
        /// The program.
        path: PathBuf,
        /// The guest that it is for.
        guest: String,
        /// The host that it is for.
        host: Box<Platform>,
        /// The digest that was written down when it was fetched.
        expected: String,
        /// The digest it has.
        found: String,
    },
    /// The description beside a cached emulator is not right.
    #[error("the description of a cached emulator `{}` is not right", path.display())]
    Description {
        /// The description.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// No QEMU of the version that a suite has can do it.
    #[error("QEMU {version} of Debian's `{suite}` cannot run `{guest}` on {host}: {refusal}")]
    Refused {
        /// QEMU's name of the guest.
        guest: String,
        /// The platform it should run on.
        host: Box<Platform>,
        /// The suite.
        suite: String,
        /// QEMU's version there.
        version: String,
        /// Why not.
        refusal: Refusal,
    },
    /// The package of a suite does not hold the emulator.
    #[error("`{package}` {version} of Debian's `{suite}` holds no `qemu-{guest}` for {host}")]
    NoGuest {
        /// QEMU's name of the guest.
        guest: String,
        /// The platform it should run on.
        host: Box<Platform>,
        /// The suite.
        suite: String,
        /// The package.
        package: String,
        /// Its version.
        version: String,
    },
    /// None of the package files of a folder is one that is pinned.
    #[error("none of the {files} package files in `{}` is one that is pinned for {host}", folder.display())]
    NotPinned {
        /// The folder.
        folder: PathBuf,
        /// How many there are.
        files: usize,
        /// The platform it should run on.
        host: Box<Platform>,
        /// The names of the files that are pinned.
        pinned: Vec<String>,
    },
    /// No package file of a folder holds emulators for a host, or none that can serve.
    #[error("no package file in `{}` holds static emulators for {host}", folder.display())]
    NoPackageFile {
        /// The folder.
        folder: PathBuf,
        /// The platform it should run on.
        host: Box<Platform>,
    },
    /// A file of pins is not right.
    #[error("the pins in `{}` are not right: {fault}", path.display())]
    Pins {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: PinFault,
    },
    /// There is no guest program of ours for a guest.
    #[error("there is no test program for `{guest}`: Debian has no compiler that makes one")]
    NoProbe {
        /// QEMU's name of the guest.
        guest: String,
    },
    /// An emulator could not be started.
    #[error("starting `{}`", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An emulator's host is another machine, and there is no emulator for that machine here.
    #[error("`qemu-{guest}` runs on {host}, whose own emulator `qemu-{needed}` is not here to run it")]
    NoWay {
        /// QEMU's name of the guest.
        guest: String,
        /// The emulator's host.
        host: Box<Platform>,
        /// QEMU's name of the host.
        needed: String,
        /// Why there is none.
        #[source]
        source: Box<EmulatorError>,
    },
    /// Debian has never been released for the host.
    #[error("Debian has no emulators that run on {host}")]
    NoSuite {
        /// The platform.
        host: Box<Platform>,
    },
    /// Debian's archive does not give the emulator.
    #[error("fetching `qemu-{guest}` for {host} from Debian's archive")]
    Debian {
        /// QEMU's name of the guest.
        guest: String,
        /// The platform it should run on.
        host: Box<Platform>,
        /// Why.
        #[source]
        source: Box<DebianError>,
    },
    /// What a suite's signed index names could not be pinned.
    #[error("pinning the emulators for {host} of Debian's `{suite}`")]
    Pinning {
        /// The suite.
        suite: String,
        /// The platform they run on.
        host: Box<Platform>,
        /// Why.
        #[source]
        source: Box<DebianError>,
    },
    /// An emulator has no such CPU model, or the model no such feature.
    #[error("`{}` has no CPU model `{model}`: {reason}", path.display())]
    Model {
        /// As given.
        model: String,
        /// QEMU's name of the guest.
        guest: String,
        /// The emulator.
        path: PathBuf,
        /// What QEMU says.
        reason: String,
        /// The model whose name is most like it.
        nearest: Option<String>,
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

/// Why a file is of no use as an emulator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// It is no ELF file, or a damaged one.
    NotElf,
    /// It is no regular file.
    NotFile,
    /// It is for another machine.
    Machine {
        /// The host's, by its EM_ name.
        expected: String,
        /// The file's.
        found: String,
    },
    /// It is an object, a core file, or has nothing to load.
    NotProgram,
    /// It needs this interpreter, which an image may not have.
    Dynamic {
        /// The interpreter.
        interpreter: String,
    },
    /// It may not be executed.
    NotExecutable,
    /// It does not tell its version as QEMU's emulators do.
    NotEmulator,
    /// It is QEMU's emulator of another guest.
    Guest {
        /// The guest that is wanted.
        expected: String,
        /// The guest that it runs.
        found: String,
    },
}

/// What is wrong with a file of pins.
#[derive(Debug)]
#[non_exhaustive]
pub enum PinFault {
    /// It is no TOML, or other keys.
    Form(Box<toml::de::Error>),
    /// It is too long.
    Size {
        /// In bytes.
        limit: u64,
    },
    /// A field of a pin has no value that it may have.
    Field {
        /// The pin's host.
        architecture: String,
        /// The pin's suite.
        suite: String,
        /// The field.
        field: &'static str,
    },
    /// A host and suite are pinned twice.
    Twice {
        /// The host.
        architecture: String,
        /// The suite.
        suite: String,
    },
}

impl fmt::Display for PinFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(source) => f.write_str(source.to_string().trim_end()),
            Self::Size { limit } => write!(f, "it is longer than {limit} bytes"),
            Self::Field { architecture, suite, field } => {
                write!(f, "`{field}` of the pin for {architecture} in {suite} has no right value")
            }
            Self::Twice { architecture, suite } => {
                write!(f, "there are two pins for {architecture} in {suite}")
            }
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => f.write_str("it is no ELF program"),
            Self::NotFile => f.write_str("it is no regular file"),
            Self::Machine { expected, found } => {
                write!(f, "it is a program for {found}, and the host runs {expected}")
            }
            Self::NotProgram => f.write_str("it is an ELF file, but no program"),
            Self::Dynamic { interpreter } => {
                write!(f, "it is dynamically linked (it needs `{interpreter}`)")
            }
            Self::NotExecutable => f.write_str("it may not be executed"),
            Self::NotEmulator => f.write_str("it does not answer `--version` as a qemu-user program does"),
            Self::Guest { expected, found } => {
                write!(f, "it runs programs for {found}, and {expected} is wanted")
            }
        }
    }
}

impl EmulatorError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Host { source, .. } => return source.hint(),
            Self::NotFound { guest, host, rejected } => {
                let fetch = format!("`polyarch emulator fetch --guest {guest} --host {host}` fetches one");
                match rejected.first() {
                    Some((path, unfit)) => {
                        format!("{fetch}; `{}` is not usable: {unfit}", path.display())
                    }
                    None => fetch,
                }
            }
            Self::Model { nearest: Some(nearest), path, .. } => {
                format!("did you mean `{nearest}`? `{} -cpu help` lists all", path.display())
            }
            Self::Model { path, .. } => format!("`{} -cpu help` lists those that it has", path.display()),
            Self::Unfit { .. } => {
                "give a statically linked qemu-user program that was built for the host, or none, to have one found"
                    .into()
            }
            Self::Changed { guest, host, .. } => {
                format!("`polyarch emulator fetch --force --guest {guest} --host {host}` fetches it again")
            }
            Self::Description { path, .. } => match path.parent() {
                Some(folder) => format!("remove `{}` and fetch the emulator again", folder.display()),
                None => return None,
            },
            Self::Refused { .. } => {
                "name an older suite with `--suite`, or give an emulator's path where one can be given".into()
            }
            Self::NoGuest { .. } => {
                "`polyarch emulator list` shows which suite has it; `--suite` names one".into()
            }
            Self::NotPinned { pinned, .. } => match pinned.split_first() {
                Some((first, _)) => format!(
                    "`{first}` is one that is; `--unpinned` takes a file of the folder without a digest to hold it against"
                ),
                None => "`--unpinned` takes a file of the folder without a digest to hold it against".into(),
            },
            Self::NoPackageFile { .. } => {
                "it takes the package `qemu-user-static` or, from trixie on, `qemu-user`, of the host's architecture".into()
            }
            Self::Pins { path, .. } => {
                format!("mend or remove `{}`; `polyarch emulator update` writes it anew", path.display())
            }
            Self::NoProbe { .. } => "`polyarch emulator verify --all` shows which guests have one".into(),
            Self::NoWay { needed, .. } => {
                format!("`polyarch emulator fetch --guest {needed}` fetches it for this machine")
            }
            Self::Start { .. } => return None,
            Self::Pinning { source, .. } => return source.hint(),
            Self::NoSuite { .. } => "give an emulator's path where one can be given".into(),
            Self::Debian { guest, source, .. } => match &**source {
                DebianError::NoMember { .. } => {
                    format!("this version of QEMU has no `qemu-{guest}`; name another suite with `--suite`")
                }
                source if source.is_missing() => {
                "`polyarch emulator update` renews the pins; `--latest` takes what the archive has now".into()
            }
                source => return source.hint(),
            },
            Self::Read { .. } | Self::Write { .. } => return None,
        })
    }
}
