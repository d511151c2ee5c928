//! A report for people.

use std::io::{self, Write};

use super::super::printer::{ERROR, HINT, WARNING};
use super::super::table::shown;
use crate::check::{Report, Severity};

pub(super) fn print(out: &mut impl Write, report: &Report) -> io::Result<()> {
    for finding in &report.findings {
        let style = match finding.severity {
            Severity::Error => ERROR,
            Severity::Warning => WARNING,
            Severity::Note | Severity::Unknown => HINT,
        };
        let layer =
            finding.layer.as_ref().map(|layer| format!(" (layer {})", layer.number)).unwrap_or_default();
        let (severity, rule) = (finding.severity, finding.rule);
        writeln!(out, "{style}{severity}{style:#}: {rule}: {}{layer}", shown(&finding.message))?;
        writeln!(out, "  {HINT}to do{HINT:#}: {}", shown(&finding.help))?;
    }
    let summary = &report.summary;
    writeln!(
        out,
        "{} errors, {} warnings in {} files, {} of them ELF files",
        summary.errors, summary.warnings, summary.files, summary.elf
    )
}
