//! Images that are wanted here: from the store, or from a registry into it.

use super::registry::Name;
use super::{Access, CopyOptions, Image, ImageError, ImageRef, Which, copy};
use crate::progress::Progress;
use crate::target::Platform;

/// When an image of the store is fetched from its registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pull {
    /// Every time; what the store has is not fetched again.
    Always,
    /// Where the store does not have it, or not for the platform.
    #[default]
    Missing,
    /// Never.
    Never,
    /// Every time, and what the store has serves where the registry does not answer.
    Newer,
}

/// An image that may be in the store.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its names in the store, the best first.
    names: Vec<String>,
    /// Its names in registries, the likeliest first.
    remote: Vec<Name>,
    platform: Platform,
    /// Whether it must be for that platform.
    is_exact: bool,
}

impl Wanted {
    /// The image that `text` names, which `reference` was read from; for `platform`, and for no other if `is_exact`. Gives `None`
    /// for one that is neither in the store nor in a registry, or has a digest, by which the store knows no images.
    ///
    /// # Errors
    /// [`ImageError`] where `registries.conf` makes no name of it.
    pub fn new(
        text: &str,
        reference: &ImageRef,
        access: &Access,
        platform: &Platform,
        is_exact: bool,
    ) -> Result<Option<Self>, ImageError> {
        let (mut names, remote) = match reference {
            // A name of this machine is no registry's.
            ImageRef::Store { name } if text.starts_with("localhost/") => (vec![name.clone()], Vec::new()),
            ImageRef::Store { name } => {
                let remote = access.registries.registries.named(text);
                (vec![name.clone()], remote.map_err(ImageError::from)?)
            }
            ImageRef::Docker { name } if name.digest.is_none() => (Vec::new(), vec![name.clone()]),
            _ => return Ok(None),
        };
        names.extend(remote.iter().filter(|name| name.digest.is_none()).map(ToString::to_string));
        names.dedup();
        Ok(Some(Self { names, remote, platform: platform.clone(), is_exact }))
    }

    /// The image of the store; `None` where it is not there, or not for the platform.
    ///
    /// # Errors
    /// [`ImageError`] where it is there and cannot be read.
    pub fn stored(&self, access: &Access) -> Result<Option<Image>, ImageError> {
        for name in &self.names {
            match Image::open(&ImageRef::Store { name: name.clone() }, &self.platform, access) {
                Ok(image) if self.is_exact && image.platform() != self.platform => {}
                Ok(image) => return Ok(Some(image)),
                Err(ImageError::NoSuchName { .. } | ImageError::Platform { .. }) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(None)
    }

    /// The image that `text` names, for `platform`: from a file, the store or a registry, as `pull` says. Where it is there for one other
    /// platform only, it is given all the same.
    ///
    /// # Errors
    /// [`ImageError`] where it is not to be had.
    pub fn image(
        text: &str,
        platform: &Platform,
        pull: Pull,
        access: &Access,
        progress: &dyn Progress,
    ) -> Result<Image, ImageError> {
        let reference = ImageRef::find(text)
            .map_err(|err| ImageError::Invalid { part: format!("name `{text}`"), reason: err.to_string() })?;
        let of = |is_exact| Self::new(text, &reference, access, platform, is_exact);
        let (Some(exact), Some(any)) = (of(true)?, of(false)?) else {
            return Image::open(&reference, platform, access);
        };
        let stored = if pull == Pull::Always { None } else { exact.stored(access)? };
        match (pull, stored) {
            (Pull::Missing | Pull::Never, Some(image)) => return Ok(image),
            (Pull::Newer, Some(image)) if !exact.is_remote() => return Ok(image),
            (Pull::Newer, Some(image)) => {
                return Ok(exact.pull(access, progress).unwrap_or(image));
            }
            _ => {}
        }
        if pull != Pull::Never && exact.is_remote() {
            match exact.pull(access, progress) {
                Err(ImageError::Platform { .. }) => {}
                other => return other,
            }
        }
        match any.stored(access)? {
            Some(image) => Ok(image),
            None if pull != Pull::Never && any.is_remote() => any.pull(access, progress),
            None => any.missing(access),
        }
    }

    /// Why there is no [`Wanted::stored`] one.
    ///
    /// # Errors
    /// Always, but where it has come meanwhile.
    pub fn missing(&self, access: &Access) -> Result<Image, ImageError> {
        let mut first = None;
        for name in &self.names {
            let image = Image::open(&ImageRef::Store { name: name.clone() }, &self.platform, access);
            match image {
                Ok(image) if !self.is_exact || image.platform() == self.platform => return Ok(image),
                // What there is says more than what there is not.
                Ok(image) => return Err(self.other(&image)),
                Err(err @ ImageError::NoSuchName { .. }) => {
                    first.get_or_insert(err);
                }
                Err(err) => return Err(err),
            }
        }
        Err(first.unwrap_or(ImageError::NoStore))
    }

    fn other(&self, image: &Image) -> ImageError {
        let present = vec![image.platform().to_string()];
        ImageError::Platform { wanted: self.platform.to_string(), present }
    }

    /// Whether a registry may have it.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        !self.remote.is_empty()
    }

    /// Fetches it from the first registry that has it into the store.
    ///
    /// # Errors
    /// [`ImageError`] where none has it for the platform.
    pub fn pull(&self, access: &Access, progress: &dyn Progress) -> Result<Image, ImageError> {
        let mut last = None;
        for name in &self.remote {
            match self.pull_from(name, access, progress) {
                Ok(image) => return Ok(image),
                Err(err) => last = Some(err),
            }
        }
        last.map_or_else(|| self.missing(access), Err)
    }

    fn pull_from(&self, name: &Name, access: &Access, progress: &dyn Progress) -> Result<Image, ImageError> {
        let remote = ImageRef::Docker { name: name.clone() };
        let local = ImageRef::Store { name: name.to_string() };
        let platform = self.platform.clone();
        let which = if self.is_exact { Which::Exactly(platform) } else { Which::Best(platform) };
        let (source, destination) = (access.source(&remote)?, access.destination(&local)?);
        copy(source.as_ref(), destination.as_ref(), &CopyOptions::new(which, progress))?;
        drop((source, destination));
        Image::open(&local, &self.platform, access)
    }
}
