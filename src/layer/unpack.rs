//! Applying layers to a folder.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::beneath::{self, Root, split};
use super::entry::{Kind, Meta};
use super::made::Made;
use super::metadata::{Rights, set_attributes};
use super::name::{join, lossy};
use super::walk::Walk;
use super::whiteout::{Whiteout, remove_lower};
use super::{Digest, LayerError, Owners};

/// How much an image may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of all layers.
    pub entries: u64,
    /// Bytes of all layers when decompressed, and bytes of all files, their holes included.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 10_000_000, bytes: 128 << 30 }
    }
}

/// What layers hold and was left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Device nodes, which an ordinary user cannot make and a container may not use.
    pub devices: u64,
    /// Files with extended attributes that were not all set.
    pub attributes: u64,
    /// Files that belong to others than root and are all the caller's; see [`Owners::Caller`].
    pub owners: u64,
}

/// What a file's zeros are passed over in, where it has holes, in bytes: the smallest block that file systems have.
const HOLE: usize = 4096;

/// Applies an image's layers, the lowest first, to a folder that nothing else uses meanwhile.
///
/// No name, link or hard link of a layer reaches anything outside of the folder. Names that begin with `.wh.`
/// remove what lower layers put there (OCI image specification, "Whiteouts").
#[derive(Debug)]
pub struct Unpacker {
    root: Root,
    walk: Walk,
    target: Target,
}

/// All of an [`Unpacker`] that entries change.
#[derive(Debug)]
struct Target {
    limits: Limits,
    owners: Owners,
    written: u64,
    skipped: Skipped,
    /// Modes and times of folders, which are set at the end: until then the caller must be able to write in
    /// them, and their content changes their times. By the number of the folder, for links give it many names.
    folders: HashMap<u64, (Vec<u8>, Rights)>,
    made: Made,
    /// The folder of the last entry, since the next one is most often in it too.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Unpacker {
    /// Applies to `root`, an empty folder. All files will be the caller's.
    ///
    /// # Errors
    /// [`LayerError::Root`] where it cannot be opened.
    pub fn new(root: &Path, limits: Limits) -> Result<Self, LayerError> {
        let root = Root::open(root).map_err(|errno| LayerError::Root { source: errno.into() })?;
        let target = Target {
            limits,
            owners: Owners::Caller,
            written: 0,
            skipped: Skipped::default(),
            folders: HashMap::new(),
            made: Made::default(),
            last: None,
        };
        Ok(Self { root, walk: Walk::new(limits), target })
    }

    /// The same, with files that belong to whom `owners` says.
    #[must_use]
    pub fn with_owners(mut self, owners: Owners) -> Self {
        self.target.owners = owners;
        self
    }

    /// Applies one layer, plain or compressed. `expected` is the digest of its tar stream; `stop` is asked at every entry.
    ///
    /// # Errors
    /// [`LayerError`]; the folder then holds part of the layer.
    pub fn apply(
        &mut self,
        layer: impl Read,
        expected: Option<&Digest>,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), LayerError> {
        let Self { root, walk, target } = self;
        target.made.clear();
        target.last = None;
        walk.layer(layer, expected, stop, &mut |walk, meta, content| target.entry(root, walk, meta, content))
    }

    /// Gives folders their modes and times, after the last layer, and tells what was left out.
    ///
    /// # Errors
    /// [`LayerError::Entry`] where a mode cannot be set.
    pub fn finish(self) -> Result<Skipped, LayerError> {
        // Deeper ones first, for a folder's mode can close it.
        let mut found: Vec<_> = self.target.folders.iter().collect();
        found.sort_by(|(_, (one, _)), (_, (other, _))| other.cmp(one));
        let is_at = |path: &[u8], number| {
            self.root.folder(path).ok().filter(|folder| beneath::number(folder) == Ok(number))
        };
        if found.iter().all(|(number, (path, _))| is_at(path, **number).is_some()) {
            for (number, (path, rights)) in found {
                if let Some(folder) = is_at(path, *number) {
                    rights.set_owner(&folder).map_err(|errno| not_owned(path, rights.owner, errno))?;
                    rights.set(&folder).map_err(entry_error(path))?;
                }
            }
            return Ok(self.target.skipped);
        }
        // Some were removed, or the link is gone through which they were named.
        let root = self.root.folder(b"").map_err(entry_error(b""))?;
        let mut folders = self.target.folders;
        beneath::folders(&root, &mut |folder| match folders.remove(&beneath::number(folder)?) {
            Some((_, rights)) => rights.set_owner(folder).and_then(|()| rights.set(folder)),
            None => Ok(()),
        })
        .map_err(entry_error(b""))?;
        Ok(self.target.skipped)
    }
}

impl Target {
    fn entry(
        &mut self,
        root: &Root,
        walk: &Walk,
        mut meta: Meta,
        content: &mut dyn Read,
    ) -> Result<(), LayerError> {
        if meta.kind == Kind::Ignored {
            return Ok(());
        }
        let path = std::mem::take(&mut meta.path);
        if path.is_empty() {
            // The root itself, which nothing takes the place of.
            if meta.kind == Kind::Folder {
                let fd = root.folder(b"").map_err(entry_error(&path))?;
                self.folder(&path, &meta, &fd).map_err(entry_error(&path))?;
            }
            return Ok(());
        }
        let (folder, name) = split(&path);
        if let Some(whiteout) = Whiteout::of(&path, name.as_encoded_bytes())? {
            return self.whiteout(root, folder, &whiteout).map_err(entry_error(&path));
        }
        let parent = if let Some((_, fd)) = self.last.take_if(|(last, _)| last == folder) {
            fd
        } else {
            // A new folder may get the number of one that was removed.
            let mut made = |new: &OwnedFd| {
                if let Ok(number) = beneath::number(new) {
                    self.folders.remove(&number);
                }
            };
            root.made_folder(folder, &mut made).map_err(entry_error(folder))?
        };
        let fail = |errno: Errno| entry_error(&path)(errno);
        let there = beneath::kind(&parent, name).map_err(fail)?;
        let is_kept = meta.kind == Kind::Folder && there == Some(FileType::Directory);
        if let Kind::HardLink(target) = &meta.kind
            && (*target == path || target.is_empty())
        {
            // It must not remove its own target.
            let source = io::Error::from(Errno::LOOP);
            return Err(LayerError::HardLink { path: lossy(&path), target: lossy(target), source });
        }
        if there.is_some() && !is_kept {
            beneath::remove(&parent, name).map_err(fail)?;
        }
        let rights = Rights::of(&meta, self.owners);
        let not_set = |errno| not_owned(&path, rights.owner, errno);
        let has_lost = self.owners == Owners::Caller && (meta.uid, meta.gid) != (0, 0);
        self.skipped.owners += u64::from(has_lost && !matches!(meta.kind, Kind::HardLink(_)));
        match &meta.kind {
            Kind::Ignored => {}
            Kind::Folder => {
                if !is_kept {
                    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)).map_err(fail)?;
                }
                let fd = beneath::open_folder(&parent, name).map_err(fail)?;
                self.folder(&path, &meta, &fd).map_err(fail)?;
            }
            Kind::Symlink(target) => {
                rustix::fs::symlinkat(OsStr::from_bytes(target), &parent, name).map_err(fail)?;
                rights.set_at(&parent, name, false).map_err(not_set)?;
                self.skipped.attributes += u64::from(!meta.attributes.is_empty());
            }
            Kind::HardLink(target) => hard_link(root, &path, &parent, target)?,
            Kind::Fifo => {
                rustix::fs::mknodat(&parent, name, FileType::Fifo, Mode::empty(), 0).map_err(fail)?;
                rights.set_at(&parent, name, true).map_err(not_set)?;
                self.skipped.attributes += u64::from(!meta.attributes.is_empty());
            }
            Kind::Device { is_block, major, minor } => {
                let kind = if *is_block { FileType::BlockDevice } else { FileType::CharacterDevice };
                let number = rustix::fs::makedev(*major, *minor);
                let made = self.owners == Owners::Kept
                    // Root of a user namespace is told that it may not.
                    && match rustix::fs::mknodat(&parent, name, kind, Mode::empty(), number) {
                        Ok(()) => true,
                        Err(Errno::PERM) => false,
                        Err(errno) => return Err(fail(errno)),
                    };
                if made {
                    rights.set_at(&parent, name, true).map_err(not_set)?;
                } else {
                    self.skipped.devices += 1;
                }
            }
            Kind::File => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mode = Mode::from_raw_mode(0o600);
                let file = File::from(rustix::fs::openat(&parent, name, flags, mode).map_err(fail)?);
                self.content(walk, &path, &mut meta, content, &file)?;
                rights.set_owner(&file).map_err(not_set)?;
                self.skipped.attributes += u64::from(!set_attributes(&file, &meta.attributes, self.owners));
                rights.set(&file).map_err(fail)?;
            }
        }
        self.made.insert(&path);
        // A link may lead into the folder that it is in, so that the name now means another folder.
        let is_sure = folder.split(|byte| *byte == b'/').all(|part| part != name.as_encoded_bytes());
        self.last = is_sure.then(|| (folder.to_vec(), parent));
        Ok(())
    }

    /// Notes what `fd`, which the layer calls `path`, gets at the end.
    fn folder(&mut self, path: &[u8], meta: &Meta, fd: &OwnedFd) -> Result<(), Errno> {
        self.skipped.attributes += u64::from(!set_attributes(fd, &meta.attributes, self.owners));
        self.folders.insert(beneath::number(fd)?, (path.to_vec(), Rights::of(meta, self.owners)));
        Ok(())
    }

    fn content(
        &mut self,
        walk: &Walk,
        path: &[u8],
        meta: &mut Meta,
        content: &mut dyn Read,
        mut file: &File,
    ) -> Result<(), LayerError> {
        // A sparse file is larger than what is read for it: that it is not too large is known before.
        self.written = self.written.saturating_add(meta.size);
        if self.written > self.limits.bytes {
            return Err(LayerError::Limit { what: "bytes", limit: self.limits.bytes });
        }
        let fail = entry_error::<io::Error>(path);
        if meta.has_holes {
            file.set_len(meta.size).map_err(&fail)?;
        }
        let mut sparse = match meta.sparse.take() {
            Some(sparse) => Ok(sparse.reader(content)),
            None => Err(content),
        };
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = match &mut sparse {
                Ok(sparse) => {
                    let hole = i64::try_from(sparse.skip_hole()).unwrap_or(i64::MAX);
                    file.seek(SeekFrom::Current(hole)).map_err(&fail)?;
                    sparse.read(&mut buffer)
                }
                Err(plain) => plain.read(&mut buffer),
            };
            let count = match read {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Err(walk.read_error(err)),
            };
            if meta.has_holes {
                for piece in buffer[..count].chunks(HOLE) {
                    if piece.iter().all(|byte| *byte == 0) {
                        file.seek(SeekFrom::Current(piece.len().cast_signed() as i64)).map_err(&fail)?;
                    } else {
                        file.write_all(piece).map_err(&fail)?;
                    }
                }
            } else {
                file.write_all(&buffer[..count]).map_err(&fail)?;
            }
        }
    }

    /// Removes what lower layers put in `folder`: one name, or all.
    fn whiteout(&mut self, root: &Root, folder: &[u8], whiteout: &Whiteout<'_>) -> Result<(), Errno> {
        // It may be about to go.
        self.last = None;
        let fd = match root.folder(folder) {
            Ok(fd) => fd,
            // There is nothing that it could remove.
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        match whiteout {
            Whiteout::Mark => Ok(()),
            Whiteout::Opaque => remove_lower(&fd, folder, &self.made),
            Whiteout::Name(hidden) => {
                let (name, whole) = (OsStr::from_bytes(hidden), join(folder, hidden));
                if !self.made.contains(&whole) {
                    beneath::remove(&fd, name)
                } else if let Ok(inner) = beneath::open_folder(&fd, name) {
                    remove_lower(&inner, &whole, &self.made)
                } else {
                    Ok(())
                }
            }
        }
    }
}

fn hard_link(root: &Root, path: &[u8], parent: &OwnedFd, target: &[u8]) -> Result<(), LayerError> {
    let fail = |errno: Errno| LayerError::HardLink {
        path: lossy(path),
        target: lossy(target),
        source: errno.into(),
    };
    let (folder, name) = split(target);
    let folder = root.folder(folder).map_err(fail)?;
    rustix::fs::linkat(folder, name, parent, split(path).1, AtFlags::empty()).map_err(fail)
}

/// Why the owner of what was made could not be set.
fn not_owned(path: &[u8], owner: Option<(u32, u32)>, errno: Errno) -> LayerError {
    match (errno, owner) {
        (Errno::INVAL, Some((uid, gid))) => LayerError::Owner { path: lossy(path), uid, gid },
        _ => entry_error(path)(errno),
    }
}

fn entry_error<E: Into<io::Error>>(path: &[u8]) -> impl Fn(E) -> LayerError {
    let path = lossy(path);
    move |source| LayerError::Entry { path: path.clone(), source: source.into() }
}
