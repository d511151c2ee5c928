//! `build`: a Containerfile becomes an image.

mod given;
mod input;
pub(super) mod show;
mod verify;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use super::dirs;
use super::exit::ExitStatus;
use super::printer::{Printer, Verbosity};
use super::registry::RegistryArgs;
use super::report::Told;
use crate::build::{self, BuildError, Built, Options, Wanted};
use crate::image::{self, CopyOptions, ImageRef, Pull, Squash, Which};
use crate::layer::{Limits as Unpacked, Unpacker};
use crate::sandbox::{Confine, ConfineOptions, Limits, Mode, Network, SandboxError, Signals};
use crate::target::{Catalogue, Platform};
use show::Shower;
use verify::{Verify, verify};

/// Build an image from a Containerfile, for any architecture, as an ordinary user
///
/// The language is Docker's. Steps run in the sandbox of `run`, programs of other architectures through emulators. Stages that the target
/// does not need are not built; what was built before comes from the cache.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The Containerfile; `-` for standard input [default: `Containerfile` or `Dockerfile` in the context]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// A name for the image in the store, or `docker://NAME` and the like for where it goes
    #[arg(short, long, value_name = "NAME", value_parser = ImageRef::find)]
    tag: Vec<ImageRef>,

    /// The platforms, or targets, to build for; several make one index [default: this machine's]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',', value_parser = wanted)]
    platform: Vec<Wanted>,

    /// The stage to build [default: the last]
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,

    #[command(flatten)]
    given: given::GivenArgs,

    /// Do every step anew
    #[arg(long)]
    no_cache: bool,

    /// Take steps that are not in the cache from a repository of a registry or an OCI layout: `docker://HOST/NAME` or `oci:DIR`
    #[arg(long, value_name = "WHERE", value_parser = shared)]
    cache_from: Vec<String>,

    /// Bring all steps to a repository of a registry or an OCI layout, for other machines; several builds may do so at once
    #[arg(long, value_name = "WHERE", value_parser = shared)]
    cache_to: Vec<String>,

    /// When to fetch images from their registries into the store; with `never`, missing emulators are not fetched either
    #[arg(long, value_name = "WHEN", value_enum, num_args = 0..=1, require_equals = true, default_value_t = When::Missing, default_missing_value = "always")]
    pull: When,

    /// Make one layer of all
    #[arg(long)]
    squash: bool,

    /// The image's time, and the latest of its files, in seconds since 1970 [default: that of `SOURCE_DATE_EPOCH`, else as it is]
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,

    /// Where the result goes besides: an image as for `copy`, or a folder, which gets the files
    #[arg(short, long, value_name = "IMAGE|DIR")]
    output: Vec<String>,

    /// What comes of what `check` finds in the result, at the end
    #[arg(long, value_name = "HOW", value_enum, num_args = 0..=1, require_equals = true, default_value_t = Verify::Error, default_missing_value = "error")]
    verify: Verify,

    /// Where a `RUN` fails, start a shell in its container as it was then
    #[arg(long)]
    debug_shell: bool,

    /// Write the image's digest to this file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,

    /// How much is said of what steps say
    #[arg(long, value_name = "HOW", value_enum, default_value_t = show::How::Auto)]
    progress: show::How,

    /// How many steps are done at once [default: as many as there are processors]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,

    /// What steps reach that do not say it themselves: what this machine reaches (`host`, the default), or nothing (`none`)
    #[arg(long, value_name = "host|none", value_parser = network)]
    network: Option<Mode>,

    /// Add a name to the /etc/hosts of steps; `host-gateway` is this machine
    #[arg(long, value_name = "NAME:IP", value_parser = super::run::host)]
    add_host: Vec<(String, Option<std::net::IpAddr>)>,

    /// A limit of steps' processes, as in `nofile=1024:2048`
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,

    /// How much memory a step may use, as in `512m`
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,

    /// How many processors' time a step may use, as in `1.5`
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,

    /// The CPU model of foreign programs, in place of the target's
    #[arg(long, value_name = "MODEL")]
    cpu: Option<String>,

    /// Run foreign programs with this static qemu-user program
    #[arg(long, value_name = "PATH")]
    emulator: Option<PathBuf>,

    /// How foreign programs reach their emulators [default: the first of these that can be had]
    #[arg(long, value_enum, value_name = "WAY")]
    emulation: Option<super::run::Way>,

    #[command(flatten)]
    registry: RegistryArgs,

    /// The folder that files are copied from; `-` for a tar archive, or a Containerfile alone, on standard input
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,
}

/// [`Pull`] on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum When {
    /// At every build
    Always,
    /// Where the store does not have it for the platform
    Missing,
    /// Never
    Never,
    /// At every build; what the store has serves where the registry does not answer
    Newer,
}

/// A platform, or that of a target and its CPU model. What is named as its platform is that platform, on any of its CPUs.
fn wanted(text: &str) -> Result<Wanted, String> {
    let platform = text.parse::<Platform>().map(Platform::normalized);
    match (Catalogue::builtin().resolve(text), platform) {
        (Ok(target), Ok(platform)) if target.platform == platform => Ok(Wanted { platform, cpu: None }),
        (Ok(target), _) => Ok(Wanted { platform: target.platform, cpu: target.qemu.cpu }),
        (Err(_), Ok(platform)) if platform.os == Platform::host().os => Ok(Wanted { platform, cpu: None }),
        (Err(err), _) => Err(err.hint().map_or_else(|| err.to_string(), |hint| format!("{err}; {hint}"))),
    }
}

/// A place of shared steps, as it was given.
fn shared(text: &str) -> Result<String, String> {
    let place = build::Shared::new(text, image::Access::default());
    place.map(|_| text.to_owned()).map_err(|err| err.to_string())
}

fn network(text: &str) -> Result<Mode, String> {
    match text {
        "host" | "default" => Ok(Mode::Host),
        "none" => Ok(Mode::None),
        _ => Err("there are `host` and `none`".into()),
    }
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let signals = Signals::catch().map_err(|source| SandboxError::Start { source })?;
        let cache = dirs::cache()?;
        let input = input::Input::read(&self.context, self.file.as_deref(), &cache)?;
        let file = input.containerfile()?;
        let stdout = self.destinations()?;
        let access = self.registry.pulling()?;
        let options = self.options(&input, cache)?;
        let pull = match self.pull {
            When::Always => Pull::Always,
            When::Missing => Pull::Missing,
            When::Never => Pull::Never,
            When::Newer => Pull::Newer,
        };
        for warning in &file.warnings {
            input.warn(warning, printer);
        }
        let shower = Shower {
            printer,
            input: Some(&input),
            how: self.progress,
            pull,
            access: &access,
            cache_from: &self.cache_from,
            cache_to: &self.cache_to,
        };
        let built = match build::build(&file, &options, &shower, &signals) {
            Ok(built) => built,
            Err(err) => {
                input.show(&err);
                return Err(err.into());
            }
        };
        let name = self.tag.first().map_or_else(|| "the image".into(), ToString::to_string);
        verify(&built, &name, self.verify, (&options.cache, &access), printer)?;
        for name in stdout {
            self.write(&built, &name, &access, printer)?;
        }
        for name in &self.output {
            match destination(name) {
                Some(_) => {}
                None => unpack(&built, name, &signals)?,
            }
        }
        let digest = built.digest();
        if let Some(path) = &self.iidfile {
            std::fs::write(path, digest.to_string())
                .with_context(|| format!("writing the digest to `{}`", path.display()))?;
        }
        let mut out = printer.stdout();
        if printer.is(Verbosity::Quiet) || self.tag.is_empty() {
            writeln!(out, "{digest}")?;
        } else {
            for name in &self.tag {
                writeln!(out, "{name} {digest}")?;
            }
        }
        out.flush()?;
        Ok(ExitStatus::Success)
    }

    /// Where the image goes.
    fn destinations(&self) -> Result<Vec<ImageRef>, Told> {
        let others =
            self.output.iter().filter_map(|name| destination(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.tag.iter().cloned().chain(others).collect())
    }

    fn options(&self, input: &input::Input, cache: PathBuf) -> anyhow::Result<Options> {
        let confine =
            Confine::new(&ConfineOptions { ulimits: self.ulimit.clone(), ..ConfineOptions::default() })?;
        let mut platforms = self.platform.clone();
        if platforms.is_empty() {
            platforms.push(Wanted { platform: Platform::host(), cpu: None });
        }
        if let Some(cpu) = &self.cpu {
            for wanted in &mut platforms {
                wanted.cpu = Some(cpu.clone());
            }
        }
        if let Some((at, double)) = platforms
            .iter()
            .enumerate()
            .find(|(at, one)| platforms.iter().take(*at).any(|other| other.platform == one.platform))
        {
            let _ = at;
            let message = format!("the platform {} is asked for twice", double.platform);
            return Err(Told::new(message, "an index holds one image for each platform").into());
        }
        let timestamp = match self.timestamp {
            Some(time) => Some(time),
            None if std::env::var_os("SOURCE_DATE_EPOCH").is_some_and(|time| !time.is_empty()) => {
                Some(super::epoch()?)
            }
            None => None,
        };
        let jobs = || std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Options {
            args: self.given.args(),
            stage: self.target.clone(),
            platforms,
            context: input.context()?,
            contexts: self.given.contexts()?,
            secrets: self.given.secrets()?,
            ssh: self.given.agents()?,
            labels: self.given.label.clone(),
            annotations: self.given.annotation.clone(),
            no_cache: self.no_cache,
            timestamp,
            jobs: self.jobs.map_or_else(jobs, usize::from),
            network: Network {
                mode: self.network.unwrap_or_default(),
                hosts: self.add_host.clone(),
                ..Network::default()
            },
            confine,
            limits: Limits {
                memory: self.memory.as_deref().map(super::run::size_of).transpose()?,
                millicpus: self.cpus.as_deref().map(super::run::thousandths).transpose()?,
                ..Limits::default()
            },
            emulator: self.emulator.clone(),
            debug_shell: self.debug_shell,
            emulation: self.emulation.map(super::run::Way::emulation).transpose()?,
            cache,
        })
    }

    fn write(
        &self,
        built: &Built,
        name: &ImageRef,
        access: &image::Access,
        printer: Printer,
    ) -> Result<(), BuildError> {
        let failed = |source| BuildError::Write { source: Box::new(source) };
        let destination = access.destination(name).map_err(failed)?;
        let quiet = Printer::new(Verbosity::Quiet);
        let is_remote = matches!(name, ImageRef::Docker { .. });
        let progress: &dyn crate::progress::Progress = if is_remote { &printer } else { &quiet };
        let mut options = CopyOptions::new(Which::All, progress);
        options.squash = self.squash.then_some(Squash::Whole);
        image::copy(built, destination.as_ref(), &options).map(drop).map_err(failed)
    }
}

/// Puts the files of the image into a folder; those of several, each into one of its own.
fn unpack(built: &Built, folder: &str, signals: &Signals) -> anyhow::Result<()> {
    let folder = PathBuf::from(folder);
    for one in built.images() {
        let target = match built.images() {
            [_] => folder.clone(),
            _ => folder.join(one.platform.to_string().replace('/', "_")),
        };
        let doing = || format!("putting the image's files into `{}`", target.display());
        std::fs::create_dir_all(&target).with_context(doing)?;
        let mut unpacker = Unpacker::new(&target, Unpacked::default()).with_context(doing)?;
        for (diff_id, reader) in built.layers(one) {
            let reader = reader.with_context(doing)?;
            unpacker
                .apply(reader, Some(&diff_id), &|| signals.interrupted().is_some())
                .with_context(doing)?;
        }
        unpacker.finish().with_context(doing)?;
    }
    Ok(())
}

/// The image that `--output` names; `None` where it names a folder.
fn destination(text: &str) -> Option<Result<ImageRef, Told>> {
    let transports = ["docker://", "oci:", "oci-archive:", "docker-archive:"];
    if !transports.iter().any(|transport| text.starts_with(transport)) {
        return None;
    }
    Some(text.parse::<ImageRef>().map_err(|err| Told::new(err.to_string(), "see `polyarch copy --help`")))
}
