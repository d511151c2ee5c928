//! A report for people: by rule, the worst first, with what to do.

use std::io::{self, Write};

use super::super::printer::{ERROR, HEADING, HINT, Printer, Verbosity, WARNING};
use super::super::table::shown;
use crate::check::{Finding, InputKind, Report, Severity};

/// How many findings of a rule are shown where there are many.
const SHOWN: usize = 10;

/// How much is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    /// How many findings of a rule are shown at most.
    pub(super) cut: Option<usize>,
    /// Whether only what fails is shown, and no counts.
    pub(super) failing_only: bool,
    /// Whether all facts of a finding are told.
    pub(super) facts: bool,
    /// The least severity that fails.
    pub(super) fail_on: Severity,
}

impl How {
    pub(super) fn of(printer: Printer, fail_on: Severity) -> Self {
        let is_verbose = printer.is(Verbosity::Verbose);
        Self {
            cut: (!is_verbose).then_some(SHOWN),
            failing_only: printer.is(Verbosity::Quiet),
            facts: is_verbose,
            fail_on,
        }
    }
}

pub(super) fn print(out: &mut impl Write, report: &Report, how: How) -> io::Result<()> {
    let is_told = |finding: &&Finding| !how.failing_only || finding.severity >= how.fail_on;
    let mut findings: Vec<&Finding> = report.findings.iter().filter(is_told).collect();
    // The report's own order is by input; here those of one rule stand together, whichever input they are of.
    // What is mended in the same way stands together, too, and is told how once.
    findings.sort_by(|a, b| {
        let key = |finding: &Finding| (std::cmp::Reverse(finding.severity), finding.rule);
        key(a).cmp(&key(b)).then_with(|| a.help.cmp(&b.help))
    });
    for group in findings.chunk_by(|a, b| (a.severity, a.rule) == (b.severity, b.rule)) {
        match group {
            // There is nothing to do about it, and most files have it.
            [only] if only.severity == Severity::Unknown && !how.facts => {
                writeln!(
                    out,
                    "{HINT}unknown{HINT:#}: {}: {}{}",
                    only.rule,
                    prefix(only, report),
                    shown(&only.message)
                )?;
            }
            _ => print_group(out, group, report, how)?,
        }
        writeln!(out)?;
    }
    if how.failing_only {
        return Ok(());
    }
    writeln!(out, "{}", summary(report))
}

fn print_group(out: &mut impl Write, group: &[&Finding], report: &Report, how: How) -> io::Result<()> {
    let Some(first) = group.first() else { return Ok(()) };
    let (severity, rule) = (first.severity, first.rule);
    let style = match severity {
        Severity::Error => ERROR,
        Severity::Warning => WARNING,
        Severity::Note | Severity::Unknown => HINT,
    };
    let count = if group.len() > 1 { format!(" ({} times)", group.len()) } else { String::new() };
    writeln!(out, "{style}{severity}{style:#}: {HEADING}{rule}{HEADING:#}{count}: {}", rule.summary())?;
    let cut = match how.cut {
        // One more line would be as long as what it says is left out.
        Some(cut) if group.len() > cut + 1 => cut,
        _ => group.len(),
    };
    let (told, left_out) = group.split_at(cut);
    for (at, finding) in told.iter().enumerate() {
        print_finding(out, finding, report, how)?;
        // Said once where the next one has the same.
        if told.get(at + 1).is_none_or(|next| next.help != finding.help) {
            if at + 1 == told.len() {
                left_out_line(out, left_out.len())?;
            }
            writeln!(out, "  {HINT}to do{HINT:#}: {}", shown(&finding.help))?;
        }
    }
    Ok(())
}

fn left_out_line(out: &mut impl Write, count: usize) -> io::Result<()> {
    if count > 0 {
        writeln!(out, "  and {count} more, which `-v` shows")?;
    }
    Ok(())
}

fn print_finding(out: &mut impl Write, finding: &Finding, report: &Report, how: How) -> io::Result<()> {
    let layer = finding.layer.as_ref().map(|layer| format!(" (layer {})", layer.number)).unwrap_or_default();
    writeln!(out, "  {}{}{layer}", prefix(finding, report), shown(&finding.message))?;
    if !how.facts {
        return Ok(());
    }
    let created_by = finding.layer.as_ref().and_then(|layer| layer.created_by.as_ref());
    for (key, value) in [
        ("target", finding.target.as_ref()),
        ("expected", finding.expected.as_ref()),
        ("found", finding.found.as_ref()),
        ("layer", finding.layer.as_ref().map(|layer| &layer.diff_id)),
        ("made by", created_by),
    ] {
        if let Some(value) = value {
            writeln!(out, "    {key:<8}  {}", shown(value))?;
        }
    }
    Ok(())
}

/// What has to be said before a finding's message, which names the file: the input and the platform, where there are
/// several, and the line.
fn prefix(finding: &Finding, report: &Report) -> String {
    let input = report.inputs.iter().find(|input| input.name == finding.input);
    let Some(input) = input else {
        let line = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
        return format!("{}{line}: ", shown(&finding.input));
    };
    let mut words = Vec::new();
    if report.inputs.len() > 1 && input.kind != InputKind::Files {
        words.push(shown(&finding.input));
    }
    words.extend(finding.platform.as_ref().filter(|_| input.platforms.len() > 1).map(shown));
    if words.is_empty() { String::new() } else { format!("{}: ", words.join(" ")) }
}

/// `2 errors, 1 warning in 153 files, 32 of them ELF files, held against linux/arm64`.
fn summary(report: &Report) -> String {
    let summary = &report.summary;
    let counted = |count: usize, one: &str, many: &str| {
        (count > 0).then(|| format!("{count} {}", if count == 1 { one } else { many }))
    };
    let counts: Vec<String> = [
        counted(summary.errors, "error", "errors"),
        counted(summary.warnings, "warning", "warnings"),
        counted(summary.notes, "note", "notes"),
        counted(summary.unknown, "unknown", "unknown"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let found = if counts.is_empty() { "nothing found".into() } else { counts.join(", ") };
    let files = if summary.files == 1 { "file" } else { "files" };
    let mut parts = vec![format!("{found} in {} {files}, {} of them ELF", summary.files, summary.elf)];
    if !report.targets.is_empty() {
        parts.push(format!(", for {}", report.targets.join(", ")));
    }
    for (count, what) in
        [(summary.allowed, "allowed by the policy"), (summary.known, "known to the baseline")]
    {
        if count > 0 {
            parts.push(format!("; {count} {what}"));
        }
    }
    shown(parts.concat())
}
