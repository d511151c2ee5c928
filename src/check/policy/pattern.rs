//! Patterns for paths, as ignore files have them: `*` within a name, `**` across folders.
//!
//! They are not `containerfile`'s, which are Docker's: those fit whole texts, have other sets and anchors, and see no bytes that are no text.

/// A pattern for paths. A path fits it if the whole path does, or one of the folders above it.
///
/// `*` stands for any characters but `/`, `?` for one, `[a-z]` and `[!a-z]` for one of a set, `**` as a whole name for any
/// number of folders, and a backslash takes the next character as it is. A pattern without a `/` is held against names
/// at any depth; others begin at the root of the image, or at the folder that is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    /// What each name along the path has to be.
    names: Vec<Name>,
    /// Whether only what is beneath a fitting folder is meant, for the pattern ends in `/`.
    beneath: bool,
}

/// One name of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// `**`: any number of names.
    Any,
    /// One name that fits.
    One(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// `*`.
    Star,
    /// `?`: a character, so all bytes of one in UTF-8.
    Character,
    /// A set, with ends included.
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    Byte(u8),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub(crate) fn new(text: &str) -> Result<Self, &'static str> {
        let beneath = text.ends_with('/');
        let inner = text.trim_end_matches('/');
        let anchored = inner.contains('/');
        let inner = inner.trim_start_matches('/');
        if inner.split('/').all(|name| matches!(name, "" | ".")) {
            return Err("it names nothing");
        }
        let mut names = Vec::new();
        if !anchored {
            names.push(Name::Any);
        }
        for name in inner.split('/') {
            match name {
                "" | "." => {}
                ".." => return Err("`..` is not followed"),
                "**" if names.last() == Some(&Name::Any) => {}
                "**" => names.push(Name::Any),
                name => names.push(Name::One(tokens(name)?)),
            }
        }
        Ok(Self { text: text.into(), names, beneath })
    }

    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `path` fits, whose leading `/` and `./` do not count.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        // `reached[n]`: the names of the path so far fit the first n of the pattern.
        let mut reached = vec![false; self.names.len() + 1];
        reached[0] = true;
        self.pass_any(&mut reached);
        let mut path = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
        let mut current = path.next();
        while let Some(name) = current {
            current = path.next();
            let mut next = vec![false; reached.len()];
            for (at, wanted) in self.names.iter().enumerate() {
                if !reached[at] {
                    continue;
                }
                match wanted {
                    Name::Any => {
                        next[at] = true;
                        next[at + 1] |= at + 1 == self.names.len();
                    }
                    Name::One(tokens) => next[at + 1] |= fits(tokens, name),
                }
            }
            reached = next;
            self.pass_any(&mut reached);
            let is_last = current.is_none();
            if reached.last() == Some(&true) && !(is_last && self.beneath) {
                return true;
            }
        }
        false
    }

    /// `**` stands for no folder too. At the end of a pattern it is for something, though: `a/**` is not `a`.
    fn pass_any(&self, reached: &mut [bool]) {
        for (at, name) in self.names.iter().enumerate() {
            if *name == Name::Any && reached[at] && at + 1 < self.names.len() {
                reached[at + 1] = true;
            }
        }
    }
}

fn tokens(name: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut rest = name.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            // Two stars within a name are one.
            '*' if tokens.last() == Some(&Token::Star) => {}
            '*' => tokens.push(Token::Star),
            '?' => tokens.push(Token::Character),
            '\\' => literal(&mut tokens, rest.next().ok_or("nothing is behind its last backslash")?),
            '[' => {
                let negated = rest.next_if(|sign| matches!(sign, '!' | '^')).is_some();
                let mut ranges = Vec::new();
                loop {
                    let first = match rest.next().ok_or("its `[` has no `]`")? {
                        // As the first of a set it is one of its characters.
                        ']' if !ranges.is_empty() => break,
                        '\\' => rest.next().ok_or("its `[` has no `]`")?,
                        first => first,
                    };
                    let mut ahead = rest.clone();
                    let last = match (ahead.next(), ahead.next()) {
                        (Some('-'), Some(last)) if last != ']' => {
                            rest = ahead;
                            last
                        }
                        _ => first,
                    };
                    if last < first {
                        return Err("a range in its `[…]` goes backwards");
                    }
                    ranges.push((first, last));
                }
                tokens.push(Token::Set { negated, ranges });
            }
            other => literal(&mut tokens, other),
        }
    }
    Ok(tokens)
}

fn literal(tokens: &mut Vec<Token>, character: char) {
    tokens.extend(character.encode_utf8(&mut [0; 4]).bytes().map(Token::Byte));
}

/// Whether `name` fits `tokens`: on a mismatch the last star takes a byte more, so that this is never worse than their
/// lengths multiplied.
fn fits(tokens: &[Token], name: &[u8]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match tokens.get(token) {
            None if at == name.len() => return true,
            None => None,
            Some(Token::Star) => {
                star = Some((token + 1, at));
                token += 1;
                continue;
            }
            Some(Token::Byte(byte)) => (name.get(at) == Some(byte)).then_some(1),
            Some(Token::Character) => first(&name[at..]).map(|(_, length)| length),
            Some(Token::Set { negated, ranges }) => first(&name[at..]).and_then(|(character, length)| {
                let is_in = ranges.iter().any(|(first, last)| (*first..=*last).contains(&character));
                (is_in != *negated).then_some(length)
            }),
        };
        match (step, star) {
            (Some(length), _) => {
                token += 1;
                at += length;
            }
            (None, Some((behind, from))) if from < name.len() => {
                star = Some((behind, from + 1));
                (token, at) = (behind, from + 1);
            }
            _ => return false,
        }
    }
}

/// The first character and how many bytes it has. A byte that is no UTF-8 counts as one.
fn first(bytes: &[u8]) -> Option<(char, usize)> {
    let head = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(err) => std::str::from_utf8(&head[..err.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(character) => Some((character, character.len_utf8())),
        None if bytes.is_empty() => None,
        None => Some((char::REPLACEMENT_CHARACTER, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_ignore_files() {
        for (pattern, path, expected) in [
            ("usr/bin/foo", "/usr/bin/foo", true),
            ("/usr/bin/foo", "usr/bin/foo", true),
            ("usr/bin/foo", "/opt/usr/bin/foo", false),
            ("usr/bin/foo", "/usr/bin/foobar", false),
            // A folder covers what is in it.
            ("usr/lib", "/usr/lib/a/b.so", true),
            ("usr/lib/", "/usr/lib/a/b.so", true),
            ("usr/lib/", "/usr/lib", false),
            ("usr/lib/**", "/usr/lib/a/b.so", true),
            ("usr/lib/**", "/usr/lib", false),
            // A bare name is found at any depth.
            ("*.ko", "/lib/modules/6.1/x.ko", true),
            ("*.ko", "/x.ko", true),
            ("/*.ko", "/lib/x.ko", false),
            ("firmware", "/usr/lib/firmware/x/y", true),
            ("*", "/a", true),
            // A star stays within a name, two do not.
            ("usr/*/x", "/usr/a/x", true),
            ("usr/*/x", "/usr/a/b/x", false),
            ("usr/**/x", "/usr/a/b/x", true),
            ("usr/**/x", "/usr/x", true),
            ("**/x", "/a/b/x", true),
            ("**", "/a/b/x", true),
            ("a/**/**/b", "a/b", true),
            ("a**b/c", "axyb/c", true),
            ("lib*.so.[0-9]", "/usr/lib/libx.so.6", true),
            ("lib*.so.[!0-9]", "/usr/lib/libx.so.6", false),
            ("x[]a]y", "/x]y", true),
            ("x[a-]y", "/x-y", true),
            ("a?c", "/abc", true),
            ("a?c", "/aüc", true),
            ("a?c", "/ac", false),
            ("[ä-ü]", "/ö", true),
            (r"a\*b", "/a*b", true),
            (r"a\*b", "/axb", false),
            ("a*b*c*d", "/aXbXcXcXd", true),
            ("a*b*c*d", "/aXbXcXcX", false),
            ("a*", "/a", true),
            ("dist/x", "./dist/x", true),
            ("a,b", "/a,b", true),
        ] {
            let read = Pattern::new(pattern).unwrap();
            assert_eq!(read.matches(path.as_bytes()), expected, "`{pattern}` and `{path}`");
        }
        assert!(Pattern::new("a?c").unwrap().matches(b"/a\xffc"), "bytes that are no text");
        assert!(Pattern::new("x*").unwrap().matches(b"/x\xff\xfe"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "/", "//", "a[b", "a[", r"a\", "../x", "a/[z-a]", "."] {
            assert!(Pattern::new(text).is_err(), "`{text}`");
        }
    }

    #[test]
    fn no_pattern_takes_long_for_any_path() {
        let pattern = Pattern::new(&"**/*a*a*a*a*a*a*a*a*b/".repeat(20)).unwrap();
        let path = format!("{}/", "a".repeat(200)).repeat(20);
        assert!(!pattern.matches(path.as_bytes()));
    }
}
