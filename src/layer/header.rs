//! A tar header's fields and the extensions before it, as they are stored.
//!
//! Sources: POSIX `pax`, "ustar Interchange Format" and "pax Extended Header"; GNU tar's manual, "Basic Tar Format"; star(5). The `tar`
//! crate is not used here, for it takes the first newline for a pax record's end: a name or an attribute may hold one.

use std::io;

/// The size of a block, in bytes.
pub(super) const BLOCK: usize = 512;

/// A header block.
#[derive(Debug)]
pub(super) struct Block(pub(super) [u8; BLOCK]);

pub(super) fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Block {
    /// Whether the block's sum is the one that it says. Old tars added signed bytes.
    pub(super) fn check(&self) -> io::Result<()> {
        let around = || self.0[..148].iter().chain(&self.0[156..]);
        let unsigned = around().map(|byte| i64::from(*byte)).sum::<i64>() + 8 * 32;
        let signed = around().map(|byte| i64::from(byte.cast_signed())).sum::<i64>() + 8 * 32;
        match self.number(148, 8, "checksum")? {
            sum if sum == unsigned || sum == signed => Ok(()),
            sum => Err(damaged(format!("a tar header's checksum is {sum} where it should be {unsigned}"))),
        }
    }

    pub(super) fn kind(&self) -> u8 {
        self.0[156]
    }

    /// A field up to its first NUL.
    pub(super) fn text(&self, at: usize, len: usize) -> &[u8] {
        let field = &self.0[at..at + len];
        field.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// A field's number: octal digits between spaces and NULs, or in base 256. An empty field is 0.
    pub(super) fn number(&self, at: usize, len: usize, what: &str) -> io::Result<i64> {
        number(&self.0[at..at + len]).ok_or_else(|| damaged(format!("a tar header's {what} is no number")))
    }

    /// The name, of both its parts.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = self.text(0, 100);
        let is_posix = &self.0[257..263] == b"ustar\0";
        let is_star = is_posix && &self.0[508..512] == b"tar\0";
        let prefix = if is_posix { self.text(345, if is_star { 131 } else { 155 }) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }
}

/// A number of a header's field.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    if let Some(first @ 0x80..) = field.first() {
        // Base 256 in two's complement, of which the first bit only says that it is so.
        let start =
            if first & 0x40 == 0 { i128::from(first & 0x7f) } else { i128::from(first.cast_signed()) };
        let number = field[1..]
            .iter()
            .try_fold(start, |number, byte| number.checked_mul(256)?.checked_add(i128::from(*byte)))?;
        return i64::try_from(number).ok();
    }
    let text = field.trim_ascii_start();
    let start = text.iter().position(|byte| *byte != 0).unwrap_or(text.len());
    let text = &text[start..];
    let end = text.iter().position(|byte| matches!(byte, b' ' | 0)).unwrap_or(text.len());
    text[..end].iter().try_fold(0_i64, |number, digit| match digit {
        b'0'..=b'7' => number.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// A pax record: its own length in decimal, key, value. The length counts itself.
pub(super) fn put_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(len.to_string().as_bytes());
    for piece in [b" ", key, b"=", value, b"\n"] {
        records.extend_from_slice(piece);
    }
}

/// What was said before an entry's own header.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    /// GNU's long name and long link.
    pub(super) name: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    /// pax records: keys and values, in their order.
    pub(super) records: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) has_records: bool,
}

impl Extensions {
    pub(super) fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && !self.has_records
    }

    /// Takes in the content of an extension header of `kind`.
    pub(super) fn add(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        let slot = match kind {
            b'L' => &mut self.name,
            b'K' => &mut self.link,
            _ => {
                if std::mem::replace(&mut self.has_records, true) {
                    return Err(damaged("two pax headers for one entry"));
                }
                self.records = records(content)?;
                return Ok(());
            }
        };
        let end = content.iter().position(|byte| *byte == 0).unwrap_or(content.len());
        if content[end..].iter().any(|byte| *byte != 0) {
            return Err(damaged("a GNU long name holds a NUL byte"));
        }
        match slot.replace(content[..end].to_vec()) {
            Some(_) => Err(damaged("two GNU long names for one entry")),
            None => Ok(()),
        }
    }

    /// The last record with this key. An empty one says that the header's own field counts.
    pub(super) fn record(&self, key: &[u8]) -> Option<&[u8]> {
        let last = self.records.iter().rev().find(|(known, _)| known == key);
        last.map(|(_, value)| value.as_slice()).filter(|value| !value.is_empty())
    }

    /// A record that is a number.
    pub(super) fn number(&self, key: &str) -> io::Result<Option<u64>> {
        let Some(value) = self.record(key.as_bytes()) else { return Ok(None) };
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| damaged(format!("a pax record's {key} is no number")))
    }
}

/// pax records: each its own length in decimal, a space, a key, `=`, a value that may hold anything, and a newline.
fn records(mut content: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut records = Vec::new();
    while !content.is_empty() {
        let (record, rest) = record(content).ok_or_else(|| damaged("a pax record's length is wrong"))?;
        records.push(record);
        content = rest;
    }
    Ok(records)
}

#[expect(clippy::type_complexity, reason = "a record and what follows it, at one place")]
fn record(content: &[u8]) -> Option<((Vec<u8>, Vec<u8>), &[u8])> {
    let space = content.iter().take(20).position(|byte| *byte == b' ')?;
    let digits = &content[..space];
    // The standard library would take a sign.
    let len: usize = std::str::from_utf8(digits)
        .ok()
        .filter(|_| digits.first().is_some_and(u8::is_ascii_digit))?
        .parse()
        .ok()?;
    let record = content.get(space + 1..len)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    Some(((record[..equals].to_vec(), record[equals + 1..].to_vec()), &content[len..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_kinds() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777", Some(0o7777_7777)),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"0000648\0", None),
            (b"-000644\0", None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }

    #[test]
    fn records_hold_anything_and_their_lengths_do_not_lie() {
        let whole = records(b"12 a=b\n\0x=y\n6 c=d\n").unwrap();
        assert_eq!(whole, [(b"a".to_vec(), b"b\n\0x=y".to_vec()), (b"c".to_vec(), b"d".to_vec())]);
        for wrong in [
            &b"6 c=d"[..],
            b"7 c=d\n",
            b"5 c=d\n",
            b"+6 c=d\n",
            b"-6 c=d\n",
            b"0 c=d\n",
            b"2 \n",
            b" c=d\n",
            b"5 =d\n",
            b"5 cd\n",
            b"99999999999999999999 c=d\n",
            b"x c=d\n",
            b"c=d\n",
        ] {
            assert!(records(wrong).is_err(), "{wrong:?}");
        }
    }
}
