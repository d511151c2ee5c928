//! Sparse files in pax archives, which the `tar` crate leaves as they are stored.
//!
//! Source: GNU tar's manual, "Storing Sparse Files": the formats 0.0 and 0.1 have the map in pax records, 1.0 has
//! it in front of the data. The old GNU format is the crate's own business.

use std::io::{self, Read};

/// The most pieces of one file; GNU tar's own maps have one for each hole.
pub(crate) const MOST_PIECES: usize = 1 << 20;
/// Maps in front of the data are padded to blocks of this many bytes.
const BLOCK: usize = 512;
/// How the keys of its pax records begin.
const PREFIX: &[u8] = b"GNU.sparse.";

/// A file with holes, as a pax archive stores it.
#[derive(Debug)]
pub(crate) struct Sparse {
    /// The file's own name, for the member has a made-up one.
    pub(crate) name: Option<Vec<u8>>,
    /// The file's size with its holes, in bytes.
    pub(crate) len: u64,
    /// (offset in the file, length) of what is stored, in order.
    pieces: Vec<(u64, u64)>,
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the map of a sparse file {what}"))
}

impl Sparse {
    /// What the pax records of `entry` say of it; `None` for a file that is stored whole. Of format 1.0 the map is
    /// taken off the front of the entry, so that what it gives next is data.
    pub(crate) fn of<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Option<Self>> {
        let mut records = Vec::new();
        if let Some(extensions) = entry.pax_extensions()? {
            for record in extensions {
                let record = record?;
                if record.key_bytes().starts_with(PREFIX) {
                    records.push((record.key_bytes().to_vec(), record.value_bytes().to_vec()));
                }
            }
        }
        Self::of_records(&records, entry)
    }

    /// The same from an entry's pax records, keys and values, and its `content`.
    pub(crate) fn of_records(
        records: &[(Vec<u8>, Vec<u8>)],
        content: &mut impl Read,
    ) -> io::Result<Option<Self>> {
        let (mut name, mut len, mut pieces) = (None, 0, Vec::new());
        let mut is_sparse = false;
        let mut has_map_in_data = false;
        let mut offset = None;
        for (key, value) in records {
            let Some(key) = key.strip_prefix(PREFIX) else { continue };
            is_sparse = true;
            match key {
                b"major" => has_map_in_data = value == b"1",
                b"name" => name = Some(value.clone()),
                b"realsize" | b"size" => len = number(value)?,
                b"offset" => offset = Some(number(value)?),
                b"numbytes" => {
                    let offset = offset.take().ok_or_else(|| damaged("has a length without an offset"))?;
                    pieces.push((offset, number(value)?));
                }
                b"map" => {
                    let mut numbers = value.split(|byte| *byte == b',').filter(|text| !text.is_empty());
                    while let (Some(offset), Some(len)) = (numbers.next(), numbers.next()) {
                        pieces.push((number(offset)?, number(len)?));
                    }
                }
                _ => {}
            }
        }
        if !is_sparse {
            return Ok(None);
        }
        if has_map_in_data {
            pieces = map(content)?;
        }
        Self::new(name, len, pieces).map(Some)
    }

    /// A file of `len` bytes of which `pieces`, (offset, length), are stored.
    pub(crate) fn new(name: Option<Vec<u8>>, len: u64, pieces: Vec<(u64, u64)>) -> io::Result<Self> {
        if pieces.len() > MOST_PIECES {
            return Err(damaged("is too long to be true"));
        }
        let mut end = 0;
        for (offset, piece) in &pieces {
            if *offset < end {
                return Err(damaged("is out of order"));
            }
            end = offset
                .checked_add(*piece)
                .filter(|end| *end <= len)
                .ok_or_else(|| damaged("goes beyond the file's end"))?;
        }
        Ok(Self { name, len, pieces })
    }

    /// The file's bytes, with zeros for its holes, from the data that `stored` gives.
    pub(crate) fn reader<R: Read>(self, stored: R) -> SparseReader<R> {
        SparseReader { stored, at: 0, len: self.len, pieces: self.pieces.into_iter().peekable() }
    }
}

fn number(text: &[u8]) -> io::Result<u64> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| damaged("holds what is no number"))
}

/// The map of format 1.0: a count, then that many offsets and lengths, a number a line, padded to a block.
fn map(from: &mut impl Read) -> io::Result<Vec<(u64, u64)>> {
    let mut block = [0; BLOCK];
    let mut at = BLOCK;
    let mut next = || -> io::Result<u64> {
        let mut digits = Vec::new();
        loop {
            if at == BLOCK {
                from.read_exact(&mut block)?;
                at = 0;
            }
            let byte = block[at];
            at += 1;
            match byte {
                b'\n' => return number(&digits),
                _ if digits.len() < 20 => digits.push(byte),
                _ => return Err(damaged("holds what is no number")),
            }
        }
    };
    let count = usize::try_from(next()?).ok().filter(|count| *count <= MOST_PIECES);
    let count = count.ok_or_else(|| damaged("is too long to be true"))?;
    (0..count).map(|_| Ok((next()?, next()?))).collect()
}

/// Gives a sparse file's bytes.
#[derive(Debug)]
pub(crate) struct SparseReader<R> {
    stored: R,
    at: u64,
    len: u64,
    pieces: std::iter::Peekable<std::vec::IntoIter<(u64, u64)>>,
}

impl<R> SparseReader<R> {
    /// Passes over a hole, and tells how long it was, in bytes; 0 where data follows.
    pub(crate) fn skip_hole(&mut self) -> u64 {
        while self.pieces.next_if(|(offset, len)| offset + len <= self.at).is_some() {}
        let until = self.pieces.peek().map_or(self.len, |(offset, _)| *offset);
        let hole = until.saturating_sub(self.at);
        self.at += hole;
        hole
    }
}

impl<R: Read> Read for SparseReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.pieces.next_if(|(offset, len)| offset + len <= self.at).is_some() {}
        let most = |until: u64| usize::try_from(until - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let count = match self.pieces.peek() {
            Some((offset, len)) if *offset <= self.at => {
                let count = most(offset + len);
                let count = self.stored.read(&mut buffer[..count])?;
                if count == 0 && !buffer.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                count
            }
            hole => {
                let count = most(hole.map_or(self.len, |(offset, _)| *offset));
                buffer[..count].fill(0);
                count
            }
        };
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_zeros() {
        let sparse = Sparse { name: None, len: 10, pieces: vec![(2, 3), (7, 1), (10, 0)] };
        let mut bytes = Vec::new();
        sparse.reader(&b"abcd"[..]).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"\0\0abc\0\0d\0\0");
        let cut = Sparse { name: None, len: 10, pieces: vec![(2, 3)] };
        assert!(cut.reader(&b"a"[..]).read_to_end(&mut Vec::new()).is_err());
    }

    #[test]
    fn maps_that_lie_are_refused() {
        let padded = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(BLOCK, 0);
            bytes
        };
        assert_eq!(map(&mut padded("2\n0\n5\n9\n1\n").as_slice()).unwrap(), [(0, 5), (9, 1)]);
        for text in ["", "x\n", "99999999999\n", "1\n5\n", "123456789012345678901234\n"] {
            assert!(map(&mut padded(text).as_slice()).is_err(), "{text:?}");
        }
    }
}
