//! What an entry of a layer says of itself, whichever tar format says it.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::LayerError;
use super::header::{BLOCK, Block, Extensions, damaged, number};
use super::name::{clean, link, lossy};
use crate::tree::sparse::{MOST_PIECES, Sparse};

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// Leads here, as the layer has it.
    Symlink(Vec<u8>),
    /// To this name, which is clean.
    HardLink(Vec<u8>),
    Fifo,
    Device {
        is_block: bool,
        major: u32,
        minor: u32,
    },
    /// It speaks of the archive, not of a file.
    Ignored,
}

/// A file's time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Time {
    /// Since 1970.
    pub(super) seconds: i64,
    pub(super) nanos: u32,
}

/// All of an entry but its content.
#[derive(Debug)]
pub(super) struct Meta {
    /// Clean: see [`clean`].
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    /// The permission bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) time: Time,
    /// Extended attributes: names and values.
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of a file, with its holes, in bytes.
    pub(super) size: u64,
    /// The map of a file with holes, where the reader does not fill them by itself.
    pub(super) sparse: Option<Sparse>,
    /// Whether the file was written as one with holes.
    pub(super) has_holes: bool,
}

impl Meta {
    /// Reads what a header and the extensions before it say. `content` is what follows them, of which some sparse
    /// files' start is taken.
    pub(super) fn of(
        block: &Block,
        extensions: &Extensions,
        size: u64,
        content: &mut impl Read,
    ) -> Result<Self, LayerError> {
        let read = |source| LayerError::Read { source };
        let byte = block.kind();
        let mut sparse = match byte {
            b'S' => Some(old_sparse(block, content).map_err(read)?),
            b'0' | b'7' | 0 => Sparse::of_records(&extensions.records, content).map_err(read)?,
            _ => None,
        };
        let name = sparse.as_mut().and_then(|sparse| sparse.name.take());
        let name = name
            .or_else(|| extensions.record(b"path").map(<[u8]>::to_vec))
            .or_else(|| extensions.name.clone())
            .unwrap_or_else(|| block.name());
        let target = || {
            let long = extensions.record(b"linkpath").or(extensions.link.as_deref());
            long.unwrap_or_else(|| block.text(157, 100))
        };
        let path = clean(&name)?;
        let kind = match byte {
            // The oldest tars have no other mark for a folder.
            b'0' | b'7' | 0 if name.ends_with(b"/") => Kind::Folder,
            // GNU: a folder with the list of its files.
            b'5' | b'D' => Kind::Folder,
            b'1' => Kind::HardLink(clean(target())?),
            b'2' => Kind::Symlink(link(&path, target())?),
            b'3' | b'4' => {
                Kind::Device { is_block: byte == b'4', major: device(block, 329), minor: device(block, 337) }
            }
            b'6' => Kind::Fifo,
            // pax records for all entries, of which tools write but comments; GNU: a volume's label, a file's
            // continuation, old long names.
            b'g' | b'V' | b'M' | b'N' => Kind::Ignored,
            // POSIX: a kind that is not known is a file.
            _ => Kind::File,
        };
        let id = |what, at| {
            let id = match extensions.number(what).map_err(read)? {
                Some(id) => i64::try_from(id).unwrap_or(i64::MAX),
                None => number(&block.0[at..at + 8]).ok_or_else(|| field(&path, what, block.text(at, 8)))?,
            };
            // The kernel takes the highest number for "as it is".
            u32::try_from(id)
                .ok()
                .filter(|id| *id != u32::MAX)
                .ok_or_else(|| field(&path, what, id.to_string().as_bytes()))
        };
        let time = match extensions.record(b"mtime") {
            Some(value) => decimal(value).ok_or_else(|| field(&path, "mtime", value))?,
            None => Time { seconds: block.number(136, 12, "time").map_err(read)?, nanos: 0 },
        };
        let attributes = extensions
            .records
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value.clone())));
        // Of records with one key the last counts.
        let attributes: BTreeMap<_, _> = attributes.collect();
        if attributes.keys().any(|name| name.is_empty() || name.contains(&0)) {
            return Err(field(&path, "extended attribute's name", b""));
        }
        Ok(Self {
            mode: (block.number(100, 8, "mode").map_err(read)? & 0o7777) as u32,
            uid: id("uid", 108)?,
            gid: id("gid", 116)?,
            time,
            attributes: attributes.into_iter().collect(),
            size: if kind == Kind::File { sparse.as_ref().map_or(size, |sparse| sparse.len) } else { 0 },
            has_holes: sparse.is_some(),
            sparse,
            kind,
            path,
        })
    }
}

fn device(block: &Block, at: usize) -> u32 {
    // Other formats than ustar have no such field.
    number(&block.0[at..at + 8]).and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

/// The map of GNU's old format: in the header, and in blocks after it that do not count as content.
fn old_sparse(block: &Block, content: &mut impl Read) -> io::Result<Sparse> {
    const PIECE: usize = 24;
    let read = |field: &[u8]| {
        number(field)
            .and_then(|number| u64::try_from(number).ok())
            .ok_or_else(|| damaged("the map of a sparse file holds what is no number"))
    };
    let len = read(&block.0[483..495])?;
    let mut pieces = Vec::new();
    let mut add = |fields: &[u8]| -> io::Result<()> {
        for piece in fields.chunks_exact(PIECE).take_while(|piece| piece[0] != 0) {
            pieces.push((read(&piece[..12])?, read(&piece[12..])?));
        }
        if pieces.len() > MOST_PIECES {
            return Err(damaged("the map of a sparse file is too long to be true"));
        }
        Ok(())
    };
    add(&block.0[386..386 + 4 * PIECE])?;
    let mut goes_on = block.0[482] != 0;
    while goes_on {
        let mut more = [0; BLOCK];
        content.read_exact(&mut more)?;
        add(&more[..21 * PIECE])?;
        goes_on = more[504] != 0;
    }
    Sparse::new(None, len, pieces)
}

fn field(path: &[u8], field: &'static str, value: &[u8]) -> LayerError {
    LayerError::Field { path: lossy(path), field, value: lossy(value.get(..64).unwrap_or(value)) }
}

/// pax times: seconds, and a fraction of any length.
fn decimal(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        // A fraction counts away from zero in the text and upwards on the disk.
        return Some(Time { seconds: seconds.checked_sub(1)?, nanos: 1_000_000_000 - nanos });
    }
    Some(Time { seconds, nanos })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_pax_has_them() {
        let time = |seconds, nanos| Some(Time { seconds, nanos });
        assert_eq!(decimal(b"12"), time(12, 0));
        assert_eq!(decimal(b"12.5"), time(12, 500_000_000));
        assert_eq!(decimal(b"12.0000000019"), time(12, 1));
        assert_eq!(decimal(b"-1.25"), time(-2, 750_000_000));
        assert_eq!(decimal(b"-0.25"), time(-1, 750_000_000));
        for wrong in [&b""[..], b"x", b"1.x", b"1.-5", b"99999999999999999999", b"\xff"] {
            assert_eq!(decimal(wrong), None, "{wrong:?}");
        }
    }
}
