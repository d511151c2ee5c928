//! The root file system of a container.
//!
//! An image's layers are unpacked once, to a [`Snapshot`] in the cache that all runs share and none changes. A container's
//! [`Root`] is such a folder, or several on top of each other, with an overlay above them that takes what the container
//! writes; where the kernel grants no overlay, the files are copied. Files belong to the ids of the container's user
//! namespace, so whoever makes or removes them does so in one: the `worker`, or the container's own processes.

mod copy;
mod helper;
mod mount;
mod platform;
mod positions;
mod remove;
mod snapshot;
mod worker;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::target::Platform;

pub use helper::{Helper, Inside, help};
pub use mount::{FILES, WHOLE};
pub(super) use mount::{make as make_folder, mount, seal};
pub use platform::platform_of;
pub use positions::{has_long_positions, skeleton, wants_short};
pub(super) use remove::{OTHER, clear, remove_tree};
pub use snapshot::{Layers, Pruned, Snapshot, Snapshots};
pub use worker::{Told, pack_tree, remove, unpack_tree};
pub(super) use worker::{Unpacked, WORKER, run as run_worker};

/// What a container has as its root file system.
#[derive(Debug, Default)]
pub struct Root {
    /// The folders that it is made of, the topmost first.
    pub lowers: Vec<PathBuf>,
    /// Whether the last of them holds nothing but the folders of the one before.
    pub has_skeleton: bool,
    /// What keeps the lowest ones from being removed meanwhile.
    pub held: Option<Snapshot>,
    /// Whether the only folder is the root file system itself, and the container changes it.
    pub is_direct: bool,
    /// Whether the container can write nothing to it.
    pub is_read_only: bool,
    /// Whether its folders are to be laid out for 32-bit guests; a snapshot's own are already. See [`has_long_positions`].
    pub wants_skeleton: bool,
    /// The folder that is to keep what the container writes: in [`FILES`], or with all that was there before in [`WHOLE`], where no overlay
    /// is to be had.
    pub kept: Option<PathBuf>,
}

impl Root {
    /// An image's files.
    #[must_use]
    pub fn of(snapshot: Snapshot) -> Self {
        let has_skeleton = snapshot.has_skeleton;
        Self { lowers: snapshot.lowers(), has_skeleton, held: Some(snapshot), ..Self::default() }
    }

    /// The files in `path`, which stay as they are if not `is_direct`; programs for `platform`.
    #[must_use]
    pub fn folder(path: &Path, is_direct: bool, platform: &Platform) -> Self {
        let wants_skeleton =
            !is_direct && positions::wants_short(platform) && has_long_positions(path).unwrap_or(false);
        Self { lowers: vec![path.into()], is_direct, wants_skeleton, ..Self::default() }
    }

    /// What the processes inside are told.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let lowers = self.lowers.iter().map(|path| path.clone().into_os_string()).collect();
        let kept = self.kept.as_ref().map(|path| path.clone().into_os_string());
        let Self { has_skeleton, is_direct, is_read_only, wants_skeleton, .. } = *self;
        Plan { lowers, has_skeleton, is_direct, is_read_only, wants_skeleton, kept }
    }
}

/// Removes a tree, whomever of `ids` its files belong to. What cannot be removed stays.
pub fn remove_files(path: &Path, ids: &super::Ids) {
    if remove_tree(path).is_err() && path.exists() {
        let _ = remove(&[path.into()], ids);
    }
}

/// A [`Root`] for the processes inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    lowers: Vec<OsString>,
    has_skeleton: bool,
    is_direct: bool,
    /// See [`Root::is_read_only`].
    pub(super) is_read_only: bool,
    wants_skeleton: bool,
    kept: Option<OsString>,
}
