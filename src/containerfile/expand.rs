//! Variables: `$NAME`, `${NAME}` and the modifiers of Docker's reference, with quotes and escapes.

use std::cell::RefCell;

use super::glob::Glob;

/// How deep `${A:-${B:-…}}` may go.
const DEPTH: usize = 32;

/// The largest text that one expansion gives, in bytes: what is small can name what is large again and again.
const SIZE_LIMIT: usize = 4 << 20;

/// A text that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// A quote without its end.
    #[error("the quote {0} has no end")]
    Quote(char),
    /// `${…` without its end.
    #[error("`${{{0}` has no `}}`")]
    Open(String),
    /// `${}` and the like.
    #[error("`${{` is followed by no name")]
    NoName,
    /// A modifier that there is not.
    #[error("there is no modifier `{modifier}`, as in `${{{name}{modifier}…}}`")]
    Modifier {
        /// The variable.
        name: String,
        /// What follows it.
        modifier: String,
    },
    /// `${NAME?…}` of a variable that is not set.
    #[error("`{name}` {message}")]
    Unset {
        /// The variable.
        name: String,
        /// What the file says about it.
        message: String,
    },
    /// `${NAME/PATTERN}`.
    #[error("`${{{0}/…}}` has no replacement")]
    NoReplacement(String),
    /// A pattern that cannot be understood.
    #[error("`{0}` is no pattern")]
    Pattern(String),
    /// It is too deep or too large.
    #[error("the text is nested too deeply or becomes too large")]
    TooLarge,
}

/// Expands texts with the variables of one moment of a build.
pub struct Expander<'a> {
    escape: char,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Variables that were asked for, without a modifier, and that are not set.
    unset: RefCell<Vec<String>>,
}

impl std::fmt::Debug for Expander<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expander").field("escape", &self.escape).finish_non_exhaustive()
    }
}

impl<'a> Expander<'a> {
    /// With the file's escape character, and what tells a variable's value.
    pub fn new(escape: char, lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { escape, lookup, unset: RefCell::default() }
    }

    /// The variables that were expanded by nothing, since they are not set, and no modifier says what they are then.
    pub fn unset(self) -> Vec<String> {
        self.unset.into_inner()
    }

    /// The value of a variable that has no modifier.
    fn value(&self, name: &str) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            if name.starts_with(|first: char| first == '_' || first.is_alphabetic()) {
                self.unset.borrow_mut().push(name.to_owned());
            }
            String::new()
        })
    }

    /// `text` as one word: variables expanded, quotes and escapes gone.
    ///
    /// # Errors
    /// [`ExpandError`].
    pub fn word(&self, text: &str) -> Result<String, ExpandError> {
        let mut state = self.state(text, Quotes::Removed);
        state.text(None, false)?;
        Ok(state.out.concat())
    }

    /// `text` as words: as a shell does, a variable's value outside of quotes is parted at its blanks.
    ///
    /// # Errors
    /// [`ExpandError`].
    pub fn words(&self, text: &str) -> Result<Vec<String>, ExpandError> {
        let mut state = self.state(text, Quotes::Removed);
        state.parting = true;
        state.text(None, false)?;
        Ok(state.out.into_iter().filter(|word| !word.is_empty()).collect())
    }

    /// The body of a here-document: quotes are characters of it.
    ///
    /// # Errors
    /// [`ExpandError`].
    pub fn body(&self, text: &str) -> Result<String, ExpandError> {
        let mut state = self.state(text, Quotes::Kept);
        state.text(None, false)?;
        Ok(state.out.concat())
    }

    fn state<'b>(&'b self, text: &str, quotes: Quotes) -> State<'b> {
        State {
            rest: text.chars().rev().collect(),
            expander: self,
            quotes,
            parting: false,
            out: vec![String::new()],
            depth: 0,
            size: 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Removed,
    Kept,
}

struct State<'a> {
    /// What is left of the text, the next character last.
    rest: Vec<char>,
    expander: &'a Expander<'a>,
    quotes: Quotes,
    /// Whether blanks part words, now.
    parting: bool,
    out: Vec<String>,
    depth: usize,
    size: usize,
}

impl State<'_> {
    fn push(&mut self, text: &str) -> Result<(), ExpandError> {
        self.size += text.len();
        if self.size > SIZE_LIMIT {
            return Err(ExpandError::TooLarge);
        }
        if let Some(last) = self.out.last_mut() {
            last.push_str(text);
        }
        Ok(())
    }

    fn push_one(&mut self, character: char) -> Result<(), ExpandError> {
        self.push(character.encode_utf8(&mut [0; 4]))
    }

    /// A value outside of quotes.
    fn push_parted(&mut self, text: &str) -> Result<(), ExpandError> {
        if !self.parting {
            return self.push(text);
        }
        for character in text.chars() {
            if character.is_whitespace() {
                self.out.push(String::new());
            } else {
                self.push_one(character)?;
            }
        }
        Ok(())
    }

    /// Up to the character `end`, which is taken too, or to the end of the text. With `raw`, escapes stay, for a pattern.
    fn text(&mut self, end: Option<char>, raw: bool) -> Result<bool, ExpandError> {
        while let Some(next) = self.rest.pop() {
            if Some(next) == end {
                return Ok(true);
            }
            match next {
                '\'' if self.quotes == Quotes::Removed => self.single()?,
                '"' if self.quotes == Quotes::Removed => self.double()?,
                '$' => {
                    let value = self.variable()?;
                    self.push_parted(&value)?;
                }
                next if next == self.expander.escape => self.escaped(raw)?,
                next if next.is_whitespace() && self.parting => self.out.push(String::new()),
                next => self.push_one(next)?,
            }
        }
        Ok(end.is_none())
    }

    fn escaped(&mut self, raw: bool) -> Result<(), ExpandError> {
        let Some(next) = self.rest.pop() else { return Ok(()) };
        // In a here-document only what would have a meaning loses it.
        let has_meaning = next == '$' || next == self.expander.escape;
        if raw || (self.quotes == Quotes::Kept && !has_meaning) {
            self.push_one(self.expander.escape)?;
        }
        self.push_one(next)
    }

    fn single(&mut self) -> Result<(), ExpandError> {
        while let Some(next) = self.rest.pop() {
            if next == '\'' {
                return Ok(());
            }
            self.push_one(next)?;
        }
        Err(ExpandError::Quote('\''))
    }

    fn double(&mut self) -> Result<(), ExpandError> {
        while let Some(next) = self.rest.pop() {
            match next {
                '"' => return Ok(()),
                '$' => {
                    let value = self.variable()?;
                    self.push(&value)?;
                }
                next if next == self.expander.escape => match self.rest.pop() {
                    None => return Err(ExpandError::Quote('"')),
                    Some(after) => {
                        if !matches!(after, '"' | '$') && after != self.expander.escape {
                            self.push_one(next)?;
                        }
                        self.push_one(after)?;
                    }
                },
                next => self.push_one(next)?,
            }
        }
        Err(ExpandError::Quote('"'))
    }

    /// What stands after a `$`.
    fn variable(&mut self) -> Result<String, ExpandError> {
        if self.rest.last() == Some(&'{') {
            self.rest.pop();
            return self.braced();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".into());
        }
        Ok(self.expander.value(&name))
    }

    /// A name of letters, digits and `_`; a number; or one of the shell's single characters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let Some(first) = self.rest.last().copied() else { return name };
        if matches!(first, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
            self.rest.pop();
            return first.to_string();
        }
        let is_number = first.is_ascii_digit();
        while let Some(next) = self.rest.last().copied() {
            let belongs =
                if is_number { next.is_ascii_digit() } else { next == '_' || next.is_alphanumeric() };
            if !belongs {
                break;
            }
            self.rest.pop();
            name.push(next);
        }
        name
    }

    /// What stands after `${`.
    fn braced(&mut self) -> Result<String, ExpandError> {
        // Names of one special character would take modifiers for themselves.
        let name = match self.rest.last() {
            Some('}') | None => return Err(ExpandError::NoName),
            Some(_) => self.name(),
        };
        if name.is_empty() {
            return Err(ExpandError::NoName);
        }
        if self.rest.last() == Some(&'}') {
            self.rest.pop();
            return Ok(self.expander.value(&name));
        }
        let value = (self.expander.lookup)(&name);
        let open = || ExpandError::Open(name.clone());
        let kind = self.rest.pop().ok_or_else(open)?;
        let unknown =
            |modifier: &str| ExpandError::Modifier { name: name.clone(), modifier: modifier.into() };
        match kind {
            ':' => {
                let kind = self.rest.pop().ok_or_else(open)?;
                if !matches!(kind, '-' | '+' | '?') {
                    return Err(unknown(&format!(":{kind}")));
                }
                let word = self.inner('}', false)?.ok_or_else(open)?;
                let is_empty = value.as_deref() == Some("");
                chosen(kind, &name, value.filter(|value| !value.is_empty()), word, is_empty)
            }
            '-' | '+' | '?' => {
                let word = self.inner('}', false)?.ok_or_else(open)?;
                chosen(kind, &name, value, word, false)
            }
            '#' | '%' => {
                let longest = self.rest.last() == Some(&kind);
                if longest {
                    self.rest.pop();
                }
                let word = self.inner('}', true)?.ok_or_else(open)?;
                let value = value.unwrap_or_default();
                let glob = Glob::of_shell(&word, self.expander.escape);
                Ok(if kind == '#' {
                    glob.without_prefix(&value, longest)
                } else {
                    glob.without_suffix(&value, longest)
                }
                .to_owned())
            }
            '/' => {
                let all = self.rest.last() == Some(&'/');
                if all {
                    self.rest.pop();
                }
                let missing = || ExpandError::NoReplacement(name.clone());
                let pattern = self.inner('/', true)?.ok_or_else(missing)?;
                let replacement = self.inner('}', false)?.ok_or_else(open)?;
                let value = value.unwrap_or_default();
                let glob = Glob::of_shell(&pattern, self.expander.escape);
                glob.replaced(&value, &replacement, all, SIZE_LIMIT).ok_or(ExpandError::TooLarge)
            }
            other => Err(unknown(&other.to_string())),
        }
    }

    /// A modifier's word up to `end`, expanded; `None` where there is no `end`.
    fn inner(&mut self, end: char, raw: bool) -> Result<Option<String>, ExpandError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(ExpandError::TooLarge);
        }
        let (out, parting) = (std::mem::replace(&mut self.out, vec![String::new()]), self.parting);
        self.parting = false;
        let ended = self.text(Some(end), raw)?;
        let word = std::mem::replace(&mut self.out, out).concat();
        self.parting = parting;
        self.depth -= 1;
        Ok(ended.then_some(word))
    }
}

/// What `${NAME-WORD}` and its like give.
fn chosen(
    kind: char,
    name: &str,
    value: Option<String>,
    word: String,
    is_empty: bool,
) -> Result<String, ExpandError> {
    match (kind, value) {
        ('+', Some(_)) => Ok(word),
        ('+', None) => Ok(String::new()),
        (_, Some(value)) => Ok(value),
        ('-', None) => Ok(word),
        (_, None) => {
            let message = match (word.is_empty(), is_empty) {
                (false, _) => format!("is not set: {word}"),
                (true, true) => "must not be empty".into(),
                (true, false) => "must be set".into(),
            };
            Err(ExpandError::Unset { name: name.into(), message })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "A" => "one",
            "SPACE" => "x  y z",
            "EMPTY" => "",
            "FILE" => "a/b/c.tar.gz",
            "Ü" => "umlaut",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn word(text: &str) -> Result<String, ExpandError> {
        Expander::new('\\', &lookup).word(text)
    }

    #[test]
    fn quotes_and_escapes_go_and_variables_come() {
        for (text, expected) in [
            ("a$A", "aone"),
            ("${A}b", "oneb"),
            ("$A-b $", "one-b $"),
            ("'$A'", "$A"),
            ("\"$A'$A'\"", "one'one'"),
            (r"\$A \a \\", r"$A a \"),
            (r#""\$A \a \" \\""#, r#"$A \a " \"#),
            (r"'\'", r"\"),
            ("$UNSET.", "."),
            ("$1$?x", "x"),
            ("$Ü", "umlaut"),
            ("a\\", "a"),
            ("$SPACE", "x  y z"),
            ("", ""),
        ] {
            assert_eq!(word(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn every_modifier_of_the_reference() {
        for (text, expected) in [
            ("${A:-two}|${EMPTY:-two}|${U:-two}", "one|two|two"),
            ("${A-two}|${EMPTY-two}|${U-two}", "one||two"),
            ("${A:+two}|${EMPTY:+two}|${U:+two}", "two||"),
            ("${A+two}|${EMPTY+two}|${U+two}", "two|two|"),
            ("${A:?x}|${A?x}|${EMPTY?x}", "one|one|"),
            ("${U:-${V:-'a b'}}", "a b"),
            ("${U:-$A}x", "onex"),
            ("${FILE#*/}|${FILE##*/}", "b/c.tar.gz|c.tar.gz"),
            ("${FILE%.*}|${FILE%%.*}", "a/b/c.tar|a/b/c"),
            ("${FILE#x}|${FILE%x}|${FILE#a}", "a/b/c.tar.gz|a/b/c.tar.gz|/b/c.tar.gz"),
            ("${FILE/a/X}|${FILE//a/X}", "X/b/c.tar.gz|X/b/c.tXr.gz"),
            (r"${FILE//\//-}|${FILE/b*t/}", "a-b-c.tar.gz|a/ar.gz"),
            ("${FILE//?/.}", "............"),
            (r"${FILE//\*/x}", "a/b/c.tar.gz"),
        ] {
            assert_eq!(word(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("'a", "the quote ' has no end"),
            ("\"a", "the quote \" has no end"),
            ("${A", "`${A` has no `}`"),
            ("${A:-b", "`${A` has no `}`"),
            ("${}", "`${` is followed by no name"),
            ("${A!b}", "there is no modifier `!`, as in `${A!…}`"),
            ("${A:%b}", "there is no modifier `:%`, as in `${A:%…}`"),
            ("${U:?say why}", "`U` is not set: say why"),
            ("${U?}", "`U` must be set"),
            ("${EMPTY:?}", "`EMPTY` must not be empty"),
            ("${A/x}", "`${A/…}` has no replacement"),
        ] {
            assert_eq!(word(text).unwrap_err().to_string(), expected, "{text}");
        }
        let deep = "${U:-".repeat(40) + &"}".repeat(40);
        assert_eq!(word(&deep), Err(ExpandError::TooLarge));
        let large = |_: &str| Some("x".repeat(1 << 20));
        assert_eq!(Expander::new('\\', &large).word(&"$A".repeat(5)), Err(ExpandError::TooLarge));
    }

    #[test]
    fn values_are_parted_only_outside_of_quotes() {
        let words = |text| Expander::new('\\', &lookup).words(text).unwrap();
        assert_eq!(words("80 $SPACE \"$SPACE\"q a\\ b"), ["80", "x", "y", "z", "x  y zq", "a b"]);
        assert_eq!(words("$EMPTY $U"), [""; 0]);
    }

    #[test]
    fn a_body_keeps_its_quotes() {
        let body = |text| Expander::new('\\', &lookup).body(text).unwrap();
        assert_eq!(body("it's \"$A\" \\$A \\n\n"), "it's \"one\" $A \\n\n");
    }
}
