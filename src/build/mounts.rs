//! What a `RUN` step sees besides its root: `--mount`.

use std::fs::{self, File, TryLockError};
use std::time::Duration;

use super::builder::{Builder, Other};
use super::files::{Job, Work};
use super::making::work;
use super::step::Run;
use super::{BuildError, NamedContext};
use crate::containerfile::{Mount, Position, Sharing};
use crate::layer::Digest;
use crate::sandbox::{Beneath, Folder, Source, Volume, remove_files};

/// How often a lock is tried.
const AGAIN: Duration = Duration::from_millis(10);
/// How many builds may have a private cache of one name at once.
const PRIVATE: usize = 1000;

/// Everything that is mounted for a step, and what keeps it there.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    pub(super) volumes: Vec<Volume>,
    /// Variables with secrets, and the like.
    pub(super) env: Vec<(String, String)>,
    /// Folders of caches, by their ids.
    caches: Vec<(String, std::path::PathBuf)>,
    locks: Vec<File>,
    others: Vec<Other>,
}

/// What gives the root of a stage, an image or a context by its name, for a path in it.
type Others<'a> = &'a dyn Fn(Option<&str>, &str) -> Result<Other, BuildError>;

/// What decides over what a mount shows: for the key of the step.
pub(super) fn key_of(
    builder: &Builder<'_>,
    at: Position,
    mount: &Mount,
    of: &dyn Fn(&str) -> Result<Digest, BuildError>,
) -> Result<String, BuildError> {
    Ok(match mount {
        Mount::Bind { from: None, source, target, writable } => {
            let digest = builder.context_digest(at, None, source)?;
            format!("bind {digest} {source} {target} {writable}")
        }
        Mount::Bind { from: Some(from), source, target, writable } => {
            let digest = match builder.options.contexts.get(from) {
                Some(NamedContext::Folder(_)) => builder.context_digest(at, Some(from), source)?,
                _ => of(from)?,
            };
            format!("bind {digest} {source} {target} {writable}")
        }
        // What is in it depends on nothing.
        Mount::Cache { id, target, from: None, .. } => format!("cache {id} {target}"),
        // But for what it begins with.
        Mount::Cache { id, target, from: Some(from), source, .. } => {
            let digest = match builder.options.contexts.get(from) {
                Some(NamedContext::Folder(_)) => builder.context_digest(at, Some(from), source)?,
                _ => of(from)?,
            };
            format!("cache {id} {target} {digest} {source}")
        }
        Mount::Tmpfs { target, size } => format!("tmpfs {target} {size:?}"),
        Mount::Secret { id, target, env, .. } => format!("secret {id} {target:?} {env:?}"),
        Mount::Ssh { id, target, .. } => format!("ssh {id} {target:?}"),
    })
}

/// How the cache `id` is shared by a step that mounts it, perhaps more than once.
fn strictest(mounts: &[Mount], id: &str) -> Option<Sharing> {
    let of_it = mounts.iter().filter_map(|mount| match mount {
        Mount::Cache { id: known, sharing, .. } if known == id => Some(*sharing),
        _ => None,
    });
    of_it.max_by_key(|sharing| match sharing {
        Sharing::Shared => 0,
        Sharing::Private => 1,
        Sharing::Locked => 2,
    })
}

impl Mounted {
    /// Makes everything that `run` wants mounted; `other` gives the stage, image or context of a name.
    pub(super) fn make(
        builder: &Builder<'_>,
        at: Position,
        run: &Run,
        other: Others<'_>,
    ) -> Result<Self, BuildError> {
        let mut all = Self::default();
        let mut agents = 0;
        if let Some((path, text)) = &run.script {
            let content = text.clone().into_bytes();
            let source = Source::Text { content, mode: 0o755, owner: (0, 0) };
            all.volumes.push(Volume { target: path.into(), source, read_only: true });
        }
        // Locks are taken in one order, so that no two steps wait for each other.
        let mut order: Vec<&Mount> = run.mounts.iter().collect();
        order.sort_by_key(
            |mount| if let Mount::Cache { id, .. } = mount { id.clone() } else { String::new() },
        );
        for mount in order {
            match mount {
                Mount::Bind { from, source, target, writable } => {
                    let other = other(from.as_deref(), source)?;
                    let root = other.held.root(None).plan();
                    let path = other.path.clone().unwrap_or_else(|| source.clone());
                    let source = Source::Root { root, path: path.into() };
                    all.push(run, target, source, !writable);
                    all.others.push(other);
                }
                Mount::Cache { id, target, readonly, sharing, from, source, mode, uid, gid } => {
                    // One folder that is mounted twice is locked once, as the strictest of both asks.
                    let known = all.caches.iter().find(|(known, _)| known == id);
                    let path = if let Some((_, path)) = known {
                        path.clone()
                    } else {
                        let sharing = strictest(&run.mounts, id).unwrap_or(*sharing);
                        let path =
                            all.cache(builder, at, (id, sharing), (*mode, *uid, *gid), source, || {
                                from.as_deref().map(|from| other(Some(from), source)).transpose()
                            })?;
                        all.caches.push((id.clone(), path.clone()));
                        path
                    };
                    let source = Source::Bind { path: path.into(), make: false, beneath: Beneath::Outside };
                    all.push(run, target, source, *readonly);
                }
                Mount::Tmpfs { target, size } => {
                    let size = size.map(|size| format!(",size={size}")).unwrap_or_default();
                    let source = Source::Tmpfs { options: format!("mode=1777{size}"), exec: true };
                    all.push(run, target, source, false);
                }
                Mount::Secret { id, target, env, required, mode, uid, gid } => {
                    let Some(secret) = builder.options.secrets.get(id) else {
                        if *required {
                            let message = format!("the secret `{id}` is not given");
                            return Err(BuildError::hinted(
                                at,
                                message,
                                format!("give `--secret id={id},src=FILE`, or `--secret id={id},env=NAME`"),
                            ));
                        }
                        continue;
                    };
                    if let Some(name) = env {
                        let text = String::from_utf8(secret.0.clone()).map_err(|_| {
                            BuildError::at(at, format!("the secret `{id}` is no text, as a variable must be"))
                        })?;
                        all.env.push((name.clone(), text));
                    }
                    if let Some(target) = target {
                        let owner = builder.owned((*uid, *gid));
                        let source = Source::Text { content: secret.0.clone(), mode: *mode, owner };
                        all.push(run, target, source, true);
                    }
                }
                Mount::Ssh { id, target, required, .. } => {
                    let Some(socket) = builder.options.ssh.get(id) else {
                        if *required {
                            let message = format!("there is no agent of ssh `{id}`");
                            return Err(BuildError::hinted(
                                at,
                                message,
                                "give `--ssh default`, or `--ssh ID=SOCKET`",
                            ));
                        }
                        continue;
                    };
                    let target =
                        target.clone().unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{agents}"));
                    agents += 1;
                    all.env.push(("SSH_AUTH_SOCK".into(), target.clone()));
                    let path = socket.clone().into_os_string();
                    let source = Source::Bind { path, make: false, beneath: Beneath::Outside };
                    all.push(run, &target, source, false);
                }
            }
        }
        Ok(all)
    }

    fn push(&mut self, run: &Run, target: &str, source: Source, read_only: bool) {
        let from = if target.starts_with('/') { "" } else { run.cwd.as_str() };
        let target = super::stage::clean(&format!("{from}/{target}"));
        self.volumes.push(Volume { target: target.into(), source, read_only });
    }

    /// The folder of a cache, locked as it is to be shared.
    fn cache(
        &mut self,
        builder: &Builder<'_>,
        at: Position,
        (id, sharing): (&str, Sharing),
        (mode, uid, gid): (u32, u32, u32),
        source: &str,
        begins_with: impl FnOnce() -> Result<Option<Other>, BuildError>,
    ) -> Result<std::path::PathBuf, BuildError> {
        let mounts = builder.cache.mounts();
        let failed = |path: &std::path::Path| {
            let path = path.to_owned();
            move |source| BuildError::Cache { path, source }
        };
        fs::create_dir_all(&mounts).map_err(failed(&mounts))?;
        let name = Digest::of(format!("{id}\n{}", builder.ids_text()?).as_bytes()).hex();
        let mut number = 0;
        let (folder, lock) = loop {
            let folder = mounts.join(if number == 0 { name.clone() } else { format!("{name}-{number}") });
            let path = folder.with_extension("lock");
            let lock = File::options().create(true).truncate(false).write(true).open(&path);
            let lock = lock.map_err(failed(&path))?;
            let locked = if sharing == Sharing::Shared { lock.try_lock_shared() } else { lock.try_lock() };
            match locked {
                Ok(()) => break (folder, lock),
                Err(TryLockError::Error(source)) => return Err(failed(&path)(source)),
                Err(TryLockError::WouldBlock) if sharing == Sharing::Private && number < PRIVATE => {
                    number += 1;
                    continue;
                }
                Err(TryLockError::WouldBlock) => {}
            }
            if let Some(signal) = builder.signals.interrupted() {
                return Err(BuildError::Interrupted { signal });
            }
            std::thread::sleep(AGAIN);
        };
        self.locks.push(lock);
        if folder.is_dir() {
            return Ok(folder);
        }
        // It has its name once it is as it will be, whoever else wants it and whenever this is killed.
        let making = mounts.join("making.lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&making);
        let lock = lock.map_err(failed(&making))?;
        while let Err(err) = lock.try_lock() {
            if let TryLockError::Error(source) = err {
                return Err(failed(&making)(source));
            }
            if let Some(signal) = builder.signals.interrupted() {
                return Err(BuildError::Interrupted { signal });
            }
            std::thread::sleep(AGAIN);
        }
        if folder.is_dir() {
            return Ok(folder);
        }
        let begun = folder.with_extension("new");
        remove_files(&begun, builder.ids()?);
        let run = Folder::new(&builder.options.cache.join("run"))
            .map_err(|source| BuildError::Sandbox { at, source: Box::new(source) })?;
        let ids = builder.ids()?;
        let job = Job {
            folder: run.path().into(),
            root: None,
            sources: Vec::new(),
            work: Work::Cache { path: begun.clone().into(), uid, gid, mode, owners: !ids.is_single() },
            commit: None,
        };
        work(at, &job, ids)?;
        if let Some(other) = begins_with()? {
            builder.fill(at, &begun, &other, source)?;
            self.others.push(other);
        }
        fs::rename(&begun, &folder).map_err(failed(&folder))?;
        Ok(folder)
    }
}
