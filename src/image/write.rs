//! Writing images: whole or not at all, and the same bytes for the same content.

mod docker_archive;
mod oci_layout;

use std::fmt::Debug;
use std::io::Write;

use oci_spec::image::{History, ImageConfiguration};

use super::{ImageError, ImageRef};
use crate::layer::{Compression, Digest, LayerError, LayerFile, LayerWriter, Written};

/// Something that can be written as a layer.
pub trait LayerSource: Debug {
    /// Writes its tar stream to `out`, compressed so.
    ///
    /// # Errors
    /// [`LayerError`] where it cannot be made or written.
    fn write(&self, compression: Compression, out: &mut dyn Write) -> Result<Written, LayerError>;
}

/// A layer of files that were not in an image before.
#[derive(Debug, Clone)]
pub struct NewLayer {
    /// The files.
    pub files: Vec<LayerFile>,
    /// Every file's time, in seconds since 1970.
    pub time: u64,
}

impl LayerSource for NewLayer {
    fn write(&self, compression: Compression, out: &mut dyn Write) -> Result<Written, LayerError> {
        LayerWriter::new(self.time, compression).write(&self.files, out).map(|(_, written)| written)
    }
}

/// An image to be written.
#[derive(Debug)]
pub struct NewImage<'a> {
    /// The config, but for its layers.
    pub config: ImageConfiguration,
    /// The layers, the lowest first, each with its history.
    pub layers: Vec<(&'a dyn LayerSource, History)>,
}

/// An image that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenImage {
    /// The manifest's digest, or the config's where the file holds no manifest: docker's image id.
    pub digest: Digest,
}

/// Writes `image` to where `reference` says.
///
/// An OCI layout gets gzip'd layers and keeps its other images; one of the same tag is replaced. Other
/// processes may write to it meanwhile. A docker archive gets plain layers and replaces the file.
///
/// # Errors
/// [`ImageError`]; the layout's index, or the file, is then as before.
pub fn write(image: &NewImage<'_>, reference: &ImageRef) -> Result<WrittenImage, ImageError> {
    match reference {
        ImageRef::Oci { dir, tag } => oci_layout::write(image, dir, tag.as_deref()),
        ImageRef::DockerArchive { file, name } => docker_archive::write(image, file, name.as_deref()),
    }
}

/// The config of `image` with its layers, as it is stored.
fn config_bytes(image: &NewImage<'_>, layers: &[Written]) -> Result<Vec<u8>, ImageError> {
    let mut config = image.config.clone();
    let mut rootfs = config.rootfs().clone();
    rootfs.set_diff_ids(layers.iter().map(|layer| layer.diff_id.to_string()).collect());
    config.set_rootfs(rootfs);
    config.set_history(Some(image.layers.iter().map(|(_, history)| history.clone()).collect()));
    super::json::canonical(&config).map_err(|source| ImageError::Json { part: "config".into(), source })
}
