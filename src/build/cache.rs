//! What steps made, kept for the builds to come: see the room's own words on how it lies on the disk.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::BuildError;
use super::files::SKELETON;
use super::shared::{Shared, told};
use crate::layer::Digest;
use crate::sandbox::{FILES, Signals, WHOLE};

pub(super) const LOCK: &str = "lock";
const BLOB: &str = "blob";
pub(super) const RECORD: &str = "layer.json";
/// How often a lock that another process holds is tried, since waiting for it would keep a signal waiting too.
const AGAIN: Duration = Duration::from_millis(10);

/// The build cache.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    /// Where steps are looked for that are not here.
    from: Arc<[Shared]>,
    /// The steps of this build.
    used: Used,
}

/// Steps that a build has used, in their order.
type Used = Arc<Mutex<Vec<(Digest, Made)>>>;

/// Whose a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's: it is looked for, and brought, where steps are shared.
    Everybodys,
    /// This machine's alone.
    Own,
}

/// What is known of a layer once it is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The digest of its tar stream.
    pub diff_id: String,
    /// The digest of its blob.
    pub digest: String,
    /// The length of its blob in bytes.
    pub size: u64,
    /// A digest of the ids that its files belong to.
    #[serde(default)]
    pub ids: String,
}

impl Info {
    /// The digest of its tar stream.
    #[must_use]
    pub fn diff_id(&self) -> Digest {
        self.diff_id.parse().unwrap_or_else(|_| Digest::of(b""))
    }
}

/// What a step made, as the cache knows it by its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The layer's name; none where the step changed no files.
    pub layer: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created: u64,
}

/// A layer, which stays as long as this does.
#[derive(Debug)]
pub struct Layer {
    /// Its name.
    pub id: String,
    folder: PathBuf,
    /// Known once it is whole; `None` where it turned out to hold nothing.
    info: OnceLock<Option<Info>>,
    /// Held shared.
    _lock: File,
}

impl Layer {
    /// The folder in which a step's writes are kept.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is known of it, if it is whole and holds anything.
    #[must_use]
    pub fn info(&self) -> Option<&Info> {
        self.info.get()?.as_ref()
    }

    /// The same, once it is whole.
    #[must_use]
    pub fn waited(&self) -> Option<&Info> {
        self.info.wait().as_ref()
    }

    /// The layer as an image has it.
    #[must_use]
    pub fn blob(&self) -> PathBuf {
        self.folder.join(BLOB)
    }

    /// Its files for whoever has the ids `ids`: their folder, and whether it has all that is beneath too.
    #[must_use]
    pub fn files(&self, ids: &str) -> Option<(PathBuf, bool)> {
        if self.info().is_some_and(|info| info.ids != ids) {
            return None;
        }
        let (files, whole) = (self.folder.join(FILES), self.folder.join(WHOLE));
        if files.is_dir() {
            return Some((files, false));
        }
        whole.is_dir().then_some((whole, true))
    }

    /// Its folders alone, where 32-bit guests want them.
    #[must_use]
    pub fn skeleton(&self) -> Option<PathBuf> {
        Some(self.folder.join(SKELETON)).filter(|path| path.is_dir())
    }
}

/// What a step made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its layer; none where it changed no files.
    pub layer: Option<Arc<Layer>>,
    /// When, in seconds since 1970.
    pub created: u64,
}

/// Whether a step was made before.
#[derive(Debug)]
pub enum Found {
    /// It was.
    Hit(Made),
    /// It is this process's to make.
    Miss(Entrance),
}

/// The right to make the step of a key, which nobody else has meanwhile.
#[derive(Debug)]
pub struct Entrance {
    path: PathBuf,
    key: Digest,
    /// Where it is noted that it was used, if it is shared.
    used: Option<Used>,
    _lock: File,
}

impl Cache {
    /// That of the cache folder `cache`; what killed builds left of layers goes.
    ///
    /// # Errors
    /// [`BuildError::Cache`] where it cannot be written.
    pub fn open(cache: &Path) -> Result<Self, BuildError> {
        let folder = cache.join("build");
        for path in [folder.join("steps"), folder.join("layers"), folder.join("empty")] {
            fs::create_dir_all(&path).map_err(failed(&path))?;
        }
        let empty = folder.join("empty");
        fs::set_permissions(&empty, Permissions::from_mode(0o755)).map_err(failed(&empty))?;
        // Files of containers, with rights of their own, are not for other users of the machine.
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).map_err(failed(&folder))?;
        Ok(Self { folder, from: Arc::new([]), used: Used::default() })
    }

    /// The same, which takes steps from these places, too.
    #[must_use]
    pub fn with_shared(self, from: Vec<Shared>) -> Self {
        Self { from: from.into(), ..self }
    }

    /// What places of shared steps were given up, and why.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        self.from.iter().filter_map(Shared::failure).collect()
    }

    /// Brings the steps of this build to `place`; tells how many were not there before.
    ///
    /// # Errors
    /// What stood against it, in words.
    pub fn share(&self, place: &Shared) -> Result<usize, String> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut seen = std::collections::BTreeSet::new();
        let mut count = 0;
        for (key, made) in used.iter().filter(|(key, _)| seen.insert(*key)) {
            let stored = place.store(key, made.layer.as_deref(), made.created);
            count += usize::from(stored.map_err(|err| told(&err))?);
        }
        Ok(count)
    }

    fn used(&self, key: &Digest, made: &Made, whose: Whose) {
        if whose == Whose::Everybodys {
            self.used.lock().unwrap_or_else(PoisonError::into_inner).push((*key, made.clone()));
        }
    }

    /// A folder without files, which `FROM scratch` begins with.
    #[must_use]
    pub fn empty(&self) -> PathBuf {
        self.folder.join("empty")
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where folders of `RUN --mount=type=cache` are.
    #[must_use]
    pub fn mounts(&self) -> PathBuf {
        self.folder.join("mounts")
    }

    /// Removes what killed builds left. `remove` takes a tree away, whomever it belongs to.
    ///
    /// # Errors
    /// [`BuildError::Cache`].
    pub fn sweep(&self, remove: &dyn Fn(&Path)) -> Result<(), BuildError> {
        let layers = self.folder.join("layers");
        let gate = self.gate()?;
        let mut stale = Vec::new();
        for entry in fs::read_dir(&layers).map_err(failed(&layers))? {
            let path = entry.map_err(failed(&layers))?.path();
            if !path.is_dir() || path.join(RECORD).exists() {
                continue;
            }
            match File::open(path.join(LOCK)) {
                Ok(lock) if lock.try_lock().is_ok() => stale.push((path, Some(lock))),
                Err(err) if err.kind() == ErrorKind::NotFound => stale.push((path, None)),
                _ => {}
            }
        }
        drop(gate);
        for (path, _lock) in stale {
            remove(&path);
        }
        Ok(())
    }

    /// Between its making and the locking of its file a layer looks like a stale one.
    pub(super) fn gate(&self) -> Result<File, BuildError> {
        let path = self.folder.join(LOCK);
        let gate = File::options().create(true).truncate(false).write(true).open(&path);
        let gate = gate.map_err(failed(&path))?;
        gate.lock().map_err(failed(&path))?;
        Ok(gate)
    }

    fn step_path(&self, key: &Digest, extension: &str) -> PathBuf {
        self.folder.join("steps").join(format!("{}.{extension}", key.hex()))
    }

    /// What the step of `key` made, if it is there.
    ///
    /// # Errors
    /// [`BuildError::Cache`].
    pub fn find(&self, key: &Digest) -> Result<Option<Made>, BuildError> {
        let Ok(text) = fs::read(self.step_path(key, "json")) else { return Ok(None) };
        let Ok(record) = serde_json::from_slice::<Record>(&text) else { return Ok(None) };
        let Some(id) = &record.layer else { return Ok(Some(Made { layer: None, created: record.created })) };
        Ok(self.layer(id)?.map(|layer| Made { layer: Some(Arc::new(layer)), created: record.created }))
    }

    fn layer(&self, id: &str) -> Result<Option<Layer>, BuildError> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(None);
        }
        let folder = self.folder.join("layers").join(id);
        let Ok(lock) = File::open(folder.join(LOCK)) else { return Ok(None) };
        match lock.try_lock_shared() {
            Ok(()) => {}
            // It is being removed.
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(failed(&folder)(source)),
        }
        // What was used last is removed last.
        let _ = lock.set_modified(std::time::SystemTime::now());
        let Ok(text) = fs::read(folder.join(RECORD)) else { return Ok(None) };
        let Ok(info) = serde_json::from_slice::<Info>(&text) else { return Ok(None) };
        let is_whole = fs::metadata(folder.join(BLOB)).is_ok_and(|blob| blob.len() == info.size);
        if !is_whole || info.diff_id.parse::<Digest>().is_err() || info.digest.parse::<Digest>().is_err() {
            return Ok(None);
        }
        Ok(Some(Layer { id: id.to_owned(), folder, info: OnceLock::from(Some(info)), _lock: lock }))
    }

    /// What the step of `key` made, or the right to make it: another process that is about to is waited for. With `anew` it is made
    /// in any case.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn enter(
        &self,
        key: &Digest,
        anew: bool,
        whose: Whose,
        signals: &Signals,
    ) -> Result<Found, BuildError> {
        if !anew && let Some(made) = self.find(key)? {
            self.used(key, &made, whose);
            return Ok(Found::Hit(made));
        }
        let path = self.step_path(key, "lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(failed(&path))?;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(failed(&path)(source)),
                Err(TryLockError::WouldBlock) => {}
            }
            if let Some(signal) = signals.interrupted() {
                return Err(BuildError::Interrupted { signal });
            }
            std::thread::sleep(AGAIN);
        }
        if !anew && let Some(made) = self.find(key)? {
            self.used(key, &made, whose);
            return Ok(Found::Hit(made));
        }
        let path = self.step_path(key, "json");
        if !anew && whose == Whose::Everybodys {
            for place in self.from.iter() {
                let Some((record, layer)) = place.fetch(key, self)? else { continue };
                replace(&path, &record)?;
                let made = Made { layer: layer.map(Arc::new), created: record.created };
                self.used(key, &made, whose);
                return Ok(Found::Hit(made));
            }
        }
        let used = (whose == Whose::Everybodys).then(|| Arc::clone(&self.used));
        Ok(Found::Miss(Entrance { path, key: *key, used, _lock: lock }))
    }

    /// A new layer, of which nothing is there yet.
    ///
    /// # Errors
    /// [`BuildError::Cache`].
    pub fn begin(&self) -> Result<Layer, BuildError> {
        let layers = self.folder.join("layers");
        let gate = self.gate()?;
        let folder = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(16)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&layers)
            .map_err(failed(&layers))?
            .keep();
        let path = folder.join(LOCK);
        let lock = File::create(&path).map_err(failed(&path))?;
        lock.lock_shared().map_err(failed(&path))?;
        drop(gate);
        let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Layer { id, folder, info: OnceLock::new(), _lock: lock })
    }
}

impl Layer {
    /// Says that it is whole: with what is known of it, or without where it holds nothing.
    ///
    /// # Errors
    /// [`BuildError::Cache`].
    pub fn finish(&self, info: Option<Info>) -> Result<(), BuildError> {
        if let Some(info) = &info {
            replace(&self.folder.join(RECORD), info)?;
        }
        let _ = self.info.set(info);
        Ok(())
    }
}

impl Entrance {
    /// The same for a step that is this machine's alone.
    #[must_use]
    pub fn unshared(self) -> Self {
        Self { used: None, ..self }
    }

    /// Writes down what the step made.
    ///
    /// # Errors
    /// [`BuildError::Cache`].
    pub fn finish(self, made: Made) -> Result<(), BuildError> {
        let layer = made.layer.as_ref().map(|layer| layer.id.clone());
        replace(&self.path, &Record { layer, created: made.created })?;
        if let Some(used) = &self.used {
            used.lock().unwrap_or_else(PoisonError::into_inner).push((self.key, made));
        }
        Ok(())
    }
}

/// Writes JSON to a file, at once.
fn replace(path: &Path, value: &impl Serialize) -> Result<(), BuildError> {
    let text = serde_json::to_vec(value).map_err(|err| failed(path)(err.into()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder).map_err(failed(path))?;
    file.write_all(&text).map_err(failed(path))?;
    file.persist(path).map(drop).map_err(|err| failed(path)(err.error))
}

pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> BuildError + use<> {
    let path = path.to_owned();
    move |source| BuildError::Cache { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(size: u64) -> Info {
        let digest = Digest::of(b"x").to_string();
        Info { diff_id: digest.clone(), digest, size, ids: String::new() }
    }

    #[test]
    fn a_step_is_found_once_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let signals = Signals::catch().unwrap();
        let key = Digest::of(b"key");
        let Found::Miss(entrance) = cache.enter(&key, false, Whose::Own, &signals).unwrap() else { panic!() };
        let layer = Arc::new(cache.begin().unwrap());
        cache.sweep(&|path| panic!("{}", path.display())).unwrap();
        fs::write(layer.blob(), "abc").unwrap();
        layer.finish(Some(info(3))).unwrap();
        entrance.finish(Made { layer: Some(Arc::clone(&layer)), created: 7 }).unwrap();
        let Found::Hit(made) = cache.enter(&key, false, Whose::Own, &signals).unwrap() else { panic!() };
        assert_eq!((made.created, &made.layer.as_ref().unwrap().id), (7, &layer.id));
        let Found::Miss(_) = cache.enter(&key, true, Whose::Own, &signals).unwrap() else { panic!() };
        fs::write(layer.blob(), "ab").unwrap();
        assert!(cache.find(&key).unwrap().is_none(), "a blob of another length is none");
    }

    #[test]
    fn what_a_killed_build_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let (alive, dead) = (cache.begin().unwrap(), cache.begin().unwrap());
        let path = dead.folder().to_owned();
        drop(dead);
        cache.sweep(&|path| fs::remove_dir_all(path).unwrap()).unwrap();
        assert!(alive.folder().exists() && !path.exists());
    }
}
