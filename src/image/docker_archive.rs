//! Reading archives as `docker save`, podman and skopeo write them.
//!
//! They hold no manifest in the registries' sense: one of OCI's form is made of what they hold, layers as they are stored.

use std::io::Read;
use std::path::Path;

use oci_spec::image::{Descriptor, ImageConfiguration, MediaType};
use serde::Deserialize;
use serde_json::json;

use super::json::canonical;
use super::model::diff_ids;
use super::tar_file::TarFile;
use super::verified::Verified;
use super::{ImageError, Raw, Source, descriptor, digest_of, parse};
use crate::layer::{Compression, Digest, DigestReader};

/// One image in `manifest.json`. Source: moby, `image/spec/spec.md`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// One image of an archive.
#[derive(Debug)]
pub(super) struct DockerArchive {
    tar: TarFile,
    manifest: Raw,
    /// Where in the archive each blob is.
    blobs: Vec<(Digest, String)>,
}

impl DockerArchive {
    /// The image called `name`, or the only one.
    pub(super) fn open(tar: TarFile, name: Option<&str>) -> Result<Self, ImageError> {
        let entries: Vec<Entry> = parse(&tar.small("manifest.json")?, "manifest")?;
        let entry = pick(&entries, tar.path(), name)?;
        let bytes = tar.small(&entry.config)?;
        let digest = Digest::of(&bytes);
        // The file's name is its digest, in every writer's form: `HEX.json`, `HEX`, `blobs/sha256/HEX`.
        if let Some(expected) = digest_in(entry.config.trim_end_matches(".json"))
            && expected != digest
        {
            return Err(ImageError::Digest { part: "config".into(), expected, found: digest });
        }
        let config: ImageConfiguration = parse(&bytes, "config")?;
        let ids = diff_ids(&config, entry.layers.len())?;
        let mut blobs = vec![(digest, entry.config.clone())];
        let mut layers = Vec::new();
        for (at, (name, diff_id)) in entry.layers.iter().zip(ids).enumerate() {
            let layer = layer(&tar, name, diff_id, at)?;
            blobs.push((digest_of(&layer, "layer")?, name.clone()));
            layers.push(layer);
        }
        let manifest = canonical(&json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest,
            "config": descriptor(MediaType::ImageConfig, bytes.len() as u64, &digest),
            "layers": layers,
        }));
        let manifest = manifest.map_err(|source| ImageError::Json { part: "manifest".into(), source })?;
        Ok(Self { tar, manifest: Raw::new(manifest, None)?, blobs })
    }
}

/// The layer `name`, as it is stored, of which the config knows only what it holds.
fn layer(tar: &TarFile, name: &str, diff_id: Digest, at: usize) -> Result<Descriptor, ImageError> {
    let failed = |source| ImageError::Blob { part: format!("layer {}", at + 1), source };
    let mut section = tar.section(name)?;
    let size = section.left();
    let mut magic = Vec::new();
    section.by_ref().take(8).read_to_end(&mut magic).map_err(failed)?;
    let kind = match Compression::of(&magic) {
        Compression::None => return Ok(descriptor(MediaType::ImageLayer, size, &diff_id)),
        Compression::Gzip => MediaType::ImageLayerGzip,
        Compression::Zstd => MediaType::ImageLayerZstd,
    };
    // Names may say the digest of what is stored, or of what it holds, or nothing.
    let said = digest_in(name).filter(|said| *said != diff_id && name.starts_with("blobs/"));
    let digest = match said {
        Some(said) => said,
        None => {
            let mut reader = DigestReader::new(tar.section(name)?);
            std::io::copy(&mut reader, &mut std::io::sink()).map_err(failed)?;
            reader.digest()
        }
    };
    Ok(descriptor(kind, size, &digest))
}

/// The digest that the last part of `path` is.
fn digest_in(path: &str) -> Option<Digest> {
    format!("sha256:{}", path.rsplit('/').next().unwrap_or_default()).parse().ok()
}

/// The image called `name`, or the only one.
fn pick<'a>(entries: &'a [Entry], path: &Path, name: Option<&str>) -> Result<&'a Entry, ImageError> {
    let tags = |entry: &'a Entry| entry.repo_tags.iter().flatten();
    let present = || entries.iter().flat_map(tags).cloned().collect::<Vec<_>>();
    match (name, entries) {
        (Some(name), _) => {
            let wanted = familiar(name);
            let found = entries.iter().find(|entry| tags(entry).any(|tag| familiar(tag) == wanted));
            found.ok_or_else(|| ImageError::NoSuchName {
                path: path.into(),
                name: name.into(),
                present: present(),
            })
        }
        (None, [entry]) => Ok(entry),
        (None, []) => {
            Err(ImageError::Invalid { part: "manifest".into(), reason: "it lists no image".into() })
        }
        (None, _) => {
            Err(ImageError::Ambiguous { path: path.into(), count: entries.len(), present: present() })
        }
    }
}

/// A name as docker shows it, without the registry that it assumes.
fn familiar(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

impl Source for DockerArchive {
    fn top(&self) -> Result<Raw, ImageError> {
        Ok(self.manifest.clone())
    }

    fn manifest(&self, entry: &Descriptor) -> Result<Raw, ImageError> {
        let reason = format!("it has no manifest {}", entry.digest());
        Err(ImageError::Invalid { part: "archive".into(), reason })
    }

    fn blob(&self, entry: &Descriptor) -> Result<Box<dyn Read + Send + '_>, ImageError> {
        let digest = digest_of(entry, "manifest")?;
        let blob = self.blobs.iter().find(|(known, _)| *known == digest);
        let (_, name) = blob.ok_or_else(|| ImageError::Invalid {
            part: "archive".into(),
            reason: format!("it has no blob {digest}"),
        })?;
        Ok(Box::new(Verified::new(self.tar.section(name)?, digest, Some(entry.size()))))
    }
}
