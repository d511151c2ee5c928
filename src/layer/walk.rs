//! Going through a layer's entries, whatever it is and however it ends.

use std::io::{self, Read};

use super::digest::Hasher;
use super::entry::Meta;
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
        let metered = Metered { inner: plain, meter: self.meter.clone() };
        let mut source = Source { inner: metered, hash: expected.map(|_| Hasher::default()) };
        {
            let mut archive = tar::Archive::new(&mut source);
            self.meter.expect_records();
            for entry in archive.entries().map_err(|err| self.read_error(err))? {
                let mut entry = entry.map_err(|err| self.read_error(err))?;
                if stop() {
                    return Err(LayerError::Stopped);
                }
                self.entries += 1;
                if self.entries > self.limits.entries {
                    return Err(LayerError::Limit { what: "entries", limit: self.limits.entries });
                }
                self.meter.expect_content();
                let meta = Meta::of(&mut entry).map_err(|err| match err {
                    LayerError::Read { source } => self.read_error(source),
                    other => other,
                })?;
                each(self, meta, &mut entry)?;
                // What is left of it is skipped here, as content.
                io::copy(&mut entry, &mut io::sink()).map_err(|err| self.read_error(err))?;
                self.meter.expect_records();
            }
        }
        // The digest covers what follows the end mark too.
        self.meter.expect_content();
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
