//! Volumes: what of this machine a container sees, and file systems in memory.
//!
//! They are mounted beneath the container's root, which no link in it leads out of: each target is resolved with the container's root
//! as its own (`RESOLVE_IN_ROOT`), made where it is missing, and used by its descriptor. Volumes have neither setuid programs
//! nor, unless one is a device, device nodes.
//!
//! There is no store of volumes. One without a source is a folder of the container's own, and ends with it; one that is named is refused.

mod error;
mod mount;
mod parse;
mod point;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::RootPlan;
use crate::image::ImageConfiguration;

pub use error::VolumeError;
pub(super) use mount::{mount_all, set_attributes};
pub(super) use point::{Kind, open_in, point};

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Where in the container: absolute, without `.` and `..`.
    pub target: OsString,
    /// What is there.
    pub source: Source,
    /// Whether the container cannot write it.
    pub read_only: bool,
}

/// What a volume holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A file or folder of this machine.
    Bind {
        /// Which.
        path: OsString,
        /// Whether a folder is made where nothing is.
        make: bool,
        /// Which of the mounts beneath it come along.
        beneath: Beneath,
    },
    /// Files in memory.
    Tmpfs {
        /// The kernel's options of the file system, as in tmpfs(5).
        options: String,
        /// Whether programs on it run.
        exec: bool,
    },
    /// A folder of the container's own, which the image's files are in.
    Own,
    /// A path in another root file system. What is written there is lost.
    Root {
        /// The root.
        root: RootPlan,
        /// The path, which is resolved in it.
        path: OsString,
    },
    /// A file that is in memory only.
    Text {
        /// What it holds.
        content: Vec<u8>,
        /// Its permission bits.
        mode: u32,
        /// Its owner and its group.
        owner: (u32, u32),
    },
}

/// What becomes of mounts beneath the source of a bind mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Beneath {
    /// They come along, and are read-only where it is.
    Alike,
    /// They come along, as writable as they are.
    Writable,
    /// They stay outside.
    Outside,
}

impl Volume {
    /// A source as an absolute path, and made where that is wanted and it is missing. Gives what was made.
    ///
    /// # Errors
    /// [`VolumeError`] where it is missing, or cannot be made.
    pub fn prepare(&mut self, cwd: &Path) -> Result<Option<OsString>, VolumeError> {
        let Source::Bind { path, make, .. } = &mut self.source else { return Ok(None) };
        *path = cwd.join(&*path).into();
        match fs::metadata(&*path) {
            Ok(_) => Ok(None),
            Err(err) if err.kind() == io::ErrorKind::NotFound && *make => {
                fs::create_dir_all(&*path)
                    .map_err(|source| VolumeError::Make { path: path.clone().into(), source })?;
                Ok(Some(path.clone()))
            }
            Err(source) => Err(VolumeError::Source { path: path.clone().into(), source }),
        }
    }

    /// Nothing can be mounted at one place twice.
    ///
    /// # Errors
    /// [`VolumeError`] where it is wanted.
    pub fn check_targets(volumes: &[Self]) -> Result<(), VolumeError> {
        for (index, volume) in volumes.iter().enumerate() {
            if volumes[..index].iter().any(|other| other.target == volume.target) {
                let target = volume.target.to_string_lossy().into_owned();
                let reason = "something else is to be mounted there too".into();
                return Err(VolumeError::Syntax { text: target, reason });
            }
        }
        Ok(())
    }

    /// Adds the volumes that an image declares, where none is given for their place. Docker keeps such ones; here they end with
    /// the container.
    pub fn add_of_image(volumes: &mut Vec<Self>, config: &ImageConfiguration) {
        let declared = config.config().as_ref().and_then(|config| config.volumes().clone());
        for text in declared.unwrap_or_default() {
            if let Ok(volume) = Self::parse(&text)
                && volume.source == Source::Own
                && !volumes.iter().any(|other| other.target == volume.target)
            {
                volumes.push(volume);
            }
        }
    }
}
