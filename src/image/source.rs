//! What an image is read from.

use std::fmt::Debug;
use std::io::Read;
use std::path::PathBuf;

use oci_spec::image::{Descriptor, MediaType};
use serde_json::Value;

use super::{ImageError, parse};
use crate::layer::Digest;

/// The largest manifest or config that is read, in bytes. Registries stop at 4 MiB.
pub const JSON_LIMIT: u64 = 8 << 20;

/// A manifest or an index, byte by byte as it is stored, for its digest is of these bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The JSON text.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub media_type: MediaType,
    /// The digest of the bytes.
    pub digest: Digest,
}

impl Raw {
    /// Takes `bytes`, of the media type that they say themselves, else `told`, else the one of their shape.
    ///
    /// # Errors
    /// [`ImageError`] where they are neither a manifest nor an index.
    pub fn new(bytes: Vec<u8>, told: Option<MediaType>) -> Result<Self, ImageError> {
        let shape: Value = parse(&bytes, "manifest")?;
        let invalid = |reason: &str| ImageError::Invalid { part: "manifest".into(), reason: reason.into() };
        if shape.get("schemaVersion").and_then(Value::as_u64) == Some(1) {
            return Err(invalid("it is of docker's first schema, which no registry has served for years"));
        }
        let is_index = match (shape.get("manifests"), shape.get("layers")) {
            (Some(_), None) => true,
            (None, Some(_)) => false,
            _ => return Err(invalid("it is neither a manifest nor an index")),
        };
        let said = shape.get("mediaType").and_then(Value::as_str).map(MediaType::from);
        let fits = |kind: &MediaType| {
            let is_manifest = *kind == MediaType::ImageManifest || kind.as_ref() == DOCKER_MANIFEST;
            if is_index { is_index_type(kind) } else { is_manifest }
        };
        let own = if is_index { MediaType::ImageIndex } else { MediaType::ImageManifest };
        let media_type = said.or(told).filter(fits).unwrap_or(own);
        let digest = Digest::of(&bytes);
        Ok(Self { bytes, media_type, digest })
    }

    /// Whether it is an index (or docker's manifest list).
    #[must_use]
    pub fn is_index(&self) -> bool {
        is_index_type(&self.media_type)
    }

    /// What an index that holds it says of it.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        descriptor(self.media_type.clone(), self.bytes.len() as u64, &self.digest)
    }
}

/// docker's media type of a manifest, version 2, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// docker's media type of an index.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

pub(super) fn is_index_type(kind: &MediaType) -> bool {
    *kind == MediaType::ImageIndex || kind.as_ref() == DOCKER_LIST
}

/// A descriptor of what has `digest`.
#[must_use]
pub fn descriptor(kind: MediaType, size: u64, digest: &Digest) -> Descriptor {
    // A digest of ours is always one of theirs.
    let digest = digest.to_string().parse::<oci_spec::image::Digest>();
    Descriptor::new(kind, size, digest.unwrap_or_else(|_| unreachable!("a digest is a digest")))
}

/// The digest that `entry` names.
///
/// # Errors
/// [`ImageError::Invalid`] where it is no SHA-256 digest; `part` says what it is of.
pub fn digest_of(entry: &Descriptor, part: &str) -> Result<Digest, ImageError> {
    let invalid = |err| ImageError::Invalid { part: part.into(), reason: format!("{err}") };
    entry.digest().to_string().parse().map_err(invalid)
}

/// What a reference names, to be read. Whatever is handed out was, or is while it is read, checked against its digest.
pub trait Source: Debug + Sync + Send {
    /// The manifest or index that the reference names.
    ///
    /// # Errors
    /// [`ImageError`] where it is not there or is damaged.
    fn top(&self) -> Result<Raw, ImageError>;

    /// What the index that the image lies in says of it, where it lies in one.
    ///
    /// # Errors
    /// As [`Source::top`].
    fn top_entry(&self) -> Result<Option<Descriptor>, ImageError> {
        Ok(None)
    }

    /// A manifest, or an index within an index.
    ///
    /// # Errors
    /// As [`Source::top`].
    fn manifest(&self, entry: &Descriptor) -> Result<Raw, ImageError>;

    /// A config or a layer, as it is stored. Reading fails by its end where it is another than `entry` says; nothing
    /// is held in memory.
    ///
    /// # Errors
    /// [`ImageError`] where it is not there.
    fn blob(&self, entry: &Descriptor) -> Result<Box<dyn Read + Send + '_>, ImageError>;

    /// The file of this machine that holds a blob and nothing else, where one does, and does not change.
    fn file(&self, _entry: &Descriptor) -> Option<PathBuf> {
        None
    }
}

/// A small blob, whole: a config.
///
/// # Errors
/// [`ImageError`] where it is not there, too large or damaged.
pub fn small_blob(source: &dyn Source, entry: &Descriptor, part: &str) -> Result<Vec<u8>, ImageError> {
    if entry.size() > JSON_LIMIT {
        let reason = format!("its {} bytes are more than the {JSON_LIMIT} that are read", entry.size());
        return Err(ImageError::Invalid { part: part.into(), reason });
    }
    let mut bytes = Vec::new();
    let mut reader = source.blob(entry)?;
    reader.read_to_end(&mut bytes).map_err(|source| ImageError::Blob { part: part.into(), source })?;
    Ok(bytes)
}
