//! GitLab's code quality report.
//!
//! The form: <https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format>.

use std::io::{self, Write};

use serde::{Serialize, Serializer as _};

use super::place::{Place, whole};
use super::{Context, Report};
use crate::check::Severity;

#[derive(Serialize)]
struct Issue<'a> {
    description: String,
    check_name: &'a str,
    fingerprint: &'a str,
    severity: &'static str,
    location: Location,
}

#[derive(Serialize)]
struct Location {
    path: String,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: u32,
}

/// Writes `report` as GitLab's code quality report.
///
/// # Errors
/// Those of `out`.
pub fn gitlab(out: &mut impl Write, report: &Report, context: &Context<'_>) -> io::Result<()> {
    let fingerprints = report.fingerprints();
    let issues = report.findings.iter().zip(&fingerprints).map(|(finding, fingerprint)| Issue {
        description: format!("{}; to do: {}", finding.message, finding.help),
        check_name: finding.rule.as_str(),
        fingerprint,
        severity: match finding.severity {
            Severity::Error => "critical",
            Severity::Warning => "minor",
            Severity::Note | Severity::Unknown => "info",
        },
        location: Location {
            path: whole(finding, &Place::of(finding, report, context)),
            lines: Lines { begin: finding.line.unwrap_or(1) },
        },
    });
    let mut json = serde_json::Serializer::pretty(&mut *out);
    json.collect_seq(issues)?;
    writeln!(out)
}
