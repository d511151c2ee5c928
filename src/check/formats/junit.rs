//! JUnit's XML, as CI systems read it: a suite for each input, a case for each finding, and one for each rule that nothing breaks.

use std::ffi::OsStr;
use std::io::{self, Write};

use super::place::{Place, whole};
use super::{Context, Report};
use crate::check::{Finding, Level, Rule};

/// Writes `report` as JUnit's XML. A finding that does not fail is a case that succeeds and says something; a rule that is off is
/// one that is skipped.
///
/// # Errors
/// Those of `out`.
pub fn junit(out: &mut impl Write, report: &Report, context: &Context<'_>) -> io::Result<()> {
    let mut names: Vec<&OsStr> = report.inputs.iter().map(|input| input.name.as_os_str()).collect();
    // Policy and baseline are no inputs, and may have findings.
    for finding in &report.findings {
        if !names.contains(&finding.input.as_os_str()) {
            names.push(&finding.input);
        }
    }
    let suites: Vec<Suite<'_>> = names.into_iter().map(|name| Suite::of(name, report, context)).collect();
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(
        out,
        r#"<testsuites name="polyarch check" tests="{}" failures="{}" errors="0" skipped="{}" time="0">"#,
        suites.iter().map(Suite::tests).sum::<usize>(),
        suites.iter().map(|suite| suite.failures).sum::<usize>(),
        suites.iter().map(|suite| suite.off.len()).sum::<usize>(),
    )?;
    for suite in &suites {
        suite.write(out, report, context)?;
    }
    writeln!(out, "</testsuites>")
}

struct Suite<'a> {
    name: String,
    findings: Vec<&'a Finding>,
    kept: Vec<Rule>,
    off: Vec<Rule>,
    failures: usize,
}

impl<'a> Suite<'a> {
    fn of(name: &OsStr, report: &'a Report, context: &Context<'_>) -> Self {
        let findings: Vec<&Finding> =
            report.findings.iter().filter(|finding| finding.input == name).collect();
        let is_input = report.inputs.iter().any(|input| input.name == name);
        let rules = || Rule::ALL.into_iter().filter(|rule| is_input && !rule.is_about_policy());
        let is_off = |rule: &Rule| context.policy.level(*rule) == Level::Off;
        Self {
            name: name.to_string_lossy().into_owned(),
            kept: rules()
                .filter(|rule| !is_off(rule) && !findings.iter().any(|finding| finding.rule == *rule))
                .collect(),
            off: rules().filter(is_off).collect(),
            failures: findings.iter().filter(|finding| finding.severity >= context.fail_on).count(),
            findings,
        }
    }

    fn tests(&self) -> usize {
        self.findings.len() + self.kept.len() + self.off.len()
    }

    fn write(&self, out: &mut impl Write, report: &Report, context: &Context<'_>) -> io::Result<()> {
        writeln!(
            out,
            r#"  <testsuite name="{}" tests="{}" failures="{}" errors="0" skipped="{}" time="0">"#,
            escaped(&self.name),
            self.tests(),
            self.failures,
            self.off.len(),
        )?;
        for finding in &self.findings {
            let place = whole(finding, &Place::of(finding, report, context));
            let target = finding.target.as_ref().map(|target| format!(" ({target})")).unwrap_or_default();
            case(out, finding.rule, &format!("{place}{target}"))?;
            writeln!(out, ">")?;
            let text = text(finding);
            if finding.severity >= context.fail_on {
                let (kind, message) = (finding.severity, escaped(&finding.message));
                writeln!(
                    out,
                    r#"      <failure type="{kind}" message="{message}">{}</failure>"#,
                    escaped(&text)
                )?;
            } else {
                writeln!(out, "      <system-out>{}</system-out>", escaped(&text))?;
            }
            writeln!(out, "    </testcase>")?;
        }
        for rule in &self.kept {
            case(out, *rule, rule.summary())?;
            writeln!(out, "/>")?;
        }
        for rule in &self.off {
            case(out, *rule, rule.summary())?;
            writeln!(out, "><skipped message=\"the rule is off\"/></testcase>")?;
        }
        writeln!(out, "  </testsuite>")
    }
}

fn case(out: &mut impl Write, rule: Rule, name: &str) -> io::Result<()> {
    write!(out, r#"    <testcase classname="polyarch.{rule}" name="{}" time="0""#, escaped(name))
}

/// All that is known of a finding, a line for each fact.
fn text(finding: &Finding) -> String {
    let mut lines = vec![format!("{}: {}", finding.severity, finding.message)];
    let facts = [
        ("expected", finding.expected.clone()),
        ("found", finding.found.clone()),
        ("layer", finding.layer.as_ref().map(|layer| format!("{} ({})", layer.number, layer.diff_id))),
        ("made by", finding.layer.as_ref().and_then(|layer| layer.created_by.clone())),
        ("to do", Some(finding.help.clone())),
    ];
    lines.extend(facts.into_iter().filter_map(|(key, value)| Some(format!("{key}: {}", value?))));
    lines.join("\n")
}

/// Text for an element or an attribute. Characters that XML cannot hold are told by their numbers, as `\u{1b}`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // In attributes they would be read as spaces.
            '\t' => escaped.push_str("&#9;"),
            '\n' => escaped.push_str("&#10;"),
            '\r' => escaped.push_str("&#13;"),
            '\u{fffe}' | '\u{ffff}' => escaped.extend(character.escape_unicode()),
            control if control.is_control() => escaped.extend(control.escape_unicode()),
            other => escaped.push(other),
        }
    }
    escaped
}
