//! What was learnt of an emulator before: digest and version of one, and which of the host's own can serve.
//!
//! Reading a program whole for its digest, and starting it for its version, takes longer than many a container runs. Both are
//! written down in `CACHE/emulators/.known/`, under the file's device and inode and with what the kernel changes whenever the
//! file is written: an entry counts only as long as that is the same. (A file's change time is the kernel's; no program sets it.)

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::probe::{self, Told};
use super::{EmulatorError, Unfit, cache};
use crate::target::Target;

/// The folder's name, among those of the hosts.
pub(super) const FOLDER: &str = ".known";

/// The most of an entry that is read, in bytes.
const LIMIT: u64 = 4096;

/// How long a file must have been as it is before it is written down: within the grain of the file system's clock it could be
/// written once more and show the same time.
const SETTLED: Duration = Duration::from_secs(2);

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// SHA-256, in hexadecimal digits.
    pub(super) sha256: String,
    /// What it tells of itself, where this machine can run it and was asked to.
    pub(super) told: Option<Told>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    state: State,
    /// Whether it was asked what it is.
    asked: bool,
    facts: Facts,
}

/// The digest of the emulator at `path`, in hexadecimal digits, which `cache` remembers.
///
/// # Errors
/// [`EmulatorError`] where it cannot be read.
pub fn sha256(cache: &Path, path: &Path) -> Result<String, EmulatorError> {
    let now = path.metadata().map_err(|source| EmulatorError::Read { path: path.into(), source })?;
    // Whether it was asked what it is does not matter here.
    match recall(&place(cache, &now)).filter(|known| known.state == state(&now)) {
        Some(known) => Ok(known.facts.sha256),
        None => facts(cache, path, true).map(|facts| facts.sha256),
    }
}

/// The digest of the file at `path`, and, with `ask`, what the program tells of itself; from an earlier reading where nothing
/// has changed since.
pub(super) fn facts(cache: &Path, path: &Path, ask: bool) -> Result<Facts, EmulatorError> {
    let read = |source| EmulatorError::Read { path: path.into(), source };
    let before = path.metadata().map_err(read)?;
    let entry = place(cache, &before);
    if let Some(known) = recall(&entry)
        && known.state == state(&before)
        && known.asked == ask
    {
        return Ok(known.facts);
    }
    let facts = Facts { sha256: probe::sha256(path)?, told: if ask { probe::told(path) } else { None } };
    let after = path.metadata().map_err(read)?;
    // What tells nothing of itself may have been too slow this once.
    if state(&before) == state(&after) && is_settled(&after) && ask == facts.told.is_some() {
        keep(&entry, &Entry { state: state(&after), asked: ask, facts: facts.clone() });
    }
    Ok(facts)
}

/// The programs that are known to fit a host, by device and inode. To judge one, up to 3 MB of it are read, and a run looks at those
/// of all guests.
#[derive(Debug)]
pub struct Fitting {
    place: PathBuf,
    known: HashMap<String, State>,
    is_changed: bool,
}

/// Size in bytes; modification and change time, each in seconds and nanoseconds.
type State = (u64, i64, i64, i64, i64);

/// The most of such a list that is read, in bytes.
const LIST_LIMIT: u64 = 1 << 20;

impl Fitting {
    /// What this version of the program has judged before, for `host`.
    pub(super) fn load(cache: &Path, host: &Target) -> Self {
        let platform = host.platform.to_string().replace('/', "-");
        let name = format!("fitting-{platform}-{}.json", env!("CARGO_PKG_VERSION"));
        let place = cache::emulators(cache).join(FOLDER).join(name);
        let mut text = Vec::new();
        let read = File::open(&place).and_then(|file| file.take(LIST_LIMIT).read_to_end(&mut text));
        let known = read.ok().and_then(|_| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { place, known, is_changed: false }
    }

    /// As [`probe::check`], which is not asked again about what fitted, and has not changed since.
    pub(super) fn check(&mut self, path: &Path, host: &Target) -> std::io::Result<Result<(), Unfit>> {
        let before = path.metadata()?;
        let name = format!("{:x}-{:x}", before.dev(), before.ino());
        if self.known.get(&name) == Some(&state(&before)) {
            return Ok(Ok(()));
        }
        let judged = probe::check(path, &host.elf)?;
        let after = path.metadata()?;
        if judged.is_ok() && state(&before) == state(&after) && is_settled(&after) {
            self.known.insert(name, state(&after));
            self.is_changed = true;
        }
        Ok(judged)
    }
}

impl Drop for Fitting {
    fn drop(&mut self) {
        if self.is_changed {
            keep(&self.place, &self.known);
        }
    }
}

fn state(file: &fs::Metadata) -> State {
    (file.len(), file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec())
}

fn is_settled(file: &fs::Metadata) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(file.ctime()).is_ok_and(|changed| now.as_secs() > changed.saturating_add(SETTLED.as_secs()))
}

fn place(cache: &Path, file: &fs::Metadata) -> PathBuf {
    cache::emulators(cache).join(FOLDER).join(format!("{:x}-{:x}.json", file.dev(), file.ino()))
}

/// An entry that is damaged, or not there, is none.
fn recall(place: &Path) -> Option<Entry> {
    let mut text = Vec::new();
    File::open(place).ok()?.take(LIMIT).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Writes it down, or not: without it, everything is only slower.
fn keep(place: &Path, entry: &impl Serialize) {
    let Some(folder) = place.parent() else { return };
    let kept = || {
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut file, entry)?;
        file.persist(place)?;
        std::io::Result::Ok(())
    };
    let _ = kept();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A script that tells of itself as QEMU does.
    fn program(folder: &Path, version: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.join("qemu");
        fs::write(&path, format!("#!/bin/sh\necho qemu-mips version {version}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn entries(cache: &Path) -> usize {
        fs::read_dir(cache::emulators(cache).join(FOLDER)).map_or(0, Iterator::count)
    }

    #[test]
    fn a_file_that_has_just_changed_is_not_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let path = program(folder.path(), "7.2.1");
        let first = facts(folder.path(), &path, true).unwrap();
        assert_eq!(first.told.unwrap().version, "7.2.1");
        assert_eq!(entries(folder.path()), 0);
        // The same size, so that only the times tell.
        program(folder.path(), "7.2.2");
        assert_eq!(facts(folder.path(), &path, true).unwrap().told.unwrap().version, "7.2.2");
    }

    #[test]
    fn what_fitted_is_not_read_again_and_what_changed_is() {
        let folder = tempfile::tempdir().unwrap();
        let host = super::super::find::host_target(&crate::target::Platform::host()).unwrap();
        let check = |path: &Path| Fitting::load(folder.path(), host).check(path, host).unwrap();
        // No emulator, and no program at all.
        let path = PathBuf::from("/etc/os-release").canonicalize().unwrap();
        assert_eq!(check(&path), Err(Unfit::NotExecutable));
        assert_eq!(entries(folder.path()), 0, "what does not fit is judged anew");
        let mut list = Fitting::load(folder.path(), host);
        let there = path.metadata().unwrap();
        let name = format!("{:x}-{:x}", there.dev(), there.ino());
        list.known.insert(name.clone(), state(&there));
        list.is_changed = true;
        drop(list);
        assert_eq!(check(&path), Ok(()), "it is taken from the list");
        let mut list = Fitting::load(folder.path(), host);
        list.known.get_mut(&name).unwrap().4 ^= 1;
        list.is_changed = true;
        drop(list);
        assert_eq!(check(&path), Err(Unfit::NotExecutable));
    }

    #[test]
    fn an_entry_counts_while_the_file_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        // This test's own program has been as it is for long enough, or is read once more.
        let path = std::env::current_exe().unwrap();
        let real = facts(folder.path(), &path, false).unwrap();
        assert_eq!(real.sha256, probe::sha256(&path).unwrap());
        let there = path.metadata().unwrap();
        let entry = place(folder.path(), &there);
        let lie = Facts { sha256: "another".into(), told: None };
        keep(&entry, &Entry { state: state(&there), asked: false, facts: lie.clone() });
        assert_eq!(facts(folder.path(), &path, false).unwrap(), lie);
        let mut other = state(&there);
        other.4 ^= 1;
        keep(&entry, &Entry { state: other, asked: false, facts: lie });
        assert_eq!(facts(folder.path(), &path, false).unwrap(), real);
        fs::write(&entry, "{").unwrap();
        assert_eq!(facts(folder.path(), &path, false).unwrap(), real);
    }
}
