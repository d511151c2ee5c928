//! What a source's pattern matches.

use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, FileType, Mode};

use super::error::ContextError;
use super::resolve::{FOLDER, Resolved};
use super::{Context, walk};
use crate::containerfile::Glob;
use crate::tree::normalized;

impl Context {
    /// What `pattern` matches, links followed. What stands before the first wildcard must be there.
    pub(super) fn find(&self, pattern: &str) -> Result<Vec<Resolved>, ContextError> {
        let clean = normalized(pattern);
        let parts: Vec<&str> = clean.split('/').collect();
        let plain = parts.iter().take_while(|part| !has_wildcards(part)).count();
        let (before, after) = parts.split_at(plain);
        let before = before.join("/");
        if after.is_empty() {
            // As it was written, for messages.
            let found = self.resolve(before.as_bytes()).map_err(|err| match err {
                ContextError::Missing { why, .. } => ContextError::Missing { path: pattern.into(), why },
                other => other,
            })?;
            return Ok(vec![found]);
        }
        let globs = after.iter().map(|part| Glob::of_path(part)).collect::<Result<Vec<_>, _>>()?;
        let base = match self.resolve(before.as_bytes()) {
            Ok(base) if base.name.is_none() => base,
            // Nothing can be in there.
            Ok(_) | Err(ContextError::Missing { .. }) => return Ok(Vec::new()),
            Err(err) => return Err(err),
        };
        let mut paths = Vec::new();
        self.level(&base, &globs, &mut paths)?;
        let mut found = Vec::new();
        for path in paths {
            found.push(self.resolve(&path)?);
        }
        Ok(found)
    }

    /// The paths beneath `folder` that match, one pattern a level. Links to folders are not entered.
    fn level(&self, folder: &Resolved, globs: &[Glob], paths: &mut Vec<Vec<u8>>) -> Result<(), ContextError> {
        let Some((glob, deeper)) = globs.split_first() else { return Ok(()) };
        for name in walk::names(folder.folder.as_fd(), &folder.path)? {
            if !glob.matches(&name.to_string_lossy()) {
                continue;
            }
            let mut path = folder.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            let stat = rustix::fs::statat(&folder.folder, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| ContextError::read(&path, errno))?;
            let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let text = String::from_utf8_lossy(&path);
            let ignored =
                if is_folder { self.ignore.is_closed(&text) } else { self.ignore.is_ignored(&text) };
            if ignored {
                continue;
            }
            if deeper.is_empty() {
                paths.push(path);
            } else if is_folder {
                let inner = rustix::fs::openat(&folder.folder, &name, FOLDER, Mode::empty())
                    .map_err(|errno| ContextError::read(&path, errno))?;
                let inner = Resolved { asked: path.clone(), path, folder: inner, name: None };
                self.level(&inner, deeper, paths)?;
            }
        }
        Ok(())
    }
}

/// Whether a text is a pattern, as docker tells it: by a wildcard before which no `\` stands.
pub(super) fn has_wildcards(text: &str) -> bool {
    let mut characters = text.chars();
    while let Some(next) = characters.next() {
        match next {
            '*' | '?' | '[' => return true,
            '\\' => {
                characters.next();
            }
            _ => {}
        }
    }
    false
}
