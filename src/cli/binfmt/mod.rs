//! `polyarch binfmt`: the kernel's handlers of foreign programs.

mod exec;
mod export;
mod register;
mod status;

use std::collections::BTreeSet;

use clap::Subcommand;

use super::exit::ExitStatus;
use super::printer::{Printer, WARNING, line};
use super::report::Told;
use crate::target::{Catalogue, Guest, Platform};

/// See, register and export the kernel's handlers of foreign programs, or run a command with private ones
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Args),
    Register(register::Register),
    Unregister(register::Unregister),
    Export(export::Args),
    Exec(exec::Args),
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        match self.command {
            Command::Status(args) => args.execute(printer),
            Command::Register(args) => args.execute(printer),
            Command::Unregister(args) => args.execute(printer),
            Command::Export(args) => args.execute(printer),
            Command::Exec(args) => args.execute(printer),
        }
    }

    /// Whether a program of the user's is run, which has statuses of its own.
    pub(super) fn runs_a_program(&self) -> bool {
        matches!(self.command, Command::Exec(_))
    }
}

/// Which guests are meant.
#[derive(Debug, clap::Args)]
struct Selection {
    /// Targets, or guests by OCI or QEMU name. Targets of one guest share its handler
    #[arg(value_name = "TARGET", required_unless_present = "all", conflicts_with = "all")]
    targets: Vec<String>,

    /// Every guest that the host does not run itself, once
    #[arg(long)]
    all: bool,
}

impl Selection {
    /// The guests, each once, by name. One that `host` runs itself is an error if it was named.
    fn guests(&self, host: &Platform) -> anyhow::Result<Vec<&'static Guest>> {
        if self.all {
            let guests = Catalogue::builtin().guests().iter();
            return Ok(guests.filter(|guest| !is_native(guest, host)).collect());
        }
        named(&self.targets, host)
    }
}

/// Whether machines of `host` run the guest's programs themselves.
fn is_native(guest: &Guest, host: &Platform) -> bool {
    Catalogue::builtin().target(&host.to_string()).is_ok_and(|host| host.runs_natively(&guest.name))
}

/// The guests of `names`, each once, by name.
fn named(names: &[String], host: &Platform) -> anyhow::Result<Vec<&'static Guest>> {
    let catalogue = Catalogue::builtin();
    let mut guests = BTreeSet::new();
    for name in names {
        let guest = catalogue.guest(name)?;
        if is_native(guest, host) {
            return Err(Told::new(
                format!("{host} runs the programs of `{name}` itself"),
                "a handler for it would take the host's own programs; leave it out",
            )
            .into());
        }
        guests.insert(guest.name.as_str());
    }
    guests.into_iter().map(|name| Ok(catalogue.guest(name)?)).collect()
}

/// Says what a handler cannot carry of the targets that were named.
fn tell_what_is_not_carried(names: &[String], printer: Printer) {
    let targets = names.iter().filter_map(|name| Catalogue::builtin().target(name).ok());
    for target in targets {
        if let Some(cpu) = &target.qemu.cpu {
            printer.verbose(format_args!(
                "a handler passes no CPU model: programs of `{}` run on the default one of qemu-{}, not on {cpu}",
                target.name, target.qemu.guest
            ));
        }
    }
}

fn warn(message: impl std::fmt::Display) {
    line(format_args!("{WARNING}warning{WARNING:#}: {message}"));
}
