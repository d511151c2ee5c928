//! What a build needs of whoever started it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::Shared;
use super::context::Context;
use crate::containerfile::Warning;
use crate::emulator::{self, Emulator, EmulatorError, Options as EmulatorOptions};
use crate::image::{Image, ImageError};
use crate::progress::Progress;
use crate::sandbox::{Confine, Emulation, Limits, Network};
use crate::target::{Guest, Platform};

/// Finds images for a build, and hears what it does. Several stages may speak at once.
pub trait Surroundings: Sync + fmt::Debug {
    /// The image called `name`, for `platform`; one that is there for another platform only may be given too.
    ///
    /// # Errors
    /// [`ImageError`] where it is not to be had.
    fn image(&self, name: &str, platform: &Platform) -> Result<Image, ImageError>;

    /// The emulator for `guest`'s programs on this machine.
    ///
    /// # Errors
    /// [`EmulatorError`] where there is none.
    fn emulator(
        &self,
        guest: &'static Guest,
        options: &EmulatorOptions<'_>,
    ) -> Result<Emulator, EmulatorError> {
        emulator::find(guest, &Platform::host(), options)
    }

    /// How servers are reached that `ADD` takes files from.
    fn remotes(&self) -> crate::image::registry::Options {
        crate::image::registry::Options::default()
    }

    /// Where steps are looked for that the cache does not have.
    fn cache_from(&self) -> Vec<Shared> {
        Vec::new()
    }

    /// Where the steps of the build are brought, once it is done.
    fn cache_to(&self) -> Vec<Shared> {
        Vec::new()
    }

    /// Something in the file is probably not meant.
    fn lint(&self, warning: &Warning) {
        let Warning { rule, at, message } = warning;
        self.progress().warn(&format!("line {}: {message} ({rule})", at.line));
    }

    /// Hears of everything else.
    fn progress(&self) -> &dyn Progress;

    /// A step begins, or is there already if `cached`. `label` says which stage's, and where in it.
    fn step(&self, label: &str, text: &str, cached: bool);

    /// A step's program says a line.
    fn output(&self, label: &str, line: &str);
}

/// A platform to build for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The platform.
    pub platform: Platform,
    /// The CPU model that its programs are emulated on; the emulator's own if none.
    pub cpu: Option<String>,
}

/// What `--from=NAME` may mean besides stages and images.
#[derive(Debug)]
pub enum NamedContext {
    /// Files of this machine.
    Folder(Context),
    /// An image, by its name.
    Image(String),
}

/// What of a secret a step gets.
#[derive(Clone)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What is asked of a build, besides its file.
#[derive(Debug)]
pub struct Options {
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// The stage that is wanted; the last one if none.
    pub stage: Option<String>,
    /// What to build for, at least one.
    pub platforms: Vec<Wanted>,
    /// The build's context.
    pub context: Context,
    /// Others, by their names.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Secrets, by their names.
    pub secrets: BTreeMap<String, Secret>,
    /// Sockets of agents of ssh, by their names.
    pub ssh: BTreeMap<String, PathBuf>,
    /// Labels in addition.
    pub labels: Vec<(String, String)>,
    /// Annotations of manifests and of the index.
    pub annotations: Vec<(String, String)>,
    /// Whether every step is done anew.
    pub no_cache: bool,
    /// The time of the image, and the latest one of files, in seconds since 1970.
    pub timestamp: Option<u64>,
    /// How many steps are done at once.
    pub jobs: usize,
    /// What steps reach that say nothing of it.
    pub network: Network,
    /// What steps' programs may do.
    pub confine: Confine,
    /// How much a step may use.
    pub limits: Limits,
    /// Whether a shell is started where a step's command fails.
    pub debug_shell: bool,
    /// The emulator in place of the one that is found.
    pub emulator: Option<PathBuf>,
    /// How foreign programs reach their emulators.
    pub emulation: Option<Emulation>,
    /// The cache's folder.
    pub cache: PathBuf,
}
