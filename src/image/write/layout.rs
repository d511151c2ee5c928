//! Writing OCI image layouts.

use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use oci_spec::image::Descriptor;
use ocidir::{OciDir, cap_std};
use serde_json::{Map, Value, json};

use super::super::choose::specified;
use super::super::json::{canonical, parse};
use super::super::oci_layout::{NAME, layout_error};
use super::super::{Abilities, Blob, Destination, JSON_LIMIT, Raw, digest_of};
use super::ImageError;
use super::spool::Spool;
use super::stream::stream;
use crate::layer::Digest;
use crate::target::Platform;

/// A layout, and the name that the image gets in it.
#[derive(Debug)]
pub(in crate::image) struct LayoutWriter {
    path: PathBuf,
    blobs: PathBuf,
    tag: Option<String>,
    abilities: Abilities,
    /// Keeps blobs from being pruned before an index names them.
    _lock: Option<File>,
}

impl LayoutWriter {
    /// The layout in the folder `path`, which is made where there is none.
    pub(in crate::image) fn open(path: &Path, tag: Option<&str>) -> Result<Self, ImageError> {
        let failed = |source| ImageError::File { doing: "writing", path: path.into(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let folder =
            cap_std::fs::Dir::open_ambient_dir(path, cap_std::ambient_authority()).map_err(failed)?;
        OciDir::ensure(folder).map_err(layout_error("writing", path))?;
        Ok(Self {
            path: path.into(),
            blobs: path.join("blobs/sha256"),
            tag: tag.map(str::to_owned),
            abilities: Abilities { oci_preferred: true, ..Abilities::default() },
            _lock: None,
        })
    }

    /// The store in the folder `path`. Manifests stay as they are, so that their digests do.
    pub(in crate::image) fn store(path: &Path, name: &str) -> Result<Self, ImageError> {
        let writer = Self::open(path, Some(name))?;
        let failed = |source| ImageError::File { doing: "locking", path: writer.blobs.clone(), source };
        let lock = File::open(&writer.blobs).map_err(failed)?;
        lock.lock_shared().map_err(failed)?;
        Ok(Self { abilities: Abilities::default(), _lock: Some(lock), ..writer })
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }
}

impl Destination for LayoutWriter {
    fn abilities(&self) -> Abilities {
        self.abilities
    }

    fn has_blob(&self, entry: &Descriptor) -> Result<bool, ImageError> {
        let path = self.blob_path(&digest_of(entry, "manifest")?);
        Ok(fs::metadata(path).is_ok_and(|there| there.is_file() && there.len() == entry.size()))
    }

    fn put_blob(&self, content: &mut dyn Read, expected: Option<&Descriptor>) -> Result<Blob, ImageError> {
        let failed = |source| ImageError::File { doing: "writing", path: self.blobs.clone(), source };
        let mut spool = Spool::new(&self.blobs).map_err(failed)?;
        let blob = stream(content, &mut spool.file, &self.blobs, expected)?;
        spool.keep_once(&self.blob_path(&blob.digest)).map_err(failed)?;
        Ok(blob)
    }

    fn link_blob(&self, path: &Path, entry: &Descriptor) -> Result<bool, ImageError> {
        let target = self.blob_path(&digest_of(entry, "manifest")?);
        // Where one is there already under that name it is damaged, for it would not be asked for else.
        if target.exists() || !fs::metadata(path).is_ok_and(|there| there.len() == entry.size()) {
            return Ok(false);
        }
        Ok(fs::hard_link(path, &target).is_ok())
    }

    fn put_manifest(&self, manifest: &Raw, _platform: Option<&Platform>) -> Result<(), ImageError> {
        self.put_blob(&mut manifest.bytes.as_slice(), Some(&manifest.descriptor())).map(drop)
    }

    fn finish(&self, top: &Raw, platform: Option<&Platform>) -> Result<Digest, ImageError> {
        self.put_manifest(top, platform)?;
        let mut entry = top.descriptor();
        if let Some(platform) = platform {
            entry.set_platform(Some(specified(platform)));
        }
        if let Some(tag) = &self.tag {
            entry.set_annotations(Some([(NAME.to_owned(), tag.clone())].into()));
        }
        let entry = serde_json::to_value(&entry)
            .map_err(|source| ImageError::Json { part: "index".into(), source })?;
        change_index(&self.path, |entries| {
            entries.retain(|there| match &self.tag {
                Some(tag) => name_in(there) != Some(tag),
                // One without a name takes the place of another for the same platform: it could not be chosen.
                None => name_in(there).is_some() || there.get("platform") != entry.get("platform"),
            });
            entries.push(entry);
        })?;
        Ok(top.digest)
    }
}

/// The name that an index gives to `entry`.
pub(in crate::image) fn name_in(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(NAME)?.as_str()
}

/// Changes what the index of the layout in `path` lists: one process at a time, and readers see it before or after.
pub(in crate::image) fn change_index<T>(
    path: &Path,
    change: impl FnOnce(&mut Vec<Value>) -> T,
) -> Result<T, ImageError> {
    let target = path.join("index.json");
    let failed = |source| ImageError::File { doing: "writing", path: target.clone(), source };
    // The lock is on the folder itself, so that the layout holds nothing but what the specification knows.
    let lock = File::open(path).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let mut index = match File::open(&target) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(JSON_LIMIT).read_to_end(&mut bytes).map_err(failed)?;
            parse::<Map<String, Value>>(&bytes, "index")?
        }
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Map::new(),
        Err(err) => return Err(failed(err)),
    };
    let mut entries = match index.remove("manifests") {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    };
    let before = entries.clone();
    let changed = change(&mut entries);
    if entries == before && target.exists() {
        return Ok(changed);
    }
    index.insert("schemaVersion".into(), json!(2));
    index.insert("manifests".into(), Value::Array(entries));
    let bytes = canonical(&index).map_err(|source| ImageError::Json { part: "index".into(), source })?;
    let mut spool = Spool::new(path).map_err(failed)?;
    spool.file.write_all(&bytes).map_err(failed)?;
    spool.file.sync_data().map_err(failed)?;
    spool.keep(&target).map_err(failed)?;
    Ok(changed)
}
