//! The index of the packages of one component and architecture.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::control::{self, Paragraphs};
use super::{DebianError, Sha256, Version};
use crate::gzip::GzipReader;

/// The most that an index may unpack to where its list does not say, in bytes; Debian's largest is about 50 MB.
pub(super) const LIMIT: u64 = 1 << 30;

/// The memory that unpacking may take, in KiB.
const MEMORY_KIB: u32 = 256 << 10;

/// How an index, or a member of a package, is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    /// The ending of a name.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
        }
    }

    /// A reader of what `reader` has packed.
    pub(super) fn reader(self, reader: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::None => Box::new(reader),
            Self::Gzip => Box::new(GzipReader::new(io::BufReader::with_capacity(128 << 10, reader))),
            Self::Xz => {
                let reader = io::BufReader::with_capacity(128 << 10, reader);
                Box::new(lzma_rust2::XzReader::new_mem_limit(reader, true, MEMORY_KIB))
            }
            Self::Zstd => {
                let mut decoder = zstd::Decoder::new(reader)?;
                // 2^28 bytes: as much as xz may take.
                decoder.window_log_max(28)?;
                Box::new(decoder)
            }
        })
    }
}

/// An index in a file, whose digest was verified. It is read anew for each question: it is far larger than
/// what is wanted of it.
#[derive(Debug, Clone)]
pub struct Index {
    path: PathBuf,
    compression: Compression,
    limit: u64,
    suite: String,
    architecture: String,
}

/// A package, as the index describes it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Its architecture: the index's, or `all`.
    pub architecture: String,
    /// The file, from the mirror's root.
    pub filename: String,
    /// The file's size in bytes.
    pub size: u64,
    /// The file's digest.
    pub sha256: Sha256,
    stanza: String,
}

impl Package {
    /// A package of which only this is known: no field of its description is.
    #[must_use]
    pub fn new(
        name: &str,
        version: &str,
        architecture: &str,
        filename: &str,
        size: u64,
        sha256: Sha256,
    ) -> Self {
        Self {
            name: name.into(),
            version: Version::new(version),
            architecture: architecture.into(),
            filename: filename.into(),
            size,
            sha256,
            stanza: String::new(),
        }
    }

    /// The value of any field of its description, such as `Depends`; its continuation lines are included.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        control::field(&self.stanza, name)
    }

    /// A package by the control file in it, and the file that it is in.
    pub(super) fn of_control(
        control: &str,
        filename: &str,
        size: u64,
        sha256: Sha256,
    ) -> Result<Self, &'static str> {
        let stanza =
            format!("{}\nFilename: {filename}\nSize: {size}\nSHA256: {sha256}\n", control.trim_end());
        Self::parse(stanza.as_bytes())
    }

    fn parse(stanza: &[u8]) -> Result<Self, &'static str> {
        let stanza = std::str::from_utf8(stanza).map_err(|_| "a paragraph is not UTF-8")?;
        let field = |name| control::field(stanza, name).filter(|value| !value.is_empty());
        Ok(Self {
            name: field("Package").ok_or("a paragraph has no `Package`")?.into(),
            version: Version::new(field("Version").ok_or("a package has no `Version`")?),
            architecture: field("Architecture").ok_or("a package has no `Architecture`")?.into(),
            filename: field("Filename").ok_or("a package has no `Filename`")?.into(),
            size: field("Size").and_then(|size| size.parse().ok()).ok_or("a package has no `Size`")?,
            sha256: field("SHA256").and_then(|text| text.parse().ok()).ok_or("a package has no `SHA256`")?,
            stanza: stanza.into(),
        })
    }
}

impl Index {
    pub(super) fn new(
        path: PathBuf,
        compression: Compression,
        unpacked: Option<u64>,
        suite: &str,
        architecture: &str,
    ) -> Self {
        let limit = unpacked.unwrap_or(LIMIT).min(LIMIT);
        Self { path, compression, limit, suite: suite.into(), architecture: architecture.into() }
    }

    /// The suite that it belongs to, as it was asked for.
    #[must_use]
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// All packages, in the index's order.
    ///
    /// # Errors
    /// [`DebianError::Read`] where the file cannot be opened.
    pub fn packages(&self) -> Result<Packages<'_>, DebianError> {
        Ok(Packages { index: self, paragraphs: self.paragraphs()?, failed: false })
    }

    /// The package called `name`, in its latest version.
    ///
    /// # Errors
    /// [`DebianError::NoPackage`] where there is none; others where the index cannot be read.
    pub fn find(&self, name: &str) -> Result<Package, DebianError> {
        self.find_each(&[name])?.pop().flatten().ok_or_else(|| self.none(name))
    }

    /// The package of each of `names`, in its latest version, in one pass; `None` for those that there are none of.
    ///
    /// # Errors
    /// [`DebianError::Read`] and [`DebianError::Index`] where the index cannot be read.
    pub fn find_each(&self, names: &[&str]) -> Result<Vec<Option<Package>>, DebianError> {
        let mut paragraphs = self.paragraphs()?;
        let mut found: Vec<Option<Package>> = vec![None; names.len()];
        while let Some(paragraph) = paragraphs.next().map_err(|source| self.read(source))? {
            let Some(at) = package_name(paragraph)
                .and_then(|name| names.iter().position(|known| known.as_bytes() == name))
            else {
                continue;
            };
            let package = Package::parse(paragraph).map_err(|reason| self.wrong(reason))?;
            if found[at].as_ref().is_none_or(|found| found.version < package.version) {
                found[at] = Some(package);
            }
        }
        Ok(found)
    }

    /// What is told where there is no package called `name`.
    pub(crate) fn none(&self, name: &str) -> DebianError {
        DebianError::NoPackage {
            package: name.into(),
            suite: self.suite.clone(),
            architecture: self.architecture.clone(),
        }
    }

    fn paragraphs(&self) -> Result<Paragraphs<io::Take<Box<dyn Read + Send>>>, DebianError> {
        let file = File::open(&self.path).map_err(|source| self.read(source))?;
        let reader = self.compression.reader(file).map_err(|source| self.read(source))?;
        Ok(Paragraphs::new(reader.take(self.limit)))
    }

    fn read(&self, source: io::Error) -> DebianError {
        DebianError::Read { path: self.path.clone(), source }
    }

    fn wrong(&self, reason: &'static str) -> DebianError {
        DebianError::Index { path: self.path.clone(), reason }
    }
}

/// The name of the package that a paragraph describes. It stands first in Debian's indexes, but need not.
pub(super) fn package_name(paragraph: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = paragraph.strip_prefix(b"Package: ") {
        return rest.split(|byte| *byte == b'\n').next().map(<[u8]>::trim_ascii_end);
    }
    control::field(std::str::from_utf8(paragraph).ok()?, "Package").map(str::as_bytes)
}

/// The packages of an index, one after the other.
pub struct Packages<'a> {
    index: &'a Index,
    paragraphs: Paragraphs<io::Take<Box<dyn Read + Send>>>,
    failed: bool,
}

impl std::fmt::Debug for Packages<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packages").field("index", self.index).finish_non_exhaustive()
    }
}

impl Iterator for Packages<'_> {
    type Item = Result<Package, DebianError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let package = match self.paragraphs.next() {
            Ok(None) => return None,
            Ok(Some(paragraph)) => Package::parse(paragraph).map_err(|reason| self.index.wrong(reason)),
            Err(source) => Err(self.index.read(source)),
        };
        self.failed = package.is_err();
        Some(package)
    }
}
