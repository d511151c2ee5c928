//! Debian's control files: paragraphs of fields (deb822(5)).
//!
//! An index holds 60,000 paragraphs of which a few are wanted, so they are cut from the stream by their
//! blank lines, and a field is looked for only where it is asked for.

use std::io::{self, Read};

use memchr::memmem;

/// The longest paragraph that is read, in bytes. The longest in Debian's archive are some tens of thousands.
const LIMIT: usize = 4 << 20;

/// How much is read at once.
const CHUNK: usize = 256 << 10;

/// Cuts a stream into paragraphs.
pub(super) struct Paragraphs<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Where in the buffer the paragraphs that were not handed out yet begin.
    start: usize,
    /// Where in the buffer no end of a paragraph is before.
    searched: usize,
    ended: bool,
}

impl<R: Read> Paragraphs<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), start: 0, searched: 0, ended: false }
    }

    /// The next paragraph, without the blank lines around it.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            while self.buffer.get(self.start) == Some(&b'\n') {
                self.start += 1;
            }
            let from = self.searched.max(self.start);
            if let Some(end) = memmem::find(self.buffer.get(from..).unwrap_or_default(), b"\n\n") {
                let paragraph = self.start..from + end + 1;
                self.start = paragraph.end + 1;
                self.searched = self.start;
                return Ok(self.buffer.get(paragraph));
            }
            if self.ended {
                let rest = self.start..self.buffer.len();
                self.start = rest.end;
                return Ok(self.buffer.get(rest).filter(|rest| !rest.is_empty()));
            }
            self.fill()?;
        }
    }

    /// Reads more, over what was handed out.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.start.min(self.buffer.len()));
        self.start = 0;
        // The first of the two line ends may be the last byte that there is.
        self.searched = self.buffer.len().saturating_sub(1);
        if self.buffer.len() > LIMIT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a paragraph is too long"));
        }
        let count = self.reader.by_ref().take(CHUNK as u64).read_to_end(&mut self.buffer)?;
        self.ended = count == 0;
        Ok(())
    }
}

/// The value of the field `name` in a paragraph, its continuation lines included, without the white space
/// around it. Names are compared without regard to case.
#[must_use]
pub fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    let mut at = 0;
    for line in paragraph.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let Some((found, _)) = line.split_once(':') else { continue };
        if !found.eq_ignore_ascii_case(name) {
            continue;
        }
        let more: usize = paragraph[at..]
            .split_inclusive('\n')
            .take_while(|line| line.starts_with([' ', '\t', '#']))
            .map(str::len)
            .sum();
        return Some(paragraph[start + found.len() + 1..at + more].trim());
    }
    None
}

/// The paragraphs of a short text. Lines that are comments are left out.
pub(super) fn paragraphs(text: &str) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    for line in text.lines() {
        match paragraphs.last_mut() {
            Some(last) if !line.trim().is_empty() => {
                if !line.starts_with('#') {
                    last.push_str(line);
                    last.push('\n');
                }
            }
            _ => paragraphs.push(String::new()),
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    paragraphs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(buffer.len()).min(1);
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn all(reader: impl Read) -> Vec<String> {
        let mut paragraphs = Paragraphs::new(reader);
        let mut all = Vec::new();
        while let Some(paragraph) = paragraphs.next().unwrap() {
            all.push(String::from_utf8(paragraph.to_vec()).unwrap());
        }
        all
    }

    #[test]
    fn blank_lines_cut_a_stream_into_paragraphs() {
        for (text, expected) in [
            ("", vec![]),
            ("\n\n\n", vec![]),
            ("A: 1\n", vec!["A: 1\n"]),
            ("A: 1", vec!["A: 1"]),
            ("\nA: 1\nB: 2\n\n\n\nA: 3\n\n", vec!["A: 1\nB: 2\n", "A: 3\n"]),
        ] {
            assert_eq!(all(text.as_bytes()), expected);
            assert_eq!(all(Slow(text.as_bytes())), expected);
        }
        let long = "A: 0123456789\n\n".repeat(50_000);
        assert_eq!(all(long.as_bytes()).len(), 50_000);
    }

    #[test]
    fn an_endless_paragraph_is_refused() {
        let mut paragraphs = Paragraphs::new(io::repeat(b'x'));
        assert_eq!(paragraphs.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_field_has_its_continuation_lines() {
        let paragraph = "Package: a\nDescription: one\n two\n\tthree\nSHA256: x\nEmpty:\n";
        assert_eq!(field(paragraph, "package"), Some("a"));
        assert_eq!(field(paragraph, "Description"), Some("one\n two\n\tthree"));
        assert_eq!(field(paragraph, "Empty"), Some(""));
        assert_eq!(field(paragraph, "two"), None);
        assert_eq!(field(paragraph, "Pack"), None);
    }
}
