//! Places that a run mounts on: where they were not there before, nothing is left of them in the layer.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Removes the empty files and folders at `stubs`, and the folders that they are in, from `written` where `below` has no such thing.
pub(super) fn remove(written: &Path, below: &[&Path], stubs: &[String]) -> io::Result<()> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for stub in stubs {
        let path = Path::new(stub.trim_start_matches('/'));
        paths.extend(path.ancestors().filter(|path| !path.as_os_str().is_empty()).map(Path::to_path_buf));
    }
    // The deepest first.
    paths.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    paths.dedup();
    for path in paths {
        let file = written.join(&path);
        let Ok(there) = fs::symlink_metadata(&file) else { continue };
        let is_bare = if there.is_dir() {
            fs::read_dir(&file)?.next().is_none() && !is_opaque(&file)
        } else {
            there.is_file() && there.len() == 0
        };
        if !is_bare {
            continue;
        }
        match find(below, &path) {
            None if there.is_dir() => fs::remove_dir(&file)?,
            None => fs::remove_file(&file)?,
            // Nothing but its time has changed.
            Some(before) if there.is_dir() && before.is_dir() && is_alike(&there, &before) => {
                fs::remove_dir(&file)?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn is_alike(one: &Metadata, other: &Metadata) -> bool {
    (one.mode(), one.uid(), one.gid()) == (other.mode(), other.uid(), other.gid())
}

/// What `path` is in the folders `below`, the topmost first, as an overlay shows it. Links are not followed.
fn find(below: &[&Path], path: &Path) -> Option<Metadata> {
    for folder in below {
        let mut at = folder.to_path_buf();
        let mut names = path.iter().peekable();
        let mut is_covered = false;
        while let Some(name) = names.next() {
            at.push(name);
            match fs::symlink_metadata(&at) {
                Err(_) if is_covered => return None,
                Err(_) => break,
                Ok(there) if there.file_type().is_char_device() && there.rdev() == 0 => return None,
                Ok(there) if names.peek().is_none() => return Some(there),
                Ok(there) if there.is_dir() => is_covered |= is_opaque(&at),
                Ok(_) => return None,
            }
        }
    }
    None
}

/// Whether nothing is to be seen of what is beneath the folder.
fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 4];
    ["user.overlay.opaque", "trusted.overlay.opaque"]
        .iter()
        .any(|name| matches!(rustix::fs::lgetxattr(path, *name, &mut value[..]), Ok(1) if value[0] == b'y'))
}
