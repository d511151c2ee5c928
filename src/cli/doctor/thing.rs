//! Why an image, a root file system or a program does not start, printed.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::super::exit::ExitStatus;
use super::super::format::{self, Format};
use super::super::printer::{ERROR, HINT, Printer, line};
use super::super::registry::RegistryArgs;
use super::super::table::shown;
use crate::doctor::{self, Explanation, Machine, Place, Subject, Verdict};
use crate::image::{Image, ImageRef};
use crate::layer::{LayerStream, LayeredRoot, Limits};
use crate::sandbox::{DEFAULT_PATH, Process};
use crate::target::Platform;
use crate::tree::TreeError;
use crate::tree::root::{Folder, Root};

/// All that is told of one thing.
#[derive(Serialize)]
struct Report {
    input: String,
    /// `image`, `root` or `program`.
    kind: &'static str,
    platform: Option<String>,
    program: Option<String>,
    architecture: Option<String>,
    chain: Vec<String>,
    starts: bool,
    verdicts: Vec<Verdict>,
}

impl Report {
    fn new(
        input: &OsStr,
        kind: &'static str,
        platform: Option<&Platform>,
        program: Option<String>,
        found: Explanation,
    ) -> Self {
        Self {
            input: input.to_string_lossy().into_owned(),
            kind,
            platform: platform.map(ToString::to_string),
            program,
            architecture: found.architecture,
            chain: found.chain.iter().map(|path| path.display().to_string()).collect(),
            starts: found.verdicts.is_empty(),
            verdicts: found.verdicts,
        }
    }
}

pub(super) fn explain(
    thing: &OsStr,
    program: Option<&str>,
    registry: &RegistryArgs,
    format: Format,
    printer: Printer,
) -> anyhow::Result<ExitStatus> {
    let machine = Machine::look(super::places()?, false);
    let path = Path::new(thing);
    let text = thing.to_string_lossy();
    let reference = ImageRef::find(&text);
    let is_archive = matches!(
        reference,
        Ok(ImageRef::Oci { .. } | ImageRef::OciArchive { .. } | ImageRef::DockerArchive { .. })
    );
    // What can be nothing but a path is one, whether or not it is there.
    let is_path = text.starts_with(['/', '.']) && !text.contains(':');
    let report = if path.is_dir() && !is_archive {
        root(path, program, &machine)?
    } else if !is_archive && (is_path || path.exists() || path.is_symlink() || is_on_path(&text, &machine)) {
        host(thing, &machine)?
    } else {
        image(thing, &reference?, program, registry, &machine)?
    };
    let mut out = printer.stdout();
    match format {
        Format::Json => format::json(&mut out, &report),
        Format::Text => print(&mut out, &report),
    }
    .and_then(|()| out.flush())
    .context("writing to standard output")?;
    Ok(if report.starts { ExitStatus::Success } else { ExitStatus::Found })
}

/// A name without a slash that is a program's rather than an image's of the store.
fn is_on_path(name: &str, machine: &Machine) -> bool {
    let folders = machine.places.search.split(':').filter(|folder| !folder.is_empty());
    !name.contains(['/', ':'])
        && folders.map(|folder| Path::new(folder).join(name)).any(|path| path.is_file())
}

fn open(path: &Path) -> Result<Folder, TreeError> {
    Folder::open(path).map_err(|source| TreeError::Open { path: path.into(), source })
}

fn root(path: &Path, program: Option<&str>, machine: &Machine) -> anyhow::Result<Report> {
    let root = open(path)?;
    let program = program.unwrap_or("/bin/sh").to_owned();
    let subject = Subject {
        root: &root,
        program: Some(program.clone()),
        search: DEFAULT_PATH.into(),
        library_path: None,
        cwd: "/".into(),
        user: String::new(),
        place: Place::Container(None),
    };
    let found = doctor::explain(&subject, machine);
    Ok(Report::new(path.as_os_str(), "root", None, Some(program), found))
}

fn host(thing: &OsStr, machine: &Machine) -> anyhow::Result<Report> {
    let root = open(Path::new("/"))?;
    let cwd = std::env::current_dir().context("reading the working directory")?;
    let text = thing.to_string_lossy().into_owned();
    // A file that is named is meant, as `sh FILE` would; only a bare name that is no file here is looked up.
    let is_bare = !text.contains('/') && !Path::new(thing).exists();
    let program = if is_bare { text.clone() } else { cwd.join(thing).to_string_lossy().into_owned() };
    let mut gids: Vec<u32> =
        rustix::process::getgroups().unwrap_or_default().iter().map(|gid| gid.as_raw()).collect();
    gids.push(rustix::process::getegid().as_raw());
    let subject = Subject {
        root: &root,
        program: Some(program),
        search: machine.places.search.clone(),
        library_path: std::env::var("LD_LIBRARY_PATH").ok(),
        cwd,
        user: String::new(),
        place: Place::Host { uid: rustix::process::geteuid().as_raw(), gids },
    };
    let found = doctor::explain(&subject, machine);
    Ok(Report::new(thing, "program", None, Some(text), found))
}

fn image(
    thing: &OsStr,
    reference: &ImageRef,
    program: Option<&str>,
    registry: &RegistryArgs,
    machine: &Machine,
) -> anyhow::Result<Report> {
    let image = Image::open(reference, &Platform::host(), &registry.access([reference])?)?;
    let layers = image.layers().iter().enumerate().map(|(index, layer)| {
        let image = &image;
        LayerStream::new(move || image.layer(index).map_err(std::io::Error::other), Some(layer.diff_id))
    });
    let root = LayeredRoot::read(layers.collect(), Limits::default(), &|| false)?;
    let config = image.config().config().clone().unwrap_or_default();
    let words = config.entrypoint().iter().flatten().chain(config.cmd().iter().flatten()).next();
    let program = program.map(str::to_owned).or_else(|| words.cloned());
    let variable = |name: &str| {
        let lines = config.env().iter().flatten();
        lines
            .filter_map(|line| line.split_once('='))
            .rfind(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    };
    let platform = image.platform();
    let subject = Subject {
        root: &root,
        program: program.clone(),
        search: variable("PATH").unwrap_or_else(|| DEFAULT_PATH.into()),
        library_path: variable("LD_LIBRARY_PATH"),
        cwd: config.working_dir().as_deref().filter(|dir| !dir.is_empty()).unwrap_or("/").into(),
        user: config.user().clone().unwrap_or_default(),
        place: Place::Container(Some(platform.clone())),
    };
    let found = doctor::explain(&subject, machine);
    Ok(Report::new(thing, "image", Some(&platform), program, found))
}

fn print(out: &mut impl std::io::Write, report: &Report) -> std::io::Result<()> {
    if report.starts {
        let chain = report.chain.iter().map(shown).collect::<Vec<_>>().join(" → ");
        let architecture =
            report.architecture.as_deref().map(|name| format!(" (linux/{name})")).unwrap_or_default();
        return writeln!(
            out,
            "nothing is in the way of starting {}: {chain}{architecture}",
            shown(&report.input)
        );
    }
    for verdict in &report.verdicts {
        writeln!(out, "{ERROR}{}{ERROR:#}: {}", verdict.id, shown(&verdict.message))?;
        writeln!(out, "  {HINT}to do{HINT:#}: {}", shown(&verdict.help))?;
    }
    Ok(())
}

/// Says on standard error why `process` did not start in the root file system `folder`, of an image for `platform`.
pub(in crate::cli) fn why(folder: &Path, process: &Process, platform: &Platform) {
    let (Ok(places), Ok(root)) = (super::places(), open(folder)) else { return };
    let machine = Machine::look(places, false);
    let variable = |name: &str| {
        let value = process.env.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        value.map(|value| value.to_string_lossy().into_owned())
    };
    let subject = Subject {
        root: &root as &dyn Root,
        program: process.args.first().map(|name| name.to_string_lossy().into_owned()),
        search: variable("PATH").unwrap_or_else(|| DEFAULT_PATH.into()),
        library_path: variable("LD_LIBRARY_PATH"),
        cwd: PathBuf::from(OsStr::from_bytes(process.cwd.as_bytes())),
        user: String::new(),
        place: Place::Container(Some(platform.clone())),
    };
    for verdict in doctor::explain(&subject, &machine).verdicts {
        line(format_args!("{HINT}why{HINT:#}: {}", shown(&verdict.message)));
        line(format_args!("{HINT}hint{HINT:#}: {}", shown(&verdict.help)));
    }
}
