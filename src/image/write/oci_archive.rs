//! Writing tar files of OCI image layouts: a layout in a folder beside, packed when it is complete.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use oci_spec::image::Descriptor;
use tar::EntryType;

use super::super::{Abilities, Blob, Destination, Raw};
use super::ImageError;
use super::layout::LayoutWriter;
use super::spool::{Spool, TEMPORARY};
use super::tar_file::{BLOCK, header, member, pad};
use crate::layer::Digest;
use crate::target::Platform;

/// An archive of one image, with a name of its own when it is complete.
#[derive(Debug)]
pub(in crate::image) struct OciArchiveWriter {
    path: PathBuf,
    layout: LayoutWriter,
    folder: tempfile::TempDir,
}

impl OciArchiveWriter {
    /// Begins the archive.
    pub(in crate::image) fn create(path: &Path, tag: Option<&str>) -> Result<Self, ImageError> {
        let failed = |source| ImageError::File { doing: "writing", path: path.into(), source };
        let folder =
            tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(super::folder_of(path)).map_err(failed)?;
        Ok(Self { path: path.into(), layout: LayoutWriter::open(folder.path(), tag)?, folder })
    }

    /// The files in an order that depends on nothing but their names.
    fn pack(&self) -> io::Result<()> {
        let mut spool = Spool::new(super::folder_of(&self.path))?;
        let out = &mut spool.file;
        let blobs = self.folder.path().join("blobs/sha256");
        for folder in ["blobs/", "blobs/sha256/"] {
            out.write_all(header(folder, EntryType::Directory, 0o755, 0)?.as_bytes())?;
        }
        let names = fs::read_dir(&blobs)?.map(|entry| Ok(entry?.file_name()));
        for name in names.collect::<io::Result<BTreeSet<_>>>()? {
            let mut file = File::open(blobs.join(&name))?;
            let size = file.metadata()?.len();
            let name = format!("blobs/sha256/{}", name.to_string_lossy());
            out.write_all(header(&name, EntryType::Regular, 0o644, size)?.as_bytes())?;
            if io::copy(&mut file, out)? != size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            pad(out, size)?;
        }
        for name in ["index.json", "oci-layout"] {
            member(out, name, &fs::read(self.folder.path().join(name))?)?;
        }
        out.write_all(&[0; 2 * BLOCK as usize])?;
        out.sync_data()?;
        spool.keep(&self.path)
    }
}

impl Destination for OciArchiveWriter {
    fn abilities(&self) -> Abilities {
        self.layout.abilities()
    }

    fn has_blob(&self, entry: &Descriptor) -> Result<bool, ImageError> {
        self.layout.has_blob(entry)
    }

    fn put_blob(&self, content: &mut dyn Read, expected: Option<&Descriptor>) -> Result<Blob, ImageError> {
        self.layout.put_blob(content, expected)
    }

    fn put_manifest(&self, manifest: &Raw, platform: Option<&Platform>) -> Result<(), ImageError> {
        self.layout.put_manifest(manifest, platform)
    }

    fn finish(&self, top: &Raw, platform: Option<&Platform>) -> Result<Digest, ImageError> {
        let digest = self.layout.finish(top, platform)?;
        self.pack().map_err(|source| ImageError::File {
            doing: "writing",
            path: self.path.clone(),
            source,
        })?;
        Ok(digest)
    }
}
