//! From inputs to a report.

use std::ffi::{OsStr, OsString};
use std::fs::File as Handle;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use oci_spec::image::{Descriptor, ImageManifest};
use serde::Deserialize;

use super::subject::{self, ImageFacts, Subject};
use super::{CheckError, Finding, Fit, Input, InputKind, Layer, Options, Report, Rule, Severity, judge};
use crate::image::{Access, ImageError, ImageRef, ListedImage, Listing, Source, digest_of, small_blob};
use crate::layer::{LayerMemory, LayerStream, LayeredRoot, Limits};
use crate::progress::{Progress, Task};
use crate::target::{Catalogue, Platform, Target};
use crate::tree::root::Scanned;
use crate::tree::{self, Content, Record};

/// Which images of an index are checked, where no target says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The one for this platform, or the only one.
    Best(Platform),
    /// All.
    All,
}

/// Knows what a project allows.
pub trait Allowing: std::fmt::Debug {
    /// Takes out of `report` what is allowed.
    fn allow(&self, report: &mut Report);
}

/// What is checked against what.
#[derive(Debug)]
pub struct Check<'a> {
    /// The targets; none for each image's own claim.
    pub targets: &'a [Target],
    /// Which images of an index.
    pub which: Which,
    /// Whether folders and plain archives are root file systems, whatever is in them.
    pub as_root: bool,
    /// What is held besides.
    pub options: Options,
    /// Where no finding is asked for, but which of the targets each input fits: what takes out of a report what is allowed.
    pub fits: Option<&'a dyn Allowing>,
    /// What layers that were read before hold.
    pub memory: Option<&'a LayerMemory>,
    /// How images are reached.
    pub access: &'a Access,
    /// Is told what goes on.
    pub progress: &'a dyn Progress,
}

/// A layer's reader that tells how far it is.
struct Counted<'a, R> {
    inner: R,
    task: &'a Mutex<Box<dyn Task>>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.task.lock().unwrap_or_else(PoisonError::into_inner).advance(count as u64);
        Ok(count)
    }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    fits: Vec<Fit>,
    inputs: Vec<Input>,
    targets: Vec<String>,
    findings: Vec<Finding>,
    files: u64,
    elf: u64,
}

impl Found {
    /// Holds `subject` against each of `targets`; without any, against itself.
    fn judge(&mut self, subject: &Subject<'_>, targets: &[&Target], check: &Check<'_>) {
        let options = &check.options;
        self.files += subject.files.len() as u64;
        self.elf += subject.files.iter().filter(|file| file.elf().is_some()).count() as u64;
        if targets.is_empty() {
            self.findings.extend(judge(subject, None, options));
        }
        if let Some(allowing) = check.fits {
            self.fits.extend(targets.iter().map(|target| Fit::of(subject, target, options, allowing)));
            return;
        }
        for target in targets {
            if !self.targets.contains(&target.name) {
                self.targets.push(target.name.clone());
            }
            self.findings.extend(judge(subject, Some(target), options));
        }
    }
}

impl Check<'_> {
    /// Checks all of `inputs`.
    ///
    /// # Errors
    /// [`CheckError`] where one of them cannot be checked at all.
    pub fn run(&self, inputs: &[OsString]) -> Result<Report, CheckError> {
        let mut found = Found::default();
        for input in inputs {
            self.input(input, &mut found)?;
        }
        let mut report = Report::new(found.inputs, found.targets, found.findings, (found.files, found.elf));
        // What does not depend on the target is said once.
        report.findings.dedup_by(|b, a| {
            let is_same =
                a.rule == b.rule && a.path == b.path && a.message == b.message && a.input == b.input;
            is_same && a.platform == b.platform && a.expected == b.expected
        });
        report.fits = found.fits;
        report.settle();
        Ok(report)
    }

    fn input(&self, input: &OsStr, found: &mut Found) -> Result<(), CheckError> {
        let text = input.to_string_lossy();
        let path = Path::new(input);
        let reference = ImageRef::find(&text);
        let is_named = matches!(
            reference,
            Ok(ImageRef::Oci { .. }
                | ImageRef::OciArchive { .. }
                | ImageRef::DockerArchive { .. }
                | ImageRef::Docker { .. })
        );
        // What can be nothing but a path is one, whether or not it is there.
        let is_path = (text.starts_with(['/', '.']) && !text.contains(':')) || path.exists();
        if is_path && !is_named {
            return if path.is_dir() { self.folder(path, found) } else { self.file(path, found) };
        }
        let reference =
            reference.map_err(|source| CheckError::Reference { input: text.clone().into_owned(), source })?;
        self.image(input, &reference, found)
    }

    fn folder(&self, path: &Path, found: &mut Found) -> Result<(), CheckError> {
        let failed = |source| CheckError::Tree { input: path.display().to_string(), source };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        if !self.as_root && !subject::is_root(|name| path.join(name).is_dir()) {
            return self.records(path, tree::identify(path, threads).map_err(failed)?, found);
        }
        let root = Scanned::read(path, threads).map_err(failed)?;
        for record in root.unread() {
            if let Content::Error { message } = &record.content {
                self.progress.note(&format!("`{}`: {message}", Path::new(&record.path).display()));
            }
        }
        let subject = Subject {
            input: path.into(),
            kind: InputKind::Root,
            files: subject::files_of(&root),
            root: Some(&root),
            image: None,
        };
        found.inputs.push(Input { name: path.into(), kind: InputKind::Root, platforms: Vec::new() });
        found.judge(&subject, &self.targets.iter().collect::<Vec<_>>(), self);
        Ok(())
    }

    /// A file: a program, or an archive of a root file system or of programs.
    fn file(&self, path: &Path, found: &mut Found) -> Result<(), CheckError> {
        let input = || path.display().to_string();
        let mut magic = [0; 512];
        let count = Handle::open(path).and_then(|mut file| file.read(&mut magic)).unwrap_or(0);
        let is_layer = tree::is_tar_header(&magic[..count])
            || magic.starts_with(&[0x1f, 0x8b])
            || magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
        if is_layer {
            let open =
                || -> std::io::Result<Box<dyn std::io::Read + Send>> { Ok(Box::new(Handle::open(path)?)) };
            let root = LayeredRoot::read(vec![LayerStream::new(open, None)], Limits::default(), &|| false);
            // What is compressed need be no archive.
            if let Ok(root) = root {
                use crate::tree::root::{NodeKind, Root as _};
                let is_folder = |name: &Path| {
                    let node = root.node(&Path::new("/").join(name)).ok().flatten();
                    node.is_some_and(|node| node.kind == NodeKind::Folder)
                };
                if self.as_root || subject::is_root(is_folder) {
                    let subject = Subject {
                        input: path.into(),
                        kind: InputKind::Root,
                        files: subject::files_of(&root),
                        root: Some(&root),
                        image: None,
                    };
                    found.inputs.push(Input {
                        name: path.into(),
                        kind: InputKind::Root,
                        platforms: Vec::new(),
                    });
                    found.judge(&subject, &self.targets.iter().collect::<Vec<_>>(), self);
                    return Ok(());
                }
            }
        }
        let records =
            tree::identify(path, 1).map_err(|source| CheckError::Tree { input: input(), source })?;
        self.records(path, records, found)
    }

    /// Files that are in no root.
    fn records(&self, path: &Path, records: Vec<Record>, found: &mut Found) -> Result<(), CheckError> {
        let input = || path.display().to_string();
        if self.targets.is_empty() {
            return Err(CheckError::NoTarget { input: input() });
        }
        let mut files = subject::files_alone(records);
        if !files.iter().any(|file| file.elf().is_some()) {
            // A script, or a program for another system, was meant to be looked at.
            let is_something = files
                .iter()
                .any(|file| !matches!(&file.what, subject::What::Other | subject::What::Damaged(_)));
            if !is_something {
                return Err(CheckError::Empty { input: input() });
            }
        }
        for file in &mut files {
            file.read_head();
        }
        let subject = Subject { input: path.into(), kind: InputKind::Files, files, root: None, image: None };
        found.inputs.push(Input { name: path.into(), kind: InputKind::Files, platforms: Vec::new() });
        found.judge(&subject, &self.targets.iter().collect::<Vec<_>>(), self);
        Ok(())
    }

    fn image(&self, input: &OsStr, reference: &ImageRef, found: &mut Found) -> Result<(), CheckError> {
        let failed = |source: ImageError| CheckError::Image {
            input: input.to_string_lossy().into_owned(),
            source: Box::new(source),
        };
        let source = self.access.source(reference).map_err(failed)?;
        let listing = Listing::read(source.as_ref()).map_err(failed)?;
        found.inputs.push(Input { name: input.into(), kind: InputKind::Image, platforms: Vec::new() });
        if self.options.routeros {
            found.findings.extend(super::routeros::judge(input, reference, &listing));
        }
        for (image, targets) in self.chosen(input, &listing, found).map_err(failed)? {
            self.one(input, source.as_ref(), image, &targets, found)?;
        }
        Ok(())
    }

    /// The images of an index that are checked, each with the targets that it is held against.
    fn chosen<'s>(
        &'s self,
        input: &OsStr,
        listing: &'s Listing,
        found: &mut Found,
    ) -> Result<Vec<(&'s ListedImage, Vec<&'s Target>)>, ImageError> {
        let images = &listing.images;
        let present = || {
            let platforms = images.iter().filter_map(ListedImage::platform);
            platforms.map(|platform| platform.normalized().to_string()).collect::<Vec<_>>()
        };
        if images.is_empty() {
            let reason = "it lists no image".into();
            return Err(ImageError::Invalid { part: "index".into(), reason });
        }
        let find = |wanted: &Platform| {
            let platform = |image: &&ListedImage| image.platform().map(Platform::normalized);
            let exact = images.iter().find(|image| platform(image).as_ref() == Some(wanted));
            exact.or_else(|| images.first().filter(|_| images.len() == 1))
        };
        if self.which == Which::All {
            let targets: Vec<&Target> = self.targets.iter().collect();
            return Ok(images.iter().map(|image| (image, targets.clone())).collect());
        }
        // Which image is asked for no target says, where all are asked for.
        if self.targets.is_empty() || self.fits.is_some() {
            let Which::Best(wanted) = &self.which else { return Ok(Vec::new()) };
            let image = find(wanted)
                .ok_or_else(|| ImageError::Platform { wanted: wanted.to_string(), present: present() })?;
            return Ok(vec![(image, self.targets.iter().collect())]);
        }
        let mut chosen: Vec<(&ListedImage, Vec<&Target>)> = Vec::new();
        for target in self.targets {
            let Some(image) = find(&target.platform) else {
                found.targets.push(target.name.clone());
                found.findings.push(no_entry(input, target, &present(), &self.options));
                continue;
            };
            match chosen.iter_mut().find(|(known, _)| std::ptr::eq(*known, image)) {
                Some((_, targets)) => targets.push(target),
                None => chosen.push((image, vec![target])),
            }
        }
        Ok(chosen)
    }

    /// One image.
    fn one(
        &self,
        input: &OsStr,
        source: &dyn Source,
        image: &ListedImage,
        targets: &[&Target],
        found: &mut Found,
    ) -> Result<(), CheckError> {
        let name = || input.to_string_lossy().into_owned();
        let failed = |source: ImageError| CheckError::Image { input: name(), source: Box::new(source) };
        let manifest = image.manifest(source).map_err(failed)?;
        let manifest: ImageManifest = parse(&manifest.bytes, "manifest").map_err(failed)?;
        let config = small_blob(source, manifest.config(), "config").map_err(failed)?;
        let config: Config = parse(&config, "config").map_err(failed)?;
        let facts = config.facts(image.platform(), manifest.layers().len());
        let label = facts.config.clone().or_else(|| facts.listed.clone());
        let label = label.map(|platform| platform.normalized().to_string());
        let total = manifest.layers().iter().map(Descriptor::size).fold(0, u64::saturating_add);
        let task = self.progress.begin(
            &format!(
                "reading {}{}",
                name(),
                label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default()
            ),
            Some(total),
        );
        let task = Mutex::new(task);
        let layers = manifest.layers().iter().map(|layer| {
            let task = &task;
            let stream = LayerStream::new(
                move || {
                    let inner = source.blob(layer).map_err(io::Error::other)?;
                    Ok(Box::new(Counted { inner, task }) as Box<dyn Read + Send>)
                },
                None,
            );
            match digest_of(layer, "manifest") {
                Ok(digest) => stream.stored_as(digest),
                Err(_) => stream,
            }
        });
        let root = LayeredRoot::read_with(layers.collect(), Limits::default(), &|| false, self.memory);
        let root = root.map_err(|source| CheckError::Layers { input: name(), source: Box::new(source) })?;
        let subject = Subject {
            input: input.into(),
            kind: InputKind::Image,
            files: subject::files_of(&root),
            root: Some(&root),
            image: Some(facts),
        };
        if let (Some(label), Some(last)) = (label, found.inputs.last_mut())
            && !last.platforms.contains(&label)
        {
            last.platforms.push(label);
        }
        let own;
        let targets = if targets.is_empty() {
            own = claim(&subject);
            own.as_slice()
        } else {
            targets
        };
        found.judge(&subject, targets, self);
        Ok(())
    }
}

impl Fit {
    fn of(subject: &Subject<'_>, target: &Target, options: &Options, allowing: &dyn Allowing) -> Self {
        let findings = judge(subject, Some(target), options);
        let input = Input { name: subject.input.clone(), kind: subject.kind, platforms: Vec::new() };
        let mut report = Report::new(vec![input], vec![target.name.clone()], findings, (0, 0));
        allowing.allow(&mut report);
        let is_own = |finding: &&Finding| !finding.rule.is_about_policy();
        let mut errors =
            report.findings.iter().filter(is_own).filter(|finding| finding.severity == Severity::Error);
        let why = errors.next().map(|finding| format!("{}: {}", finding.rule, finding.message));
        let count = errors.count() + usize::from(why.is_some());
        Self {
            input: subject.input.clone(),
            target: target.name.clone(),
            fits: count == 0,
            errors: count,
            why,
        }
    }
}

/// The target that an image claims to be for. Where index and config differ, the one that more of the files are for.
fn claim(subject: &Subject<'_>) -> Vec<&'static Target> {
    let Some(image) = &subject.image else { return Vec::new() };
    let claims = [image.config.clone(), image.listed.clone()];
    let targets = claims.into_iter().flatten().filter_map(|platform| target_of(&platform));
    let fitting = |target: &Target| {
        let files = subject.files.iter().filter_map(|file| file.elf());
        files.filter(|identity| crate::elf::fit(identity, target).is_empty()).count()
    };
    // Of equals the first: `max_by_key` gives the last.
    let best = targets.rev().max_by_key(|target| fitting(target));
    best.into_iter().collect()
}

/// The catalogue's target for a platform.
fn target_of(platform: &Platform) -> Option<&'static Target> {
    let catalogue = Catalogue::builtin();
    let platform = platform.clone().normalized();
    let without = Platform { variant: None, ..platform.clone() };
    catalogue.target(&platform.to_string()).or_else(|_| catalogue.target(&without.to_string())).ok()
}

/// An index that has nothing for a target.
fn no_entry(input: &OsStr, target: &Target, present: &[String], options: &Options) -> Finding {
    let list = present.join(", ");
    let mut message =
        format!("the index has no image for {} ({}): it has {list}", target.name, target.platform);
    if options.routeros {
        let falls_back =
            target.platform.architecture == "arm" && present.iter().any(|name| name == "linux/arm/v7");
        message.push_str(if falls_back && target.platform.variant.as_deref() == Some("v5") {
            "; RouterOS takes the one for arm/v7 then, which ends with signal 4 on these boards (reported)"
        } else {
            "; RouterOS says `no manifest found for this architecture` (reported)"
        });
    }
    Finding {
        rule: Rule::PlatformMismatch,
        severity: Rule::PlatformMismatch.severity(),
        input: input.into(),
        platform: None,
        path: None,
        line: None,
        layer: None,
        target: Some(target.name.clone()),
        message,
        expected: Some(target.platform.to_string()),
        found: Some(list),
        help: format!("build the image for {} too, and add it to the index", target.platform),
    }
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], part: &str) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|source| ImageError::Json { part: part.into(), source })
}

/// What is held of a config: each part of it may be missing, which is told instead of being an error.
#[derive(Debug, Deserialize)]
struct Config {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
    #[serde(default, rename = "config")]
    runs: Option<Runs>,
    #[serde(default)]
    rootfs: Option<RootFs>,
    #[serde(default)]
    history: Option<Vec<History>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Runs {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    labels: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RootFs {
    diff_ids: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct History {
    created_by: Option<String>,
    empty_layer: bool,
}

impl Config {
    fn facts(self, listed: Option<Platform>, layers: usize) -> ImageFacts {
        let runs = self.runs.unwrap_or_default();
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let config = some(self.os).zip(some(self.architecture)).map(|(os, architecture)| Platform {
            os,
            architecture,
            variant: some(self.variant),
        });
        let history = self.history.unwrap_or_default();
        let made: Vec<&History> = history.iter().filter(|step| !step.empty_layer).collect();
        let ids = self.rootfs.unwrap_or_default().diff_ids;
        let layers = (0..layers).map(|at| Layer {
            number: at + 1,
            diff_id: ids.get(at).cloned().unwrap_or_default(),
            // A history of another length is of no use.
            created_by: made
                .get(at)
                .filter(|_| made.len() == layers)
                .and_then(|step| step.created_by.clone()),
        });
        let labels = runs.labels.unwrap_or_default().into_iter();
        let text = |value: serde_json::Value| value.as_str().map(str::to_owned);
        ImageFacts {
            listed,
            config,
            layers: layers.collect(),
            command: runs.entrypoint.into_iter().chain(runs.cmd).flatten().collect(),
            env: runs.env.unwrap_or_default(),
            workdir: runs.working_dir.unwrap_or_default(),
            user: runs.user.unwrap_or_default(),
            labels: labels.filter_map(|(key, value)| Some((key, text(value)?))).collect(),
        }
    }
}
