//! The checks of this machine, printed.

use std::io::Write as _;

use anyhow::Context as _;
use serde::Serialize;

use super::super::exit::ExitStatus;
use super::super::format::{self, Format};
use super::super::printer::{ERROR, HINT, Printer, WARNING};
use super::super::table;
use crate::doctor::{self, Check, Family, Machine, State, TargetWays, Way};
use crate::target::Platform;

/// All that is told of this machine.
#[derive(Serialize)]
struct Report {
    platform: String,
    /// `ID` and `VERSION_ID` of `/etc/os-release`.
    distribution: Option<String>,
    family: Option<Family>,
    /// Whether all that `run` and `build` need is there.
    ready: bool,
    checks: Vec<Check>,
    targets: Vec<TargetWays>,
}

pub(super) fn examine(format: Format, all: bool, printer: Printer) -> anyhow::Result<ExitStatus> {
    let machine = Machine::look(super::places()?, true);
    let emulators = machine.emulators();
    let checks = doctor::examine(&machine, &emulators);
    let release = std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_owned())
    };
    let report = Report {
        platform: Platform::host().to_string(),
        distribution: value("ID").map(|id| match value("VERSION_ID") {
            Some(version) => format!("{id} {version}"),
            None => id,
        }),
        family: Family::of(&release),
        ready: checks.iter().all(|check| check.state != State::Missing),
        targets: doctor::ways(&machine, &emulators),
        checks,
    };
    let mut out = printer.stdout();
    match format {
        Format::Json => format::json(&mut out, &report),
        Format::Text => print(&mut out, &report, all),
    }
    .and_then(|()| out.flush())
    .context("writing to standard output")?;
    Ok(if report.ready { ExitStatus::Success } else { ExitStatus::Found })
}

fn print(out: &mut impl std::io::Write, report: &Report, all: bool) -> std::io::Result<()> {
    let families: &[Family] = match &report.family {
        Some(family) if !all => std::slice::from_ref(family),
        _ => &Family::ALL,
    };
    for check in &report.checks {
        let (style, word) = match check.state {
            State::Ok => (HINT, "ok     "),
            State::Limited => (WARNING, "limited"),
            State::Missing => (ERROR, "missing"),
        };
        writeln!(out, "{style}{word}{style:#}  {:<20} {}", check.id, table::shown(&check.message))?;
        let Some(remedy) = &check.remedy else { continue };
        let first = remedy.on(Family::Debian);
        if Family::ALL.iter().all(|family| remedy.on(*family) == first) {
            writeln!(out, "         to mend it: {}", table::shown(first))?;
            continue;
        }
        for family in families {
            let name = if families.len() > 1 { format!(" ({family:?})") } else { String::new() };
            writeln!(out, "         to mend it{name}: {}", table::shown(remedy.on(*family)))?;
        }
    }
    writeln!(out)?;
    let word = |way: Way| match way {
        Way::Native => "native",
        Way::Private => "private",
        Way::Host => "host",
        Way::Trace => "trace",
        Way::Direct => "direct",
    };
    let rows: Vec<Vec<String>> = report
        .targets
        .iter()
        .map(|target| {
            let available = target.ways.iter().filter(|state| state.available).map(|state| word(state.way));
            let emulator = target.emulator.as_ref().map(|emulator| {
                format!("{} {}", emulator.path.display(), emulator.version.as_deref().unwrap_or(""))
            });
            vec![
                target.target.clone(),
                target.chosen.map_or("none", word).into(),
                available.collect::<Vec<_>>().join(", "),
                emulator.unwrap_or_default(),
            ]
        })
        .collect();
    table::print(out, "", &["TARGET", "WAY", "POSSIBLE", "EMULATOR"], &rows)?;
    if !report.ready {
        writeln!(out, "\nNot all that `run` and `build` need is there: see what is missing above.")?;
    }
    Ok(())
}
