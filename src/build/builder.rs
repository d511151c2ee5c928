//! The builder: stages side by side, each step from the cache or made anew.

mod copy;
mod run;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Scope;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::cache::{Found, Layer};
use super::crew::Crew;
use super::files::{Commit as Layered, Copying, From, Job, Work};
use super::making::{Commit, Handle, sweep, work};
use super::staged::{Base as BaseImage, Event, Files, Held, Place, Staged};
use super::surroundings::Wanted;
use super::{
    Action, Args, Base, BuildError, Cache, Node, Options, Settings, StageState, Step, Surroundings, graph,
    wanted,
};
use crate::containerfile::{Containerfile, ContainerfileError, Instruction, Located, Position, Warning};
use crate::layer::Digest;
use crate::sandbox::{Folder, Ids, SandboxError, Shortage, Signals, Snapshots, wants_short};
use crate::target::{Catalogue, Platform};

/// Changes with everything that makes steps that were made before unusable.
const FORMAT: u32 = 1;

/// How many layers are compressed at once: each takes some memory, and all processors.
const COMMITS: usize = 2;

/// A build that goes on.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    pub(super) file: &'a Containerfile,
    pub(super) options: &'a Options,
    pub(super) surroundings: &'a dyn Surroundings,
    pub(super) signals: &'a Signals,
    pub(super) cache: Cache,
    snapshots: Snapshots,
    /// Whose files are made, and a digest of it.
    ids: OnceLock<(Ids, String)>,
    gate: Mutex<()>,
    crew: Crew,
    commits: Crew,
    images: Mutex<HashMap<(String, Platform), Arc<BaseImage>>>,
    has_failed: AtomicBool,
    /// The warnings that were passed on.
    said: Mutex<Vec<Warning>>,
}

/// One platform's part of a build.
#[derive(Debug)]
struct Plan<'a> {
    wanted: &'a Wanted,
    args: Args,
    nodes: Vec<Node>,
    /// What each has come to; `None` where it failed.
    slots: Vec<OnceLock<Option<Staged>>>,
    /// What its steps are called by.
    label: String,
}

/// Lets go whoever waits for a stage, should its thread end without having said how it went.
struct Settled<'a>(Option<&'a OnceLock<Option<Staged>>>);

impl Drop for Settled<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            // What was said stays.
            let _ = slot.set(None);
        }
    }
}

/// Another root that a step reads from.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) held: Held,
    /// The path in it, where it is another than was asked for.
    pub(super) path: Option<String>,
}

/// Builds what `options` ask for of `file`: the last stage for each platform, in the order of the platforms.
pub(super) fn build(
    file: &Containerfile,
    options: &Options,
    surroundings: &dyn Surroundings,
    signals: &Signals,
) -> Result<Vec<Staged>, BuildError> {
    let builder = Builder {
        file,
        options,
        surroundings,
        signals,
        cache: Cache::open(&options.cache)?.with_shared(surroundings.cache_from()),
        snapshots: Snapshots::new(&options.cache),
        ids: OnceLock::new(),
        gate: Mutex::new(()),
        crew: Crew::new(options.jobs),
        commits: Crew::new(COMMITS),
        images: Mutex::default(),
        has_failed: AtomicBool::new(false),
        said: Mutex::default(),
    };
    let plans = options.platforms.iter().map(|wanted| builder.plan(wanted));
    let plans = plans.collect::<Result<Vec<_>, BuildError>>()?;
    let failures: Mutex<Vec<BuildError>> = Mutex::default();
    std::thread::scope(|scope| {
        for plan in &plans {
            for number in 0..plan.nodes.len() {
                let (builder, failures) = (&builder, &failures);
                scope.spawn(move || {
                    let _settled = Settled(plan.slots.get(number));
                    let mut handles = Vec::new();
                    let staged = builder.stage(scope, plan, number, &mut handles);
                    let failed = |err: BuildError| {
                        builder.has_failed.store(true, Ordering::Relaxed);
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(err);
                    };
                    let staged = staged.map_err(failed).ok();
                    if let Some(slot) = plan.slots.get(number) {
                        let _ = slot.set(staged);
                    }
                    for handle in handles {
                        match handle.join() {
                            Ok(done) => {
                                let _ = done.map_err(failed);
                            }
                            Err(panic) => std::panic::resume_unwind(panic),
                        }
                    }
                });
            }
        }
    });
    let built = builder.end(plans, failures.into_inner().unwrap_or_else(PoisonError::into_inner));
    // What a failed step has begun goes, and what turned out to hold nothing.
    let swept = builder.ids.get().map_or(Ok(()), |(ids, _)| sweep(&builder.cache, ids));
    built.and_then(|built| swept.map(|()| built))
}

/// A platform as `FROM --platform` has it: a target's name is one too.
fn parse_platform(text: &str) -> Result<Platform, String> {
    if let Ok(target) = Catalogue::builtin().target(text) {
        return Ok(target.platform.clone());
    }
    text.parse().map(Platform::normalized).map_err(|err: crate::target::PlatformError| err.to_string())
}

impl Builder<'_> {
    /// What was built, when all stages have ended.
    fn end(&self, plans: Vec<Plan<'_>>, mut failures: Vec<BuildError>) -> Result<Vec<Staged>, BuildError> {
        if let Some(signal) = self.signals.interrupted() {
            return Err(BuildError::Interrupted { signal });
        }
        if !failures.is_empty() {
            let at = failures.iter().position(|err| !matches!(err, BuildError::Needed)).unwrap_or_default();
            return Err(failures.swap_remove(at));
        }
        self.share();
        let last =
            |plan: Plan<'_>| plan.slots.into_iter().next_back().and_then(OnceLock::into_inner).flatten();
        plans.into_iter().map(|plan| last(plan).ok_or(BuildError::Needed)).collect()
    }

    /// Brings the steps to where they are shared. That this cannot be done is no failure of the build.
    fn share(&self) {
        let progress = self.surroundings.progress();
        for failure in self.cache.failures() {
            progress.warn(&format!("steps were not taken from a cache: {failure}"));
        }
        for place in self.surroundings.cache_to() {
            match self.cache.share(&place) {
                Ok(count) => progress.note(&format!("{count} steps are new in the cache")),
                Err(failure) => progress.warn(&format!("steps were not brought to a cache: {failure}")),
            }
        }
    }
}

impl<'a> Builder<'a> {
    fn plan(&self, wanted_platform: &'a Wanted) -> Result<Plan<'a>, BuildError> {
        let platform = &wanted_platform.platform;
        let last = wanted(self.file, self.options.stage.as_deref())?;
        let name = self.file.stages.get(last).and_then(|stage| stage.name.clone());
        let name = self.options.stage.clone().or(name).unwrap_or_else(|| "default".into());
        let args = Args::new(self.file, self.options.args.clone(), &Platform::host(), platform, &name)?;
        let nodes = graph(self.file, &args, last, platform, &parse_platform)?;
        let slots = nodes.iter().map(|_| OnceLock::new()).collect();
        let label = if self.options.platforms.len() > 1 { format!("{platform} ") } else { String::new() };
        Ok(Plan { wanted: wanted_platform, args, nodes, slots, label })
    }

    /// Whose files are made. Where the machine grants fewer than it says, it is asked once.
    pub(super) fn ids(&self) -> Result<&Ids, BuildError> {
        self.known_ids().map(|(ids, _)| ids)
    }

    pub(super) fn ids_text(&self) -> Result<&str, BuildError> {
        self.known_ids().map(|(_, text)| text.as_str())
    }

    fn known_ids(&self) -> Result<&(Ids, String), BuildError> {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.ids.get() {
            return Ok(known);
        }
        let at = Position { line: 1, column: 1 };
        let (mut ids, mut shortage) = Ids::of_caller();
        let run = Folder::new(&self.options.cache.join("run"));
        let run = run.map_err(|source| BuildError::Sandbox { at, source: Box::new(source) })?;
        let job = Job {
            folder: run.path().into(),
            root: None,
            sources: Vec::new(),
            work: Work::Nothing,
            commit: None,
        };
        match work(at, &job, &ids) {
            Ok(_) => {}
            Err(BuildError::Sandbox { source, .. }) if !ids.is_single() => match *source {
                SandboxError::IdsRefused { shortage: reason } => {
                    ids = ids.single();
                    shortage = Some(reason);
                }
                other => return Err(BuildError::Sandbox { at, source: Box::new(other) }),
            },
            Err(err) => return Err(err),
        }
        if let Some(Shortage(reason)) = shortage.filter(|_| ids.is_single()) {
            self.surroundings.progress().note(&format!(
                "all files of the image are root's while it is built, for there is one user only: {reason}"
            ));
        }
        sweep(&self.cache, &ids)?;
        let text = Digest::of(ids.text().as_bytes()).hex();
        Ok(self.ids.get_or_init(|| (ids, text)))
    }

    /// What it takes to have files on this machine.
    fn place(&self) -> Result<Place<'_>, BuildError> {
        Ok(Place {
            cache: &self.cache,
            snapshots: &self.snapshots,
            ids: self.ids()?,
            ids_text: self.ids_text()?,
            signals: self.signals,
            progress: self.surroundings.progress(),
        })
    }

    pub(super) fn owned(&self, owner: (u32, u32)) -> (u32, u32) {
        if self.ids().is_ok_and(|ids| !ids.is_single()) { owner } else { (0, 0) }
    }

    /// Passes warnings on, each once: a build for several platforms meets them in each.
    fn warn(&self, warnings: Vec<Warning>) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for warning in warnings {
            if !said.contains(&warning) {
                self.surroundings.lint(&warning);
                said.push(warning);
            }
        }
    }

    fn image(&self, at: Position, name: &str, platform: &Platform) -> Result<Arc<BaseImage>, BuildError> {
        // One after the other: two for the same name are one.
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), platform.clone());
        if let Some(image) = images.get(&key) {
            return Ok(Arc::clone(image));
        }
        let failed = |source| BuildError::Image { at, name: name.to_owned(), source: Box::new(source) };
        let image = self.surroundings.image(name, platform).map_err(failed)?;
        let found = image.platform();
        if found != *platform {
            self.surroundings.progress().warn(&format!(
                "line {}: the image `{name}` is for {found}, and {platform} was asked for",
                at.line
            ));
        }
        let base = Arc::new(BaseImage::new(image).map_err(failed)?);
        images.insert(key, Arc::clone(&base));
        Ok(base)
    }

    /// What `image`, whatever it is called, has as its files for `platform`.
    fn files_of(&self, at: Position, name: &str, platform: &Platform) -> Result<(Files, Digest), BuildError> {
        let base = self.image(at, name, platform)?;
        let key = self.first_key(platform, Some(&base));
        Ok((Files { base: Some(base), layers: Vec::new(), platform: platform.clone() }, key))
    }

    /// The key of a stage before its first step.
    fn first_key(&self, platform: &Platform, base: Option<&BaseImage>) -> Digest {
        let layers = base.iter().flat_map(|base| base.image.layers()).map(|layer| layer.diff_id.to_string());
        let layers: Vec<String> = layers.collect();
        let time = self.options.timestamp;
        Digest::of(format!("polyarch build {FORMAT}\n{platform}\n{time:?}\n{}", layers.join("\n")).as_bytes())
    }

    fn stage<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        plan: &'scope Plan<'_>,
        number: usize,
        handles: &mut Vec<Handle<'scope>>,
    ) -> Result<Staged, BuildError> {
        let Some(node) = plan.nodes.get(number) else { return Err(BuildError::Needed) };
        let Some(stage) = self.file.stages.get(node.stage) else { return Err(BuildError::Needed) };
        for needed in &node.needs {
            plan.staged(*needed)?;
        }
        let mut staged = self.begin(plan, node, stage.from.base.at)?;
        let mut language = StageState::upon(
            &plan.args,
            self.file.directives.escape,
            staged.settings.clone(),
            std::mem::take(&mut staged.declared),
        );
        let mut instructions = Vec::new();
        for trigger in language.triggers() {
            instructions.extend(triggered(&trigger, stage.at)?);
        }
        let triggers = instructions.len();
        instructions.extend(stage.instructions.iter().cloned());
        let is_shown = |located: &&Located| {
            matches!(
                located.instruction,
                Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) | Instruction::Workdir(_)
            )
        };
        let total = instructions.iter().filter(is_shown).count();
        let name = match (&stage.name, plan.nodes.len()) {
            (_, 1) => String::new(),
            (Some(name), _) => format!("{name} "),
            (None, _) => format!("stage {} ", node.stage),
        };
        let mut shown = 0;
        for (number, located) in instructions.iter().enumerate() {
            if is_shown(&located) {
                shown += 1;
            }
            if let Some(signal) = self.signals.interrupted() {
                return Err(BuildError::Interrupted { signal });
            }
            if self.has_failed.load(Ordering::Relaxed) {
                return Err(BuildError::Needed);
            }
            let told = |err: BuildError| {
                if number < triggers { err.of_trigger(stage.at, &located.text) } else { err }
            };
            let step = language.step(located).map_err(told)?;
            self.warn(language.warnings());
            staged.settings = language.settings.clone();
            let label = format!("[{}{name}{shown}/{total}]", plan.label);
            let mut work =
                StepWork { builder: self, scope, plan, node, step: &step, text: &located.text, label };
            let layer = work.run(&mut staged, handles).map_err(told)?;
            staged.author = language.author.clone().or(staged.author);
            staged.history.push(Event { created_by: step.created_by, created: staged.created, layer });
        }
        (staged.settings, staged.declared) = (language.settings, language.declared);
        Ok(staged)
    }

    fn begin(&self, plan: &Plan<'_>, node: &Node, at: Position) -> Result<Staged, BuildError> {
        let name = match &node.base {
            Base::Stage(other) => {
                return plan.staged(*other).cloned();
            }
            Base::Scratch => {
                let settings = json!({ "Env": [format!("PATH={}", super::DEFAULT_PATH)], "WorkingDir": "/" });
                return Ok(Staged {
                    platform: node.platform.clone(),
                    settings: Settings::new(settings.as_object().cloned().unwrap_or_default()),
                    author: None,
                    files: Files::none(&node.platform),
                    key: self.first_key(&node.platform, None),
                    history: Vec::new(),
                    created: None,
                    declared: Vec::new(),
                });
            }
            Base::Image(name) => name,
        };
        let name = match self.options.contexts.get(name) {
            Some(super::NamedContext::Image(other)) => other,
            Some(super::NamedContext::Folder(_)) => {
                let message = format!("the context `{name}` is a folder, and a stage begins with an image");
                return Err(BuildError::at(at, message));
            }
            None => name,
        };
        let (files, key) = self.files_of(at, name, &node.platform)?;
        let config = files.base.as_ref().map(|base| base.config.clone()).unwrap_or_default();
        let settings = match config.get("config") {
            Some(Value::Object(settings)) => settings.clone(),
            _ => Map::new(),
        };
        let author = config.get("author").and_then(Value::as_str).map(str::to_owned);
        let platform = node.platform.clone();
        let settings = Settings::new(settings);
        let (history, declared) = (Vec::new(), Vec::new());
        Ok(Staged { platform, settings, author, files, key, history, created: None, declared })
    }

    /// The root that `--from` means: a stage, a context or an image; the build's own context if `None`.
    fn other(
        &self,
        plan: &Plan<'_>,
        node: &Node,
        at: Position,
        from: Option<&str>,
        path: &str,
    ) -> Result<Other, BuildError> {
        let folder = match from {
            None => Some(&self.options.context),
            Some(from) => match (self.file.stage_before(from, node.stage), self.options.contexts.get(from)) {
                (None, Some(super::NamedContext::Folder(context))) => Some(context),
                _ => None,
            },
        };
        if folder.is_some() {
            let (files, name) = self.context_files(at, &node.platform, from, path)?;
            let held = files
                .held(&self.place()?)
                .map_err(|source| BuildError::Sandbox { at, source: Box::new(source) })?;
            return Ok(Other { held, path: Some(name) });
        }
        let (files, _) = self.files_from(plan, node, at, from.unwrap_or_default())?;
        let held = files
            .held(&self.place()?)
            .map_err(|source| BuildError::Sandbox { at, source: Box::new(source) })?;
        Ok(Other { held, path: None })
    }

    /// The files of a stage or an image, and what decides over them.
    fn files_from(
        &self,
        plan: &Plan<'_>,
        node: &Node,
        at: Position,
        from: &str,
    ) -> Result<(Files, Digest), BuildError> {
        if let Some(other) = self.file.stage_before(from, node.stage) {
            if !plan.nodes.iter().any(|node| node.stage == other) {
                // Only a trigger of an image can name what was not known to be needed.
                let message = format!(
                    "the base's `ONBUILD` reads the stage `{from}`, which nothing else of this build needs"
                );
                let hint = format!("let the stage itself read it, too: `COPY --from={from} …`");
                return Err(BuildError::hinted(at, message, hint));
            }
            let staged = plan.staged(other)?;
            return Ok((staged.files.clone(), staged.key));
        }
        let name = match self.options.contexts.get(from) {
            Some(super::NamedContext::Image(name)) => name,
            _ => from,
        };
        if name == "scratch" {
            return Ok((Files::none(&node.platform), self.first_key(&node.platform, None)));
        }
        self.files_of(at, name, &node.platform)
    }

    fn now(&self) -> u64 {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.options.timestamp.unwrap_or_else(now)
    }

    /// Fills the folder of a cache with what it begins with.
    pub(super) fn fill(
        &self,
        at: Position,
        folder: &std::path::Path,
        other: &Other,
        source: &str,
    ) -> Result<(), BuildError> {
        let ids = self.ids()?;
        let run = Folder::new(&self.options.cache.join("run"));
        let run = run.map_err(|source| BuildError::Sandbox { at, source: Box::new(source) })?;
        let root = crate::sandbox::Root {
            lowers: vec![folder.into()],
            is_direct: true,
            ..crate::sandbox::Root::default()
        };
        let source = From::Root { root: 0, pattern: other.path.clone().unwrap_or_else(|| source.to_owned()) };
        let copying = Copying::whole(source, "/", !ids.is_single());
        let job = Job {
            folder: run.path().into(),
            root: Some(root.plan()),
            sources: vec![other.held.root(None).plan()],
            work: Work::Copy(Box::new(copying)),
            commit: None,
        };
        work(at, &job, ids).map(drop)
    }
}

impl Plan<'_> {
    /// The result of another stage, which is waited for.
    fn staged(&self, stage: usize) -> Result<&Staged, BuildError> {
        let at = self.nodes.iter().position(|node| node.stage == stage);
        let slot = at.and_then(|at| self.slots.get(at)).ok_or(BuildError::Needed)?;
        slot.wait().as_ref().ok_or(BuildError::Needed)
    }
}

/// What an `ONBUILD` of a base says.
fn triggered(text: &str, at: Position) -> Result<Vec<Located>, BuildError> {
    let file = Containerfile::parse(format!("FROM scratch\n{text}\n").as_bytes()).map_err(|err| {
        let message = format!("the base's `ONBUILD {text}`: {err}");
        BuildError::File(ContainerfileError { at, message, hint: err.hint })
    })?;
    let mut stages = file.stages.into_iter();
    let instructions = stages.next().map(|stage| stage.instructions).unwrap_or_default();
    let is_one = stages.next().is_none()
        && matches!(instructions.as_slice(), [one] if !matches!(one.instruction, Instruction::Onbuild(_)));
    if !is_one {
        return Err(BuildError::at(at, format!("the base's `ONBUILD {text}` is not one instruction")));
    }
    Ok(instructions.into_iter().map(|located| Located { at, ..located }).collect())
}

/// One step that is being done.
struct StepWork<'scope, 's, 'e> {
    builder: &'scope Builder<'scope>,
    scope: &'scope Scope<'scope, 'e>,
    plan: &'scope Plan<'scope>,
    node: &'scope Node,
    step: &'s Step,
    text: &'s str,
    label: String,
}
