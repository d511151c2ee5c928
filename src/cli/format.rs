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

/// Writes `rows` in columns, the first of them in `HEADING`'s style. The last column is not padded.
pub(super) fn table<const N: usize>(out: &mut impl Write, rows: &[[&str; N]]) -> io::Result<()> {
    use super::printer::HEADING;
    use unicode_width::UnicodeWidthStr;

    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
        }
        let line = line.trim_end();
        if number == 0 {
            writeln!(out, "{HEADING}{line}{HEADING:#}")?;
        } else {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}
