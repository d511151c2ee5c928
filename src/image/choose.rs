//! Choosing one image of an index.

use oci_spec::image::Descriptor;

use super::ImageError;
use crate::target::Platform;

/// The platform of an entry; `None` where it has none, or is no image: attestations carry `unknown/unknown`.
fn platform(entry: &Descriptor) -> Option<Platform> {
    let platform = entry.platform().as_ref()?;
    let platform = Platform {
        os: platform.os().to_string(),
        architecture: platform.architecture().to_string(),
        variant: platform.variant().clone(),
    };
    Some(platform.normalized())
}

fn is_attestation(entry: &Descriptor) -> bool {
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
