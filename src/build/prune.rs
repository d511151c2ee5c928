//! Removing what the cache keeps.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::cache::{LOCK, RECORD, Record, failed};
use super::{BuildError, Cache};

/// What is to be removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruning {
    /// Only what was not used for so long.
    pub older_than: Option<Duration>,
    /// Only as much as is over so many bytes, what was not used for the longest time first.
    pub keep: Option<u64>,
    /// Folders of `RUN --mount=type=cache`, too.
    pub mounts: bool,
    /// Nothing is removed.
    pub dry_run: bool,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Layers.
    pub layers: u64,
    /// Steps whose result is not known any more.
    pub steps: u64,
    /// Folders of `RUN --mount=type=cache`.
    pub mounts: u64,
    /// Bytes on the disk, of all together; files that only a container's users may see do not count.
    pub size: u64,
    /// What is used by a build, and stays.
    pub in_use: u64,
    /// Bytes of layers and folders that stay.
    pub kept: u64,
}

/// A folder of the cache.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    lock: PathBuf,
    used: SystemTime,
    size: u64,
}

impl Cache {
    /// Removes what `pruning` says and no build uses. `remove` takes a tree away, whomever its files belong to.
    ///
    /// # Errors
    /// [`BuildError::Cache`].
    pub fn prune(&self, pruning: &Pruning, remove: &dyn Fn(&Path)) -> Result<Removed, BuildError> {
        let mut removed = Removed::default();
        let layers = self.folder().join("layers");
        let mut all = Vec::new();
        for path in folders(&layers)? {
            all.push(Kept::new(path.join(LOCK), path));
        }
        let count = self.some(all, pruning, remove, &mut removed)?;
        removed.layers = count;
        if pruning.mounts {
            let mut all = Vec::new();
            for path in folders(&self.mounts())? {
                all.push(Kept::new(path.with_extension("lock"), path));
            }
            removed.mounts = self.some(all, pruning, remove, &mut removed)?;
        }
        if !pruning.dry_run {
            removed.steps = self.steps(pruning)?;
        }
        Ok(removed)
    }

    fn some(
        &self,
        mut all: Vec<Kept>,
        pruning: &Pruning,
        remove: &dyn Fn(&Path),
        removed: &mut Removed,
    ) -> Result<u64, BuildError> {
        let now = SystemTime::now();
        // What was used last is kept first.
        all.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.path.cmp(&b.path)));
        let (mut count, mut total) = (0, 0_u64);
        for one in all {
            total = total.saturating_add(one.size);
            let is_old =
                pruning.older_than.is_none_or(|age| now.duration_since(one.used).is_ok_and(|it| it >= age));
            let is_over = pruning.keep.is_none_or(|keep| total > keep);
            if !(is_old && is_over) {
                removed.kept += one.size;
                continue;
            }
            // Whoever begins to use it waits at the gate, or finds it locked.
            let gate = self.gate()?;
            let lock = File::options().read(true).write(true).open(&one.lock);
            let is_free = match &lock {
                Ok(lock) => lock.try_lock().is_ok(),
                Err(err) => err.kind() == ErrorKind::NotFound,
            };
            drop(gate);
            if !is_free {
                removed.in_use += 1;
                removed.kept += one.size;
                continue;
            }
            if !pruning.dry_run {
                // Without it a layer is none, should only a part of it be gone in the end.
                let _ = fs::remove_file(one.path.join(RECORD));
                remove(&one.path);
            }
            removed.size += one.size;
            count += 1;
        }
        Ok(count)
    }

    /// Forgets steps whose layer is gone, and those of none that are old enough.
    fn steps(&self, pruning: &Pruning) -> Result<u64, BuildError> {
        let folder = self.folder().join("steps");
        let mut count = 0;
        for entry in fs::read_dir(&folder).map_err(failed(&folder))? {
            let entry = entry.map_err(failed(&folder))?;
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let record = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok());
            let is_stale = if let Some(id) = record.and_then(|record| record.layer) {
                !self.folder().join("layers").join(id).join(LOCK).exists()
            } else {
                let used = entry.metadata().and_then(|meta| meta.modified()).ok();
                let age = used.and_then(|used| SystemTime::now().duration_since(used).ok());
                let age = age.unwrap_or_default();
                pruning.keep.is_none() && pruning.older_than.is_none_or(|limit| age >= limit)
            };
            let lock = path.with_extension("lock");
            let held = File::options().write(true).open(&lock).ok();
            if is_stale && held.as_ref().is_none_or(|lock| lock.try_lock().is_ok()) {
                let gone = |path: &Path| match fs::remove_file(path) {
                    Err(err) if err.kind() != ErrorKind::NotFound => Err(failed(path)(err)),
                    _ => Ok(()),
                };
                gone(&path)?;
                gone(&lock)?;
                count += 1;
            }
        }
        Ok(count)
    }
}

impl Kept {
    fn new(lock: PathBuf, path: PathBuf) -> Self {
        let used = fs::metadata(&lock).or_else(|_| fs::metadata(&path)).and_then(|meta| meta.modified());
        let size = size(&path, 0);
        Self { path, lock, used: used.unwrap_or(SystemTime::UNIX_EPOCH), size }
    }
}

/// The folders in `parent`, which may not be there.
fn folders(parent: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let entries = match fs::read_dir(parent) {
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed(parent))?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed(parent))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// How many bytes of the disk a tree takes, as far as we may see it.
fn size(path: &Path, depth: usize) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    let names = if meta.is_dir() { 1 } else { meta.nlink().max(1) };
    let (own, is_folder) = (meta.blocks() * 512 / names, meta.is_dir());
    if !is_folder || depth > 256 {
        return own;
    }
    let inner = fs::read_dir(path).into_iter().flatten().flatten();
    inner.fold(own, |sum, entry| sum.saturating_add(size(&entry.path(), depth + 1)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::cache::{Found, Info, Made, Whose};
    use super::*;
    use crate::layer::Digest;
    use crate::sandbox::Signals;

    fn step(cache: &Cache, key: &str, age: u64) -> Arc<super::super::Layer> {
        let signals = Signals::catch().unwrap();
        let Found::Miss(entrance) =
            cache.enter(&Digest::of(key.as_bytes()), false, Whose::Own, &signals).unwrap()
        else {
            panic!()
        };
        let layer = Arc::new(cache.begin().unwrap());
        fs::write(layer.blob(), vec![b'x'; 100_000]).unwrap();
        let digest = Digest::of(b"x").to_string();
        layer
            .finish(Some(Info { diff_id: digest.clone(), digest, size: 100_000, ids: String::new() }))
            .unwrap();
        entrance.finish(Made { layer: Some(Arc::clone(&layer)), created: 0 }).unwrap();
        let lock = File::options().write(true).open(layer.folder().join(LOCK)).unwrap();
        lock.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        layer
    }

    fn prune(cache: &Cache, pruning: Pruning) -> Removed {
        cache.prune(&pruning, &|path| fs::remove_dir_all(path).unwrap()).unwrap()
    }

    #[test]
    fn what_is_old_or_too_much_goes_and_what_is_used_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let used = step(&cache, "used", 500);
        for (key, age) in [("old", 400), ("older", 450), ("new", 0)] {
            drop(step(&cache, key, age));
        }
        let old = Pruning { older_than: Some(Duration::from_secs(100)), ..Pruning::default() };
        let dry = prune(&cache, Pruning { dry_run: true, ..old });
        assert_eq!((dry.layers, dry.in_use, dry.steps), (2, 1, 0));
        assert!(dry.size >= 200_000 && dry.kept >= 200_000, "{dry:?}");
        let over = prune(&cache, Pruning { keep: Some(350_000), ..Pruning::default() });
        assert_eq!((over.layers, over.steps), (0, 0), "the oldest is used: {over:?}");
        drop(used);
        let over = prune(&cache, Pruning { keep: Some(350_000), ..Pruning::default() });
        assert_eq!((over.layers, over.steps), (1, 1), "{over:?}");
        let old = prune(&cache, old);
        assert_eq!((old.layers, old.steps, old.in_use), (2, 2, 0));
        assert!(cache.find(&Digest::of(b"new")).unwrap().is_some());
        let all = prune(&cache, Pruning::default());
        assert_eq!((all.layers, all.steps, all.kept), (1, 1, 0));
        assert!(cache.find(&Digest::of(b"new")).unwrap().is_none());
    }
}
