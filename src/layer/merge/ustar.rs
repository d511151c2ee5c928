//! Writing tar headers: POSIX ustar, and pax records for what it cannot hold.
//!
//! Source: POSIX `pax`, "ustar Interchange Format" and "pax Extended Header".

use std::io::{self, Write};

use crate::layer::entry::Time;
use crate::layer::header::put_record;

/// The size of a block, in bytes.
pub(super) const BLOCK: u64 = 512;
/// The most that fields of 8 and of 12 bytes hold, in octal digits with an end.
const SMALL: u64 = 0o777_7777;
const LARGE: u64 = 0o777_7777_7777;

/// Why ustar cannot hold an entry.
pub(super) const LONG_NAME: &str = "its name cannot be split into 155 and 100 bytes";
pub(super) const LONG_LINK: &str = "it leads to a name of more than 100 bytes";
pub(super) const LARGE_FILE: &str = "it is larger than 8 GiB";
pub(super) const LARGE_ID: &str = "its owner or group is above 2097151";
pub(super) const TIME: &str = "its time is before 1970 or after 2242";
pub(super) const ATTRIBUTES: &str = "it has extended attributes";
pub(super) const DEVICE: &str = "its device number is above 2097151";

/// All that a header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header<'a> {
    pub(super) path: &'a [u8],
    /// The type flag.
    pub(super) kind: u8,
    pub(super) link: &'a [u8],
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) time: Time,
    pub(super) device: (u32, u32),
    pub(super) attributes: &'a [(Vec<u8>, Vec<u8>)],
}

/// A name in two parts, as ustar has it: what is before the slash, and what is after it.
pub(super) fn split_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((b"", path));
    }
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    slashes
        .filter(|at| (1..=155).contains(at) && (1..=100).contains(&(path.len() - at - 1)))
        .map(|at| (&path[..at], &path[at + 1..]))
        .next()
}

/// A folder's name ends in a slash wherever there is room for it.
fn split_entry(path: &[u8], is_folder: bool) -> Option<(Vec<u8>, Vec<u8>)> {
    let with_slash = [path, b"/"].concat();
    let split = if is_folder { split_name(&with_slash) } else { None };
    split.or_else(|| split_name(path)).map(|(prefix, name)| (prefix.to_vec(), name.to_vec()))
}

/// What about an entry does not go into ustar.
pub(super) fn unfit(header: &Header<'_>) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    let mut check = |fits: bool, reason| {
        if !fits {
            reasons.push(reason);
        }
    };
    check(split_name(header.path).is_some(), LONG_NAME);
    check(header.link.len() <= 100, LONG_LINK);
    check(header.size <= LARGE, LARGE_FILE);
    check(u64::from(header.uid.max(header.gid)) <= SMALL, LARGE_ID);
    check(time(header.time).is_some(), TIME);
    check(u64::from(header.device.0.max(header.device.1)) <= SMALL, DEVICE);
    check(header.attributes.is_empty(), ATTRIBUTES);
    reasons
}

fn time(time: Time) -> Option<u64> {
    u64::try_from(time.seconds).ok().filter(|seconds| *seconds <= LARGE)
}

/// Writes a header, with pax records before it if it needs them and `may_extend`.
pub(super) fn write(out: &mut impl Write, header: &Header<'_>, may_extend: bool) -> io::Result<()> {
    let mut records = Vec::new();
    let is_folder = header.kind == b'5';
    let split = split_entry(header.path, is_folder);
    if split.is_none() {
        let slash: &[u8] = if is_folder { b"/" } else { b"" };
        put_record(&mut records, b"path", &[header.path, slash].concat());
    }
    if header.link.len() > 100 {
        put_record(&mut records, b"linkpath", header.link);
    }
    for (key, id) in [(&b"uid"[..], header.uid), (b"gid", header.gid)] {
        if u64::from(id) > SMALL {
            put_record(&mut records, key, id.to_string().as_bytes());
        }
    }
    if header.size > LARGE {
        put_record(&mut records, b"size", header.size.to_string().as_bytes());
    }
    // Parts of a second are no reason to refuse an archive without extensions.
    if time(header.time).is_none() || (may_extend && header.time.nanos != 0) {
        put_record(&mut records, b"mtime", decimal(header.time).as_bytes());
    }
    let mut attributes: Vec<_> = header.attributes.iter().collect();
    attributes.sort();
    for (name, value) in attributes {
        put_record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    if header.device.0.max(header.device.1) > SMALL as u32 || (!records.is_empty() && !may_extend) {
        let reason = unfit(header).first().copied().unwrap_or("ustar cannot hold it");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    if !records.is_empty() {
        let base = header.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = [b"PaxHeaders/", &base[..base.len().min(80)]].concat();
        let size = records.len() as u64;
        let own =
            Header { path: &name, kind: b'x', link: b"", mode: 0o644, size, attributes: &[], ..*header };
        let time = if time(header.time).is_some() { header.time } else { Time::default() };
        let own = Header { uid: 0, gid: 0, time, device: (0, 0), ..own };
        out.write_all(&block(&own, (b"", &name)))?;
        out.write_all(&records)?;
        pad(out, size)?;
    }
    let (prefix, name) = split.unwrap_or_else(|| (Vec::new(), header.path[..100].to_vec()));
    out.write_all(&block(header, (&prefix, &name)))
}

fn decimal(time: Time) -> String {
    let Time { seconds, nanos } = time;
    if nanos == 0 {
        return seconds.to_string();
    }
    let text = if seconds < 0 {
        let whole = seconds.unsigned_abs() - 1;
        format!("-{whole}.{:09}", 1_000_000_000 - nanos)
    } else {
        format!("{seconds}.{nanos:09}")
    };
    text.trim_end_matches('0').to_owned()
}

fn block(header: &Header<'_>, (prefix, name): (&[u8], &[u8])) -> [u8; BLOCK as usize] {
    let mut block = [0; BLOCK as usize];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    let small = |number: u32| format!("{:07o}", u64::from(number) & SMALL);
    put(0, name);
    put(100, small(header.mode).as_bytes());
    // What does not fit is in the records, and zero here.
    put(108, small(if u64::from(header.uid) > SMALL { 0 } else { header.uid }).as_bytes());
    put(116, small(if u64::from(header.gid) > SMALL { 0 } else { header.gid }).as_bytes());
    put(124, format!("{:011o}", if header.size > LARGE { 0 } else { header.size }).as_bytes());
    put(136, format!("{:011o}", time(header.time).unwrap_or_default()).as_bytes());
    put(148, b"        ");
    put(156, &[header.kind]);
    put(157, &header.link[..header.link.len().min(100)]);
    put(257, b"ustar\x0000");
    put(329, small(header.device.0).as_bytes());
    put(337, small(header.device.1).as_bytes());
    put(345, prefix);
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// Fills the last block of `size` bytes.
pub(super) fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    let rest = (BLOCK - size % BLOCK) % BLOCK;
    out.write_all(&[0; BLOCK as usize][..rest as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_themselves() {
        for len in [1, 2, 89, 90, 91, 92, 93, 94, 95, 988, 989, 990, 991, 992, 993] {
            let mut records = Vec::new();
            put_record(&mut records, b"k", &vec![b'x'; len]);
            let digits = records.iter().position(|byte| *byte == b' ').unwrap();
            let said: usize = std::str::from_utf8(&records[..digits]).unwrap().parse().unwrap();
            assert_eq!(said, records.len(), "{len}");
        }
    }

    #[test]
    fn names_are_split_at_a_slash() {
        assert_eq!(split_name(b"a/b"), Some((&b""[..], &b"a/b"[..])));
        let name = [vec![b'p'; 155], b"/".to_vec(), vec![b'n'; 100]].concat();
        assert_eq!(split_name(&name), Some((&name[..155], &name[156..])));
        for wrong in [
            [vec![b'p'; 156], b"/".to_vec(), vec![b'n'; 100]].concat(),
            [vec![b'p'; 155], b"/".to_vec(), vec![b'n'; 101]].concat(),
            vec![b'n'; 101],
        ] {
            assert_eq!(split_name(&wrong), None);
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        let text = |seconds, nanos| decimal(Time { seconds, nanos });
        assert_eq!(text(12, 500_000_000), "12.5");
        assert_eq!(text(-2, 750_000_000), "-1.25");
        assert_eq!(text(-1, 750_000_000), "-0.25");
    }
}
