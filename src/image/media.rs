//! The two families of media types, and what is of one turned into the other.

use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Value, json};

use super::{DOCKER_LIST, DOCKER_MANIFEST, ImageError};

/// docker's media type of a config.
pub(super) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// A family of media types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Oci,
    Docker,
}

/// Layers' media types: OCI's, and docker's where it has one. Source: OCI image specification, "Compatibility matrix".
const LAYERS: &[(&str, Option<&str>)] = &[
    (
        "application/vnd.oci.image.layer.v1.tar+gzip",
        Some("application/vnd.docker.image.rootfs.diff.tar.gzip"),
    ),
    ("application/vnd.oci.image.layer.v1.tar", Some("application/vnd.docker.image.rootfs.diff.tar")),
    ("application/vnd.oci.image.layer.v1.tar+zstd", None),
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        Some("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
    ),
    // Never in a specification, and met.
    (
        "application/vnd.oci.image.layer.v1.tar+zstd",
        Some("application/vnd.docker.image.rootfs.diff.tar.zstd"),
    ),
];

/// OCI's media type of a layer that an image of either family has.
#[must_use]
pub fn oci_layer_type(kind: &MediaType) -> MediaType {
    let known = LAYERS.iter().find(|(oci, docker)| *oci == kind.as_ref() || *docker == Some(kind.as_ref()));
    known.map_or_else(|| kind.clone(), |(oci, _)| MediaType::from(*oci))
}

impl Family {
    /// The family of a manifest's or index's media type.
    pub(super) fn of(kind: &MediaType) -> Self {
        if kind.as_ref().starts_with("application/vnd.docker.") { Self::Docker } else { Self::Oci }
    }

    /// Its media type of an index.
    pub(super) fn index(self) -> MediaType {
        match self {
            Self::Oci => MediaType::ImageIndex,
            Self::Docker => MediaType::Other(DOCKER_LIST.into()),
        }
    }

    fn layer(self, kind: &str) -> Result<String, ImageError> {
        let known = LAYERS.iter().find(|(oci, docker)| *oci == kind || *docker == Some(kind));
        match (self, known) {
            (_, None) => Ok(kind.to_owned()),
            (Self::Oci, Some((oci, _))) => Ok((*oci).to_owned()),
            (Self::Docker, Some((_, Some(docker)))) => Ok((*docker).to_owned()),
            (Self::Docker, Some((oci, None))) => Err(ImageError::Format { kind: (*oci).to_owned() }),
        }
    }

    /// Gives `manifest` `layers` and the media types of this family; tells whether that changed it.
    pub(super) fn apply(self, manifest: &mut Value, layers: &[Descriptor]) -> Result<bool, ImageError> {
        let before = manifest.clone();
        let (own, config) = match self {
            Self::Oci => (MediaType::ImageManifest.to_string(), MediaType::ImageConfig.to_string()),
            Self::Docker => (DOCKER_MANIFEST.to_owned(), DOCKER_CONFIG.to_owned()),
        };
        // OCI 1.0 manifests need not say what they are, and stay so.
        let says = manifest.get("mediaType").is_some();
        if let Value::Object(manifest) = manifest {
            if says || self == Self::Docker {
                manifest.insert("mediaType".into(), json!(own));
            }
            if let Some(Value::Object(entry)) = manifest.get_mut("config") {
                entry.insert("mediaType".into(), json!(config));
            }
            if let Some(Value::Array(entries)) = manifest.get_mut("layers") {
                for (entry, layer) in entries.iter_mut().zip(layers) {
                    if let Value::Object(entry) = entry {
                        entry.insert("mediaType".into(), json!(self.layer(layer.media_type().as_ref())?));
                        entry.insert("size".into(), json!(layer.size()));
                        entry.insert("digest".into(), json!(layer.digest().to_string()));
                    }
                }
            }
        }
        Ok(*manifest != before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_go_over_and_back() {
        for (oci, docker) in LAYERS.iter().take(4) {
            let Some(docker) = docker else { continue };
            assert_eq!(Family::Docker.layer(oci).unwrap(), *docker);
            assert_eq!(Family::Oci.layer(docker).unwrap(), *oci);
        }
        assert_eq!(Family::Oci.layer("application/x").unwrap(), "application/x");
        assert!(Family::Docker.layer("application/vnd.oci.image.layer.v1.tar+zstd").is_err());
    }
}
