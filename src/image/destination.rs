//! What an image is written to.

use std::fmt::Debug;
use std::io::Read;
use std::path::Path;

use oci_spec::image::Descriptor;

use super::{ImageError, Raw};
use crate::layer::Digest;
use crate::target::Platform;

/// A blob that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// What a destination can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    /// Layers must be plain tar streams, one image without an index, and layers come one after the other, the lowest
    /// first: docker's archive.
    pub plain_single: bool,
    /// Manifests of docker's family are turned into OCI's where nothing else is asked for.
    pub oci_preferred: bool,
}

/// Where an image goes. Blobs may be put by several threads at once; then manifests, the inner ones first; then
/// [`Destination::finish`] makes the image visible, all at once. Whatever fails before leaves what was there as it was.
pub trait Destination: Debug + Sync + Send {
    /// What it can hold.
    fn abilities(&self) -> Abilities {
        Abilities::default()
    }

    /// Whether the blob is there already, or can be had there without its content being sent.
    ///
    /// # Errors
    /// [`ImageError`] where that cannot be told.
    fn has_blob(&self, entry: &Descriptor) -> Result<bool, ImageError>;

    /// Writes a blob; its content is checked against `expected` where given, and nothing of it stays where it differs.
    ///
    /// # Errors
    /// [`ImageError`] where `content` cannot be read, or it cannot be written.
    fn put_blob(&self, content: &mut dyn Read, expected: Option<&Descriptor>) -> Result<Blob, ImageError>;

    /// Makes the file at `path` the blob `entry`, where the two can be one file; gives whether they can.
    ///
    /// # Errors
    /// As [`Destination::put_blob`].
    fn link_blob(&self, _path: &Path, _entry: &Descriptor) -> Result<bool, ImageError> {
        Ok(false)
    }

    /// Writes a config, whose digest `entry` has.
    ///
    /// # Errors
    /// As [`Destination::put_blob`].
    fn put_config(&self, mut content: &[u8], entry: &Descriptor) -> Result<(), ImageError> {
        if self.has_blob(entry)? {
            return Ok(());
        }
        self.put_blob(&mut content, Some(entry)).map(drop)
    }

    /// Writes a manifest or an inner index, for a platform where it is for one.
    ///
    /// # Errors
    /// [`ImageError`] where it cannot be written.
    fn put_manifest(&self, manifest: &Raw, platform: Option<&Platform>) -> Result<(), ImageError>;

    /// Makes `top`, which was not put before, visible under the destination's name. Gives the digest by which the image
    /// is known there: that of `top`, or of its config where no manifest is kept.
    ///
    /// # Errors
    /// [`ImageError`] where that fails; then nothing has changed.
    fn finish(&self, top: &Raw, platform: Option<&Platform>) -> Result<Digest, ImageError>;
}
