//! glibc's `/etc/ld.so.cache`, and the `/etc/ld.so.conf` that it is made from.
//!
//! Source: glibc, `sysdeps/generic/dl-cache.h`, the format that ldconfig has written by default since 2.32 and beside the
//! older one since 2.2.

use std::path::{Path, PathBuf};

use crate::target::Endianness;
use crate::tree::root::{Root, resolve};

/// The largest cache that is read, in bytes: 64 times what a large machine has.
const MOST: u64 = 16 << 20;
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// How much of a configuration file is read, in bytes, how many are read, and how deep they include each other.
const MOST_CONF: u64 = 1 << 16;
const MOST_FILES: usize = 256;
const DEEPEST: usize = 8;

/// The names in the cache, with the path of each; `None` where there is no cache that the loader would read.
pub(super) fn read(root: &dyn Root, order: Endianness) -> Option<Vec<(String, PathBuf)>> {
    let found = resolve(root, Path::new("/"), Path::new("/etc/ld.so.cache")).ok()?;
    parse(&root.read(&found.path, MOST).ok()?, order)
}

fn parse(bytes: &[u8], order: Endianness) -> Option<Vec<(String, PathBuf)>> {
    // The older format stands before this one if it is there at all.
    let bytes = &bytes[memchr::memmem::find(bytes, MAGIC)?..];
    let word = |at: usize| -> Option<u32> {
        let word: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(match order {
            Endianness::Little => u32::from_le_bytes(word),
            Endianness::Big => u32::from_be_bytes(word),
        })
    };
    let text = |at: u32| -> Option<String> {
        let rest = bytes.get(at as usize..)?;
        let end = memchr::memchr(0, &rest[..rest.len().min(4096)])?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    };
    // glibc ignores a cache of the other byte order: 2 is little, 3 big, 0 from before it was told.
    match (bytes.get(28)? & 3, order) {
        (0, _) | (2, Endianness::Little) | (3, Endianness::Big) => {}
        _ => return None,
    }
    let count = word(20)? as usize;
    // A count that lies ends at the file's end.
    let entries = (0..count.min(bytes.len() / ENTRY)).map_while(|index| {
        let at = HEADER + index * ENTRY;
        Some((text(word(at + 4)?)?, PathBuf::from(text(word(at + 8)?)?)))
    });
    Some(entries.collect())
}

/// The folders that `/etc/ld.so.conf` names, its includes followed.
pub(super) fn configured(root: &dyn Root) -> Vec<PathBuf> {
    let mut conf = Conf { root, folders: Vec::new(), files: 0 };
    conf.read(Path::new("/etc/ld.so.conf"), 0);
    conf.folders
}

struct Conf<'a> {
    root: &'a dyn Root,
    folders: Vec<PathBuf>,
    files: usize,
}

impl Conf<'_> {
    fn read(&mut self, path: &Path, depth: usize) {
        self.files += 1;
        if depth > DEEPEST || self.files > MOST_FILES {
            return;
        }
        let Ok(found) = resolve(self.root, Path::new("/"), path) else { return };
        let Ok(text) = self.root.read(&found.path, MOST_CONF) else { return };
        for line in String::from_utf8_lossy(&text).lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if let Some(pattern) = line.strip_prefix("include").filter(|rest| rest.starts_with([' ', '\t'])) {
                for pattern in pattern.split_whitespace() {
                    let beside = path.parent().unwrap_or(Path::new("/")).join(pattern);
                    for file in self.matching(&beside) {
                        self.read(&file, depth + 1);
                    }
                }
            } else if line.starts_with('/') {
                self.folders.push(line.trim_end_matches('/').into());
            }
        }
    }

    /// The files that a pattern names: `*` in the last part is all that occurs (`ld.so.conf.d/*.conf`).
    fn matching(&self, pattern: &Path) -> Vec<PathBuf> {
        let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((before, after)) = name.split_once('*') else { return vec![pattern.into()] };
        let folder = pattern.parent().unwrap_or(Path::new("/"));
        let Ok(found) = resolve(self.root, Path::new("/"), folder) else { return Vec::new() };
        let mut names = self.root.names(&found.path).unwrap_or_default();
        names.retain(|name| {
            let name = name.to_string_lossy();
            name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
        });
        names.sort();
        names.into_iter().map(|name| found.path.join(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_read_in_both_byte_orders_and_lies_end_at_its_end() {
        for order in [Endianness::Little, Endianness::Big] {
            let word = |value: u32| match order {
                Endianness::Little => value.to_le_bytes(),
                Endianness::Big => value.to_be_bytes(),
            };
            let made = |count: u32| {
                let mut bytes = b"ld.so-1.7.0\0\0\0\0\0".to_vec();
                bytes.extend(MAGIC);
                bytes.extend(word(count));
                bytes.extend(word(24));
                bytes.extend([if order == Endianness::Little { 2 } else { 3 }, 0, 0, 0]);
                bytes.extend([0; 16]);
                let strings = (HEADER + ENTRY) as u32;
                for value in [3, strings, strings + 10, 0, 0, 0] {
                    bytes.extend(word(value));
                }
                bytes.extend(b"libx.so.1\0/opt/libx.so.1\0");
                bytes
            };
            let expected = vec![("libx.so.1".to_owned(), PathBuf::from("/opt/libx.so.1"))];
            assert_eq!(parse(&made(1), order).unwrap(), expected);
            assert_eq!(parse(&made(u32::MAX), order).unwrap()[..1], expected);
            let whole = made(1);
            for length in 0..whole.len() {
                let _ = parse(&whole[..length], order);
            }
        }
        assert_eq!(parse(b"nothing", Endianness::Little), None);
    }
}
