//! `polyarch emulator update`.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::archive::Archive;
use super::pins_file;
use crate::cli::exit::ExitStatus;
use crate::cli::format::{self, Format};
use crate::cli::printer::Printer;
use crate::cli::report::{self, Told};
use crate::emulator::{self, Pin, Pins, UpdateOptions};
use crate::target::{Catalogue, Platform, Target};

/// Pin the emulators that Debian's signed indexes name now
///
/// For each host and suite the signature of the archive is checked, then the index, then the package file. What differs
/// from the program's own pins is written to `emulators.toml` in the user's configuration (~/.config/polyarch, or
/// $XDG_CONFIG_HOME/polyarch), which comes before them from then on; without that file the program's own are in force again.
/// A suite that fails keeps its pins, is told, and has the exit status be 2.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only for this host; may be repeated [default: every host that Debian is released for]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    host: Vec<Platform>,

    /// Only this suite
    #[arg(long)]
    suite: Option<String>,

    #[command(flatten)]
    archive: Archive,

    /// Write all pins to this file instead; those in it that are not renewed stay
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// How to print what has changed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// A pin that has changed.
#[derive(Serialize)]
struct Changed<'a> {
    /// What was in force before.
    before: Option<&'a Pin>,
    after: &'a Pin,
}

impl Args {
    pub(super) fn execute(self, cache: &Path, printer: Printer) -> anyhow::Result<ExitStatus> {
        let hosts: Vec<&Target> = if self.host.is_empty() {
            emulator::hosts()
        } else {
            let target = |host: &Platform| Catalogue::builtin().target(&host.to_string());
            self.host.iter().map(target).collect::<Result<_, _>>()?
        };
        let is_served = hosts.iter().filter_map(|host| host.debian.as_ref()).any(|debian| {
            debian.suites.iter().any(|suite| self.suite.as_ref().is_none_or(|wanted| wanted == suite))
        });
        if !is_served {
            return Err(Told::new(
                "Debian has no emulators for the hosts and the suite that were named",
                "`polyarch target show NAME` tells the suites that have a target",
            )
            .into());
        }
        let path = match &self.output {
            Some(path) => path.clone(),
            None => pins_file()?,
        };
        let in_file = Pins::read(&path)?.unwrap_or_default();
        let mut old = Pins::builtin().clone();
        for pin in &in_file.packages {
            old.put(pin.clone());
        }
        let mirror = self.archive.open(printer)?;
        let options = UpdateOptions {
            cache,
            mirror: &mirror,
            keyring: &self.archive.keyring()?,
            suite: self.suite.as_deref(),
        };
        let (new, failed) = emulator::update(&hosts, &old, &options, &printer)?;
        let changed: Vec<Changed<'_>> = new
            .packages
            .iter()
            .map(|after| Changed { before: old.get(&after.architecture, &after.suite), after })
            .filter(|changed| changed.before != Some(changed.after))
            .collect();
        let mut pins = in_file.clone();
        for pin in &new.packages {
            pins.put(pin.clone());
        }
        if self.output.is_none() {
            pins.packages.retain(|pin| Pins::builtin().get(&pin.architecture, &pin.suite) != Some(pin));
        }
        if pins != in_file {
            write(&path, &pins.to_toml())?;
        }
        let mut out = printer.stdout();
        match self.format {
            Format::Json => format::json(&mut out, &changed)?,
            Format::Text => {
                for Changed { before, after } in &changed {
                    let before = before.map_or("nothing", |pin| &pin.version);
                    let Pin { architecture, suite, name, version, .. } = after;
                    writeln!(out, "{architecture} {suite}: {name} {version}, before {before}")?;
                }
                if changed.is_empty() && failed.is_empty() {
                    writeln!(out, "all {} pins are those of the archive", new.packages.len())?;
                } else if !changed.is_empty() {
                    writeln!(out, "{} pins renewed in {}", changed.len(), path.display())?;
                }
            }
        }
        out.flush()?;
        for err in &failed {
            report::print(OsStr::new("emulator update"), &report::one_line(err));
        }
        // One cause has them all fail in most cases.
        if let Some(first) = failed.first() {
            report::print_hints(first);
        }
        Ok(if failed.is_empty() { ExitStatus::Success } else { ExitStatus::Failure })
    }
}

/// Writes the file as a whole, or not at all.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let put = || {
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.persist(path).map_err(|err| err.error)?;
        std::io::Result::Ok(())
    };
    put().with_context(|| format!("writing `{}`", path.display()))
}
