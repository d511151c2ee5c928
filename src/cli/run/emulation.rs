//! `run`: how foreign programs run.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::super::emulator::find_or_fetch;
use super::super::printer::{HINT, Printer, Verbosity, WARNING, line};
use super::super::report::Told;
use super::variable;
use crate::elf::{self, Identity};
use crate::emulator::{self, EmulatorError, Options};
use crate::image::ImageConfiguration;
use crate::sandbox::{DEFAULT_PATH, Debug, Emulation, Emulator, Gdb, Handlers, Process, Tuning, size};
use crate::target::{Catalogue, Guest, Platform, Target};
use crate::tree::root::{Folder, Root as _, resolve};

/// What a container ends with whose program was ended by an illegal instruction.
const ILLEGAL_INSTRUCTION: u8 = 128 + 4;

/// How many of the words of a command line may name the program: an emulator and its options come before it.
const WORDS: usize = 16;

/// Options of `run`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Emulation")]
pub(super) struct EmulationArgs {
    /// The machine that the image's programs are for: a target of the catalogue or the path of one's file, for its CPU model
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,

    /// The CPU model of the image's own programs, as `qemu-GUEST -cpu help` lists them, in place of the target's
    #[arg(long, value_name = "MODEL")]
    cpu: Option<String>,

    /// Run the image's foreign programs with this static qemu-user program
    #[arg(long, value_name = "PATH")]
    emulator: Option<PathBuf>,

    /// How foreign programs reach their emulators [default: the first of these that can be had]
    #[arg(long, value_enum, value_name = "WAY")]
    emulation: Option<Way>,

    /// The stack of a foreign program, as `64m`
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    stack_size: Option<u64>,

    /// A variable that foreign programs have and their emulators do not, such as `LD_PRELOAD`
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    guest_env: Vec<(String, String)>,

    /// Have the first foreign program wait for a debugger (`gdb-multiarch`) at this port of the loopback, 0 for a free one, or at this
    /// socket
    #[arg(long, value_name = "PORT|SOCKET", value_parser = gdb)]
    gdb: Option<Gdb>,

    /// Write the system calls of all foreign programs to this file
    #[arg(long, value_name = "FILE")]
    strace: Option<PathBuf>,
}

/// The values of `--emulation`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(in crate::cli) enum Way {
    /// By handlers in a binfmt_misc of the container's own, which Linux has from 6.7 on
    Private,
    /// By the host's handlers, which must have the flag `F`, and with the host's emulators
    Host,
    /// By tracing what is executed, on every Linux from 4.8 on
    Trace,
    /// By an emulator that executes foreign programs by itself, where the cache has one
    Direct,
}

impl Way {
    /// The way that is meant.
    pub(in crate::cli) fn emulation(self) -> Result<Emulation, Told> {
        match self {
            Self::Private => Ok(Emulation::Private),
            Self::Host => Ok(Emulation::Host),
            Self::Trace => Ok(Emulation::Trace),
            // None that Debian builds can, and no other is ever put into the cache.
            Self::Direct => Err(Told::new(
                "no emulator in the cache executes foreign programs by itself, as `--emulation direct` wants it",
                "leave `--emulation` out: `private`, `host` and `trace` need no such emulator",
            )),
        }
    }
}

/// What the options mean for one image.
#[derive(Debug)]
pub(super) struct Emulated {
    pub(super) way: Option<Emulation>,
    pub(super) handlers: Handlers,
    pub(super) debug: Debug,
    target: Option<Target>,
    cpu: Option<String>,
}

impl EmulationArgs {
    /// Finds the emulators for an image with this config and platform, which are fetched where that may be, and has them run as the
    /// options say.
    pub(super) fn prepare(
        self,
        config: &ImageConfiguration,
        platform: &Platform,
        cache: &Path,
        may_fetch: bool,
        printer: Printer,
    ) -> anyhow::Result<Emulated> {
        let way = self.emulation.map(Way::emulation).transpose()?;
        let target = self.target.as_deref().map(|name| Catalogue::builtin().resolve(name)).transpose()?;
        let search: Vec<PathBuf> = emulator::SEARCH.iter().map(PathBuf::from).collect();
        let options = Options { given: self.emulator, cache, search: &search };
        let wanted = target.as_ref().map(|target| target.qemu.guest.as_str());
        let find = |guest| {
            if may_fetch {
                find_or_fetch(guest, &Platform::host(), options.clone(), printer)
            } else {
                Ok(emulator::find(guest, &Platform::host(), &options)?)
            }
        };
        let mut handlers = Handlers::of(config, platform, &options, wanted, find)?;
        let cpu = self.cpu.or_else(|| target.as_ref()?.qemu.cpu.clone());
        let is_native = |target: &&Target| {
            let own = Catalogue::builtin().target(&Platform::host().to_string());
            own.is_ok_and(|own| own.runs_natively(&target.qemu.guest))
        };
        let foreign = target.as_ref().filter(|target| !is_native(target));
        handlers.tune(&Tuning {
            target: foreign.map(|target| (target.name.clone(), target.qemu.guest.clone())),
            cpu: cpu.clone(),
            stack_size: self.stack_size,
            env: self.guest_env.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
            gdb: self.gdb.is_some(),
            calls: self.strace.is_some(),
        })?;
        if let Some(model) = &cpu {
            check_model(&handlers, model, &options)?;
        }
        let debug = Debug::new(self.gdb.as_ref(), self.strace.as_deref())?;
        if let Some(place) = debug.place()
            && !printer.is(Verbosity::Quiet)
        {
            line(format_args!("gdb: waiting at {place}, for `gdb-multiarch -ex 'target remote {place}'`"));
        }
        Ok(Emulated { way, handlers, debug, target, cpu })
    }
}

/// A number is a port, all else a path.
fn gdb(text: &str) -> Result<Gdb, String> {
    match text.parse() {
        Ok(port) => Ok(Gdb::Port(port)),
        Err(_) if text.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err("a port is a number up to 65535".into())
        }
        Err(_) => Ok(Gdb::Socket(text.into())),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    size::parse(text)
        .filter(|size| *size > 0)
        .ok_or_else(|| "a size is a number and `k`, `m` or `g`, as in `64m`".into())
}

/// Asks the emulator that has the model, or where only the image has it this machine's own, whether there is such a model.
fn check_model(handlers: &Handlers, model: &str, options: &Options<'_>) -> Result<(), EmulatorError> {
    let has_model = |handler: &&crate::sandbox::Handler| handler.flags.iter().any(|flag| flag == model);
    let Some(handler) = handlers.list.iter().find(has_model) else { return Ok(()) };
    let guest: Option<&Guest> = Catalogue::builtin().guest(&handler.guest).ok();
    let path = match &handler.emulator {
        Emulator::Host(path) => Some(PathBuf::from(path)),
        Emulator::Inside(_) => match guest {
            Some(guest) => emulator::own(guest, options.search, &mut emulator::fitting(options.cache)?),
            None => None,
        },
    };
    path.map_or(Ok(()), |path| emulator::check_model(&path, &handler.guest, model))
}

impl Emulated {
    /// Says why a program was ended by an illegal instruction, where a CPU model or a target tells: `files` is its root.
    pub(super) fn explain(&self, status: u8, files: &Path, process: &Process) {
        if status != ILLEGAL_INSTRUCTION || (self.target.is_none() && self.cpu.is_none()) {
            return;
        }
        let model =
            self.cpu.as_deref().map_or("the default CPU".to_owned(), |cpu| format!("the CPU model `{cpu}`"));
        let guests: Vec<&str> = self.handlers.list.iter().map(|handler| handler.guest.as_str()).collect();
        let is_alike = |target: &&Target| {
            guests.contains(&target.qemu.guest.as_str())
                && target.qemu.cpu.is_some()
                && target.qemu.cpu == self.cpu
        };
        let target = self.target.as_ref().or_else(|| Catalogue::builtin().targets().iter().find(is_alike));
        let Some((path, identity)) = program(files, process, &guests) else {
            line(format_args!(
                "{WARNING}warning{WARNING:#}: a program was ended by an instruction that {model} does not have"
            ));
            return;
        };
        let path = path.display();
        let known = [("ISA", &identity.isa), ("float ABI", &identity.float_abi), ("ABI", &identity.abi)];
        let facts = known.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_deref()?)));
        let facts = facts.collect::<Vec<_>>().join(", ");
        let facts = if facts.is_empty() { facts } else { format!(" ({facts})") };
        line(format_args!(
            "{WARNING}warning{WARNING:#}: `{path}`{facts} was ended by an instruction that {model} does not have"
        ));
        if let Some(target) = target {
            for mismatch in elf::fit(&identity, target) {
                let what = mismatch.describe(&identity, target);
                line(format_args!("{HINT}why{HINT:#}: it does not fit `{}`: {what}", target.name));
            }
        }
        line(format_args!(
            "{HINT}hint{HINT:#}: build it, and the libraries it uses, for that CPU; `polyarch inspect` shows what a program is built for"
        ));
    }
}

/// The foreign program that the command line names, and what it says of itself.
fn program(files: &Path, process: &Process, guests: &[&str]) -> Option<(PathBuf, Identity)> {
    let root = Folder::open(files).ok()?;
    let cwd = Path::new(OsStr::from_bytes(process.cwd.as_bytes()));
    let search = process.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
    let search = search.unwrap_or_else(|| DEFAULT_PATH.into());
    let targets = || {
        Catalogue::builtin().targets().iter().filter(|target| guests.contains(&target.qemu.guest.as_str()))
    };
    let is_foreign = |identity: &Identity| {
        let machine = identity.machine.unwrap_or_default();
        targets().any(|target| target.elf.machines.iter().any(|known| known == machine))
    };
    process.args.iter().take(WORDS).find_map(|word| {
        let paths: Vec<PathBuf> = if word.as_bytes().contains(&b'/') {
            vec![word.into()]
        } else {
            std::env::split_paths(&search).map(|folder| folder.join(word)).collect()
        };
        // A bundle has a stub under the program's name, and the program beside it.
        let aside = |path: &PathBuf| {
            let name = [b".", path.file_name()?.as_bytes(), b".guest"].concat();
            Some(path.with_file_name(OsStr::from_bytes(&name)))
        };
        paths.into_iter().find_map(|path| {
            let identity = [aside(&path), Some(path.clone())].into_iter().flatten().find_map(|file| {
                let found = resolve(&root, cwd, &file).ok().filter(|found| found.node.is_file())?;
                let identity = root.executable(&found.path).ok()?.elf?.ok()?;
                is_foreign(&identity).then(|| Identity::clone(&identity))
            })?;
            Some((path, identity))
        })
    })
}
