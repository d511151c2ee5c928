//! The folder of one run: what the container writes, and where its root file system is put together, for as long as the run
//! lasts.

use std::fs::{self, File, Permissions, TryLockError};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Ids, SandboxError, root};

/// Held locked by the run that a folder belongs to; the lock goes with its process.
const MARKER: &str = "lock";

/// A folder that is there for one run, and gone after it.
///
/// One that a killed run left behind goes when the next run begins.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Locked.
    _marker: File,
}

impl Folder {
    /// Makes one in `parent`, and removes what killed runs left there.
    ///
    /// # Errors
    /// [`SandboxError::Folder`] where `parent` cannot be written.
    pub fn new(parent: &Path) -> Result<Self, SandboxError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| SandboxError::Folder { path, source }
        };
        let (gate, stale) = gate(parent)?;
        let made = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(12)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(fail(parent))?;
        let marker_path = made.path().join(MARKER);
        let marker = File::create(&marker_path).map_err(fail(&marker_path))?;
        marker.lock().map_err(fail(&marker_path))?;
        drop(gate);
        let folder = Self { path: made.keep(), _marker: marker };
        for (path, marker) in stale {
            remove(&path);
            drop(marker);
        }
        fs::create_dir(folder.root()).map_err(fail(&folder.root()))?;
        File::create(folder.path.join("exe")).map_err(fail(&folder.path))?;
        Ok(folder)
    }

    /// Removes what killed runs left in `parent`.
    ///
    /// # Errors
    /// As [`Folder::new`].
    pub fn sweep(parent: &Path) -> Result<(), SandboxError> {
        let (gate, stale) = gate(parent)?;
        drop(gate);
        for (path, marker) in stale {
            remove(&path);
            drop(marker);
        }
        Ok(())
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the container's root file system is put together.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.path.join("root")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now is stale for the next run.
        remove(&self.path);
    }
}

/// Locks `parent`, which is made where it is missing, and finds what killed runs left there.
fn gate(parent: &Path) -> Result<(File, Vec<(PathBuf, File)>), SandboxError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| SandboxError::Folder { path, source }
    };
    fs::create_dir_all(parent).map_err(fail(parent))?;
    let path = parent.join(MARKER);
    let gate = File::create(&path).map_err(fail(&path))?;
    // Between its making and the locking of its marker a folder looks like a stale one.
    gate.lock().map_err(fail(&path))?;
    Ok((gate, stale(parent)))
}

/// The folders whose runs are no more, each with its marker, locked now by us.
fn stale(parent: &Path) -> Vec<(PathBuf, File)> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| {
            let marker = File::create(entry.path().join(MARKER)).ok()?;
            match marker.try_lock() {
                Ok(()) => Some((entry.path(), marker)),
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
            }
        })
        .collect()
}

/// Removes what a run left, which may belong to its container's users.
fn remove(path: &Path) {
    // It may belong to another user of a shared cache; this run is not the worse for it.
    if root::remove_tree(path).is_err() && path.exists() {
        let _ = root::remove(&[path.into()], &Ids::of_caller().0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_ended_runs_go() {
        let parent = tempfile::tempdir().unwrap();
        let alive = Folder::new(parent.path()).unwrap();
        let dead = parent.path().join("dead");
        fs::create_dir_all(dead.join("root/closed/inner")).unwrap();
        fs::set_permissions(dead.join("root/closed"), Permissions::from_mode(0o0)).unwrap();
        let another = Folder::new(parent.path()).unwrap();
        assert!(alive.root().is_dir() && another.root().is_dir());
        assert!(!dead.exists());
        let path = alive.path().to_owned();
        drop(alive);
        assert!(!path.exists());
    }
}
