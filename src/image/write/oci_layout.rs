//! Writing OCI image layouts.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use oci_spec::image::{
    Arch, Descriptor, ImageManifestBuilder, MediaType, Os, PlatformBuilder, SCHEMA_VERSION,
};
use ocidir::{OciDir, cap_std};

use super::super::oci_layout::layout_error;
use super::{ImageError, NewImage, WrittenImage, config_bytes};
use crate::layer::{Compression, Digest, Written};

pub(super) fn write(
    image: &NewImage<'_>,
    path: &Path,
    tag: Option<&str>,
) -> Result<WrittenImage, ImageError> {
    let failed = |source| ImageError::File { doing: "writing", path: path.into(), source };
    fs::create_dir_all(path).map_err(failed)?;
    // The index is read, changed and written: one process at a time. The lock is on the folder itself,
    // so that the layout holds nothing but what the specification knows.
    let lock = File::open(path).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let folder = cap_std::fs::Dir::open_ambient_dir(path, cap_std::ambient_authority()).map_err(failed)?;
    let dir = OciDir::ensure(folder).map_err(layout_error("writing", path))?;
    let blobs = path.join("blobs/sha256");

    let mut layers = Vec::new();
    for (at, (layer, _)) in image.layers.iter().enumerate() {
        let written = store(&blobs, |file| {
            layer
                .write(Compression::Gzip, file)
                .map_err(|source| ImageError::Layer { number: at + 1, source })
        })?;
        layers.push(written);
    }
    let config = config_bytes(image, &layers)?;
    let config_digest = Digest::of(&config);
    store(&blobs, |file| {
        let failed = |source| ImageError::File { doing: "writing", path: blobs.clone(), source };
        file.write_all(&config).map_err(failed)?;
        Ok(Written {
            diff_id: config_digest,
            plain_size: config.len() as u64,
            digest: config_digest,
            size: config.len() as u64,
            compression: Compression::None,
        })
    })?;

    let invalid = |err: oci_spec::OciSpecError| ImageError::Invalid {
        part: "manifest".into(),
        reason: err.to_string(),
    };
    let layers = layers
        .iter()
        .map(|layer| descriptor(MediaType::ImageLayerGzip, layer.size, &layer.digest))
        .collect::<Result<Vec<_>, _>>()?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, config.len() as u64, &config_digest)?)
        .layers(layers)
        .build()
        .map_err(invalid)?;
    let (os, arch): (&Os, &Arch) = (image.config.os(), image.config.architecture());
    let mut platform = PlatformBuilder::default().os(os.clone()).architecture(arch.clone());
    if let Some(variant) = image.config.variant() {
        platform = platform.variant(variant.clone());
    }
    let platform = platform.build().map_err(invalid)?;
    let entry = dir.insert_manifest(manifest, tag, platform).map_err(layout_error("writing", path))?;
    let digest = entry.digest().to_string().parse();
    let digest =
        digest.map_err(|err| ImageError::Invalid { part: "manifest".into(), reason: format!("{err}") })?;
    Ok(WrittenImage { digest })
}

/// Writes a blob, which takes its name when it is complete.
fn store(
    blobs: &Path,
    content: impl FnOnce(&mut dyn std::io::Write) -> Result<Written, ImageError>,
) -> Result<Written, ImageError> {
    let failed = |source| ImageError::File { doing: "writing", path: blobs.into(), source };
    let mut file = tempfile::Builder::new()
        .prefix(".tmp-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(blobs)
        .map_err(failed)?;
    let written = content(file.as_file_mut())?;
    file.as_file().sync_data().map_err(failed)?;
    let target = blobs.join(written.digest.hex());
    file.persist(&target).map_err(|err| ImageError::File {
        doing: "writing",
        path: target,
        source: err.error,
    })?;
    Ok(written)
}

fn descriptor(kind: MediaType, size: u64, digest: &Digest) -> Result<Descriptor, ImageError> {
    let digest: oci_spec::image::Digest =
        digest.to_string().parse().map_err(|err: oci_spec::OciSpecError| ImageError::Invalid {
            part: "manifest".into(),
            reason: err.to_string(),
        })?;
    Ok(Descriptor::new(kind, size, digest))
}
