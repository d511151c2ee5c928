//! What was found before, and is no news.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Level, Policy, PolicyError};
use crate::check::{Finding, Report, Rule};

/// The largest baseline that is read, in bytes: some hundred thousand findings.
const LIMIT: u64 = 64 << 20;

/// The form of the file. A change that older programs would misread takes the next number.
const VERSION: u32 = 1;

/// Findings that are known. One counts as often as it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// All but the fingerprint is for whoever reads the file, and for telling what is gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Entry {
    rule: String,
    path: Option<String>,
    target: Option<String>,
    platform: Option<String>,
    message: String,
    fingerprint: String,
}

#[derive(Serialize, Deserialize)]
struct Form {
    version: u32,
    findings: Vec<Entry>,
}

/// Read first, for the rest of another version may have another form.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

impl Baseline {
    /// Reads the baseline at `path`.
    ///
    /// # Errors
    /// [`PolicyError`] where there is none, or it cannot be read or is not right.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => PolicyError::NoBaseline { path: path.into() },
            _ => PolicyError::Read { what: "baseline", path: path.into(), source },
        };
        let wrong = |reason: String| PolicyError::Baseline { path: path.into(), reason };
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes)).map_err(failed)?;
        if bytes.len() as u64 > LIMIT {
            return Err(wrong(format!("it is longer than {LIMIT} bytes")));
        }
        let head: Head = serde_json::from_slice(&bytes).map_err(|err| wrong(err.to_string()))?;
        if head.version != VERSION {
            return Err(wrong(format!(
                "its version is {}, and {VERSION} is what is read here",
                head.version
            )));
        }
        let form: Form = serde_json::from_slice(&bytes).map_err(|err| wrong(err.to_string()))?;
        Ok(Self { path: path.into(), entries: form.findings })
    }

    /// A baseline for `path` of all that is in `report` but what is said of policy and baseline themselves.
    #[must_use]
    pub fn of(path: &Path, report: &Report) -> Self {
        let findings = report.findings.iter().filter(|finding| !finding.rule.is_about_policy());
        let mut entries: Vec<Entry> = findings
            .map(|finding| Entry {
                rule: finding.rule.as_str().into(),
                path: finding.path.as_ref().map(|path| path.to_string_lossy().into_owned()),
                target: finding.target.clone(),
                platform: finding.platform.clone(),
                message: finding.message.clone(),
                fingerprint: finding.fingerprint(),
            })
            .collect();
        // Whichever order they were found in, and so a change shows as little as can be.
        entries.sort();
        Self { path: path.into(), entries }
    }

    /// The text of the file.
    ///
    /// # Panics
    /// Never: strings and a number are JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let form = Form { version: VERSION, findings: self.entries.clone() };
        let mut text = serde_json::to_string_pretty(&form).expect("strings and a number are JSON");
        text.push('\n');
        text
    }

    /// How many findings it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes what is known out of `report`, and puts in a finding for each that is gone: if `policy` holds its rule, and its target
    /// and platform were looked at.
    pub fn apply(&self, report: &mut Report, policy: &Policy) {
        let mut known: HashMap<&str, Vec<&Entry>> = HashMap::new();
        for entry in self.entries.iter().rev() {
            known.entry(&entry.fingerprint).or_default().push(entry);
        }
        let before = report.findings.len();
        report.findings.retain(|finding| {
            if finding.rule.is_about_policy() {
                return true;
            }
            known.get_mut(finding.fingerprint().as_str()).and_then(Vec::pop).is_none()
        });
        report.summary.known += before - report.findings.len();
        if let Some(severity) = policy.severity(Rule::BaselineGone) {
            let looked_at = |name: &Option<String>| {
                let mut platforms = report.inputs.iter().flat_map(|input| &input.platforms);
                name.as_ref()
                    .is_none_or(|name| report.targets.contains(name) || platforms.any(|has| has == name))
            };
            let gone = known.into_values().flatten().filter(|entry| {
                let is_off = |rule: Rule| policy.level(rule) == Level::Off;
                !entry.rule.parse().is_ok_and(is_off)
                    && looked_at(&entry.target)
                    && looked_at(&entry.platform)
            });
            let gone: Vec<Finding> = gone
                .map(|entry| Finding {
                    rule: Rule::BaselineGone,
                    severity,
                    input: self.path.clone().into(),
                    platform: None,
                    path: Some(self.path.clone()),
                    line: None,
                    layer: None,
                    target: entry.target.clone(),
                    message: match &entry.path {
                        Some(path) => format!("`{}` of `{path}` is found no more", entry.rule),
                        None => format!("`{}` of the image is found no more", entry.rule),
                    },
                    expected: None,
                    found: None,
                    help: "write the baseline anew with `--write-baseline`".into(),
                })
                .collect();
            report.findings.extend(gone);
        }
        report.settle();
    }
}
