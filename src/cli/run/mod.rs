//! `run`: an image becomes a container.

mod confine;
mod emulation;
mod environment;
mod limits;
mod network;
mod root;
mod terminal;
mod user;
mod volumes;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

pub(super) use confine::bytes as size_of;
pub(in crate::cli) use emulation::Way;
pub(super) use environment::variable;
pub(super) use limits::thousandths;
pub(super) use network::host;

use super::exit::ExitStatus;
use super::printer::Printer;
use super::registry::RegistryArgs;
use super::report::Told;
use super::{dirs, doctor};
use crate::sandbox::{
    Confine, Container, Folder, Ids, Overrides, Process, Root, SandboxError, Signals, Snapshots, find_runtime,
};

/// Run an image of any architecture, as an ordinary user
///
/// The exit status is the program's own, or 128 and the number of the signal that ended it. 125 says that
/// polyarch failed, 126 that the program cannot be executed, 127 that it was not found.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    terminal: terminal::TerminalArgs,

    #[command(flatten)]
    environment: environment::EnvironmentArgs,

    /// The working directory in the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<OsString>,

    /// Run this in place of the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<OsString>,

    /// Have this OCI runtime (`runc`, `crun`, a path) run the container, in place of the built-in runner
    #[arg(long, value_name = "RUNTIME")]
    runtime: Option<OsString>,

    /// Say also what was chosen and why
    // The program's own option without its letter, which is the volumes' here as in docker.
    #[arg(long, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(flatten)]
    root: root::RootArgs,

    #[command(flatten)]
    user: user::UserArgs,

    #[command(flatten)]
    volumes: volumes::VolumeArgs,

    #[command(flatten)]
    confine: confine::ConfineArgs,

    #[command(flatten)]
    limits: limits::LimitArgs,

    #[command(flatten)]
    emulation: emulation::EmulationArgs,

    #[command(flatten)]
    network: network::NetworkArgs,

    #[command(flatten)]
    registry: RegistryArgs,

    /// The image (a name of the store or of a registry, `docker://NAME`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`,
    /// `docker-archive:FILE[:NAME]`, the path of such a folder or file, or of a root file system), and arguments for its program
    // One list, so that all that follows the image is the program's, whatever it looks like.
    #[arg(value_names = ["IMAGE", "ARGS"], required_unless_present = "rootfs", num_args = 1.., trailing_var_arg = true)]
    command: Vec<OsString>,
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let terminal = self.terminal.terminal()?;
        let init = self.terminal.init;
        let mut command = self.command;
        let cache = dirs::cache()?;
        let signals = Signals::catch().map_err(|source| SandboxError::Start { source })?;

        let may_fetch = self.root.may_fetch();
        let mut files = self.root.find(&mut command, &self.registry, printer)?;
        let overrides = Overrides {
            args: command,
            entrypoint: self.entrypoint,
            env: self.environment.variables()?,
            cwd: self.workdir,
            tty: terminal.tty,
            user: self.user.user,
            groups: self.user.group_add,
        };
        let confine = Confine::new(&self.confine.options()?)?;
        let limits = self.limits.limits()?;
        let runtime = self.runtime.as_deref().map(|name| runtime(name, init)).transpose()?;
        let volumes = self.volumes.prepare(&files.config, printer)?;
        let hostname = self.network.hostname.clone().unwrap_or_else(|| files.hostname.clone());
        let name = self.network.name.clone();
        let network = self.network.network(&files.config, printer)?;
        let process = Process::of(&files.config, overrides, &hostname)?;
        let mut emulated =
            self.emulation.prepare(&files.config, &files.platform, &cache, may_fetch, printer)?;
        let (handlers, debug) = (emulated.handlers.clone(), std::mem::take(&mut emulated.debug));

        printer.verbose(format_args!("the image is for {}", files.platform));
        for handler in handlers.list.iter().filter(|handler| !handler.spare) {
            let flags = [&[String::new()], handler.flags.as_slice()].concat().join(" ");
            printer.verbose(format_args!(
                "programs for {} run through {}{flags}",
                handler.guest, handler.emulator
            ));
        }

        let (root, ids) = (Root::default(), Ids::of_caller().0);
        let folder = Folder::new(&cache.join("run"))?;
        let mut container = Container {
            folder,
            root,
            process,
            volumes,
            confine,
            limits,
            runtime,
            hostname,
            name,
            network,
            handlers,
            emulation: emulated.way,
            debug,
            init,
            terminal,
            output: None,
            ids,
        };
        let snapshots = Snapshots::new(&cache);
        let status = root::with_ids(|ids, shortage| {
            container.root = files.root(&snapshots, ids, shortage, &signals, printer)?;
            container.ids = ids.clone();
            Ok(container.run(&signals, &printer)?)
        });
        if let Err(err) = &status
            && let Some(
                SandboxError::NotFound { .. }
                | SandboxError::NotExecutable { .. }
                | SandboxError::Interpreter { .. },
            ) = err.downcast_ref()
            && let Some(folder) = container.root.lowers.first()
        {
            doctor::why(folder, &container.process, &files.platform);
        }
        if let (Ok(status), Some(files)) = (&status, container.root.lowers.first()) {
            emulated.explain(*status, files, &container.process);
        }
        status.map(ExitStatus::External)
    }
}

/// The OCI runtime that is meant by a name or a path.
fn runtime(name: &OsStr, init: bool) -> anyhow::Result<PathBuf> {
    if init {
        let hint = "leave one of the two away; the runtime itself passes signals on to the program";
        return Err(
            Told::new("`--init` is the built-in runner's, and `--runtime` wants another", hint).into()
        );
    }
    let search: Vec<PathBuf> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    let missing = || SandboxError::NoRuntime { name: name.to_string_lossy().into_owned() };
    Ok(find_runtime(name, &search).ok_or_else(missing)?)
}
