//! Renewing the pins from Debian's signed indexes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{EmulatorError, Pin, Pins, cache, package};
use crate::debian::{Deb, DebianError, Keyring, Mirror, timestamp};
use crate::progress::Progress;
use crate::target::{Catalogue, Guest, Target};

/// The dated archive looks at Debian's four times a day: what an index names is there this long after the index was made.
const UNTIL_SNAPSHOT: Duration = Duration::from_hours(6);

/// How pins are renewed.
#[derive(Debug, Clone)]
pub struct UpdateOptions<'a> {
    /// The program's cache folder.
    pub cache: &'a Path,
    /// Debian's archive.
    pub mirror: &'a Mirror,
    /// Its keys.
    pub keyring: &'a Keyring,
    /// Only this suite.
    pub suite: Option<&'a str>,
}

/// The pins for `hosts` as the signed indexes have them now, and what went wrong: one suite that is not to be had does not
/// keep the others from being renewed. Those of `old` that still hold are kept as they are; of each new package the file
/// is fetched, to verify it and to see which guests it has.
///
/// # Errors
/// [`EmulatorError`] where the cache cannot be used.
pub fn update(
    hosts: &[&Target],
    old: &Pins,
    options: &UpdateOptions<'_>,
    progress: &dyn Progress,
) -> Result<(Pins, Vec<EmulatorError>), EmulatorError> {
    let _shared = cache::share(options.cache, progress)?;
    let (mut pins, mut failed) = (Pins::default(), Vec::new());
    for host in hosts {
        let Some(debian) = &host.debian else { continue };
        for suite in &debian.suites {
            if options.suite.is_some_and(|wanted| wanted != suite) {
                continue;
            }
            match pin(&debian.architecture, suite, old, options, progress) {
                Ok(pin) => pins.put(pin),
                Err(err @ (DebianError::NoPackage { .. } | DebianError::NoIndex { .. })) => {
                    progress.note(&format!("nothing is pinned: {err}"));
                }
                Err(source) => failed.push(EmulatorError::Pinning {
                    suite: suite.clone(),
                    host: Box::new(host.platform.clone()),
                    source: Box::new(source),
                }),
            }
        }
    }
    Ok((pins, failed))
}

/// The pin for one host and suite.
fn pin(
    architecture: &str,
    suite: &str,
    old: &Pins,
    options: &UpdateOptions<'_>,
    progress: &dyn Progress,
) -> Result<Pin, DebianError> {
    let UpdateOptions { cache, mirror, keyring, .. } = options;
    let indexes = cache.join("debian/indexes");
    let (release, package) =
        package::named_by_either(suite, mirror, keyring, architecture, &indexes, progress)?;
    let sha256 = package.sha256.to_string();
    let version = package.version.to_string();
    if let Some(known) = old.get(architecture, suite)
        && known.sha256 == sha256
        && known.version == version
        && known.file == package.filename
    {
        return Ok(known.clone());
    }
    let packages = cache.join("debian/packages");
    let was_kept = packages.join(format!("{sha256}.deb")).exists();
    let file = mirror.fetch(&package, &packages, progress)?;
    let guests = guests(&file);
    if !was_kept {
        fs::remove_file(&file).map_err(|source| DebianError::Write { path: file, source })?;
    }
    let time = release.date.checked_add(UNTIL_SNAPSHOT).unwrap_or(release.date);
    Ok(Pin {
        architecture: architecture.into(),
        suite: suite.into(),
        name: package.name,
        version,
        file: package.filename,
        size: package.size,
        sha256,
        time: timestamp(time),
        guests: guests?,
    })
}

/// The guests of the catalogue whose emulators are in a package's file.
fn guests(file: &Path) -> Result<Vec<String>, DebianError> {
    let names = Deb::open(file)?.names()?;
    let is_in = |guest: &&Guest| names.iter().any(|name| package::guest_of(name) == Some(&guest.name));
    Ok(Catalogue::builtin().guests().iter().filter(is_in).map(|guest| guest.name.clone()).collect())
}
