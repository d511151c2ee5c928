//! Annotations of GitHub's workflow log.
//!
//! The form: <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>.

use std::io::{self, Write};

use super::place::{Place, prefix};
use super::{Context, Report};
use crate::check::{Finding, Severity};

/// How many annotations of one kind GitHub shows of a step; the rest it drops without a word.
const SHOWN: usize = 10;

/// Writes `report` as annotations. Where there are more of a kind than GitHub shows, the last one says how many are left out, and these
/// follow as lines of the log.
///
/// # Errors
/// Those of `out`.
pub fn github(out: &mut impl Write, report: &Report, context: &Context<'_>) -> io::Result<()> {
    let mut left_out: Vec<&Finding> = Vec::new();
    for (command, severities) in [
        ("error", &[Severity::Error][..]),
        ("warning", &[Severity::Warning]),
        ("notice", &[Severity::Note, Severity::Unknown]),
    ] {
        let findings: Vec<&Finding> =
            report.findings.iter().filter(|finding| severities.contains(&finding.severity)).collect();
        let shown = if findings.len() > SHOWN { SHOWN - 1 } else { findings.len() };
        let (first, rest) = findings.split_at(shown);
        for finding in first {
            annotation(out, command, finding, &Place::of(finding, report, context))?;
        }
        if !rest.is_empty() {
            let title = property("polyarch check");
            writeln!(out, "::{command} title={title}::{} more are in the log of this step", rest.len())?;
        }
        left_out.extend(rest);
    }
    if left_out.is_empty() {
        return Ok(());
    }
    writeln!(out, "::group::{} more findings", left_out.len())?;
    for finding in left_out {
        let prefix = prefix(finding, &Place::of(finding, report, context));
        let line = format!("{} {}: {prefix}{}", finding.severity, finding.rule, finding.message);
        writeln!(out, "{}", plain(&line))?;
    }
    writeln!(out, "::endgroup::")
}

fn annotation(out: &mut impl Write, command: &str, finding: &Finding, place: &Place<'_>) -> io::Result<()> {
    write!(out, "::{command} ")?;
    // What is inside of an image is no file of the repository, and one of the same name there is not to blame.
    if let Place::File(path) = place {
        write!(out, "file={},", property(&String::from_utf8_lossy(path)))?;
        if let Some(line) = finding.line {
            write!(out, "line={line},")?;
        }
    }
    let title = match &finding.target {
        Some(target) => format!("{} ({target})", finding.rule),
        None => finding.rule.as_str().to_owned(),
    };
    let text = format!("{}{}\nTo do: {}", prefix(finding, place), finding.message, finding.help);
    writeln!(out, "title={}::{}", property(&title), data(&text))
}

/// Text behind the `::` of a command. Of control characters only ends of lines have a form there; the rest, by which a log could
/// be painted over, is written as escapes.
fn data(text: &str) -> String {
    let mut data = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '%' => data.push_str("%25"),
            '\r' => data.push_str("%0D"),
            '\n' => data.push_str("%0A"),
            control if control.is_control() => data.extend(control.escape_default()),
            other => data.push(other),
        }
    }
    data
}

/// The value of a command's property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Text for the log that begins no command, wherever it is from: commands begin a line, or stand anywhere behind `##[`.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            control if control.is_control() => plain.extend(control.escape_default()),
            '[' if plain.ends_with("##") => plain.push_str("\\["),
            other => plain.push(other),
        }
    }
    plain
}
