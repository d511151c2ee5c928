//! Keeps a hostile stream from making its reader take memory or time without end.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

/// How many bytes headers and extension records of one entry may take.
const RECORDS: u64 = 1 << 20;

/// What a [`Metered`] reader still allows.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    /// For the entry's headers and extension records; unlimited while content is read.
    records: Rc<Cell<u64>>,
    /// For all of the image.
    total: Rc<Cell<u64>>,
}

impl Meter {
    /// Allows `total` bytes.
    pub(crate) fn new(total: u64) -> Self {
        Self { records: Rc::new(Cell::new(RECORDS)), total: Rc::new(Cell::new(total)) }
    }

    /// Headers follow: the tar reader keeps extension records in memory, whatever size they claim.
    pub(crate) fn expect_records(&self) {
        self.records.set(RECORDS);
    }

    /// Content follows, which is not kept.
    pub(crate) fn expect_content(&self) {
        self.records.set(u64::MAX);
    }

    /// Whether everything that is allowed was read.
    pub(crate) fn is_spent(&self) -> bool {
        self.total.get() == 0
    }
}

/// Reads as much as its [`Meter`] allows.
#[derive(Debug)]
pub(crate) struct Metered<R> {
    pub(crate) inner: R,
    pub(crate) meter: Meter,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Meter { records, total } = &self.meter;
        let allowed = records.get().min(total.get());
        if allowed == 0 && !buffer.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an entry's extension records are too large",
            ));
        }
        let length = usize::try_from(allowed).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..length])?;
        if records.get() != u64::MAX {
            records.set(records.get() - count as u64);
        }
        total.set(total.get() - count as u64);
        Ok(count)
    }
}

impl<R: Seek> Seek for Metered<R> {
    /// What is passed over is not read, and counts for nothing.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
