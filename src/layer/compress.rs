//! Compressing on all cores, into bytes that do not depend on how many there are.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use flate2::{Compress, Crc, FlushCompress, Status};

use super::ahead::decompressed_ahead;
use super::{Compression, DigestWriter, LayerError, Written};

/// How much each piece of a gzip stream holds, in bytes. It decides the output, and may never depend on the machine.
const PIECE: usize = 512 << 10;
/// How far back a piece may refer into the one before it: deflate's window.
const WINDOW: usize = 32 << 10;
/// The most threads: more would need more memory than they are worth.
const MOST_THREADS: usize = 4;
/// How much a zstd worker takes at a time, in bytes; with the worker's count it decides the memory. It decides the
/// output too.
const ZSTD_JOB: u32 = 4 << 20;

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
    None(DigestWriter<W>),
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
        let out = DigestWriter::new(out);
        let level = |default, range: std::ops::RangeInclusive<u32>| match level {
            None => Ok(default),
            Some(level) if range.contains(&level) => Ok(level),
            Some(level) => Err(LayerError::Level { level, least: *range.start(), most: *range.end() }),
        };
        let encoder = match compression {
            Compression::None => Encoder::None(out),
            Compression::Gzip => {
                Encoder::Gzip(Box::new(Gzip::new(out, level(6, 0..=9)?, threads).map_err(failed)?))
            }
            Compression::Zstd => {
                let level = level(3, 1..=22)?;
                let mut encoder = zstd::Encoder::new(out, level.cast_signed()).map_err(failed)?;
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
            Encoder::None(out) => out,
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

/// What a worker gets: what came before the piece, and the piece.
struct Job {
    /// The end of the piece before, which this one may refer to.
    before: Vec<u8>,
    piece: Vec<u8>,
    is_last: bool,
}

/// One gzip member, its pieces compressed on several threads as pigz does it: each ends at a byte's edge.
///
/// Source: RFC 1951 and 1952.
struct Gzip<W: Write> {
    out: W,
    workers: Vec<Worker>,
    /// Jobs given out and taken back. Both go around the workers, so that pieces come in order.
    given: usize,
    taken: usize,
    piece: Vec<u8>,
    before: Vec<u8>,
    crc: Crc,
}

struct Worker {
    jobs: SyncSender<Job>,
    results: Receiver<io::Result<Vec<u8>>>,
    thread: JoinHandle<()>,
}

/// How many jobs wait for each worker, so that none waits for the next one.
const WAITING: usize = 2;

impl Worker {
    fn start(level: u32) -> io::Result<Self> {
        let (jobs, receiver) = sync_channel::<Job>(WAITING);
        let (sender, results) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("gzip".into()).spawn(move || {
            let mut deflate = Compress::new(flate2::Compression::new(level), false);
            for job in receiver {
                if sender.send(deflated(&mut deflate, &job)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, results, thread })
    }
}

fn deflated(deflate: &mut Compress, job: &Job) -> io::Result<Vec<u8>> {
    deflate.reset();
    if !job.before.is_empty() {
        deflate.set_dictionary(&job.before)?;
    }
    let flush = if job.is_last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut out = Vec::with_capacity(job.piece.len() / 2 + 1024);
    loop {
        let from = deflate.total_in() as usize;
        let status = deflate.compress_vec(job.piece.get(from..).unwrap_or_default(), &mut out, flush)?;
        // A flush is complete once room was left over.
        let is_done = if job.is_last { status == Status::StreamEnd } else { out.len() < out.capacity() };
        if is_done && deflate.total_in() as usize == job.piece.len() {
            return Ok(out);
        }
        out.reserve(64 << 10);
    }
}

impl<W: Write> Gzip<W> {
    fn new(mut out: W, level: u32, threads: usize) -> io::Result<Self> {
        // Neither a name nor a time; as zlib does, the byte for the level at its ends; the system is not told.
        let extra = match level {
            9 => 2,
            0 | 1 => 4,
            _ => 0,
        };
        out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extra, 255])?;
        let workers = (0..threads).map(|_| Worker::start(level)).collect::<io::Result<_>>()?;
        Ok(Self {
            out,
            workers,
            given: 0,
            taken: 0,
            piece: Vec::with_capacity(PIECE),
            before: Vec::new(),
            crc: Crc::new(),
        })
    }

    fn take(&mut self) -> io::Result<()> {
        let worker = &self.workers[self.taken % self.workers.len()];
        let gone = || io::Error::other("a compressing thread ended early");
        let bytes = worker.results.recv().map_err(|_| gone())??;
        self.taken += 1;
        self.out.write_all(&bytes)
    }

    fn give(&mut self, is_last: bool) -> io::Result<()> {
        if self.given - self.taken >= self.workers.len() * WAITING {
            self.take()?;
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(if is_last { 0 } else { PIECE }));
        let before = piece[piece.len().saturating_sub(WINDOW)..].to_vec();
        let job = Job { before: std::mem::replace(&mut self.before, before), piece, is_last };
        let worker = &self.workers[self.given % self.workers.len()];
        worker.jobs.send(job).map_err(|_| io::Error::other("a compressing thread ended early"))?;
        self.given += 1;
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        self.give(true)?;
        while self.taken < self.given {
            self.take()?;
        }
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        // The length is stored modulo 2^32.
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
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
        // A full piece waits for the next byte: only then is it known not to be the last.
        if self.piece.len() == PIECE {
            self.give(false)?;
        }
        let count = buffer.len().min(PIECE - self.piece.len());
        self.crc.update(&buffer[..count]);
        self.piece.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
