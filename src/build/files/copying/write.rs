//! Writing what is copied to its place.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::super::owner::Owner;
use super::super::place::{look, open_in};
use super::super::{Done, Refused, Stop};
use super::chmod::Chmod;
use crate::build::{Entry, Kind};
use crate::layer::DigestWriter;

/// A file of the context is no longer what the step was begun with.
pub(super) fn changed() -> io::Error {
    io::Error::other("it has changed since the build began to read it; build again")
}

/// What is set on a file.
#[derive(Debug, Clone, Copy)]
struct Meta<'a> {
    mode: u32,
    owner: Owner,
    time: (i64, u32),
    attributes: &'a [(OsString, Vec<u8>)],
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
    folders: Vec<(PathBuf, Entry, Owner)>,
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
        Self { root, target, is_made, owner, chmod, owners, done, folders: Vec::new(), last: None }
    }

    /// Writes an entry of the match, which `open` opens for reading where it is a file. Its owner counts if `is_owned`, else it is root's.
    pub(super) fn put(
        &mut self,
        entry: &Entry,
        is_owned: bool,
        open: &dyn Fn() -> io::Result<File>,
    ) -> Result<(), Stop> {
        let target = if entry.path.is_empty() { self.target.clone() } else { self.target.join(&entry.path) };
        let own = if is_owned { Owner { uid: entry.owner.0, gid: entry.owner.1 } } else { Owner::default() };
        let owner = self.owner.unwrap_or_else(|| own.if_kept(self.owners, self.done));
        if entry.kind == Kind::Folder {
            return self.folder(entry, &target, owner);
        }
        let failed = |err: io::Error| Stop::Failed(target.clone(), err);
        let Some(name) = target.file_name() else {
            return Err(Refused::new("a file cannot take the place of the root").into());
        };
        let parent = self.parent(&target)?;
        match look(&parent, name).map_err(|errno| failed(errno.into()))? {
            Some(there) if FileType::from_raw_mode(there.st_mode).is_dir() => {
                let message =
                    format!("`{}` is a folder in the image, and a file is copied there", target.display());
                let hint = "a slash at the destination's end copies into the folder";
                return Err(Refused::new(message).hint(hint).into());
            }
            Some(_) => {
                rustix::fs::unlinkat(&parent, name, AtFlags::empty())
                    .map_err(|errno| failed(errno.into()))?;
            }
            None => {}
        }
        let written = self.file(&parent, name, entry, owner, open);
        self.last = target.parent().map(|folder| (folder.into(), parent));
        written.map_err(failed)
    }

    fn meta<'e>(&self, entry: &'e Entry, owner: Owner) -> Meta<'e> {
        let mode = self.chmod.map(|chmod| chmod.apply(entry.mode, entry.kind == Kind::Folder));
        Meta { mode: mode.unwrap_or(entry.mode), owner, time: entry.time, attributes: &entry.attributes }
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        entry: &Entry,
        owner: Owner,
        open: &dyn Fn() -> io::Result<File>,
    ) -> io::Result<()> {
        let meta = self.meta(entry, owner);
        match &entry.kind {
            Kind::Link { target } => {
                rustix::fs::symlinkat(target, parent, name)?;
                let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
                rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
                Ok(rustix::fs::utimensat(parent, name, &times(&meta), AtFlags::SYMLINK_NOFOLLOW)?)
            }
            Kind::Again { path } => {
                let first = open_in(self.root, &self.target.join(path), OFlags::PATH | OFlags::NOFOLLOW)?;
                let own = format!("/proc/self/fd/{}", first.as_raw_fd());
                Ok(rustix::fs::linkat(CWD, own, parent, name, AtFlags::SYMLINK_FOLLOW)?)
            }
            Kind::File { digest, .. } => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mode = Mode::from_raw_mode(0o600);
                let mut file = File::from(rustix::fs::openat(parent, name, flags, mode)?);
                if digest.is_empty() {
                    // The kernel shares the blocks where the file system can.
                    io::copy(&mut open()?, &mut file)?;
                } else {
                    // What the cache knows the step by is what must be in it.
                    let mut out = DigestWriter::new(&mut file);
                    io::copy(&mut open()?, &mut out)?;
                    if out.finish().1.to_string() != *digest {
                        return Err(changed());
                    }
                }
                set(&file, &meta)
            }
            Kind::Folder => Ok(()),
        }
    }

    fn folder(&mut self, entry: &Entry, target: &Path, owner: Owner) -> Result<(), Stop> {
        let failed = |errno: Errno| Stop::Failed(target.into(), errno.into());
        if entry.path.is_empty() {
            // The destination is there. One that was there before stays as it is, and one that was made has nothing of the source
            // but its time: with BuildKit and buildah, only what is in a folder is copied.
            if self.is_made {
                let made = Entry { mode: 0o755, attributes: Vec::new(), ..entry.clone() };
                self.folders.push((target.into(), made, self.owner.unwrap_or_default()));
            }
            return Ok(());
        }
        let Some(name) = target.file_name() else { return Ok(()) };
        let parent = self.parent(target)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let there = open_in(self.root, target, OFlags::PATH | OFlags::DIRECTORY);
                there.map_err(|errno| match errno {
                    Errno::NOTDIR | Errno::NOENT | Errno::LOOP => {
                        let place = target.display();
                        let message =
                            format!("`{place}` is no folder in the image, and a folder is copied there");
                        Refused::new(message).into()
                    }
                    errno => failed(errno),
                })?;
            }
            Err(errno) => return Err(failed(errno)),
        }
        self.folders.push((target.into(), entry.clone(), owner));
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
        for (path, entry, owner) in self.folders.iter().rev() {
            let failed = |err: io::Error| Stop::Failed(path.clone(), err);
            let folder = open_in(self.root, path, OFlags::RDONLY | OFlags::DIRECTORY);
            let folder = folder.map_err(|errno| failed(errno.into()))?;
            set(&folder, &self.meta(entry, *owner)).map_err(failed)?;
        }
        Ok(())
    }
}

/// Sets owner, attributes, mode and time.
fn set(file: impl AsFd, meta: &Meta<'_>) -> io::Result<()> {
    let file = file.as_fd();
    rustix::fs::fchown(file, Some(Uid::from_raw(meta.owner.uid)), Some(Gid::from_raw(meta.owner.gid)))?;
    for (name, value) in meta.attributes {
        // What a file system does not take, a program has to do without, as it would on this one anywhere.
        let _ = rustix::fs::fsetxattr(file, name, value, XattrFlags::empty());
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(meta.mode))?;
    Ok(rustix::fs::futimens(file, &times(meta))?)
}

fn times(meta: &Meta<'_>) -> Timestamps {
    let time = Timespec { tv_sec: meta.time.0, tv_nsec: meta.time.1.into() };
    Timestamps { last_access: time, last_modification: time }
}
