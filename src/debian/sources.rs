//! Source packages: the index of them, and their files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::control::{self, Paragraphs};
use super::index::{Compression, LIMIT};
use super::{DebianError, Mirror, Sha256, Version};
use crate::progress::Progress;

/// An index of the source packages of one component, in a file whose digest was verified.
#[derive(Debug, Clone)]
pub struct SourceIndex {
    path: PathBuf,
    compression: Compression,
    limit: u64,
    suite: String,
}

/// A source package, as the index describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourcePackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Its files: the description (`.dsc`), what others released, what Debian changed.
    pub files: Vec<SourceFile>,
}

/// A file of a source package.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceFile {
    /// Its name, without a folder.
    pub name: String,
    /// Where it is, from the mirror's root.
    pub filename: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
}

impl SourcePackage {
    fn parse(stanza: &[u8]) -> Result<Self, &'static str> {
        let stanza = std::str::from_utf8(stanza).map_err(|_| "a paragraph is not UTF-8")?;
        let field = |name| control::field(stanza, name).filter(|value| !value.is_empty());
        let folder = field("Directory").ok_or("a source package has no `Directory`")?;
        let list = field("Checksums-Sha256").ok_or("a source package has no `Checksums-Sha256`")?;
        let is_plain = |part: &str| {
            !matches!(part, "" | "." | "..")
                && !part.contains(|c: char| c.is_control() || matches!(c, '\\' | '?' | '#'))
        };
        if !folder.split('/').all(is_plain) {
            return Err("a source package is in no folder of the mirror");
        }
        let file = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [digest, size, name] = words[..] else { return None };
            (is_plain(name) && !name.contains('/')).then_some(())?;
            Some(SourceFile {
                name: name.into(),
                filename: format!("{folder}/{name}"),
                size: size.parse().ok()?,
                sha256: digest.parse().ok()?,
            })
        };
        let files: Option<Vec<SourceFile>> =
            list.lines().filter(|line| !line.trim().is_empty()).map(file).collect();
        Ok(Self {
            name: field("Package").ok_or("a paragraph has no `Package`")?.into(),
            version: Version::new(field("Version").ok_or("a source package has no `Version`")?),
            files: files.ok_or("a source package's `Checksums-Sha256` is no list of files")?,
        })
    }
}

impl SourceIndex {
    pub(super) fn new(path: PathBuf, compression: Compression, unpacked: Option<u64>, suite: &str) -> Self {
        Self { path, compression, limit: unpacked.unwrap_or(LIMIT).min(LIMIT), suite: suite.into() }
    }

    /// The source package of each of `names`, in its latest version, in one pass.
    ///
    /// # Errors
    /// [`DebianError::NoPackage`] where there is none; others where the index cannot be read.
    pub fn find_each(&self, names: &[String]) -> Result<Vec<SourcePackage>, DebianError> {
        let read = |source| DebianError::Read { path: self.path.clone(), source };
        let wrong = |reason| DebianError::Index { path: self.path.clone(), reason };
        let mut found: Vec<Option<SourcePackage>> = vec![None; names.len()];
        let mut paragraphs = self.paragraphs().map_err(read)?;
        while let Some(paragraph) = paragraphs.next().map_err(read)? {
            let Some(at) = super::index::package_name(paragraph)
                .and_then(|name| names.iter().position(|known| known.as_bytes() == name))
            else {
                continue;
            };
            let package = SourcePackage::parse(paragraph).map_err(wrong)?;
            if let Some(place) = found.get_mut(at)
                && place.as_ref().is_none_or(|found| found.version < package.version)
            {
                *place = Some(package);
            }
        }
        let none = |name: &String| DebianError::NoPackage {
            package: name.clone(),
            suite: self.suite.clone(),
            architecture: "source".into(),
        };
        names.iter().zip(found).map(|(name, found)| found.ok_or_else(|| none(name))).collect()
    }

    fn paragraphs(&self) -> io::Result<Paragraphs<io::Take<Box<dyn Read + Send>>>> {
        let reader = self.compression.reader(File::open(&self.path)?)?;
        Ok(Paragraphs::new(reader.take(self.limit)))
    }
}

impl Mirror {
    /// Fetches a file of a source package into `folder`, where it is called by its digest, and verifies its size and digest on the way. One
    /// that is there already is verified and taken.
    ///
    /// # Errors
    /// [`DebianError`], where it cannot be had or is another; then nothing is left under its name.
    pub fn fetch_source(
        &self,
        file: &SourceFile,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<PathBuf, DebianError> {
        let path = folder.join(file.sha256.to_string());
        self.download(
            std::slice::from_ref(&file.filename),
            file.size,
            file.sha256,
            &path,
            &file.name,
            progress,
        )?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paragraph(version: &str, file: &str) -> String {
        let digest = "0".repeat(64);
        format!(
            "Package: musl\nBinary: musl, musl-dev\nVersion: {version}\nDirectory: pool/main/m/musl\n\
             Checksums-Sha256:\n {digest} 7 {file}.dsc\n {digest} 9 {file}.tar.gz\n\n"
        )
    }

    fn index(text: &str) -> (tempfile::NamedTempFile, SourceIndex) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let index = SourceIndex::new(file.path().into(), Compression::None, None, "bookworm");
        (file, index)
    }

    #[test]
    fn the_latest_version_of_a_source_package_is_found() {
        let text =
            [paragraph("1.2.3-1", "a"), paragraph("1.2.10-1", "b"), paragraph("1.2.4-1", "c")].concat();
        let (_file, index) = index(&text);
        let found = index.find_each(&["musl".into()]).unwrap();
        let [package] = &found[..] else { panic!("{found:?}") };
        assert_eq!(package.version.to_string(), "1.2.10-1");
        let files: Vec<_> = package
            .files
            .iter()
            .map(|file| (file.name.as_str(), file.filename.as_str(), file.size))
            .collect();
        assert_eq!(
            files,
            [("b.dsc", "pool/main/m/musl/b.dsc", 7), ("b.tar.gz", "pool/main/m/musl/b.tar.gz", 9)]
        );
        let missing = index.find_each(&["musl".into(), "zlib".into()]).unwrap_err();
        assert!(missing.to_string().contains("zlib"), "{missing}");
    }

    #[test]
    fn what_a_source_package_may_not_say_is_refused() {
        for (from, to) in [
            ("pool/main/m/musl", "pool/../etc"),
            ("pool/main/m/musl", "/etc"),
            ("a.dsc", "../a.dsc"),
            ("a.dsc", "x/a.dsc"),
            ("a.dsc", ".."),
            (" 7 ", " seven "),
            ("Version", "Revision"),
            ("Checksums-Sha256", "Files"),
        ] {
            let (_file, index) = index(&paragraph("1", "a").replace(from, to));
            let result = index.find_each(&["musl".into()]);
            assert!(matches!(result, Err(DebianError::Index { .. })), "{from} → {to}: {result:?}");
        }
    }
}
