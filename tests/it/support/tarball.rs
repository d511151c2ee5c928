//! Tar streams of which nothing is checked while they are made.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// One entry, whatever is wrong with it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) kind: u8,
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) time: u64,
    pub(crate) content: Vec<u8>,
    /// What the header says, where that is not the content's length.
    pub(crate) size: Option<u64>,
}

impl Entry {
    pub(crate) fn new(kind: u8, name: impl AsRef<[u8]>) -> Self {
        Self {
            kind,
            name: name.as_ref().to_vec(),
            link: Vec::new(),
            mode: 0o755,
            owner: (0, 0),
            time: 1_500_000_000,
            content: Vec::new(),
            size: None,
        }
    }

    fn header(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, most: usize, bytes: &[u8]| {
            let bytes = &bytes[..bytes.len().min(most)];
            block[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, 100, &self.name);
        put(100, 8, format!("{:07o}", self.mode).as_bytes());
        put(108, 8, format!("{:07o}", self.owner.0).as_bytes());
        put(116, 8, format!("{:07o}", self.owner.1).as_bytes());
        put(124, 12, format!("{:011o}", self.size.unwrap_or(self.content.len() as u64)).as_bytes());
        put(136, 12, format!("{:011o}", self.time).as_bytes());
        put(156, 1, &[self.kind]);
        put(157, 100, &self.link);
        put(257, 8, b"ustar\x0000");
        block
    }
}

/// A tar stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tarball(pub(crate) Vec<u8>);

impl Tarball {
    /// Adds an entry whose header `edit` changes before it is summed up.
    pub(crate) fn edited(mut self, entry: &Entry, edit: impl FnOnce(&mut [u8; 512])) -> Self {
        let mut header = entry.header();
        edit(&mut header);
        sum(&mut header);
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(&entry.content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn with(self, entry: &Entry) -> Self {
        self.edited(entry, |_| {})
    }

    pub(crate) fn file(self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        self.with(&Entry { content: content.as_ref().to_vec(), ..Entry::new(b'0', name) })
    }

    pub(crate) fn folder(self, name: impl AsRef<[u8]>) -> Self {
        self.with(&Entry::new(b'5', name))
    }

    pub(crate) fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.with(&Entry { link: target.as_ref().to_vec(), ..Entry::new(b'2', name) })
    }

    pub(crate) fn hard(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.with(&Entry { link: target.as_ref().to_vec(), ..Entry::new(b'1', name) })
    }

    /// pax records for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let content = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.with(&Entry { content, ..Entry::new(b'x', "PaxHeaders/x") })
    }

    /// Any extension's content for the next entry.
    pub(crate) fn extension(self, kind: u8, content: impl AsRef<[u8]>) -> Self {
        self.with(&Entry { content: content.as_ref().to_vec(), ..Entry::new(kind, "././@LongLink") })
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A pax record with its length.
pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let len = (1..9).map(|digits| rest + digits).find(|len| rest + len.to_string().len() == *len).unwrap();
    [format!("{len} {key}=").as_bytes(), value, b"\n"].concat()
}

/// Writes a header's sum into it.
pub(crate) fn sum(header: &mut [u8; 512]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

/// What a name in a folder is; all that must be equal in two trees that are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// Seconds and nanoseconds; zero where it is the time of the test itself.
    pub(crate) time: (i64, i64),
    /// A file's bytes, a link's target, a device's number.
    pub(crate) content: Vec<u8>,
    /// The first name of the same file.
    pub(crate) same_as: Vec<u8>,
}

/// All that is beneath `root`, by name, and the root itself by an empty one.
pub(crate) fn snapshot(root: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut seen = BTreeMap::new();
    let mut paths = vec![root.to_owned()];
    while let Some(path) = paths.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let content = if meta.is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else if meta.is_file() {
            fs::read(&path).unwrap()
        } else {
            meta.rdev().to_string().into_bytes()
        };
        let is_now = meta.mtime() > 1_700_000_001;
        let seen_now = Seen {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            time: if is_now { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) },
            content,
            // For now the file's number; names are known at the end.
            same_as: if meta.is_dir() { name.clone() } else { meta.ino().to_string().into_bytes() },
        };
        seen.insert(name, seen_now);
    }
    let mut first = BTreeMap::new();
    for (name, seen) in &mut seen {
        if seen.same_as != *name {
            seen.same_as = first.entry(seen.same_as.clone()).or_insert_with(|| name.clone()).clone();
        }
    }
    seen
}
