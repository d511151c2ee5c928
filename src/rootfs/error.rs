//! Why a base root could not be made.

use std::io;
use std::path::PathBuf;

use crate::build::BuildError;
use crate::build::context::{ContextError, RemoteError};
use crate::debian::DebianError;
use crate::emulator::EmulatorError;
use crate::image::ImageError;
use crate::layer::{Digest, LayerError};
use crate::sandbox::{ConfineError, SandboxError};

/// A base root could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootfsError {
    /// A target is none of the recipe's.
    #[error("the recipe `{recipe}` makes nothing for `{target}`: {reason}")]
    NoTarget {
        /// The recipe.
        recipe: String,
        /// The target.
        target: String,
        /// Why.
        reason: String,
    },
    /// A recipe has no such variant.
    #[error("the recipe `{recipe}` has no variant `{variant}`")]
    NoVariant {
        /// The recipe.
        recipe: String,
        /// As asked for.
        variant: String,
        /// Those that it has.
        has: Vec<String>,
    },
    /// What is to be installed has names that no package has.
    #[error("`{name}` is no name of a package")]
    PackageName {
        /// As asked for.
        name: String,
    },
    /// The archive's list of packages could not be had, or the packages do not go together.
    #[error("choosing the packages of `{suite}` for {architecture}")]
    Choose {
        /// The suite.
        suite: String,
        /// Debian's name.
        architecture: String,
        /// Why.
        #[source]
        source: Box<DebianError>,
    },
    /// A package could not be fetched.
    #[error("fetching the package `{package}`")]
    Fetch {
        /// Its name.
        package: String,
        /// Why.
        #[source]
        source: Box<DebianError>,
    },
    /// A package could not be unpacked.
    #[error("unpacking the package `{package}`")]
    Package {
        /// Its name.
        package: String,
        /// Why.
        #[source]
        source: Box<DebianError>,
    },
    /// A package holds what it may not.
    #[error("unpacking the package `{package}`: {reason}")]
    Content {
        /// Its name.
        package: String,
        /// What is wrong.
        reason: String,
    },
    /// Two packages hold the same file, and neither says that it replaces the other's.
    #[error("the packages `{package}` and `{other}` both hold `{path}`")]
    FileConflict {
        /// One.
        package: String,
        /// The other.
        other: String,
        /// The file.
        path: String,
    },
    /// The packages' files could not be put into the root.
    #[error("unpacking the packages")]
    Unpack {
        /// Why.
        #[source]
        source: Box<SandboxError>,
    },
    /// No ids but the caller's own are to be had, and a root has files of several users.
    #[error("the root's files belong to several users, and only one can be had: {reason}")]
    Ids {
        /// Why.
        reason: String,
    },
    /// The emulator for the target's programs is not to be had.
    #[error("finding the emulator for the packages' scripts")]
    Emulator {
        /// Why.
        #[source]
        source: Box<EmulatorError>,
    },
    /// The sandbox cannot be set up.
    #[error("setting up the sandbox for the packages' scripts")]
    Confine {
        /// Why.
        #[source]
        source: Box<ConfineError>,
    },
    /// The sandbox could not be started.
    #[error("running the packages' scripts")]
    Sandbox {
        /// Why.
        #[source]
        source: Box<SandboxError>,
    },
    /// A package's script, or dpkg, failed.
    #[error("configuring the packages failed with status {status}{}", shown(lines))]
    Configure {
        /// The exit status.
        status: u8,
        /// The last that was said.
        lines: Vec<String>,
    },
    /// Packages are not configured although nothing failed.
    #[error("these packages are not configured: {}", packages.join(", "))]
    Unconfigured {
        /// Their names.
        packages: Vec<String>,
    },
    /// The root could not be packed.
    #[error("packing the root file system")]
    Pack {
        /// Why.
        #[source]
        source: Box<SandboxError>,
    },
    /// The root could not be compressed.
    #[error("packing the root file system")]
    Compress {
        /// Why.
        #[source]
        source: Box<LayerError>,
    },
    /// A file of ours cannot be read or written.
    #[error("{doing} `{}`", path.display())]
    File {
        /// `reading`, `writing`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A lock file is none, or of another root.
    #[error("the lock file `{}` {reason}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Of a tar file no digest is known.
    #[error("the digest of `{url}` is not known")]
    NoDigest {
        /// Its address.
        url: String,
    },
    /// A digest is none.
    #[error("`{text}` is no SHA-256 digest")]
    WrongDigest {
        /// As given.
        text: String,
    },
    /// A tar file is another than it should be.
    #[error("`{url}` is not the file that is meant: expected {expected} but found {found}")]
    OtherFile {
        /// Its address.
        url: String,
        /// Its digest, as given.
        expected: Digest,
        /// As it is.
        found: Digest,
    },
    /// A tar file could not be fetched.
    #[error("fetching the root file system")]
    Tarball {
        /// Why.
        #[source]
        source: Box<RemoteError>,
    },
    /// A tar file holds no root file system.
    #[error("`{}` is no root file system: {reason}", path.display())]
    NotRoot {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The archive's list of source packages could not be had, or one is not in it.
    #[error("finding the source packages of `{suite}`")]
    Sources {
        /// The suite.
        suite: String,
        /// Why.
        #[source]
        source: Box<DebianError>,
    },
    /// A recipe's folder has no Containerfile.
    #[error("the `Containerfile` of the recipe's folder `{}` {reason}", folder.display())]
    NoContainerfile {
        /// The folder, as the recipe names it.
        folder: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What the recipe's stages take is not to be had.
    #[error("opening the recipe's files")]
    Context {
        /// Why.
        #[source]
        source: Box<ContextError>,
    },
    /// The recipe's stages could not be built.
    #[error("building the recipe's stages{}", stopped(source))]
    Stages {
        /// Why.
        #[source]
        source: Box<BuildError>,
    },
    /// The image could not be written.
    #[error("writing the image `{image}`")]
    Image {
        /// The image.
        image: String,
        /// Why.
        #[source]
        source: Box<ImageError>,
    },
    /// The folder for the root is there already and has something in it.
    #[error("the folder `{}` is not empty", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
}

/// Where in its Containerfile a build stopped, and what was said last.
fn stopped(err: &BuildError) -> String {
    let place = err.position().map(|at| format!(" stopped at line {} of the Containerfile", at.line));
    let lines = match err {
        BuildError::Run { output, .. } => shown(output),
        _ => String::new(),
    };
    format!("{}{lines}", place.unwrap_or_default())
}

fn shown(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        text.push_str("\n  ");
        text.extend(line.chars().map(|character| if character.is_control() { ' ' } else { character }));
        text
    })
}

impl RootfsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoVariant { has, .. } => format!("it has {}", has.join(", ")),
            Self::PackageName { .. } => {
                "packages are named as in the archive, one after the other with commas between: `gcc,make`".into()
            }
            Self::Ids { .. } => {
                "`polyarch doctor` says how to get more ids (/etc/subuid, and newuidmap of Debian's package `uidmap`); root has them".into()
            }
            Self::Sources { source, .. } => return source.hint(),
            Self::Stages { source } => return source.hint(),
            Self::Configure { .. } => "`-v` shows all that the packages' scripts said".into(),
            Self::NoDigest { .. } => "give it with `--sha256`, as those who made the file publish it".into(),
            Self::WrongDigest { .. } => "it is made of 64 hexadecimal digits, as `sha256sum` prints it".into(),
            Self::OtherFile { .. } => "it was changed, or broke off: compare with what those who made it publish".into(),
            Self::Tarball { source } => return source.hint(),
            Self::Lock { .. } => "remove it, and it is written anew".into(),
            Self::NotEmpty { .. } => "name another folder, or empty this one".into(),
            // What is in a box is not seen as what it is.
            Self::Choose { source, .. } | Self::Fetch { source, .. } | Self::Package { source, .. } => {
                return source.hint();
            }
            Self::Unpack { source } | Self::Sandbox { source } | Self::Pack { source } => return source.hint(),
            Self::Emulator { source } => return source.hint(),
            Self::Confine { source } => return source.hint(),
            Self::Compress { source } => return source.hint(),
            Self::Image { source, .. } => return source.hint(),
            _ => return None,
        })
    }
}
