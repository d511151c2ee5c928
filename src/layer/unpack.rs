//! Applying layers to a folder.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use tar::EntryType;

use super::beneath::{self, Root, split};
use super::metered::{Meter, Metered};
use super::{Digest, DigestReader, LayerError, decompressed};

/// How much an image may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of all layers.
    pub entries: u64,
    /// Bytes of all layers when decompressed, and bytes of all files.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 4_000_000, bytes: 128 << 30 }
    }
}

/// What layers hold and was left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Device nodes, which an ordinary user cannot make and a container may not use.
    pub devices: u64,
    /// Files with extended attributes, whose attributes are not set.
    pub attributes: u64,
}

/// The longest name that is accepted, in bytes; the kernel's own limit for a path.
const NAME_LIMIT: usize = 4095;

/// Applies an image's layers, the lowest first, to a folder that nothing else uses meanwhile.
///
/// No name, link or hard link of a layer reaches anything outside of the folder. Every file belongs to the
/// caller. Names that begin with `.wh.` remove what lower layers put there (OCI image specification,
/// "Whiteouts").
#[derive(Debug)]
pub struct Unpacker {
    root: Root,
    limits: Limits,
    meter: Meter,
    entries: u64,
    written: u64,
    skipped: Skipped,
    /// Modes and times of folders, which are set at the end: until then the caller must be able to write in them.
    folders: BTreeMap<Vec<u8>, (u32, u64)>,
    /// What the current layer made, which its own whiteouts spare.
    made: HashSet<Vec<u8>>,
    /// The folder of the last entry, since the next one is most often in it too.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Unpacker {
    /// Applies to `root`, an empty folder.
    ///
    /// # Errors
    /// [`LayerError::Root`] where it cannot be opened.
    pub fn new(root: &Path, limits: Limits) -> Result<Self, LayerError> {
        let root = Root::open(root).map_err(|errno| LayerError::Root { source: errno.into() })?;
        Ok(Self {
            root,
            limits,
            meter: Meter::new(limits.bytes),
            entries: 0,
            written: 0,
            skipped: Skipped::default(),
            folders: BTreeMap::new(),
            made: HashSet::new(),
            last: None,
        })
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
        self.made.clear();
        self.last = None;
        let limit = self.limits.bytes;
        let meter = self.meter.clone();
        let read_error = |source| {
            if meter.is_spent() {
                LayerError::Limit { what: "bytes", limit }
            } else {
                LayerError::Read { source }
            }
        };
        let plain = decompressed(layer).map_err(read_error)?;
        let mut digested = DigestReader::new(Metered { inner: plain, meter: self.meter.clone() });
        {
            let mut archive = tar::Archive::new(&mut digested);
            self.meter.expect_records();
            for entry in archive.entries().map_err(read_error)? {
                let mut entry = entry.map_err(read_error)?;
                if stop() {
                    return Err(LayerError::Stopped);
                }
                self.entries += 1;
                if self.entries > self.limits.entries {
                    return Err(LayerError::Limit { what: "entries", limit: self.limits.entries });
                }
                self.meter.expect_content();
                self.entry(&mut entry)?;
                // What is left of it is skipped here, as content.
                io::copy(&mut entry, &mut io::sink()).map_err(read_error)?;
                self.meter.expect_records();
            }
        }
        // The digest covers what follows the end mark too.
        self.meter.expect_content();
        io::copy(&mut digested, &mut io::sink()).map_err(read_error)?;
        let found = digested.digest();
        match expected {
            Some(expected) if *expected != found => Err(LayerError::DiffId { expected: *expected, found }),
            _ => Ok(()),
        }
    }

    /// Gives folders their modes and times, after the last layer, and tells what was left out.
    ///
    /// # Errors
    /// [`LayerError::Entry`] where a mode cannot be set.
    pub fn finish(self) -> Result<Skipped, LayerError> {
        // Deeper ones first, for a folder's mode can close it.
        for (path, (mode, time)) in self.folders.iter().rev() {
            let folder = match self.root.folder(path) {
                Ok(folder) => folder,
                // A later layer removed it, or put a file in its place.
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(errno) => return Err(entry_error(path)(errno)),
            };
            rustix::fs::futimens(&folder, &times(*time)).map_err(entry_error(path))?;
            rustix::fs::fchmod(&folder, Mode::from_raw_mode(*mode)).map_err(entry_error(path))?;
        }
        Ok(self.skipped)
    }

    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), LayerError> {
        let path = clean(&entry.path_bytes())?;
        let header = entry.header();
        let mode = header.mode().map_err(|source| LayerError::Read { source })? & 0o7777;
        let time = header.mtime().unwrap_or_default();
        let kind = header.entry_type();
        if let Ok(Some(extensions)) = entry.pax_extensions()
            && extensions.flatten().any(|extension| extension.key_bytes().starts_with(b"SCHILY.xattr."))
        {
            self.skipped.attributes += 1;
        }
        if path.is_empty() {
            // The root itself.
            if kind == EntryType::Directory {
                self.folders.insert(path, (mode, time));
            }
            return Ok(());
        }
        let (folder, name) = split(&path);
        if let Some(hidden) = name.as_encoded_bytes().strip_prefix(b".wh.") {
            return self.whiteout(&path, folder, hidden);
        }
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let parent = self.parent(folder)?;
        let fail = |errno: Errno| entry_error(&path)(errno);
        let there = beneath::kind(&parent, name).map_err(fail)?;
        if kind == EntryType::Directory && there == Some(FileType::Directory) {
            self.folders.insert(path.clone(), (mode, time));
            self.mark(&path);
            self.last = Some((folder.to_vec(), parent));
            return Ok(());
        }
        // A hard link to itself must not remove its own target.
        let target = match kind {
            EntryType::Link => Some(clean(&entry.link_name_bytes().unwrap_or_default())?),
            _ => None,
        };
        if target.as_ref() == Some(&path) {
            let source = io::Error::from(Errno::LOOP);
            return Err(LayerError::HardLink { path: lossy(&path), target: lossy(&path), source });
        }
        if there.is_some() {
            beneath::remove(&parent, name).map_err(fail)?;
        }
        match kind {
            EntryType::Directory => {
                let open = Mode::from_raw_mode(0o700);
                rustix::fs::mkdirat(&parent, name, open).map_err(fail)?;
                self.folders.insert(path.clone(), (mode, time));
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                rustix::fs::symlinkat(target, &parent, name).map_err(fail)?;
                set_time(&parent, name, time).map_err(fail)?;
            }
            EntryType::Link => {
                let target = target.unwrap_or_default();
                self.hard_link(&path, &parent, &target)?;
            }
            EntryType::Fifo => {
                let mode = Mode::from_raw_mode(mode);
                rustix::fs::mknodat(&parent, name, FileType::Fifo, mode, 0).map_err(fail)?;
                set_time(&parent, name, time).map_err(fail)?;
            }
            EntryType::Char | EntryType::Block => self.skipped.devices += 1,
            // The tar specification: a kind that is not known is a file.
            _ => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file =
                    rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600)).map_err(fail)?;
                self.content(&path, entry, file, mode, time)?;
            }
        }
        self.mark(&path);
        self.last = Some((folder.to_vec(), parent));
        Ok(())
    }

    /// Remembers that the current layer made `path`, and with it the folders that it is in.
    fn mark(&mut self, path: &[u8]) {
        let mut path = path;
        while !path.is_empty() && self.made.insert(path.to_vec()) {
            path = split(path).0;
        }
    }

    fn parent(&mut self, folder: &[u8]) -> Result<OwnedFd, LayerError> {
        if let Some((_, fd)) = self.last.take_if(|(last, _)| last == folder) {
            return Ok(fd);
        }
        self.root.made_folder(folder).map_err(entry_error(folder))
    }

    fn content(
        &mut self,
        path: &[u8],
        entry: &mut impl Read,
        file: OwnedFd,
        mode: u32,
        time: u64,
    ) -> Result<(), LayerError> {
        let mut file = File::from(file);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = match entry.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) if self.meter.is_spent() => {
                    return Err(LayerError::Limit { what: "bytes", limit: self.limits.bytes });
                }
                Err(source) => return Err(LayerError::Read { source }),
            };
            // A sparse file is larger than what was read for it.
            self.written = self.written.saturating_add(count as u64);
            if self.written > self.limits.bytes {
                return Err(LayerError::Limit { what: "bytes", limit: self.limits.bytes });
            }
            file.write_all(&buffer[..count]).map_err(entry_error(path))?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(entry_error(path))?;
        rustix::fs::futimens(&file, &times(time)).map_err(entry_error(path))
    }

    fn hard_link(&self, path: &[u8], parent: &OwnedFd, target: &[u8]) -> Result<(), LayerError> {
        let fail = |errno: Errno| LayerError::HardLink {
            path: lossy(path),
            target: lossy(target),
            source: errno.into(),
        };
        let (folder, name) = split(target);
        let folder = self.root.folder(folder).map_err(fail)?;
        rustix::fs::linkat(folder, name, parent, split(path).1, AtFlags::empty()).map_err(fail)
    }

    /// Removes what lower layers put at `hidden` in `folder`, or, for the opaque mark, in all of `folder`.
    fn whiteout(&mut self, path: &[u8], folder: &[u8], hidden: &[u8]) -> Result<(), LayerError> {
        // It may be about to go.
        self.last = None;
        let fd = match self.root.folder(folder) {
            Ok(fd) => fd,
            // There is nothing that it could remove.
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(entry_error(path)(errno)),
        };
        let done = match hidden {
            b".wh..opq" => self.remove_lower(&fd, folder),
            b"" | b"." | b".." => {
                let reason = "a whiteout of nothing";
                return Err(LayerError::Name { path: lossy(path), reason });
            }
            // Marks of AUFS's own, which layers made on it carry.
            _ if hidden.starts_with(b".wh.") => Ok(()),
            _ => {
                let (name, whole) = (std::ffi::OsStr::new(bytes(hidden)), join(folder, hidden));
                if !self.made.contains(&whole) {
                    beneath::remove(&fd, name)
                } else if let Ok(inner) = beneath::open_folder(&fd, name) {
                    self.remove_lower(&inner, &whole)
                } else {
                    Ok(())
                }
            }
        };
        done.map_err(entry_error(path))
    }

    /// Removes from `folder` all that the current layer did not make.
    fn remove_lower(&self, fd: impl AsFd, folder: &[u8]) -> Result<(), Errno> {
        for name in beneath::names(&fd)? {
            let path = join(folder, name.as_encoded_bytes());
            if !self.made.contains(&path) {
                beneath::remove(&fd, &name)?;
            } else if let Ok(inner) = beneath::open_folder(&fd, &name) {
                self.remove_lower(&inner, &path)?;
            }
        }
        Ok(())
    }
}

fn bytes(name: &[u8]) -> &std::ffi::OsStr {
    use std::os::unix::ffi::OsStrExt as _;
    std::ffi::OsStr::from_bytes(name)
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// A layer's name without the slash before it, empty parts and `.`; one with `..` is refused, for no tool writes it.
fn clean(name: &[u8]) -> Result<Vec<u8>, LayerError> {
    let refuse = |reason| LayerError::Name { path: lossy(name.get(..256).unwrap_or(name)), reason };
    if name.len() > NAME_LIMIT {
        return Err(refuse("longer than 4095 bytes"));
    }
    if name.contains(&0) {
        return Err(refuse("a NUL byte"));
    }
    let mut path = Vec::with_capacity(name.len());
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(refuse("`..`")),
            part => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
    }
    Ok(path)
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string()
}

fn entry_error<E: Into<io::Error>>(path: &[u8]) -> impl Fn(E) -> LayerError {
    let path = lossy(path);
    move |source| LayerError::Entry { path: path.clone(), source: source.into() }
}

/// `time`, in seconds since 1970, for a file's last access and last change.
fn times(time: u64) -> Timestamps {
    let time = Timespec { tv_sec: i64::try_from(time).unwrap_or_default(), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn set_time(folder: &OwnedFd, name: &std::ffi::OsStr, time: u64) -> Result<(), Errno> {
    rustix::fs::utimensat(folder, name, &times(time), AtFlags::SYMLINK_NOFOLLOW)
}
