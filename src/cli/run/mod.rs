//! `run`: an image becomes a container.

use std::ffi::OsString;
use std::path::PathBuf;

use super::exit::ExitStatus;
use super::printer::Printer;
use super::registry::RegistryArgs;
use super::{dirs, doctor};
use crate::emulator::{self, Options};
use crate::image::{Image, ImageRef};
use crate::layer::{LayerError, Limits, Unpacker};
use crate::progress::Progress as _;
use crate::sandbox::{Container, Emulation, Folder, Handlers, Overrides, Process, SandboxError, Signals};
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

    /// How foreign programs reach their emulators: by handlers of the container's own (Linux 6.7 on), by the host's
    /// handlers, or by tracing what is executed; by default the first of these that can be had
    #[arg(long, value_enum, value_name = "WAY")]
    emulation: Option<Way>,

    #[command(flatten)]
    registry: RegistryArgs,

    /// The image (a name of the store, `docker://NAME`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`, or the
    /// path of such a folder or file), and arguments for its program
    // One list, so that all that follows the image is the program's, whatever it looks like.
    #[arg(value_names = ["IMAGE", "ARGS"], required = true, num_args = 1.., trailing_var_arg = true)]
    command: Vec<OsString>,
}

/// The values of `--emulation`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Way {
    /// Handlers in a binfmt_misc of the container's own
    Private,
    /// The host's handlers and emulators
    Host,
    /// A tracer
    Trace,
}

impl From<Way> for Emulation {
    fn from(way: Way) -> Self {
        match way {
            Way::Private => Self::Private,
            Way::Host => Self::Host,
            Way::Trace => Self::Trace,
        }
    }
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
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
            env: self
                .env
                .into_iter()
                .filter_map(|(name, value)| Some((name.into(), value?.into())))
                .collect(),
            cwd: self.workdir,
        };
        let process = Process::of(image.config(), overrides, &hostname)?;
        let search: Vec<PathBuf> = emulator::SEARCH.iter().map(PathBuf::from).collect();
        let options = Options { given: self.emulator, cache: &cache, search: &search };
        let handlers = Handlers::of(&image, &options)?;

        printer.verbose(format_args!("the image is for {}", image.platform()));
        for handler in handlers.list.iter().filter(|handler| !handler.spare) {
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
        let emulation = self.emulation.map(Emulation::from);
        let container = Container { folder, process, hostname, handlers, emulation };
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
