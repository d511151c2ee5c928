//! What a bundle must know of the program that it carries.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use super::BundleError;
use crate::elf::{Blocks, ElfError, Identity, Reader};
use crate::layer::{Digest, DigestReader};
use crate::target::{Catalogue, Guest, Magic};

/// How many bytes of a file the kernel tells programs by.
const HEAD: usize = Magic::SEEN;

/// A static program.
#[derive(Debug, Clone)]
pub struct Program {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) digest: Digest,
    guest: &'static Guest,
    identity: Identity,
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
        let identity = check_static(path, &file)?;
        let mut reader = DigestReader::new(file);
        let mut head = Vec::with_capacity(HEAD);
        reader.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
        std::io::copy(&mut reader, &mut std::io::sink()).map_err(failed)?;

        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name.len() <= 100);
        let name = name.ok_or_else(|| BundleError::NotProgram {
            path: path.into(),
            reason: "its name is no text of at most 100 bytes".into(),
        })?;
        let mut guests = Catalogue::builtin().guests().iter();
        let guest = guests
            .find(|guest| guest.binfmt.matches(&head))
            .ok_or_else(|| BundleError::UnknownGuest { path: path.into() })?;
        Ok(Self { path: path.into(), name: name.into(), digest: reader.digest(), guest, identity })
    }

    /// What it says of itself.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The guest that runs it.
    #[must_use]
    pub fn guest(&self) -> &'static Guest {
        self.guest
    }
}

/// Refuses what is no static program.
fn check_static(path: &Path, file: &File) -> Result<Identity, BundleError> {
    let failed = |source| BundleError::Read { path: path.into(), source };
    let not = |reason: String| BundleError::NotProgram { path: path.into(), reason };
    let len = file.metadata().map_err(failed)?.len();
    let mut blocks = Blocks::default();
    let identity =
        Identity::read(&mut Reader::file(file.as_fd(), 0, len, &mut blocks)).map_err(|err| match err {
            ElfError::Read { source, .. } => failed(source),
            ElfError::NotElf => not("it is no ELF file".into()),
            err => not(err.to_string()),
        })?;
    if let Some(interpreter) = &identity.interpreter {
        return Err(BundleError::Dynamic { path: path.into(), interpreter: interpreter.clone() });
    }
    // A program whose parts lie beyond its end would only fail where it is run.
    if !identity.is_loadable {
        return Err(not(identity.problems.join("; ")));
    }
    match identity.linkage {
        Some("static" | "static-pie") if identity.alignment.is_some() => Ok(identity),
        _ => Err(not("it is an ELF file, and no executable".into())),
    }
}
