//! Reading a registration back from its text, as in a file of `binfmt.d` or a write to `register`.
//!
//! The kernel tells all mistakes by one number; here each has its words, before the kernel is asked.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::rule::{LINE_MOST, MAGIC_END};
use super::{Flags, Rule, RuleError};
use crate::target::Magic;

impl Rule {
    /// The rule that `line` registers: `:name:M:offset:magic:mask:interpreter:flags`, with any character for `:`.
    ///
    /// Rules are for programs by their header, so the type is `M` and the offset 0. A missing mask is all ones.
    ///
    /// # Errors
    /// [`RuleError::Text`] where the line has another form, and all that [`Rule::new`] knows.
    pub fn parse(line: &[u8]) -> Result<Self, RuleError> {
        let wrong = |reason: &'static str| RuleError::Text {
            line: String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned(),
            reason,
        };
        if line.len() > LINE_MOST {
            return Err(wrong("it is longer than the 1920 bytes that the kernel reads"));
        }
        let Some((delimiter, rest)) = line.split_first() else { return Err(wrong("it is empty")) };
        if line.contains(&0) {
            return Err(wrong("a raw zero byte would end its magic early; write `\\x00`"));
        }
        let fields: Vec<&[u8]> = rest.split(|byte| byte == delimiter).collect();
        let [name, kind, offset, magic, mask, interpreter, flags] = fields[..] else {
            return Err(wrong(
                "it has not the seven fields name, type, offset, magic, mask, interpreter, flags",
            ));
        };
        match kind {
            b"M" => {}
            b"E" => return Err(wrong("its type is `E`: a name's ending tells no machine")),
            _ => return Err(wrong("its type is neither `M` nor `E`")),
        }
        let offset: Option<usize> = match offset {
            b"" => Some(0),
            digits => std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()),
        };
        let Some(offset) = offset else { return Err(wrong("its offset is no number")) };
        let magic = unescape(magic).ok_or_else(|| wrong("its magic has an escape that is not `\\xNN`"))?;
        let mask = match mask {
            b"" => vec![0xff; magic.len()],
            mask => unescape(mask).ok_or_else(|| wrong("its mask has an escape that is not `\\xNN`"))?,
        };
        if offset.saturating_add(magic.len()) >= MAGIC_END {
            return Err(wrong(
                "its offset and magic reach beyond the 127 bytes that the kernel's documentation allows",
            ));
        }
        if offset != 0 {
            return Err(wrong("its offset is not 0, where a program's header begins"));
        }
        let name = std::str::from_utf8(name).map_err(|_| wrong("its name is no UTF-8"))?;
        let mut set = Flags::default();
        for flag in flags {
            match flag {
                b'P' => set.preserve_argv0 = true,
                b'O' => set.open_binary = true,
                b'C' => set.credentials = true,
                b'F' => set.fix_binary = true,
                _ => return Err(wrong("it has a flag that is none of `P`, `O`, `C`, `F`")),
            }
        }
        Self::new(name, Magic { magic, mask }, OsStr::from_bytes(interpreter), set)
    }
}

/// Bytes that may be written as `\xNN`. `None` for a backslash that begins no such escape: the kernel would take it for itself.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if *first != b'\\' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let [b'x', high, low, ..] = after else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
        rest = &after[3..];
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Catalogue;

    #[test]
    fn every_rule_is_read_as_it_was_written() {
        for guest in Catalogue::builtin().guests() {
            for (interpreter, fix_binary) in [("/usr/bin/q", true), ("/opt/a:b/q x", false)] {
                let flags = Flags { fix_binary, preserve_argv0: true, ..Flags::default() };
                let rule = Rule::for_guest(guest, &guest.name, interpreter, flags).unwrap();
                assert_eq!(Rule::parse(&rule.line()), Ok(rule));
            }
        }
    }

    #[test]
    fn each_malformed_line_is_told() {
        let magic = "\\x7fELF0123456789abcdef";
        let line = |fields: &str| fields.replace("MAGIC", magic);
        let reason = |text: &str| match Rule::parse(text.as_bytes()) {
            Err(RuleError::Text { reason, .. }) => reason,
            other => panic!("{text:?}: {other:?}"),
        };
        for (text, expected) in [
            ("", "empty"),
            (":", "seven fields"),
            (":a:M::MAGIC::/q", "seven fields"),
            (":a:M::MAGIC::/q::", "seven fields"),
            (":a:X::MAGIC::/q:", "neither"),
            (":a:E::jar::/q:", "tells no machine"),
            (":a:M:x:MAGIC::/q:", "no number"),
            (":a:M:-1:MAGIC::/q:", "no number"),
            (":a:M:1:MAGIC::/q:", "not 0"),
            (":a:M:108:MAGIC::/q:", "127 bytes"),
            (":a:M:18446744073709551615:MAGIC::/q:", "127 bytes"),
            (":a:M::\\x7:MAGIC:/q:", "magic has an escape"),
            (":a:M::\\n:MAGIC:/q:", "magic has an escape"),
            (":a:M::MAGIC:\\xgg:/q:", "mask has an escape"),
            (":a:M::MAGIC::/q:Z", "flag"),
            (":a:M::MAGIC\0::/q:", "zero byte"),
        ] {
            let text = line(text);
            assert!(reason(&text).contains(expected), "{text:?}: {}", reason(&text));
        }
        assert!(reason(&format!(":{}", "a".repeat(1920))).contains("1920"));
        let other = |text: &str| Rule::parse(line(text).as_bytes()).unwrap_err();
        assert!(matches!(other(":a/b:M::MAGIC::/q:"), RuleError::Name { .. }));
        assert!(matches!(other(":a:M::MAGIC:\\xff:/q:"), RuleError::Magic { .. }));
        assert!(matches!(other(":a:M::\\x7fELF::/q:"), RuleError::Magic { .. }));
        assert!(matches!(other(":a:M::MAGIC::q:"), RuleError::Interpreter { .. }));
        assert!(Rule::parse(line("|a|M||MAGIC||/q:x|F").as_bytes()).is_ok());
    }
}
