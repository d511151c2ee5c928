//! `run`: an image becomes a container.

mod confine;
mod limits;
mod root;
mod user;
mod volumes;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::exit::ExitStatus;
use super::printer::Printer;
use super::registry::RegistryArgs;
use super::{dirs, doctor};
use crate::emulator::{self, Options};
use crate::image::{Image, ImageRef};
use crate::sandbox::{
    Confine, Container, Folder, Handlers, Ids, Overrides, Process, Root, SandboxError, Signals, Snapshots,
    find_runtime,
};
use crate::target::Platform;

/// Run an image of any architecture, as an ordinary user
///
/// The exit status is the program's own, or 128 and the number of the signal that ended it. 125 says that
/// polyarch failed, 126 that the program cannot be executed, 127 that it was not found.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Set an environment variable; without a value, pass on the one that it has here
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = passed)]
    env: Vec<(String, Option<String>)>,

    /// The working directory in the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<OsString>,

    /// Run this in place of the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<OsString>,

    /// Run foreign programs with this static qemu-user program
    #[arg(long, value_name = "PATH")]
    emulator: Option<PathBuf>,

    /// Have this OCI runtime (`runc`, `crun`, a path) run the container, in place of the built-in runner
    #[arg(long, value_name = "RUNTIME")]
    runtime: Option<OsString>,

    /// Say also what was chosen and why
    // The program's own option without its letter, which is the volumes' here as in docker.
    #[arg(long, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(flatten)]
    user: user::UserArgs,

    #[command(flatten)]
    volumes: volumes::VolumeArgs,

    #[command(flatten)]
    confine: confine::ConfineArgs,

    #[command(flatten)]
    limits: limits::LimitArgs,

    #[command(flatten)]
    registry: RegistryArgs,

    /// The image (a name of the store, `docker://NAME`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`, or the
    /// path of such a folder or file), and arguments for its program
    // One list, so that all that follows the image is the program's, whatever it looks like.
    #[arg(value_names = ["IMAGE", "ARGS"], required = true, num_args = 1.., trailing_var_arg = true)]
    command: Vec<OsString>,
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let mut command = self.command.into_iter();
        let image = command.next().unwrap_or_default();
        let reference = ImageRef::find(&image.to_string_lossy())?;
        let cache = dirs::cache()?;
        let signals = Signals::catch().map_err(|source| SandboxError::Start { source })?;

        let access = self.registry.access([&reference])?;
        let open = || Ok::<_, anyhow::Error>(Image::open(&reference, &Platform::host(), &access)?);
        let image = open()?;
        let hostname: String = image.digest().hex().chars().take(12).collect();
        let overrides = Overrides {
            args: command.collect(),
            entrypoint: self.entrypoint,
            env: self
                .env
                .into_iter()
                .filter_map(|(name, value)| Some((name.into(), value?.into())))
                .collect(),
            cwd: self.workdir,
            user: self.user.user,
            groups: self.user.group_add,
        };
        let confine = Confine::new(&self.confine.options()?)?;
        let limits = self.limits.limits()?;
        let runtime = self.runtime.as_deref().map(runtime).transpose()?;
        let volumes = self.volumes.prepare(image.config(), printer)?;
        let process = Process::of(image.config(), overrides, &hostname)?;
        let search: Vec<PathBuf> = emulator::SEARCH.iter().map(PathBuf::from).collect();
        let options = Options { given: self.emulator, cache: &cache, search: &search };
        let handlers = Handlers::of(&image, &options)?;

        printer.verbose(format_args!("the image is for {}", image.platform()));
        for handler in &handlers.list {
            printer.verbose(format_args!("programs for {} run through {}", handler.guest, handler.emulator));
        }

        let platform = image.platform();
        let (root, ids) = (Root::default(), Ids::of_caller().0);
        let folder = Folder::new(&cache.join("run"))?;
        let mut container =
            Container { folder, root, process, volumes, confine, limits, runtime, hostname, handlers, ids };
        let snapshots = Snapshots::new(&cache);
        let mut image = Some(image);
        let status = root::with_ids(|ids, shortage| {
            // What is unpacked needs the image no more; the store may be pruned.
            let image = image.take().map_or_else(&open, Ok)?;
            let snapshot = snapshots.of(&image, ids, &signals, &printer)?;
            drop(image);
            root::tell(&snapshot, shortage, printer);
            (container.root, container.ids) = (Root::of(snapshot), ids.clone());
            Ok(container.run(&signals, &printer)?)
        });
        if let Err(err) = &status
            && let Some(
                SandboxError::NotFound { .. }
                | SandboxError::NotExecutable { .. }
                | SandboxError::Interpreter { .. },
            ) = err.downcast_ref()
            && let Some(files) = container.root.lowers.first()
        {
            doctor::why(files, &container.process, &platform);
        }
        status.map(ExitStatus::External)
    }
}

/// The OCI runtime that is meant by a name or a path.
fn runtime(name: &OsStr) -> Result<PathBuf, SandboxError> {
    let search: Vec<PathBuf> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    find_runtime(name, &search)
        .ok_or_else(|| SandboxError::NoRuntime { name: name.to_string_lossy().into_owned() })
}

/// `NAME=VALUE`, or `NAME` with the value that it has here; `None` where it has none, as docker leaves such out.
fn passed(text: &str) -> Result<(String, Option<String>), String> {
    if text.contains('=') {
        return variable(text).map(|(name, value)| (name, Some(value)));
    }
    if text.is_empty() {
        Err("a variable needs a name".into())
    } else {
        Ok((text.into(), std::env::var(text).ok()))
    }
}

/// `NAME=VALUE`.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a variable is given as `NAME=VALUE`")?;
    if name.is_empty() { Err("a variable needs a name".into()) } else { Ok((name.into(), value.into())) }
}
