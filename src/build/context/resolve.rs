//! Following a path within a context.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::error::{ContextError, Why, shown};
use super::{Context, walk};

/// How many links one path may lead through; the kernel's own limit.
const LINKS: u32 = 40;

/// How deep a path may lead.
const DEPTH: usize = 500;

pub(super) const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Something in a context.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The path that was asked for, with no slash first.
    pub(super) asked: Vec<u8>,
    /// Its path, without links, with no slash first.
    pub(super) path: Vec<u8>,
    /// The folder itself, or the one that the file is in.
    pub(super) folder: OwnedFd,
    /// The file's name in it; `None` where it is a folder.
    pub(super) name: Option<OsString>,
}

/// The folders that lead to where we are: their names, and the folders.
struct Way<'a> {
    context: &'a Context,
    names: Vec<Vec<u8>>,
    folders: Vec<OwnedFd>,
    links: u32,
    /// The first link that led out of the context.
    led_out: Option<Vec<u8>>,
}

impl Context {
    /// What is at `path`, all links followed.
    pub(super) fn resolve(&self, path: &[u8]) -> Result<Resolved, ContextError> {
        let mut way = Way { context: self, names: Vec::new(), folders: Vec::new(), links: 0, led_out: None };
        let result = way.go(path);
        match result {
            Err(ContextError::Missing { why: Why::Unknown, path }) if way.led_out.is_some() => {
                let link = shown(&way.led_out.unwrap_or_default());
                Err(ContextError::Missing { path, why: Why::LedOut { link } })
            }
            other => other,
        }
    }
}

impl Way<'_> {
    fn here(&self) -> std::os::fd::BorrowedFd<'_> {
        self.folders.last().unwrap_or(&self.context.root).as_fd()
    }

    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.names.join(&b'/');
        if !path.is_empty() && !name.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }

    fn go(&mut self, asked: &[u8]) -> Result<Resolved, ContextError> {
        let missing = |why| ContextError::Missing { path: shown(asked), why };
        // What is left of the way, the next name last.
        let mut left: Vec<Vec<u8>> = parts(asked).rev().map(<[u8]>::to_vec).collect();
        while let Some(name) = left.pop() {
            if name == b".." {
                self.names.pop();
                self.folders.pop();
                continue;
            }
            let path = self.path_of(&name);
            let os_name = OsStr::from_bytes(&name);
            let stat = match rustix::fs::statat(self.here(), os_name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT | Errno::NAMETOOLONG | Errno::INVAL) => {
                    return Err(missing(self.similar(&name)));
                }
                Err(errno) => return Err(ContextError::read(&path, errno)),
            };
            let text = String::from_utf8_lossy(&path);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    if self.context.ignore.is_closed(&text) {
                        return Err(missing(Why::Ignored));
                    }
                    let open = rustix::fs::openat(self.here(), os_name, FOLDER, Mode::empty());
                    let folder = open.map_err(|errno| ContextError::read(&path, errno))?;
                    if self.folders.len() >= DEPTH {
                        return Err(ContextError::read(&path, Errno::NAMETOOLONG));
                    }
                    self.folders.push(folder);
                    self.names.push(name);
                }
                _ if self.context.ignore.is_ignored(&text) => return Err(missing(Why::Ignored)),
                FileType::Symlink => {
                    self.links += 1;
                    if self.links > LINKS {
                        return Err(ContextError::read(&path, Errno::LOOP));
                    }
                    let target = rustix::fs::readlinkat(self.here(), os_name, Vec::new())
                        .map_err(|errno| ContextError::read(&path, errno))?
                        .into_bytes();
                    let depth = if target.starts_with(b"/") { None } else { Some(self.names.len()) };
                    if leads_out(depth, &target) {
                        self.led_out.get_or_insert(path);
                    }
                    if depth.is_none() {
                        self.names.clear();
                        self.folders.clear();
                    }
                    left.extend(parts(&target).rev().map(<[u8]>::to_vec));
                    if left.len() > DEPTH * 4 {
                        return Err(missing(Why::Unknown));
                    }
                }
                _ if !left.is_empty() => return Err(missing(Why::Unknown)),
                _ => {
                    let folder = self.here().try_clone_to_owned();
                    let folder = folder.map_err(|source| ContextError::read(&path, source))?;
                    let asked = joined(asked);
                    return Ok(Resolved { asked, path, folder, name: Some(os_name.to_owned()) });
                }
            }
        }
        let path = self.path_of(b"");
        let folder = self.here().try_clone_to_owned().map_err(|source| ContextError::read(&path, source))?;
        Ok(Resolved { asked: joined(asked), path, folder, name: None })
    }

    /// What is known of a name that is not here.
    fn similar(&self, name: &[u8]) -> Why {
        let name = String::from_utf8_lossy(name);
        let names = walk::names(self.here(), b"").unwrap_or_default();
        let near = names
            .iter()
            .map(|known| known.to_string_lossy())
            .filter(|known| {
                let path = self.path_of(known.as_bytes());
                !self.context.ignore.is_ignored(&String::from_utf8_lossy(&path))
            })
            // Names are short, and so is what is compared.
            .filter(|known| known.len() < 64 && name.len() < 64)
            .map(|known| (strsim::damerau_levenshtein(&known.to_lowercase(), &name.to_lowercase()), known))
            .min_by_key(|(distance, _)| *distance);
        match near {
            Some((distance, known)) if distance <= 1 + known.len() / 4 => {
                Why::Similar { name: shown(&self.path_of(known.as_bytes())) }
            }
            _ => Why::Unknown,
        }
    }
}

/// The names in a path, without those that mean nothing.
fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

fn joined(path: &[u8]) -> Vec<u8> {
    parts(path).collect::<Vec<_>>().join(&b'/')
}

/// Whether a link's target begins outside of the context, seen from a folder of this depth.
fn leads_out(depth: Option<usize>, target: &[u8]) -> bool {
    let Some(mut depth) = depth else { return true };
    for part in parts(target) {
        if part == b".." {
            let Some(up) = depth.checked_sub(1) else { return true };
            depth = up;
        } else {
            depth += 1;
        }
    }
    false
}
