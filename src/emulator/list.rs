//! What emulators there are, and could be.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::find::{self, Options};
use super::{DebianPackage, EmulatorError, Pins, cache, memo, package, rules};
use crate::target::{Catalogue, Guest, Platform, Target};

/// One guest on one host.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Pair {
    /// The guest, by QEMU's name.
    pub guest: String,
    /// The host.
    pub host: Platform,
    /// The host, by Debian's name of the architecture; `None` where Debian has none.
    pub architecture: Option<String>,
    /// Whether the host runs the guest's programs without an emulator.
    pub native: bool,
    /// The host's own emulators, where the host is this machine. The first is the one that is taken.
    pub on_host: Vec<OnHost>,
    /// Emulators in the cache, the one that is taken first.
    pub cached: Vec<Cached>,
    /// Pinned packages that have it, the one that is taken first.
    pub available: Vec<Available>,
    /// Pinned packages that cannot serve.
    pub refused: Vec<Refused>,
    /// Whether there is a test program of the guest, for `verify`.
    pub verifiable: bool,
    /// Why it is not to be had in any way; `None` where it is.
    pub reason: Option<String>,
}

/// One of the host's own emulators.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct OnHost {
    /// The program.
    pub path: PathBuf,
    /// QEMU's version, where the program tells it.
    pub version: Option<String>,
}

/// An emulator in the cache, as it was described when it was put there. It is verified when it is used.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Cached {
    /// The program.
    pub path: PathBuf,
    /// QEMU's version.
    pub version: Option<String>,
    /// The program's digest.
    pub sha256: String,
    /// Where it came from.
    pub package: DebianPackage,
    /// Whether that package is pinned.
    pub pinned: bool,
}

/// A pinned package that has an emulator.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Available {
    /// The suite.
    pub suite: String,
    /// The package.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// QEMU's version.
    pub qemu: String,
    /// What is downloaded, in bytes.
    pub size: u64,
    /// The package file's digest.
    pub sha256: String,
}

/// A pinned package that cannot serve.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Refused {
    /// The suite.
    pub suite: String,
    /// The package.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// QEMU's version.
    pub qemu: String,
    /// Why not.
    pub reason: String,
}

/// The hosts that Debian is released for, one for each of its architectures.
#[must_use]
pub fn hosts() -> Vec<&'static Target> {
    let mut hosts: Vec<&Target> = Vec::new();
    for target in Catalogue::builtin().targets() {
        let Some(debian) = target.debian.as_ref().filter(|debian| !debian.suites.is_empty()) else {
            continue;
        };
        let is_known = hosts.iter().any(|known| {
            known.debian.as_ref().is_some_and(|known| known.architecture == debian.architecture)
        });
        if !is_known && target.routeros.is_none() {
            hosts.push(target);
        }
    }
    hosts
}

/// Each of `guests` on `host`. Nothing is fetched, and nothing changed.
///
/// # Errors
/// [`EmulatorError::Host`] where the host is not known; others where the cache cannot be read.
pub fn list(
    guests: &[&Guest],
    host: &Platform,
    pins: &Pins,
    options: &Options<'_>,
) -> Result<Vec<Pair>, EmulatorError> {
    let target = find::host_target(host)?;
    guests.iter().map(|guest| pair(guest, target, pins, options)).collect()
}

fn pair(
    guest: &Guest,
    host: &'static Target,
    pins: &Pins,
    options: &Options<'_>,
) -> Result<Pair, EmulatorError> {
    let mut on_host = Vec::new();
    if host.platform == Platform::host() {
        for path in find::all_on_host(guest, host, options.search) {
            let told = memo::facts(options.cache, &path, true).ok().and_then(|facts| facts.told);
            let version = told.map(|told| told.version);
            on_host.push(OnHost { path, version });
        }
    }
    let cached = cached(options.cache, guest, host, pins)?;
    let (mut available, mut refused) = (Vec::new(), Vec::new());
    let debian = host.debian.as_ref();
    let suites = debian.map(|debian| rules::suites(&debian.suites)).unwrap_or_default();
    for suite in suites {
        let pin = debian.and_then(|debian| pins.get(&debian.architecture, suite));
        let Some((pin, known)) = pin.and_then(|pin| Some((pin, pin.package()?))) else { continue };
        let qemu = package::qemu_version(&known);
        let (suite, package, version) = (pin.suite.clone(), pin.name.clone(), pin.version.clone());
        let reason = match rules::judge(guest, host, &qemu) {
            Err(refusal) => refusal.to_string(),
            Ok(()) if pin.guests.contains(&guest.name) => {
                let (size, sha256) = (pin.size, pin.sha256.clone());
                available.push(Available { suite, package, version, qemu, size, sha256 });
                continue;
            }
            Ok(()) => format!("the package holds no `qemu-{}`", guest.name),
        };
        refused.push(Refused { suite, package, version, qemu, reason });
    }
    let reason = if !on_host.is_empty() || !cached.is_empty() || !available.is_empty() {
        None
    } else if let Some(first) = refused.first() {
        Some(first.reason.clone())
    } else {
        Some(format!("Debian has no emulators that run on {}", host.platform))
    };
    Ok(Pair {
        guest: guest.name.clone(),
        host: host.platform.clone(),
        architecture: debian.map(|debian| debian.architecture.clone()),
        native: host.runs_natively(&guest.name),
        on_host,
        cached,
        available,
        refused,
        verifiable: super::has_probe(guest),
        reason,
    })
}

fn cached(cache: &Path, guest: &Guest, host: &Target, pins: &Pins) -> Result<Vec<Cached>, EmulatorError> {
    let known = cache::known(cache, guest, host)?;
    let cached = known.into_iter().rev().map(|(description, folder)| {
        let pinned = pins.packages.iter().any(|pin| pin.sha256 == description.package.sha256);
        Cached {
            path: folder.join(format!("qemu-{}", guest.name)),
            version: description.version,
            sha256: description.sha256,
            package: description.package,
            pinned,
        }
    });
    Ok(cached.collect())
}
