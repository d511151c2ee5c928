//! Everything that a source is: its folders, files and links.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::ContextError;
use super::filter::{Filter, Verdict};
use super::resolve::{FOLDER, Resolved};
use super::{Contents, Context};
use crate::build::taken::{Entry, Kind, Match};
use crate::layer::DigestWriter;

/// The most files and folders of one source: each takes some hundred bytes of memory.
const ENTRIES: usize = 1 << 20;

/// How deep folders may be nested; each level takes a descriptor.
const DEPTH: usize = 500;

/// The most that the kernel gives of a file's attributes: their names, and one's value. Source: linux/limits.h.
const ATTRIBUTE_MOST: usize = 64 << 10;

/// A folder that is being read.
struct Level {
    folder: OwnedFd,
    /// What is yet to be looked at, the next one last.
    names: Vec<OsString>,
    /// Its path beneath the source.
    path: Vec<u8>,
    /// The folder itself, while nothing in it was taken.
    waiting: Option<Entry>,
}

impl Context {
    /// What `found` is, with all that `filter` takes of it; `None` where that is nothing.
    pub(super) fn walk(&self, found: Resolved, filter: &Filter<'_>) -> Result<Option<Match>, ContextError> {
        let path = OsString::from_vec(found.asked);
        if let Some(name) = &found.name {
            let asked = std::path::Path::new(&path).file_name().unwrap_or(name).to_string_lossy();
            if !filter.takes_file(&asked) {
                return Ok(None);
            }
            let entry = self.entry(found.folder.as_fd(), name, b"", &found.path)?;
            return Ok(entry.map(|(entry, _)| Match { path, entries: vec![entry] }));
        }
        let base = found.path;
        let root = self.folder_entry(&found.folder, b"", &base)?;
        let names = reversed(names(found.folder.as_fd(), &base)?);
        let mut entries = vec![root];
        let mut levels = vec![Level { folder: found.folder, names, path: Vec::new(), waiting: None }];
        // Files of several names, by device and number.
        let mut linked: HashMap<(u64, u64), OsString> = HashMap::new();
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.pop() else {
                levels.pop();
                continue;
            };
            let path = joined(&level.path, name.as_bytes());
            let whole = joined(&base, &path);
            let is_folder = is_folder(level.folder.as_fd(), &name, &whole)?;
            let text = String::from_utf8_lossy(&whole);
            let (closed, ignored) = (self.ignore.is_closed(&text), self.ignore.is_ignored(&text));
            let verdict = filter.verdict(&String::from_utf8_lossy(&path));
            if closed || verdict == Verdict::Left || (!is_folder && (ignored || verdict != Verdict::Taken)) {
                continue;
            }
            let is_waiting = ignored || verdict != Verdict::Taken;
            if is_folder {
                let folder = rustix::fs::openat(&level.folder, &name, FOLDER, Mode::empty())
                    .map_err(|errno| ContextError::read(&whole, errno))?;
                let entry = self.folder_entry(&folder, &path, &whole)?;
                let inner = reversed(self::names(folder.as_fd(), &whole)?);
                let waiting = if is_waiting {
                    Some(entry)
                } else {
                    take(&mut levels, &mut entries, entry, &base)?;
                    None
                };
                if levels.len() >= DEPTH {
                    let what = "folders one in the other";
                    return Err(ContextError::TooMuch {
                        path: super::error::shown(&whole),
                        what,
                        limit: DEPTH as u64,
                    });
                }
                levels.push(Level { folder, names: inner, path, waiting });
                continue;
            }
            let Some((mut entry, stat)) = self.entry(level.folder.as_fd(), &name, &path, &whole)? else {
                continue;
            };
            if stat.st_nlink > 1 && matches!(entry.kind, Kind::File { .. }) {
                let number = (stat.st_dev, stat.st_ino);
                if let Some(first) = linked.get(&number) {
                    entry.kind = Kind::Again { path: first.clone() };
                } else {
                    linked.insert(number, entry.path.clone());
                }
            }
            take(&mut levels, &mut entries, entry, &base)?;
        }
        Ok(Some(Match { path, entries }))
    }

    fn folder_entry(&self, folder: &OwnedFd, path: &[u8], whole: &[u8]) -> Result<Entry, ContextError> {
        let failed = |errno| ContextError::read(whole, errno);
        let stat = rustix::fs::fstat(folder).map_err(failed)?;
        let attributes = attributes(folder.as_fd()).map_err(failed)?;
        Ok(Entry { attributes, ..self.new_entry(path, whole, Kind::Folder, &stat) })
    }

    fn new_entry(&self, path: &[u8], whole: &[u8], kind: Kind, stat: &Stat) -> Entry {
        Entry {
            path: OsStr::from_bytes(path).to_owned(),
            file: self.outside(whole),
            kind,
            mode: stat.st_mode & 0o7777,
            time: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default()),
            owner: (stat.st_uid, stat.st_gid),
            attributes: Vec::new(),
            unpack: false,
        }
    }

    /// The file or link `name` in `folder`; `None` where it is of another kind, or gone.
    fn entry(
        &self,
        folder: BorrowedFd<'_>,
        name: &OsStr,
        path: &[u8],
        whole: &[u8],
    ) -> Result<Option<(Entry, Stat)>, ContextError> {
        let failed = |errno: Errno| ContextError::read(whole, errno);
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(folder, name, Vec::new()).map_err(failed)?;
                let kind = Kind::Link { target: OsString::from_vec(target.into_bytes()) };
                return Ok(Some((self.new_entry(path, whole, kind, &stat), stat)));
            }
            FileType::RegularFile => Kind::File { size: 0, digest: String::new() },
            _ => return Ok(None),
        };
        let file = File::from(open_file(folder, name).map_err(failed)?);
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        let mut entry = self.new_entry(path, whole, kind, &stat);
        entry.attributes = attributes(file.as_fd()).map_err(failed)?;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let digest = match self.contents {
            Contents::Unread => String::new(),
            Contents::Digested => {
                let mut out = DigestWriter::new(io::sink());
                // A file that grows is read no further than it was.
                let count = io::copy(&mut (&file).take(size), &mut out)
                    .map_err(|source| ContextError::read(whole, source))?;
                if count != size {
                    return Err(ContextError::Changed { path: super::error::shown(whole) });
                }
                out.finish().1.to_string()
            }
        };
        entry.kind = Kind::File { size, digest };
        Ok(Some((entry, stat)))
    }
}

/// Takes `entry`, and before it the folders that it is in and that waited for something to be taken.
fn take(
    levels: &mut [Level],
    entries: &mut Vec<Entry>,
    entry: Entry,
    base: &[u8],
) -> Result<(), ContextError> {
    entries.extend(levels.iter_mut().filter_map(|level| level.waiting.take()));
    entries.push(entry);
    if entries.len() > ENTRIES {
        let path = if base.is_empty() { ".".into() } else { super::error::shown(base) };
        return Err(ContextError::TooMuch { path, what: "files and folders", limit: ENTRIES as u64 });
    }
    Ok(())
}

fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match (folder, name) {
        (b"", name) => name.to_vec(),
        (folder, b"") => folder.to_vec(),
        (folder, name) => [folder, b"/", name].concat(),
    }
}

fn reversed(mut names: Vec<OsString>) -> Vec<OsString> {
    names.reverse();
    names
}

fn is_folder(folder: BorrowedFd<'_>, name: &OsStr, path: &[u8]) -> Result<bool, ContextError> {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| ContextError::read(path, errno))?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// The names in `folder`, in their order. `path` is for messages.
pub(super) fn names(folder: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<OsString>, ContextError> {
    let failed = |errno| ContextError::read(path, errno);
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
        if names.len() > ENTRIES {
            let path = super::error::shown(path);
            return Err(ContextError::TooMuch { path, what: "files and folders", limit: ENTRIES as u64 });
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Opens the file `name`, which is no link, to be read. A pipe that was put in its place is not waited for.
pub(super) fn open_file(folder: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile { Ok(file) } else { Err(Errno::INVAL) }
}

/// The extended attributes of a file that mean the same on another machine.
fn attributes(file: BorrowedFd<'_>) -> Result<Vec<(OsString, Vec<u8>)>, Errno> {
    let mut list = [0; 1024];
    let mut long = Vec::new();
    let names: &[u8] = match rustix::fs::flistxattr(file, &mut list[..]) {
        Ok(count) => list.get(..count).unwrap_or_default(),
        // A file system that knows none.
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            long.reserve(ATTRIBUTE_MOST);
            rustix::fs::flistxattr(file, rustix::buffer::spare_capacity(&mut long))?;
            &long
        }
        Err(errno) => return Err(errno),
    };
    let is_kept = |name: &&[u8]| {
        (name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")) || *name == b"security.capability"
    };
    let mut all = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(is_kept) {
        let mut value = Vec::with_capacity(ATTRIBUTE_MOST);
        let name = OsStr::from_bytes(name);
        match rustix::fs::fgetxattr(file, name, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => {
                value.shrink_to_fit();
                all.push((name.to_owned(), value));
            }
            // Taken away in between.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    all.sort_unstable();
    Ok(all)
}
