//! Removing from the cache what is of no more use.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{EmulatorError, Pins, cache, memo, probe};
use crate::progress::Progress;

/// How long an index of packages is kept. It is of use only to who fetches from the same archive again soon.
const INDEX_AGE: Duration = Duration::from_hours(24);

/// Something that was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pruned {
    /// The file or folder.
    pub path: PathBuf,
    /// What it takes, in bytes.
    pub size: u64,
    /// Why.
    pub reason: Reason,
}

/// Why something is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Reason {
    /// No pin names the package that it is, or came from: an older version, or one beside the pins.
    Unpinned,
    /// It is not what was put there.
    Damaged,
    /// Something that broke off has left it.
    Left,
    /// An index of packages that is more than a day old.
    Old,
    /// Everything was to go.
    All,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unpinned => "not pinned",
            Self::Damaged => "damaged",
            Self::Left => "left over",
            Self::Old => "old",
            Self::All => "all",
        })
    }
}

/// Removes from the cache emulators and package files that no pin names, what is damaged, what broken-off work
/// has left and old indexes; with `all`, everything. With `dry` nothing is removed, only told. It waits for processes
/// that fetch.
///
/// # Errors
/// [`EmulatorError`], where the cache cannot be read or changed; what was removed before is gone.
pub fn prune(
    cache: &Path,
    pins: &Pins,
    all: bool,
    dry: bool,
    progress: &dyn Progress,
) -> Result<Vec<Pruned>, EmulatorError> {
    let emulators = cache::emulators(cache);
    if !emulators.is_dir() && !cache.join("debian").is_dir() {
        return Ok(Vec::new());
    }
    let _alone = cache::alone(cache, progress)?;
    let mut found = Vec::new();
    let mut add = |path: PathBuf, reason: Option<Reason>| {
        let reason = if all { Some(Reason::All) } else { reason };
        if let Some(reason) = reason {
            let size = size(&path);
            found.push(Pruned { path, size, reason });
        }
    };
    let task = progress.begin("looking through the cache", None);
    for host in cache::entries(&emulators)? {
        if !host.is_dir() {
            continue;
        }
        if host.ends_with(memo::FOLDER) {
            // What is written there counts for nothing once its file has changed or gone.
            add(host, None);
            continue;
        }
        for guest in cache::entries(&host)? {
            if guest.file_name().is_some_and(|name| name == cache::LOCK) {
                continue;
            }
            if !guest.is_dir() {
                // Package files, whole or begun, are here only while one is fetched.
                add(guest, Some(Reason::Left));
                continue;
            }
            for path in cache::entries(&guest)? {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                // Earlier versions locked each guest's folder.
                let is_left = name.starts_with(cache::BEGUN) || name == cache::LOCK || !path.is_dir();
                let reason = if is_left { Some(Reason::Left) } else { judge(&path, pins) };
                task.advance(size(&path));
                add(path, reason);
            }
        }
    }
    for path in cache::entries(&cache.join("debian/packages"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let reason = match name.strip_suffix(".deb") {
            None => Some(Reason::Left),
            Some(digest) if pins.packages.iter().all(|pin| pin.sha256 != digest) => Some(Reason::Unpinned),
            Some(digest) => {
                task.advance(size(&path));
                (probe::sha256(&path)? != digest).then_some(Reason::Damaged)
            }
        };
        add(path, reason);
    }
    for path in cache::entries(&cache.join("debian/sources"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_digest = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_damaged = is_digest && probe::sha256(&path)? != name;
        add(path, if is_damaged { Some(Reason::Damaged) } else { (!is_digest).then_some(Reason::Left) });
    }
    for path in cache::entries(&cache.join("debian/indexes"))? {
        let modified = path.metadata().and_then(|metadata| metadata.modified()).ok();
        let age = modified.and_then(|time| SystemTime::now().duration_since(time).ok());
        add(path, age.filter(|age| *age > INDEX_AGE).map(|_| Reason::Old));
    }
    drop(task);
    if !dry {
        for pruned in &found {
            remove(&pruned.path)?;
        }
        // What is empty now; the locks stay, for another process may wait for one.
        for host in cache::entries(&emulators)? {
            for guest in cache::entries(&host)? {
                // It says no where there is something in it, or it is no folder.
                let _ = fs::remove_dir(guest);
            }
        }
    }
    Ok(found)
}

/// Why an emulator's folder is to go, if it is.
fn judge(folder: &Path, pins: &Pins) -> Option<Reason> {
    let description = match cache::describe(folder) {
        Ok(Some(description)) => description,
        // One of a later version, whose form is not ours to judge, has a description.
        Ok(None) if folder.join("emulator.json").exists() => return None,
        Ok(None) | Err(_) => return Some(Reason::Damaged),
    };
    let program = folder.join(format!("qemu-{}", description.guest));
    if probe::sha256(&program).ok().as_ref() != Some(&description.sha256) {
        return Some(Reason::Damaged);
    }
    let is_pinned = pins.packages.iter().any(|pin| pin.sha256 == description.package.sha256);
    (!is_pinned).then_some(Reason::Unpinned)
}

/// What a file, or a folder with all in it, takes in bytes; what cannot be read counts nothing.
fn size(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    cache::entries(path).unwrap_or_default().iter().map(|path| size(path)).sum()
}

fn remove(path: &Path) -> Result<(), EmulatorError> {
    let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    match if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| EmulatorError::Write { path: path.into(), source }),
    }
}
