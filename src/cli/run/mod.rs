//! `run`: an image becomes a container.

mod environment;
mod terminal;
mod user;
mod volumes;

use std::ffi::OsString;
use std::path::PathBuf;

pub(super) use environment::variable;

use super::exit::ExitStatus;
use super::printer::Printer;
use super::registry::RegistryArgs;
use super::{dirs, doctor};
use crate::emulator::{self, Options};
use crate::image::{Image, ImageRef};
use crate::layer::{LayerError, Limits, Unpacker};
use crate::progress::Progress as _;
use crate::sandbox::{Container, Folder, Handlers, Overrides, Process, SandboxError, Signals};
use crate::target::Platform;

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

    /// Run foreign programs with this static qemu-user program
    #[arg(long, value_name = "PATH")]
    emulator: Option<PathBuf>,

    /// Say also what was chosen and why
    // The program's own option without its letter, which is the volumes' here as in docker.
    #[arg(long, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(flatten)]
    user: user::UserArgs,

    #[command(flatten)]
    volumes: volumes::VolumeArgs,

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
        let terminal = self.terminal.terminal()?;
        let init = self.terminal.init;
        let mut command = self.command.into_iter();
        let image = command.next().unwrap_or_default();
        let reference = ImageRef::find(&image.to_string_lossy())?;
        let cache = dirs::cache()?;
        let signals = Signals::catch().map_err(|source| SandboxError::Start { source })?;

        let image = Image::open(&reference, &Platform::host(), &self.registry.access([&reference])?)?;
        let hostname: String = image.digest().hex().chars().take(12).collect();
        let overrides = Overrides {
            args: command.collect(),
            entrypoint: self.entrypoint,
            env: self.environment.variables()?,
            cwd: self.workdir,
            tty: terminal.tty,
            user: self.user.user,
            groups: self.user.group_add,
        };
        let volumes = self.volumes.prepare(image.config(), printer)?;
        let process = Process::of(image.config(), overrides, &hostname)?;
        let search: Vec<PathBuf> = emulator::SEARCH.iter().map(PathBuf::from).collect();
        let options = Options { given: self.emulator, cache: &cache, search: &search };
        let handlers = Handlers::of(&image, &options)?;

        printer.verbose(format_args!("the image is for {}", image.platform()));
        for handler in &handlers.list {
            printer.verbose(format_args!("programs for {} run through {}", handler.guest, handler.emulator));
        }

        let folder = Folder::new(&cache.join("run"))?;
        if let Err(err) = unpack(&image, &folder, &signals, printer) {
            return Err(match signals.interrupted() {
                Some(signal) => SandboxError::Interrupted { signal }.into(),
                None => err,
            });
        }
        let platform = image.platform();
        // What is unpacked needs the image no more; the store may be pruned.
        drop(image);
        let container = Container { folder, process, volumes, hostname, handlers, init, terminal };
        match container.run(&signals, &printer) {
            Ok(status) => Ok(ExitStatus::External(status)),
            Err(err) => {
                if let SandboxError::NotFound { .. }
                | SandboxError::NotExecutable { .. }
                | SandboxError::Interpreter { .. } = err
                {
                    doctor::why(&container.folder.root(), &container.process, &platform);
                }
                Err(err.into())
            }
        }
    }
}

/// Puts the image's files into the container's folder.
fn unpack(image: &Image, folder: &Folder, signals: &Signals, printer: Printer) -> anyhow::Result<()> {
    let stop = || signals.interrupted().is_some();
    let mut unpacker = Unpacker::new(&folder.root(), Limits::default())?;
    let total = image.layers().iter().map(|layer| layer.size).sum();
    // Small images are there at once; a line for each run would only be in the way.
    let task = (total >= 16 << 20).then(|| printer.begin("unpacking the image", Some(total)));
    for (index, layer) in image.layers().iter().enumerate() {
        let reader = image.layer(index)?;
        unpacker.apply(reader, Some(&layer.diff_id), &stop).map_err(|err| named(err, index))?;
        if let Some(task) = &task {
            task.advance(layer.size);
        }
    }
    let skipped = unpacker.finish()?;
    if skipped.devices > 0 {
        printer.note(&format!("{} device nodes of the image were left out", skipped.devices));
    }
    if skipped.attributes > 0 {
        printer.note(&format!("extended attributes of {} files were left out", skipped.attributes));
    }
    Ok(())
}

fn named(err: LayerError, index: usize) -> anyhow::Error {
    anyhow::Error::new(err).context(format!("unpacking layer {} of the image", index + 1))
}
