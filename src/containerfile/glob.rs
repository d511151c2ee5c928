//! Patterns of paths and of variables' values.
//!
//! One matcher serves the three kinds that Docker has: those of a shell in `${NAME#PATTERN}`, those of COPY and ADD (Go's
//! `filepath.Match`), and those of ignore files (moby's `patternmatcher`), where `**` crosses folders.

/// The most steps that one match may take, for patterns of many stars; what takes longer does not match.
const STEPS: usize = 1 << 20;

/// A pattern that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no pattern: {reason}")]
pub struct GlobError {
    /// The pattern.
    pub pattern: String,
    /// Why.
    pub reason: &'static str,
}

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    One(char),
    /// Any one character, but a slash.
    Any,
    /// Any one character.
    AnyEvenSlash,
    /// One of these, or none of these.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// Any number of characters, but slashes.
    Star,
    /// Any number of characters.
    StarEvenSlash,
    /// Nothing, or any folders with their slash: `**/`.
    Folders,
}

impl Glob {
    /// A pattern of a shell's variable: `*` and `?` match anything, `escape` takes their meaning.
    pub(super) fn of_shell(pattern: &str, escape: char) -> Self {
        let mut tokens = Vec::new();
        let mut characters = pattern.chars();
        while let Some(next) = characters.next() {
            tokens.push(match next {
                '*' => Token::StarEvenSlash,
                '?' => Token::AnyEvenSlash,
                next if next == escape => Token::One(characters.next().unwrap_or(next)),
                next => Token::One(next),
            });
        }
        Self { tokens }
    }

    /// A pattern of a path as COPY and ADD have it: `*`, `?`, `[a-z]`, `[^a-z]` within one name, `\` before a character.
    ///
    /// # Errors
    /// [`GlobError`].
    pub fn of_path(pattern: &str) -> Result<Self, GlobError> {
        Self::read(pattern, false)
    }

    /// A pattern of an ignore file: the same, and `**` for any folders.
    ///
    /// # Errors
    /// [`GlobError`].
    pub fn of_ignore(pattern: &str) -> Result<Self, GlobError> {
        Self::read(pattern, true)
    }

    fn read(pattern: &str, folders: bool) -> Result<Self, GlobError> {
        let fault = |reason| GlobError { pattern: super::parse::shown(pattern), reason };
        let mut tokens = Vec::new();
        let mut characters = pattern.chars().peekable();
        while let Some(next) = characters.next() {
            tokens.push(match next {
                '*' if folders && characters.next_if_eq(&'*').is_some() => {
                    if characters.next_if_eq(&'/').is_some() { Token::Folders } else { Token::StarEvenSlash }
                }
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => Token::One(characters.next().ok_or_else(|| fault("a `\\` at its end"))?),
                '[' => {
                    let negated = characters.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    loop {
                        let mut one = || match characters.next() {
                            Some('\\') => characters.next(),
                            other => other,
                        };
                        let unended = || fault("a `[` without its `]`");
                        let first = one().ok_or_else(unended)?;
                        if characters.next_if_eq(&'-').is_some() {
                            let mut one = || match characters.next() {
                                Some('\\') => characters.next(),
                                other => other,
                            };
                            let last = one().ok_or_else(unended)?;
                            if last < first {
                                return Err(fault("a range that ends before it begins"));
                            }
                            ranges.push((first, last));
                        } else {
                            ranges.push((first, first));
                        }
                        if characters.next_if_eq(&']').is_some() {
                            break;
                        }
                    }
                    Token::Class { negated, ranges }
                }
                next => Token::One(next),
            });
        }
        Ok(Self { tokens })
    }

    /// Whether the pattern is more than a plain text.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.tokens.iter().any(|token| !matches!(token, Token::One(_)))
    }

    /// Whether all of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        self.ends(&text, &mut { STEPS }).contains(&text.len())
    }

    /// Every length of a beginning of `text` that matches.
    ///
    /// All ways are followed at once, so that time grows with the product of both lengths and no faster.
    fn ends(&self, text: &[char], steps: &mut usize) -> Vec<usize> {
        // Which lengths of the text the tokens so far can have taken.
        let mut reached = vec![false; text.len() + 1];
        reached[0] = true;
        for token in &self.tokens {
            let mut next = vec![false; text.len() + 1];
            // Whether a star that began further left is still going on.
            let mut open = false;
            for at in 0..=text.len() {
                *steps = steps.saturating_sub(1);
                if *steps == 0 {
                    return Vec::new();
                }
                let here = reached.get(at).copied().unwrap_or_default();
                let character = text.get(at).copied();
                match token {
                    Token::Star | Token::StarEvenSlash => {
                        open |= here;
                        if open && let Some(place) = next.get_mut(at) {
                            *place = true;
                        }
                        if *token == Token::Star && character == Some('/') {
                            open = false;
                        }
                    }
                    Token::Folders => {
                        open |= here;
                        let after_slash = at > 0 && text.get(at - 1) == Some(&'/');
                        if (here || (open && after_slash))
                            && let Some(place) = next.get_mut(at)
                        {
                            *place = true;
                        }
                    }
                    _ => {
                        if here
                            && character.is_some_and(|character| token.takes(character))
                            && let Some(place) = next.get_mut(at + 1)
                        {
                            *place = true;
                        }
                    }
                }
            }
            reached = next;
        }
        reached.iter().enumerate().filter(|(_, reached)| **reached).map(|(length, _)| length).collect()
    }

    /// `text` without the shortest, or longest, beginning that matches.
    pub(super) fn without_prefix<'a>(&self, text: &'a str, longest: bool) -> &'a str {
        let characters: Vec<char> = text.chars().collect();
        let ends = self.ends(&characters, &mut { STEPS });
        let length = if longest { ends.last() } else { ends.first() };
        length.map_or(text, |length| tail(text, *length))
    }

    /// `text` without the shortest, or longest, end that matches.
    pub(super) fn without_suffix<'a>(&self, text: &'a str, longest: bool) -> &'a str {
        let characters: Vec<char> = text.chars().collect();
        let mut steps = STEPS;
        let mut starts = (0..=characters.len()).filter(|start| {
            let end = characters.get(*start..).unwrap_or_default();
            self.ends(end, &mut steps).contains(&end.len())
        });
        let start = if longest { starts.next() } else { starts.last() };
        start.map_or(text, |start| text.get(..text.len() - tail(text, start).len()).unwrap_or(text))
    }

    /// `text` with the first match, or all, replaced; `None` where that would be more than `limit` bytes.
    pub(super) fn replaced(&self, text: &str, by: &str, all: bool, limit: usize) -> Option<String> {
        let characters: Vec<char> = text.chars().collect();
        let mut steps = STEPS;
        let mut out = String::new();
        let mut at = 0;
        let mut done = false;
        while let Some(rest) = characters.get(at..).filter(|rest| !rest.is_empty()) {
            // The leftmost match, and of those the longest.
            let length =
                if done { None } else { self.ends(rest, &mut steps).last().copied().filter(|it| *it > 0) };
            if let Some(length) = length {
                out.push_str(by);
                at += length;
                done = !all;
            } else {
                out.extend(rest.first());
                at += 1;
            }
            if out.len() > limit {
                return None;
            }
        }
        Some(out)
    }
}

impl Token {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::One(one) => *one == character,
            Self::Any => character != '/',
            Self::AnyEvenSlash => true,
            Self::Class { negated, ranges } => {
                let is_in = ranges.iter().any(|(first, last)| (*first..=*last).contains(&character));
                is_in != *negated && character != '/'
            }
            Self::Star | Self::StarEvenSlash | Self::Folders => false,
        }
    }
}

/// `text` without its first `count` characters.
fn tail(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).and_then(|(at, _)| text.get(at..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_as_go_has_it() {
        for (pattern, text, expected) in [
            ("*.go", "a.go", true),
            ("*.go", "a/b.go", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[!x]", "!", true),
            (r"[\]a]", "]", true),
            ("[]]", "]", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("**", "a/b", false),
            ("a*b*c", "aXbYbZc", true),
            ("", "", true),
            ("é?", "éü", true),
        ] {
            assert_eq!(Glob::of_path(pattern).unwrap().matches(text), expected, "{pattern} {text}");
        }
        for pattern in ["[", "[a", "[]", "a\\", "[c-a]", "[a-"] {
            assert!(Glob::of_path(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn stars_of_ignore_files_cross_folders() {
        for (pattern, text, expected) in [
            ("**", "a/b/c", true),
            ("**/c", "a/b/c", true),
            ("**/c", "c", true),
            ("**/c", "a/bc", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/x/y/c", true),
            ("a**b", "ax/yb", true),
            ("*/c", "a/b/c", false),
        ] {
            assert_eq!(Glob::of_ignore(pattern).unwrap().matches(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_age() {
        let glob = Glob::of_path(&"a*".repeat(200)).unwrap();
        assert!(!glob.matches(&("a".repeat(400) + "b/")));
        let huge = Glob::of_ignore(&"**/".repeat(2000)).unwrap();
        assert!(!huge.matches(&"x".repeat(4000)));
    }
}
