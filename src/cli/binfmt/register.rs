//! `binfmt register` and `binfmt unregister`: the host's handlers.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::super::emulator::{fetch_missing, find_or_fetch};
use super::super::exit::ExitStatus;
use super::super::format::{self, Format};
use super::super::printer::Printer;
use super::super::report::{self, Told};
use super::super::{dirs, table};
use super::{Selection, tell_what_is_not_carried, warn};
use crate::binfmt::{self, Boot, Flags, Outcome, PREFIX, REGISTRY, Rule};
use crate::emulator::{self, Options};
use crate::target::{Guest, Platform};

/// Register handlers with the kernel, for the whole machine, as root
///
/// Each guest has one handler, which its targets share; it passes no CPU model. A handler that is there already stays or is
/// renewed; one that is not polyarch's is never touched. Each rule is held against the host's own programs before the kernel is
/// asked, and read back after. binfmt_misc is mounted where it is not.
///
/// Emulators are those of the host or the cache, fetched where missing. With --persistent the handler is written down in
/// /etc/binfmt.d, too; its emulator is then one that only root can change, outside of the cache: copied to
/// /usr/local/libexec/polyarch where need be.
#[derive(Debug, clap::Args)]
pub(super) struct Register {
    #[command(flatten)]
    selection: Selection,

    /// Flags of the kernel: F opens the emulator at once (for containers), P keeps argv[0], O passes a descriptor, C takes the
    /// rights of setuid programs
    #[arg(long, default_value = "FP", value_parser = flags)]
    flags: Flags,

    /// Have the handlers after each start of the machine, by files in /etc/binfmt.d
    #[arg(long)]
    persistent: bool,

    #[command(flatten)]
    naming: Naming,

    /// The static qemu-user program to use, of one guest
    #[arg(long, value_name = "PATH", conflicts_with = "all")]
    emulator: Option<PathBuf>,

    /// How to write what was done
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Remove handlers that polyarch registered, with what keeps them over a start of the machine
///
/// Handlers that are not polyarch's stay, whatever they are called.
#[derive(Debug, clap::Args)]
pub(super) struct Unregister {
    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    naming: Naming,

    /// How to write what was done
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What handlers are called.
#[derive(Debug, clap::Args)]
pub(super) struct Naming {
    /// What a handler is called before its guest's name
    #[arg(long, value_name = "PREFIX", default_value = PREFIX, value_parser = prefix)]
    pub(super) name_prefix: String,
}

impl Naming {
    pub(super) fn name(&self, guest: &Guest) -> String {
        format!("{}{}", self.name_prefix, guest.name)
    }
}

/// What was done with one guest's handler.
#[derive(Debug, Serialize)]
struct Done {
    name: String,
    guest: String,
    targets: Vec<String>,
    outcome: Outcome,
    /// `None` where it was removed.
    interpreter: Option<PathBuf>,
    /// The file that keeps it over a start.
    file: Option<PathBuf>,
}

impl Register {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let host = Platform::host();
        let guests = self.selection.guests(&host)?;
        if self.emulator.is_some() && guests.len() != 1 {
            return Err(Told::new(
                "`--emulator` is the program of one guest, and several are named",
                "register the others by themselves",
            )
            .into());
        }
        if self.flags.credentials {
            warn(
                "with `C` setuid programs of the guest gain rights, and the emulator was not made to keep them in check",
            );
        }
        if !self.flags.fix_binary {
            warn("without `F` the handlers do not work in containers and other roots");
        }
        tell_what_is_not_carried(&self.selection.targets, printer);
        let registry = Path::new(REGISTRY);
        if binfmt::mount(registry)? {
            printer.verbose(format_args!("binfmt_misc was mounted at `{REGISTRY}`"));
        }
        let (mut done, mut failed) = (Vec::new(), false);
        let search: Vec<PathBuf> = emulator::SEARCH.iter().map(PathBuf::from).collect();
        let cache = dirs::cache()?;
        let options = Options { given: self.emulator.clone(), cache: &cache, search: &search };
        if self.selection.all
            && let Err(err) = fetch_missing(&guests, &host, &options, printer)
        {
            // What is there already can be registered all the same.
            warn(format_args!("{}", report::one_line(err.as_ref())));
        }
        for guest in guests {
            let found = if self.selection.all {
                emulator::find(guest, &host, &options).map_err(anyhow::Error::new)
            } else {
                find_or_fetch(guest, &host, options.clone(), printer)
            };
            let emulator = match found {
                Ok(emulator) => emulator,
                // Not every guest has an emulator everywhere.
                Err(err) if self.selection.all => {
                    warn(format_args!("`{}` is left out: {}", guest.name, report::one_line(err.as_ref())));
                    continue;
                }
                Err(err) => return Err(err),
            };
            match self.one(guest, &emulator.path, &cache) {
                Ok(row) => done.push(row),
                Err(err) => {
                    failed = true;
                    report::print(guest.name.as_ref(), &report::one_line(err.as_ref()));
                    report::print_hints(err.as_ref());
                }
            }
        }
        if self.persistent && !done.is_empty() {
            tell_boot(printer);
        }
        print(&done, self.format, printer)?;
        Ok(if failed { ExitStatus::Failure } else { ExitStatus::Success })
    }

    fn one(&self, guest: &Guest, emulator: &Path, cache: &Path) -> anyhow::Result<Done> {
        let name = self.naming.name(guest);
        // What would be refused is refused before anything is copied.
        let rule = Rule::for_guest(guest, &name, emulator, self.flags)?;
        binfmt::spare_host(&rule)?;
        let rule = if self.persistent {
            binfmt::may_persist(&name)?;
            let kept = binfmt::keep_emulator(guest, emulator, cache)?;
            Rule::for_guest(guest, &name, kept, self.flags)?
        } else {
            rule
        };
        let outcome = binfmt::install(Path::new(REGISTRY), guest, &rule)?;
        let file = self.persistent.then(|| binfmt::persist(&rule)).transpose()?;
        Ok(Done {
            name,
            guest: guest.name.clone(),
            targets: guest.targets.clone(),
            outcome,
            interpreter: Some(rule.interpreter().into()),
            file,
        })
    }
}

impl Unregister {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let (mut done, mut failed) = (Vec::new(), false);
        for guest in self.selection.guests(&Platform::host())? {
            match self.one(guest) {
                // Of all guests, those that had nothing are not worth a word.
                Ok(row) if self.selection.all && row.outcome == Outcome::Absent => {}
                Ok(row) => done.push(row),
                Err(err) => {
                    failed = true;
                    report::print(guest.name.as_ref(), &report::one_line(err.as_ref()));
                    report::print_hints(err.as_ref());
                }
            }
        }
        print(&done, self.format, printer)?;
        Ok(if failed { ExitStatus::Failure } else { ExitStatus::Success })
    }

    fn one(&self, guest: &Guest) -> anyhow::Result<Done> {
        let name = self.naming.name(guest);
        let registry = Path::new(REGISTRY);
        // The entry first: the file tells that it is ours.
        let outcome = if binfmt::is_mounted(registry) {
            binfmt::uninstall(registry, guest, &name)?
        } else {
            Outcome::Absent
        };
        let file = binfmt::persistent_file(&name);
        let forgotten = binfmt::forget(guest, &name)?;
        let outcome = if forgotten { Outcome::Removed } else { outcome };
        Ok(Done {
            name,
            guest: guest.name.clone(),
            targets: guest.targets.clone(),
            outcome,
            interpreter: None,
            file: forgotten.then_some(file),
        })
    }
}

fn print(done: &[Done], format: Format, printer: Printer) -> anyhow::Result<()> {
    let mut out = printer.stdout();
    let written = if format == Format::Json {
        format::json(&mut out, &done)
    } else if done.is_empty() {
        Ok(())
    } else {
        let rows: Vec<Vec<String>> = done
            .iter()
            .map(|row| {
                let outcome = format!("{:?}", row.outcome).to_lowercase();
                let path = |path: &Option<PathBuf>| path.as_ref().map_or_else(|| "-".into(), table::shown);
                vec![row.name.clone(), outcome, path(&row.interpreter), path(&row.file)]
            })
            .collect();
        table::print(&mut out, "", &["HANDLER", "OUTCOME", "INTERPRETER", "FILE"], &rows)
    };
    written.and_then(|()| out.flush()).context("writing to standard output")
}

/// Has the machine's start know of the files.
fn tell_boot(printer: Printer) {
    match binfmt::tell_boot() {
        Boot::Systemd => printer.verbose("systemd-binfmt registers the handlers at each start"),
        Boot::OpenRc => printer.verbose("OpenRC's service `binfmt` registers the handlers at each start"),
        Boot::SystemdMasked => {
            warn(
                "systemd-binfmt is masked, so nothing registers the handlers at the next start: `systemctl unmask systemd-binfmt`",
            );
        }
        Boot::OpenRcRefuses(reason) => warn(format_args!(
            "nothing registers the handlers at the next start: `rc-update add binfmt boot` says {reason}"
        )),
        _ => {
            warn(
                "neither systemd nor OpenRC runs here; the files count where one of them starts the machine",
            );
        }
    }
}

/// Letters of the kernel's flags.
pub(super) fn flags(text: &str) -> Result<Flags, String> {
    let mut flags = Flags::default();
    for letter in text.chars() {
        match letter {
            'P' => flags.preserve_argv0 = true,
            'O' => flags.open_binary = true,
            'C' => flags.credentials = true,
            'F' => flags.fix_binary = true,
            letter => return Err(format!("`{letter}` is none of the flags `P`, `O`, `C`, `F`")),
        }
    }
    Ok(flags)
}

/// A prefix that can stand in the names of entries and files.
fn prefix(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.bytes().all(is_plain) {
        Ok(text.into())
    } else {
        Err("a prefix begins with a letter or digit, and has letters, digits, `.`, `_` and `-` only".into())
    }
}
