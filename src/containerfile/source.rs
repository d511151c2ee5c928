//! From a Containerfile's text to its logical lines: directives, comments, continuations, here-documents' bodies.
//!
//! Source: Docker's reference of the Dockerfile, and what BuildKit's parser does where that is silent.

use super::error::{ContainerfileError, Position, Warning};
use super::words;

/// The largest Containerfile, in bytes. No person's is a hundredth of it.
pub const SIZE_LIMIT: usize = 1 << 20;

/// The parser's directives at a file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `escape`: the character that ends a line which goes on, and takes the next character's meaning: `\` or a backtick.
    pub escape: char,
    /// `syntax`: the frontend that other builders would fetch, and where that is said.
    pub syntax: Option<(String, Position)>,
    /// `check`: which checks to skip, and whether the others' findings are errors.
    pub check: Option<String>,
}

/// A logical line: one instruction.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// The text, its continuations joined.
    pub(super) text: String,
    /// Where pieces of the text stand: each piece's first byte in `text`, and its position in the file.
    pieces: Vec<(usize, Position)>,
    /// The last line of the file that belongs to it, bodies of here-documents included.
    pub(super) last: usize,
    /// The bodies of its here-documents, in order.
    pub(super) heredocs: Vec<Heredoc>,
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, and for COPY and ADD the name of the file.
    pub name: String,
    /// Its body, with every line's end.
    pub body: String,
    /// Whether variables in it are expanded: the word was not quoted.
    pub expand: bool,
    /// Whether tabs that begin its lines are dropped (`<<-`).
    pub chomp: bool,
}

impl Heredoc {
    /// The body without what `<<-` drops.
    #[must_use]
    pub fn content(&self) -> String {
        if !self.chomp {
            return self.body.clone();
        }
        self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

impl Line {
    /// A line of its own, all of it at `at`: what ONBUILD holds.
    pub(super) fn part(&self, from: usize) -> Self {
        let start = self.at(from);
        let pieces = std::iter::once((0, start)).chain(
            self.pieces.iter().filter(|(offset, _)| *offset > from).map(|(offset, at)| (offset - from, *at)),
        );
        Self {
            text: self.text.get(from..).unwrap_or_default().to_owned(),
            pieces: pieces.collect(),
            last: self.last,
            heredocs: self.heredocs.clone(),
        }
    }

    /// Where the byte `offset` of the text stands in the file.
    pub(super) fn at(&self, offset: usize) -> Position {
        let piece = self.pieces.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        let Some((start, position)) = self.pieces.get(piece) else { return Position { line: 1, column: 1 } };
        let before = self.text.get(*start..offset).unwrap_or_default();
        Position { line: position.line, column: position.column + before.chars().count() }
    }
}

/// The logical lines of a file.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) directives: Directives,
    pub(super) lines: Vec<Line>,
    pub(super) warnings: Vec<Warning>,
}

impl Source {
    /// Reads a file's text.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ContainerfileError> {
        let text = decode(bytes)?;
        let physical: Vec<&str> = text.split_inclusive('\n').collect();
        let (directives, mut next) = directives(&physical)?;
        let (mut lines, mut warnings) = (Vec::new(), Vec::new());
        while next < physical.len() {
            let reader = Reader { physical: &physical, escape: directives.escape };
            let (line, after) = reader.logical(next, &mut warnings)?;
            lines.extend(line);
            next = after;
        }
        Ok(Self { directives, lines, warnings })
    }
}

/// Bytes as text: what is no Containerfile is told here.
fn decode(bytes: &[u8]) -> Result<&str, ContainerfileError> {
    let at = |offset: usize| {
        let before = bytes.get(..offset).unwrap_or_default();
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let column = 1 + String::from_utf8_lossy(before.get(start..).unwrap_or_default()).chars().count();
        Position { line: before.split(|byte| *byte == b'\n').count(), column }
    };
    if bytes.len() > SIZE_LIMIT {
        let message = format!("a Containerfile of {} bytes, and {SIZE_LIMIT} is the most", bytes.len());
        return Err(ContainerfileError::new(at(0), message).hint("is it the right file? `-f` names another"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let hint = "a Containerfile is UTF-8 text; is it the right file? `-f` names another";
    if let Some(offset) = bytes.iter().position(|byte| *byte == 0) {
        return Err(ContainerfileError::new(at(offset), "a zero byte: the file is no text").hint(hint));
    }
    std::str::from_utf8(bytes)
        .map_err(|err| ContainerfileError::new(at(err.valid_up_to()), "the text is not UTF-8").hint(hint))
}

/// The directives at the head, and the line after them.
///
/// They end with the first line that is none. One that is not known is a comment.
fn directives(physical: &[&str]) -> Result<(Directives, usize), ContainerfileError> {
    let mut found = Directives { escape: '\\', syntax: None, check: None };
    let mut seen: Vec<String> = Vec::new();
    // A file that is a program of its own may begin with its interpreter.
    let first = usize::from(physical.first().is_some_and(|line| line.starts_with("#!")));
    for (number, line) in physical.iter().enumerate().skip(first) {
        let at = Position { line: number + 1, column: 1 };
        let Some((key, value)) = directive(line) else { return Ok((found, number)) };
        let key = key.to_ascii_lowercase();
        if !["escape", "syntax", "check"].contains(&key.as_str()) {
            return Ok((found, number));
        }
        if seen.contains(&key) {
            return Err(ContainerfileError::new(at, format!("the directive `{key}` is given twice")));
        }
        match key.as_str() {
            "escape" => {
                found.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => {
                        let message = format!("the escape character is `\\` or a backtick, not `{value}`");
                        return Err(ContainerfileError::new(at, message));
                    }
                }
            }
            "syntax" => found.syntax = Some((value.to_owned(), at)),
            _ => found.check = Some(value.to_owned()),
        }
        seen.push(key);
    }
    Ok((found, physical.len()))
}

/// `# key = value`.
fn directive(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim().strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let is_key = key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_key && !value.is_empty()).then_some((key, value))
}

struct Reader<'a> {
    physical: &'a [&'a str],
    escape: char,
}

impl Reader<'_> {
    /// The logical line that begins with the line `first`, if there is one, and the line after it.
    fn logical(
        &self,
        first: usize,
        warnings: &mut Vec<Warning>,
    ) -> Result<(Option<Line>, usize), ContainerfileError> {
        let mut line =
            Line { text: String::new(), pieces: Vec::new(), last: first + 1, heredocs: Vec::new() };
        let mut next = first;
        let mut empty = None;
        while let Some(raw) = self.physical.get(next) {
            let number = next + 1;
            next += 1;
            let plain = end_trimmed(raw);
            let inner = plain.trim_start();
            // Comments and empty lines within an instruction are passed over.
            if inner.starts_with('#') {
                if line.pieces.is_empty() {
                    return Ok((None, next));
                }
                continue;
            }
            if inner.is_empty() {
                if line.pieces.is_empty() {
                    return Ok((None, next));
                }
                empty = empty.or(Some(number));
                continue;
            }
            // An instruction's own indentation is dropped, that of the lines it goes on with is kept.
            let text = if line.pieces.is_empty() { inner } else { plain };
            let column = 1 + plain.chars().count() - text.chars().count();
            line.pieces.push((line.text.len(), Position { line: number, column }));
            line.last = number;
            let Some(before) = continued(text, self.escape) else {
                line.text.push_str(text);
                break;
            };
            line.text.push_str(before);
        }
        if let Some(number) = empty {
            warnings.push(Warning {
                rule: "NoEmptyContinuation",
                at: Position { line: number, column: 1 },
                message: "an empty line within an instruction".into(),
            });
        }
        if line.text.trim().is_empty() {
            return Ok((None, next));
        }
        for (offset, mut heredoc) in words::heredocs(&line.text, self.escape) {
            next = self.body(line.at(offset), &mut heredoc, next)?;
            line.last = next;
            line.heredocs.push(heredoc);
        }
        Ok((Some(line), next))
    }

    /// Reads a here-document's body from the line `next` on, and gives the line after its end.
    fn body(&self, at: Position, heredoc: &mut Heredoc, next: usize) -> Result<usize, ContainerfileError> {
        for (index, raw) in self.physical.iter().enumerate().skip(next) {
            let plain = raw.strip_suffix('\n').unwrap_or(raw);
            let plain = plain.strip_suffix('\r').unwrap_or(plain);
            let ending = if heredoc.chomp { plain.trim_start_matches('\t') } else { plain };
            if ending == heredoc.name {
                return Ok(index + 1);
            }
            heredoc.body.push_str(raw);
        }
        let message = format!("the here-document `{}` has no end", heredoc.name);
        Err(ContainerfileError::new(at, message)
            .hint(format!("a line that is `{}` and nothing else ends it", heredoc.name)))
    }
}

fn end_trimmed(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// The line without its last character where that says that it goes on. Two of them are a character of the text.
fn continued(line: &str, escape: char) -> Option<&str> {
    let before = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!before.ends_with(escape)).then_some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        Source::read(text.as_bytes()).unwrap().lines.into_iter().map(|line| line.text).collect()
    }

    fn fault(text: &[u8]) -> (String, String) {
        let err = Source::read(text).unwrap_err();
        (err.at.to_string(), err.message)
    }

    #[test]
    fn lines_are_joined_and_comments_between_them_dropped() {
        assert_eq!(
            lines("FROM a\n\n# note\n  RUN b \\\n  c \\\n# note\n   # note\n\n  d\nCMD e"),
            ["FROM a", "RUN b   c   d", "CMD e"]
        );
        assert_eq!(lines("RUN a\\  \n b\\\\\nRUN c\\\n"), ["RUN a b\\\\", "RUN c"]);
        assert_eq!(lines("RUN a \\\r\n  b\r\nCMD c\r\n"), ["RUN a   b", "CMD c"]);
        assert_eq!(lines("\u{feff}FROM a"), ["FROM a"]);
        assert!(lines("\\\n\n# only comments\n").is_empty());
    }

    #[test]
    fn positions_lead_back_into_the_file() {
        let source = Source::read("FROM é\n  RUN one \\\n     two\n".as_bytes()).unwrap();
        let run = &source.lines[1];
        let at = |text: &str| run.at(run.text.find(text).unwrap()).to_string();
        assert_eq!((at("RUN"), at("one"), at("two")), ("2:3".into(), "2:7".into(), "3:6".into()));
        assert_eq!(run.last, 3);
        assert_eq!(run.part(4).at(0).to_string(), "2:7");
        assert_eq!(run.part(4).text, "one      two");
    }

    #[test]
    fn directives_stand_first_and_once() {
        let read = |text: &str| Source::read(text.as_bytes()).unwrap().directives;
        let all = read("# syntax = docker/dockerfile:1\n#escape=`\n# Check=skip=all\nFROM a");
        assert_eq!((all.escape, all.check.as_deref()), ('`', Some("skip=all")));
        assert_eq!(all.syntax.unwrap(), ("docker/dockerfile:1".into(), Position { line: 1, column: 1 }));
        assert_eq!(read("# a comment\n# escape=`\n").escape, '\\');
        assert_eq!(read("\n# escape=`\n").escape, '\\');
        assert_eq!(read("# unknown=1\n# escape=`\n").escape, '\\');
        assert_eq!(read("#!/usr/bin/env polyarch\n# escape=`\n").escape, '`');
        assert_eq!(lines("# escape=`\nRUN a `\n b \\\n"), ["RUN a  b \\"]);
        assert_eq!(fault(b"# escape=`\n# escape=`\n").0, "2:1");
        assert!(fault(b"# escape=x\n").1.contains("not `x`"));
    }

    #[test]
    fn heredocs_are_read_to_their_ends() {
        let source = Source::read(b"RUN <<A cat <<-\"B\"\none\nA\n\ttwo\n\tB\nCMD x").unwrap();
        let run = &source.lines[0];
        assert_eq!(run.text, "RUN <<A cat <<-\"B\"");
        assert_eq!((run.last, source.lines[1].text.as_str()), (5, "CMD x"));
        let [a, b] = run.heredocs.as_slice() else { panic!("{run:?}") };
        assert_eq!((a.name.as_str(), a.body.as_str(), a.expand, a.chomp), ("A", "one\n", true, false));
        assert_eq!((b.name.as_str(), b.body.as_str(), b.expand, b.chomp), ("B", "\ttwo\n", false, true));
        assert_eq!(b.content(), "two\n");
        assert_eq!(lines("RUN [\"cat\", \"<<A\"]\nCMD x"), ["RUN [\"cat\", \"<<A\"]", "CMD x"]);
        assert_eq!(lines("ENV A=<<B\nCMD x"), ["ENV A=<<B", "CMD x"]);
        let (at, message) = fault(b"FROM a\nRUN cat <<EOF\nendless\n");
        assert_eq!((at.as_str(), message.as_str()), ("2:9", "the here-document `EOF` has no end"));
    }

    #[test]
    fn what_is_no_text_is_told_with_its_place() {
        assert_eq!(fault(b"FROM a\nRUN \xff\n"), ("2:5".into(), "the text is not UTF-8".into()));
        assert_eq!(fault(b"\x7fELF\0\0").0, "1:5");
        assert!(fault(&vec![b'a'; SIZE_LIMIT + 1]).1.contains("is the most"));
        let empty = Source::read(b"RUN a \\\n\n b\n").unwrap();
        assert_eq!((empty.warnings[0].rule, empty.warnings[0].at.line), ("NoEmptyContinuation", 2));
    }
}
