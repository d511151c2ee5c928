//! What an entry of a layer says of itself, whichever tar format says it.

use std::io::{self, Read};

use tar::EntryType;

use super::LayerError;
use super::name::{clean, link, lossy};
use crate::tree::sparse::Sparse;

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
    /// Reads what `entry` says of itself. Of some sparse files that takes the start of the content.
    pub(super) fn of<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Self, LayerError> {
        let read = |source| LayerError::Read { source };
        let mut sparse = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => Sparse::of(entry).map_err(read)?,
            _ => None,
        };
        let name = sparse.as_mut().and_then(|sparse| sparse.name.take());
        let name = name.unwrap_or_else(|| entry.path_bytes().into_owned());
        let path = clean(&name)?;
        let mut time = None;
        let mut attributes = Vec::new();
        if let Some(records) = entry.pax_extensions().map_err(read)? {
            for record in records {
                let record = record.map_err(read)?;
                let value = record.value_bytes();
                match record.key_bytes() {
                    b"mtime" => time = Some(decimal(value).ok_or_else(|| field(&path, "mtime", value))?),
                    key => {
                        if let Some(key) = key.strip_prefix(b"SCHILY.xattr.") {
                            attributes.push((key.to_vec(), value.to_vec()));
                        }
                    }
                }
            }
        }
        let header = entry.header();
        let id = |what, id: io::Result<u64>, text: &[u8]| {
            if text.iter().all(|byte| matches!(byte, b' ' | 0)) {
                return Ok(0);
            }
            // The kernel takes the highest number for "as it is".
            let id = id.ok().and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX);
            id.ok_or_else(|| field(&path, what, text))
        };
        let number = |number: io::Result<Option<u32>>| number.ok().flatten().unwrap_or_default();
        let is_named_as_folder = name.ends_with(b"/");
        let kind = match header.entry_type() {
            // The oldest tars have no other mark for a folder.
            EntryType::Regular | EntryType::Continuous if is_named_as_folder => Kind::Folder,
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink => Kind::Symlink(link(&path, &entry.link_name_bytes().unwrap_or_default())?),
            EntryType::Link => Kind::HardLink(clean(&entry.link_name_bytes().unwrap_or_default())?),
            EntryType::Fifo => Kind::Fifo,
            kind @ (EntryType::Char | EntryType::Block) => Kind::Device {
                is_block: kind == EntryType::Block,
                major: number(header.device_major()),
                minor: number(header.device_minor()),
            },
            EntryType::XGlobalHeader => Kind::Ignored,
            kind => match kind.as_byte() {
                // GNU: a folder with the list of its files; a volume's label, a file's continuation, old long names.
                b'D' => Kind::Folder,
                b'V' | b'M' | b'N' => Kind::Ignored,
                // POSIX: a kind that is not known is a file.
                _ => Kind::File,
            },
        };
        let time = match time {
            Some(time) => time,
            // Numbers below zero come as their two's complement.
            None => Time { seconds: header.mtime().unwrap_or_default().cast_signed(), nanos: 0 },
        };
        Ok(Self {
            mode: header.mode().map_err(read)? & 0o7777,
            uid: id("uid", header.uid(), &header.as_old().uid)?,
            gid: id("gid", header.gid(), &header.as_old().gid)?,
            time,
            attributes,
            size: sparse.as_ref().map_or(entry.size(), |sparse| sparse.len),
            has_holes: sparse.is_some() || header.entry_type() == EntryType::GNUSparse,
            sparse,
            kind,
            path,
        })
    }
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
