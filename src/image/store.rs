//! The local store: an OCI layout that many processes use at once.
//!
//! Blobs and the index take their names when they are whole. A copy holds a shared lock on `blobs/sha256` while it goes on,
//! pruning an exclusive one; the index is changed under a lock on the store's folder. So a process that is killed leaves at most
//! blobs that nothing names.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::Deserialize;

use super::choose::{self, DEPTH, is_attestation, too_deep};
use super::oci_layout::{Layout, name_of};
use super::write::{TEMPORARY, change_index, name_in};
use super::{ImageError, Raw, Source as _, digest_of, parse, small_blob};
use crate::layer::Digest;
use crate::progress::Progress;
use crate::target::Platform;

/// The store's folder.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

/// An image of the store.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its name in full, where it has one.
    pub name: Option<String>,
    /// The digest of its manifest or index.
    pub digest: Digest,
    /// Its platforms; several where it is an index.
    pub platforms: Vec<Platform>,
    /// When it was created, as its config says (RFC 3339); the latest of several.
    pub created: Option<String>,
    /// The length of its manifests, configs and layers as they are stored, in bytes.
    pub size: u64,
    /// What is wrong with it, where it cannot be read.
    pub problem: Option<String>,
}

/// What pruning took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many blobs.
    pub blobs: u64,
    /// How many leftovers of processes that were killed.
    pub leftovers: u64,
    /// The length of both, in bytes.
    pub bytes: u64,
}

#[derive(Debug, Deserialize)]
struct Created {
    created: Option<String>,
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

impl Store {
    /// The store in the folder `path`, which need not be there yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.into() }
    }

    fn failed(&self, doing: &'static str) -> impl Fn(io::Error) -> ImageError + use<> {
        let path = self.path.clone();
        move |source| ImageError::File { doing, path: path.clone(), source }
    }

    fn blobs(&self) -> PathBuf {
        self.path.join("blobs/sha256")
    }

    /// `None` where nothing was stored yet.
    fn layout(&self) -> Result<Option<Layout>, ImageError> {
        if self.path.join("index.json").exists() {
            Layout::folder(&self.path, Vec::new(), None).map(Some)
        } else {
            Ok(None)
        }
    }

    /// All images, by name. One that is damaged is listed with its problem.
    ///
    /// # Errors
    /// [`ImageError`] where the store itself cannot be read.
    pub fn list(&self) -> Result<Vec<Stored>, ImageError> {
        let Some(layout) = self.layout()? else { return Ok(Vec::new()) };
        let mut images = Vec::new();
        for entry in layout.entries()? {
            let digest = digest_of(&entry, "index")?;
            let mut stored = Stored {
                name: name_of(&entry).map(str::to_owned),
                digest,
                platforms: Vec::new(),
                created: None,
                size: 0,
                problem: None,
            };
            let mut seen = HashSet::new();
            if let Err(err) = describe(&layout, &entry, &mut stored, &mut seen, DEPTH) {
                stored.problem = Some(err.to_string());
            }
            images.push(stored);
        }
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }

    /// Takes the images called `names` (in full) out of the index; all or none. Their blobs stay until [`Store::prune`].
    ///
    /// # Errors
    /// [`ImageError::NoSuchName`] where one is not there.
    pub fn remove(&self, names: &[String]) -> Result<Vec<String>, ImageError> {
        let none = |name: &String, present: Vec<String>| ImageError::NoSuchName {
            path: self.path.clone(),
            name: name.clone(),
            present,
        };
        if !self.path.join("index.json").exists() {
            return names.first().map_or(Ok(Vec::new()), |name| Err(none(name, Vec::new())));
        }
        change_index(&self.path, |entries| {
            let present: Vec<String> = entries.iter().filter_map(name_in).map(str::to_owned).collect();
            let mut removed = Vec::new();
            for name in names {
                let known = super::reference::aliases(name).into_iter().find(|name| present.contains(name));
                removed.push(known.ok_or_else(|| none(name, present.clone()))?);
            }
            entries.retain(|entry| {
                name_in(entry).is_none_or(|name| !removed.iter().any(|removed| removed == name))
            });
            Ok(removed)
        })?
    }

    /// Deletes blobs that no image needs, and leftovers of processes that were killed. Waits until no copy goes on.
    ///
    /// # Errors
    /// [`ImageError`]; where an image cannot be read so that it is not known what it needs, nothing is deleted.
    pub fn prune(&self, progress: &dyn Progress) -> Result<Pruned, ImageError> {
        let blobs = self.blobs();
        let lock = match File::open(&blobs) {
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(Pruned::default()),
            lock => lock.map_err(self.failed("reading"))?,
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress.note("waiting for copies that go on");
                lock.lock().map_err(self.failed("locking"))?;
            }
            Err(TryLockError::Error(err)) => return Err((self.failed("locking"))(err)),
        }
        let mut needed = HashSet::new();
        if let Some(layout) = self.layout()? {
            for entry in layout.entries()? {
                mark(&layout, &entry, &mut needed, DEPTH)?;
            }
        }
        let mut pruned = Pruned::default();
        let needed: HashSet<String> = needed.iter().map(Digest::hex).collect();
        self.sweep(&blobs, &mut pruned, |name| !needed.contains(name))?;
        // The index is replaced through such a file too, under a lock of its own.
        let index = File::open(&self.path).map_err(self.failed("reading"))?;
        index.lock().map_err(self.failed("locking"))?;
        self.sweep(&self.path, &mut pruned, |_| false)?;
        Ok(pruned)
    }

    /// Deletes leftovers in `folder`, and other files that are `unneeded`.
    fn sweep(
        &self,
        folder: &Path,
        pruned: &mut Pruned,
        unneeded: impl Fn(&str) -> bool,
    ) -> Result<(), ImageError> {
        let failed = self.failed("pruning");
        for entry in fs::read_dir(folder).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            let name = entry.file_name();
            let is_leftover = name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes());
            let meta = entry.metadata().map_err(&failed)?;
            if !meta.is_file() || !(is_leftover || name.to_str().is_none_or(&unneeded)) {
                continue;
            }
            fs::remove_file(entry.path()).map_err(&failed)?;
            pruned.bytes += meta.len();
            if is_leftover {
                pruned.leftovers += 1;
            } else {
                pruned.blobs += 1;
            }
        }
        Ok(())
    }
}

/// Finds out what `entry` is. What several images share is counted once for each.
fn describe(
    layout: &Layout,
    entry: &Descriptor,
    stored: &mut Stored,
    seen: &mut HashSet<Digest>,
    depth: usize,
) -> Result<(), ImageError> {
    let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
    let raw = layout.manifest(entry)?;
    let mut count = |entry: &Descriptor| -> Result<(), ImageError> {
        if seen.insert(digest_of(entry, "manifest")?) {
            stored.size = stored.size.saturating_add(entry.size());
        }
        Ok(())
    };
    count(&raw.descriptor())?;
    if raw.is_index() {
        let index: ImageIndex = parse(&raw.bytes, "index")?;
        return index.manifests().iter().try_for_each(|entry| describe(layout, entry, stored, seen, depth));
    }
    let manifest: ImageManifest = parse(&raw.bytes, "manifest")?;
    count(manifest.config())?;
    manifest.layers().iter().try_for_each(&mut count)?;
    if is_attestation(entry) {
        return Ok(());
    }
    let Ok(config) = small_blob(layout, manifest.config(), "config") else {
        stored.problem = Some("its config is missing or damaged".into());
        return Ok(());
    };
    if let Some(layer) = manifest.layers().iter().find(|layer| !layout.has(layer)) {
        stored.problem = Some(format!("its layer {} is missing or damaged", layer.digest()));
    }
    let config: Created = parse(&config, "config")?;
    let own = match (config.os, config.architecture) {
        (Some(os), Some(architecture)) => {
            let variant = config.variant.filter(|variant| !variant.is_empty());
            Some(Platform { os, architecture, variant }.normalized())
        }
        _ => None,
    };
    stored.platforms.extend(own.or_else(|| choose::platform(entry)));
    stored.created = stored.created.take().max(config.created);
    Ok(())
}

/// Everything that `entry` leads to. What is not there needs nothing; what is there and cannot be read is an error.
fn mark(
    layout: &Layout,
    entry: &Descriptor,
    needed: &mut HashSet<Digest>,
    depth: usize,
) -> Result<(), ImageError> {
    let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
    needed.insert(digest_of(entry, "index")?);
    if !layout.has(entry) {
        return Ok(());
    }
    let raw: Raw = layout.manifest(entry)?;
    if raw.is_index() {
        let index: ImageIndex = parse(&raw.bytes, "index")?;
        return index.manifests().iter().try_for_each(|entry| mark(layout, entry, needed, depth));
    }
    let manifest: ImageManifest = parse(&raw.bytes, "manifest")?;
    for blob in manifest.layers().iter().chain([manifest.config()]) {
        needed.insert(digest_of(blob, "manifest")?);
    }
    Ok(())
}
