//! An image that is being read.

use std::fmt::Debug;
use std::io::{self, Read};

use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest};

use super::choose::resolve;
use super::{Access, ImageError, ImageRef, Source, parse, small_blob};
use crate::layer::{Digest, LayerStream};
use crate::target::Platform;

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// The digest of its tar stream.
    pub diff_id: Digest,
    /// Its length as it is stored, in bytes.
    pub size: u64,
}

/// An image of one platform.
#[derive(Debug)]
pub struct Image {
    digest: Digest,
    raw_config: Vec<u8>,
    config: ImageConfiguration,
    layers: Vec<LayerInfo>,
    entries: Vec<Descriptor>,
    source: Box<dyn Source>,
}

impl Image {
    /// Opens the image that `reference` names; among several platforms the one that fits `platform`, or the only one.
    ///
    /// # Errors
    /// [`ImageError`] where it is not there, is damaged, or is for other platforms.
    pub fn open(reference: &ImageRef, platform: &Platform, access: &Access) -> Result<Self, ImageError> {
        let source = access.source(reference)?;
        let raw = resolve(source.as_ref(), source.top()?, platform)?;
        let manifest: ImageManifest = parse(&raw.bytes, "manifest")?;
        let config = small_blob(source.as_ref(), manifest.config(), "config")?;
        let digest = if matches!(reference, ImageRef::DockerArchive { .. }) {
            // docker knows an image by its config.
            Digest::of(&config)
        } else {
            raw.digest
        };
        let raw_config = config;
        let config: ImageConfiguration = parse(&raw_config, "config")?;
        let ids = diff_ids(&config, manifest.layers().len())?;
        let layers = manifest.layers().iter().zip(ids);
        let layers = layers.map(|(layer, diff_id)| LayerInfo { diff_id, size: layer.size() }).collect();
        Ok(Self { digest, raw_config, config, layers, entries: manifest.layers().clone(), source })
    }

    /// The manifest's digest, or the config's where the file holds no manifest: docker's image id.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The config.
    #[must_use]
    pub fn config(&self) -> &ImageConfiguration {
        &self.config
    }

    /// The config as it is stored, with all that is not known here.
    #[must_use]
    pub fn raw_config(&self) -> &[u8] {
        &self.raw_config
    }

    /// The layers as the manifest has them, the lowest first.
    #[must_use]
    pub fn entries(&self) -> &[Descriptor] {
        &self.entries
    }

    /// The platform, as the config says.
    #[must_use]
    pub fn platform(&self) -> Platform {
        platform(&self.config)
    }

    /// The layers, the lowest first.
    #[must_use]
    pub fn layers(&self) -> &[LayerInfo] {
        &self.layers
    }

    /// The layer `index`, as it is stored: plain or compressed. Its stored digest, where the image has one, is
    /// verified by its end; the digest of its content is the reader's to verify.
    ///
    /// # Errors
    /// [`ImageError`] where it is not there.
    pub fn layer(&self, index: usize) -> Result<Box<dyn Read + Send + '_>, ImageError> {
        let part = format!("layer {}", index + 1);
        let missing = || ImageError::Invalid { part: part.clone(), reason: "there is none".into() };
        let layer = self.entries.get(index).ok_or_else(missing)?;
        refuse_foreign(layer, &part)?;
        self.source.blob(layer)
    }

    /// All layers, the lowest first, to be read as often as it takes.
    #[must_use]
    pub fn streams(&self) -> Vec<LayerStream<'_>> {
        let stream = |(at, layer): (usize, &LayerInfo)| {
            LayerStream::new(move || self.layer(at).map_err(io::Error::other), Some(layer.diff_id))
        };
        self.layers.iter().enumerate().map(stream).collect()
    }
}

/// The platform that `config` says.
pub(super) fn platform(config: &ImageConfiguration) -> Platform {
    Platform {
        os: config.os().to_string(),
        architecture: config.architecture().to_string(),
        variant: config.variant().clone(),
    }
    .normalized()
}

/// The digests of the layers' tar streams, of which there must be `count`.
pub(super) fn diff_ids(config: &ImageConfiguration, count: usize) -> Result<Vec<Digest>, ImageError> {
    let invalid = |reason| ImageError::Invalid { part: "config".into(), reason };
    let ids = config.rootfs().diff_ids();
    if ids.len() != count {
        return Err(invalid(format!("it has {} layers where the manifest has {count}", ids.len())));
    }
    ids.iter().map(|id| id.parse().map_err(|err| invalid(format!("{err}")))).collect()
}

/// Foreign layers are named and not carried: their content is elsewhere, and not everyone may have it.
pub(super) fn refuse_foreign(layer: &Descriptor, part: &str) -> Result<(), ImageError> {
    if layer.urls().as_ref().is_some_and(|urls| !urls.is_empty()) {
        let reason = "it is a foreign layer, whose content the image does not carry".into();
        return Err(ImageError::Invalid { part: part.into(), reason });
    }
    Ok(())
}
