//! The images that a reference names, without choosing one.

use oci_spec::image::{Descriptor, ImageIndex};

use super::choose::{DEPTH, is_attestation, too_deep};
use super::{ImageError, Raw, Source, parse};
use crate::target::Platform;

/// What a reference names.
#[derive(Debug)]
pub struct Listing {
    /// Whether it is an index.
    pub is_index: bool,
    /// Its images, in their order.
    pub images: Vec<ListedImage>,
    /// How many attestations and other things that are no images are in the index.
    pub others: usize,
}

/// One image of an index, or the only one.
#[derive(Debug)]
pub struct ListedImage {
    /// The manifest, where it was read already.
    raw: Option<Raw>,
    /// What the index says of it.
    entry: Option<Descriptor>,
}

impl ListedImage {
    /// The platform by which the index lists it, as it stands there.
    #[must_use]
    pub fn platform(&self) -> Option<Platform> {
        let platform = self.entry.as_ref()?.platform().as_ref()?;
        Some(Platform {
            os: platform.os().to_string(),
            architecture: platform.architecture().to_string(),
            variant: platform.variant().clone().filter(|variant| !variant.is_empty()),
        })
    }

    /// Its manifest.
    ///
    /// # Errors
    /// [`ImageError`] where it cannot be had.
    pub fn manifest(&self, source: &dyn Source) -> Result<Raw, ImageError> {
        match (&self.raw, &self.entry) {
            (Some(raw), _) => Ok(raw.clone()),
            (None, Some(entry)) => source.manifest(entry),
            (None, None) => source.top(),
        }
    }
}

impl Listing {
    /// Reads what `source` names; of an index the entries only.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn read(source: &dyn Source) -> Result<Self, ImageError> {
        let raw = source.top()?;
        let mut listing = Self { is_index: raw.is_index(), images: Vec::new(), others: 0 };
        if raw.is_index() {
            listing.add(source, &raw, DEPTH)?;
        } else {
            listing.images.push(ListedImage { raw: Some(raw), entry: source.top_entry()? });
        }
        Ok(listing)
    }

    fn add(&mut self, source: &dyn Source, raw: &Raw, depth: usize) -> Result<(), ImageError> {
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        let index: ImageIndex = parse(&raw.bytes, "index")?;
        for entry in index.manifests() {
            if is_attestation(entry) {
                self.others += 1;
                continue;
            }
            let is_index = super::source::is_index_type(entry.media_type());
            if is_index {
                self.add(source, &source.manifest(entry)?, depth)?;
            } else {
                self.images.push(ListedImage { raw: None, entry: Some(entry.clone()) });
            }
        }
        Ok(())
    }
}
