//! Writing images: whole or not at all, and the same bytes for the same content.

mod docker_archive;
mod layout;
mod oci_archive;
mod pipe;
mod spool;
mod stream;
mod tar_file;

use std::fmt::Debug;
use std::io::Write;
use std::path::Path;

use oci_spec::image::{History, ImageConfiguration, ImageManifestBuilder, MediaType, SCHEMA_VERSION};

use super::json::canonical;
use super::{Access, Blob, Destination, ImageError, ImageRef, Raw, descriptor};
use crate::layer::{Compression, Digest, LayerError, LayerFile, LayerWriter, Written};

pub(super) use docker_archive::DockerArchiveWriter;
pub(super) use layout::{LayoutWriter, change_index, name_in};
pub(super) use oci_archive::OciArchiveWriter;
pub(super) use pipe::piped;
pub(super) use spool::TEMPORARY;

/// The folder that `path` is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

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
pub fn write(
    image: &NewImage<'_>,
    reference: &ImageRef,
    access: &Access,
) -> Result<WrittenImage, ImageError> {
    let destination = access.destination(reference)?;
    let digest = put(image, destination.as_ref())?;
    Ok(WrittenImage { digest })
}

fn put(image: &NewImage<'_>, destination: &dyn Destination) -> Result<Digest, ImageError> {
    let compression =
        if destination.abilities().plain_single { Compression::None } else { Compression::Gzip };
    let mut layers = Vec::new();
    for (at, (layer, _)) in image.layers.iter().enumerate() {
        let (written, put) = piped(
            |out| layer.write(compression, out),
            |mut content| destination.put_blob(&mut content, None),
        );
        let (written, _) = both(written, put, at + 1)?;
        layers.push(written);
    }
    let config = config_bytes(image, &layers)?;
    let entry = descriptor(MediaType::ImageConfig, config.len() as u64, &Digest::of(&config));
    destination.put_config(&config, &entry)?;
    let layers: Vec<_> =
        layers.iter().map(|layer| descriptor(media_type(compression), layer.size, &layer.digest)).collect();
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(entry)
        .layers(layers)
        .build()
        .map_err(|err| ImageError::Invalid { part: "manifest".into(), reason: err.to_string() })?;
    let manifest =
        canonical(&manifest).map_err(|source| ImageError::Json { part: "manifest".into(), source })?;
    let platform = super::model::platform(&image.config);
    destination.finish(&Raw::new(manifest, None)?, Some(&platform))
}

/// What came of making layer `number` and of putting it. Where it cannot be made, that it did not arrive is no news.
pub(super) fn both<T>(
    made: Result<T, LayerError>,
    put: Result<Blob, ImageError>,
    number: usize,
) -> Result<(T, Blob), ImageError> {
    match (made, put) {
        (Ok(made), put) => Ok((made, put?)),
        (Err(source), Ok(_) | Err(ImageError::Blob { .. })) => Err(ImageError::Layer { number, source }),
        (Err(_), Err(err)) => Err(err),
    }
}

/// OCI's media type of a layer that is compressed so.
pub(super) fn media_type(compression: Compression) -> MediaType {
    match compression {
        Compression::None => MediaType::ImageLayer,
        Compression::Gzip => MediaType::ImageLayerGzip,
        Compression::Zstd => MediaType::ImageLayerZstd,
    }
}

/// The config of `image` with its layers, as it is stored.
fn config_bytes(image: &NewImage<'_>, layers: &[Written]) -> Result<Vec<u8>, ImageError> {
    let mut config = image.config.clone();
    let mut rootfs = config.rootfs().clone();
    rootfs.set_diff_ids(layers.iter().map(|layer| layer.diff_id.to_string()).collect());
    config.set_rootfs(rootfs);
    config.set_history(Some(image.layers.iter().map(|(_, history)| history.clone()).collect()));
    canonical(&config).map_err(|source| ImageError::Json { part: "config".into(), source })
}
