//! `--chmod`: a mode in octal digits, or changes in the words of chmod(1).

use super::Refused;

/// What becomes of a file's mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chmod {
    Set(u32),
    Change(Vec<Change>),
}

/// One change, such as `u+x`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// Whose bits, as a mask of all three of each.
    who: u32,
    operator: char,
    /// The bits for everyone.
    bits: u32,
    /// `X`: the right to execute where it is a folder or someone has it.
    conditional: bool,
}

impl Chmod {
    pub(super) fn parse(text: &str) -> Result<Self, Refused> {
        let wrong = || {
            Refused::new(format!("`--chmod={text}` is no mode")).hint("as in `755`, `0644` or `u=rwX,go=rX`")
        };
        if let Ok(mode) = u32::from_str_radix(text, 8) {
            return if mode <= 0o7777 { Ok(Self::Set(mode)) } else { Err(wrong()) };
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            let at = clause.find(['+', '-', '=']).ok_or_else(wrong)?;
            let (who, rest) = clause.split_at(at);
            let mut mask = 0;
            for letter in who.chars() {
                mask |= match letter {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o1007,
                    'a' => 0o7777,
                    _ => return Err(wrong()),
                };
            }
            let mut rest = rest.chars().peekable();
            while let Some(operator) = rest.next() {
                let (mut bits, mut conditional) = (0, false);
                while let Some(letter) = rest.next_if(|letter| !['+', '-', '='].contains(letter)) {
                    match letter {
                        'r' => bits |= 0o444,
                        'w' => bits |= 0o222,
                        'x' => bits |= 0o111,
                        'X' => conditional = true,
                        's' => bits |= 0o6000,
                        't' => bits |= 0o1000,
                        _ => return Err(wrong()),
                    }
                }
                changes.push(Change {
                    who: if mask == 0 { 0o7777 } else { mask },
                    operator,
                    bits,
                    conditional,
                });
            }
        }
        Ok(Self::Change(changes))
    }

    pub(super) fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        match self {
            Self::Set(mode) => *mode,
            Self::Change(changes) => changes.iter().fold(mode, |mode, change| {
                let executable = is_folder || mode & 0o111 != 0;
                let bits = change.bits | if change.conditional && executable { 0o111 } else { 0 };
                let bits = bits & change.who;
                match change.operator {
                    '+' => mode | bits,
                    '-' => mode & !bits,
                    _ => mode & !(change.who & 0o777) | bits,
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_set_and_changed() {
        for (text, mode, is_folder, new) in [
            ("755", 0o600, false, 0o755),
            ("04755", 0o600, false, 0o4755),
            ("u+x", 0o644, false, 0o744),
            ("go-rwx", 0o755, true, 0o700),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("a=rX", 0o600, true, 0o555),
            ("+x", 0o644, false, 0o755),
            ("g=", 0o777, false, 0o707),
            ("u+s", 0o755, false, 0o4755),
        ] {
            assert_eq!(Chmod::parse(text).unwrap().apply(mode, is_folder), new, "{text}");
        }
        for text in ["", "abc", "99", "77777", "u", "u+q", "x+r"] {
            assert!(Chmod::parse(text).is_err(), "{text}");
        }
    }
}
