//! The records as JSON: one array, whose keys are only ever added.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use serde::Serialize;

use crate::elf::Identity;
use crate::tree::{Content, Record};

#[derive(Serialize)]
struct Row<'a> {
    path: String,
    /// Only where the path is no UTF-8, and `path` therefore not exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum What<'a> {
    Elf(&'a Identity),
    Script { interpreter: &'a str, argument: Option<&'a str> },
    MachO { architectures: &'a [String] },
    Pe { machine: &'a str },
    Error { message: &'a str },
}

impl<'a> From<&'a Record> for Row<'a> {
    fn from(record: &'a Record) -> Self {
        let what = match &record.content {
            Content::Elf(identity) => What::Elf(identity),
            Content::Script(script) => {
                What::Script { interpreter: &script.interpreter, argument: script.argument.as_deref() }
            }
            Content::MachO(architectures) => What::MachO { architectures },
            Content::Pe(machine) => What::Pe { machine },
            Content::Error { message } => What::Error { message },
        };
        Self { path: record.path.to_string_lossy().into_owned(), path_hex: path_hex(&record.path), what }
    }
}

fn path_hex(path: &OsStr) -> Option<String> {
    if path.to_str().is_some() {
        return None;
    }
    Some(path.as_bytes().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// One record a line, so that a diff of two reports shows what changed.
pub(super) fn print(out: &mut impl Write, records: &[Record]) -> io::Result<()> {
    write!(out, "[")?;
    for (index, record) in records.iter().enumerate() {
        writeln!(out, "{}", if index == 0 { "" } else { "," })?;
        let text = serde_json::to_string(&Row::from(record))?;
        write!(out, "{}", escaped(&text))?;
    }
    writeln!(out, "{}]", if records.is_empty() { "" } else { "\n" })
}

/// JSON lets DEL and the C1 controls stand, on which terminals act: here they are written as escapes.
fn escaped(text: &str) -> Cow<'_, str> {
    let is_odd = |character: char| matches!(character, '\u{7f}'..='\u{9f}');
    if !text.contains(is_odd) {
        return text.into();
    }
    let escape = |text: &mut String, character: char| {
        if is_odd(character) {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\u{:04x}", u32::from(character));
        } else {
            text.push(character);
        }
    };
    text.chars()
        .fold(String::with_capacity(text.len() + 8), |mut text, character| {
            escape(&mut text, character);
            text
        })
        .into()
}
