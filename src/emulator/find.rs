//! Finding an emulator that is there already.

use std::path::{Path, PathBuf};

use super::memo::{self, Fitting};
use super::{Emulator, EmulatorError, Source, Unfit, cache, probe};
use crate::target::{Catalogue, Guest, Platform, Target};

/// Where distributions and users put the host's own emulators.
pub const SEARCH: &[&str] =
    &["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/libexec/qemu-binfmt", "/usr/libexec/qemu-binfmt"];

/// Where an emulator is looked for.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// A program that the user gave. It is taken, or refused, before all others.
    pub given: Option<PathBuf>,
    /// The program's cache folder.
    pub cache: &'a Path,
    /// Folders with the host's own emulators, the first first; usually [`SEARCH`]. They are looked at only
    /// where the emulator is to run on this machine's own platform.
    pub search: &'a [PathBuf],
}

/// The emulator that runs `guest`'s programs on `host`: the given one, else one in the cache, else one of
/// this machine's own. Nothing is fetched.
///
/// # Errors
/// [`EmulatorError::NotFound`] where there is none; [`EmulatorError::Unfit`] where the given one cannot
/// serve; [`EmulatorError::Changed`] where the cached one is not what was put there.
pub fn find(guest: &Guest, host: &Platform, options: &Options<'_>) -> Result<Emulator, EmulatorError> {
    let target = host_target(host)?;
    if let Some(path) = &options.given {
        return given(guest, target, path, options.cache);
    }
    if let Some(cached) = cache::find(options.cache, guest, target, None)? {
        return Ok(cached);
    }
    let mut rejected = Vec::new();
    if target.platform == Platform::host()
        && let Some(own) = on_host(guest, target, options, &mut rejected)?
    {
        return Ok(own);
    }
    Err(EmulatorError::NotFound {
        guest: guest.name.clone(),
        host: Box::new(target.platform.clone()),
        rejected,
    })
}

/// The catalogue's entry of `host`, which knows what its programs look like.
pub(super) fn host_target(host: &Platform) -> Result<&'static Target, EmulatorError> {
    Catalogue::builtin()
        .target(&host.to_string())
        .map_err(|source| EmulatorError::Host { host: Box::new(host.clone()), source: Box::new(source) })
}

/// The program that the user gave, if it can serve.
pub(super) fn given(
    guest: &Guest,
    host: &Target,
    path: &Path,
    cache: &Path,
) -> Result<Emulator, EmulatorError> {
    let read = |source| EmulatorError::Read { path: path.into(), source };
    let unfit =
        |unfit| EmulatorError::Unfit { path: path.into(), host: Box::new(host.platform.clone()), unfit };
    let path = path.canonicalize().map_err(read)?;
    probe::check(&path, &host.elf).map_err(read)?.map_err(unfit)?;
    // Another machine's program cannot be asked.
    if host.platform == Platform::host() {
        match memo::facts(cache, &path, true)?.told {
            None => return Err(unfit(Unfit::NotEmulator)),
            Some(told) if told.guest != guest.name => {
                return Err(unfit(Unfit::Guest { expected: guest.name.clone(), found: told.guest }));
            }
            Some(_) => {}
        }
    }
    described(guest, host, path, Source::Given, cache)
}

/// The first of this machine's own programs that can serve, if only its path is wanted: version and digest, which
/// [`find`] gives too, take much longer.
///
/// `fitting` is [`fitting`]'s, for all guests.
#[must_use]
pub fn own(guest: &Guest, search: &[PathBuf], fitting: &mut Fitting) -> Option<PathBuf> {
    let host = host_target(&Platform::host()).ok()?;
    let candidates = candidates(guest, search).into_iter();
    candidates
        .filter_map(|candidate| candidate.canonicalize().ok())
        .find(|path| matches!(fitting.check(path, host), Ok(Ok(()))))
}

/// What is known of this machine's own programs, of the cache folder `cache`.
///
/// # Errors
/// [`EmulatorError::Host`] where this machine is not in the catalogue.
pub fn fitting(cache: &Path) -> Result<Fitting, EmulatorError> {
    Ok(Fitting::load(cache, host_target(&Platform::host())?))
}

/// The first of the host's own programs that can serve. Those that cannot are told in `rejected`.
pub(super) fn on_host(
    guest: &Guest,
    host: &Target,
    options: &Options<'_>,
    rejected: &mut Vec<(PathBuf, Unfit)>,
) -> Result<Option<Emulator>, EmulatorError> {
    let mut fitting = Fitting::load(options.cache, host);
    for candidate in candidates(guest, options.search) {
        // A link is resolved, since the emulator may be bound or copied to where its target is not.
        let Ok(path) = candidate.canonicalize() else { continue };
        match fitting.check(&path, host) {
            Ok(Ok(())) => return described(guest, host, path, Source::Host, options.cache).map(Some),
            Ok(Err(unfit)) => rejected.push((candidate, unfit)),
            // One that may not be read is no emulator for this user.
            Err(_) => {}
        }
    }
    Ok(None)
}

/// All of the host's own programs that can serve, the one that is taken first.
pub(super) fn all_on_host(guest: &Guest, host: &Target, search: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for candidate in candidates(guest, search) {
        if let Ok(path) = candidate.canonicalize()
            && !found.contains(&path)
            && matches!(probe::check(&path, &host.elf), Ok(Ok(())))
        {
            found.push(path);
        }
    }
    found
}

/// Where the host's own emulators may be, the first first.
fn candidates(guest: &Guest, search: &[PathBuf]) -> Vec<PathBuf> {
    let name = &guest.name;
    // Debian up to bookworm and Fedora, everyone else, and Debian's links for binfmt_misc.
    let names = [format!("qemu-{name}-static"), format!("qemu-{name}"), format!("{name}-binfmt-P")];
    names.iter().flat_map(|name| search.iter().map(move |folder| folder.join(name))).collect()
}

/// The emulator at `path`, which is known to fit, with its version and digest.
fn described(
    guest: &Guest,
    host: &Target,
    path: PathBuf,
    source: Source,
    cache: &Path,
) -> Result<Emulator, EmulatorError> {
    // What another machine's program is can only be told by running it, which is not ours to try.
    let facts = memo::facts(cache, &path, host.platform == Platform::host())?;
    let version = facts.told.map(|told| told.version);
    Ok(Emulator {
        guest: guest.name.clone(),
        host: host.platform.clone(),
        path,
        version,
        sha256: facts.sha256,
        source,
    })
}
