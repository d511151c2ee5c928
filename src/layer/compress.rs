//! Compressing on all cores, into bytes that do not depend on how many there are.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use libdeflater::CompressionLvl;

use super::ahead::decompressed_ahead;
use super::{Compression, DigestWriter, LayerError, Written};

/// How much each piece of a gzip stream holds, in bytes. It decides the output, and may never depend on the machine.
const PIECE: usize = 1 << 20;
/// The most threads: more would need more memory than they are worth.
const MOST_THREADS: usize = 4;
/// How much a zstd worker takes at a time, in bytes; with the worker's count it decides the memory. It decides the
/// output too.
const ZSTD_JOB: u32 = 2 << 20;

/// Compresses what is written to it, and digests it before and after.
///
/// The same bytes at the same level give the same output, whatever the machine and the sizes of the writes.
/// [`finish`](Self::finish) must be called, or the output is cut short.
#[derive(Debug)]
pub struct Compressor<W: Write> {
    encoder: DigestWriter<Encoder<W>>,
    compression: Compression,
}

enum Encoder<W: Write> {
    /// What goes in is what comes out, and is digested already.
    None(W),
    Gzip(Box<Gzip<DigestWriter<W>>>),
    Zstd(zstd::Encoder<'static, DigestWriter<W>>),
}

impl<W: Write> std::fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None(_) => "None",
            Self::Gzip(_) => "Gzip",
            Self::Zstd(_) => "Zstd",
        })
    }
}

impl<W: Write> Compressor<W> {
    /// Writes to `out`. `level` is 0 to 9 for gzip and 1 to 22 for zstd; without one it is 6 and 3.
    ///
    /// # Errors
    /// [`LayerError::Level`], and [`LayerError::Write`] where the compressor cannot be had.
    pub fn new(out: W, compression: Compression, level: Option<u32>) -> Result<Self, LayerError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads(out, compression, level, threads)
    }

    /// The same on so many threads.
    ///
    /// # Errors
    /// As [`Compressor::new`].
    pub fn with_threads(
        out: W,
        compression: Compression,
        level: Option<u32>,
        threads: usize,
    ) -> Result<Self, LayerError> {
        let failed = |source| LayerError::Write { path: String::new(), source };
        let threads = threads.clamp(1, MOST_THREADS);
        let level = |default, range: std::ops::RangeInclusive<u32>| match level {
            None => Ok(default),
            Some(level) if range.contains(&level) => Ok(level),
            Some(level) => Err(LayerError::Level { level, least: *range.start(), most: *range.end() }),
        };
        let encoder = match compression {
            Compression::None => Encoder::None(out),
            Compression::Gzip => {
                let out = DigestWriter::new(out);
                Encoder::Gzip(Box::new(Gzip::new(out, level(6, 0..=9)?, threads).map_err(failed)?))
            }
            Compression::Zstd => {
                let level = level(3, 1..=22)?;
                let mut encoder =
                    zstd::Encoder::new(DigestWriter::new(out), level.cast_signed()).map_err(failed)?;
                // Even a single core gets a worker: without any the output would be another one.
                encoder.multithread(threads as u32).map_err(failed)?;
                if level <= 15 {
                    let size = zstd::zstd_safe::CParameter::JobSize(ZSTD_JOB);
                    encoder.set_parameter(size).map_err(failed)?;
                }
                encoder.include_checksum(true).map_err(failed)?;
                Encoder::Zstd(encoder)
            }
        };
        Ok(Self { encoder: DigestWriter::new(encoder), compression })
    }

    /// Ends the stream and gives the writer beneath back.
    ///
    /// # Errors
    /// [`LayerError::Write`].
    pub fn finish(self) -> Result<(W, Written), LayerError> {
        let failed = |source| LayerError::Write { path: String::new(), source };
        let (encoder, diff_id, plain_size) = self.encoder.finish();
        let out = match encoder {
            Encoder::None(out) => {
                let compression = Compression::None;
                return Ok((
                    out,
                    Written { diff_id, plain_size, digest: diff_id, size: plain_size, compression },
                ));
            }
            Encoder::Gzip(gzip) => gzip.finish().map_err(failed)?,
            Encoder::Zstd(encoder) => encoder.finish().map_err(failed)?,
        };
        let (out, digest, size) = out.finish();
        Ok((out, Written { diff_id, plain_size, digest, size, compression: self.compression }))
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.encoder.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(buffer),
            Self::Gzip(gzip) => gzip.write(buffer),
            Self::Zstd(encoder) => encoder.write(buffer),
        }
    }

    /// Compressors are not flushed: that would change their output.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(out) => out.flush(),
            Self::Gzip(_) | Self::Zstd(_) => Ok(()),
        }
    }
}

/// Copies a layer, compressed in any way or not at all, to `out` in another compression.
///
/// # Errors
/// [`LayerError::Read`] where the layer is damaged, and those of [`Compressor`].
pub fn recompress(
    layer: impl Read + Send,
    compression: Compression,
    level: Option<u32>,
    out: impl Write,
) -> Result<Written, LayerError> {
    let mut compressor = Compressor::new(out, compression, level)?;
    decompressed_ahead(layer, |mut plain| {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = match plain.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(LayerError::Read { source }),
            };
            compressor
                .write_all(&buffer[..count])
                .map_err(|source| LayerError::Write { path: String::new(), source })?;
        }
    })?;
    compressor.finish().map(|(_, written)| written)
}

/// A gzip stream of many members, compressed on several threads.
///
/// Each member holds [`PIECE`] bytes. Readers take members for one stream (RFC 1952, section 2.2); eStargz images rest on
/// the same. libdeflate makes whole members only, and is three times as fast as zlib at the same size.
struct Gzip<W: Write> {
    out: W,
    workers: Vec<Worker>,
    /// Jobs given out and taken back. Both go around the workers, so that pieces come in order.
    given: usize,
    taken: usize,
    piece: Vec<u8>,
}

struct Worker {
    jobs: SyncSender<Vec<u8>>,
    results: Receiver<io::Result<Vec<u8>>>,
    thread: JoinHandle<()>,
}

/// How many jobs wait for each worker, so that none waits for the next one.
const WAITING: usize = 2;

impl Worker {
    fn start(level: CompressionLvl) -> io::Result<Self> {
        let (jobs, receiver) = sync_channel::<Vec<u8>>(WAITING);
        let (sender, results) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("gzip".into()).spawn(move || {
            let mut compressor = libdeflater::Compressor::new(level);
            for piece in receiver {
                if sender.send(member(&mut compressor, &piece)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, results, thread })
    }
}

/// `piece` as a member, with neither a name nor a time.
fn member(compressor: &mut libdeflater::Compressor, piece: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = vec![0; compressor.gzip_compress_bound(piece.len())];
    let size = compressor.gzip_compress(piece, &mut out).map_err(io::Error::other)?;
    out.truncate(size);
    Ok(out)
}

impl<W: Write> Gzip<W> {
    fn new(out: W, level: u32, threads: usize) -> io::Result<Self> {
        let level = CompressionLvl::new(level.cast_signed())
            .map_err(|_| io::Error::other(format!("libdeflate has no level {level}")))?;
        let workers = (0..threads).map(|_| Worker::start(level)).collect::<io::Result<_>>()?;
        Ok(Self { out, workers, given: 0, taken: 0, piece: Vec::with_capacity(PIECE) })
    }

    fn take(&mut self) -> io::Result<()> {
        let worker = &self.workers[self.taken % self.workers.len()];
        let gone = || io::Error::other("a compressing thread ended early");
        let bytes = worker.results.recv().map_err(|_| gone())??;
        self.taken += 1;
        self.out.write_all(&bytes)
    }

    fn give(&mut self) -> io::Result<()> {
        if self.given - self.taken >= self.workers.len() * WAITING {
            self.take()?;
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let worker = &self.workers[self.given % self.workers.len()];
        worker.jobs.send(piece).map_err(|_| io::Error::other("a compressing thread ended early"))?;
        self.given += 1;
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        // A stream has at least one member.
        if !self.piece.is_empty() || self.given == 0 {
            self.give()?;
        }
        while self.taken < self.given {
            self.take()?;
        }
        self.out.flush()?;
        for Worker { jobs, results, thread } in self.workers {
            drop((jobs, results));
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        Ok(self.out)
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = buffer.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&buffer[..count]);
        if self.piece.len() == PIECE {
            self.give()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
