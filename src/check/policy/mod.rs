//! What a project demands and allows: rules on or off, severities, exceptions with a reason and an end.

mod baseline;
mod error;
mod file;
mod pattern;

pub use baseline::Baseline;
pub use error::{Fault, PolicyError, Position};
pub(crate) use pattern::Pattern;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Finding, InputKind, Report, Rule, Severity};

/// The largest policy file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// A day: year, month and day of the month.
pub type Day = (u16, u8, u8);

/// What a policy makes of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// It is not held.
    Off,
    /// It is held, with the severities that its findings have by themselves.
    On,
    /// It is held, and its findings have this severity.
    At(Severity),
}

/// A text is no level.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no severity: it is `error`, `warning`, `note`, `off` or `on`")]
pub struct UnknownLevel {
    text: String,
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        match text {
            "off" => Ok(Self::Off),
            "on" => Ok(Self::On),
            // `unknown` says that a fact is not declared, which nobody can decide.
            "error" | "warning" | "note" => {
                text.parse().map(Self::At).map_err(|_| UnknownLevel { text: text.into() })
            }
            _ => Err(UnknownLevel { text: text.into() }),
        }
    }
}

/// What may be, although a rule says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Allowance {
    rules: Vec<Rule>,
    /// `None` for any path and for what has none.
    paths: Option<Vec<Pattern>>,
    /// `None` for any target.
    targets: Option<Vec<Pattern>>,
    reason: String,
    /// The last day on which it holds.
    expires: Option<Day>,
    position: Position,
}

/// A policy file that was read, with what a command line changes of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The file; empty where there is none.
    pub path: PathBuf,
    /// The targets to check against: names of the catalogue, `all`, or paths of target files.
    pub targets: Vec<String>,
    /// The profile to check by.
    pub profile: Option<String>,
    /// The least severity that fails.
    pub fail_on: Option<Severity>,
    /// Whether what is unknown is an error.
    pub strict: bool,
    /// Whether all programs have to be static.
    pub all_static: bool,
    /// The file of known findings.
    pub baseline: Option<PathBuf>,
    levels: BTreeMap<Rule, Level>,
    allowances: Vec<Allowance>,
}

impl Policy {
    /// Reads the policy file at `path`.
    ///
    /// # Errors
    /// [`PolicyError`] with all that is wrong with it.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let failed = |source| PolicyError::Read { what: "policy file", path: path.into(), source };
        let mut text = String::new();
        File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_string(&mut text)).map_err(failed)?;
        if text.len() as u64 > LIMIT {
            return Err(failed(std::io::Error::other(format!("it is longer than {LIMIT} bytes"))));
        }
        Self::parse(path, &text)
    }

    /// Reads the `text` of the policy file at `path`, at whose folder the paths in it begin.
    ///
    /// # Errors
    /// [`PolicyError::Faults`] with all that is wrong with it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, PolicyError> {
        file::parse(path, text)
    }

    /// Sets the level of `rule`, whatever the file says.
    pub fn set(&mut self, rule: Rule, level: Level) {
        self.levels.insert(rule, level);
    }

    /// The level of `rule`.
    #[must_use]
    pub fn level(&self, rule: Rule) -> Level {
        self.levels.get(&rule).copied().unwrap_or(Level::On)
    }

    /// The severity of `rule`, where it is held.
    #[must_use]
    pub fn severity(&self, rule: Rule) -> Option<Severity> {
        match self.level(rule) {
            Level::Off => None,
            Level::On => Some(rule.severity()),
            Level::At(severity) => Some(severity),
        }
    }

    /// Changes `report` as the policy demands: findings of rules that are off and those that are allowed go, severities are
    /// changed. Allowances that ended before `today`, and those that nothing needs, become findings themselves.
    pub fn apply(&self, report: &mut Report, today: Day) {
        let mut used = vec![false; self.allowances.len()];
        let is_over = |allowance: &Allowance| allowance.expires.is_some_and(|last| last < today);
        let kinds: BTreeMap<_, _> =
            report.inputs.iter().map(|input| (input.name.clone(), input.kind)).collect();
        let mut allowed = 0;
        report.findings.retain_mut(|finding| {
            match self.level(finding.rule) {
                Level::Off => return false,
                // What is not known is not made known by a severity.
                Level::At(severity) if finding.severity != Severity::Unknown => finding.severity = severity,
                Level::At(_) | Level::On => {}
            }
            let kind = kinds.get(&finding.input).copied().unwrap_or(InputKind::Files);
            let mut over = None;
            let mut is_allowed = false;
            for (allowance, used) in self.allowances.iter().zip(&mut used) {
                if !allowance.covers(finding, kind) {
                    continue;
                }
                *used = true;
                if is_over(allowance) {
                    over = over.or(Some(allowance));
                } else {
                    is_allowed = true;
                }
            }
            if is_allowed {
                allowed += 1;
            } else if let Some(allowance) = over {
                finding.help = format!("{} ({})", finding.help, self.ended(allowance));
            }
            !is_allowed
        });
        report.summary.allowed += allowed;
        for (allowance, used) in self.allowances.iter().zip(used) {
            let over = is_over(allowance);
            let rule = if over { Rule::AllowanceExpired } else { Rule::AllowanceUnused };
            // What was not looked at says nothing of what it would have needed.
            let unknown = !over && (used || !self.could_match(allowance, report));
            if let Some(severity) = self.severity(rule)
                && !unknown
            {
                report.findings.push(self.verdict(allowance, rule, severity, used));
            }
        }
        report.settle();
    }

    /// Whether `allowance` is for a rule that is held and a target that was looked at.
    fn could_match(&self, allowance: &Allowance, report: &Report) -> bool {
        let looked_at = report.targets.iter().chain(report.inputs.iter().flat_map(|input| &input.platforms));
        allowance.rules.iter().any(|rule| self.level(*rule) != Level::Off)
            && allowance.targets.as_ref().is_none_or(|patterns| {
                looked_at
                    .into_iter()
                    .any(|name| patterns.iter().any(|pattern| pattern.matches(name.as_bytes())))
            })
    }

    /// The finding that an allowance is over or not needed.
    fn verdict(&self, allowance: &Allowance, rule: Rule, severity: Severity, used: bool) -> Finding {
        let rules: Vec<&str> = allowance.rules.iter().map(|rule| rule.as_str()).collect();
        let paths = allowance.paths.as_ref().map(|patterns| {
            let patterns: Vec<&str> = patterns.iter().map(Pattern::as_str).collect();
            format!(" in `{}`", patterns.join("`, `"))
        });
        let what = format!("`{}`{}", rules.join("`, `"), paths.unwrap_or_default());
        let (message, help) = match (rule, used) {
            (Rule::AllowanceExpired, true) => (
                format!(
                    "the allowance of {what} {}, and what it allowed is still there",
                    self.ended(allowance)
                ),
                "mend the findings, or give the allowance a later day and say why",
            ),
            (Rule::AllowanceExpired, false) => (
                format!("the allowance of {what} {}, and nothing needs it", self.ended(allowance)),
                "remove the allowance",
            ),
            _ => (format!("the allowance of {what} allows nothing that was found"), "remove the allowance"),
        };
        Finding {
            rule,
            severity,
            input: self.path.clone().into(),
            platform: None,
            path: Some(self.path.clone()),
            line: u32::try_from(allowance.position.line).ok(),
            layer: None,
            target: None,
            message,
            expected: None,
            found: Some(allowance.reason.clone()),
            help: help.into(),
        }
    }

    fn ended(&self, allowance: &Allowance) -> String {
        let (year, month, day) = allowance.expires.unwrap_or_default();
        format!("of {}:{} ended on {year:04}-{month:02}-{day:02}", self.path.display(), allowance.position)
    }
}

impl Allowance {
    /// Whether it is about `finding` in an input of this `kind`.
    fn covers(&self, finding: &Finding, kind: InputKind) -> bool {
        self.rules.contains(&finding.rule)
            && self.targets.as_ref().is_none_or(|patterns| {
                let target = finding.target.as_ref().or(finding.platform.as_ref());
                target.is_some_and(|name| patterns.iter().any(|pattern| pattern.matches(name.as_bytes())))
            })
            && self.paths.as_ref().is_none_or(|patterns| {
                let Some(path) = &finding.path else { return false };
                let path = path.as_os_str().as_bytes();
                // Of a folder or an archive that is no root: as it is named, or from there on.
                let beneath = match kind {
                    InputKind::Files => path
                        .strip_prefix(finding.input.as_bytes())
                        .and_then(|rest| rest.strip_prefix(b"!").unwrap_or(rest).strip_prefix(b"/")),
                    InputKind::Image | InputKind::Root => None,
                };
                patterns.iter().any(|pattern| {
                    pattern.matches(path) || beneath.is_some_and(|beneath| pattern.matches(beneath))
                })
            })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Off => "off",
            Self::On => "on",
            Self::At(severity) => severity.as_str(),
        })
    }
}
