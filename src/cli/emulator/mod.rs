//! `polyarch emulator`: finding, fetching and verifying emulators.

pub(super) mod archive;
mod fetch;
mod list;
mod prune;
mod update;
mod verify;

use std::io::Write as _;
use std::path::PathBuf;

use clap::Subcommand;

use super::dirs;
use super::exit::ExitStatus;
use super::format::{self, Format};
use super::printer::Printer;
use super::report::Told;
use crate::emulator::{self, Emulator, EmulatorError, Options, Pins, Source};
use crate::target::{Catalogue, Guest, Platform};

/// Find, fetch and verify emulators: static qemu-user programs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::Args),
    Fetch(fetch::Args),
    Path(Find),
    Verify(verify::Args),
    Update(update::Args),
    Prune(prune::Args),
}

/// Print the path of an emulator that is in the cache or on the host
#[derive(Debug, clap::Args)]
struct Find {
    /// Guest, by OCI name (386), QEMU's name (i386) or target name (linux/386)
    #[arg(long)]
    guest: String,

    /// Platform that the emulator runs on [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    host: Option<Platform>,

    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let cache = dirs::cache()?;
        let search: Vec<PathBuf> = emulator::SEARCH.iter().map(PathBuf::from).collect();
        let options = Options { given: None, cache: &cache, search: &search };
        match self.command {
            Command::List(args) => args.execute(&options, printer),
            Command::Fetch(args) => args.execute(options, printer),
            Command::Path(find) => find.execute(&options, printer),
            Command::Verify(args) => args.execute(&options, printer),
            Command::Update(args) => args.execute(&cache, printer),
            Command::Prune(args) => args.execute(&cache, printer),
        }
    }
}

impl Find {
    fn execute(&self, options: &Options<'_>, printer: Printer) -> anyhow::Result<ExitStatus> {
        let guest = Catalogue::builtin().guest(&self.guest)?;
        let host = self.host.clone().unwrap_or_else(Platform::host);
        let found = emulator::find(guest, &host, options)?;
        printer.verbose(origin(&found));
        let mut out = printer.stdout();
        match self.format {
            Format::Text => writeln!(out, "{}", found.path.display())?,
            Format::Json => format::json(&mut out, &found)?,
        }
        out.flush()?;
        Ok(ExitStatus::Success)
    }
}

/// The guests of those names, each once, in their order.
fn guests(names: &[String]) -> anyhow::Result<Vec<&'static Guest>> {
    let mut guests: Vec<&Guest> = Vec::new();
    for name in names {
        let guest = Catalogue::builtin().guest(name)?;
        if guests.iter().all(|known| known.name != guest.name) {
            guests.push(guest);
        }
    }
    Ok(guests)
}

/// The user's own file of pins.
fn pins_file() -> Result<PathBuf, Told> {
    dirs::config().map(|folder| folder.join("emulators.toml")).ok_or_else(|| {
        Told::new(
            "no folder for the pins: `HOME` is not set",
            "set `HOME` or `XDG_CONFIG_HOME` to an absolute path, or name the file with `--output`",
        )
    })
}

/// The program's pins with the user's own in place of them.
fn pins() -> anyhow::Result<Pins> {
    // Without a home there is no such file.
    Ok(match pins_file() {
        Ok(file) => Pins::with(&file)?,
        Err(_) => Pins::builtin().clone(),
    })
}

/// The emulator that another verb needs: one that is there, else Debian's.
pub(super) fn find_or_fetch(
    guest: &'static Guest,
    host: &Platform,
    find: Options<'_>,
    printer: Printer,
) -> anyhow::Result<Emulator> {
    let found = match emulator::find(guest, host, &find) {
        Err(EmulatorError::NotFound { .. }) => {
            let mut fetched = fetch::How::default().fetch(&[guest], host, find, printer)?;
            fetched
                .pop()
                .ok_or_else(|| Told::new("no emulator was fetched", "see `polyarch emulator list`"))?
        }
        found => found?,
    };
    printer.verbose(origin(&found));
    Ok(found)
}

/// Fetches those of `guests` that are not there and that the pins have, so that a package is fetched once for all of them.
pub(super) fn fetch_missing(
    guests: &[&'static Guest],
    host: &Platform,
    find: &Options<'_>,
    printer: Printer,
) -> anyhow::Result<()> {
    let served = emulator::served(host, None, &pins()?)?;
    let is_missing = |guest: &&&Guest| {
        served.iter().any(|served| served.name == guest.name)
            && matches!(emulator::find(guest, host, find), Err(EmulatorError::NotFound { .. }))
    };
    let missing: Vec<&Guest> = guests.iter().filter(is_missing).copied().collect();
    if !missing.is_empty() {
        fetch::How::default().fetch(&missing, host, find.clone(), printer)?;
    }
    Ok(())
}

/// Where an emulator came from, for people.
fn origin(emulator: &Emulator) -> String {
    let name =
        format!("qemu-{} {}", emulator.guest, emulator.version.as_deref().unwrap_or("of unknown version"));
    match &emulator.source {
        Source::Given => format!("{name} is the one that was given"),
        Source::Host => format!("{name} is the host's own"),
        Source::Cache { package } => {
            format!("{name} is in the cache, from {} {}", package.name, package.version)
        }
        Source::Debian { package } => {
            format!(
                "{name} was taken from {} {} of Debian's {}",
                package.name, package.version, package.suite
            )
        }
    }
}
