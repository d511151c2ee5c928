//! What a bundle must know of the program that it carries.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use goblin::container::Ctx;
use goblin::elf::Elf;
use goblin::elf::header::{ET_DYN, ET_EXEC};
use goblin::elf::program_header::{PT_INTERP, PT_LOAD, ProgramHeader};

use super::BundleError;
use crate::layer::{Digest, DigestReader};
use crate::target::{Catalogue, Guest, Magic};

/// Where the program headers are looked for, in bytes from the start: linkers put them behind the header.
const HEAD: usize = 64 << 10;

/// A static program.
#[derive(Debug, Clone)]
pub struct Program {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) digest: Digest,
    guest: &'static Guest,
}

impl Program {
    /// Reads the program at `path`.
    ///
    /// # Errors
    /// [`BundleError`] where it is none, is not static, or is for no guest of the catalogue.
    pub fn read(path: &Path) -> Result<Self, BundleError> {
        let failed = |source| BundleError::Read { path: path.into(), source };
        let file = File::open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(BundleError::NotProgram { path: path.into(), reason: "it is no file".into() });
        }
        let mut reader = DigestReader::new(file);
        let mut head = Vec::with_capacity(HEAD);
        reader.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
        std::io::copy(&mut reader, &mut std::io::sink()).map_err(failed)?;

        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name.len() <= 100);
        let name = name.ok_or_else(|| BundleError::NotProgram {
            path: path.into(),
            reason: "its name is no text of at most 100 bytes".into(),
        })?;
        check_static(path, &head)?;
        let mut guests = Catalogue::builtin().guests().iter();
        let guest = guests
            .find(|guest| matches(&guest.binfmt, &head))
            .ok_or_else(|| BundleError::UnknownGuest { path: path.into() })?;
        Ok(Self { path: path.into(), name: name.into(), digest: reader.digest(), guest })
    }

    /// The guest that runs it.
    #[must_use]
    pub fn guest(&self) -> &'static Guest {
        self.guest
    }
}

/// Whether binfmt_misc would take a file that begins with `head` for one of `magic`.
fn matches(magic: &Magic, head: &[u8]) -> bool {
    let Magic { magic, mask, .. } = magic;
    head.len() >= magic.len()
        && magic.iter().zip(mask).zip(head).all(|((magic, mask), byte)| magic & mask == byte & mask)
}

/// Refuses what begins with `head` and is no static program.
fn check_static(path: &Path, head: &[u8]) -> Result<(), BundleError> {
    let not = |reason: &str| BundleError::NotProgram { path: path.into(), reason: reason.into() };
    if !head.starts_with(b"\x7fELF") {
        return Err(not("it is no ELF file"));
    }
    // The parser reads as much as the larger of both classes' headers.
    let mut padded = head.to_vec();
    padded.resize(head.len().max(64), 0);
    let damaged = |_| not("its header is damaged");
    let header = Elf::parse_header(&padded).map_err(damaged)?;
    if !matches!(header.e_type, ET_EXEC | ET_DYN) {
        return Err(not("it is an ELF file, and no executable"));
    }
    let context = Ctx::new(header.container().map_err(damaged)?, header.endianness().map_err(damaged)?);
    let count = usize::from(header.e_phnum);
    let start = usize::try_from(header.e_phoff).unwrap_or(usize::MAX);
    let length = usize::from(header.e_phentsize).saturating_mul(count);
    if start.checked_add(length).is_none_or(|end| end > head.len()) {
        return Err(not("its program headers are beyond its end"));
    }
    let segments = ProgramHeader::parse(head, start, count, context).map_err(damaged)?;
    if let Some(segment) = segments.iter().find(|segment| segment.p_type == PT_INTERP) {
        let text = usize::try_from(segment.p_offset)
            .ok()
            .zip(usize::try_from(segment.p_filesz).ok())
            .and_then(|(start, length)| head.get(start..start.checked_add(length)?))
            .and_then(|text| text.split(|byte| *byte == 0).next())
            .unwrap_or_default();
        let interpreter = String::from_utf8_lossy(text.get(..256).unwrap_or(text)).into_owned();
        return Err(BundleError::Dynamic { path: path.into(), interpreter });
    }
    if !segments.iter().any(|segment| segment.p_type == PT_LOAD) {
        return Err(not("it is an ELF file, and no executable"));
    }
    Ok(())
}
