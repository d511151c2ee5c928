//! What can be wrong with a policy or a baseline.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where something stands in a text. Both count from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    /// That of the byte at `offset` of `text`.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong in a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub position: Position,
    /// What, and what would be right.
    pub message: String,
}

/// A policy file or a baseline cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It cannot be read.
    #[error("reading the {what} `{}`", path.display())]
    Read {
        /// `policy file`, `baseline`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such baseline.
    #[error("there is no baseline `{}`", path.display())]
    NoBaseline {
        /// The file.
        path: PathBuf,
    },
    /// It says what is not understood.
    #[error("the policy file `{}` is not right:{}", path.display(), listed(path, faults))]
    Faults {
        /// The file.
        path: PathBuf,
        /// All that is wrong, in the order of the file.
        faults: Vec<Fault>,
    },
    /// It is none of ours, or of a later polyarch.
    #[error("the baseline `{}` is not right: {reason}", path.display())]
    Baseline {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

fn listed(path: &std::path::Path, faults: &[Fault]) -> String {
    faults.iter().fold(String::new(), |mut text, fault| {
        use fmt::Write as _;
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {}:{}: {}", path.display(), fault.position, fault.message);
        text
    })
}

impl PolicyError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { what: "policy file", .. } => "give the policy file with `--policy FILE`".into(),
            Self::Read { .. } => return None,
            Self::NoBaseline { .. } => {
                "`--write-baseline` writes what is found now into it, and later runs tell only of what is new"
                    .into()
            }
            Self::Faults { .. } => "docs/check.md has all keys of a policy file".into(),
            Self::Baseline { .. } => "`--write-baseline` writes it anew".into(),
        })
    }
}
