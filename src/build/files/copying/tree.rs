//! Files of another root: those that a pattern matches, and what is in them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::super::owner::Owner;
use super::super::place::{look, open_folder, open_in};
use super::super::{Refused, Stop};
use super::write::{Meta, What, Writer};
use crate::containerfile::{Glob, Ignore};

/// How deep folders may be nested.
const DEPTH: usize = 512;

/// A root that is copied from.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    pub(super) root: &'a OwnedFd,
    pub(super) exclude: &'a [String],
}

impl Tree<'_> {
    /// What `pattern` matches, by its path from the root on, in the order of the names; and whether it is a folder.
    pub(super) fn matches(&self, pattern: &str) -> Result<Vec<(PathBuf, bool)>, Stop> {
        let parts: Vec<&str> = clean(pattern);
        let mut found = vec![PathBuf::from("/")];
        for part in parts {
            let glob = Glob::of_path(part).map_err(|err| Refused::new(err.to_string()))?;
            let mut next = Vec::new();
            for folder in &found {
                if !glob.is_pattern() {
                    let path = folder.join(unescaped(part));
                    if open_in(self.root, &path, OFlags::PATH).is_ok() {
                        next.push(path);
                    }
                    continue;
                }
                let Ok(fd) = open_in(self.root, folder, OFlags::RDONLY | OFlags::DIRECTORY) else { continue };
                let names = names(&fd).map_err(|errno| Stop::Failed(folder.clone(), errno.into()))?;
                let matching =
                    names.into_iter().filter(|name| name.to_str().is_some_and(|name| glob.matches(name)));
                next.extend(matching.map(|name| folder.join(name)));
            }
            found = next;
        }
        let exclude = self.excluded()?;
        let mut all = Vec::new();
        for path in found {
            let fd = open_in(self.root, &path, OFlags::PATH);
            let fd = fd.map_err(|errno| Stop::Failed(path.clone(), errno.into()))?;
            let there = rustix::fs::fstat(&fd).map_err(|errno| Stop::Failed(path.clone(), errno.into()))?;
            let is_folder = FileType::from_raw_mode(there.st_mode).is_dir();
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let whole = path.to_str().unwrap_or_default().trim_start_matches('/');
            if !name.is_empty() && (exclude.is_ignored(name) || exclude.is_ignored(whole)) {
                continue;
            }
            all.push((path, is_folder));
        }
        Ok(all)
    }

    fn excluded(&self) -> Result<Ignore, Stop> {
        let list = self.exclude.iter().map(String::as_str);
        Ignore::of(list).map_err(|err| Refused::new(err.to_string()).into())
    }

    /// Gives `writer` all that is at `path`, a link of that name followed.
    pub(super) fn walk(&self, path: &Path, owners: bool, writer: &mut Writer<'_>) -> Result<(), Stop> {
        let failed = |errno: Errno| Stop::Failed(path.into(), errno.into());
        let mut walk = Walk { exclude: self.excluded()?, owners, writer };
        let there = open_in(self.root, path, OFlags::PATH).map_err(failed)?;
        let stat = rustix::fs::fstat(&there).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode).is_dir() {
            let folder = open_in(self.root, path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
            return walk.folder(&folder, Path::new(""), &stat, DEPTH);
        }
        // Nothing but files are opened for reading: a fifo would be waited for.
        let root = self.root;
        walk.one(Path::new(""), &stat, None, &|| {
            Ok(File::from(open_in(root, path, OFlags::RDONLY | OFlags::NONBLOCK)?))
        })
    }
}

struct Walk<'a, 'w> {
    exclude: Ignore,
    owners: bool,
    writer: &'a mut Writer<'w>,
}

impl Walk<'_, '_> {
    fn folder(&mut self, folder: &OwnedFd, path: &Path, stat: &Stat, depth: usize) -> Result<(), Stop> {
        let failed = |errno: Errno| Stop::Failed(path.into(), errno.into());
        let depth = depth.checked_sub(1).ok_or(Errno::LOOP).map_err(failed)?;
        let meta = self.meta(stat);
        self.writer
            .put(path, &What::Folder, &meta, &|| Ok(File::from(folder.as_fd().try_clone_to_owned()?)))?;
        for name in names(folder).map_err(failed)? {
            let inner = path.join(&name);
            if inner.to_str().is_some_and(|path| self.exclude.is_ignored(path)) {
                continue;
            }
            let Some(stat) = look(folder, &name).map_err(failed)? else { continue };
            if FileType::from_raw_mode(stat.st_mode).is_dir() {
                let fd = open_folder(folder, &name).map_err(failed)?;
                self.folder(&fd, &inner, &stat, depth)?;
                continue;
            }
            let target = rustix::fs::readlinkat(folder, &name, Vec::new()).ok();
            let target = target.map(|target| OsString::from_vec(target.into_bytes()));
            self.one(&inner, &stat, target, &|| {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                Ok(File::from(rustix::fs::openat(folder, &name, flags, Mode::empty())?))
            })?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        path: &Path,
        stat: &Stat,
        target: Option<OsString>,
        open: &dyn Fn() -> std::io::Result<File>,
    ) -> Result<(), Stop> {
        let what = match (FileType::from_raw_mode(stat.st_mode), target) {
            (FileType::Symlink, Some(target)) => What::Link(target),
            (FileType::RegularFile, _) => What::File,
            (FileType::Fifo, _) => What::Fifo,
            _ => What::Other,
        };
        let meta = self.meta(stat);
        self.writer.put(path, &what, &meta, open)
    }

    fn meta(&self, stat: &Stat) -> Meta {
        let owner = if self.owners { Owner { uid: stat.st_uid, gid: stat.st_gid } } else { Owner::default() };
        Meta {
            mode: stat.st_mode & 0o7777,
            owner,
            time: (stat.st_mtime as i64, u32::try_from(stat.st_mtime_nsec).unwrap_or_default()),
            link: (stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino)),
        }
    }
}

/// The names of a pattern, `.` and `..` taken away.
fn clean(pattern: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

/// A name as it is meant, where nothing in it is a pattern.
fn unescaped(part: &str) -> OsString {
    let mut name = String::new();
    let mut characters = part.chars();
    while let Some(next) = characters.next() {
        name.push(if next == '\\' { characters.next().unwrap_or(next) } else { next });
    }
    name.into()
}

/// The names in a folder, in order.
fn names(folder: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}
