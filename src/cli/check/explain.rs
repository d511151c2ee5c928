//! What a rule holds, as a page in the terminal.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use super::super::printer::HEADING;
use super::super::table;
use crate::check::{Rule, Severity, UnknownRule};

/// The widest that prose is made, in cells.
const WIDTH: usize = 100;

/// What `--explain` takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Topic {
    /// All rules, a line each.
    All,
    /// The page of one.
    One(Rule),
}

/// Reads a topic. The message has all that is to be said, for it is printed by clap.
pub(super) fn topic(text: &str) -> Result<Topic, String> {
    if text == "all" {
        return Ok(Topic::All);
    }
    text.parse().map(Topic::One).map_err(|err: UnknownRule| match err.hint() {
        Some(hint) => format!("{err}; {hint}; `--explain all` lists them"),
        None => err.to_string(),
    })
}

pub(super) fn print(out: &mut impl Write, topic: Topic) -> io::Result<()> {
    match topic {
        Topic::All => list(out),
        Topic::One(rule) => page(out, rule),
    }
}

fn list(out: &mut impl Write) -> io::Result<()> {
    let row = |rule: Rule| vec![rule.to_string(), rule.severity().to_string(), rule.summary().to_owned()];
    table::print(out, "", &["RULE", "SEVERITY", "WHAT IT HOLDS"], &Rule::ALL.map(row))
}

fn page(out: &mut impl Write, rule: Rule) -> io::Result<()> {
    let page = rule.explanation();
    writeln!(out, "{HEADING}{rule}{HEADING:#}: {}", rule.summary())?;
    let severity = match rule.severity() {
        Severity::Error => "error: it fails",
        Severity::Warning => "warning: it fails with `--fail-on warning`",
        Severity::Note | Severity::Unknown => "note: it does not fail",
    };
    for (heading, text) in [
        ("What it holds", page.holds),
        ("Why it matters", page.why),
        ("To mend it", page.mend),
        ("When to allow it", page.allow),
        ("Severity", severity),
    ] {
        writeln!(out, "\n{HEADING}{heading}{HEADING:#}")?;
        wrap(out, "  ", text)?;
    }
    writeln!(out, "\n{HEADING}In polyarch.toml{HEADING:#}")?;
    if rule.is_about_policy() {
        return writeln!(out, "  [check.rules]\n  {rule} = \"off\"");
    }
    writeln!(out, "  [[check.allow]]\n  rule = \"{rule}\"\n  path = \"PATTERN\"\n  reason = \"WHY\"")
}

/// Writes `text` in lines that are not too wide, each behind `indent`.
fn wrap(out: &mut impl Write, indent: &str, text: &str) -> io::Result<()> {
    let mut width = 0;
    for word in text.split_whitespace() {
        if width > 0 && indent.len() + width + 1 + word.width() > WIDTH {
            writeln!(out)?;
            width = 0;
        }
        if width == 0 {
            write!(out, "{indent}{word}")?;
            width = word.width();
        } else {
            write!(out, " {word}")?;
            width += 1 + word.width();
        }
    }
    writeln!(out)
}
