//! `polyarch emulator`: finding emulators and fetching them.

use std::env;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::exit::ExitStatus;
use super::format::Format;
use super::printer::Printer;
use super::{dirs, report::Told};
use crate::debian::{Keyring, Mirror, Options as MirrorOptions};
use crate::emulator::{self, Emulator, EmulatorError, FetchOptions, Options, Source};
use crate::target::{Catalogue, Guest, Platform};

/// Find emulators, and fetch them from Debian's archive
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Fetch(Fetch),
    Path(Find),
}

/// Print the path of an emulator, fetched from Debian's archive where none is there
///
/// An emulator in the cache comes first, then one of the host's own, then that of Debian's package for the
/// host's architecture, verified from the archive's signature down.
#[derive(Debug, clap::Args)]
struct Fetch {
    #[command(flatten)]
    find: Find,

    /// Mirror of Debian's archive: a URL or a folder [default: the one that apt is configured with]
    #[arg(long, value_name = "URL|DIR")]
    mirror: Option<String>,

    /// Debian suite to take the emulator from [default: bookworm, or the oldest newer one that has the host]
    #[arg(long)]
    suite: Option<String>,

    /// Keys of the archive [default: the host's debian-archive-keyring]
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,

    /// Fetch even where there is one
    #[arg(long)]
    force: bool,

    /// Keep the package file in the cache, for the emulators of other guests that are in it
    #[arg(long)]
    keep_package: bool,
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
        let (find, found) = match self.command {
            Command::Path(find) => {
                let (guest, host) = find.pair()?;
                let found = emulator::find(guest, &host, &options)?;
                (find, found)
            }
            Command::Fetch(fetch) => {
                let (guest, host) = fetch.find.pair()?;
                let found = fetch.execute(guest, &host, options, printer)?;
                (fetch.find, found)
            }
        };
        printer.verbose(origin(&found));
        find.print(printer, &found)?;
        Ok(ExitStatus::Success)
    }
}

impl Find {
    fn pair(&self) -> anyhow::Result<(&'static Guest, Platform)> {
        let guest = Catalogue::builtin().guest(&self.guest)?;
        Ok((guest, self.host.clone().unwrap_or_else(Platform::host)))
    }

    fn print(&self, printer: Printer, emulator: &Emulator) -> anyhow::Result<()> {
        let mut out = printer.stdout();
        match self.format {
            Format::Text => writeln!(out, "{}", emulator.path.display())?,
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, emulator)?;
                writeln!(out)?;
            }
        }
        out.flush()?;
        Ok(())
    }
}

impl Fetch {
    fn execute(
        &self,
        guest: &Guest,
        host: &Platform,
        find: Options<'_>,
        printer: Printer,
    ) -> anyhow::Result<Emulator> {
        let root = Path::new("/");
        let (http, https, none) = (
            variable(&["http_proxy"]),
            variable(&["https_proxy", "HTTPS_PROXY"]),
            variable(&["no_proxy", "NO_PROXY"]),
        );
        let mirror = Mirror::open(&MirrorOptions {
            address: self.mirror.as_deref(),
            http_proxy: http.as_deref(),
            https_proxy: https.as_deref(),
            no_proxy: none.as_deref(),
            ..MirrorOptions::new(root)
        })?;
        let keyring = match &self.keyring {
            Some(file) if !file.is_file() => {
                return Err(Told::new(
                    format!("the keyring `{}` is no file", file.display()),
                    "`--keyring` takes a file of public keys, as `gpg --export` writes it",
                )
                .into());
            }
            Some(file) => Keyring::of([file.clone()]),
            None => Keyring::host(root),
        };
        printer.verbose(format_args!("Debian's archive is taken from `{}`", mirror.address()));
        let options = FetchOptions {
            find,
            mirror: &mirror,
            keyring: &keyring,
            suite: self.suite.as_deref(),
            force: self.force,
            keep_package: self.keep_package,
        };
        Ok(emulator::fetch(guest, host, &options, &printer)?)
    }
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
            let wanted = Find { guest: guest.name.clone(), host: Some(host.clone()), format: Format::Text };
            let (mirror, suite, keyring) = (None, None, None);
            Fetch { find: wanted, mirror, suite, keyring, force: false, keep_package: false }
                .execute(guest, host, find, printer)?
        }
        found => found?,
    };
    printer.verbose(origin(&found));
    Ok(found)
}

/// The first of the environment's variables that is set. `HTTP_PROXY` is no name of the one for HTTP: a web
/// server sets it from a request's header.
fn variable(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| env::var(name).ok())
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
