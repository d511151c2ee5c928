//! What is wrong with a Containerfile, and where.

use std::fmt;

/// Where something stands in the text: line and column, both from 1. Columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A Containerfile that cannot be understood: the first thing that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ContainerfileError {
    /// Where.
    pub at: Position,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ContainerfileError {
    pub(crate) fn new(at: Position, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Something that is understood and probably not meant: what `docker build --check` calls a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Docker's name of the rule, such as `NoEmptyContinuation`.
    pub rule: &'static str,
    /// Where.
    pub at: Position,
    /// What is odd.
    pub message: String,
}

/// The word of `known` that is nearest to `given`, where one is near.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance =
        |known: &str| strsim::damerau_levenshtein(&given.to_ascii_lowercase(), &known.to_ascii_lowercase());
    // Words are short, and so is what is compared.
    let near =
        known.into_iter().map(|known| (distance(known), known)).min_by_key(|(distance, _)| *distance)?;
    (given.len() < 64 && near.0 <= 1 + near.1.len() / 4).then_some(near.1)
}
