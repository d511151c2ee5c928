//! Writing what is copied to its place.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::super::owner::Owner;
use super::super::place::{look, open_in};
use super::super::{Done, Refused, Stop};
use super::chmod::Chmod;

/// The longest list of a file's extended attributes, and the longest value; Linux, `linux/limits.h`.
const ATTRIBUTES: usize = 65_536;

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Folder,
    File,
    Link(OsString),
    Fifo,
    /// Sockets and device nodes.
    Other,
}

/// What is known of it.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) owner: Owner,
    pub(super) time: (i64, u32),
    /// The device and the number of a file that has several names.
    pub(super) link: Option<(u64, u64)>,
}

/// Writes one match.
pub(super) struct Writer<'a> {
    root: &'a OwnedFd,
    /// Where the match itself goes.
    target: PathBuf,
    /// Whether that is a folder which was made just now.
    is_made: bool,
    owner: Option<Owner>,
    chmod: Option<&'a Chmod>,
    owners: bool,
    done: &'a mut Done,
    /// Folders, of which modes and times are set last.
    folders: Vec<(PathBuf, Meta)>,
    links: HashMap<(u64, u64), PathBuf>,
    /// The folder of the last file.
    last: Option<(PathBuf, OwnedFd)>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        root: &'a OwnedFd,
        target: PathBuf,
        is_made: bool,
        owner: Option<Owner>,
        chmod: Option<&'a Chmod>,
        owners: bool,
        done: &'a mut Done,
    ) -> Self {
        let (folders, links) = (Vec::new(), HashMap::new());
        Self { root, target, is_made, owner, chmod, owners, done, folders, links, last: None }
    }

    /// Writes what is at `path` beneath the match; `open` opens it for reading where it is a file or a folder of another root.
    pub(super) fn put(
        &mut self,
        path: &Path,
        what: &What,
        meta: &Meta,
        open: &dyn Fn() -> io::Result<File>,
    ) -> Result<(), Stop> {
        let target = if path.as_os_str().is_empty() { self.target.clone() } else { self.target.join(path) };
        let mut meta = meta.clone();
        meta.owner = self.owner.unwrap_or_else(|| meta.owner.if_kept(self.owners, self.done));
        if let Some(chmod) = self.chmod {
            meta.mode = chmod.apply(meta.mode, *what == What::Folder);
        }
        let failed = |err: io::Error| Stop::Failed(target.clone(), err);
        if *what == What::Folder {
            return self.folder(path, &target, meta);
        }
        let Some(name) = target.file_name() else {
            return Err(Refused::new("a file cannot take the place of the root").into());
        };
        let parent = self.parent(&target)?;
        match look(&parent, name).map_err(|errno| failed(errno.into()))? {
            Some(there) if FileType::from_raw_mode(there.st_mode).is_dir() => {
                let message =
                    format!("`{}` is a folder in the image, and a file is copied there", target.display());
                return Err(Refused::new(message)
                    .hint("a slash at the destination's end copies into the folder")
                    .into());
            }
            Some(_) => {
                rustix::fs::unlinkat(&parent, name, AtFlags::empty())
                    .map_err(|errno| failed(errno.into()))?;
            }
            None => {}
        }
        let written = self.file(&parent, name, what, &meta, &target, open);
        self.last = target.parent().map(|folder| (folder.into(), parent));
        written.map_err(failed)
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        what: &What,
        meta: &Meta,
        target: &Path,
        open: &dyn Fn() -> io::Result<File>,
    ) -> io::Result<()> {
        match what {
            What::Link(to) => {
                rustix::fs::symlinkat(to, parent, name)?;
                set_at(parent, name, meta, false)
            }
            What::Fifo => {
                rustix::fs::mknodat(parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
                set_at(parent, name, meta, true)
            }
            What::File => {
                if let Some(first) = meta.link.and_then(|number| self.links.get(&number)) {
                    let first = open_in(self.root, first, OFlags::PATH)?;
                    let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&first));
                    return Ok(rustix::fs::linkat(
                        rustix::fs::CWD,
                        own,
                        parent,
                        name,
                        AtFlags::SYMLINK_FOLLOW,
                    )?);
                }
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file =
                    File::from(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
                let mut from = open()?;
                // The kernel shares the blocks where the file system can.
                io::copy(&mut from, &mut file)?;
                set(&file, meta, Some(&from))?;
                if let Some(number) = meta.link {
                    self.links.insert(number, target.into());
                }
                Ok(())
            }
            What::Other | What::Folder => {
                self.done.left_out += 1;
                Ok(())
            }
        }
    }

    fn folder(&mut self, path: &Path, target: &Path, meta: Meta) -> Result<(), Stop> {
        let failed = |errno: Errno| Stop::Failed(target.into(), errno.into());
        if path.as_os_str().is_empty() {
            // The destination is there; one that was there before stays as it is.
            if self.is_made {
                self.folders.push((target.into(), meta));
            }
            return Ok(());
        }
        let Some(name) = target.file_name() else { return Ok(()) };
        let parent = self.parent(target)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                open_in(self.root, target, OFlags::PATH | OFlags::DIRECTORY).map_err(
                    |errno| match errno {
                        Errno::NOTDIR | Errno::NOENT | Errno::LOOP => {
                            let message = format!(
                                "`{}` is no folder in the image, and a folder is copied there",
                                target.display()
                            );
                            Refused::new(message).into()
                        }
                        errno => failed(errno),
                    },
                )?;
            }
            Err(errno) => return Err(failed(errno)),
        }
        self.folders.push((target.into(), meta));
        Ok(())
    }

    /// The folder that `target` is in.
    fn parent(&mut self, target: &Path) -> Result<OwnedFd, Stop> {
        let folder = target.parent().unwrap_or(Path::new("/"));
        if let Some((_, fd)) = self.last.take_if(|(last, _)| last == folder) {
            return Ok(fd);
        }
        open_in(self.root, folder, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|errno| Stop::Failed(folder.into(), errno.into()))
    }

    /// Gives folders their owners, modes and times: what is made in one changes its time, and its mode may close it.
    pub(super) fn finish(self) -> Result<(), Stop> {
        for (path, meta) in self.folders.iter().rev() {
            let failed = |err: io::Error| Stop::Failed(path.clone(), err);
            let folder = open_in(self.root, path, OFlags::RDONLY | OFlags::DIRECTORY);
            let folder = folder.map_err(|errno| failed(errno.into()))?;
            set(&folder, meta, None).map_err(failed)?;
        }
        Ok(())
    }
}

/// Sets owner, attributes, mode and time.
fn set(file: impl AsFd, meta: &Meta, from: Option<&File>) -> io::Result<()> {
    let file = file.as_fd();
    rustix::fs::fchown(file, Some(Uid::from_raw(meta.owner.uid)), Some(Gid::from_raw(meta.owner.gid)))?;
    if let Some(from) = from {
        attributes(from, file);
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(meta.mode))?;
    Ok(rustix::fs::futimens(file, &times(meta))?)
}

fn set_at(folder: &OwnedFd, name: &OsStr, meta: &Meta, has_mode: bool) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(meta.owner.uid), Gid::from_raw(meta.owner.gid));
    rustix::fs::chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if has_mode {
        rustix::fs::chmodat(folder, name, Mode::from_raw_mode(meta.mode), AtFlags::empty())?;
    }
    Ok(rustix::fs::utimensat(folder, name, &times(meta), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(meta: &Meta) -> Timestamps {
    let time = Timespec { tv_sec: meta.time.0, tv_nsec: meta.time.1.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Extended attributes as far as they may be set: those of an overlay, and of this machine's rights, are nobody's else.
fn attributes(from: &File, to: impl AsFd) {
    let mut names = vec![0_u8; ATTRIBUTES];
    let Ok(count) = rustix::fs::flistxattr(from, &mut names[..]) else { return };
    for name in names.get(..count).unwrap_or_default().split(|byte| *byte == 0) {
        let is_plain = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
        if !is_plain && name != b"security.capability" && !name.starts_with(b"system.posix_acl_") {
            continue;
        }
        let mut value = vec![0_u8; ATTRIBUTES];
        if let Ok(count) = rustix::fs::fgetxattr(from, name, &mut value[..]) {
            let _ =
                rustix::fs::fsetxattr(&to, name, value.get(..count).unwrap_or_default(), XattrFlags::empty());
        }
    }
}
