//! Joining images of several platforms into one index.

use std::collections::BTreeMap;

use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use serde_json::json;

use super::choose::{DEPTH, is_attestation, specified, too_deep};
use super::copy::Copier;
use super::json::canonical;
use super::{CopyOptions, Destination, ImageError, Raw, Source, Which, parse};
use crate::layer::Digest;
use crate::progress::Progress;
use crate::target::Platform;

/// Writes one index of the images that `sources` name, each with its name for messages, to `destination`. Platforms are what
/// the images' configs say. Gives the index's digest.
///
/// # Errors
/// [`ImageError::SamePlatform`] where two are of one platform; then, and on other errors, nothing is to be seen there.
pub fn create_index(
    sources: &[(String, Box<dyn Source>)],
    destination: &dyn Destination,
    progress: &dyn Progress,
) -> Result<Digest, ImageError> {
    if destination.abilities().plain_single {
        let reason = "a docker archive holds one image, and no index".into();
        return Err(ImageError::Invalid { part: "index".into(), reason });
    }
    let options = CopyOptions::new(Which::All, progress);
    let mut entries: BTreeMap<Platform, (String, Descriptor)> = BTreeMap::new();
    for (name, source) in sources {
        let copier = Copier::new(source.as_ref(), destination, &options);
        for raw in images(source.as_ref(), source.top()?, DEPTH)? {
            let (copied, platform) = copier.image(&raw)?;
            let platform = platform.ok_or_else(|| ImageError::Invalid {
                part: "config".into(),
                reason: format!("that of `{name}` says no platform"),
            })?;
            let mut entry = copied.descriptor();
            entry.set_platform(Some(specified(&platform)));
            destination.put_manifest(&copied, Some(&platform))?;
            if let Some((other, _)) = entries.get(&platform) {
                return Err(ImageError::SamePlatform {
                    platform: platform.to_string(),
                    first: other.clone(),
                    second: name.clone(),
                });
            }
            entries.insert(platform, (name.clone(), entry));
        }
    }
    let entries: Vec<&Descriptor> = entries.values().map(|(_, entry)| entry).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": MediaType::ImageIndex, "manifests": entries });
    let index = canonical(&index).map_err(|source| ImageError::Json { part: "index".into(), source })?;
    destination.finish(&Raw::new(index, None)?, None)
}

/// The manifests of the images that `raw` leads to.
fn images(source: &dyn Source, raw: Raw, depth: usize) -> Result<Vec<Raw>, ImageError> {
    if !raw.is_index() {
        return Ok(vec![raw]);
    }
    let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
    let index: ImageIndex = parse(&raw.bytes, "index")?;
    let mut found = Vec::new();
    for entry in index.manifests().iter().filter(|entry| !is_attestation(entry)) {
        found.extend(images(source, source.manifest(entry)?, depth)?);
    }
    Ok(found)
}
