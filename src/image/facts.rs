//! What an image says of itself.

use oci_spec::image::{ImageIndex, ImageManifest};
use serde::Serialize;
use serde_json::Value;

use super::choose::{DEPTH, is_attestation, too_deep};
use super::copy::Config;
use super::{ImageError, Raw, Source, parse, small_blob};
use crate::target::Platform;

/// What a reference names.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// The digest of the manifest or index.
    pub digest: String,
    /// Its media type.
    pub media_type: String,
    /// Its images; one, where it is no index.
    pub images: Vec<ImageFacts>,
    /// How many attestations and other things that are no images are in the index.
    pub others: usize,
}

/// One image.
#[derive(Debug, Clone, Serialize)]
pub struct ImageFacts {
    /// Its platform, as the config says: `linux/arm/v7`.
    pub platform: Option<String>,
    /// The digest of its manifest.
    pub digest: String,
    /// The manifest's media type.
    pub media_type: String,
    /// The length of manifest, config and layers as they are stored, in bytes.
    pub size: u64,
    /// The layers, the lowest first.
    pub layers: Vec<LayerFacts>,
    /// The manifest's annotations.
    pub annotations: Option<Value>,
    /// The digest of the config: docker's image id.
    pub config_digest: String,
    /// The config, as it is.
    pub config: Value,
}

/// One layer.
#[derive(Debug, Clone, Serialize)]
pub struct LayerFacts {
    /// The digest of what is stored.
    pub digest: String,
    /// Its media type.
    pub media_type: String,
    /// Its length, in bytes.
    pub size: u64,
    /// The digest of what it holds, as the config says.
    pub diff_id: Option<String>,
}

impl Facts {
    /// Reads what `source` names; layers are not read. With `platform`, only images of it.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn read(source: &dyn Source, platform: Option<&Platform>) -> Result<Self, ImageError> {
        let raw = source.top()?;
        let mut facts = Self {
            digest: raw.digest.to_string(),
            media_type: raw.media_type.to_string(),
            images: Vec::new(),
            others: 0,
        };
        facts.add(source, &raw, DEPTH)?;
        if let Some(platform) = platform {
            let platform = platform.to_string();
            let present = facts.images.iter().filter_map(|image| image.platform.clone()).collect();
            facts.images.retain(|image| image.platform.as_ref() == Some(&platform));
            if facts.images.is_empty() {
                return Err(ImageError::Platform { wanted: platform, present });
            }
        }
        Ok(facts)
    }

    fn add(&mut self, source: &dyn Source, raw: &Raw, depth: usize) -> Result<(), ImageError> {
        if raw.is_index() {
            let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
            let index: ImageIndex = parse(&raw.bytes, "index")?;
            for entry in index.manifests() {
                if is_attestation(entry) {
                    self.others += 1;
                } else {
                    self.add(source, &source.manifest(entry)?, depth)?;
                }
            }
            return Ok(());
        }
        let manifest: ImageManifest = parse(&raw.bytes, "manifest")?;
        let bytes = small_blob(source, manifest.config(), "config")?;
        let config: Value = parse(&bytes, "config")?;
        let known: Config = parse(&bytes, "config")?;
        let ids = config.pointer("/rootfs/diff_ids").and_then(Value::as_array);
        let layers = manifest.layers().iter().enumerate().map(|(at, layer)| LayerFacts {
            digest: layer.digest().to_string(),
            media_type: layer.media_type().to_string(),
            size: layer.size(),
            diff_id: ids.and_then(|ids| ids.get(at)).and_then(Value::as_str).map(str::to_owned),
        });
        let layers: Vec<_> = layers.collect();
        let size = layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
        self.images.push(ImageFacts {
            platform: known.platform().map(|platform| platform.to_string()),
            digest: raw.digest.to_string(),
            media_type: raw.media_type.to_string(),
            size: size.saturating_add(manifest.config().size()).saturating_add(raw.bytes.len() as u64),
            layers,
            annotations: parse::<Value>(&raw.bytes, "manifest")?.get("annotations").cloned(),
            config_digest: manifest.config().digest().to_string(),
            config,
        });
        Ok(())
    }
}
