//! Words of a logical line: where they begin and end, quotes and escapes as they stand.

use super::source::Heredoc;

/// A word as it is written, and its first byte's place in the line.
pub(super) type Raw<'a> = (usize, &'a str);

/// The words of `text`, parted by blanks that are neither quoted nor escaped. A quote without its end reaches to the end of the text.
pub(super) fn raw(text: &str, escape: char) -> Vec<Raw<'_>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        if character.is_whitespace() && quote.is_none() {
            if let Some(from) = start.take() {
                words.push((from, text.get(from..at).unwrap_or_default()));
            }
            continue;
        }
        start.get_or_insert(at);
        if character == escape && quote != Some('\'') {
            characters.next();
        } else if quote == Some(character) {
            quote = None;
        } else if quote.is_none() && matches!(character, '\'' | '"') {
            quote = Some(character);
        }
    }
    if let Some(from) = start {
        words.push((from, text.get(from..).unwrap_or_default()));
    }
    words
}

/// The words of `text`, parted by blanks and nothing else.
pub(super) fn plain(text: &str) -> Vec<Raw<'_>> {
    text.split_whitespace().map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word)).collect()
}

/// The first word, and where the rest begins.
pub(super) fn first(text: &str) -> (&str, usize) {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let rest = text.get(end..).unwrap_or_default();
    (text.get(..end).unwrap_or_default(), text.len() - rest.trim_start().len())
}

/// A flag of an instruction, its quotes removed: `--name=value`, `--name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flag {
    /// Its first byte's place.
    pub(super) at: usize,
    pub(super) name: String,
    pub(super) value: Option<String>,
}

/// The flags that stand before an instruction's arguments from the byte `from` on, and where the arguments begin.
pub(super) fn flags(text: &str, from: usize, escape: char) -> (Vec<Flag>, usize) {
    let mut flags = Vec::new();
    let mut rest = from;
    for (at, word) in raw(text.get(from..).unwrap_or_default(), escape) {
        let at = from + at;
        if !word.starts_with("--") {
            return (flags, at);
        }
        rest = at + word.len();
        if word == "--" {
            break;
        }
        let bare = unquoted(word.get(2..).unwrap_or_default(), escape);
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (bare, None),
        };
        flags.push(Flag { at, name, value });
    }
    let blank = text.get(rest..).unwrap_or_default();
    (flags, text.len() - blank.trim_start().len())
}

/// `word` without its quotes, and without the escapes outside of single quotes.
pub(super) fn unquoted(word: &str, escape: char) -> String {
    let mut out = String::with_capacity(word.len());
    let mut quote = None;
    let mut characters = word.chars();
    while let Some(character) = characters.next() {
        if character == escape && quote != Some('\'') {
            out.extend(characters.next());
        } else if quote == Some(character) {
            quote = None;
        } else if quote.is_none() && matches!(character, '\'' | '"') {
            quote = Some(character);
        } else {
            out.push(character);
        }
    }
    out
}

/// The list of texts that `text` is in JSON; `None` where it is something else, which makes it a command of the shell.
pub(super) fn json(text: &str) -> Option<Vec<String>> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// The here-documents that the instruction `line` begins, bodies still empty, with the places of their words.
pub(super) fn heredocs(line: &str, escape: char) -> Vec<(usize, Heredoc)> {
    if !line.contains("<<") {
        return Vec::new();
    }
    let (mut name, mut rest) = first(line);
    if name.eq_ignore_ascii_case("ONBUILD") {
        let (inner, after) = first(line.get(rest..).unwrap_or_default());
        (name, rest) = (inner, rest + after);
    }
    if !["ADD", "COPY", "RUN"].iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return Vec::new();
    }
    let (_, arguments) = flags(line, rest, escape);
    let text = line.get(arguments..).unwrap_or_default();
    if json(text).is_some() {
        return Vec::new();
    }
    raw(text, escape)
        .into_iter()
        .filter_map(|(at, word)| Some((arguments + at, heredoc(word, escape)?)))
        .collect()
}

/// The here-document that `word` begins: `<<NAME`, `<<-NAME`, `3<<"NAME"`.
pub(super) fn heredoc(word: &str, escape: char) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|digit: char| digit.is_ascii_digit()).strip_prefix("<<")?;
    let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let name = unquoted(rest, escape);
    let expand = name == rest;
    (!name.is_empty()).then_some(Heredoc { name, body: String::new(), expand, chomp })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_part_words_unless_quoted_or_escaped() {
        let words = |text| raw(text, '\\').into_iter().map(|(_, word)| word).collect::<Vec<_>>();
        assert_eq!(words(r#"a  b\ c "d e" 'f \' g"h i"#), ["a", r"b\ c", "\"d e\"", r"'f \'", "g\"h i"]);
        assert_eq!(words("  \t "), [""; 0]);
        assert_eq!(raw(" é x", '\\'), [(1, "é"), (4, "x")]);
        assert_eq!(plain(" a\t'b c'"), [(1, "a"), (3, "'b"), (6, "c'")]);
        assert_eq!(raw("a` b c", '`'), [(0, "a` b"), (5, "c")]);
    }

    #[test]
    fn flags_end_with_the_first_word_that_is_none() {
        let text = r#"COPY --from=x --link --chown="a b" src --not dst"#;
        let (found, rest) = flags(text, 5, '\\');
        let all: Vec<_> =
            found.iter().map(|flag| (flag.at, flag.name.as_str(), flag.value.as_deref())).collect();
        assert_eq!(all, [(5, "from", Some("x")), (14, "link", None), (21, "chown", Some("a b"))]);
        assert_eq!(&text[rest..], "src --not dst");
        let (found, rest) = flags("RUN -- --x", 4, '\\');
        assert!(found.is_empty());
        assert_eq!(rest, 7);
        assert_eq!(flags("RUN --x", 4, '\\').1, 7);
    }

    #[test]
    fn a_list_is_json_or_no_list() {
        assert_eq!(json(r#" ["a", "b\n"] "#).unwrap(), ["a", "b\n"]);
        assert_eq!(json("[]").unwrap(), [""; 0]);
        for text in [r#"["a", 1]"#, "['a']", "[ -f x ] && y", r#""a""#, r#"["a"] b"#] {
            assert_eq!(json(text), None, "{text}");
        }
    }

    #[test]
    fn heredocs_are_told_by_their_words() {
        let found = |line| heredocs(line, '\\').into_iter().map(|(at, it)| (at, it.name)).collect::<Vec<_>>();
        assert_eq!(found("RUN <<EOF"), [(4, "EOF".to_owned())]);
        assert_eq!(found("onbuild copy --link <<A <<'B C' /x/"), [(20, "A".into()), (24, "B C".into())]);
        assert_eq!(found("RUN 3<<A cat >>b <<<c '<<d' e<<f << g"), [(4, "A".to_owned())]);
        assert_eq!(found("ENV <<A"), []);
        assert!(heredoc("<<-'A'", '\\').is_some_and(|it| it.chomp && !it.expand));
        assert!(heredoc(r"<<E\OF", '\\').is_some_and(|it| it.name == "EOF" && !it.expand));
    }
}
