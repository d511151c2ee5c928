//! Where programs and their files are taken from: this machine, a root file system, an image, Debian's packages.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::BundleError;
use crate::debian::Deb;
use crate::image::Image;
use crate::layer::{Content, LayerStream, LayeredRoot, Limits};
use crate::tree::root::{Folder, Root};

/// A root file system that files are taken from.
#[derive(Debug)]
pub struct Origin<'a> {
    files: Box<dyn Files + 'a>,
    /// What the manifest says of it; the same for everyone who has the same files.
    told: Option<String>,
}

/// The forms that it comes in.
trait Files: Debug {
    fn root(&self) -> &dyn Root;

    /// The contents of regular files, whose paths have no links in them.
    fn contents(&self, files: &[&Path]) -> Result<Vec<Content>, BundleError>;
}

#[derive(Debug)]
struct Here {
    root: Folder,
    path: PathBuf,
}

#[derive(Debug)]
struct Layers<'a> {
    root: LayeredRoot<'a>,
    /// Where contents are kept meanwhile, in files without names.
    spool: PathBuf,
}

impl<'a> Origin<'a> {
    /// The folder at `path`.
    ///
    /// # Errors
    /// [`BundleError::Read`] where it cannot be opened.
    pub fn folder(path: &Path) -> Result<Self, BundleError> {
        let failed = |source| BundleError::Read { path: path.into(), source };
        let root = Folder::open(path).map_err(failed)?;
        let path = std::path::absolute(path).map_err(failed)?;
        Ok(Self { files: Box::new(Here { root, path }), told: None })
    }

    /// The files of `image`. Contents are kept in `spool` while they are needed.
    ///
    /// # Errors
    /// [`BundleError::Layers`] where its layers cannot be read.
    pub fn image(image: &'a Image, spool: &Path) -> Result<Self, BundleError> {
        Self::layers(image.streams(), format!("image {}", image.digest()), spool)
    }

    /// The files that `packages` install, the first lowest. `told` names them.
    ///
    /// # Errors
    /// As [`Origin::image`].
    pub fn packages(packages: Vec<Deb>, told: String, spool: &Path) -> Result<Self, BundleError> {
        let stream = |deb: Deb| LayerStream::new(move || deb.stream().map_err(io::Error::other), None);
        Self::layers(packages.into_iter().map(stream).collect(), told, spool)
    }

    fn layers(layers: Vec<LayerStream<'a>>, told: String, spool: &Path) -> Result<Self, BundleError> {
        let root = LayeredRoot::read(layers, Limits::default(), &|| false)
            .map_err(|source| BundleError::Layers { source })?;
        Ok(Self { files: Box::new(Layers { root, spool: spool.into() }), told: Some(told) })
    }

    /// The files, to be looked at.
    #[must_use]
    pub fn root(&self) -> &dyn Root {
        self.files.root()
    }

    pub(super) fn told(&self) -> Option<&str> {
        self.told.as_deref()
    }

    pub(super) fn contents(&self, files: &[&Path]) -> Result<Vec<Content>, BundleError> {
        self.files.contents(files)
    }
}

impl Files for Here {
    fn root(&self) -> &dyn Root {
        &self.root
    }

    fn contents(&self, files: &[&Path]) -> Result<Vec<Content>, BundleError> {
        let open = |file: &&Path| {
            let path = self.path.join(file.strip_prefix("/").unwrap_or(file));
            match File::open(&path).and_then(|file| file.metadata()) {
                Ok(metadata) if metadata.is_file() => Ok(Content::Copy(path)),
                Ok(_) => Err(BundleError::NotProgram { path, reason: "it is no file".into() }),
                Err(source) => Err(BundleError::Read { path, source }),
            }
        };
        files.iter().map(open).collect()
    }
}

impl Files for Layers<'_> {
    fn root(&self) -> &dyn Root {
        &self.root
    }

    fn contents(&self, files: &[&Path]) -> Result<Vec<Content>, BundleError> {
        let parts = self.root.extract(files, &self.spool);
        let parts = parts.map_err(|source| BundleError::Layers { source })?;
        Ok(parts.into_iter().map(Content::Part).collect())
    }
}
