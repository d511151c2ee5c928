//! What layers were found to hold, kept by their digest, so that a base that is known need not be read again.
//!
//! A file holds a layer's entries in their order, compressed, with a sum of it all. What cannot be read back is as good as not
//! there. Files are written under no name until they are whole.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::super::entry::{Kind, Meta, Time};
use super::view::Facts;
use crate::elf::Identity;
use crate::layer::Digest;
use crate::tree::root::Executable;

/// Of this form, by this version of the program: another may read files differently.
const MARK: &str = concat!("polyarch layer 2 ", env!("CARGO_PKG_VERSION"), "\n");
/// How much is kept, in bytes; what was used least recently goes.
const MOST_KEPT: u64 = 512 << 20;
/// The largest piece of an entry, in bytes, and the most entries: no file that was written here has more.
const MOST_PIECE: u32 = 16 << 20;
const MOST_ENTRIES: u64 = 20_000_000;

/// A folder of what layers hold.
#[derive(Debug, Clone)]
pub struct LayerMemory {
    folder: PathBuf,
}

impl LayerMemory {
    /// In `folder`, which is made when something is kept.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, layer: &Digest) -> PathBuf {
        self.folder.join(layer.hex())
    }

    /// What the layer with that digest holds, if that is known.
    pub(super) fn recall(&self, layer: &Digest) -> Option<Vec<(Meta, Facts)>> {
        let path = self.path(layer);
        let file = File::open(&path).ok()?;
        // So that what is used is kept. It does not matter if it fails.
        let _ = file.set_modified(SystemTime::now());
        read(file).ok()
    }

    /// Begins to keep what a layer holds.
    pub(super) fn keep(&self) -> Option<Keeper> {
        fs::create_dir_all(&self.folder).ok()?;
        let file = tempfile::NamedTempFile::new_in(&self.folder).ok()?;
        let mut encoder = zstd::Encoder::new(BufWriter::new(file), 1).ok()?;
        encoder.include_checksum(true).ok()?;
        let mut keeper = Keeper { out: encoder, entries: 0 };
        keeper.out.write_all(MARK.as_bytes()).ok()?;
        Some(keeper)
    }

    /// Keeps what was begun, under the layer's digest. That it may fail (a full disk) is nobody's loss.
    pub(super) fn kept(&self, keeper: Keeper, layer: &Digest) {
        let Ok(file) = keeper.end() else { return };
        if file.persist(self.path(layer)).is_ok() {
            self.prune();
        }
    }

    /// Removes what was used least recently, where all is too much.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut total = files.iter().map(|(_, size, _)| *size).fold(0, u64::saturating_add);
        for (_, size, path) in files {
            if total <= MOST_KEPT {
                return;
            }
            if fs::remove_file(path).is_ok() {
                total -= size;
            }
        }
    }
}

/// A layer that is being kept.
pub(super) struct Keeper {
    out: zstd::Encoder<'static, BufWriter<tempfile::NamedTempFile>>,
    entries: u64,
}

const END: u8 = 255;

impl Keeper {
    /// Keeps an entry.
    pub(super) fn add(&mut self, meta: &Meta, facts: &Facts) -> io::Result<()> {
        self.entries += 1;
        let (kind, target): (u8, &[u8]) = match &meta.kind {
            Kind::File => (0, b""),
            Kind::Folder => (1, b""),
            Kind::Symlink(target) => (2, target),
            Kind::HardLink(target) => (3, target),
            Kind::Fifo => (4, b""),
            Kind::Device { .. } => (5, b""),
            Kind::Ignored => (6, b""),
        };
        self.out.write_all(&[kind])?;
        self.piece(&meta.path)?;
        self.piece(target)?;
        for number in [meta.mode, meta.uid, meta.gid] {
            self.out.write_all(&number.to_le_bytes())?;
        }
        self.out.write_all(&meta.size.to_le_bytes())?;
        self.out.write_all(&[u8::from(facts.has_capabilities)])?;
        match &facts.executable {
            None => self.out.write_all(&[0])?,
            Some(executable) => {
                let (how, piece) = match &executable.elf {
                    None => (1, Vec::new()),
                    Some(Ok(identity)) => (2, identity.to_stored()),
                    Some(Err(problem)) => (3, problem.as_bytes().to_vec()),
                };
                self.out.write_all(&[how])?;
                self.piece(&executable.head)?;
                self.piece(&piece)?;
            }
        }
        match &facts.content {
            None => self.out.write_all(&[0]),
            Some(content) => {
                self.out.write_all(&[1])?;
                self.piece(content)
            }
        }
    }

    fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).ok().filter(|len| *len <= MOST_PIECE);
        let len = len.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(bytes)
    }

    fn end(mut self) -> io::Result<tempfile::NamedTempFile> {
        self.out.write_all(&[END])?;
        self.out.write_all(&self.entries.to_le_bytes())?;
        self.out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

fn damaged() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn read(file: File) -> io::Result<Vec<(Meta, Facts)>> {
    let mut from = BufReader::with_capacity(1 << 16, zstd::Decoder::new(file)?);
    let mut mark = vec![0; MARK.len()];
    from.read_exact(&mut mark)?;
    if mark != MARK.as_bytes() {
        return Err(damaged());
    }
    let mut entries = Vec::new();
    loop {
        let kind = byte(&mut from)?;
        if kind == END {
            let mut count = [0; 8];
            from.read_exact(&mut count)?;
            // To the end, where the sum is.
            let is_whole = u64::from_le_bytes(count) == entries.len() as u64 && from.read(&mut [0])? == 0;
            return if is_whole { Ok(entries) } else { Err(damaged()) };
        }
        if entries.len() as u64 >= MOST_ENTRIES {
            return Err(damaged());
        }
        entries.push(entry(kind, &mut from)?);
    }
}

fn entry(kind: u8, from: &mut impl Read) -> io::Result<(Meta, Facts)> {
    let path = piece(from)?;
    let target = piece(from)?;
    let (mode, uid, gid) = (number(from)?, number(from)?, number(from)?);
    let mut size = [0; 8];
    from.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    let has_capabilities = byte(from)? != 0;
    let kind = match kind {
        0 => Kind::File,
        1 => Kind::Folder,
        2 => Kind::Symlink(target),
        3 => Kind::HardLink(target),
        4 => Kind::Fifo,
        5 => Kind::Device { is_block: false, major: 0, minor: 0 },
        6 => Kind::Ignored,
        _ => return Err(damaged()),
    };
    let executable = match byte(from)? {
        0 => None,
        how @ 1..=3 => {
            let head = piece(from)?;
            let said = piece(from)?;
            let elf = match how {
                1 => None,
                2 => Some(Ok(Arc::new(Identity::from_stored(&said).ok_or_else(damaged)?))),
                _ => Some(Err(String::from_utf8_lossy(&said).into_owned())),
            };
            Some(Box::new(Executable { head, elf }))
        }
        _ => return Err(damaged()),
    };
    let content = match byte(from)? {
        0 => None,
        1 => Some(piece(from)?.into_boxed_slice()),
        _ => return Err(damaged()),
    };
    let facts =
        Facts { is_file: kind == Kind::File, mode, uid, gid, size, has_capabilities, executable, content };
    let meta = Meta {
        path,
        kind,
        mode,
        uid,
        gid,
        time: Time::default(),
        attributes: Vec::new(),
        size,
        sparse: None,
        has_holes: false,
    };
    Ok((meta, facts))
}

fn byte(from: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn number(from: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn piece(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let len = number(from)?;
    if len > MOST_PIECE {
        return Err(damaged());
    }
    let mut bytes = Vec::new();
    from.take(len.into()).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == u64::from(len) { Ok(bytes) } else { Err(damaged()) }
}
