//! Places that a run mounts on: where they were not there before, nothing is left of them in the layer.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

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
    // The step may have left links that lead out of what it wrote: none is followed.
    let written = rustix::fs::open(written, FOLDER, Mode::empty())?;
    for path in paths {
        let Some((parent, name)) = parent_in(&written, &path) else { continue };
        let Ok(there) = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let kind = FileType::from_raw_mode(there.st_mode);
        let is_bare = if kind.is_dir() {
            match rustix::fs::openat(&parent, name, FOLDER, Mode::empty()) {
                Ok(folder) => is_empty(&folder)? && !is_opaque_here(&folder),
                Err(_) => false,
            }
        } else {
            kind.is_file() && there.st_size == 0
        };
        if !is_bare {
            continue;
        }
        match find(below, &path) {
            None if kind.is_dir() => rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?,
            None => rustix::fs::unlinkat(&parent, name, AtFlags::empty())?,
            // Nothing but its time has changed.
            Some(before) if kind.is_dir() && before.is_dir() && is_alike(&there, &before) => {
                rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The folder of `path` in `root`, and the name in it; `None` where one on the way is no folder, or a link.
fn parent_in<'a>(root: &OwnedFd, path: &'a Path) -> Option<(OwnedFd, &'a OsStr)> {
    let mut folder = root.try_clone().ok()?;
    let mut names = path.components().peekable();
    while let Some(component) = names.next() {
        let Component::Normal(name) = component else { return None };
        if names.peek().is_none() {
            return Some((folder, name));
        }
        folder = rustix::fs::openat(&folder, name, FOLDER, Mode::empty()).ok()?;
    }
    None
}

fn is_empty(folder: &OwnedFd) -> io::Result<bool> {
    for entry in Dir::read_from(folder)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_alike(one: &Stat, other: &Metadata) -> bool {
    (one.st_mode, one.st_uid, one.st_gid) == (other.mode(), other.uid(), other.gid())
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

/// Names of the attribute that says so, with and without rights.
const OPAQUE: [&str; 2] = ["user.overlay.opaque", "trusted.overlay.opaque"];

fn is_opaque_here(folder: &OwnedFd) -> bool {
    let mut value = [0; 4];
    OPAQUE
        .iter()
        .any(|name| matches!(rustix::fs::fgetxattr(folder, *name, &mut value[..]), Ok(1) if value[0] == b'y'))
}

/// Whether nothing is to be seen of what is beneath the folder.
fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 4];
    OPAQUE
        .iter()
        .any(|name| matches!(rustix::fs::lgetxattr(path, *name, &mut value[..]), Ok(1) if value[0] == b'y'))
}
