//! Work on files that never leaves one folder, whatever links are in it.
//!
//! Every path is resolved by the kernel with that folder as its root (`openat2` with `RESOLVE_IN_ROOT`), and only
//! the last name is used by itself, without following it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How deep folders may be nested in one that is removed; each level takes a descriptor.
const DEPTH: u32 = 512;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The folder that nothing leaves.
#[derive(Debug)]
pub(super) struct Root {
    fd: OwnedFd,
}

impl Root {
    pub(super) fn open(path: &std::path::Path) -> Result<Self, Errno> {
        rustix::fs::open(path, FOLDER, Mode::empty()).map(|fd| Self { fd })
    }

    /// The folder `path`, which may lead through links, all of them seen from this root.
    pub(super) fn folder(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.fd, OsStr::from_bytes(path), FOLDER, Mode::empty(), resolve) {
                // Something was renamed meanwhile, somewhere on the machine; the kernel asks to try again.
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
    }

    /// The same, with what is missing of it made, of which `made` is told. A file in the way goes.
    pub(super) fn made_folder(&self, path: &[u8], made: &mut dyn FnMut(&OwnedFd)) -> Result<OwnedFd, Errno> {
        match self.folder(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            other => return other,
        }
        let (parent, name) = split(path);
        let parent = self.made_folder(parent, made)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                // A file, or a link that leads nowhere.
                remove(&parent, name)?;
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
            }
            Err(errno) => return Err(errno),
        }
        let new = open_folder(&parent, name)?;
        // Whatever the caller's umask is.
        rustix::fs::fchmod(&new, Mode::from_raw_mode(0o755))?;
        made(&new);
        Ok(new)
    }
}

/// The folder and the last name of a path that is clean: see [`clean`](super::name::clean).
pub(super) fn split(path: &[u8]) -> (&[u8], &OsStr) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], OsStr::from_bytes(&path[at + 1..])),
        None => (b"", OsStr::from_bytes(path)),
    }
}

/// What kind of thing `name` in `folder` is; `None` where it is not there.
pub(super) fn kind(folder: impl AsFd, name: &OsStr) -> Result<Option<FileType>, Errno> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Removes `name` from `folder`, with all that is in it. That it is not there is no error.
pub(super) fn remove(folder: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    remove_tree(folder.as_fd(), name, DEPTH)
}

fn remove_tree(folder: rustix::fd::BorrowedFd<'_>, name: &OsStr, depth: u32) -> Result<(), Errno> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let depth = depth.checked_sub(1).ok_or(Errno::LOOP)?;
    let inner = open_folder(folder, name)?;
    for name in names(&inner)? {
        remove_tree(inner.as_fd(), &name, depth)?;
    }
    rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)
}

/// The folder `name` in `folder`, which is no link.
pub(super) fn open_folder(folder: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())
}

/// Calls `each` with every folder beneath `folder`, the deepest first.
pub(super) fn folders(
    folder: &OwnedFd,
    each: &mut dyn FnMut(&OwnedFd) -> Result<(), Errno>,
) -> Result<(), Errno> {
    folders_within(folder, each, DEPTH)
}

fn folders_within(
    folder: &OwnedFd,
    each: &mut dyn FnMut(&OwnedFd) -> Result<(), Errno>,
    depth: u32,
) -> Result<(), Errno> {
    let depth = depth.checked_sub(1).ok_or(Errno::LOOP)?;
    for name in names(folder)? {
        if let Ok(inner) = open_folder(folder, &name) {
            folders_within(&inner, each, depth)?;
        }
    }
    each(folder)
}

/// A file's number in its file system.
pub(super) fn number(file: &OwnedFd) -> Result<u64, Errno> {
    rustix::fs::fstat(file).map(|stat| stat.st_ino)
}

/// The names in `folder`.
pub(super) fn names(folder: impl AsFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}
