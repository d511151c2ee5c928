//! The first line of a script, read as the kernel does (`fs/binfmt_script.c`).

/// What the kernel reads of a file to tell what it is.
pub(super) const HEAD: usize = 256;

/// The interpreter that a script names, and the one argument it may have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) interpreter: &'a [u8],
    pub(super) argument: Option<&'a [u8]>,
}

/// `None` where the kernel finds no script in the file that begins with `head` (shorter files are filled up with zeros).
pub(super) fn line(head: &[u8; HEAD]) -> Option<Line<'_>> {
    let text = head.strip_prefix(b"#!")?;
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let ends_word = |byte: &u8| matches!(byte, b' ' | b'\t' | 0);
    // A line end counts only before the first zero.
    let zero = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let text = if let Some(end) = text[..zero].iter().position(|byte| *byte == b'\n') {
        &text[..end]
    } else {
        // The line is cut. An argument may be, the interpreter may not: a word must end somewhere in what is there.
        let start = text.iter().position(|byte| !is_blank(byte))?;
        text[start..].iter().position(ends_word)?;
        &text[..text.len() - 1]
    };
    let end = text.iter().rposition(|byte| !is_blank(byte))? + 1;
    let start = text[..end].iter().position(|byte| !is_blank(byte))?;
    let text = &text[start..end];
    let word = text.iter().position(ends_word).unwrap_or(text.len());
    let (interpreter, rest) = text.split_at(word);
    if interpreter.is_empty() {
        return None;
    }
    let argument = rest.first().filter(|byte| **byte != 0).and_then(|_| {
        let start = rest.iter().position(|byte| !is_blank(byte))?;
        let argument = &rest[start..];
        Some(&argument[..argument.iter().position(|byte| *byte == 0).unwrap_or(argument.len())])
    });
    Some(Line { interpreter, argument })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let mut head = [0; HEAD];
        let len = text.len().min(HEAD);
        head[..len].copy_from_slice(&text[..len]);
        line(&head).map(|line| (line.interpreter.to_vec(), line.argument.map(<[u8]>::to_vec)))
    }

    fn is(text: &[u8], interpreter: &str, argument: Option<&str>) {
        let expected = (interpreter.as_bytes().to_vec(), argument.map(|text| text.as_bytes().to_vec()));
        assert_eq!(read(text), Some(expected), "{}", String::from_utf8_lossy(text));
    }

    #[test]
    fn lines_are_read_as_the_kernel_reads_them() {
        is(b"#!/bin/sh\necho", "/bin/sh", None);
        is(b"#! \t /bin/sh \t \necho", "/bin/sh", None);
        is(b"#!/usr/bin/env -S  a b \n", "/usr/bin/env", Some("-S  a b"));
        is(b"#!/bin/sh\t-e\n", "/bin/sh", Some("-e"));
        is(b"#!/bin/sh", "/bin/sh", None);
        is(b"#!/bin/sh -e", "/bin/sh", Some("-e"));
        is(b"#!sh\r\n", "sh\r", None);
        // A zero ends the interpreter, and what follows it is no argument.
        is(b"#!/bin/sh\0 x\n", "/bin/sh", None);
        for none in [&b"#!"[..], b"#!\n/bin/sh\n", b"#! \t \n", b"# !/bin/sh\n", b"", b"\x7fELF", b"#"] {
            assert_eq!(read(none), None, "{}", String::from_utf8_lossy(none));
        }
    }

    #[test]
    fn a_cut_interpreter_is_none_and_a_cut_argument_is_cut() {
        let long = [b"#!/".to_vec(), vec![b'x'; 300]].concat();
        assert_eq!(read(&long), None);
        assert_eq!(read(&[b"#!".to_vec(), vec![b' '; 300]].concat()), None);
        let fits = [b"#!/".to_vec(), vec![b'x'; 252], b" ".to_vec(), vec![b'y'; 50]].concat();
        assert_eq!(read(&fits).map(|(word, argument)| (word.len(), argument)), Some((253, None)));
        let cut = [b"#!/i ".to_vec(), vec![b'y'; 300]].concat();
        assert_eq!(read(&cut).and_then(|(_, argument)| argument).map(|text| text.len()), Some(250));
    }
}
