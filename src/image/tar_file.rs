//! Tar files whose members are read where they lie.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::{ImageError, JSON_LIMIT};
use crate::layer::metered::{Meter, Metered};
use crate::tree::{is_tar_header, normalized};

/// How many entries an archive may have. One of an image has a few for each layer.
const ENTRIES: usize = 100_000;

/// How many links may lead from a name to its file.
const LINKS: usize = 8;

/// A name in the archive.
#[derive(Debug)]
enum Member {
    File {
        offset: u64,
        size: u64,
    },
    /// Older docker writes a layer that it wrote already as a link.
    Link(String),
}

/// A tar file, indexed.
#[derive(Debug)]
pub(super) struct TarFile {
    path: PathBuf,
    file: File,
    members: HashMap<String, Member>,
}

impl TarFile {
    /// Opens the file, plain or compressed, and finds its members.
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        let failed = |source| ImageError::File { doing: "reading", path: path.into(), source };
        let file = plain(File::open(path).map_err(failed)?).map_err(failed)?;
        // The tar reader would quote what stands where a header should.
        let mut first = [0; 512];
        let is_tar =
            file.read_exact_at(&mut first, 0).is_ok() && (first == [0; 512] || is_tar_header(&first));
        if !is_tar {
            return Err(ImageError::NotTar { path: path.into() });
        }
        let members = members(&file).map_err(failed)?;
        Ok(Self { path: path.into(), file, members })
    }

    /// The archive's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether `name` is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Where the content of `name` is.
    fn find(&self, name: &str) -> Result<(u64, u64), ImageError> {
        let mut at = normalized(name);
        for _ in 0..LINKS {
            match self.members.get(&at) {
                Some(Member::File { offset, size }) => return Ok((*offset, *size)),
                Some(Member::Link(target)) => at.clone_from(target),
                None => break,
            }
        }
        Err(ImageError::Invalid { part: "archive".into(), reason: format!("it has no file `{name}`") })
    }

    /// The content of a small file.
    pub(super) fn small(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let mut section = self.section(name)?;
        if section.left > JSON_LIMIT {
            let reason = format!("its {} bytes are more than the {JSON_LIMIT} that are read", section.left);
            return Err(ImageError::Invalid { part: format!("`{name}`"), reason });
        }
        let mut bytes = Vec::new();
        section.read_to_end(&mut bytes).map_err(|source| ImageError::File {
            doing: "reading",
            path: self.path.clone(),
            source,
        })?;
        Ok(bytes)
    }

    /// The content of a file.
    pub(super) fn section(&self, name: &str) -> Result<Section<'_>, ImageError> {
        let (offset, left) = self.find(name)?;
        Ok(Section { file: &self.file, offset, left })
    }
}

/// The file itself, or what it holds where it is compressed.
fn plain(mut file: File) -> io::Result<File> {
    let mut magic = [0; 4];
    let is_tar = file.read_at(&mut magic, 0)? < 4
        || !(magic.starts_with(&[0x1f, 0x8b]) || magic == [0x28, 0xb5, 0x2f, 0xfd]);
    if is_tar {
        return Ok(file);
    }
    let mut unpacked = tempfile::tempfile()?;
    io::copy(&mut crate::layer::decompressed(&mut file)?, &mut unpacked)?;
    unpacked.rewind()?;
    Ok(unpacked)
}

fn members(file: &File) -> io::Result<HashMap<String, Member>> {
    let length = file.metadata()?.len();
    let meter = Meter::new(u64::MAX);
    let mut archive = tar::Archive::new(Metered { inner: file, meter: meter.clone() });
    let mut members = HashMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        if members.len() >= ENTRIES {
            return Err(io::Error::other("the archive has too many entries"));
        }
        let name = normalized(&String::from_utf8_lossy(&entry.path_bytes()));
        let member = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let (offset, size) = (entry.raw_file_position(), entry.size());
                if offset.checked_add(size).is_none_or(|end| end > length) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Member::File { offset, size }
            }
            EntryType::Symlink | EntryType::Link => {
                let target =
                    String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned();
                let is_symbolic = entry.header().entry_type() == EntryType::Symlink;
                let base = name.rsplit_once('/').map(|(folder, _)| folder).filter(|_| is_symbolic);
                Member::Link(
                    base.map_or_else(|| normalized(&target), |base| normalized(&format!("{base}/{target}"))),
                )
            }
            _ => continue,
        };
        members.insert(name, member);
        meter.expect_records();
    }
    Ok(members)
}

/// A part of a file.
#[derive(Debug)]
pub(super) struct Section<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Section<'_> {
    /// How many bytes are yet to be read.
    pub(super) fn left(&self) -> u64 {
        self.left
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..length], self.offset)?;
        if count == 0 && length > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
