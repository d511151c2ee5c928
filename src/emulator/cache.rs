//! The emulators that were fetched before.
//!
//! Layout: `CACHE/emulators/<os-architecture[-variant]>/<guest>/<first digits of the digest>/`, which holds
//! `qemu-<guest>` and `emulator.json`. A folder appears as a whole, or not at all.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{DebianPackage, Emulator, EmulatorError, Source, memo};
use crate::debian;
use crate::progress::Progress;
use crate::target::{Guest, Platform, Target};

/// The version of the form of `emulator.json`. A reader passes over what it does not know.
const FORM: u32 = 1;

/// What the names of folders begin with that are being made.
pub(super) const BEGUN: &str = ".new-";

/// What is locked in a folder.
pub(super) const LOCK: &str = ".lock";

/// The largest `emulator.json` that is read, in bytes.
const DESCRIPTION_LIMIT: u64 = 64 << 10;

/// `emulator.json`. Where the mirror was is not part of it: the same package is the same emulator.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Description {
    form: u32,
    pub(super) guest: String,
    pub(super) host: Platform,
    pub(super) version: Option<String>,
    pub(super) sha256: String,
    pub(super) package: DebianPackage,
}

impl Description {
    /// The description of an emulator that was taken from `package`.
    pub(super) fn new(
        guest: &Guest,
        host: &Target,
        version: Option<String>,
        sha256: String,
        package: DebianPackage,
    ) -> Self {
        Self { form: FORM, guest: guest.name.clone(), host: host.platform.clone(), version, sha256, package }
    }

    /// The emulator that it describes, in `folder`.
    pub(super) fn emulator(&self, folder: &Path, source: Source) -> Emulator {
        Emulator {
            guest: self.guest.clone(),
            host: self.host.clone(),
            path: folder.join(format!("qemu-{}", self.guest)),
            version: self.version.clone(),
            sha256: self.sha256.clone(),
            source,
        }
    }
}

/// The folder of all emulators for `guest` on `host`.
pub(super) fn folder(cache: &Path, guest: &Guest, host: &Target) -> PathBuf {
    host_folder(cache, host).join(&guest.name)
}

/// The folder of all emulators for `host`, which is what is locked.
pub(super) fn host_folder(cache: &Path, host: &Target) -> PathBuf {
    emulators(cache).join(host.platform.to_string().replace('/', "-"))
}

/// The folder of all emulators.
pub(super) fn emulators(cache: &Path) -> PathBuf {
    cache.join("emulators")
}

/// The cached emulator for `guest` on `host`, verified: from `suite` where one is asked for, else of the
/// newest package.
///
/// # Errors
/// [`EmulatorError::Changed`] where the one that is chosen is not what was put there.
pub(super) fn find(
    cache: &Path,
    guest: &Guest,
    host: &Target,
    suite: Option<&str>,
) -> Result<Option<Emulator>, EmulatorError> {
    let mut known = known(cache, guest, host)?;
    known.retain(|(description, _)| suite.is_none_or(|suite| suite == description.package.suite));
    let Some((description, folder)) = known.pop() else { return Ok(None) };
    let source = Source::Cache { package: description.package.clone() };
    let emulator = description.emulator(&folder, source);
    let found = memo::facts(cache, &emulator.path, false)?.sha256;
    if found != emulator.sha256 {
        return Err(EmulatorError::Changed {
            path: emulator.path,
            guest: emulator.guest,
            host: Box::new(emulator.host),
            expected: emulator.sha256,
            found,
        });
    }
    Ok(Some(emulator))
}

/// What is cached for `guest` on `host`, with the folders of it, the newest package last. Nothing is verified.
pub(super) fn known(
    cache: &Path,
    guest: &Guest,
    host: &Target,
) -> Result<Vec<(Description, PathBuf)>, EmulatorError> {
    let folder = folder(cache, guest, host);
    let mut known = Vec::new();
    for path in entries(&folder)? {
        let Some(description) = describe(&path)? else { continue };
        if description.guest == guest.name && description.host == host.platform {
            known.push((description, path));
        }
    }
    known.sort_by(|(a, _), (b, _)| debian::compare(&a.package.version, &b.package.version));
    Ok(known)
}

/// What is in a folder, by name; nothing where there is none.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, EmulatorError> {
    let failed = |source| EmulatorError::Read { path: folder.into(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(source) => return Err(failed(source)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Keeps the program in `new`, a folder of [`prepare`], and gives the emulator in its place. One that is there
/// already gives way: it is the same, or was changed.
pub(super) fn keep(
    folder: &Path,
    new: &TempDir,
    description: &Description,
) -> Result<Emulator, EmulatorError> {
    let path = new.path().join("emulator.json");
    let write = |path: &Path, source| EmulatorError::Write { path: path.into(), source };
    let text = serde_json::to_vec_pretty(description)
        .map_err(|source| EmulatorError::Description { path: path.clone(), source })?;
    fs::write(&path, text).map_err(|source| write(&path, source))?;
    // Temporary folders are their owner's only.
    fs::set_permissions(new.path(), fs::Permissions::from_mode(0o755))
        .map_err(|source| write(new.path(), source))?;
    let digits = description.sha256.get(..16).unwrap_or(&description.sha256);
    let place = folder.join(digits);
    // A folder with files in it cannot be renamed over.
    match fs::remove_dir_all(&place) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(write(&place, err)),
        _ => {}
    }
    fs::rename(new.path(), &place).map_err(|source| write(&place, source))?;
    Ok(description.emulator(&place, Source::Debian { package: description.package.clone() }))
}

/// The right to change what is in the folder, which one process has at a time.
pub(super) fn lock(folder: &Path, progress: &dyn Progress) -> Result<File, EmulatorError> {
    locked(folder, progress, "waiting for another process, which fetches the same emulator", |file, wait| {
        if wait { file.lock() } else { file.try_lock().map_err(io::Error::from) }
    })
}

/// The right to work in the cache while nobody removes anything from it.
pub(super) fn share(cache: &Path, progress: &dyn Progress) -> Result<File, EmulatorError> {
    let what = "waiting for another process, which prunes the cache";
    locked(&emulators(cache), progress, what, |file, wait| {
        if wait { file.lock_shared() } else { file.try_lock_shared().map_err(io::Error::from) }
    })
}

/// The right to remove things from the cache, while nobody fetches anything.
pub(super) fn alone(cache: &Path, progress: &dyn Progress) -> Result<File, EmulatorError> {
    let what = "waiting for other processes, which fetch emulators";
    locked(&emulators(cache), progress, what, |file, wait| {
        if wait { file.lock() } else { file.try_lock().map_err(io::Error::from) }
    })
}

fn locked(
    folder: &Path,
    progress: &dyn Progress,
    what: &str,
    take: impl Fn(&File, bool) -> io::Result<()>,
) -> Result<File, EmulatorError> {
    fs::create_dir_all(folder).map_err(|source| EmulatorError::Write { path: folder.into(), source })?;
    let path = folder.join(LOCK);
    let open = || {
        let file = File::options().create(true).write(true).truncate(false).open(&path)?;
        if take(&file, false).is_err() {
            progress.note(what);
            take(&file, true)?;
        }
        io::Result::Ok(file)
    };
    open().map_err(|source| EmulatorError::Write { path, source })
}

/// A new folder in `folder` to make an emulator's in. What a process that was killed has left is removed.
/// Only who has the [`lock`] of the host's folder may call it.
pub(super) fn prepare(folder: &Path) -> Result<TempDir, EmulatorError> {
    let begun = || {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(BEGUN.as_bytes()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        tempfile::Builder::new().prefix(BEGUN).tempdir_in(folder)
    };
    begun().map_err(|source| EmulatorError::Write { path: folder.into(), source })
}

/// The description in `folder`; `None` where there is none, or one that a later version wrote.
pub(super) fn describe(folder: &Path) -> Result<Option<Description>, EmulatorError> {
    let path = folder.join("emulator.json");
    let size = match path.metadata() {
        Ok(metadata) => metadata.len(),
        Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(EmulatorError::Read { path, source }),
    };
    if size > DESCRIPTION_LIMIT {
        return Ok(None);
    }
    let text = fs::read(&path).map_err(|source| EmulatorError::Read { path: path.clone(), source })?;
    let description: Description =
        serde_json::from_slice(&text).map_err(|source| EmulatorError::Description { path, source })?;
    Ok((description.form == FORM).then_some(description))
}
