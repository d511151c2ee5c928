//! From a reference to what can be read or written.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::docker_archive::DockerArchive;
use super::oci_layout::Layout;
use super::registry::{self, Remote};
use super::tar_file::TarFile;
use super::write::{DockerArchiveWriter, LayoutWriter, OciArchiveWriter};
use super::{Destination, ImageError, ImageRef, Source};

/// What the transports need to know of their surroundings.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Access {
    /// The store's folder.
    pub store: Option<PathBuf>,
    /// How registries are reached.
    pub registries: registry::Options,
}

impl Access {
    /// With the store in the folder `store`.
    #[must_use]
    pub fn new(store: Option<PathBuf>) -> Self {
        Self { store, registries: registry::Options::default() }
    }

    /// The same, with registries reached so.
    #[must_use]
    pub fn with_registries(self, registries: registry::Options) -> Self {
        Self { registries, ..self }
    }

    /// The store's folder.
    ///
    /// # Errors
    /// [`ImageError::NoStore`] where none is known.
    pub fn store(&self) -> Result<&Path, ImageError> {
        self.store.as_deref().ok_or(ImageError::NoStore)
    }

    /// What `reference` names, to be read.
    ///
    /// # Errors
    /// [`ImageError`] where it is not there.
    pub fn source(&self, reference: &ImageRef) -> Result<Box<dyn Source>, ImageError> {
        Ok(match reference {
            ImageRef::Docker { name } => Box::new(Remote::reading(name, &self.registries)?),
            ImageRef::Oci { dir, tag } => Box::new(Layout::folder(dir, tag.iter().cloned().collect(), None)?),
            ImageRef::OciArchive { file, tag } => {
                Box::new(Layout::archive(TarFile::open(file)?, tag.as_deref()))
            }
            ImageRef::DockerArchive { file, name } => {
                Box::new(DockerArchive::open(TarFile::open(file)?, name.as_deref())?)
            }
            ImageRef::Store { name } => {
                let path = self.store()?;
                if !path.join("index.json").exists() {
                    let (path, name) = (path.into(), name.clone());
                    return Err(ImageError::NoSuchName { path, name, present: Vec::new() });
                }
                let failed = |source| ImageError::File { doing: "reading", path: path.into(), source };
                let lock = File::open(path.join("blobs/sha256")).map_err(failed)?;
                let failed = |source| ImageError::File { doing: "locking", path: path.into(), source };
                lock.lock_shared().map_err(failed)?;
                Box::new(Layout::folder(path, super::reference::aliases(name), Some(lock))?)
            }
        })
    }

    /// What `reference` names, to be written with an image from `source`: where both are in one registry, it takes
    /// over what it has.
    ///
    /// # Errors
    /// As [`Access::destination`].
    pub fn destination_from(
        &self,
        reference: &ImageRef,
        source: &ImageRef,
    ) -> Result<Box<dyn Destination>, ImageError> {
        match (reference, source) {
            (ImageRef::Docker { name }, ImageRef::Docker { name: other }) => {
                Ok(Box::new(Remote::writing(name, &self.registries)?.mounting_from(other)))
            }
            _ => self.destination(reference),
        }
    }

    /// What `reference` names, to be written.
    ///
    /// # Errors
    /// [`ImageError`] where nothing can be written there.
    pub fn destination(&self, reference: &ImageRef) -> Result<Box<dyn Destination>, ImageError> {
        Ok(match reference {
            ImageRef::Docker { name } => Box::new(Remote::writing(name, &self.registries)?),
            ImageRef::Oci { dir, tag } => Box::new(LayoutWriter::open(dir, tag.as_deref())?),
            ImageRef::OciArchive { file, tag } => Box::new(OciArchiveWriter::create(file, tag.as_deref())?),
            ImageRef::DockerArchive { file, name } => {
                Box::new(DockerArchiveWriter::create(file, name.as_deref())?)
            }
            ImageRef::Store { name } => Box::new(LayoutWriter::store(self.store()?, name)?),
        })
    }
}
