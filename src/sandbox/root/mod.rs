//! The root file system of a container.
//!
//! An image's layers are unpacked once, to a [`Snapshot`] in the cache that all runs share and none changes. A container's
//! [`Root`] is such a folder, or several on top of each other, with an overlay above them that takes what the container
//! writes; where the kernel grants no overlay, the files are copied. Files belong to the ids of the container's user
//! namespace, so whoever makes or removes them does so in one: the `worker`, or the container's own processes.

mod copy;
mod mount;
mod remove;
mod snapshot;
mod worker;

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(super) use mount::mount;
pub(super) use remove::{clear, remove_tree};
pub use snapshot::{Pruned, Snapshot, Snapshots};
pub use worker::Told;
pub(super) use worker::{Unpacked, WORKER, remove, run as run_worker};

/// What a container has as its root file system.
#[derive(Debug, Default)]
pub struct Root {
    /// The folders that it is made of, the topmost first.
    pub lowers: Vec<PathBuf>,
    /// What keeps the lowest ones from being removed meanwhile.
    pub held: Option<Snapshot>,
}

impl Root {
    /// An image's files.
    #[must_use]
    pub fn of(snapshot: Snapshot) -> Self {
        Self { lowers: snapshot.lowers(), held: Some(snapshot) }
    }

    /// What the processes inside are told.
    pub(super) fn plan(&self) -> Plan {
        Plan { lowers: self.lowers.iter().map(|path| path.clone().into_os_string()).collect() }
    }
}

/// A [`Root`] for the processes inside.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    lowers: Vec<OsString>,
}
