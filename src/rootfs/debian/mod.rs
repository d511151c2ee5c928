//! Roots of Debian packages: chosen from a signed archive, unpacked here, configured in the sandbox by their own scripts.

mod configure;
mod database;
mod lock;
mod member;
mod script;
mod stream;

pub use lock::{Lock, Locked};

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::SystemTime;

use self::member::Member;
use self::stream::{Layer, written};
use super::names::Names;
use super::{Archive, Kept, Made, Recipe, RootfsError, Variant};
use crate::debian::{
    DebianError, Index, Keyring, Mirror, Package, Release, SourceFile, SourceIndex, Wanted, solve, timestamp,
};
use crate::layer::Digest;
use crate::progress::Progress;
use crate::sandbox::{
    Emulation, Folder, Ids, SandboxError, Shortage, Signals, pack_tree, remove_trees, unpack_tree,
};
use crate::target::Target;

/// Changes with everything that makes other roots of the same packages.
const FORMAT: u32 = 1;

/// What of the recipe, and of this program, decides over the roots that it makes of the same packages.
pub(super) fn form(recipe: &super::Recipe) -> String {
    format!("{FORMAT} {}", serde_json::to_string(&recipe.debian).unwrap_or_default())
}

/// How many package files are fetched at once.
const TRANSFERS: usize = 6;

/// Where apt in the root gets its packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sources {
    /// From the mirror that the root's own came from.
    Mirror,
    /// From this one.
    Other(String),
    /// From nowhere.
    None,
}

/// What is to be made.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The recipe, of the kind `debian`.
    pub recipe: &'a Recipe,
    /// The machine that it is for.
    pub target: &'a Target,
    /// The suite, in place of the recipe's.
    pub suite: Option<&'a str>,
    /// The variant, in place of the recipe's.
    pub variant: Option<&'a str>,
    /// Packages beside those of the variant.
    pub include: &'a [String],
    /// Components, in place of the recipe's where there are any.
    pub components: &'a [String],
    /// The archive.
    pub mirror: &'a Mirror,
    /// The folder of dated archives, where a package's file is looked for that the mirror no longer has.
    pub snapshots: Option<&'a Mirror>,
    /// The archive's keys.
    pub keyring: &'a Keyring,
    /// The lock file, which is obeyed where it is there and written where it is not.
    pub lock: Option<&'a Path>,
    /// What apt in the root is told.
    pub sources: Sources,
    /// The latest time of a file, in seconds since 1970; that of the suite's signed list where there is none.
    pub time: Option<u64>,
    /// Make it even where the cache has it.
    pub anew: bool,
    /// A static qemu-user program for the packages' scripts; one is found otherwise.
    pub emulator: Option<PathBuf>,
    /// Where emulators of the host are.
    pub search: &'a [PathBuf],
    /// How foreign programs reach it.
    pub emulation: Option<Emulation>,
    /// The program's cache folder.
    pub cache: &'a Path,
}

/// Makes the root, or finds it in the cache. The caller's program is started anew for that, so its `main` must call
/// [`crate::sandbox::enter`] before all else.
///
/// # Errors
/// [`RootfsError`]; then nothing is left but package files in the cache.
pub fn build(request: &Request<'_>, signals: &Signals, progress: &dyn Progress) -> Result<Made, RootfsError> {
    let lock = choose(request, progress)?;
    let made = build_of(request, &lock, signals, progress)?;
    if let Some(path) = request.lock
        && !path.exists()
    {
        lock.write(path)?;
    }
    Ok(made)
}

/// The packages that the root is to be made of.
///
/// # Errors
/// [`RootfsError`].
pub fn choose(request: &Request<'_>, progress: &dyn Progress) -> Result<Lock, RootfsError> {
    Plan::of(request)?.lock(request, progress)
}

/// [`build`] of packages that were chosen.
///
/// # Errors
/// As [`build`].
pub fn build_of(
    request: &Request<'_>,
    lock: &Lock,
    signals: &Signals,
    progress: &dyn Progress,
) -> Result<Made, RootfsError> {
    let plan = Plan::of(request)?;
    let time = request.time.unwrap_or(lock.date);
    let sources = plan.sources(request, lock);
    let key = plan.key(request, lock, time, sources.as_deref());
    let kept = if request.anew { None } else { Kept::find(request.cache, &key) };
    let is_old = kept.is_some();
    let kept = match kept {
        Some(kept) => kept,
        None => plan.make(request, lock, &key, time, sources.as_deref(), signals, progress)?,
    };
    Ok(Made {
        kept,
        is_old,
        platform: request.target.platform.clone(),
        config: request.recipe.config.clone(),
        labels: labels(lock),
        time,
    })
}

/// What a root says of its making.
fn labels(lock: &Lock) -> BTreeMap<String, String> {
    let digest = Digest::of(lock.text().as_bytes()).to_string();
    [
        ("recipe", lock.recipe.clone()),
        ("suite", lock.suite.clone()),
        ("architecture", lock.architecture.clone()),
        ("variant", lock.variant.clone()),
        ("include", lock.include.join(",")),
        ("date", timestamp(lock.time())),
        ("packages", lock.packages.len().to_string()),
        ("lock", digest),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (format!("io.polyarch.rootfs.{name}"), value))
    .collect()
}

/// What was asked for, with the recipe's own words where nothing else was said.
struct Plan<'a> {
    archive: &'a Archive,
    variant: &'a Variant,
    variant_name: &'a str,
    architecture: &'a str,
    suite: &'a str,
    components: &'a [String],
    include: Vec<String>,
}

impl<'a> Plan<'a> {
    fn of(request: &Request<'a>) -> Result<Self, RootfsError> {
        let none = |reason: &str| RootfsError::NoTarget {
            recipe: request.recipe.name.clone(),
            target: request.target.name.clone(),
            reason: reason.into(),
        };
        let archive = request.recipe.debian.as_ref().ok_or_else(|| none("it is of another kind"))?;
        let variant_name = request.variant.unwrap_or(&archive.variant);
        let variant = archive.variants.get(variant_name).ok_or_else(|| RootfsError::NoVariant {
            recipe: request.recipe.name.clone(),
            variant: variant_name.into(),
            has: archive.variants.keys().cloned().collect(),
        })?;
        let debian = request.target.debian.as_ref().ok_or_else(|| none("Debian has no name for it"))?;
        let suite = request.suite.or_else(|| archive.suite_for(request.target)).ok_or_else(|| {
            none("no suite of it has the architecture; name one with `--suite`, and its `--mirror`")
        })?;
        let mut include = request.include.to_vec();
        include.sort();
        include.dedup();
        let is_name = |name: &String| {
            name.len() > 1
                && name.starts_with(|first: char| first.is_ascii_alphanumeric())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
        };
        if let Some(wrong) = include.iter().find(|name| !is_name(name)) {
            return Err(RootfsError::PackageName { name: wrong.clone() });
        }
        let components = if request.components.is_empty() { &archive.components } else { request.components };
        Ok(Self {
            archive,
            variant,
            variant_name,
            architecture: &debian.architecture,
            suite,
            components,
            include,
        })
    }

    /// The packages: those of the lock file, else those that the archive has now.
    fn lock(&self, request: &Request<'_>, progress: &dyn Progress) -> Result<Lock, RootfsError> {
        let mut lock = Lock::new(&request.recipe.name, self.suite, self.architecture, self.variant_name);
        lock.components = self.components.to_vec();
        lock.include.clone_from(&self.include);
        if let Some(path) = request.lock
            && let Some(found) = Lock::read(path)?
        {
            // What was not asked for is as the file has it.
            let mut wanted = lock;
            if request.suite.is_none() {
                wanted.suite.clone_from(&found.suite);
            }
            if request.variant.is_none() {
                wanted.variant.clone_from(&found.variant);
            }
            if request.components.is_empty() {
                wanted.components.clone_from(&found.components);
            }
            if request.include.is_empty() {
                wanted.include.clone_from(&found.include);
            }
            return match found.differs(&wanted) {
                Some(reason) => Err(RootfsError::Lock { path: path.into(), reason }),
                None => Ok(found),
            };
        }
        let choose = |source| RootfsError::Choose {
            suite: self.suite.into(),
            architecture: self.architecture.into(),
            source: Box::new(source),
        };
        let (release, indexes) = self.indexes(request, progress).map_err(choose)?;
        progress.note(&format!("`{}` is signed by {}", self.suite, release.signers.join(", ")));
        let mut names = self.include.clone();
        names.extend(self.variant.include.iter().cloned());
        let wanted = Wanted {
            names: &names,
            essential: true,
            required: self.variant.required,
            preferred: &self.archive.prefer,
        };
        let solution = solve(&indexes, wanted).map_err(choose)?;
        let since = release.date.duration_since(SystemTime::UNIX_EPOCH);
        lock.date = since.map_or(0, |since| since.as_secs());
        let locked = |package: &Package| Locked::of(package, solution.automatic.contains(&package.name));
        lock.packages = solution.packages.iter().map(locked).collect();
        Ok(lock)
    }

    fn indexes(
        &self,
        request: &Request<'_>,
        progress: &dyn Progress,
    ) -> Result<(Release, Vec<Index>), DebianError> {
        let folder = request.cache.join("debian/indexes");
        listed(request, self.suite, |release| {
            let index = |component: &String| {
                release.index(request.mirror, component, self.architecture, &folder, progress)
            };
            self.components.iter().map(index).collect()
        })
    }

    /// The line that apt in the root gets, if any.
    fn sources(&self, request: &Request<'_>, lock: &Lock) -> Option<String> {
        let address = match &request.sources {
            Sources::None => return None,
            Sources::Other(address) => address.clone(),
            // A folder of this machine is nothing to an image, and a password nothing for it.
            Sources::Mirror => request.mirror.address(),
        };
        let is_public =
            address.contains("://") && !address.split('/').nth(2).is_some_and(|host| host.contains('@'));
        let suite = &lock.suite;
        is_public
            .then(|| format!("deb {} {suite} {}\n", address.trim_end_matches('/'), self.components.join(" ")))
    }

    /// A digest of all that decides over the root's content.
    fn key(&self, request: &Request<'_>, lock: &Lock, time: u64, sources: Option<&str>) -> Digest {
        let archive = serde_json::to_string(self.archive).unwrap_or_default();
        let text = format!(
            "polyarch rootfs debian {FORMAT}\n{}\n{}\n{archive}\n{time}\n{sources:?}\n{}",
            env!("CARGO_PKG_VERSION"),
            request.target.name,
            lock.text()
        );
        Digest::of(text.as_bytes())
    }

    #[expect(clippy::too_many_arguments, reason = "one call, of the one function that has found all of it")]
    fn make(
        &self,
        request: &Request<'_>,
        lock: &Lock,
        key: &Digest,
        time: u64,
        sources: Option<&str>,
        signals: &Signals,
        progress: &dyn Progress,
    ) -> Result<Kept, RootfsError> {
        let (ids, shortage) = Ids::of_caller();
        let no_ids = |shortage: &Shortage| RootfsError::Ids { reason: shortage.0.clone() };
        if ids.is_single() {
            return Err(no_ids(&shortage.unwrap_or(Shortage("no reason was told".into()))));
        }
        let runner = configure::Runner::new(request)?;
        let files = fetch(request, lock, progress)?;
        let mut members = Vec::new();
        for (locked, file) in lock.packages.iter().zip(&files) {
            if let Some(package) = locked.package() {
                members.push(Member::open(&package, file)?);
            }
        }
        // What all others stand on comes first, and decides what folders are like.
        let first = &self.archive.first;
        let rank = |member: &Member| match member.name.as_str() {
            "base-files" => 0,
            name => 1 + first.iter().position(|known| known == name).unwrap_or(first.len()),
        };
        members.sort_by_cached_key(|member| (rank(member), member.name.clone()));

        let folder = Folder::new(&request.cache.join("run"))
            .map_err(|source| RootfsError::Unpack { source: Box::new(source) })?;
        let tree = folder.path().join("tree");
        let failed = |source| RootfsError::File { doing: "writing", path: tree.clone(), source };
        std::fs::create_dir(&tree).map_err(failed)?;
        let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(&tree, open).map_err(failed)?;
        let names = self.unpack(&mut members, lock, &tree, time, sources, &ids, signals, progress).map_err(
            |err| match &err {
                RootfsError::Unpack { source } => match source.as_ref() {
                    SandboxError::IdsRefused { shortage } => no_ids(shortage),
                    _ => err,
                },
                _ => err,
            },
        )?;
        let folder = runner.run(request, folder, &tree, &members, &names, &ids, signals, progress)?;
        let task = progress.begin("packing the root file system", None);
        let kept = Kept::keep(request.cache, key, |out| {
            pack_tree(&tree, &ids, time, out, signals)
                .map_err(|source| RootfsError::Pack { source: Box::new(source) })
        })?;
        drop(task);
        // The tree goes with its folder; quicker here than when the next run finds it.
        let _ = remove_trees(&[tree], &ids);
        drop(folder);
        Ok(kept)
    }

    /// Puts the files of all packages and dpkg's database into the folder `tree`.
    #[expect(clippy::too_many_arguments, reason = "one call, of the one function that has found all of it")]
    fn unpack(
        &self,
        members: &mut [Member],
        lock: &Lock,
        tree: &Path,
        time: u64,
        sources: Option<&str>,
        ids: &Ids,
        signals: &Signals,
        progress: &dyn Progress,
    ) -> Result<Names, RootfsError> {
        let failed = |source| RootfsError::File { doing: "writing", path: tree.into(), source };
        let task = progress.begin(&format!("unpacking {} packages", members.len()), None);
        let (mut reader, writer) = io::pipe().map_err(failed)?;
        thread::scope(|scope| {
            let making = scope.spawn(move || {
                let mut layer = Layer::new(io::BufWriter::with_capacity(1 << 18, writer), time);
                let names = stream::write(members, &mut layer, &*task)?;
                database::write(members, &mut layer).map_err(written)?;
                self.extras(members, lock, &names, sources, time, &mut layer).map_err(written)?;
                layer.finish().map_err(written)?;
                Ok(names)
            });
            let unpacked = unpack_tree(tree, ids, &mut reader, signals);
            // Whoever still writes hears that nobody reads.
            drop(reader);
            let made = making.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (made, unpacked) {
                // It could not be written because it was not taken.
                (Err(RootfsError::File { .. }) | Ok(_), Err(source)) => {
                    Err(RootfsError::Unpack { source: Box::new(source) })
                }
                (made, _) => made,
            }
        })
    }

    /// What is in no package.
    fn extras<W: io::Write>(
        &self,
        members: &[Member],
        lock: &Lock,
        names: &Names,
        sources: Option<&str>,
        time: u64,
        layer: &mut Layer<W>,
    ) -> io::Result<()> {
        if names.has("etc/apt") {
            if let Some(sources) = sources {
                layer.file("etc/apt/sources.list", 0o644, sources.as_bytes())?;
            }
            let mut states = Vec::new();
            for package in lock.packages.iter().filter(|package| package.automatic) {
                writeln!(
                    states,
                    "Package: {}\nArchitecture: {}\nAuto-Installed: 1\n",
                    package.name, self.architecture
                )?;
            }
            layer.file("var/lib/apt/extended_states", 0o644, &states)?;
        }
        layer.folder(script::FOLDER, 0o755)?;
        let script = script::script(members, self.archive, time);
        layer.file(&format!("{}/script", script::FOLDER), 0o755, script.as_bytes())?;
        // Nothing that is installed is started (Debian's `invoke-rc.d`).
        layer.file(configure::POLICY, 0o755, b"#!/bin/sh\nexit 101\n")
    }
}

/// The suite's signed list and what `take` takes by it: by the suite's other name where the two do not go together, as on a mirror that is being
/// updated, or behind a cache.
fn listed<T>(
    request: &Request<'_>,
    suite: &str,
    take: impl Fn(&Release) -> Result<T, DebianError>,
) -> Result<(Release, T), DebianError> {
    let release = Release::fetch(request.mirror, suite, request.keyring)?;
    match take(&release) {
        Ok(taken) => Ok((release, taken)),
        Err(err @ (DebianError::Size { .. } | DebianError::Digest { .. } | DebianError::Status { .. })) => {
            let other = if release.suite == suite { &release.codename } else { &release.suite };
            let Ok(other) = Release::fetch(request.mirror, other, request.keyring) else {
                return Err(err);
            };
            // It is to be the same suite, whatever a mirror has under that name.
            match take(&other) {
                Ok(taken) if other.codename == release.codename => Ok((other, taken)),
                _ => Err(err),
            }
        }
        Err(err) => Err(err),
    }
}

/// The index of the source packages of `suite`.
pub(super) fn source_index(
    request: &Request<'_>,
    suite: &str,
    progress: &dyn Progress,
) -> Result<SourceIndex, DebianError> {
    let folder = request.cache.join("debian/indexes");
    listed(request, suite, |release| release.sources(request.mirror, "main", &folder, progress))
        .map(|(_, index)| index)
}

/// A file of a source package, in `folder`; from the dated archive where the mirror has it no more.
pub(super) fn fetch_source(
    request: &Request<'_>,
    file: &SourceFile,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf, DebianError> {
    match (request.mirror.fetch_source(file, folder, progress), request.snapshots) {
        (Err(err), Some(snapshots)) if err.is_missing() => {
            let now = snapshots.beneath(&timestamp(SystemTime::now()));
            now.fetch_source(file, folder, progress).map_err(|_| err)
        }
        (result, _) => result,
    }
}

/// The files of all packages, several fetched at once, in the lock's order.
fn fetch(request: &Request<'_>, lock: &Lock, progress: &dyn Progress) -> Result<Vec<PathBuf>, RootfsError> {
    let folder = request.cache.join("debian/packages");
    let total = lock.packages.iter().map(|package| package.size).sum();
    let task = progress.begin(&format!("fetching {} packages", lock.packages.len()), Some(total));
    let task = Mutex::new(task);
    let found: Vec<Mutex<Option<PathBuf>>> = lock.packages.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<RootfsError>> = Mutex::new(None);
    // A day on, the dated archive has seen the suite as it was.
    let dated =
        request.snapshots.map(|snapshots| snapshots.beneath(&timestamp(lock.time() + UNTIL_SNAPSHOT)));
    thread::scope(|scope| {
        for _ in 0..TRANSFERS.min(lock.packages.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((locked, place)) = lock.packages.get(at).zip(found.get(at)) else { return };
                    if failure.lock().is_ok_and(|failure| failure.is_some()) {
                        return;
                    }
                    let file = fetch_one(locked, request.mirror, dated.as_ref(), &folder);
                    if let Ok(task) = task.lock() {
                        task.advance(locked.size);
                    }
                    match file {
                        Ok(file) => drop(place.lock().map(|mut place| *place = Some(file))),
                        Err(source) => {
                            let package = locked.name.clone();
                            let err = RootfsError::Fetch { package, source: Box::new(source) };
                            drop(failure.lock().map(|mut failure| failure.get_or_insert(err).hint()));
                        }
                    }
                }
            });
        }
    });
    if let Some(err) = failure.into_inner().ok().flatten() {
        return Err(err);
    }
    Ok(found.into_iter().filter_map(|place| place.into_inner().ok().flatten()).collect())
}

/// The dated archive looks at Debian's four times a day.
const UNTIL_SNAPSHOT: std::time::Duration = std::time::Duration::from_hours(6);

fn fetch_one(
    locked: &Locked,
    mirror: &Mirror,
    dated: Option<&Mirror>,
    folder: &Path,
) -> Result<PathBuf, DebianError> {
    let wrong = || DebianError::FileName { package: locked.name.clone(), file_name: locked.file.clone() };
    let package = locked.package().ok_or_else(wrong)?;
    match (mirror.fetch(&package, folder, &crate::progress::Silent), dated) {
        (Err(err), Some(dated)) if err.is_missing() => {
            // That the dated archive has it neither is less than that the mirror has it no more.
            dated.fetch(&package, folder, &crate::progress::Silent).map_err(|_| err)
        }
        (result, _) => result,
    }
}
