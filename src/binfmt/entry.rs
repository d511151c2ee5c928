//! One entry of the kernel's registry, as its file tells it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use super::Flags;
use super::rule::{DELIMITERS, escaped};
use crate::target::Magic;

/// What an entry's file says. Nothing in it is believed to be well formed: newer kernels may say more, and names and
/// interpreters are any bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// The entry's name, which is that of its file.
    #[serde(serialize_with = "lossy")]
    pub name: OsString,
    /// Whether the kernel uses it.
    pub enabled: bool,
    /// Which files it takes.
    pub kind: Kind,
    /// The program that it runs them with. Empty where the file does not tell.
    #[serde(serialize_with = "lossy")]
    pub interpreter: PathBuf,
    /// How it runs it.
    pub flags: EntryFlags,
    /// Lines that this version of polyarch does not know.
    pub other: Vec<String>,
}

/// Which files an entry takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// Those with certain bytes at an offset: `(file & mask) == (magic & mask)`.
    Magic {
        /// Where the bytes begin.
        offset: usize,
        /// The bytes.
        #[serde(serialize_with = "as_hex")]
        magic: Vec<u8>,
        /// Which of their bits count; as long as `magic`, all ones where the entry has none.
        #[serde(serialize_with = "as_hex")]
        mask: Vec<u8>,
    },
    /// Those whose names end so.
    Extension {
        /// Without the dot.
        #[serde(serialize_with = "lossy")]
        extension: OsString,
    },
    /// The file tells neither, or not in a way that is understood.
    Unknown,
}

/// An entry's flags: those that are known, and the letters that are not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryFlags {
    /// The known ones.
    pub known: Flags,
    /// Letters of newer kernels, in the kernel's order.
    pub unknown: String,
}

impl Entry {
    /// Reads the text of an entry's file. There is no text that it refuses: what it cannot read is kept in `other`.
    #[must_use]
    pub fn parse(name: impl Into<OsString>, text: &[u8]) -> Self {
        let mut entry = Self {
            name: name.into(),
            enabled: false,
            kind: Kind::Unknown,
            interpreter: PathBuf::new(),
            flags: EntryFlags::default(),
            other: Vec::new(),
        };
        let (mut state, mut interpreter, mut flags) = (None, None, None);
        let (mut offset, mut magic, mut mask, mut extension) = (None, None, None, None);
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let at = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
            let (key, value) = (&line[..at], line.get(at + 1..).unwrap_or_default());
            // An interpreter with a line feed in it can put forward lines of its own; the first of a kind is the kernel's.
            let field = match key {
                b"enabled" | b"disabled" if value.is_empty() && state.is_none() => {
                    state = Some(key == b"enabled");
                    continue;
                }
                b"interpreter" => &mut interpreter,
                b"flags:" => &mut flags,
                b"offset" => &mut offset,
                b"magic" => &mut magic,
                b"mask" => &mut mask,
                b"extension" => &mut extension,
                _ => &mut None,
            };
            let known =
                matches!(key, b"interpreter" | b"flags:" | b"offset" | b"magic" | b"mask" | b"extension");
            if known && field.is_none() {
                *field = Some(value);
            } else {
                entry.other.push(String::from_utf8_lossy(line).into_owned());
            }
        }
        entry.enabled = state == Some(true);
        entry.interpreter = PathBuf::from(OsString::from_vec(interpreter.unwrap_or_default().to_vec()));
        entry.flags = EntryFlags::parse(flags.unwrap_or_default());
        entry.kind = kind(offset, magic, mask, extension).unwrap_or(Kind::Unknown);
        if entry.kind == Kind::Unknown {
            for (key, value) in
                [("offset", offset), ("magic", magic), ("mask", mask), ("extension", extension)]
            {
                let line = value.map(|value| format!("{key} {}", String::from_utf8_lossy(value)));
                entry.other.extend(line);
            }
        }
        entry
    }

    /// Whether the kernel takes a file that begins with `head` for this entry's by its bytes: over the first 256, with
    /// zeros behind the end of a shorter file. `false` for an entry that goes by the file's name.
    #[must_use]
    pub fn matches(&self, head: &[u8]) -> bool {
        let Kind::Magic { offset, magic, mask } = &self.kind else { return false };
        if offset.saturating_add(magic.len()) > Magic::SEEN {
            return false;
        }
        let head = &head[..head.len().min(Magic::SEEN)];
        let bytes = head.iter().copied().chain(std::iter::repeat(0)).skip(*offset);
        magic.iter().zip(mask).zip(bytes).all(|((magic, mask), byte)| (byte ^ magic) & mask == 0)
    }

    /// What is written to register such an entry again, whatever tool it came from. `None` where its kind is not understood, or
    /// no character is left to part the fields with.
    #[must_use]
    pub fn line(&self) -> Option<Vec<u8>> {
        let (kind, offset, magic, mask): (&[u8], _, _, _) = match &self.kind {
            Kind::Magic { offset, magic, mask } => {
                // As our own rules leave it out.
                let offset = if *offset == 0 { String::new() } else { offset.to_string() };
                (b"M", offset, escaped(magic).into_bytes(), escaped(mask))
            }
            Kind::Extension { extension } => {
                (b"E", String::new(), extension.as_bytes().to_vec(), String::new())
            }
            Kind::Unknown => return None,
        };
        let (name, interpreter) = (self.name.as_bytes(), self.interpreter.as_os_str().as_bytes());
        let flags = self.flags.to_string();
        let fields = [name, kind, offset.as_bytes(), &magic, mask.as_bytes(), interpreter, flags.as_bytes()];
        let delimiter = DELIMITERS
            .iter()
            .find(|byte| ![name, &magic, interpreter].iter().any(|field| field.contains(byte)))?;
        let mut line = Vec::new();
        for field in fields {
            line.push(*delimiter);
            line.extend_from_slice(field);
        }
        (!name.is_empty() && !interpreter.is_empty()).then_some(line)
    }

    /// Whether this entry takes every file that `other` takes.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Extension { extension }, Kind::Extension { extension: other }) => extension == other,
            (Kind::Magic { .. }, Kind::Magic { .. }) => (0..Magic::SEEN).all(|at| {
                let ((want, mask), (has, fixed)) = (self.bits(at), other.bits(at));
                // Each bit that counts here must count there, with the same value.
                mask & !fixed == 0 && (want ^ has) & mask == 0
            }),
            _ => false,
        }
    }

    /// The value and the mask at byte `at` of a file.
    fn bits(&self, at: usize) -> (u8, u8) {
        let Kind::Magic { offset, magic, mask } = &self.kind else { return (0, 0) };
        let byte = |bytes: &[u8]| at.checked_sub(*offset).and_then(|at| bytes.get(at)).copied();
        (byte(magic).unwrap_or_default(), byte(mask).unwrap_or_default())
    }
}

/// `None` where the fields make no sense.
fn kind(
    offset: Option<&[u8]>,
    magic: Option<&[u8]>,
    mask: Option<&[u8]>,
    extension: Option<&[u8]>,
) -> Option<Kind> {
    match (magic, extension) {
        (Some(magic), None) => {
            let offset = offset.map_or(Some(0), |text| std::str::from_utf8(text).ok()?.parse().ok())?;
            let magic = unhex(magic)?;
            let mask = mask.map_or_else(|| Some(vec![0xff; magic.len()]), unhex)?;
            (mask.len() == magic.len() && !magic.is_empty()).then_some(Kind::Magic { offset, magic, mask })
        }
        (None, Some(extension)) if offset.is_none() && mask.is_none() => {
            let extension = extension.strip_prefix(b".").unwrap_or(extension);
            Some(Kind::Extension { extension: OsStr::from_bytes(extension).into() })
        }
        _ => None,
    }
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

impl EntryFlags {
    /// Reads the letters behind `flags:`.
    fn parse(letters: &[u8]) -> Self {
        let mut flags = Self::default();
        for letter in String::from_utf8_lossy(letters).chars() {
            match letter {
                'P' => flags.known.preserve_argv0 = true,
                'O' => flags.known.open_binary = true,
                'C' => flags.known.credentials = true,
                'F' => flags.known.fix_binary = true,
                letter if letter.is_whitespace() => {}
                letter => flags.unknown.push(letter),
            }
        }
        flags
    }
}

impl std::fmt::Display for EntryFlags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.known, self.unknown)
    }
}

impl Serialize for EntryFlags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut fields = serializer.serialize_struct("EntryFlags", 6)?;
        fields.serialize_field("letters", &self.to_string())?;
        fields.serialize_field("preserve_argv0", &self.known.preserve_argv0)?;
        fields.serialize_field("open_binary", &self.known.open_binary)?;
        fields.serialize_field("credentials", &self.known.credentials)?;
        fields.serialize_field("fix_binary", &self.known.fix_binary)?;
        fields.serialize_field("unknown", &self.unknown)?;
        fields.end()
    }
}

/// Bytes as text, those that are no UTF-8 replaced.
pub(super) fn lossy<S: Serializer>(text: impl AsRef<OsStr>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text.as_ref().to_string_lossy())
}

fn as_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn magic(offset: usize, magic: &str, mask: &str) -> Entry {
        Entry::parse("x", format!("enabled\noffset {offset}\nmagic {magic}\nmask {mask}\n").as_bytes())
    }

    #[test]
    fn both_kinds_are_read() {
        let entry =
            Entry::parse("a", b"enabled\ninterpreter /q x\nflags: PFT\noffset 2\nmagic 0aff\nmask fff0\n");
        assert!(entry.enabled && entry.flags.known.fix_binary && entry.flags.known.preserve_argv0);
        assert_eq!(entry.flags.unknown, "T");
        assert_eq!(entry.interpreter, PathBuf::from("/q x"));
        assert_eq!(entry.kind, Kind::Magic { offset: 2, magic: vec![0x0a, 0xff], mask: vec![0xff, 0xf0] });
        assert!(entry.matches(b"zz\x0a\xf7") && !entry.matches(b"\x0a\xff") && !entry.matches(b"zz\x0a\x07"));
        let entry = Entry::parse("a", b"disabled\ninterpreter /j\nflags: \nextension .jar\n");
        assert!(!entry.enabled && !entry.matches(b""));
        assert_eq!(entry.kind, Kind::Extension { extension: "jar".into() });
    }

    #[test]
    fn what_is_not_known_is_kept() {
        let entry = Entry::parse("a", b"enabled\ninterpreter /q\nfuture 1 2\nbare\noffset 0\nmagic 7f\n");
        assert_eq!(entry.other, ["future 1 2", "bare"]);
        assert!(entry.matches(b"\x7f"));
        // The first is the kernel's, what an interpreter brings along is not.
        let entry = Entry::parse("a", b"enabled\ninterpreter /a\ndisabled\nflags: F\nflags: C\n");
        assert!(entry.enabled && !entry.flags.known.credentials);
        assert_eq!(entry.other, ["disabled", "flags: C"]);
    }

    #[test]
    fn hostile_text_does_no_harm() {
        for text in [
            &b""[..],
            b"\n\n\n",
            b"enabled",
            b"magic ",
            b"magic 7",
            b"magic zz",
            b"offset 99999999999999999999\nmagic 7f",
            b"offset -1\nmagic 7f",
            b"magic 7f45\nmask ff",
            b"magic 7f\nextension x",
            b"\xff\xfe\x00\n\x00",
        ] {
            let entry = Entry::parse("a", text);
            assert_eq!(entry.kind, Kind::Unknown, "{text:?}");
            assert!(!entry.matches(&[0x7f; 300]));
        }
        let far = Entry::parse("a", format!("offset {}\nmagic 00\n", usize::MAX).as_bytes());
        assert!(!far.matches(&[]));
        assert!(Entry::parse("a", b"offset zz\nmagic 7f").other.contains(&"magic 7f".into()));
    }

    #[test]
    fn an_entry_gives_the_line_that_makes_it() {
        let line = |text: &[u8]| Entry::parse("a", text).line().map(|line| String::from_utf8(line).unwrap());
        let text = b"enabled\ninterpreter /q\nflags: POCF\noffset 2\nmagic 0aff\nmask fff0\n";
        assert_eq!(line(text).unwrap(), ":a:M:2:\\x0a\\xff:\\xff\\xf0:/q:POCF");
        assert_eq!(line(b"interpreter /q:x\noffset 0\nmagic 0a\n").unwrap(), ",a,M,,\\x0a,\\xff,/q:x,");
        assert_eq!(line(b"interpreter /j\nflags: Z\nextension .jar\n").unwrap(), ":a:E::jar::/j:Z");
        assert_eq!(line(b"interpreter /j\n"), None);
        assert_eq!(line(b"extension .jar\n"), None);
        assert_eq!(line(b"interpreter /:,|%@=+~^\nextension .jar\n"), None);
    }

    #[test]
    fn an_entry_covers_those_that_ask_more() {
        let elf = magic(0, "7f454c46", "ffffffff");
        let class = magic(0, "7f454c4601", "ffffffffff");
        let far = magic(4, "01", "ff");
        assert!(elf.covers(&class) && !class.covers(&elf));
        assert!(far.covers(&class) && !far.covers(&elf));
        assert!(!magic(0, "7f454c47", "ffffffff").covers(&class));
        // What a mask leaves out does not count.
        assert!(magic(0, "ffff4c46", "0000ffff").covers(&class));
        let jar = Entry::parse("j", b"extension .jar");
        assert!(jar.covers(&jar) && !jar.covers(&elf) && !elf.covers(&jar));
    }
}
