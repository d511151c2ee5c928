//! What was found.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::str::FromStr;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::Rule;

/// How bad a finding is, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nobody declares the fact that would tell. An error under `--strict`, and nothing else changes it.
    Unknown,
    /// Worth knowing; never fails.
    Note,
    /// It may not do what is meant; fails with `--fail-on warning`.
    Warning,
    /// It will not run; fails.
    Error,
}

impl Severity {
    /// All, the least first.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Note, Self::Warning, Self::Error];

    /// `error`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = UnknownSeverity;

    fn from_str(text: &str) -> Result<Self, UnknownSeverity> {
        let known = Self::ALL.into_iter().find(|severity| severity.as_str() == text);
        known.ok_or_else(|| UnknownSeverity { text: text.into() })
    }
}

/// A text is no severity.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no severity")]
pub struct UnknownSeverity {
    text: String,
}

impl UnknownSeverity {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some("a severity is `error`, `warning`, `note` or `unknown`".into())
    }
}

/// The layer of an image that a file is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// From 1, the lowest.
    pub number: usize,
    /// The digest of what it holds, uncompressed.
    pub diff_id: String,
    /// The instruction that made it, as the config's history says.
    pub created_by: Option<String>,
}

/// One verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule that is broken.
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// The input, as it was given.
    #[serde(serialize_with = "lossy")]
    pub input: OsString,
    /// The platform of the image in the input, where the input is an index or an image.
    pub platform: Option<String>,
    /// The file. In an image or a root: its path there, from `/`. Else the input as it was given and the path beneath it. `None`
    /// for what is of the image itself.
    #[serde(flatten, serialize_with = "path_fields")]
    pub path: Option<PathBuf>,
    /// The line in it, from 1, where the file is a text and one line is to blame.
    pub line: Option<u32>,
    /// The layer that the file is from.
    pub layer: Option<Layer>,
    /// The target that it was held against.
    pub target: Option<String>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What the target, or whoever needs the file, expects.
    pub expected: Option<String>,
    /// What is there.
    pub found: Option<String>,
    /// What to do.
    pub help: String,
}

fn lossy<S: Serializer>(text: &OsString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text.to_string_lossy())
}

#[expect(clippy::ref_option, reason = "serde hands fields over so")]
/// `path`, and only where it is no UTF-8, and `path` therefore not exact, `path_hex`.
fn path_fields<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    let text = path.as_ref().map(|path| path.to_string_lossy());
    let mut fields = serializer.serialize_map(None)?;
    fields.serialize_entry("path", &text)?;
    if let (Some(path), Some(Cow::Owned(_))) = (path, &text) {
        let bytes = path.as_os_str().as_bytes().iter();
        let hex = bytes.map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        fields.serialize_entry("path_hex", &hex)?;
    }
    fields.end()
}

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InputKind {
    /// An image, or an index of several.
    Image,
    /// A root file system in a folder.
    Root,
    /// A file, or a folder of files that is no root file system.
    Files,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Input {
    /// As it was given.
    #[serde(rename = "input", serialize_with = "lossy")]
    pub name: OsString,
    /// What it is.
    pub kind: InputKind,
    /// The platforms of its images that were looked at.
    pub platforms: Vec<String>,
}

/// How much was looked at and found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Files.
    pub files: u64,
    /// ELF files among them.
    pub elf: u64,
    /// Findings of severity error.
    pub errors: usize,
    /// Findings of severity warning.
    pub warnings: usize,
    /// Findings of severity note.
    pub notes: usize,
    /// Facts that nobody declares.
    pub unknown: usize,
    /// Findings that the policy allows, which are not among the others.
    pub allowed: usize,
    /// Findings that the baseline has, which are not among the others.
    pub known: usize,
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was looked at.
    pub inputs: Vec<Input>,
    /// The targets that it was held against, by name. Where none was given these are the inputs' own claims.
    pub targets: Vec<String>,
    /// The worst first, and then by input, platform and path.
    pub findings: Vec<Finding>,
    /// Counts of them.
    pub summary: Summary,
    /// Which targets the inputs fit, where that is what was asked.
    pub fits: Vec<Fit>,
}

/// Whether an input fits a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// The input, as it was given.
    #[serde(serialize_with = "lossy")]
    pub input: OsString,
    /// The target.
    pub target: String,
    /// Whether no error was found.
    pub fits: bool,
    /// How many errors were found.
    pub errors: usize,
    /// The first of them.
    pub why: Option<String>,
}

impl Report {
    /// A report of `findings` in `files` files, `elf` of them ELF files.
    #[must_use]
    pub fn new(
        inputs: Vec<Input>,
        targets: Vec<String>,
        findings: Vec<Finding>,
        (files, elf): (u64, u64),
    ) -> Self {
        let summary = Summary { files, elf, ..Summary::default() };
        let mut report = Self { inputs, targets, findings, summary, fits: Vec::new() };
        report.settle();
        report
    }

    /// Sorts the findings and counts them anew, after they were changed.
    pub fn settle(&mut self) {
        self.findings.sort_by(|a, b| {
            Reverse(a.severity)
                .cmp(&Reverse(b.severity))
                .then_with(|| a.input.cmp(&b.input))
                .then_with(|| a.platform.cmp(&b.platform))
                .then_with(|| a.rule.cmp(&b.rule))
                .then_with(|| a.path.cmp(&b.path))
                .then_with(|| a.target.cmp(&b.target))
                .then_with(|| a.message.cmp(&b.message))
        });
        let count = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        self.summary.errors = count(Severity::Error);
        self.summary.warnings = count(Severity::Warning);
        self.summary.notes = count(Severity::Note);
        self.summary.unknown = count(Severity::Unknown);
    }

    /// Makes errors of what is unknown.
    pub fn make_strict(&mut self) {
        for finding in &mut self.findings {
            if finding.severity == Severity::Unknown {
                finding.severity = Severity::Error;
            }
        }
        self.settle();
    }

    /// Whether there is a finding as bad as `least`, or worse.
    #[must_use]
    pub fn fails(&self, least: Severity) -> bool {
        self.findings.iter().any(|finding| finding.severity >= least)
    }
}

/// `{"input", "targets", "findings", "summary"}`, and `inputs`; `input` is null where there are several.
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut object = serializer.serialize_struct("Report", 6)?;
        let only = match self.inputs.as_slice() {
            [input] => Some(input.name.to_string_lossy()),
            _ => None,
        };
        object.serialize_field("input", &only)?;
        object.serialize_field("inputs", &self.inputs)?;
        object.serialize_field("targets", &self.targets)?;
        object.serialize_field("findings", &self.findings)?;
        object.serialize_field("summary", &self.summary)?;
        if !self.fits.is_empty() {
            object.serialize_field("fits", &self.fits)?;
        }
        object.end()
    }
}
