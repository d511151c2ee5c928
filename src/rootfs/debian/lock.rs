//! Lock files: the exact packages of a root, by their digests.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::debian::{Package, Sha256};
use crate::rootfs::RootfsError;

/// Changes with everything that older programs would misread.
const VERSION: u32 = 1;
/// The largest lock file that is read, in bytes.
const LIMIT: u64 = 64 << 20;

/// The packages of a root, and what they were chosen for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// The recipe's name.
    pub recipe: String,
    /// The suite, by its code name.
    pub suite: String,
    /// Debian's name.
    pub architecture: String,
    /// Components.
    pub components: Vec<String>,
    /// The variant.
    pub variant: String,
    /// Packages that were asked for beside it.
    pub include: Vec<String>,
    /// The time of the suite's signed list, in seconds since 1970.
    pub date: u64,
    /// All packages, by name.
    #[serde(rename = "package")]
    pub packages: Vec<Locked>,
}

/// One package file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Locked {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// Its file, from the mirror's root.
    pub file: String,
    /// The file's size in bytes.
    pub size: u64,
    /// The file's digest.
    pub sha256: String,
    /// Whether nothing but dependencies brought it in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub automatic: bool,
}

impl Lock {
    pub(super) fn new(recipe: &str, suite: &str, architecture: &str, variant: &str) -> Self {
        Self {
            version: VERSION,
            recipe: recipe.into(),
            suite: suite.into(),
            architecture: architecture.into(),
            components: Vec::new(),
            variant: variant.into(),
            include: Vec::new(),
            date: 0,
            packages: Vec::new(),
        }
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        // Strings, numbers and tables last: TOML has all of it.
        let body = toml::to_string(self).unwrap_or_default();
        format!(
            "# Made by `polyarch rootfs build --lock`. Without this file the newest packages are taken.\n{body}"
        )
    }

    /// Reads the file at `path`; `None` where there is none.
    ///
    /// # Errors
    /// [`RootfsError::File`], [`RootfsError::Lock`].
    pub fn read(path: &Path) -> Result<Option<Self>, RootfsError> {
        let failed = |source| RootfsError::File { doing: "reading", path: path.into(), source };
        let wrong = |reason: String| RootfsError::Lock { path: path.into(), reason };
        match fs::metadata(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(failed(err)),
            Ok(found) if found.len() > LIMIT => return Err(wrong(format!("is larger than {LIMIT} bytes"))),
            Ok(_) => {}
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let lock: Self = toml::from_str(&text).map_err(|err| wrong(format!("is not right: {err}")))?;
        if lock.version != VERSION {
            return Err(wrong(format!("is of version {}, and this polyarch knows {VERSION}", lock.version)));
        }
        if let Some(bad) = lock.packages.iter().find(|package| package.sha256.parse::<Sha256>().is_err()) {
            return Err(wrong(format!("has no SHA-256 digest for `{}`", bad.name)));
        }
        Ok(Some(lock))
    }

    /// Writes the file at `path`, whole or not at all.
    ///
    /// # Errors
    /// [`RootfsError::File`].
    pub fn write(&self, path: &Path) -> Result<(), RootfsError> {
        let failed = |source| RootfsError::File { doing: "writing", path: path.into(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().prefix(".lock-").tempfile_in(folder).map_err(failed)?;
        fs::write(file.path(), self.text()).map_err(failed)?;
        let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644);
        fs::set_permissions(file.path(), mode).map_err(failed)?;
        file.persist(path).map(drop).map_err(|err| failed(err.error))
    }

    /// When the suite was as it is here.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.date)
    }

    /// What `other` was made for and this was not; `None` where both are for the same.
    pub(super) fn differs(&self, other: &Self) -> Option<String> {
        let list = |words: &[String]| if words.is_empty() { "nothing".into() } else { words.join(",") };
        let fields = [
            ("recipe", self.recipe.clone(), other.recipe.clone()),
            ("architecture", self.architecture.clone(), other.architecture.clone()),
            ("suite", self.suite.clone(), other.suite.clone()),
            ("variant", self.variant.clone(), other.variant.clone()),
            ("components", list(&self.components), list(&other.components)),
            ("include", list(&self.include), list(&other.include)),
        ];
        let different = fields.into_iter().find(|(_, found, wanted)| found != wanted);
        different
            .map(|(what, found, wanted)| format!("is for the {what} `{found}`, and `{wanted}` was asked for"))
    }
}

impl Locked {
    pub(super) fn of(package: &Package, automatic: bool) -> Self {
        Self {
            name: package.name.clone(),
            version: package.version.to_string(),
            architecture: package.architecture.clone(),
            file: package.filename.clone(),
            size: package.size,
            sha256: package.sha256.to_string(),
            automatic,
        }
    }

    /// What is known of the package.
    pub(super) fn package(&self) -> Option<Package> {
        let digest = self.sha256.parse().ok()?;
        Some(Package::new(&self.name, &self.version, &self.architecture, &self.file, self.size, digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert_eq!(Lock::read(&path).unwrap(), None);
        let mut lock = Lock::new("debian", "trixie", "arm64", "minbase");
        lock.include = vec!["gcc".into()];
        let package =
            Package::new("a", "1:2~x+b1", "all", "pool/a_2.deb", 7, "0".repeat(64).parse().unwrap());
        lock.packages = vec![Locked::of(&package, true), Locked::of(&package, false)];
        lock.write(&path).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), Some(lock.clone()));
        let other = Lock { include: Vec::new(), ..lock.clone() };
        assert!(lock.differs(&other).unwrap().contains("include"));
        for (from, to) in
            [("version = 1", "version = 2"), ("sha256 = \"0", "sha256 = \"x"), ("suite", "suit")]
        {
            fs::write(&path, lock.text().replacen(from, to, 1)).unwrap();
            assert!(matches!(Lock::read(&path), Err(RootfsError::Lock { .. })), "{from}");
        }
    }
}
