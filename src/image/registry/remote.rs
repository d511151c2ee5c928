//! An image in a registry, to be read and written.

use std::io::Read;
use std::sync::OnceLock;

use oci_spec::image::{Descriptor, MediaType};

use super::blob::BlobReader;
use super::client::{Call, Endpoint};
use super::registries::Place;
use super::{Name, Options, RegistryError, upload};
use crate::image::verified::Verified;
use crate::image::{
    Blob, DOCKER_LIST, DOCKER_MANIFEST, Destination, ImageError, JSON_LIMIT, Raw, Source, digest_of,
};
use crate::layer::Digest;
use crate::target::Platform;

/// An image in a registry.
#[derive(Debug)]
pub struct Remote {
    name: Name,
    /// The mirrors, and its own place last.
    endpoints: Vec<Endpoint>,
    /// Which of them answered.
    chosen: OnceLock<usize>,
    /// Other repositories of the registry that may have the same blobs.
    siblings: Vec<String>,
}

impl Remote {
    /// The image called `name`, to be read; from a mirror, where `registries.conf` names one.
    ///
    /// # Errors
    /// [`RegistryError`] where files of the machine stand against it. Nothing is sent yet.
    pub fn reading(name: &Name, options: &Options) -> Result<Self, RegistryError> {
        Self::new(name, options, false)
    }

    /// The image called `name`, to be written.
    ///
    /// # Errors
    /// As [`Remote::reading`].
    pub fn writing(name: &Name, options: &Options) -> Result<Self, RegistryError> {
        Self::new(name, options, true)
    }

    fn new(name: &Name, options: &Options, is_write: bool) -> Result<Self, RegistryError> {
        let places = options.registries.places(name, is_write)?;
        let endpoint = |place: Place| {
            // What was given for the registry is not for its mirrors.
            let is_own = place.host == name.registry;
            Endpoint::new(place, options, is_own)
        };
        let endpoints = places.into_iter().map(endpoint).collect::<Result<_, _>>()?;
        Ok(Self { name: name.clone(), endpoints, chosen: OnceLock::new(), siblings: Vec::new() })
    }

    /// Blobs are taken over from `other` where it is in the same registry and has them.
    #[must_use]
    pub fn mounting_from(mut self, other: &Name) -> Self {
        if other.registry == self.name.registry && other.repository != self.name.repository {
            self.siblings.push(other.repository.clone());
        }
        self
    }

    /// The image's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Removes the image: its manifest or index, and with it every tag of it.
    ///
    /// # Errors
    /// [`RegistryError`] where it is not there or the registry does not remove anything.
    pub fn delete(&self) -> Result<Digest, RegistryError> {
        let endpoint = self.own();
        let digest = self.fetch(endpoint, &self.name.wanted(), self.name.digest)?.1;
        let url = endpoint.url(&format!("manifests/{digest}"));
        let scope = format!("repository:{}:delete,pull", endpoint.place.repository);
        let answer = endpoint.call(&Call::new("DELETE", &url, &scope))?;
        match answer.status {
            200 | 202 | 204 => Ok(digest),
            _ => Err(endpoint.refused(answer)),
        }
    }

    fn own(&self) -> &Endpoint {
        // There is always one.
        self.endpoints.last().unwrap_or_else(|| unreachable!("an image has a place"))
    }

    fn chosen(&self) -> &Endpoint {
        self.chosen.get().and_then(|index| self.endpoints.get(*index)).unwrap_or_else(|| self.own())
    }

    /// The rights that writing needs, also to read where blobs are taken over from.
    fn push(&self) -> String {
        let mut scope = format!("repository:{}:pull,push", self.own().place.repository);
        for sibling in &self.siblings {
            scope.push_str(" repository:");
            scope.push_str(sibling);
            scope.push_str(":pull");
        }
        scope
    }

    /// A manifest or index as it is stored, its digest, and the media type that the registry says.
    fn fetch(
        &self,
        endpoint: &Endpoint,
        wanted: &str,
        expected: Option<Digest>,
    ) -> Result<(Vec<u8>, Digest, Option<MediaType>), RegistryError> {
        let url = endpoint.url(&format!("manifests/{wanted}"));
        let kinds = [
            MediaType::ImageIndex.to_string(),
            MediaType::ImageManifest.to_string(),
            DOCKER_LIST.into(),
            DOCKER_MANIFEST.into(),
        ];
        let kinds = kinds.join(", ");
        let headers = [("accept", kinds.as_str())];
        let scope = endpoint.pull();
        let answer = endpoint.call(&Call { headers: &headers, ..Call::new("GET", &url, &scope) })?;
        match answer.status {
            200 => {}
            404 => {
                let name = match expected {
                    Some(digest) => format!("{}/{}@{digest}", endpoint.place.host, endpoint.place.repository),
                    None => self.name.to_string(),
                };
                return Err(RegistryError::NotFound { name, told: answer.told(&[]) });
            }
            _ => return Err(endpoint.refused(answer)),
        }
        let kind = answer.header("content-type");
        let kind = kind.and_then(|kind| kind.split(';').next()).map(|kind| MediaType::from(kind.trim()));
        let said = answer.header("docker-content-digest").and_then(|digest| digest.parse().ok());
        let bytes = answer.bytes(JSON_LIMIT)?;
        let found = Digest::of(&bytes);
        if let Some(expected) = expected.or(said).filter(|expected| *expected != found) {
            return Err(RegistryError::Digest { what: format!("the manifest `{wanted}`"), expected, found });
        }
        Ok((bytes, found, kind))
    }

    fn put(&self, manifest: &Raw, wanted: &str) -> Result<(), RegistryError> {
        let endpoint = self.own();
        let url = endpoint.url(&format!("manifests/{wanted}"));
        let headers = [("content-type", manifest.media_type.as_ref())];
        let scope = self.push();
        let call = Call { headers: &headers, body: &manifest.bytes, ..Call::new("PUT", &url, &scope) };
        let answer = endpoint.call(&call)?;
        if !matches!(answer.status, 200..=204) {
            return Err(endpoint.refused(answer));
        }
        let said = answer.header("docker-content-digest").and_then(|digest| digest.parse().ok());
        match said.filter(|found| *found != manifest.digest) {
            Some(found) => {
                let what = format!("the manifest that `{}` says it has", endpoint.place.host);
                Err(RegistryError::Digest { what, expected: manifest.digest, found })
            }
            None => Ok(()),
        }
    }
}

impl From<RegistryError> for ImageError {
    fn from(err: RegistryError) -> Self {
        Self::Registry { source: Box::new(err) }
    }
}

impl Source for Remote {
    fn top(&self) -> Result<Raw, ImageError> {
        let wanted = self.name.wanted();
        let start = self.chosen.get().copied().unwrap_or(0);
        let mut index = start;
        loop {
            let endpoint = self.endpoints.get(index).unwrap_or_else(|| self.own());
            match self.fetch(endpoint, &wanted, self.name.digest) {
                Ok((bytes, _, kind)) => {
                    // Another thread may have found another that answers as well.
                    let _ = self.chosen.set(index);
                    return Raw::new(bytes, kind);
                }
                // A mirror that does not have it is no reason to give up, whatever its failure.
                Err(_) if index + 1 < self.endpoints.len() => index += 1,
                Err(err) => return Err(err.into()),
            }
        }
    }

    fn manifest(&self, entry: &Descriptor) -> Result<Raw, ImageError> {
        let digest = digest_of(entry, "index")?;
        let (bytes, _, kind) = match self.fetch(self.chosen(), &digest.to_string(), Some(digest)) {
            Err(_) if self.endpoints.len() > 1 => self.fetch(self.own(), &digest.to_string(), Some(digest)),
            result => result,
        }?;
        if bytes.len() as u64 != entry.size() {
            let what = format!("the manifest `{digest}`");
            return Err(
                RegistryError::Size { what, expected: entry.size(), found: bytes.len() as u64 }.into()
            );
        }
        Raw::new(bytes, kind)
    }

    fn blob(&self, entry: &Descriptor) -> Result<Box<dyn Read + Send + '_>, ImageError> {
        let digest = digest_of(entry, "manifest")?;
        let open = |endpoint| BlobReader::open(endpoint, &digest.to_string(), entry.size());
        let reader = match open(self.chosen()) {
            Err(_) if self.endpoints.len() > 1 => open(self.own()),
            result => result,
        }?;
        Ok(Box::new(Verified::new(reader, digest, Some(entry.size()))))
    }
}

impl Destination for Remote {
    fn has_blob(&self, entry: &Descriptor) -> Result<bool, ImageError> {
        let (digest, scope) = (digest_of(entry, "manifest")?, self.push());
        if entry.size() == 0 && digest != Digest::of(&[]) {
            // Its size is not known, and has to be.
            return Ok(false);
        }
        if upload::is_there(self.own(), &scope, digest, Some(entry.size()))? {
            return Ok(true);
        }
        for sibling in &self.siblings {
            if upload::mount(self.own(), &scope, digest, sibling)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn put_blob(&self, content: &mut dyn Read, expected: Option<&Descriptor>) -> Result<Blob, ImageError> {
        let expected = match expected {
            Some(entry) => Some((digest_of(entry, "manifest")?, entry.size())),
            None => None,
        };
        let (digest, size) = upload::send(self.own(), &self.push(), content, expected)?;
        Ok(Blob { digest, size })
    }

    fn put_manifest(&self, manifest: &Raw, _platform: Option<&Platform>) -> Result<(), ImageError> {
        Ok(self.put(manifest, &manifest.digest.to_string())?)
    }

    fn finish(&self, top: &Raw, _platform: Option<&Platform>) -> Result<Digest, ImageError> {
        if let Some(expected) = self.name.digest.filter(|expected| *expected != top.digest) {
            let what = format!("the image to be written as `{}`", self.name);
            return Err(RegistryError::Digest { what, expected, found: top.digest }.into());
        }
        let wanted = self.name.tag.clone().unwrap_or_else(|| top.digest.to_string());
        self.put(top, &wanted)?;
        Ok(top.digest)
    }
}
