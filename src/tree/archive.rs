//! Tar streams: plain, gzip, zstd and xz.
//!
//! Decompression runs on a thread of its own beside the reading. Only ELF members are kept while they are read, in
//! memory up to [`KEPT`] bytes and in an unnamed temporary file beyond. In a plain file nothing is kept:
//! members are read where they stand, and the rest is skipped.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tar::EntryType;

use super::content::{beneath, content};
use super::metered::{Meter, Metered};
use super::sparse::Sparse;
use super::{Content, Record};
use crate::elf::{Blocks, Reader};
use crate::gzip::GzipReader;

/// Bytes of a tar block.
pub(super) const BLOCK: usize = 512;
/// The largest member that is kept in memory, in bytes.
const KEPT: u64 = 8 << 20;
/// The largest member that is read at all, in bytes: a sparse one of a few bytes can claim any size.
const MOST_SPILLED: u64 = 4 << 30;
/// Bytes that go from the decompressing thread in one piece, and pieces that wait.
const PIECE: usize = 1 << 18;
const PIECES: usize = 8;
/// The most members of one archive, so that a stream without an end has one.
const MOST_MEMBERS: usize = 20_000_000;
/// The longest window that a zstd stream may ask for, as a power of two: 128 MiB is what `zstd -d` allows, and
/// 8 MiB what the standard has every decoder support. 32 MiB leaves room within 64 MiB for all else.
const ZSTD_WINDOW_LOG: u32 = 25;
/// What an xz stream may ask for, in KiB: `xz -6`, the default, needs 8 MiB.
const XZ_KIB: u32 = 40 << 10;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
    Xz,
}

impl Compression {
    /// By the first bytes; `None` where they are of none of the compressed forms.
    pub(super) fn of(first: &[u8]) -> Option<Self> {
        match first {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            _ => None,
        }
    }

    fn reader<'a>(self, from: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
        let from = BufReader::with_capacity(1 << 16, from);
        Ok(match self {
            Self::None => Box::new(from),
            Self::Gzip => Box::new(GzipReader::new(from)),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(from)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(from, true, XZ_KIB)),
        })
    }
}

/// Whether a block is a tar header: its checksum says so, for the oldest tars have no other mark.
///
/// Source: POSIX `pax`, "ustar Interchange Format": the sum of all bytes, with the field itself as spaces.
pub fn is_tar_header(block: &[u8]) -> bool {
    if block.len() < BLOCK || block[0] == 0 {
        return false;
    }
    let field = String::from_utf8_lossy(&block[148..156]);
    let Ok(expected) = u32::from_str_radix(field.trim_matches([' ', '\0']), 8) else { return false };
    let sum = |range: std::ops::Range<usize>| block[range].iter().map(|byte| u32::from(*byte)).sum::<u32>();
    sum(0..148) + 8 * u32::from(b' ') + sum(156..BLOCK) == expected
}

/// The programs of a compressed stream, or of one that cannot be sought.
pub(super) fn identify(input: &Path, compression: Compression, from: impl Read + Send) -> Vec<Record> {
    let (sender, receiver) = sync_channel(PIECES);
    std::thread::scope(|scope| {
        let decompressing = scope.spawn(move || {
            let result = compression.reader(from).and_then(|mut from| send(&mut from, &sender));
            if let Err(err) = result {
                // The other side may have given up first.
                let _ = sender.send(Err(err));
            }
        });
        let records = decompressed(input, Pieces { receiver, piece: Vec::new(), at: 0, failure: None });
        // Joined by name: the scope alone would not wait for the thread's last clean-up.
        decompressing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        records
    })
}

fn decompressed(input: &Path, mut pieces: Pieces) -> Vec<Record> {
    let mut first = [0; BLOCK];
    match read_full(&mut pieces, &mut first) {
        Ok(BLOCK) if is_tar_header(&first) => members(input, io::Cursor::new(first).chain(pieces)),
        // An archive of nothing ends in two blocks of zeros.
        Ok(BLOCK) if first == [0; BLOCK] => Vec::new(),
        Ok(_) => vec![Record::error(input, "compressed data that is no tar archive")],
        Err(err) => vec![Record::error(input, format!("the archive cannot be read: {err}"))],
    }
}

fn send(from: &mut impl Read, to: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<()> {
    loop {
        let mut piece = vec![0; PIECE];
        let (count, failure) = fill(from, &mut piece);
        piece.truncate(count);
        if count > 0 && to.send(Ok(piece)).is_err() {
            return Ok(());
        }
        // What came before the damage is of use. A decoder tells of the damage once, so it is passed on here.
        match failure {
            Some(err) => return Err(err),
            None if count == 0 => return Ok(()),
            None => {}
        }
    }
}

/// Reads until `buffer` is full, the stream ends, or it fails.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut count = 0;
    while count < buffer.len() {
        match from.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return (count, Some(err)),
        }
    }
    (count, None)
}

fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    match fill(from, buffer) {
        (count, None) => Ok(count),
        (_, Some(err)) => Err(err),
    }
}

/// The receiving end of the decompressing thread.
struct Pieces {
    receiver: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    /// What the decompression failed with: told again at each further call, for a reader may ask more than once.
    failure: Option<(io::ErrorKind, String)>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            if let Some((kind, message)) = &self.failure {
                return Err(io::Error::new(*kind, message.clone()));
            }
            match self.receiver.recv() {
                Ok(Ok(piece)) => (self.piece, self.at) = (piece, 0),
                Ok(Err(err)) => {
                    self.failure = Some((err.kind(), err.to_string()));
                    return Err(err);
                }
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Records of an archive, as its members come.
struct Members<'a> {
    input: &'a Path,
    records: Vec<Record>,
    /// Where in `records` the program called so is, for hard links to it.
    by_name: HashMap<Vec<u8>, usize>,
    /// Bounds what the tar reader keeps in memory: names and extension records, whatever size they claim.
    meter: Meter,
    /// Whether members are passed over without being read.
    seeks: bool,
}

impl Members<'_> {
    fn add(&mut self, name: &[u8], content: io::Result<Option<Content>>) {
        let name = name.strip_prefix(b"./").unwrap_or(name);
        let content = match content {
            Ok(Some(content)) => content,
            Ok(None) => return,
            Err(err) => Content::Error { message: format!("it cannot be read: {err}") },
        };
        if matches!(content, Content::Elf(_) | Content::Script(_)) {
            self.by_name.insert(name.to_vec(), self.records.len());
        }
        self.records.push(Record { path: beneath(self.input, "!/", name).into(), content });
    }

    /// A hard link is the program that it leads to.
    fn link(&mut self, name: &[u8], to: &[u8]) {
        let to = to.strip_prefix(b"./").unwrap_or(to);
        let content = match self.by_name.get(to).map(|index| &self.records[*index].content) {
            Some(Content::Elf(identity)) => Content::Elf(identity.clone()),
            Some(Content::Script(script)) => Content::Script(script.clone()),
            _ => return,
        };
        self.add(name, Ok(Some(content)));
    }
}

fn is_file(kind: EntryType) -> bool {
    matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse)
}

impl Members<'_> {
    /// Goes through an archive. `read` tells what a member that is a file is; its error is damage that ends the archive.
    fn of<R: Read>(
        input: &Path,
        (meter, seeks): (Meter, bool),
        entries: io::Result<tar::Entries<'_, R>>,
        mut read: impl FnMut(&mut tar::Entry<'_, R>) -> io::Result<io::Result<Option<Content>>>,
    ) -> Vec<Record> {
        let mut found = Members { input, records: Vec::new(), by_name: HashMap::new(), meter, seeks };
        if let Err(err) = found.each(entries, &mut read) {
            found.records.push(Record::error(input, format!("the archive breaks off: {err}")));
        }
        found.records
    }

    fn each<R: Read>(
        &mut self,
        entries: io::Result<tar::Entries<'_, R>>,
        read: &mut impl FnMut(&mut tar::Entry<'_, R>) -> io::Result<io::Result<Option<Content>>>,
    ) -> io::Result<()> {
        for entry in entries?.take(MOST_MEMBERS) {
            let mut entry = entry?;
            let mut name = entry.path_bytes().into_owned();
            match entry.header().entry_type() {
                EntryType::Link => {
                    if let Some(to) = entry.link_name_bytes() {
                        self.link(&name, &to);
                    }
                }
                kind if is_file(kind) => {
                    self.meter.expect_content();
                    let content = match Sparse::of(&mut entry) {
                        Ok(None) => read(&mut entry)?,
                        Ok(Some(mut sparse)) => {
                            name = sparse.name.take().unwrap_or(name);
                            let len = sparse.len;
                            let from = sparse.reader(&mut entry);
                            with_reader(from, Some(len), content).and_then(|content| content)
                        }
                        Err(err) => Err(err),
                    };
                    self.add(&name, content);
                }
                _ => {}
            }
            if !self.seeks {
                // What is left of it is skipped here, as content.
                self.meter.expect_content();
                io::copy(&mut entry, &mut io::sink())?;
            }
            self.meter.expect_records();
        }
        Ok(())
    }
}

/// The programs of a tar stream.
fn members(input: &Path, from: impl Read) -> Vec<Record> {
    let meter = Meter::new(u64::MAX);
    let mut archive = tar::Archive::new(Metered { inner: from, meter: meter.clone() });
    let mut records =
        Members::of(input, (meter.clone(), false), archive.entries(), |entry| Ok(buffered(entry)));
    // What follows the end mark is nothing, but for the stream's own checksum; and whoever writes it must not
    // find the pipe closed.
    meter.expect_content();
    let is_damaged = records.last().is_some_and(|record| record.path == input.as_os_str());
    if let Err(err) = io::copy(&mut archive.into_inner(), &mut io::sink())
        && !is_damaged
    {
        records.push(Record::error(input, format!("the archive is damaged: {err}")));
    }
    records
}

/// The programs of a plain tar file, read where they stand.
pub(super) fn identify_plain(input: &Path, file: &File) -> Vec<Record> {
    let mut blocks = Blocks::default();
    let meter = Meter::new(u64::MAX);
    let mut archive = tar::Archive::new(Metered { inner: file, meter: meter.clone() });
    // Skipping goes past the end without a word, so a member that is cut off is noticed here.
    let total = file.metadata().map_or(u64::MAX, |metadata| metadata.len());
    Members::of(input, (meter, true), archive.entries_with_seek(), |entry| {
        let (start, len) = (entry.raw_file_position(), entry.size());
        if entry.header().entry_type() == EntryType::GNUSparse {
            return Ok(buffered(entry));
        }
        if start.checked_add(len).is_none_or(|end| end > total) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a member is cut short"));
        }
        Ok(content(&mut Reader::file(file.as_fd(), start, len, &mut blocks)))
    })
}

/// What a member is that is read as it comes.
fn buffered(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Option<Content>> {
    let len = entry.size();
    with_reader(entry, Some(len), content).and_then(|content| content)
}

/// Calls `then` with a reader of what `from` gives: of its start only where that is no ELF file.
pub(crate) fn with_reader<T>(
    mut from: impl Read,
    len: Option<u64>,
    then: impl FnOnce(&mut Reader<'_>) -> T,
) -> io::Result<T> {
    let mut kept = vec![0; 4096];
    let count = read_full(&mut from, &mut kept)?;
    kept.truncate(count);
    if kept.starts_with(b"MZ") {
        // The header proper of a PE file stands behind a program for DOS.
        from.by_ref().take(1 << 16).read_to_end(&mut kept)?;
    }
    let is_whole = len == Some(kept.len() as u64);
    // Mach-O headers lie within what was read; of other files nothing more is wanted.
    if !kept.starts_with(b"\x7fELF") || is_whole {
        return Ok(then(&mut Reader::memory(&kept)));
    }
    if len.is_none_or(|len| len <= KEPT) {
        from.by_ref().take(KEPT + 1 - kept.len() as u64).read_to_end(&mut kept)?;
        if kept.len() as u64 <= KEPT {
            check(len, kept.len() as u64)?;
            return Ok(then(&mut Reader::memory(&kept)));
        }
    }
    let mut file = tempfile::tempfile()?;
    file.write_all(&kept)?;
    let begun = kept.len() as u64;
    drop(kept);
    let total = begun + spill(from.take(MOST_SPILLED), &file, begun)?;
    file.set_len(total)?;
    if total > MOST_SPILLED {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the member is larger than 4 GiB"));
    }
    check(len, total)?;
    let mut blocks = Blocks::default();
    Ok(then(&mut Reader::file(file.as_fd(), 0, total, &mut blocks)))
}

/// Copies what is not zero to `to`, from its byte `begin` on, and leaves holes for the rest: a sparse member takes no more
/// room than it did. Gives the count of all bytes.
fn spill(mut from: impl Read, to: &File, begin: u64) -> io::Result<u64> {
    let mut piece = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        let count = read_full(&mut from, &mut piece)?;
        if count == 0 {
            return Ok(total);
        }
        let bytes = &piece[..count];
        if bytes.iter().any(|byte| *byte != 0) {
            to.write_all_at(bytes, begin + total)?;
        }
        total += count as u64;
    }
}

fn check(expected: Option<u64>, found: u64) -> io::Result<()> {
    match expected {
        Some(expected) if expected != found => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{found} of {expected} bytes are there"),
        )),
        _ => Ok(()),
    }
}
