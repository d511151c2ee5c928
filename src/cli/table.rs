//! Tables for people.

use std::ffi::OsStr;
use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::printer::HEADING;

/// Text from outside, made safe to print: control characters, which could rewrite what the terminal shows, are
/// written as escapes, and bytes that are no UTF-8 as the replacement character.
pub(super) fn shown(text: impl AsRef<OsStr>) -> String {
    let text = text.as_ref().to_string_lossy();
    if !text.contains(char::is_control) {
        return text.into_owned();
    }
    text.chars().fold(String::new(), |mut shown, character| {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
        shown
    })
}

/// The widest that a column is made, in cells: one long path must not push all others off the screen.
const WIDEST: usize = 80;

/// Prints `rows` under `head`, in columns two spaces apart, each line behind `indent`. The last column is not filled up.
pub(super) fn print(
    out: &mut impl Write,
    indent: &str,
    head: &[&str],
    rows: &[Vec<String>],
) -> io::Result<()> {
    let mut widths: Vec<usize> = head.iter().map(|text| text.width()).collect();
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.width().min(WIDEST));
        }
    }
    write!(out, "{HEADING}")?;
    line(out, indent, &widths, head)?;
    write!(out, "{HEADING:#}")?;
    rows.iter().try_for_each(|row| line(out, indent, &widths, row))
}

fn line(out: &mut impl Write, indent: &str, widths: &[usize], row: &[impl AsRef<str>]) -> io::Result<()> {
    let last = row.iter().rposition(|text| !text.as_ref().is_empty()).unwrap_or(0);
    for (index, (text, width)) in row.iter().zip(widths).enumerate().take(last + 1) {
        let text = text.as_ref();
        write!(out, "{}{text}", if index == 0 { indent } else { "  " })?;
        if index < last {
            for _ in text.width()..*width {
                write!(out, " ")?;
            }
        }
    }
    writeln!(out)
}
