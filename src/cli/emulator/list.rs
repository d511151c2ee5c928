//! `polyarch emulator list`.

use std::io::{self, Write};

use super::{guests, pins};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{self, Format};
use crate::cli::printer::{HEADING, Printer};
use crate::cli::table;
use crate::emulator::{self, Options, Pair};
use crate::target::{Catalogue, Guest, Platform};

/// List emulators: on the host, in the cache, and in Debian's packages
///
/// One line for each guest on each host. `native` in the first column of what there is: the host runs the guest's
/// programs itself. Nothing is fetched.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this guest, by OCI name (386), QEMU's name (i386) or target name (linux/386); may be repeated
    #[arg(long, value_delimiter = ',')]
    guest: Vec<String>,

    /// Platform that the emulators run on; may be repeated [default: this machine's]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    host: Vec<Platform>,

    /// Every host that Debian is released for
    #[arg(long, conflicts_with = "host")]
    all_hosts: bool,

    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Args {
    pub(super) fn execute(self, options: &Options<'_>, printer: Printer) -> anyhow::Result<ExitStatus> {
        let hosts = if self.all_hosts {
            emulator::hosts().into_iter().map(|target| target.platform.clone()).collect()
        } else if self.host.is_empty() {
            vec![Platform::host()]
        } else {
            self.host
        };
        let wanted: Vec<&Guest> = if self.guest.is_empty() {
            Catalogue::builtin().guests().iter().collect()
        } else {
            guests(&self.guest)?
        };
        let pins = pins()?;
        let mut pairs = Vec::new();
        for host in &hosts {
            pairs.extend(emulator::list(&wanted, host, &pins, options)?);
        }
        let mut out = printer.stdout();
        match self.format {
            Format::Json => format::json(&mut out, &pairs)?,
            Format::Text => {
                for (index, host) in hosts.iter().enumerate() {
                    let of_host: Vec<&Pair> = pairs.iter().filter(|pair| pair.host == *host).collect();
                    if index > 0 {
                        writeln!(out)?;
                    }
                    print(&mut out, host, &of_host)?;
                }
            }
        }
        out.flush()?;
        Ok(ExitStatus::Success)
    }
}

fn print(out: &mut impl Write, host: &Platform, pairs: &[&Pair]) -> io::Result<()> {
    writeln!(out, "{HEADING}on {host}{HEADING:#}")?;
    let version = |version: Option<&String>| version.cloned().unwrap_or_else(|| "?".into());
    let rows: Vec<Vec<String>> = pairs
        .iter()
        .map(|pair| {
            let on_host = match pair.on_host.first() {
                Some(own) => version(own.version.as_ref()),
                None => "-".into(),
            };
            let cached = match pair.cached.first() {
                Some(cached) => version(cached.version.as_ref()),
                None => "-".into(),
            };
            let debian = match (pair.available.as_slice(), &pair.refused) {
                ([], refused) => refused
                    .first()
                    .map(|refused| refused.reason.clone())
                    .or_else(|| pair.reason.clone())
                    .unwrap_or_default(),
                (available, _) => {
                    let each =
                        available.iter().map(|available| format!("{} {}", available.suite, available.qemu));
                    each.collect::<Vec<_>>().join(", ")
                }
            };
            let native = if pair.native { "native" } else { "" };
            vec![pair.guest.clone(), native.into(), on_host, cached, debian]
        })
        .collect();
    table::print(out, "", &["GUEST", "", "HOST", "CACHE", "DEBIAN"], &rows)
}
