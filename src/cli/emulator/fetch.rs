//! `polyarch emulator fetch`.

use std::io::Write as _;

use super::archive::{self, Archive};
use super::{guests, origin, pins};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{self, Format};
use crate::cli::printer::Printer;
use crate::debian::SNAPSHOTS;
use crate::emulator::{self, Emulator, FetchOptions, Options};
use crate::target::{Guest, Platform};

/// Print the paths of emulators, fetched from Debian's archive where none is there
///
/// An emulator in the cache comes first, then one of the host's own, then that of Debian's package for the
/// host's architecture: the version that is pinned (`polyarch emulator list`), verified by its digest. Where the mirror no
/// longer has that, it is looked for in the dated snapshot archive. With what is in the cache nothing is asked of any
/// network.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Guest, by OCI name (386), QEMU's name (i386) or target name (linux/386); may be repeated, or a list with commas
    #[arg(long, value_delimiter = ',', required_unless_present = "all")]
    guest: Vec<String>,

    /// Every guest that the host's pinned packages have
    #[arg(long, conflicts_with = "guest")]
    all: bool,

    /// Platform that the emulators run on [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    host: Option<Platform>,

    #[command(flatten)]
    how: How,

    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What is fetched, and from where.
#[derive(Debug, Default, clap::Args)]
pub(super) struct How {
    #[command(flatten)]
    pub(super) archive: Archive,

    /// Take a package file that is not pinned: with `--mirror` and a plain folder of .deb files, one of them is then
    /// trusted as it is
    #[arg(long, requires = "mirror")]
    unpinned: bool,

    /// Dated archive, for pinned packages that the mirror no longer has: the address that is followed by
    /// `/20261101T000000Z/pool/…`, or such a folder [default: snapshot.debian.org]
    #[arg(long, value_name = "URL|DIR")]
    snapshots: Option<String>,

    /// Debian suite to take the emulators from [default: bookworm, or the oldest newer one that has the host]
    #[arg(long)]
    suite: Option<String>,

    /// Pass the pins over: take the version that the archive's signed index names now
    #[arg(long)]
    latest: bool,

    /// Fetch even where there is one
    #[arg(long)]
    force: bool,

    /// Keep the package file in the cache, for the emulators of other guests that are in it
    #[arg(long)]
    keep_package: bool,
}

impl Args {
    pub(super) fn execute(self, find: Options<'_>, printer: Printer) -> anyhow::Result<ExitStatus> {
        let host = self.host.unwrap_or_else(Platform::host);
        let wanted = if self.all {
            emulator::served(&host, self.how.suite.as_deref(), &pins()?)?
        } else {
            guests(&self.guest)?
        };
        let found = self.how.fetch(&wanted, &host, find, printer)?;
        for emulator in &found {
            printer.verbose(origin(emulator));
        }
        let mut out = printer.stdout();
        match (self.format, found.as_slice()) {
            (Format::Text, found) => {
                for emulator in found {
                    writeln!(out, "{}", emulator.path.display())?;
                }
            }
            (Format::Json, [emulator]) if !self.all && self.guest.len() == 1 => {
                format::json(&mut out, emulator)?;
            }
            (Format::Json, found) => format::json(&mut out, &found)?,
        }
        out.flush()?;
        Ok(ExitStatus::Success)
    }
}

impl How {
    /// The emulators for `guests` on `host`, which are there or are fetched.
    pub(super) fn fetch(
        &self,
        guests: &[&Guest],
        host: &Platform,
        find: Options<'_>,
        printer: Printer,
    ) -> anyhow::Result<Vec<Emulator>> {
        let mirror = self.archive.open(printer)?;
        let snapshots = archive::open(Some(self.snapshots.as_deref().unwrap_or(SNAPSHOTS)))?;
        let options = FetchOptions {
            find,
            mirror: &mirror,
            snapshots: Some(&snapshots),
            keyring: &self.archive.keyring()?,
            pins: &pins()?,
            latest: self.latest,
            unpinned: self.unpinned,
            suite: self.suite.as_deref(),
            force: self.force,
            keep_package: self.keep_package,
        };
        Ok(emulator::fetch_each(guests, host, &options, &printer)?)
    }
}
