//! A host's static busybox, from Debian's package of it by its digest.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;

use super::BundleError;
use crate::debian::{Deb, DebianError, Mirror, Package};
use crate::progress::Progress;
use crate::target::Target;

/// The pinned packages.
const PINS: &str = include_str!("shell.toml");
/// A dated snapshot that has all of them, for when the mirror no longer does.
const TIME: &str = "20261101T000000Z";
/// The largest busybox that is taken, in bytes.
const MOST: u64 = 16 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pins {
    shell: Vec<Pin>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    architecture: String,
    /// For people.
    #[expect(dead_code, reason = "it says where the package comes from")]
    suite: String,
    version: String,
    file: String,
    size: u64,
    sha256: String,
}

static SHELLS: LazyLock<Vec<Pin>> =
    LazyLock::new(|| toml::from_str::<Pins>(PINS).map(|pins| pins.shell).unwrap_or_default());

/// The path of a static busybox for `host`, which is fetched into `cache` if it is not there.
///
/// # Errors
/// [`BundleError::NoShell`] where Debian has none for the host, [`BundleError::Shell`] where it cannot be had.
pub fn shell(
    host: &Target,
    cache: &Path,
    mirror: &Mirror,
    snapshots: &Mirror,
    progress: &dyn Progress,
) -> Result<PathBuf, BundleError> {
    let none = || BundleError::NoShell { host: host.name.clone() };
    let architecture = &host.debian.as_ref().ok_or_else(none)?.architecture;
    let pin = SHELLS.iter().find(|pin| pin.architecture == *architecture).ok_or_else(none)?;
    let failed = |source| BundleError::Shell { host: host.name.clone(), source: Box::new(source) };
    let sha256 = pin.sha256.parse().map_err(|_| none())?;
    let folder = cache.join("shells");
    let path = folder.join(&pin.sha256);
    if path.is_file() {
        return Ok(path);
    }
    let read = |source| failed(DebianError::Read { path: folder.clone(), source });
    fs::create_dir_all(&folder).map_err(read)?;
    let package =
        Package::new("busybox-static", &pin.version, &pin.architecture, &pin.file, pin.size, sha256);
    let work = tempfile::tempdir_in(&folder).map_err(read)?;
    let deb = match mirror.fetch(&package, work.path(), progress) {
        Err(err) if err.is_missing() => snapshots.beneath(TIME).fetch(&package, work.path(), progress),
        fetched => fetched,
    };
    let deb = Deb::open(&deb.map_err(failed)?).map_err(failed)?;
    let mut out = tempfile::NamedTempFile::new_in(&folder).map_err(read)?;
    deb.extract_first(&["bin/busybox", "usr/bin/busybox"], out.as_file_mut(), MOST).map_err(failed)?;
    out.persist(&path).map_err(|err| read(err.error))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::HostPrograms;
    use crate::target::Catalogue;

    #[test]
    fn there_is_a_shell_for_every_host_that_debian_and_stubs_have() {
        assert_eq!(SHELLS.len(), 10);
        for pin in SHELLS.iter() {
            assert_eq!(pin.sha256.len(), 64);
            assert!(pin.size < MOST && pin.file.ends_with(&format!("_{}.deb", pin.architecture)), "{pin:?}");
        }
        for target in Catalogue::builtin().targets().iter().filter(|target| target.routeros.is_some()) {
            let has_containers = target.routeros.as_ref().is_some_and(|routeros| routeros.containers);
            let architecture = target.debian.as_ref().map(|debian| debian.architecture.as_str());
            let has_shell = SHELLS.iter().any(|pin| Some(pin.architecture.as_str()) == architecture);
            assert!(!has_containers || has_shell, "{}", target.name);
            assert!(!has_containers || HostPrograms::of(&target.qemu.guest).is_some(), "{}", target.name);
        }
    }
}
