//! Which package file an emulator is taken from, and how that is had.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{EmulatorError, FetchOptions, Pin, rules};
use crate::debian::{Deb, DebianError, Index, Keyring, Mirror, Package, Release};
use crate::progress::Progress;
use crate::target::{Guest, Target};

/// The packages that may hold static emulators: bookworm and older suites have them in the first, newer ones in
/// the second.
const PACKAGES: &[&str] = &["qemu-user-static", "qemu-user"];

/// What stands for the suite of a package file that the user gave.
const LOCAL: &str = "local";

/// The package file that an emulator is to be taken from.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub(super) suite: String,
    pub(super) package: Package,
    /// A time at which the archive had it, where it is pinned.
    pub(super) time: Option<String>,
    /// Where it is, if it is here.
    pub(super) at: Option<PathBuf>,
}

/// Chooses package files for one host.
pub(super) struct Chooser<'a> {
    target: &'static Target,
    options: &'a FetchOptions<'a>,
    progress: &'a dyn Progress,
    /// What the indexes of suites have named already.
    named: RefCell<HashMap<String, Package>>,
}

impl<'a> Chooser<'a> {
    pub(super) fn new(
        target: &'static Target,
        options: &'a FetchOptions<'a>,
        progress: &'a dyn Progress,
    ) -> Self {
        Self { target, options, progress, named: RefCell::default() }
    }

    /// The package file to take `guest`'s emulator from: that of the first suite that has one that can serve.
    pub(super) fn choose(&self, guest: &Guest) -> Result<Chosen, EmulatorError> {
        if let Some(folder) = files_of(self.options.mirror) {
            return self.in_folder(guest, &folder);
        }
        let debian = self.target.debian.as_ref();
        let suites = match (self.options.suite, debian) {
            (Some(suite), _) => vec![suite],
            (None, Some(debian)) => rules::suites(&debian.suites),
            (None, None) => Vec::new(),
        };
        let mut first = None;
        for suite in suites {
            match self.candidate(guest, suite) {
                Ok(found) => return Ok(found),
                Err(err) if is_of_this_suite(&err) => {
                    let cause =
                        std::error::Error::source(&err).map_or_else(|| err.to_string(), ToString::to_string);
                    self.progress.note(&format!("Debian's `{suite}` is passed over: {cause}"));
                    first = first.or(Some(err));
                }
                Err(err) => return Err(err),
            }
        }
        Err(first.unwrap_or_else(|| self.no_suite()))
    }

    /// The package that `suite` has, by its pin or else its index, if its QEMU can serve.
    fn candidate(&self, guest: &Guest, suite: &str) -> Result<Chosen, EmulatorError> {
        let architecture = self.architecture()?;
        let pin = self.options.pins.get(architecture, suite).filter(|_| !self.options.latest);
        if let Some((pin, package)) = pin.and_then(|pin| Some((pin, pin.package()?))) {
            self.judge(guest, suite, &package)?;
            if !pin.guests.contains(&guest.name) {
                return Err(self.no_guest(guest, pin));
            }
            return Ok(Chosen { suite: suite.into(), package, time: Some(pin.time.clone()), at: None });
        }
        let known = self.named.borrow().get(suite).cloned();
        let package = if let Some(package) = known {
            package
        } else {
            let (mirror, keyring) = (self.options.mirror, self.options.keyring);
            let indexes = self.options.find.cache.join("debian/indexes");
            let (_, package) = Release::fetch(mirror, suite, keyring)
                .and_then(|release| named(&release, mirror, architecture, &indexes, self.progress))
                .map_err(|source| self.failed(guest, source))?;
            self.named.borrow_mut().insert(suite.into(), package.clone());
            package
        };
        self.judge(guest, suite, &package)?;
        Ok(Chosen { suite: suite.into(), package, time: None, at: None })
    }

    /// The package file in a folder of package files: one that is pinned, or where the user trusts the folder the
    /// newest that can serve.
    fn in_folder(&self, guest: &Guest, folder: &Path) -> Result<Chosen, EmulatorError> {
        let architecture = self.architecture()?;
        let files = packages_in(folder)?;
        let suites = self.target.debian.as_ref().map(|debian| rules::suites(&debian.suites));
        let pins: Vec<&Pin> = suites
            .unwrap_or_default()
            .into_iter()
            .filter(|suite| self.options.suite.is_none_or(|wanted| wanted == *suite))
            .filter_map(|suite| self.options.pins.get(architecture, suite))
            .collect();
        let mut first = None;
        for pin in &pins {
            let Some(package) = pin.package() else { continue };
            for (path, size) in files.iter().filter(|(_, size)| *size == pin.size) {
                let found = super::probe::sha256(path)?;
                if found != pin.sha256 || *size != pin.size {
                    continue;
                }
                let judged = self.judge(guest, &pin.suite, &package).and_then(|()| {
                    if pin.guests.contains(&guest.name) { Ok(()) } else { Err(self.no_guest(guest, pin)) }
                });
                match judged {
                    Ok(()) => {
                        let (suite, at) = (pin.suite.clone(), Some(path.clone()));
                        return Ok(Chosen { suite, package, time: None, at });
                    }
                    Err(err) => first = first.or(Some(err)),
                }
            }
        }
        if let Some(err) = first {
            return Err(err);
        }
        if !self.options.unpinned {
            return Err(EmulatorError::NotPinned {
                folder: folder.into(),
                files: files.len(),
                host: Box::new(self.target.platform.clone()),
                pinned: pins
                    .iter()
                    .filter_map(|pin| pin.file.rsplit('/').next().map(str::to_owned))
                    .collect(),
            });
        }
        let mut newest: Option<Chosen> = None;
        let mut refused = None;
        for (path, _) in &files {
            let package = Deb::open(path).and_then(|deb| deb.package());
            let package = package.map_err(|source| self.failed(guest, source))?;
            let fits = PACKAGES.contains(&package.name.as_str())
                && package.architecture == architecture
                && is_static(&package);
            if !fits {
                continue;
            }
            match self.judge(guest, LOCAL, &package) {
                Err(err) => refused = Some(err),
                Ok(()) if newest.as_ref().is_none_or(|old| old.package.version < package.version) => {
                    newest =
                        Some(Chosen { suite: LOCAL.into(), package, time: None, at: Some(path.clone()) });
                }
                Ok(()) => {}
            }
        }
        newest.ok_or_else(|| {
            let host = Box::new(self.target.platform.clone());
            refused.unwrap_or(EmulatorError::NoPackageFile { folder: folder.into(), host })
        })
    }

    /// Brings the package's file into `folder`: from the mirror, or where that no longer has it from the dated archive.
    pub(super) fn obtain(
        &self,
        guest: &Guest,
        chosen: &Chosen,
        folder: &Path,
    ) -> Result<PathBuf, EmulatorError> {
        if let Some(path) = &chosen.at {
            return Ok(path.clone());
        }
        let fetched = match self.options.mirror.fetch(&chosen.package, folder, self.progress) {
            Err(err) if err.is_missing() => match (&chosen.time, self.options.snapshots) {
                (Some(time), Some(snapshots)) => {
                    let snapshot = snapshots.beneath(time);
                    self.progress.note(&format!(
                        "the mirror no longer has {} {}; it is taken from `{}`",
                        chosen.package.name,
                        chosen.package.version,
                        snapshot.address()
                    ));
                    snapshot.fetch(&chosen.package, folder, self.progress)
                }
                _ => Err(err),
            },
            fetched => fetched,
        };
        fetched.map_err(|source| self.failed(guest, source))
    }

    pub(super) fn failed(&self, guest: &Guest, source: DebianError) -> EmulatorError {
        EmulatorError::Debian {
            guest: guest.name.clone(),
            host: Box::new(self.target.platform.clone()),
            source: Box::new(source),
        }
    }

    fn architecture(&self) -> Result<&'static str, EmulatorError> {
        let debian = self.target.debian.as_ref().map(|debian| debian.architecture.as_str());
        debian.ok_or_else(|| self.no_suite())
    }

    fn no_suite(&self) -> EmulatorError {
        EmulatorError::NoSuite { host: Box::new(self.target.platform.clone()) }
    }

    fn no_guest(&self, guest: &Guest, pin: &Pin) -> EmulatorError {
        EmulatorError::NoGuest {
            guest: guest.name.clone(),
            host: Box::new(self.target.platform.clone()),
            suite: pin.suite.clone(),
            package: pin.name.clone(),
            version: pin.version.clone(),
        }
    }

    fn judge(&self, guest: &Guest, suite: &str, package: &Package) -> Result<(), EmulatorError> {
        let version = qemu_version(package);
        rules::judge(guest, self.target, &version).map_err(|refusal| EmulatorError::Refused {
            guest: guest.name.clone(),
            host: Box::new(self.target.platform.clone()),
            suite: suite.into(),
            version,
            refusal,
        })
    }
}

/// The package with static emulators that a suite's signed index names for a host.
pub(super) fn named(
    release: &Release,
    mirror: &Mirror,
    architecture: &str,
    indexes: &Path,
    progress: &dyn Progress,
) -> Result<(Index, Package), DebianError> {
    let index = release.index(mirror, "main", architecture, indexes, progress)?;
    let mut found: Vec<Package> = index.find_each(PACKAGES)?.into_iter().flatten().collect();
    let at = found.iter().position(is_static).ok_or_else(|| index.none("qemu-user"))?;
    let package = found.swap_remove(at);
    Ok((index, package))
}

/// The `Release` of a suite, and its package: under the suite's other name where the list and the indexes do not go
/// together, as on a mirror that is being updated, or behind a cache.
pub(super) fn named_by_either(
    suite: &str,
    mirror: &Mirror,
    keyring: &Keyring,
    architecture: &str,
    indexes: &Path,
    progress: &dyn Progress,
) -> Result<(Release, Package), DebianError> {
    let release = Release::fetch(mirror, suite, keyring)?;
    match named(&release, mirror, architecture, indexes, progress) {
        Ok((_, package)) => Ok((release, package)),
        Err(err @ (DebianError::Size { .. } | DebianError::Digest { .. } | DebianError::Status { .. })) => {
            let other = if release.suite == suite { &release.codename } else { &release.suite };
            let Ok(other) = Release::fetch(mirror, other, keyring) else { return Err(err) };
            let Ok((_, package)) = named(&other, mirror, architecture, indexes, progress) else {
                return Err(err);
            };
            Ok((other, package))
        }
        Err(err) => Err(err),
    }
}

/// The one with static programs depends on nothing; beside it there is one with dynamic programs, or an empty one
/// that leads to it from an older name.
fn is_static(package: &Package) -> bool {
    package.field("Depends").is_none()
}

/// The folder, where the mirror is none but a folder of package files.
fn files_of(mirror: &Mirror) -> Option<PathBuf> {
    let folder = mirror.folder()?;
    let is_mirror = ["dists", "pool"].iter().any(|name| folder.join(name).is_dir());
    let is_plain = !is_mirror && packages_in(folder).is_ok_and(|files| !files.is_empty());
    is_plain.then(|| folder.into())
}

/// The package files in a folder and their sizes, by name.
fn packages_in(folder: &Path) -> Result<Vec<(PathBuf, u64)>, EmulatorError> {
    let list = || {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let is_package = path.extension().is_some_and(|extension| extension == "deb");
            let metadata = if is_package { path.metadata().ok() } else { None };
            if let Some(metadata) = metadata.filter(fs::Metadata::is_file) {
                files.push((path, metadata.len()));
            }
        }
        files.sort();
        std::io::Result::Ok(files)
    };
    list().map_err(|source| EmulatorError::Read { path: folder.into(), source })
}

/// Whether a failure, before the package's file is fetched, says something of one suite only, so that the next
/// may do. A mirror that is being updated can have the indexes of some suites and not those of others.
fn is_of_this_suite(err: &EmulatorError) -> bool {
    match err {
        EmulatorError::Refused { .. } | EmulatorError::NoGuest { .. } => true,
        EmulatorError::Debian { source, .. } => {
            source.is_missing()
                || matches!(
                    **source,
                    DebianError::NoSuite { .. }
                        | DebianError::NoIndex { .. }
                        | DebianError::NoPackage { .. }
                        | DebianError::Size { .. }
                        | DebianError::Digest { .. }
                )
        }
        _ => false,
    }
}

/// QEMU's version by the package's: `7.2` of `1:7.2+dfsg-7+deb12u18`.
pub(super) fn qemu_version(package: &Package) -> String {
    let upstream = package.version.upstream();
    let end = upstream.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(upstream.len());
    upstream[..end].trim_end_matches('.').to_owned()
}

/// The guest whose emulator is in a package under this name, by QEMU's name of it.
pub(super) fn guest_of(name: &str) -> Option<&str> {
    let guest = name.strip_prefix("usr/bin/qemu-")?;
    Some(guest.strip_suffix("-static").unwrap_or(guest))
}
