//! Choosing one image of an index.

use oci_spec::image::{Descriptor, ImageIndex};

use super::{ImageError, Raw, Source, parse};
use crate::target::Platform;

/// `platform` as an index has it.
pub(super) fn specified(platform: &Platform) -> oci_spec::image::Platform {
    let mut specified = oci_spec::image::Platform::default();
    specified.set_os(platform.os.as_str().into());
    specified.set_architecture(platform.architecture.as_str().into());
    specified.set_variant(platform.variant.clone());
    specified
}

/// How deep indexes may be nested.
pub(super) const DEPTH: usize = 4;

/// The manifest for `wanted` in `raw`, which is it or an index of it.
pub(super) fn resolve(source: &dyn Source, mut raw: Raw, wanted: &Platform) -> Result<Raw, ImageError> {
    for _ in 0..DEPTH {
        if !raw.is_index() {
            return Ok(raw);
        }
        let index: ImageIndex = parse(&raw.bytes, "index")?;
        raw = source.manifest(choose(index.manifests(), wanted)?)?;
    }
    Err(too_deep())
}

pub(super) fn too_deep() -> ImageError {
    let reason = format!("indexes are nested more than {DEPTH} deep");
    ImageError::Invalid { part: "index".into(), reason }
}

/// The platform of an entry; `None` where it has none, or is no image: attestations carry `unknown/unknown`.
pub(super) fn platform(entry: &Descriptor) -> Option<Platform> {
    let platform = entry.platform().as_ref()?;
    let platform = Platform {
        os: platform.os().to_string(),
        architecture: platform.architecture().to_string(),
        variant: platform.variant().clone(),
    };
    Some(platform.normalized())
}

pub(super) fn is_attestation(entry: &Descriptor) -> bool {
    let annotated = entry
        .annotations()
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key("vnd.docker.reference.type"));
    annotated
        || platform(entry)
            .is_some_and(|platform| platform.os == "unknown" || platform.architecture == "unknown")
}

/// The entry for `wanted`, else the only one.
pub(super) fn choose<'a>(entries: &'a [Descriptor], wanted: &Platform) -> Result<&'a Descriptor, ImageError> {
    let images: Vec<&Descriptor> = entries.iter().filter(|entry| !is_attestation(entry)).collect();
    let of = |exact: bool| {
        images.iter().copied().find(|entry| {
            platform(entry).is_some_and(|platform| {
                if exact {
                    platform == *wanted
                } else {
                    platform.os == wanted.os
                        && platform.architecture == wanted.architecture
                        && wanted.variant.is_none()
                }
            })
        })
    };
    match (of(true).or_else(|| of(false)), images.as_slice()) {
        (Some(entry), _) | (None, &[entry]) => Ok(entry),
        _ => Err(ImageError::Platform {
            wanted: wanted.to_string(),
            present: images
                .iter()
                .filter_map(|entry| platform(entry))
                .map(|platform| platform.to_string())
                .collect(),
        }),
    }
}
