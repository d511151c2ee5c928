//! Places in a container's root, found and made without ever leaving it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// What something to be mounted is, and so what it can be mounted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Folder,
    /// All that is no folder.
    File,
}

impl Kind {
    /// What is behind a descriptor.
    pub(in super::super) fn of(fd: impl AsFd) -> Result<Self, Errno> {
        let is_folder = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode).is_dir();
        Ok(if is_folder { Self::Folder } else { Self::File })
    }
}

/// Opens `path` as a process does whose root is `root`; no magic link of `/proc` is followed.
pub(in super::super) fn open_in(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // Something was renamed at that moment, and the kernel cannot tell whether it still is inside.
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
}

/// The place `path` in `root` for something of that kind, made with its parents where it is missing.
///
/// # Errors
/// `ENOTDIR` and `EISDIR` where something of another kind is there, `ELOOP` where a link there leads nowhere.
pub(in super::super) fn point(root: impl AsFd, path: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
    match open_in(&root, path, OFlags::PATH) {
        Ok(there) => {
            return match (kind, Kind::of(&there)?) {
                (Kind::Folder, Kind::File) => Err(Errno::NOTDIR),
                (Kind::File, Kind::Folder) => Err(Errno::ISDIR),
                _ => Ok(there),
            };
        }
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let mut parent = open_in(&root, Path::new("/"), OFlags::PATH | OFlags::DIRECTORY)?;
    let mut at = PathBuf::from("/");
    let mut names = path.iter().skip(1).peekable();
    while let Some(name) = names.next() {
        at.push(name);
        let last = names.peek().is_none();
        let flags = if last { OFlags::PATH } else { OFlags::PATH | OFlags::DIRECTORY };
        let found = match open_in(&root, &at, flags) {
            Err(Errno::NOENT) => {
                let made = if last && kind == Kind::File {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    rustix::fs::openat(&parent, name, flags | OFlags::WRONLY, Mode::from_raw_mode(0o644))
                        .map(drop)
                } else {
                    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
                };
                match made {
                    // What is there and cannot be opened is a link to what is not.
                    Err(Errno::EXIST) => return Err(Errno::LOOP),
                    other => other?,
                }
                open_in(&root, &at, flags)?
            }
            other => other?,
        };
        parent = found;
    }
    Ok(parent)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_leads_out_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("real")).unwrap();
        fs::create_dir(&outside).unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink("/real", root.join("inside")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        let fd = fs::File::open(&root).unwrap();
        let place = |path: &str, kind| point(&fd, Path::new(path), kind);
        place("/a/b/c", Kind::Folder).unwrap();
        place("/a/b/d", Kind::File).unwrap();
        place("/inside/x", Kind::Folder).unwrap();
        assert!(root.join("a/b/c").is_dir() && root.join("a/b/d").is_file() && root.join("real/x").is_dir());
        assert_eq!(place("/absolute/x", Kind::Folder).unwrap_err(), Errno::LOOP);
        assert_eq!(place("/relative", Kind::Folder).unwrap_err(), Errno::LOOP);
        assert_eq!(place("/file", Kind::Folder).unwrap_err(), Errno::NOTDIR);
        assert_eq!(place("/file/x", Kind::Folder).unwrap_err(), Errno::NOTDIR);
        assert_eq!(place("/real", Kind::File).unwrap_err(), Errno::ISDIR);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}
