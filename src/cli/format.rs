//! How a verb that reports writes its data.

use std::io::{self, Write};

use serde::Serialize;

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// A table or lines for people
    Text,
    /// JSON, whose keys are only ever added to
    Json,
}

/// Writes `value` as indented JSON with a newline at the end.
pub(super) fn json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}
