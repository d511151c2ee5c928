//! Images that are unpacked, in the cache: once for all runs.
//!
//! A snapshot is a folder `snapshots/KEY` of the cache, the key being a digest of what decides over its content: the layers,
//! the ids and the format. In it, `lock` is held shared by every run that uses the snapshot, and alone by whoever unpacks or
//! removes it; `root` is the file system, `skeleton` its folders alone, where they are wanted; `snapshot.json` is written last, so that there is none where a kill came between.
//! One that is removed loses its name first.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::{Ids, SandboxError, Signals};
use super::{has_long_positions, positions, remove_tree, worker};
use crate::image::{Image, ImageError, LayerInfo};
use crate::layer::{Digest, Skipped};
use crate::progress::Progress;
use crate::target::Platform;

/// Changes with everything that makes older snapshots unusable.
const FORMAT: u32 = 1;
const LOCK: &str = "lock";
const ROOT: &str = "root";
/// Its folders alone; see [`positions`].
const SKELETON: &str = "skeleton";
const RECORD: &str = "snapshot.json";
/// What the record is called until it is whole.
const NEW_RECORD: &str = "snapshot.new";
/// How often a lock that another process holds is tried, since waiting for it would keep a signal waiting too.
const AGAIN: Duration = Duration::from_millis(20);
/// Images below this size, in bytes, are there at once; a line for each would only be in the way.
const TOLD: u64 = 16 << 20;

/// Layers that make a root file system together.
pub trait Layers {
    /// The layers, the lowest first.
    fn layers(&self) -> Vec<LayerInfo>;

    /// The platform of the programs in them.
    fn platform(&self) -> Platform;

    /// The layer `at`, from 0, plain or compressed.
    ///
    /// # Errors
    /// [`ImageError`] where it is not to be had.
    fn open(&self, at: usize) -> Result<Box<dyn io::Read + Send + '_>, ImageError>;
}

impl Layers for Image {
    fn layers(&self) -> Vec<LayerInfo> {
        Self::layers(self).to_vec()
    }

    fn platform(&self) -> Platform {
        Self::platform(self)
    }

    fn open(&self, at: usize) -> Result<Box<dyn io::Read + Send + '_>, ImageError> {
        self.layer(at)
    }
}

/// All snapshots of a cache.
#[derive(Debug, Clone)]
pub struct Snapshots {
    folder: PathBuf,
}

/// The files of an image, which stay as long as this does.
#[derive(Debug)]
pub struct Snapshot {
    folder: PathBuf,
    /// What of the image could not be had.
    pub skipped: Skipped,
    /// Whether it was unpacked just now.
    pub is_new: bool,
    /// Whether its folders are laid out for 32-bit guests.
    pub has_skeleton: bool,
    /// Held shared.
    _lock: File,
}

/// What a whole snapshot says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    layers: Vec<String>,
    devices: u64,
    attributes: u64,
    owners: u64,
}

/// What pruning took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many snapshots.
    pub snapshots: u64,
    /// Room on the disk, in bytes.
    pub bytes: u64,
    /// How many were left, because runs use them.
    pub used: u64,
}

impl Snapshot {
    /// The folders that make the file system together, the topmost first.
    #[must_use]
    pub fn lowers(&self) -> Vec<PathBuf> {
        let skeleton = self.has_skeleton.then(|| self.folder.join(SKELETON));
        std::iter::once(self.folder.join(ROOT)).chain(skeleton).collect()
    }

    /// The one in `folder`, if it is whole.
    fn open(folder: &Path, lock: File) -> Result<Self, File> {
        let record = fs::read(folder.join(RECORD)).ok();
        let Some(record) = record.and_then(|text| serde_json::from_slice::<Record>(&text).ok()) else {
            return Err(lock);
        };
        let Record { devices, attributes, owners, .. } = record;
        let skipped = Skipped { devices, attributes, owners };
        let has_skeleton = folder.join(SKELETON).is_dir();
        Ok(Self { folder: folder.into(), skipped, is_new: false, has_skeleton, _lock: lock })
    }
}

impl Snapshots {
    /// Those of the cache folder `cache`.
    #[must_use]
    pub fn new(cache: &Path) -> Self {
        Self { folder: cache.join("snapshots") }
    }

    /// The snapshot of `image` for `ids`; it is unpacked where that was not done before. The caller's program is started anew
    /// for that, so its `main` must call [`super::super::enter`] before all else.
    ///
    /// # Errors
    /// [`SandboxError`]; nothing is left that would be taken for a snapshot. With [`SandboxError::IdsRefused`] it can be had for
    /// [`Ids::single`].
    pub fn of(
        &self,
        image: &dyn Layers,
        ids: &Ids,
        signals: &Signals,
        progress: &dyn Progress,
    ) -> Result<Snapshot, SandboxError> {
        let digests: Vec<Digest> = image.layers().iter().map(|layer| layer.diff_id).collect();
        let wants_short = positions::wants_short(&image.platform());
        let folder = self.folder.join(key(&digests, ids, wants_short));
        let fail = |source| SandboxError::Folder { path: folder.clone(), source };
        let mut is_new = false;
        loop {
            let lock = self.entrance(&folder).map_err(fail)?;
            wait(&lock, false, signals, progress)?;
            if !is_at(&lock, &folder) {
                continue;
            }
            let lock = match Snapshot::open(&folder, lock) {
                Ok(snapshot) => return Ok(Snapshot { is_new, ..snapshot }),
                Err(lock) => lock,
            };
            lock.unlock().map_err(fail)?;
            wait(&lock, true, signals, progress)?;
            if !is_at(&lock, &folder) {
                continue;
            }
            // Another process may have made it meanwhile.
            if !folder.join(RECORD).exists() {
                let wants_skeleton = wants_short && has_long_positions(&folder).unwrap_or(false);
                make(&folder, image, &digests, wants_skeleton, ids, signals, progress)?;
                is_new = true;
            }
            // For a moment it may be held by nobody, and go.
            lock.unlock().map_err(fail)?;
        }
    }

    /// The lock of the snapshot at `folder`, which is made where it is missing.
    fn entrance(&self, folder: &Path) -> io::Result<File> {
        loop {
            fs::create_dir_all(folder)?;
            // Programs with rights of their own, of whatever age, are not for other users of the machine to run.
            fs::set_permissions(&self.folder, Permissions::from_mode(0o700))?;
            match File::options().create(true).truncate(false).write(true).open(folder.join(LOCK)) {
                // It was removed in between.
                Err(err) if err.kind() == ErrorKind::NotFound => {}
                other => return other,
            }
        }
    }

    /// Removes the snapshots that no run uses, and what was left of unfinished ones.
    ///
    /// # Errors
    /// [`SandboxError`] where one cannot be removed.
    pub fn prune(&self) -> Result<Pruned, SandboxError> {
        let fail = |source| SandboxError::Folder { path: self.folder.clone(), source };
        let mut pruned = Pruned::default();
        let entries = match fs::read_dir(&self.folder) {
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(pruned),
            entries => entries.map_err(fail)?,
        };
        let mut removed = Vec::new();
        for entry in entries {
            let path = entry.map_err(fail)?.path();
            // One that another process is removing too is nobody's loss.
            if path.extension().is_none() {
                let Ok(lock) = File::open(path.join(LOCK)) else { continue };
                if lock.try_lock().is_err() {
                    pruned.used += 1;
                    continue;
                }
                if !is_at(&lock, &path) {
                    continue;
                }
                let unnamed = path.with_extension("removed");
                let _ = remove(&unnamed);
                fs::rename(&path, &unnamed).map_err(fail)?;
                removed.push((unnamed, Some(lock)));
            } else {
                removed.push((path, None));
            }
        }
        for (path, lock) in removed {
            pruned.bytes += size(&path);
            remove(&path)?;
            pruned.snapshots += u64::from(lock.is_some());
        }
        Ok(pruned)
    }
}

/// What decides over the content of a snapshot, as a name.
fn key(layers: &[Digest], ids: &Ids, wants_short: bool) -> String {
    let layers: Vec<String> = layers.iter().map(ToString::to_string).collect();
    let text = format!("polyarch snapshot {FORMAT} {wants_short}\n{}\n{}", ids.text(), layers.join("\n"));
    Digest::of(text.as_bytes()).hex()
}

/// Whether `lock` is the one that whoever comes now will find.
fn is_at(lock: &File, folder: &Path) -> bool {
    let number = |meta: io::Result<fs::Metadata>| meta.map(|meta| (meta.dev(), meta.ino())).ok();
    let own = number(lock.metadata());
    own.is_some() && own == number(fs::symlink_metadata(folder.join(LOCK)))
}

/// Waits for a lock, alone or shared.
fn wait(lock: &File, alone: bool, signals: &Signals, progress: &dyn Progress) -> Result<(), SandboxError> {
    let mut is_told = false;
    loop {
        match if alone { lock.try_lock() } else { lock.try_lock_shared() } {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(SandboxError::Start { source }),
            Err(TryLockError::WouldBlock) => {}
        }
        if let Some(signal) = signals.interrupted() {
            return Err(SandboxError::Interrupted { signal });
        }
        if !std::mem::replace(&mut is_told, true) {
            progress.note("waiting for another process that unpacks the image");
        }
        std::thread::sleep(AGAIN);
    }
}

/// Unpacks the image to `folder`, of which the lock is held alone.
fn make(
    folder: &Path,
    image: &dyn Layers,
    digests: &[Digest],
    wants_skeleton: bool,
    ids: &Ids,
    signals: &Signals,
    progress: &dyn Progress,
) -> Result<(), SandboxError> {
    let fail = |source| SandboxError::Folder { path: folder.into(), source };
    let root = folder.join(ROOT);
    let skeleton = folder.join(SKELETON);
    // What a killed process left.
    remove(&root)?;
    remove(&skeleton)?;
    fs::create_dir(&root).map_err(fail)?;
    fs::set_permissions(&root, Permissions::from_mode(0o755)).map_err(fail)?;
    let layers = image.layers();
    let total = layers.iter().map(|layer| layer.size).sum();
    let task = (total >= TOLD).then(|| progress.begin("unpacking the image", Some(total)));
    let mut layer = |at: usize| -> Result<Box<dyn io::Read + '_>, SandboxError> {
        if let Some((task, before)) = task.as_ref().zip(at.checked_sub(1)) {
            task.advance(layers[before].size);
        }
        let layer = image.open(at).map_err(|source| SandboxError::Image { layer: at + 1, source })?;
        Ok(layer)
    };
    let skeleton = wants_skeleton.then_some(skeleton.as_path());
    let made = worker::unpack(&root, skeleton, ids, digests, &mut layer, signals).and_then(|skipped| {
        let Skipped { devices, attributes, owners } = skipped;
        let layers = digests.iter().map(ToString::to_string).collect();
        let record = serde_json::to_vec(&Record { layers, devices, attributes, owners });
        let record = record.map_err(|err| fail(err.into()))?;
        let new = folder.join(NEW_RECORD);
        fs::write(&new, record).and_then(|()| fs::rename(new, folder.join(RECORD))).map_err(fail)
    });
    if made.is_err() {
        // The room may be what was missing. If it fails, whoever comes next does it.
        let _ = remove(&root);
        let _ = remove(folder);
    }
    made
}

/// Removes a tree of the cache, whomever it belongs to.
fn remove(path: &Path) -> Result<(), SandboxError> {
    match remove_tree(path) {
        Err(err) if err.kind() == ErrorKind::PermissionDenied => {
            worker::remove(&[path.into()], &Ids::of_caller().0)
        }
        other => other.map_err(|source| SandboxError::Folder { path: path.into(), source }),
    }
}

/// How much room a tree takes, in bytes, as far as it can be seen.
fn size(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    let below = if meta.is_dir() { fs::read_dir(path).ok() } else { None };
    let below = below.into_iter().flatten().flatten().map(|entry| size(&entry.path()));
    meta.blocks() * 512 + below.sum::<u64>()
}
