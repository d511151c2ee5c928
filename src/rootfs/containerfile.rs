//! Roots that the stages of a Containerfile make, on Debian of this machine and from Debian's sources.
//!
//! The Containerfile's `FROM builder` is a root of packages, made as any other ([`debian`]); its `--from=source` is a folder with the files of each
//! source package, verified by the signed index. Its steps have no network: nothing else comes in. What its stage makes is kept as one layer.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use super::debian::{self, Lock};
use super::{Containerfile, Kept, Machine, Made, RootfsError, recipes};
use crate::build::context::Context;
use crate::build::{self, NamedContext, Options, Surroundings, Wanted};
use crate::containerfile::{self, Ignore, Input, Instruction, Mount, SIZE_LIMIT, Word};
use crate::debian::{DebianError, SourcePackage};
use crate::image::{Access, ImageRef};
use crate::layer::{Digest, MergeOptions, merge};
use crate::progress::Progress;
use crate::sandbox::{Confine, ConfineOptions, Folder, Limits, Mode, Network, Signals};
use crate::target::{Catalogue, Platform, Target};

/// The files of the program's own recipes: `RECIPE/FILE` and content, by `build.rs`.
const EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/contexts.rs"));

/// Changes with everything that makes other roots of the same sources.
const FORMAT: u32 = 1;

/// The largest file that a recipe's folder may hold, in bytes.
const LARGEST: u64 = 64 << 20;

/// The name of the image that the Containerfile begins with.
const BUILDER: &str = "builder";

/// The name of the folder of source packages.
const SOURCE: &str = "source";

/// Modes of what is written for the Containerfile, whoever writes it.
const PLAIN: u32 = 0o644;
const EXECUTABLE: u32 = 0o755;

/// A file of a recipe's folder.
struct Given {
    mode: u32,
    content: Vec<u8>,
}

/// What is to be made.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where packages and sources come from. Its recipe is of the kind `containerfile`; its variant is a stage.
    pub of: debian::Request<'a>,
    /// Finds images that the Containerfile names besides its own, and hears of its steps.
    pub surroundings: &'a dyn Surroundings,
}

/// Makes the root, or finds it in the cache. The caller's program is started anew for that, so its `main` must call [`crate::build::enter`] and
/// [`crate::sandbox::enter`] before all else.
///
/// # Errors
/// [`RootfsError`]; what was made and fetched before it stays in the cache.
pub fn build(request: &Request<'_>, signals: &Signals, progress: &dyn Progress) -> Result<Made, RootfsError> {
    let of = &request.of;
    let plan = Plan::new(of)?;
    let files = plan.files(of)?;
    let include: Vec<String> = plan.how.include.iter().chain(&plan.machine.include).cloned().collect();
    let builder = debian::Request {
        recipe: plan.debian,
        target: &plan.host,
        suite: Some(&plan.how.suite),
        variant: None,
        include: &include,
        components: &[],
        lock: None,
        // The same steps come out of it whichever mirror it is from.
        sources: debian::Sources::None,
        ..of.clone()
    };
    let lock = debian::choose(&builder, progress)?;
    let sources = plan.sources(of, progress)?;
    let time = of.time.unwrap_or(lock.date);
    let key = plan.key(of, &files, &lock, &sources, time);
    let kept = if of.anew { None } else { Kept::find(of.cache, &key) };
    let is_old = kept.is_some();
    let kept = if let Some(kept) = kept {
        kept
    } else {
        let builder = debian::build_of(&builder, &lock, signals, progress)?;
        plan.make(request, &files, &builder, &sources, (&key, time), signals, progress)?
    };
    let named: Vec<String> =
        sources.iter().map(|package| format!("{}={}", package.name, package.version)).collect();
    let labels = [
        ("recipe", of.recipe.name.clone()),
        ("variant", plan.variant.into()),
        ("suite", plan.how.suite.clone()),
        ("sources", named.join(",")),
        ("builder", Digest::of(lock.text().as_bytes()).to_string()),
    ];
    let labels = labels.into_iter().map(|(name, value)| (format!("io.polyarch.rootfs.{name}"), value));
    Ok(Made {
        kept,
        is_old,
        platform: of.target.platform.clone(),
        config: of.recipe.config.clone(),
        labels: labels.collect(),
        time,
    })
}

/// A recipe's own words, and what was asked for.
struct Plan<'a> {
    how: &'a Containerfile,
    machine: &'a Machine,
    variant: &'a str,
    debian: &'static super::Recipe,
    host: Target,
}

impl<'a> Plan<'a> {
    fn new(of: &debian::Request<'a>) -> Result<Self, RootfsError> {
        let none = |reason: &str| RootfsError::NoTarget {
            recipe: of.recipe.name.clone(),
            target: of.target.name.clone(),
            reason: reason.into(),
        };
        let how = of.recipe.containerfile.as_ref().ok_or_else(|| none("it is of another kind"))?;
        let machine = of.recipe.machine_for(of.target).ok_or_else(|| {
            let all: Vec<&str> =
                how.machine.iter().flat_map(|machine| &machine.targets).map(String::as_str).collect();
            none(&format!("it is for {}", all.join(", ")))
        })?;
        let variant = of.variant.unwrap_or(&how.variant);
        if !how.variants.iter().any(|known| known == variant) {
            return Err(RootfsError::NoVariant {
                recipe: of.recipe.name.clone(),
                variant: variant.into(),
                has: how.variants.clone(),
            });
        }
        let host = Platform::host().to_string();
        let host = Catalogue::builtin().target(&host).map_err(|_| none("this machine is no target"))?.clone();
        let debian = recipes().iter().find(|recipe| recipe.name == "debian");
        Ok(Self { how, machine, variant, debian: debian.ok_or_else(|| none("there is no `debian`"))?, host })
    }

    /// The files of the recipe's folder, by name.
    fn files(&self, of: &debian::Request<'_>) -> Result<BTreeMap<OsString, Given>, RootfsError> {
        let Some(beside) = &of.recipe.folder else {
            let prefix = format!("{}/", self.how.context.display());
            let own = EMBEDDED.iter().filter_map(|(name, content)| {
                Some((name.strip_prefix(&prefix)?.into(), Given { mode: PLAIN, content: content.to_vec() }))
            });
            return Ok(own.collect());
        };
        let folder = beside.join(&self.how.context);
        let read = |path: &Path, source| RootfsError::File { doing: "reading", path: path.into(), source };
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(|source| read(&folder, source))? {
            let path = entry.map_err(|source| read(&folder, source))?.path();
            // A link may lead anywhere, and a pipe would be waited for.
            let there = fs::symlink_metadata(&path).map_err(|source| read(&path, source))?;
            if !there.is_file() {
                return Err(read(&path, io::Error::other("a recipe's folder holds plain files alone")));
            }
            let mode = if there.permissions().mode() & 0o100 == 0 { PLAIN } else { EXECUTABLE };
            let mut content = Vec::new();
            let file = File::open(&path).map_err(|source| read(&path, source))?;
            file.take(LARGEST + 1).read_to_end(&mut content).map_err(|source| read(&path, source))?;
            if content.len() as u64 > LARGEST {
                return Err(read(&path, io::Error::other(format!("it is larger than {LARGEST} bytes"))));
            }
            files.insert(path.file_name().unwrap_or_default().to_owned(), Given { mode, content });
        }
        Ok(files)
    }

    /// The source packages, as the suite has them now.
    fn sources(
        &self,
        of: &debian::Request<'_>,
        progress: &dyn Progress,
    ) -> Result<Vec<SourcePackage>, RootfsError> {
        if self.how.sources.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |source: DebianError| RootfsError::Sources {
            suite: self.how.suite.clone(),
            source: Box::new(source),
        };
        let index = debian::source_index(of, &self.how.suite, progress).map_err(failed)?;
        index.find_each(&self.how.sources).map_err(failed)
    }

    /// A digest of all that decides over the root's content.
    fn key(
        &self,
        of: &debian::Request<'_>,
        files: &BTreeMap<OsString, Given>,
        lock: &Lock,
        sources: &[SourcePackage],
        time: u64,
    ) -> Digest {
        use std::fmt::Write as _;
        let target = of.target;
        let mut text = format!(
            "polyarch rootfs containerfile {FORMAT}\n{}\n{} {} {:?}\n{}\n{time}\n{:?}\n{}\n",
            env!("CARGO_PKG_VERSION"),
            target.name,
            target.platform,
            target.qemu.cpu,
            self.variant,
            self.machine.args,
            debian::form(self.debian)
        );
        // Writing to a string cannot fail.
        for (name, file) in files {
            let name = name.as_encoded_bytes().escape_ascii();
            let _ = writeln!(text, "\"{name}\" {:o} {}", file.mode, Digest::of(&file.content));
        }
        for file in sources.iter().flat_map(|package| &package.files) {
            let _ = writeln!(text, "{} {}", file.name, file.sha256);
        }
        text.push_str(&lock.text());
        Digest::of(text.as_bytes())
    }

    #[expect(clippy::too_many_arguments, reason = "one call, of the one function that has found all of it")]
    fn make(
        &self,
        request: &Request<'_>,
        files: &BTreeMap<OsString, Given>,
        builder: &Made,
        sources: &[SourcePackage],
        (key, time): (&Digest, u64),
        signals: &Signals,
        progress: &dyn Progress,
    ) -> Result<Kept, RootfsError> {
        let of = &request.of;
        let folder = Folder::new(&of.cache.join("run"))
            .map_err(|source| RootfsError::Unpack { source: Box::new(source) })?;
        let layout = folder.path().join("layout");
        let image = ImageRef::Oci { dir: layout.clone(), tag: Some(BUILDER.into()) };
        builder.image(&image, &Access::default())?;
        let source = fetch(of, sources, &folder.path().join(SOURCE), progress)?;
        let context = folder.path().join("context");
        let written = |path: &Path, source| RootfsError::File { doing: "writing", path: path.into(), source };
        fs::create_dir(&context).map_err(|source| written(&context, source))?;
        for (name, file) in files {
            let path = context.join(name);
            fs::write(&path, &file.content)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(file.mode)))
                .map_err(|source| written(&path, source))?;
        }
        let open = |folder: &Path| {
            Context::open(folder, Ignore::default())
                .map_err(|source| RootfsError::Context { source: Box::new(source) })
        };
        let text =
            files.get(OsStr::new("Containerfile")).map(|file| file.content.as_slice()).unwrap_or_default();
        let unfit = |reason| RootfsError::NoContainerfile { folder: self.how.context.clone(), reason };
        if text.len() > SIZE_LIMIT || text.is_empty() {
            return Err(unfit("is missing, empty or too large".into()));
        }
        let failed = |source| RootfsError::Stages { source: Box::new(source) };
        let file = containerfile::Containerfile::parse(text).map_err(|err| failed(err.into()))?;
        if let Some((at, what)) = stranger(&file) {
            return Err(unfit(format!("takes `{what}` at line {at}, which nothing verifies")));
        }
        let confine = Confine::new(&ConfineOptions::default())
            .map_err(|source| RootfsError::Confine { source: Box::new(source) })?;
        let options = Options {
            args: self.machine.args.clone(),
            stage: Some(self.variant.into()),
            platforms: vec![Wanted { platform: of.target.platform.clone(), cpu: of.target.qemu.cpu.clone() }],
            context: open(&context)?,
            contexts: BTreeMap::from([
                (BUILDER.into(), NamedContext::Image(image.to_string())),
                (SOURCE.into(), NamedContext::Folder(open(&source)?)),
            ]),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            labels: Vec::new(),
            annotations: Vec::new(),
            no_cache: of.anew,
            timestamp: Some(time),
            jobs: thread::available_parallelism().map_or(2, usize::from),
            network: Network { mode: Mode::None, ..Network::default() },
            confine,
            limits: Limits::default(),
            debug_shell: false,
            emulator: of.emulator.clone(),
            emulation: of.emulation,
            cache: of.cache.into(),
        };
        let built = build::build(&file, &options, request.surroundings, signals).map_err(failed)?;
        let task = progress.begin("packing the root file system", None);
        let kept = Kept::keep(of.cache, key, |out| {
            let Some(image) = built.images().first() else { return Ok(()) };
            merge(&built.streams(image), &MergeOptions::default(), out)
                .map(drop)
                .map_err(|source| RootfsError::Compress { source: Box::new(source) })
        });
        drop(task);
        kept
    }
}

/// What a Containerfile takes from elsewhere than the builder, the sources, its own folder and its stages, and the line: an image, or an address.
fn stranger(file: &containerfile::Containerfile) -> Option<(usize, String)> {
    let mut stages: Vec<String> = Vec::new();
    for stage in &file.stages {
        let is_own = |name: &str| {
            let name = name.to_ascii_lowercase();
            [BUILDER, SOURCE, "scratch"].contains(&name.as_str())
                || stages.contains(&name)
                || name.bytes().all(|byte| byte.is_ascii_digit())
        };
        let base = &stage.from.base;
        if !is_own(&base.text) {
            return Some((base.at.line, base.text.clone()));
        }
        for located in &stage.instructions {
            let (froms, sources): (Vec<String>, &[Input]) = match &located.instruction {
                Instruction::Copy(copy) => (copy.from.iter().map(|from| from.text.clone()).collect(), &[]),
                Instruction::Add(add) => (Vec::new(), &add.sources),
                Instruction::Run(run) => {
                    let from = |word: &Word| match Mount::parse(&word.text) {
                        Ok(Mount::Bind { from, .. } | Mount::Cache { from, .. }) => from,
                        _ => None,
                    };
                    (run.mounts.iter().filter_map(from).collect(), &[])
                }
                _ => continue,
            };
            let is_address = |input: &&Input| matches!(input, Input::Path(path) if path.text.contains("://") || path.text.contains('$') || path.text.starts_with("git@"));
            let address = sources.iter().find(is_address).map(|input| match input {
                Input::Path(path) => path.text.clone(),
                Input::Heredoc(heredoc) => heredoc.name.clone(),
            });
            if let Some(what) = froms.into_iter().find(|from| !is_own(from)).or(address) {
                return Some((located.at.line, what));
            }
        }
        stages.extend(stage.name.clone());
    }
    None
}

/// Puts the files of each source package into a folder of its name beneath `folder`.
fn fetch(
    of: &debian::Request<'_>,
    sources: &[SourcePackage],
    folder: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf, RootfsError> {
    let failed = |path: &Path, source| RootfsError::File { doing: "writing", path: path.into(), source };
    fs::create_dir(folder).map_err(|source| failed(folder, source))?;
    let kept = of.cache.join("debian/sources");
    fs::create_dir_all(&kept).map_err(|source| failed(&kept, source))?;
    for package in sources {
        let place = folder.join(&package.name);
        fs::create_dir(&place).map_err(|source| failed(&place, source))?;
        for file in &package.files {
            let fetched = debian::fetch_source(of, file, &kept, progress).map_err(|source| {
                RootfsError::Fetch { package: package.name.clone(), source: Box::new(source) }
            })?;
            let path = place.join(&file.name);
            fs::hard_link(&fetched, &path)
                .or_else(|_| fs::copy(&fetched, &path).map(drop))
                .map_err(|source| failed(&path, source))?;
        }
    }
    Ok(folder.into())
}
