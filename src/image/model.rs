//! An image that is being read.

use std::fmt::Debug;
use std::io::Read;

use oci_spec::image::ImageConfiguration;

use super::{ImageError, ImageRef, docker_archive, oci_layout};
use crate::layer::Digest;
use crate::target::Platform;

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// The digest of its tar stream.
    pub diff_id: Digest,
    /// Its length as it is stored, in bytes.
    pub size: u64,
}

/// Where an image's layers come from.
pub(super) trait Source: Debug {
    /// The layer `index`, from 0 the lowest, as it is stored. What can be verified of it is verified by its end.
    fn layer(&self, index: usize) -> Result<Box<dyn Read + '_>, ImageError>;
}

/// An image of one platform.
#[derive(Debug)]
pub struct Image {
    pub(super) digest: Digest,
    pub(super) config: ImageConfiguration,
    pub(super) layers: Vec<LayerInfo>,
    pub(super) source: Box<dyn Source>,
}

impl Image {
    /// Opens the image that `reference` names; among several platforms the one that fits `platform`, or the only one.
    ///
    /// # Errors
    /// [`ImageError`] where it is not there, is damaged, or is for other platforms.
    pub fn open(reference: &ImageRef, platform: &Platform) -> Result<Self, ImageError> {
        match reference {
            ImageRef::Oci { dir, tag } => oci_layout::open(dir, tag.as_deref(), platform),
            ImageRef::DockerArchive { file, name } => docker_archive::open(file, name.as_deref()),
        }
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

    /// The platform, as the config says.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.config.os().to_string(),
            architecture: self.config.architecture().to_string(),
            variant: self.config.variant().clone(),
        }
        .normalized()
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
    pub fn layer(&self, index: usize) -> Result<Box<dyn Read + '_>, ImageError> {
        self.source.layer(index)
    }
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
