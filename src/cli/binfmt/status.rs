//! `binfmt status`: what the kernel's registry holds.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::super::exit::ExitStatus;
use super::super::format::{self, Format};
use super::super::printer::{ERROR, HEADING, Printer, WARNING};
use super::super::table::{self, shown};
use crate::binfmt::{self, Kind, REGISTRY, Status, Surveyed};

/// Show the kernel's handlers: what they serve, what shadows them, and what is dangerous about them
///
/// Inside `binfmt exec` and containers, these are the handlers that count there.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Where the registry is mounted
    #[arg(long, value_name = "DIR", default_value = REGISTRY)]
    registry: PathBuf,
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let status = binfmt::status(Path::new(&self.registry))?;
        let mut out = printer.stdout();
        let written = match self.format {
            Format::Json => format::json(&mut out, &status),
            Format::Text => text(&mut out, &status),
        };
        written.and_then(|()| out.flush()).context("writing to standard output")?;
        Ok(ExitStatus::Success)
    }
}

fn text(out: &mut impl Write, status: &Status) -> io::Result<()> {
    let registry = shown(&status.registry);
    if !status.mounted {
        writeln!(out, "{registry}: binfmt_misc is not mounted, so no handler can be seen")?;
        return Ok(());
    }
    let state = if status.enabled { "enabled" } else { "disabled: no handler is used" };
    writeln!(out, "{registry}: mounted, {state}, {} handlers", status.entries.len())?;
    for survey in &status.entries {
        entry(out, survey)?;
    }
    let served: Vec<Vec<String>> = status
        .targets
        .iter()
        .map(|service| {
            let by = match (&service.entry, service.native) {
                (Some(entry), _) => shown(entry),
                (None, true) => "this machine itself".into(),
                (None, false) => "-".into(),
            };
            vec![service.target.clone(), service.guest.clone(), by]
        })
        .collect();
    writeln!(out)?;
    table::print(out, "", &["TARGET", "GUEST", "SERVED BY"], &served)
}

fn entry(out: &mut impl Write, survey: &Surveyed) -> io::Result<()> {
    let entry = &survey.entry;
    let state = if entry.enabled { "" } else { "  (disabled)" };
    writeln!(out, "\n{HEADING}{}{HEADING:#}{state}", shown(&entry.name))?;
    let there = match (survey.interpreter_exists, entry.flags.known.fix_binary) {
        (true, _) if survey.interpreter_executable => "",
        (true, _) => "  (not executable)",
        (false, true) => "  (not there now, opened at registration)",
        (false, false) => "  (missing)",
    };
    writeln!(out, "  interpreter   {}{there}", shown(&entry.interpreter))?;
    writeln!(out, "  flags         {}", shown(entry.flags.to_string()))?;
    match &entry.kind {
        Kind::Magic { offset, magic, .. } => {
            writeln!(out, "  takes         {} bytes from {offset}", magic.len())?;
        }
        Kind::Extension { extension } => writeln!(out, "  takes         *.{}", shown(extension))?,
        Kind::Unknown => {}
    }
    if !survey.targets.is_empty() {
        writeln!(out, "  serves        {}", survey.targets.join(", "))?;
    }
    if let Some(name) = &survey.shadowed_by {
        writeln!(out, "  shadowed by   {}", shown(name))?;
    }
    for line in &entry.other {
        writeln!(out, "  unknown       {}", shown(line))?;
    }
    for concern in &survey.concerns {
        let (style, word) = if concern.is_dangerous() { (ERROR, "danger") } else { (WARNING, "warning") };
        writeln!(out, "  {style}{word:<12}{style:#}  {}", shown(concern.to_string()))?;
    }
    Ok(())
}
