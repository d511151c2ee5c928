//! `polyarch emulator verify`.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::guests;
use crate::cli::exit::ExitStatus;
use crate::cli::format::{self, Format};
use crate::cli::printer::Printer;
use crate::cli::report;
use crate::cli::table;
use crate::emulator::{self, EmulatorError, Options, Outcome, Verified};
use crate::progress::Progress as _;
use crate::target::{Catalogue, Guest, Platform};

/// Run a test program under emulators: arithmetic, a signal, a thread, a fork, uname
///
/// The test program is part of polyarch. An emulator for another host is run under this machine's emulator for that
/// host. The emulator is the one that `polyarch emulator path` names, or the one given; nothing is fetched.
///
/// Exit status: 0, every check went well; 1, a check failed; 2, an emulator is not there or could not be run, or there is
/// no test program for the guest.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Guests, by OCI name (386), QEMU's name (i386) or target name (linux/386)
    #[arg(required_unless_present = "all")]
    guest: Vec<String>,

    /// All guests; those without an emulator or a test program are told and passed over
    #[arg(long, conflicts_with = "guest")]
    all: bool,

    /// Emulator to verify
    #[arg(long, value_name = "PATH", conflicts_with = "all")]
    emulator: Option<PathBuf>,

    /// Platform that the emulator runs on [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    host: Option<Platform>,

    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What came of one guest.
#[derive(Serialize)]
struct Row<'a> {
    guest: &'a str,
    host: &'a Platform,
    /// `passed`, `failed`, `skipped` or `error`.
    result: &'static str,
    /// Why it was passed over, or could not be run.
    message: Option<String>,
    #[serde(flatten)]
    verified: Option<&'a Verified>,
}

impl Args {
    pub(super) fn execute(self, options: &Options<'_>, printer: Printer) -> anyhow::Result<ExitStatus> {
        let host = self.host.unwrap_or_else(Platform::host);
        let wanted: Vec<&Guest> =
            if self.all { Catalogue::builtin().guests().iter().collect() } else { guests(&self.guest)? };
        let options = Options { given: self.emulator, ..options.clone() };
        let mut results = Vec::new();
        for guest in wanted {
            let task = printer.begin(&format!("verifying qemu-{}", guest.name), None);
            let result = if emulator::has_probe(guest) {
                emulator::find(guest, &host, &options)
                    .and_then(|found| emulator::verify(guest, found, &options))
            } else {
                Err(EmulatorError::NoProbe { guest: guest.name.clone() })
            };
            drop(task);
            results.push((guest, result));
        }
        let rows: Vec<Row<'_>> =
            results.iter().map(|(guest, result)| row(guest, &host, result, self.all)).collect();
        let mut out = printer.stdout();
        match self.format {
            Format::Json => format::json(&mut out, &rows)?,
            Format::Text => print(&mut out, &rows)?,
        }
        out.flush()?;
        if !self.all {
            for err in results.iter().filter_map(|(_, result)| result.as_ref().err()) {
                report::print_hints(err);
            }
        }
        let is_nested =
            |row: &Row<'_>| row.result == "failed" && row.verified.is_some_and(|it| it.under.is_some());
        if rows.iter().any(is_nested) {
            report::hint(
                "an emulator for another host is run under this machine's, which may be what fails: try it on such a host",
            );
        }
        let has = |result| rows.iter().any(|row| row.result == result);
        Ok(match (has("error"), has("failed")) {
            (true, _) => ExitStatus::Failure,
            (false, true) => ExitStatus::Found,
            (false, false) => ExitStatus::Success,
        })
    }
}

fn row<'a>(
    guest: &'a Guest,
    host: &'a Platform,
    result: &'a Result<Verified, EmulatorError>,
    all: bool,
) -> Row<'a> {
    let (result, message, verified) = match result {
        Ok(verified) if verified.is_right() => ("passed", None, Some(verified)),
        Ok(verified) => ("failed", None, Some(verified)),
        Err(err) => {
            let may_lack = matches!(err, EmulatorError::NoProbe { .. } | EmulatorError::NotFound { .. });
            (if all && may_lack { "skipped" } else { "error" }, Some(report::one_line(err)), None)
        }
    };
    Row { guest: &guest.name, host, result, message, verified }
}

fn print(out: &mut impl Write, rows: &[Row<'_>]) -> io::Result<()> {
    let mut lines = Vec::new();
    for row in rows {
        let mut line = vec![row.guest.to_owned()];
        let Some(verified) = row.verified else {
            line.push(format!("{}: {}", row.result, row.message.as_deref().unwrap_or_default()));
            lines.push(line);
            continue;
        };
        let path = verified.emulator.path.display();
        line.push(match &verified.under {
            Some(under) => format!("{path} under {}", under.display()),
            None => path.to_string(),
        });
        lines.push(line);
        for check in &verified.checks {
            let outcome = match &check.outcome {
                Outcome::Passed => "passed".to_owned(),
                outcome => outcome.to_string(),
            };
            lines.push(vec![String::new(), format!("{:<11} {}", check.name, table::shown(outcome))]);
        }
    }
    table::print(out, "", &["GUEST", "RESULT"], &lines)
}
