//! Bounded reading at offsets, from a file or from memory.
//!
//! Files are read with `pread` and never mapped: a file that is cut short while it is read must give
//! a message, not a SIGBUS. What was read last is kept in blocks, so that the many small reads that an
//! ELF file needs cost few system calls.

use std::borrow::Cow;
use std::io;
use std::os::fd::BorrowedFd;

/// Bytes of a block; most programs have all their headers, notes and their interpreter in the first.
const BLOCK: usize = 4096;
/// Blocks kept, 64 KiB in all.
const BLOCKS: usize = 16;
/// What is read in one go at the most, whatever the file says.
pub(super) const LIMIT: u64 = 32 << 20;

/// Reads at offsets from the start of an ELF file, which may itself be a part of another file.
#[derive(Debug)]
pub struct Reader<'a> {
    from: From<'a>,
    len: u64,
}

#[derive(Debug)]
enum From<'a> {
    Memory(&'a [u8]),
    File { fd: BorrowedFd<'a>, base: u64, blocks: &'a mut Blocks },
}

/// The blocks read last. One is made for a thread and used for all of its files.
#[derive(Debug)]
pub struct Blocks {
    bytes: Vec<u8>,
    /// Which block of the file is where, and how many of its bytes are there.
    held: [Option<(u64, usize)>; BLOCKS],
}

impl Default for Blocks {
    fn default() -> Self {
        Self { bytes: vec![0; BLOCK * BLOCKS], held: [None; BLOCKS] }
    }
}

/// Why bytes that a file speaks of cannot be had.
#[derive(Debug)]
pub(super) enum ReadError {
    /// They lie beyond the file's end.
    Beyond,
    /// More than anything real holds.
    TooLarge,
    /// The operating system's answer.
    Io(io::Error),
}

impl<'a> Reader<'a> {
    /// Reads an ELF file that is in memory.
    pub fn memory(bytes: &'a [u8]) -> Self {
        Self { from: From::Memory(bytes), len: bytes.len() as u64 }
    }

    /// Reads the ELF file that lies in `fd` at `base`, `len` bytes long.
    pub fn file(fd: BorrowedFd<'a>, base: u64, len: u64, blocks: &'a mut Blocks) -> Self {
        blocks.held = [None; BLOCKS];
        Self { from: From::File { fd, base, blocks }, len }
    }

    /// As [`Reader::file`], where the file's `first` bytes have been read already.
    pub fn file_begun(fd: BorrowedFd<'a>, len: u64, first: &[u8], blocks: &'a mut Blocks) -> Self {
        blocks.held = [None; BLOCKS];
        if first.len() == BLOCK || first.len() as u64 == len {
            let count = first.len().min(BLOCK);
            blocks.bytes[..count].copy_from_slice(&first[..count]);
            blocks.held[0] = Some((0, count));
        }
        Self { from: From::File { fd, base: 0, blocks }, len }
    }

    /// The file's length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first bytes, `most` of them where there are as many.
    ///
    /// # Errors
    /// Where the operating system cannot read them.
    pub(crate) fn head(&mut self, most: usize) -> io::Result<Vec<u8>> {
        match self.bytes(0, self.len.min(most as u64)) {
            Ok(bytes) => Ok(bytes.into_owned()),
            Err(ReadError::Io(err)) => Err(err),
            // The file was cut short meanwhile.
            Err(ReadError::Beyond | ReadError::TooLarge) => Ok(Vec::new()),
        }
    }

    /// The `len` bytes at `offset`.
    pub(super) fn bytes(&mut self, offset: u64, len: u64) -> Result<Cow<'_, [u8]>, ReadError> {
        let end = offset.checked_add(len).ok_or(ReadError::Beyond)?;
        if end > self.len {
            return Err(ReadError::Beyond);
        }
        if len > LIMIT {
            return Err(ReadError::TooLarge);
        }
        let count = usize::try_from(len).map_err(|_| ReadError::TooLarge)?;
        match &mut self.from {
            From::Memory(bytes) => {
                let start = usize::try_from(offset).map_err(|_| ReadError::Beyond)?;
                Ok(Cow::Borrowed(&bytes[start..start + count]))
            }
            From::File { fd, base, blocks } => {
                let start = offset % BLOCK as u64;
                let block = offset / BLOCK as u64;
                if start + len <= BLOCK as u64 {
                    let held = blocks.get(*fd, *base, block)?;
                    let start = start as usize;
                    return held.get(start..start + count).map(Cow::Borrowed).ok_or(ReadError::Beyond);
                }
                let mut bytes = vec![0; count];
                let at = base.checked_add(offset).ok_or(ReadError::Beyond)?;
                if read_full(*fd, at, &mut bytes).map_err(ReadError::Io)? < count {
                    return Err(ReadError::Beyond);
                }
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// The bytes at `offset` up to a NUL, which must come within `most` bytes.
    pub(super) fn string(&mut self, offset: u64, most: u64) -> Result<Vec<u8>, ReadError> {
        let mut text = Vec::new();
        loop {
            let at = offset.checked_add(text.len() as u64).ok_or(ReadError::Beyond)?;
            if at >= self.len {
                return Err(ReadError::Beyond);
            }
            if text.len() as u64 >= most {
                return Err(ReadError::TooLarge);
            }
            // Up to the end of the block, so that the blocks serve.
            let step = (BLOCK as u64 - at % BLOCK as u64).min(self.len - at).min(most - text.len() as u64);
            let piece = self.bytes(at, step)?;
            if let Some(end) = memchr::memchr(0, &piece) {
                text.extend_from_slice(&piece[..end]);
                return Ok(text);
            }
            text.extend_from_slice(&piece);
        }
    }
}

impl Blocks {
    fn get(&mut self, fd: BorrowedFd<'_>, base: u64, block: u64) -> Result<&[u8], ReadError> {
        let slot = (block % BLOCKS as u64) as usize;
        let room = slot * BLOCK..(slot + 1) * BLOCK;
        let count = match self.held[slot] {
            Some((held, count)) if held == block => count,
            _ => {
                self.held[slot] = None;
                let at = block.checked_mul(BLOCK as u64).and_then(|at| at.checked_add(base));
                let at = at.ok_or(ReadError::Beyond)?;
                let count = read_full(fd, at, &mut self.bytes[room.clone()]).map_err(ReadError::Io)?;
                self.held[slot] = Some((block, count));
                count
            }
        };
        Ok(&self.bytes[room][..count])
    }
}

/// Reads until `buffer` is full or the file ends; gives the count.
fn read_full(fd: BorrowedFd<'_>, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match rustix::io::pread(fd, &mut buffer[count..], offset + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(count)
}
