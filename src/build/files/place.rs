//! Places in a root, found and made without ever leaving it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use super::owner::Owner;
use super::{Refused, Stop};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// How many links one path may lead through: as the kernel.
const LINKS: usize = 40;

/// Opens `path` as a process does whose root is `root`.
pub(super) fn open_in(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // Something was renamed at that moment, and the kernel cannot tell whether it still is inside.
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
}

/// The path that `path` means in `root` once every link is followed, the last one too; what is not there is taken as it is.
pub(super) fn followed(root: impl AsFd, path: &Path) -> Result<PathBuf, Errno> {
    let mut links = 0;
    let mut left: Vec<OsString> = parts(path).into_iter().rev().collect();
    let mut at = PathBuf::from("/");
    while let Some(part) = left.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        let target = match rustix::fs::readlinkat(open_in(&root, &at, OFlags::PATH)?, &part, Vec::new()) {
            Ok(target) => target,
            Err(Errno::INVAL) => {
                at = next;
                continue;
            }
            // Nothing of the rest is there.
            Err(Errno::NOENT | Errno::NOTDIR) => {
                at = next;
                for part in left.into_iter().rev() {
                    if part == ".." {
                        at.pop();
                    } else {
                        at.push(part);
                    }
                }
                return Ok(at);
            }
            Err(errno) => return Err(errno),
        };
        links += 1;
        if links > LINKS {
            return Err(Errno::LOOP);
        }
        let target = Path::new(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(target.to_bytes()));
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        left.extend(parts(target).into_iter().rev());
    }
    Ok(at)
}

/// The names of a path, `..` among them.
fn parts(path: &Path) -> Vec<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(part).collect()
}

/// The folder `path` in `root`, made with those that it is in where they are missing: they belong to `owner`.
pub(super) fn made_folder(root: &OwnedFd, path: &Path, owner: Owner) -> Result<OwnedFd, Stop> {
    let path = followed(root, path).map_err(|errno| Stop::Failed(path.into(), errno.into()))?;
    let failed = |errno: Errno| Stop::Failed(path.clone(), errno.into());
    let mut at = open_in(root, Path::new("/"), FOLDER).map_err(failed)?;
    for name in parts(&path) {
        match rustix::fs::mkdirat(&at, &name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let made = open_folder(&at, &name).map_err(failed)?;
                // Whatever the caller's umask is.
                rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755)).map_err(failed)?;
                rustix::fs::fchown(&made, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
                    .map_err(failed)?;
                at = made;
            }
            Err(Errno::EXIST) => {
                at = open_folder(&at, &name).map_err(|errno| match errno {
                    Errno::NOTDIR | Errno::LOOP => {
                        let message = format!("`{}` is no folder in the image", path.display());
                        Stop::Refused(Refused::new(message).hint("a file cannot be copied into a file"))
                    }
                    errno => failed(errno),
                })?;
            }
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(at)
}

/// The folder `name` in `folder`, which is no link.
pub(super) fn open_folder(folder: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())
}

/// What is at `name` in `folder`.
pub(super) fn look(folder: impl AsFd, name: &OsStr) -> Result<Option<rustix::fs::Stat>, Errno> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Ok(Some(there)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}
