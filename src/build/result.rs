//! The images that a build has made, to be copied to wherever they are wanted.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Map, Value, json};

use super::cache::Layer;
use super::staged::{Base, Event, Staged};
use super::{BuildError, Options};
use crate::image::{
    DOCKER_MANIFEST, ImageError, LayerInfo, Raw, Source, canonical, descriptor, oci_layer_type, rfc3339,
};
use crate::layer::{Digest, LayerStream};
use crate::target::Platform;

/// What of an older docker's configs is of no image but the base.
const OF_BASE: &[&str] =
    &["container", "container_config", "docker_version", "id", "parent", "Size", "throwaway"];

/// The result of a build: an image, or an index of several.
#[derive(Debug)]
pub struct Built {
    images: Vec<One>,
    top: Raw,
    blobs: HashMap<String, Place>,
}

/// An image for one platform.
#[derive(Debug)]
pub struct One {
    /// The platform.
    pub platform: Platform,
    manifest: Raw,
    /// The layers, the lowest first, by their digests.
    layers: Vec<(LayerInfo, String)>,
}

/// Where a blob is.
#[derive(Debug)]
enum Place {
    Bytes(Vec<u8>),
    Layer(Arc<Layer>),
    Base(Arc<Base>, usize),
}

impl Built {
    pub(super) fn new(all: Vec<Staged>, options: &Options) -> Result<Self, BuildError> {
        let mut blobs = HashMap::new();
        let images = all.into_iter().map(|staged| One::new(staged, options, &mut blobs));
        let images = images.collect::<Result<Vec<_>, BuildError>>()?;
        let top = match images.as_slice() {
            [one] => one.manifest.clone(),
            several => index(several, options)?,
        };
        Ok(Self { images, top, blobs })
    }

    /// The digest of the image, or of the index.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.top.digest
    }

    /// The images.
    #[must_use]
    pub fn images(&self) -> &[One] {
        &self.images
    }

    /// The layers of an image, to be read as often as it takes.
    #[must_use]
    pub fn streams<'a>(&'a self, image: &'a One) -> Vec<LayerStream<'a>> {
        let stream = |(info, digest): &'a (LayerInfo, String)| {
            LayerStream::new(move || self.open(digest).map_err(io::Error::other), Some(info.diff_id))
        };
        image.layers.iter().map(stream).collect()
    }

    /// The same once: each with the digest of what it holds.
    pub fn layers<'a>(
        &'a self,
        image: &'a One,
    ) -> impl Iterator<Item = (Digest, Result<Box<dyn Read + Send + 'a>, ImageError>)> {
        image.layers.iter().map(|(info, digest)| (info.diff_id, self.open(digest)))
    }

    fn open(&self, digest: &str) -> Result<Box<dyn Read + Send + '_>, ImageError> {
        let missing =
            || ImageError::Invalid { part: format!("blob {digest}"), reason: "there is none".into() };
        Ok(match self.blobs.get(digest).ok_or_else(missing)? {
            Place::Bytes(bytes) => Box::new(bytes.as_slice()),
            Place::Base(base, at) => base.image.layer(*at)?,
            Place::Layer(layer) => {
                let path = layer.blob();
                let file = File::open(&path);
                Box::new(file.map_err(|source| ImageError::File { doing: "reading", path, source })?)
            }
        })
    }
}

impl Source for Built {
    fn top(&self) -> Result<Raw, ImageError> {
        Ok(self.top.clone())
    }

    fn manifest(&self, entry: &Descriptor) -> Result<Raw, ImageError> {
        let wanted = entry.digest().to_string();
        let found = self.images.iter().find(|one| one.manifest.digest.to_string() == wanted);
        let missing =
            || ImageError::Invalid { part: format!("manifest {wanted}"), reason: "there is none".into() };
        found.map(|one| one.manifest.clone()).ok_or_else(missing)
    }

    fn blob(&self, entry: &Descriptor) -> Result<Box<dyn Read + Send + '_>, ImageError> {
        self.open(entry.digest().as_ref())
    }

    fn file(&self, entry: &Descriptor) -> Option<std::path::PathBuf> {
        match self.blobs.get(entry.digest().as_ref())? {
            Place::Layer(layer) => Some(layer.blob()),
            _ => None,
        }
    }
}

impl One {
    fn new(
        staged: Staged,
        options: &Options,
        blobs: &mut HashMap<String, Place>,
    ) -> Result<Self, BuildError> {
        let mut entries: Vec<Value> = Vec::new();
        let mut layers: Vec<(LayerInfo, String)> = Vec::new();
        if let Some(base) = &staged.files.base {
            for (at, (entry, info)) in base.image.entries().iter().zip(base.image.layers()).enumerate() {
                let digest = entry.digest().to_string();
                let kind = oci_layer_type(entry.media_type());
                entries.push(json!({ "mediaType": kind, "digest": digest, "size": entry.size() }));
                blobs.insert(digest.clone(), Place::Base(Arc::clone(base), at));
                layers.push((info.clone(), digest));
            }
        }
        for layer in staged.files.full_layers() {
            let Some(info) = layer.info() else { continue };
            entries.push(json!({
                "mediaType": MediaType::ImageLayerGzip, "digest": info.digest, "size": info.size,
            }));
            blobs.insert(info.digest.clone(), Place::Layer(Arc::clone(layer)));
            layers.push((LayerInfo { diff_id: info.diff_id(), size: info.size }, info.digest.clone()));
        }
        let diff_ids: Vec<String> = layers.iter().map(|(info, _)| info.diff_id.to_string()).collect();
        let config = bytes(&config(&staged, options, &diff_ids), "config")?;
        let entry = descriptor(MediaType::ImageConfig, config.len() as u64, &Digest::of(&config));
        blobs.insert(entry.digest().to_string(), Place::Bytes(config));
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MediaType::ImageManifest, "config": entry, "layers": entries,
        });
        annotate(&mut manifest, options);
        let manifest = raw(&manifest)?;
        Ok(Self { platform: staged.platform, manifest, layers })
    }

    /// The digest of its manifest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.manifest.digest
    }
}

fn config(staged: &Staged, options: &Options, diff_ids: &[String]) -> Map<String, Value> {
    let base = staged.files.base.as_ref().map(|base| base.config.clone()).unwrap_or_default();
    let mut config = base;
    for key in OF_BASE {
        config.remove(*key);
    }
    let created = options.timestamp.or(staged.created).map(rfc3339);
    let created = created.map(Value::from).or_else(|| config.get("created").cloned());
    let created = created.unwrap_or_else(|| rfc3339(0).into());
    let mut settings = staged.settings.clone();
    for (name, value) in &options.labels {
        settings.put("Labels", name, json!(value));
    }
    let mut history = match config.remove("history") {
        Some(Value::Array(history)) => history,
        _ => Vec::new(),
    };
    history.extend(staged.history.iter().map(|event| line(event, options, &created)));
    config.insert("created".into(), created);
    if let Some(author) = &staged.author {
        config.insert("author".into(), json!(author));
    }
    config.insert("os".into(), json!(staged.platform.os));
    config.insert("architecture".into(), json!(staged.platform.architecture));
    match &staged.platform.variant {
        Some(variant) => config.insert("variant".into(), json!(variant)),
        None => config.remove("variant"),
    };
    config.insert("config".into(), Value::Object(settings.into_map()));
    config.insert("history".into(), Value::Array(history));
    config.insert("rootfs".into(), json!({ "type": "layers", "diff_ids": diff_ids }));
    config
}

fn line(event: &Event, options: &Options, created: &Value) -> Value {
    let time = options.timestamp.or(event.created).map(|time| Value::from(rfc3339(time)));
    let mut line =
        json!({ "created": time.unwrap_or_else(|| created.clone()), "created_by": event.created_by });
    let is_empty = event.layer.as_ref().is_none_or(|layer| layer.info().is_none());
    if let (true, Some(line)) = (is_empty, line.as_object_mut()) {
        line.insert("empty_layer".into(), json!(true));
    }
    line
}

fn annotate(of: &mut Value, options: &Options) {
    if let (Some(of), false) = (of.as_object_mut(), options.annotations.is_empty()) {
        let all = options.annotations.iter().map(|(name, value)| (name.clone(), json!(value)));
        of.insert("annotations".into(), Value::Object(all.collect()));
    }
}

fn index(images: &[One], options: &Options) -> Result<Raw, BuildError> {
    let entry = |one: &One| {
        let mut platform = json!({ "os": one.platform.os, "architecture": one.platform.architecture });
        if let (Some(variant), Some(platform)) = (&one.platform.variant, platform.as_object_mut()) {
            platform.insert("variant".into(), json!(variant));
        }
        json!({
            "mediaType": one.manifest.media_type, "digest": one.manifest.digest.to_string(),
            "size": one.manifest.bytes.len(), "platform": platform,
        })
    };
    let entries: Vec<Value> = images.iter().map(entry).collect();
    let mut index = json!({ "schemaVersion": 2, "mediaType": MediaType::ImageIndex, "manifests": entries });
    annotate(&mut index, options);
    raw(&index)
}

fn raw(value: &Value) -> Result<Raw, BuildError> {
    debug_assert_ne!(value.get("mediaType"), Some(&json!(DOCKER_MANIFEST)));
    Raw::new(bytes(value, "manifest")?, None).map_err(|source| BuildError::Write { source: Box::new(source) })
}

fn bytes(value: &impl serde::Serialize, part: &str) -> Result<Vec<u8>, BuildError> {
    canonical(value).map_err(|source| BuildError::Write {
        source: Box::new(ImageError::Json { part: part.into(), source }),
    })
}
