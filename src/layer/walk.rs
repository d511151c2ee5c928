//! Going through a layer's entries, whatever it is and however it ends.

use std::io::{self, Read};

use super::digest::Hasher;
use super::entry::Meta;
use super::header::{BLOCK, Block, Extensions, damaged};
use super::metered::{Meter, Metered};
use super::{Digest, LayerError, Limits, decompressed};

/// What all layers of one image have in common while they are read.
#[derive(Debug)]
pub(super) struct Walk {
    limits: Limits,
    meter: Meter,
    entries: u64,
}

impl Walk {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, meter: Meter::new(limits.bytes), entries: 0 }
    }

    /// Why reading failed.
    pub(super) fn read_error(&self, source: io::Error) -> LayerError {
        if self.meter.is_spent() {
            LayerError::Limit { what: "bytes", limit: self.limits.bytes }
        } else {
            LayerError::Read { source }
        }
    }

    /// Calls `each` with every entry of `layer` and a reader of its content, as it is stored.
    pub(super) fn layer(
        &mut self,
        layer: impl Read,
        expected: Option<&Digest>,
        stop: &dyn Fn() -> bool,
        each: &mut dyn FnMut(&Self, Meta, &mut dyn Read) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        let plain = decompressed(layer).map_err(|err| self.read_error(err))?;
        self.plain(plain, expected, stop, each)
    }

    /// The same for a layer that is not compressed.
    pub(super) fn plain(
        &mut self,
        plain: impl Read,
        expected: Option<&Digest>,
        stop: &dyn Fn() -> bool,
        each: &mut dyn FnMut(&Self, Meta, &mut dyn Read) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        let metered = Metered { inner: plain, meter: self.meter.clone() };
        let mut source = Source { inner: metered, hash: expected.map(|_| Hasher::default()) };
        self.meter.expect_content();
        let mut extensions = Extensions::default();
        while let Some(block) = next_block(&mut source).map_err(|err| self.read_error(err))? {
            if stop() {
                return Err(LayerError::Stopped);
            }
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(LayerError::Limit { what: "entries", limit: self.limits.entries });
            }
            let kind = block.kind();
            let is_extension = matches!(kind, b'x' | b'L' | b'K');
            let size = (|| match extensions.number("size")? {
                Some(size) if !is_extension => Ok(size),
                _ => u64::try_from(block.number(124, 12, "size")?)
                    .map_err(|_| damaged("a tar header's size is below zero")),
            })();
            let size = size.map_err(|err| self.read_error(err))?;
            // Links, devices and folders have no content, whatever their headers say: so does Go's reader have it, for
            // which most layers are made.
            let size = if matches!(kind, b'1'..=b'6') { 0 } else { size };
            if is_extension {
                let content = extension(&mut source, size).map_err(|err| self.read_error(err))?;
                extensions.add(kind, content).map_err(|err| self.read_error(err))?;
                continue;
            }
            if kind == b'g' {
                // It says nothing of this entry in particular, and what it may say is not heeded.
                skip(&mut source, size).map_err(|err| self.read_error(err))?;
                continue;
            }
            // A sparse file's map of the old format stands before the content and is no part of it.
            let mut content = Content { source: &mut source, left: size, map: kind == b'S' };
            let meta = Meta::of(&block, &extensions, size, &mut content).map_err(|err| match err {
                LayerError::Read { source } => self.read_error(source),
                other => other,
            })?;
            content.map = false;
            each(self, meta, &mut content)?;
            // What is left of it is skipped here.
            let left = content.left;
            skip(&mut source, left + padding(size)).map_err(|err| self.read_error(err))?;
            extensions = Extensions::default();
        }
        if !extensions.is_empty() {
            let source = damaged("the layer ends in records of an entry that does not follow");
            return Err(LayerError::Read { source });
        }
        // The digest covers what follows the end mark too.
        io::copy(&mut source, &mut io::sink()).map_err(|err| self.read_error(err))?;
        match (expected, source.hash) {
            (Some(expected), Some(hash)) => {
                let found = hash.finish();
                if *expected == found {
                    Ok(())
                } else {
                    Err(LayerError::DiffId { expected: *expected, found })
                }
            }
            _ => Ok(()),
        }
    }
}

/// How much an entry's names and pax records may take, in bytes; they are kept in memory.
const RECORDS: u64 = 1 << 20;

/// The next header; `None` at the end, which is a block of zeros or nothing.
fn next_block(source: &mut impl Read) -> io::Result<Option<Block>> {
    let mut block = Block([0; BLOCK]);
    let mut count = 0;
    while count < BLOCK {
        match source.read(&mut block.0[count..]) {
            Ok(0) if count == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(more) => count += more,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    if block.0.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    block.check()?;
    Ok(Some(block))
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn extension(source: &mut impl Read, size: u64) -> io::Result<Vec<u8>> {
    if size > RECORDS {
        return Err(damaged("an entry's extension records are larger than 1 MiB"));
    }
    let mut content = vec![0; size as usize];
    source.read_exact(&mut content)?;
    skip(source, padding(size))?;
    Ok(content)
}

fn skip(source: &mut impl Read, len: u64) -> io::Result<()> {
    match io::copy(&mut source.take(len), &mut io::sink())? {
        count if count == len => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// An entry's content, as it is stored.
struct Content<'a, R> {
    source: &'a mut R,
    left: u64,
    /// Whether what is read does not count.
    map: bool,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.map {
            return self.source.read(buffer);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.source.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// The tar stream, digested where that is asked for.
struct Source<R> {
    inner: R,
    hash: Option<Hasher>,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(hash) = &mut self.hash {
            hash.update(&buffer[..count]);
        }
        Ok(count)
    }
}
