//! Reading OCI image layouts: folders, and tar files of such.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use ocidir::prelude::*;
use ocidir::{OciDir, cap_std};
use serde_json::json;

use super::json::canonical;
use super::tar_file::TarFile;
use super::verified::Verified;
use super::{ImageError, JSON_LIMIT, Raw, Source, digest_of, parse};

/// The annotation that names an image in a layout.
pub(super) const NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation in which containerd and docker keep the whole name, where [`NAME`] has only the tag.
const FULL_NAME: &str = "io.containerd.image.name";

#[derive(Debug)]
enum Files {
    Folder(OciDir),
    Archive(TarFile),
}

/// A layout, and the image of it that is meant.
#[derive(Debug)]
pub(super) struct Layout {
    path: PathBuf,
    files: Files,
    /// Names by which the image may be known, the best first; none for the only image.
    names: Vec<String>,
    /// Keeps blobs from being pruned while they are read.
    _lock: Option<File>,
}

impl Layout {
    /// The layout in the folder `path`.
    pub(super) fn folder(path: &Path, names: Vec<String>, lock: Option<File>) -> Result<Self, ImageError> {
        let failed = |source| ImageError::File { doing: "reading", path: path.into(), source };
        let folder =
            cap_std::fs::Dir::open_ambient_dir(path, cap_std::ambient_authority()).map_err(failed)?;
        let dir = OciDir::open(folder).map_err(layout_error("reading", path))?;
        Ok(Self { path: path.into(), files: Files::Folder(dir), names, _lock: lock })
    }

    /// The layout that a tar file holds.
    pub(super) fn archive(tar: TarFile, tag: Option<&str>) -> Self {
        let names = tag.map(str::to_owned).into_iter().collect();
        Self { path: tar.path().into(), files: Files::Archive(tar), names, _lock: None }
    }

    fn failed(&self) -> impl Fn(io::Error) -> ImageError {
        let path = self.path.join("index.json");
        move |source| ImageError::File { doing: "reading", path: path.clone(), source }
    }

    /// The layout's own index, byte by byte.
    fn index_bytes(&self) -> Result<Vec<u8>, ImageError> {
        match &self.files {
            Files::Archive(tar) => tar.small("index.json"),
            Files::Folder(dir) => {
                let mut bytes = Vec::new();
                let file = dir.dir().open("index.json").map_err(self.failed())?;
                file.take(JSON_LIMIT).read_to_end(&mut bytes).map_err(self.failed())?;
                Ok(bytes)
            }
        }
    }

    /// What the layout's own index lists.
    pub(super) fn entries(&self) -> Result<Vec<Descriptor>, ImageError> {
        let index: ImageIndex = parse(&self.index_bytes()?, "index")?;
        Ok(index.manifests().clone())
    }

    /// Whether the blob is there, in its right size.
    pub(super) fn has(&self, entry: &Descriptor) -> bool {
        match &self.files {
            Files::Folder(dir) => dir.read_blob(entry).is_ok(),
            Files::Archive(tar) => digest_of(entry, "").is_ok_and(|digest| {
                tar.section(&blob_name(&digest)).is_ok_and(|section| section.left() == entry.size())
            }),
        }
    }

    /// What `entry` names, whether the layout's own index names it or another does.
    fn raw(&self, entry: &Descriptor) -> Result<Raw, ImageError> {
        let bytes = super::small_blob(self, entry, "manifest")?;
        Raw::new(bytes, Some(entry.media_type().clone()))
    }
}

/// The name that a layout's index gives to an entry.
pub(super) fn name_of(entry: &Descriptor) -> Option<&str> {
    entry.annotations().as_ref()?.get(NAME).map(String::as_str)
}

fn is_called(entry: &Descriptor, name: &str) -> bool {
    let annotation =
        |key| entry.annotations().as_ref().and_then(|all| all.get(key)).map(String::as_str) == Some(name);
    annotation(NAME) || annotation(FULL_NAME)
}

fn blob_name(digest: &crate::layer::Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// What a layout's own index says of the image that is meant.
enum Picked {
    /// It lists it.
    Entry(Box<Descriptor>),
    /// It lists its platforms.
    Platforms(Vec<u8>),
}

impl Layout {
    fn pick(&self) -> Result<Picked, ImageError> {
        let bytes = self.index_bytes()?;
        let index: ImageIndex = parse(&bytes, "index")?;
        let entries = index.manifests().as_slice();
        let present = || entries.iter().filter_map(name_of).map(str::to_owned).collect::<Vec<_>>();
        let picked = |entry: &Descriptor| Ok(Picked::Entry(Box::new(entry.clone())));
        if let Some(first) = self.names.first() {
            let called = |name: &String| {
                let found: Vec<_> = entries.iter().filter(|entry| is_called(entry, name)).collect();
                (!found.is_empty()).then_some(found)
            };
            let found = self.names.iter().find_map(called).ok_or_else(|| ImageError::NoSuchName {
                path: self.path.clone(),
                name: first.clone(),
                present: present(),
            })?;
            if let [entry] = found.as_slice() {
                return picked(entry);
            }
            // Some writers list each platform under the same name.
            let joined = canonical(
                &json!({ "schemaVersion": 2, "mediaType": MediaType::ImageIndex, "manifests": found }),
            );
            let joined = joined.map_err(|source| ImageError::Json { part: "index".into(), source })?;
            return Ok(Picked::Platforms(joined));
        }
        match entries {
            [] => Err(ImageError::Invalid { part: "index".into(), reason: "it is empty".into() }),
            [entry] => picked(entry),
            // Without names the layout's own index may be the one of an image's platforms.
            _ if present().len() <= 1 => Ok(Picked::Platforms(bytes)),
            _ => Err(ImageError::Ambiguous {
                path: self.path.clone(),
                count: entries.len(),
                present: present(),
            }),
        }
    }
}

impl Source for Layout {
    fn top(&self) -> Result<Raw, ImageError> {
        match self.pick()? {
            Picked::Entry(entry) => self.raw(&entry),
            Picked::Platforms(index) => Raw::new(index, Some(MediaType::ImageIndex)),
        }
    }

    fn top_entry(&self) -> Result<Option<Descriptor>, ImageError> {
        Ok(match self.pick()? {
            Picked::Entry(entry) => Some(*entry),
            Picked::Platforms(_) => None,
        })
    }

    fn manifest(&self, entry: &Descriptor) -> Result<Raw, ImageError> {
        self.raw(entry)
    }

    fn blob(&self, entry: &Descriptor) -> Result<Box<dyn Read + Send + '_>, ImageError> {
        let expected = digest_of(entry, "manifest")?;
        let size = Some(entry.size());
        Ok(match &self.files {
            Files::Folder(dir) => {
                let file = dir.read_blob(entry).map_err(layout_error("reading", &self.path))?;
                Box::new(Verified::new(file, expected, size))
            }
            Files::Archive(tar) => {
                Box::new(Verified::new(tar.section(&blob_name(&expected))?, expected, size))
            }
        })
    }
}

pub(super) fn layout_error(doing: &'static str, path: &Path) -> impl Fn(ocidir::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::Layout { doing, path: path.clone(), source: Box::new(source) }
}
