//! `run`: the root file system, where it comes from, and whose ids the container has.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::super::dirs;
use super::super::printer::Printer;
use super::super::registry::RegistryArgs;
use super::super::report::Told;
use crate::image::{Image, ImageConfiguration, ImageRef, Pull, Wanted};
use crate::layer::Digest;
use crate::progress::Progress as _;
use crate::sandbox::{Ids, Root, SandboxError, Shortage, Signals, Snapshot, Snapshots, platform_of};
use crate::target::{Catalogue, Platform};

/// What decides over the root file system.
#[derive(Debug, clap::Args)]
pub(super) struct RootArgs {
    /// Use this folder as root file system, and no image. It stays as it is: what the container writes goes with it, unless `:rw`
    /// stands behind the folder
    #[arg(long, value_name = "DIR[:rw]")]
    rootfs: Option<OsString>,

    /// Let nothing be written to the root file system
    #[arg(long)]
    read_only: bool,

    /// When to fetch an image from its registry into the store; with `never`, a missing emulator is not fetched either
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = When::Missing)]
    pull: When,

    /// Run the image for this platform or target [default: this machine's, or the only one]
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Platform>,
}

/// [`Pull`] on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum When {
    /// At every run
    Always,
    /// Where the store does not have it for the platform
    Missing,
    /// Never
    Never,
    /// At every run; what the store has serves where the registry does not answer
    Newer,
}

/// A platform, or the one of a target.
fn platform(text: &str) -> Result<Platform, String> {
    if let Ok(target) = Catalogue::builtin().target(text) {
        return Ok(target.platform.clone());
    }
    text.parse().map(Platform::normalized).map_err(|err: crate::target::PlatformError| err.to_string())
}

/// Where the files come from.
#[derive(Debug)]
pub(super) struct Files {
    /// What an image says of itself; of a folder, what is known of it.
    pub(super) config: ImageConfiguration,
    pub(super) platform: Platform,
    /// What the container is called.
    pub(super) hostname: String,
    origin: Origin,
    is_read_only: bool,
}

#[derive(Debug)]
enum Origin {
    /// Gone once it is unpacked: it keeps the store from being pruned.
    Image(Option<Box<Image>>),
    Folder {
        path: PathBuf,
        is_direct: bool,
    },
}

impl RootArgs {
    /// Whether anything that is missing may be fetched: `--pull never` keeps from the network altogether.
    pub(super) fn may_fetch(&self) -> bool {
        !matches!(self.pull, When::Never)
    }

    /// Finds the files; and takes the image's name off `command`, if there is one.
    pub(super) fn find(
        &self,
        command: &mut Vec<OsString>,
        registry: &RegistryArgs,
        printer: Printer,
    ) -> anyhow::Result<Files> {
        if let Some(rootfs) = &self.rootfs {
            let (path, is_direct) = match rootfs.as_bytes().strip_suffix(b":rw") {
                Some(path) => (OsStr::from_bytes(path), true),
                None => (rootfs.as_os_str(), false),
            };
            return self.folder(Path::new(path), is_direct, command);
        }
        let image = if command.is_empty() { OsString::new() } else { command.remove(0) };
        let path = Path::new(&image);
        if path.is_dir() && !path.join("oci-layout").is_file() {
            return self.folder(path, false, command);
        }
        let image = self.image(&image.to_string_lossy(), registry, printer)?;
        Ok(Files {
            config: image.config().clone(),
            platform: image.platform(),
            hostname: image.digest().hex().chars().take(12).collect(),
            origin: Origin::Image(Some(Box::new(image))),
            is_read_only: self.read_only,
        })
    }

    fn image(&self, text: &str, registry: &RegistryArgs, printer: Printer) -> anyhow::Result<Image> {
        let reference = ImageRef::find(text)?;
        let host = Platform::host();
        let platform = self.platform.as_ref().unwrap_or(&host);
        let is_exact = self.platform.is_some();
        let pull = Pull::from(self.pull);
        // Registries and what says how they are reached matter only where one is asked.
        if matches!(pull, Pull::Missing | Pull::Never) && matches!(reference, ImageRef::Store { .. }) {
            let access = dirs::access();
            let wanted = Wanted::new(text, &reference, &access, platform, is_exact)?;
            if let Some(wanted) = wanted {
                if let Some(image) = wanted.stored(&access)? {
                    return Ok(image);
                }
                if pull == Pull::Never || !wanted.is_remote() {
                    return Ok(wanted.missing(&access)?);
                }
            }
        }
        let is_remote = matches!(reference, ImageRef::Store { .. } | ImageRef::Docker { .. });
        let access = if is_remote { registry.pulling()? } else { dirs::access() };
        let Some(wanted) = Wanted::new(text, &reference, &access, platform, is_exact)? else {
            let image = Image::open(&reference, platform, &access)?;
            if is_exact && image.platform() != *platform {
                let present = vec![image.platform().to_string()];
                let wanted = platform.to_string();
                return Err(crate::image::ImageError::Platform { wanted, present }.into());
            }
            return Ok(image);
        };
        let stored = if pull == Pull::Always { None } else { wanted.stored(&access)? };
        match (pull, stored) {
            (Pull::Missing | Pull::Never, Some(image)) => Ok(image),
            (Pull::Never, None) => Ok(wanted.missing(&access)?),
            // A name of this machine's own is in no registry.
            _ if !wanted.is_remote() => Ok(wanted.missing(&access)?),
            (_, stored) => match (wanted.pull(&access, &printer), stored) {
                (Err(err), Some(image)) => {
                    let err = super::super::report::one_line(&err);
                    printer.warn(&format!(
                        "the image of the store serves, for no newer one is to be had: {err}"
                    ));
                    Ok(image)
                }
                (pulled, _) => pulled.with_context(|| format!("fetching the image `{text}`")),
            },
        }
    }

    fn folder(&self, path: &Path, is_direct: bool, command: &[OsString]) -> anyhow::Result<Files> {
        let path = std::fs::canonicalize(path)
            .with_context(|| format!("opening the root file system `{}`", path.display()))?;
        if !path.is_dir() {
            let message = format!("the root file system `{}` is no folder", path.display());
            return Err(Told::new(message, "give the folder that holds its `/`").into());
        }
        let found = self.platform.clone().or_else(|| platform_of(&path, command.first().map(Path::new)));
        let Some(platform) = found else {
            let message = format!("`{}` does not show which platform its programs are for", path.display());
            let hint = "give it with `--platform`; or is it no root file system?";
            return Err(Told::new(message, hint).into());
        };
        let mut config = serde_json::json!({
            "os": platform.os,
            "architecture": platform.architecture,
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        if let Some(variant) = &platform.variant {
            config["variant"] = variant.as_str().into();
        }
        Ok(Files {
            config: serde_json::from_value(config).context("describing the root file system")?,
            platform,
            hostname: Digest::of(&path.clone().into_os_string().into_vec()).hex().chars().take(12).collect(),
            origin: Origin::Folder { path, is_direct },
            is_read_only: self.read_only,
        })
    }
}

impl From<When> for Pull {
    fn from(when: When) -> Self {
        match when {
            When::Always => Self::Always,
            When::Missing => Self::Missing,
            When::Never => Self::Never,
            When::Newer => Self::Newer,
        }
    }
}

impl Files {
    /// The root file system for a container with `ids`.
    pub(super) fn root(
        &mut self,
        snapshots: &Snapshots,
        ids: &Ids,
        shortage: Option<&Shortage>,
        signals: &Signals,
        printer: Printer,
    ) -> anyhow::Result<Root> {
        let mut root = match &mut self.origin {
            Origin::Image(image) => {
                let Some(unpacked) = image.as_ref() else {
                    let shortage = shortage.cloned().unwrap_or(Shortage("no reason was told".into()));
                    return Err(SandboxError::IdsRefused { shortage }.into());
                };
                let snapshot = snapshots.of(unpacked.as_ref(), ids, signals, &printer)?;
                *image = None;
                tell(&snapshot, shortage, printer);
                Root::of(snapshot)
            }
            Origin::Folder { path, is_direct } => Root::folder(path, *is_direct, &self.platform),
        };
        root.is_read_only = self.is_read_only;
        Ok(root)
    }
}

/// Calls `attempt` with the ids that the caller has; once more with the caller's own alone, where the others are refused.
pub(super) fn with_ids<T>(
    mut attempt: impl FnMut(&Ids, Option<&Shortage>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (ids, shortage) = Ids::of_caller();
    match attempt(&ids, shortage.as_ref()) {
        Err(err) if !ids.is_single() => match err.downcast_ref() {
            Some(SandboxError::IdsRefused { shortage }) => attempt(&ids.single(), Some(shortage)),
            _ => Err(err),
        },
        other => other,
    }
}

/// Says what of the image the container does not have.
fn tell(snapshot: &Snapshot, shortage: Option<&Shortage>, printer: Printer) {
    let skipped = &snapshot.skipped;
    if let Some(Shortage(reason)) = shortage.filter(|_| skipped.owners > 0) {
        printer.warn(&format!(
            "the container has one user and one group, root, and {} files of others are root's: {reason}; programs that change \
             users fail (apt needs `-o APT::Sandbox::User=root`). `polyarch doctor` says how to get more ids",
            skipped.owners
        ));
    }
    if !snapshot.is_new {
        return;
    }
    if snapshot.has_skeleton {
        printer.warn(
            "the cache's file system has 64-bit positions in folders: programs of this image that were built without large-file \
             calls can read the image's folders, and not those that they make themselves; `polyarch doctor` says what to do",
        );
    }
    if skipped.devices > 0 {
        printer.note(&format!("{} device nodes of the image were left out", skipped.devices));
    }
    if skipped.attributes > 0 {
        printer.note(&format!("extended attributes of {} files were left out", skipped.attributes));
    }
}
