//! A directory of this machine as a root file system.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;

use super::{Executable, Node, NodeKind, Root};
use crate::elf::{Blocks, Reader};

/// A directory as a root file system.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

impl Folder {
    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// Where it cannot be opened, or is no directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { path: std::path::absolute(path)?, fd })
    }

    /// Opens what is at `path` itself. Whatever changes meanwhile, no link is followed.
    fn beneath(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let name = path.strip_prefix("/").unwrap_or(path);
        let name = if name.as_os_str().is_empty() { Path::new(".") } else { name };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.fd, name, flags, Mode::empty(), resolve)
    }

    fn file(&self, path: &Path) -> io::Result<File> {
        // NONBLOCK: should a fifo have taken the file's place, opening it must not wait.
        Ok(self.beneath(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?.into())
    }
}

impl Root for Folder {
    fn node(&self, path: &Path) -> io::Result<Option<Node>> {
        let fd = match self.beneath(path, OFlags::PATH) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let stat = rustix::fs::fstat(&fd)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => NodeKind::File,
            FileType::Directory => NodeKind::Folder,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&fd, "", Vec::new())?;
                NodeKind::Link(OsString::from_vec(target.into_bytes()).into())
            }
            _ => NodeKind::Special,
        };
        Ok(Some(Node::of(&stat, kind)))
    }

    fn executable(&self, path: &Path) -> io::Result<Executable> {
        let file = self.file(path)?;
        let mut blocks = Blocks::default();
        let len = file.metadata()?.len();
        Executable::read(&mut Reader::file(file.as_fd(), 0, len, &mut blocks))
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(path)?.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let fd = self.beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(fd)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if !matches!(name.as_slice(), b"." | b"..") {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    fn noexec(&self, path: &Path) -> Option<PathBuf> {
        let fd = self.beneath(path, OFlags::PATH).ok()?;
        let flags = rustix::fs::fstatvfs(&fd).ok()?.f_flag;
        if !flags.contains(StatVfsMountFlags::NOEXEC) {
            return None;
        }
        let full = self.path.join(path.strip_prefix("/").unwrap_or(path));
        // Where it is mounted is told better by the kernel's table than by guessing; its path is all there is else.
        Some(crate::tree::mount_of(&full).map_or(full, |mount| mount.point))
    }
}
