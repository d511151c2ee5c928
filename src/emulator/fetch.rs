//! Fetching an emulator from Debian's archive.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::cache::{self, Description};
use super::find::{self, Options};
use super::{DebianPackage, Emulator, EmulatorError, probe, rules};
use crate::debian::{Deb, DebianError, Index, Keyring, Mirror, Package, Release};
use crate::progress::Progress;
use crate::target::{Guest, Platform, Target};

/// The packages that may hold static emulators: bookworm and older suites have them in the first, newer ones in
/// the second.
const PACKAGES: &[&str] = &["qemu-user-static", "qemu-user"];

/// The largest emulator that is unpacked, in bytes; Debian's are 10 to 20 MB.
const LIMIT: u64 = 256 << 20;

/// How an emulator is fetched.
#[derive(Debug, Clone)]
pub struct FetchOptions<'a> {
    /// Where one is looked for first.
    pub find: Options<'a>,
    /// Debian's archive.
    pub mirror: &'a Mirror,
    /// Its keys.
    pub keyring: &'a Keyring,
    /// The suite to take it from. With one given, the host's own programs are passed over.
    pub suite: Option<&'a str>,
    /// Fetch even where there is one.
    pub force: bool,
    /// Keep the package's file in the cache; another guest's emulator is in it too.
    pub keep_package: bool,
}

/// The emulator that runs `guest`'s programs on `host`: one that is there already (see [`find()`](find::find)),
/// else that of Debian's package, verified from the archive's signature down and put into the cache.
///
/// # Errors
/// [`EmulatorError`]; then the cache is as it was.
pub fn fetch(
    guest: &Guest,
    host: &Platform,
    options: &FetchOptions<'_>,
    progress: &dyn Progress,
) -> Result<Emulator, EmulatorError> {
    let target = find::host_target(host)?;
    if let Some(path) = &options.find.given {
        return find::given(guest, target, path);
    }
    let cached = || match cache::find(options.find.cache, guest, target, options.suite) {
        // What has changed is fetched anew.
        Err(EmulatorError::Changed { .. } | EmulatorError::Description { .. }) => Ok(None),
        found => found,
    };
    if !options.force {
        if let Some(cached) = cached()? {
            return Ok(cached);
        }
        let is_own = target.platform == Platform::host() && options.suite.is_none();
        if is_own && let Some(own) = find::on_host(guest, target, options.find.search, &mut Vec::new())? {
            return Ok(own);
        }
    }
    let folder = cache::folder(options.find.cache, guest, target);
    let _lock = cache::lock(&folder, progress)?;
    if !options.force
        && let Some(cached) = cached()?
    {
        return Ok(cached);
    }
    let fetching = Fetching { guest, target, options, progress };
    let (index, package) = fetching.choose()?;
    fetching.take(&folder, &index, &package)
}

/// One emulator being fetched.
struct Fetching<'a> {
    guest: &'a Guest,
    target: &'static Target,
    options: &'a FetchOptions<'a>,
    progress: &'a dyn Progress,
}

impl Fetching<'_> {
    /// The package to take it from: that of the first suite that has one that can serve.
    fn choose(&self) -> Result<(Index, Package), EmulatorError> {
        let debian = self.target.debian.as_ref();
        let suites = match (self.options.suite, debian) {
            (Some(suite), _) => vec![suite],
            (None, Some(debian)) => rules::suites(&debian.suites),
            (None, None) => Vec::new(),
        };
        let mut first = None;
        for suite in suites {
            match self.candidate(suite) {
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
        Err(first.unwrap_or_else(|| EmulatorError::NoSuite { host: Box::new(self.target.platform.clone()) }))
    }

    /// The package that `suite` has, if its QEMU can serve.
    fn candidate(&self, suite: &str) -> Result<(Index, Package), EmulatorError> {
        let architecture = match &self.target.debian {
            Some(debian) => &debian.architecture,
            None => return Err(EmulatorError::NoSuite { host: Box::new(self.target.platform.clone()) }),
        };
        let indexes = self.options.find.cache.join("debian/indexes");
        let package = || {
            let release = Release::fetch(self.options.mirror, suite, self.options.keyring)?;
            let index = release.index(self.options.mirror, "main", architecture, &indexes, self.progress)?;
            let mut found: Vec<Package> = index.find_each(PACKAGES)?.into_iter().flatten().collect();
            // The one with static programs depends on nothing; beside it there is one with dynamic programs, or an
            // empty one that leads to it from an older name.
            let is_static = |package: &Package| package.field("Depends").is_none();
            let at = found.iter().position(is_static).ok_or_else(|| index.none("qemu-user"))?;
            let package = found.swap_remove(at);
            Ok((index, package))
        };
        let (index, package) = package().map_err(|source| self.failed(source))?;
        let version = qemu_version(&package);
        rules::judge(self.guest, self.target, &version).map_err(|refusal| EmulatorError::Refused {
            guest: self.guest.name.clone(),
            host: Box::new(self.target.platform.clone()),
            suite: suite.into(),
            version,
            refusal,
        })?;
        Ok((index, package))
    }

    /// Fetches the package and takes the emulator out of it, into the cache.
    fn take(&self, folder: &Path, index: &Index, package: &Package) -> Result<Emulator, EmulatorError> {
        let kept = self.options.find.cache.join("debian/packages");
        let is_kept = self.options.keep_package || kept.join(format!("{}.deb", package.sha256)).exists();
        // What is not kept is in the folder that is locked, so that nobody else relies on it.
        let packages = if is_kept { &kept } else { folder };
        let mirror = self.options.mirror;
        let deb = mirror.fetch(package, packages, self.progress).map_err(|source| self.failed(source))?;
        let emulator = self.unpack(folder, &deb, index, package);
        if !is_kept {
            fs::remove_file(&deb).map_err(|source| EmulatorError::Write { path: deb, source })?;
        }
        emulator
    }

    /// Takes the emulator out of the package's file, and into the cache.
    fn unpack(
        &self,
        folder: &Path,
        deb: &Path,
        index: &Index,
        package: &Package,
    ) -> Result<Emulator, EmulatorError> {
        let new = cache::prepare(folder)?;
        let path = new.path().join(format!("qemu-{}", self.guest.name));
        self.extract(deb, &path)?;
        let unfit = |unfit| EmulatorError::Unfit {
            path: path.clone(),
            host: Box::new(self.target.platform.clone()),
            unfit,
        };
        let read = |source| EmulatorError::Read { path: path.clone(), source };
        probe::check(&path, &self.target.elf).map_err(read)?.map_err(unfit)?;
        let told = if self.target.platform == Platform::host() { probe::told(&path) } else { None };
        let description = Description::new(
            self.guest,
            self.target,
            Some(told.map_or_else(|| qemu_version(package), |told| told.version)),
            probe::sha256(&path)?,
            DebianPackage {
                name: package.name.clone(),
                version: package.version.to_string(),
                architecture: package.architecture.clone(),
                suite: index.suite().into(),
                sha256: package.sha256.to_string(),
            },
        );
        cache::keep(folder, &new, &description)
    }

    /// Writes the program for the guest, under whichever name the package has it.
    fn extract(&self, deb: &Path, path: &PathBuf) -> Result<(), EmulatorError> {
        let guest = &self.guest.name;
        let task = self.progress.begin(&format!("unpacking `qemu-{guest}`"), None);
        let write = |source| EmulatorError::Write { path: path.clone(), source };
        let mut out = File::options().write(true).create_new(true).mode(0o755).open(path).map_err(write)?;
        let open = Deb::open(deb).map_err(|source| self.failed(source))?;
        let names = [format!("usr/bin/qemu-{guest}-static"), format!("usr/bin/qemu-{guest}")];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_, size) = open.extract_first(&names, &mut out, LIMIT).map_err(|source| self.failed(source))?;
        task.advance(size);
        // The mode of a new file is less what the user's mask takes away.
        out.set_permissions(fs::Permissions::from_mode(0o755)).map_err(write)
    }

    fn failed(&self, source: DebianError) -> EmulatorError {
        EmulatorError::Debian {
            guest: self.guest.name.clone(),
            host: Box::new(self.target.platform.clone()),
            source: Box::new(source),
        }
    }
}

/// Whether a failure, before the package's file is fetched, says something of one suite only, so that the next
/// may do. A mirror that is being updated can have the indexes of some suites and not those of others.
fn is_of_this_suite(err: &EmulatorError) -> bool {
    match err {
        EmulatorError::Refused { .. } => true,
        EmulatorError::Debian { source, .. } => matches!(
            **source,
            DebianError::NoSuite { .. }
                | DebianError::NoIndex { .. }
                | DebianError::NoPackage { .. }
                | DebianError::Status { status: 404, .. }
                | DebianError::Size { .. }
                | DebianError::Digest { .. }
        ),
        _ => false,
    }
}

/// QEMU's version by the package's: `7.2` of `1:7.2+dfsg-7+deb12u18`.
fn qemu_version(package: &Package) -> String {
    let upstream = package.version.upstream();
    let end = upstream.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(upstream.len());
    upstream[..end].trim_end_matches('.').to_owned()
}
