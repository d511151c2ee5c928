//! Removing what containers leave.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Plan;
use super::mount::{ROOT, SKELETON, UPPER, WORK};

/// What the names of other roots in a run's folder begin with.
pub(in super::super) const OTHER: &str = "root-";

/// Removes a container's files from the folder of its run, in the container's user namespace: they belong to its users.
pub(in super::super) fn clear(plan: &Plan, folder: &Path) {
    if plan.is_direct {
        // Its root is elsewhere, and mounted in the container only: there is nothing that is the run's.
        return;
    }
    for name in [UPPER, WORK, ROOT, SKELETON] {
        // What cannot be removed now is stale for the next run.
        let _ = remove_tree(&folder.join(name));
    }
    if let Some(kept) = &plan.kept {
        let _ = remove_tree(&Path::new(kept).join(WORK));
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(OTHER.as_bytes()) {
            let _ = remove_tree(&entry.path());
        }
    }
}

/// Removes a tree whose folders may be closed to their owner.
pub(in super::super) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => {
            open_folders(path)?;
            fs::remove_dir_all(path)
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Gives the owner all rights on every folder of the tree. Follows no link.
fn open_folders(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}
