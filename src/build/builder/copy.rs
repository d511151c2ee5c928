//! `COPY`, `ADD` and `WORKDIR`.

use std::fs::File;
use std::sync::Arc;

use serde_json::json;

use super::super::context::{Context, ContextError, Remote, check_out, fetch, is_archive};
use super::super::{Copy, Kind, Match, NamedContext, Source, Whose};
use super::{
    Action, Arc as Shared, BuildError, Builder, Commit, Copying, Digest, Files, Folder, Found, From, Handle,
    Job, Layer, Layered, Position, Staged, StepWork, Work, wants_short,
};
use crate::containerfile::Ignore;
use crate::target::Platform;

/// A step's sources: what is copied, the roots that it is copied from, and what decides over them.
#[derive(Debug, Default)]
struct Sources {
    list: Vec<From>,
    roots: Vec<Files>,
    keys: Vec<String>,
    /// Where what was fetched is.
    fetched: Vec<Folder>,
}

impl<'scope> StepWork<'scope, '_, '_> {
    /// Does the step, or finds it done; gives its layer.
    pub(super) fn run(
        &mut self,
        staged: &mut Staged,
        handles: &mut Vec<Handle<'scope>>,
    ) -> Result<Option<Arc<Layer>>, BuildError> {
        match &self.step.action {
            Action::None => Ok(None),
            Action::Workdir { path } if path == "/" => Ok(None),
            Action::Workdir { path } => {
                let user = staged.settings.text("User").to_owned();
                let key = json!({ "workdir": path, "user": user });
                let is_kept = |builder: &Builder<'_>| builder.ids().map(|ids| !ids.is_single());
                self.made(staged, handles, &key.to_string(), |work| {
                    let owners = is_kept(work.builder)?;
                    let folder = Work::Folder { path: path.clone(), user: user.clone(), owners };
                    Ok((folder, Vec::new(), Vec::new()))
                })
            }
            Action::Copy(copy) => self.copy(staged, handles, copy),
            Action::Run(run) => self.command(staged, handles, run),
        }
    }

    fn copy(
        &mut self,
        staged: &mut Staged,
        handles: &mut Vec<Handle<'scope>>,
        copy: &Copy,
    ) -> Result<Option<Arc<Layer>>, BuildError> {
        let at = self.step.at;
        let sources = self.sources(copy)?;
        let key = json!({
            "copy": sources.keys, "destination": copy.destination, "chown": copy.chown, "chmod": copy.chmod,
            "exclude": copy.exclude, "parents": copy.parents, "link": copy.link,
        });
        let Sources { list, roots, fetched, .. } = sources;
        self.made(staged, handles, &key.to_string(), |work| {
            let place = work.builder.place()?;
            let held = roots.iter().map(|files| files.held(&place));
            let held = held
                .collect::<Result<Vec<_>, _>>()
                .map_err(|source| BuildError::Sandbox { at, source: Box::new(source) })?;
            let copying = Copying {
                sources: list,
                destination: copy.destination.clone(),
                chown: copy.chown.clone(),
                chmod: copy.chmod.clone(),
                exclude: copy.exclude.clone(),
                parents: copy.parents,
                owners: !place.ids.is_single(),
            };
            Ok((Work::Copy(Box::new(copying)), held, fetched))
        })
    }

    fn sources(&self, copy: &Copy) -> Result<Sources, BuildError> {
        let (builder, at) = (self.builder, self.step.at);
        let mut sources = Sources::default();
        let stage = copy.from.as_deref().map(|from| builder.file.stage_before(from, self.node.stage));
        let context = match (copy.from.as_deref(), stage) {
            (None, _) => Some(&builder.options.context),
            (Some(from), Some(None)) => match builder.options.contexts.get(from) {
                Some(NamedContext::Folder(context)) => Some(context),
                _ => None,
            },
            _ => None,
        };
        let root = match (&copy.from, context) {
            (Some(from), None) => {
                let (files, key) = builder.files_from(self.plan, self.node, at, from)?;
                sources.roots.push(files);
                Some(key)
            }
            _ => None,
        };
        let several = copy.sources.len() > 1;
        if several && !copy.destination.ends_with('/') && copy.destination != "/" {
            return Err(BuildError::hinted(
                at,
                format!(
                    "several sources are copied, and the destination `{}` is no folder",
                    copy.destination
                ),
                "a folder's name ends with a slash",
            ));
        }
        if copy.checksum.is_some() && several {
            return Err(BuildError::at(at, "`--checksum` is of one file, and several are added"));
        }
        for source in &copy.sources {
            if let Source::Path(pattern) = source
                && let Some(remote) = Remote::of(pattern)
            {
                self.fetched(&remote, pattern, copy, &mut sources)?;
                continue;
            }
            if copy.checksum.is_some() {
                return Err(BuildError::hinted(
                    at,
                    "`--checksum` is of a file that is fetched, and this one is not",
                    "the content of a file of the context counts anyway",
                ));
            }
            match (source, context) {
                (Source::File { name, content }, _) => {
                    sources.keys.push(format!("text {name} {}", Digest::of(content.as_bytes())));
                    sources.list.push(From::Text { name: name.clone(), content: content.clone() });
                }
                (Source::Path(pattern), Some(context)) => {
                    let matches = taken(at, context, pattern, copy)?;
                    sources.keys.extend(matches.iter().map(|one| one.digest().to_string()));
                    sources.list.push(From::Machine { matches });
                }
                (Source::Path(pattern), None) => {
                    let key = root.map(|key| key.to_string()).unwrap_or_default();
                    sources.keys.push(format!("root {key} {pattern}"));
                    sources.list.push(From::Root { root: 0, pattern: pattern.clone() });
                }
            }
        }
        Ok(sources)
    }

    /// Fetches what `ADD` takes from an address.
    fn fetched(
        &self,
        remote: &Remote,
        address: &str,
        copy: &Copy,
        sources: &mut Sources,
    ) -> Result<(), BuildError> {
        let (builder, at) = (self.builder, self.step.at);
        if !copy.add {
            let message = format!("`COPY` takes no address, as `{address}` is");
            return Err(BuildError::hinted(at, message, "`ADD` does"));
        }
        let failed = |source| BuildError::Remote { at, source: Box::new(source) };
        let run = Folder::new(&builder.options.cache.join("run"));
        let run = run.map_err(|source| BuildError::Sandbox { at, source: Box::new(source) })?;
        let place = run.path().join("fetched");
        std::fs::create_dir(&place).map_err(|source| BuildError::Cache { path: place.clone(), source })?;
        let (checksum, progress) = (copy.checksum.as_deref(), builder.surroundings.progress());
        let matches = match remote {
            Remote::File(url) => {
                let mut one = fetch(url, checksum, &place, &builder.surroundings.remotes(), progress)
                    .map_err(failed)?;
                if copy.unpack == Some(true) {
                    unpacked(&mut one);
                }
                vec![one]
            }
            Remote::Repository(repository) => {
                let exclude = excluded(at, copy)?;
                check_out(repository, checksum, copy.keep_git_dir, &exclude, &place, progress)
                    .map_err(failed)?
            }
        };
        sources.keys.extend(matches.iter().map(|one| one.digest().to_string()));
        sources.list.push(From::Machine { matches });
        sources.fetched.push(run);
        Ok(())
    }

    /// The layer of a step whose work is a helper's alone: from the cache, or made by what `prepare` gives, with other roots that it
    /// needs.
    fn made(
        &mut self,
        staged: &mut Staged,
        handles: &mut Vec<Handle<'scope>>,
        key: &str,
        prepare: impl FnOnce(&Self) -> Result<(Work, Vec<super::Held>, Vec<Folder>), BuildError>,
    ) -> Result<Option<Arc<Layer>>, BuildError> {
        let at = self.step.at;
        let builder = self.builder;
        let entrance = match self.enter(staged, key)? {
            Found::Hit(made) => return Ok(self.hit(staged, made)),
            Found::Miss(entrance) => entrance,
        };
        let _at_work = builder.crew.join();
        let (work, others, fetched) = prepare(self)?;
        let held = staged.files.held(&builder.place()?);
        let held = held.map_err(|source| BuildError::Sandbox { at, source: Box::new(source) })?;
        let run = Folder::new(&builder.options.cache.join("run"));
        let run = run.map_err(|source| BuildError::Sandbox { at, source: Box::new(source) })?;
        let layer = Shared::new(builder.cache.begin()?);
        let job = Job {
            folder: run.path().into(),
            root: Some(held.root(Some(layer.folder().into())).plan()),
            sources: others.iter().map(|other| other.root(None).plan()).collect(),
            work,
            commit: Some(self.layered(&layer, &held, &staged.platform, Vec::new())),
        };
        self.commit(staged, handles, job, layer, entrance, (run, held, others, fetched))
    }

    /// What is made of a step's writes.
    pub(super) fn layered(
        &self,
        layer: &Layer,
        held: &super::Held,
        platform: &Platform,
        stubs: Vec<String>,
    ) -> Layered {
        Layered {
            kept: layer.folder().into(),
            below: held.lowers.iter().map(|path| path.clone().into_os_string()).collect(),
            latest: self.builder.options.timestamp,
            stubs,
            skeleton: wants_short(platform),
        }
    }

    /// Goes on to the step that `key` tells from others after those before it: it is done already, or for this process to do.
    pub(super) fn enter(&self, staged: &mut Staged, key: &str) -> Result<Found, BuildError> {
        let builder = self.builder;
        // Where there is one id only, files belong to others than they should: they are no use where there are more, nor to other
        // machines.
        let (ids, whose) =
            if builder.ids()?.is_single() { ("\none id", Whose::Own) } else { ("", Whose::Everybodys) };
        staged.key = Digest::of(format!("{}\n{key}{ids}", staged.key).as_bytes());
        let found = builder.cache.enter(&staged.key, builder.options.no_cache, whose, builder.signals)?;
        if matches!(found, Found::Miss(_)) {
            builder.surroundings.step(&self.label, self.text, false);
        }
        Ok(found)
    }

    /// A step that was found done.
    pub(super) fn hit(&self, staged: &mut Staged, made: super::super::cache::Made) -> Option<Arc<Layer>> {
        self.builder.surroundings.step(&self.label, self.text, true);
        staged.created = staged.created.max(Some(made.created));
        staged.files.layers.extend(made.layer.clone());
        made.layer
    }

    /// Begins the layer of a step. `kept` is what must be there until it is whole.
    pub(super) fn commit<K: Send + 'scope>(
        &self,
        staged: &mut Staged,
        handles: &mut Vec<Handle<'scope>>,
        job: Job,
        layer: Arc<Layer>,
        entrance: super::super::cache::Entrance,
        kept: K,
    ) -> Result<Option<Arc<Layer>>, BuildError> {
        let builder = self.builder;
        let created = builder.now();
        let commit = Commit {
            at: self.step.at,
            job,
            layer: Arc::clone(&layer),
            entrance,
            created,
            ids: builder.ids()?,
            ids_text: builder.ids_text()?,
            signals: builder.signals,
            crew: &builder.commits,
            _kept: kept,
        };
        handles.push(commit.begin(self.scope)?);
        staged.created = staged.created.max(Some(created));
        staged.files.layers.push(Arc::clone(&layer));
        Ok(Some(layer))
    }
}

/// What a pattern takes from a context; archives of `ADD` are to be unpacked.
fn taken(at: Position, context: &Context, pattern: &str, copy: &Copy) -> Result<Vec<Match>, BuildError> {
    let failed = |source: ContextError| BuildError::Context { at, source: Box::new(source) };
    let exclude = excluded(at, copy)?;
    let found = if copy.parents {
        context.take_with_parents(pattern, &exclude)
    } else {
        context.take(pattern, &exclude)
    };
    let mut matches = found.map_err(failed)?;
    if copy.add && copy.unpack != Some(false) {
        matches.iter_mut().for_each(unpacked);
    }
    Ok(matches)
}

fn excluded(at: Position, copy: &Copy) -> Result<Ignore, BuildError> {
    let exclude = Ignore::of(copy.exclude.iter().map(String::as_str));
    exclude.map_err(|err| BuildError::at(at, err.to_string()))
}

/// Says of a file that it is to be unpacked, if it is an archive.
fn unpacked(one: &mut Match) {
    if let Some(entry) = one.entries.first_mut()
        && matches!(entry.kind, Kind::File { .. })
    {
        entry.unpack = File::open(&entry.file).is_ok_and(is_archive);
    }
}

impl Builder<'_> {
    fn context_of(&self, from: Option<&str>) -> &Context {
        match from.and_then(|from| self.options.contexts.get(from)) {
            Some(NamedContext::Folder(context)) => context,
            _ => &self.options.context,
        }
    }

    /// What decides over the files at `path` in a context.
    pub(in super::super) fn context_digest(
        &self,
        at: Position,
        from: Option<&str>,
        path: &str,
    ) -> Result<Digest, BuildError> {
        let matches = self.context_of(from).take(path, &Ignore::default());
        let matches = matches.map_err(|source| BuildError::Context { at, source: Box::new(source) })?;
        let digests: Vec<String> = matches.iter().map(|one| one.digest().to_string()).collect();
        Ok(Digest::of(digests.join("\n").as_bytes()))
    }

    /// The files at `path` in a context, as a root of their own; and their path in it.
    pub(super) fn context_files(
        &self,
        at: Position,
        platform: &Platform,
        from: Option<&str>,
        path: &str,
    ) -> Result<(Files, String), BuildError> {
        const PLACE: &str = "/context";
        let sandbox = |source| BuildError::Sandbox { at, source: Box::new(source) };
        let matches = self.context_of(from).take(path, &Ignore::default());
        let matches = matches.map_err(|source| BuildError::Context { at, source: Box::new(source) })?;
        let digests: Vec<String> = matches.iter().map(|one| one.digest().to_string()).collect();
        let first = self.first_key(platform, None);
        let key = Digest::of(format!("{first}\ncontext\n{}", digests.join("\n")).as_bytes());
        let mut files = Files::none(platform);
        let entrance = match self.cache.enter(&key, false, Whose::Own, self.signals)? {
            Found::Hit(made) => {
                files.layers.extend(made.layer);
                return Ok((files, PLACE.into()));
            }
            Found::Miss(entrance) => entrance,
        };
        let ids = self.ids()?;
        let held = files.held(&self.place()?).map_err(sandbox)?;
        let run = Folder::new(&self.options.cache.join("run")).map_err(sandbox)?;
        let layer = Arc::new(self.cache.begin()?);
        let copying = Copying::whole(From::Machine { matches }, PLACE, !ids.is_single());
        let job = Job {
            folder: run.path().into(),
            root: Some(held.root(Some(layer.folder().into())).plan()),
            sources: Vec::new(),
            work: Work::Copy(Box::new(copying)),
            commit: Some(Layered {
                kept: layer.folder().into(),
                below: held.lowers.iter().map(|path| path.clone().into_os_string()).collect(),
                latest: None,
                stubs: Vec::new(),
                skeleton: false,
            }),
        };
        let commit = Commit {
            at,
            job,
            layer: Arc::clone(&layer),
            entrance,
            created: self.now(),
            ids,
            ids_text: self.ids_text()?,
            signals: self.signals,
            crew: &self.commits,
            _kept: (run, held),
        };
        commit.run(|| {})?;
        files.layers.push(layer);
        Ok((files, PLACE.into()))
    }
}
