//! Fetching emulators from Debian's archive.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::cache::{self, Description};
use super::find::{self, Options};
use super::package::{self, Chooser, Chosen};
use super::{DebianPackage, Emulator, EmulatorError, Pins, probe, rules};
use crate::debian::{Deb, DebianError, Keyring, Mirror};
use crate::progress::Progress;
use crate::target::{Catalogue, Guest, Platform, Target};

/// The largest emulator that is unpacked, in bytes; Debian's are 10 to 20 MB.
const LIMIT: u64 = 256 << 20;

/// How emulators are fetched.
#[derive(Debug, Clone)]
pub struct FetchOptions<'a> {
    /// Where one is looked for first.
    pub find: Options<'a>,
    /// Debian's archive, or a folder of package files.
    pub mirror: &'a Mirror,
    /// The folder of dated archives, where a pinned file is looked for that the mirror no longer has.
    pub snapshots: Option<&'a Mirror>,
    /// The archive's keys, for what is not pinned.
    pub keyring: &'a Keyring,
    /// The package files to take them from.
    pub pins: &'a Pins,
    /// Pass the pins over, and take what the signed index names now.
    pub latest: bool,
    /// Take a package file that is not pinned out of a folder, with nothing to verify it by.
    pub unpinned: bool,
    /// The suite to take them from. With one given, the host's own programs are passed over.
    pub suite: Option<&'a str>,
    /// Fetch even where there is one.
    pub force: bool,
    /// Keep the package's file in the cache; other guests' emulators are in it too.
    pub keep_package: bool,
}

/// The emulator that runs `guest`'s programs on `host`: one that is there already (see [`find()`](find::find)), else
/// that of Debian's package, which is verified by its pin's digest, or from the archive's signature down, and
/// put into the cache.
///
/// # Errors
/// [`EmulatorError`]; then the cache is as it was.
pub fn fetch(
    guest: &Guest,
    host: &Platform,
    options: &FetchOptions<'_>,
    progress: &dyn Progress,
) -> Result<Emulator, EmulatorError> {
    let mut found = fetch_each(&[guest], host, options, progress)?;
    found.pop().ok_or_else(|| EmulatorError::NotFound {
        guest: guest.name.clone(),
        host: Box::new(host.clone()),
        rejected: Vec::new(),
    })
}

/// The same for several guests, in their order. A package that several are in is fetched and read once.
///
/// # Errors
/// [`EmulatorError`] for the first that is not to be had; those before it are in the cache.
pub fn fetch_each(
    guests: &[&Guest],
    host: &Platform,
    options: &FetchOptions<'_>,
    progress: &dyn Progress,
) -> Result<Vec<Emulator>, EmulatorError> {
    let target = find::host_target(host)?;
    if let Some(path) = &options.find.given {
        return guests.iter().map(|guest| find::given(guest, target, path, options.find.cache)).collect();
    }
    let cached = |guest: &Guest| match cache::find(options.find.cache, guest, target, options.suite) {
        // What has changed is fetched anew.
        Err(EmulatorError::Changed { .. } | EmulatorError::Description { .. }) => Ok(None),
        found => found,
    };
    let mut found: Vec<Option<Emulator>> = vec![None; guests.len()];
    if !options.force {
        let is_own = target.platform == Platform::host() && options.suite.is_none() && !options.latest;
        for (guest, found) in guests.iter().zip(&mut found) {
            *found = if options.latest { None } else { cached(guest)? };
            if found.is_none() && is_own {
                *found = find::on_host(guest, target, &options.find, &mut Vec::new())?;
            }
        }
    }
    if found.iter().all(Option::is_some) {
        return Ok(found.into_iter().flatten().collect());
    }
    let _shared = cache::share(options.find.cache, progress)?;
    let folder = cache::host_folder(options.find.cache, target);
    let _lock = cache::lock(&folder, progress)?;
    let chooser = Chooser::new(target, options, progress);
    // The guests of one package, and where they were asked for.
    let mut groups: Vec<(Chosen, Vec<(usize, &Guest)>)> = Vec::new();
    for (at, (guest, found)) in guests.iter().zip(&mut found).enumerate() {
        if found.is_none() && !options.force && !options.latest {
            // Another process may have fetched it while we waited.
            *found = cached(guest)?;
        }
        if found.is_some() {
            continue;
        }
        let chosen = chooser.choose(guest)?;
        if options.latest && !options.force {
            let is_same = |old: &Emulator| match &old.source {
                super::Source::Cache { package } => package.sha256 == chosen.package.sha256.to_string(),
                _ => false,
            };
            *found = cached(guest)?.filter(is_same);
            if found.is_some() {
                continue;
            }
        }
        match groups.iter_mut().find(|(known, _)| known.package.sha256 == chosen.package.sha256) {
            Some((_, of_it)) => of_it.push((at, guest)),
            None => groups.push((chosen, vec![(at, guest)])),
        }
    }
    let fetching = Fetching { target, options, progress, chooser: &chooser };
    for (chosen, of_it) in &groups {
        for (at, emulator) in fetching.take(&folder, chosen, of_it)? {
            if let Some(place) = found.get_mut(at) {
                *place = Some(emulator);
            }
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// The guests whose emulators `pins` have for `host`, of `suite` or of any, in QEMUs that run them there.
///
/// # Errors
/// [`EmulatorError::Host`] where the host is not known.
pub fn served(
    host: &Platform,
    suite: Option<&str>,
    pins: &Pins,
) -> Result<Vec<&'static Guest>, EmulatorError> {
    let target = find::host_target(host)?;
    let Some(debian) = &target.debian else { return Ok(Vec::new()) };
    let is_served = |guest: &&Guest| {
        pins.packages.iter().any(|pin| {
            pin.architecture == debian.architecture
                && suite.is_none_or(|suite| suite == pin.suite)
                && pin.guests.contains(&guest.name)
                && pin.package().is_some_and(|package| {
                    rules::judge(guest, target, &package::qemu_version(&package)).is_ok()
                })
        })
    };
    Ok(Catalogue::builtin().guests().iter().filter(is_served).collect())
}

/// Emulators being fetched for one host.
struct Fetching<'a> {
    target: &'static Target,
    options: &'a FetchOptions<'a>,
    progress: &'a dyn Progress,
    chooser: &'a Chooser<'a>,
}

/// An emulator on its way into the cache.
struct New<'a> {
    at: usize,
    guest: &'a Guest,
    folder: PathBuf,
    dir: TempDir,
    found: bool,
}

impl New<'_> {
    fn program(&self) -> PathBuf {
        self.dir.path().join(format!("qemu-{}", self.guest.name))
    }
}

impl Fetching<'_> {
    /// Fetches the package and takes the emulators of `guests` out of it, into the cache.
    fn take(
        &self,
        folder: &Path,
        chosen: &Chosen,
        guests: &[(usize, &Guest)],
    ) -> Result<Vec<(usize, Emulator)>, EmulatorError> {
        let Some((_, first)) = guests.first() else { return Ok(Vec::new()) };
        let kept = self.options.find.cache.join("debian/packages");
        let is_kept =
            self.options.keep_package || kept.join(format!("{}.deb", chosen.package.sha256)).exists();
        // What is not kept is in the folder that is locked, so that nobody else relies on it.
        let deb = self.chooser.obtain(first, chosen, if is_kept { &kept } else { folder })?;
        let emulators = self.unpack(&deb, chosen, first, guests);
        if !is_kept && chosen.at.is_none() {
            fs::remove_file(&deb).map_err(|source| EmulatorError::Write { path: deb, source })?;
        }
        emulators
    }

    /// Takes the emulators out of the package's file, in one pass over it.
    fn unpack(
        &self,
        deb: &Path,
        chosen: &Chosen,
        first: &Guest,
        guests: &[(usize, &Guest)],
    ) -> Result<Vec<(usize, Emulator)>, EmulatorError> {
        let mut new = Vec::new();
        for (at, guest) in guests {
            let folder = cache::folder(self.options.find.cache, guest, self.target);
            new.push(New { at: *at, guest, dir: cache::prepare(&folder)?, folder, found: false });
        }
        let label = match guests {
            [(_, guest)] => format!("unpacking `qemu-{}`", guest.name),
            _ => format!("unpacking {} emulators", guests.len()),
        };
        let task = self.progress.begin(&label, None);
        let mut last = new.first().map_or("", |new| new.guest.name.as_str()).to_owned();
        let visited = Deb::open(deb).and_then(|deb| {
            deb.visit(&mut |file| {
                let guest = package::guest_of(file.name());
                let Some(wanted) = new.iter_mut().find(|new| !new.found && Some(&*new.guest.name) == guest)
                else {
                    return Ok(ControlFlow::Continue(()));
                };
                last.clone_from(&wanted.guest.name);
                let path = wanted.program();
                let write = |source| DebianError::Write { path: path.clone(), source };
                let mut out =
                    File::options().write(true).create_new(true).mode(0o755).open(&path).map_err(write)?;
                task.advance(file.write_to(&mut out, LIMIT)?);
                // The mode of a new file is less what the user's mask takes away.
                out.set_permissions(fs::Permissions::from_mode(0o755)).map_err(write)?;
                wanted.found = true;
                let is_all = new.iter().all(|new| new.found);
                Ok(if is_all { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })
        });
        drop(task);
        if let Err(source) = visited {
            let guest = new.iter().find(|new| new.guest.name == last).map_or(first, |new| new.guest);
            return Err(self.chooser.failed(guest, source));
        }
        new.into_iter().map(|new| Ok((new.at, self.keep(deb, chosen, &new)?))).collect()
    }

    /// Judges an emulator that was taken out of a package, and puts it into its place.
    fn keep(&self, deb: &Path, chosen: &Chosen, new: &New<'_>) -> Result<Emulator, EmulatorError> {
        let Chosen { suite, package, .. } = chosen;
        let path = new.program();
        if !new.found {
            let name = &new.guest.name;
            let name = format!("usr/bin/qemu-{name}-static` or `usr/bin/qemu-{name}");
            return Err(self.chooser.failed(new.guest, DebianError::NoMember { path: deb.into(), name }));
        }
        let unfit = |unfit| EmulatorError::Unfit {
            path: path.clone(),
            host: Box::new(self.target.platform.clone()),
            unfit,
        };
        let read = |source| EmulatorError::Read { path: path.clone(), source };
        probe::check(&path, &self.target.elf).map_err(read)?.map_err(unfit)?;
        let told = if self.target.platform == Platform::host() { probe::told(&path) } else { None };
        let description = Description::new(
            new.guest,
            self.target,
            Some(told.map_or_else(|| package::qemu_version(package), |told| told.version)),
            probe::sha256(&path)?,
            DebianPackage {
                name: package.name.clone(),
                version: package.version.to_string(),
                architecture: package.architecture.clone(),
                suite: suite.clone(),
                sha256: package.sha256.to_string(),
            },
        );
        cache::keep(&new.folder, &new.dir, &description)
    }
}
