//! Copying layers, several at a time, compressed anew where that is asked for.

use std::io::{self, BufRead as _, BufReader, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use oci_spec::image::{Descriptor, MediaType};

use super::copy::{Copier, key};
use super::model::refuse_foreign;
use super::write::{both, media_type, piped};
use super::{ImageError, descriptor};
use crate::layer::{Compression, Digest, LayerError, recompress};
use crate::progress::Task;

/// How many layers are copied at the same time, at most.
const AT_ONCE: usize = 4;
/// The same where they are compressed anew on one or two cores: one layer uses all of them already, two fill each other's
/// pauses. Where there are more, one is enough, and the memory stays the same.
const COMPRESSED_AT_ONCE: usize = 2;

/// What is to be done to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// It is to be compressed so.
    To { compression: Compression, level: Option<i32> },
}

/// Copies `layers`, which hold what `ids` say where that is known, and gives them as they are at the destination.
pub(super) fn copy_layers(
    work: &Copier<'_>,
    layers: &[Descriptor],
    ids: Option<&[Digest]>,
    change: Change,
) -> Result<Vec<Descriptor>, ImageError> {
    for (at, layer) in layers.iter().enumerate() {
        refuse_foreign(layer, &format!("layer {}", at + 1))?;
    }
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let failure: Mutex<Option<ImageError>> = Mutex::new(None);
    let done: Vec<Mutex<Option<Descriptor>>> = layers.iter().map(|_| Mutex::new(None)).collect();
    let run = || {
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(layer) = layers.get(at) else { return };
            let one = One { work, layer, at, count: layers.len(), stop: &stop };
            match one.copy(ids.and_then(|ids| ids.get(at)), change) {
                Ok(copied) => *done[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(copied),
                Err(err) => {
                    // The others stop because of the first failure, which is the one to tell.
                    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    if !stop.swap(true, Ordering::Relaxed) {
                        *failure = Some(err);
                    }
                }
            }
        }
    };
    let most = match change {
        _ if work.destination.abilities().plain_single => 1,
        Change::None => AT_ONCE,
        Change::To { .. } if thread::available_parallelism().is_ok_and(|cores| cores.get() > 2) => 1,
        Change::To { .. } => COMPRESSED_AT_ONCE,
    };
    let threads = layers.len().min(most);
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
    if let Some(err) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(err);
    }
    let missing = || ImageError::Invalid { part: "manifest".into(), reason: "a layer was not copied".into() };
    done.into_iter()
        .map(|one| one.into_inner().unwrap_or_else(PoisonError::into_inner).ok_or_else(missing))
        .collect()
}

/// One layer to be copied.
struct One<'a> {
    work: &'a Copier<'a>,
    layer: &'a Descriptor,
    /// From 0.
    at: usize,
    count: usize,
    stop: &'a AtomicBool,
}

impl One<'_> {
    fn copy(&self, diff_id: Option<&Digest>, change: Change) -> Result<Descriptor, ImageError> {
        let (Change::To { compression, level }, Some(diff_id)) = (change, diff_id) else {
            return self.as_it_is(self.layer.clone());
        };
        let known = (key(self.layer)?, change);
        let copied = || self.work.copied.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = copied().get(&known) {
            return Ok(layer.clone());
        }
        let layer = self.change(diff_id, compression, level)?;
        copied().insert(known, layer.clone());
        Ok(layer)
    }

    fn failed(&self) -> impl Fn(io::Error) -> ImageError + use<> {
        let part = format!("layer {}", self.at + 1);
        move |source| ImageError::Blob { part: part.clone(), source }
    }

    fn begin(&self) -> Box<dyn Task> {
        let digest: String = self.layer.digest().digest().chars().take(12).collect();
        let label = format!("copying layer {} of {}, {digest}", self.at + 1, self.count);
        self.work.options.progress.begin(&label, Some(self.layer.size()))
    }

    /// The layer's bytes; told as they go by.
    fn read(&self) -> Result<Told<'_>, ImageError> {
        Ok(Told { inner: self.work.source.blob(self.layer)?, task: self.begin(), stop: self.stop })
    }

    fn as_it_is(&self, layer: Descriptor) -> Result<Descriptor, ImageError> {
        let destination = self.work.destination;
        if destination.has_blob(&layer)? {
            return Ok(layer);
        }
        let file = self.work.source.file(&layer);
        let is_linked = file.map(|path| destination.link_blob(&path, &layer)).transpose()?;
        if is_linked != Some(true) {
            destination.put_blob(&mut self.read()?, Some(&layer))?;
        }
        Ok(layer)
    }

    fn change(
        &self,
        diff_id: &Digest,
        compression: Compression,
        level: Option<i32>,
    ) -> Result<Descriptor, ImageError> {
        let failed = self.failed();
        let destination = self.work.destination;
        let kind = media_type(compression);
        // What is plain at the destination is known before it is made.
        if compression == Compression::None && destination.has_blob(&descriptor(kind.clone(), 0, diff_id))? {
            return Ok(descriptor(kind, 0, diff_id));
        }
        let found = {
            let mut stored = BufReader::new(self.work.source.blob(self.layer)?);
            Compression::of(stored.fill_buf().map_err(&failed)?)
        };
        if found == compression && level.is_none() {
            let mut layer = self.layer.clone();
            if !says(layer.media_type(), compression) {
                layer.set_media_type(kind);
            }
            return self.as_it_is(layer);
        }
        let level = level.and_then(|level| u32::try_from(level).ok());
        let stored = self.read()?;
        let (written, put) = piped(
            |out| {
                let written = recompress(stored, compression, level, out)?;
                if written.diff_id == *diff_id {
                    return Ok(written);
                }
                Err(LayerError::DiffId { expected: *diff_id, found: written.diff_id })
            },
            |mut content| destination.put_blob(&mut content, None),
        );
        let (_, blob) = both(written, put, self.at + 1).map_err(|err| match err {
            ImageError::Layer { source: LayerError::Read { source }, .. } => failed(source),
            other => other,
        })?;
        Ok(descriptor(kind, blob.size, &blob.digest))
    }
}

/// Whether the media type is of a layer compressed so.
fn says(kind: &MediaType, compression: Compression) -> bool {
    let last = kind.as_ref().rsplit(['.', '+']).next();
    last == Some(match compression {
        Compression::None => "tar",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    })
}

/// Tells how far reading is, and ends it where another thread failed.
struct Told<'a> {
    inner: Box<dyn Read + Send + 'a>,
    task: Box<dyn Task>,
    stop: &'a AtomicBool,
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("another layer could not be copied"));
        }
        let count = self.inner.read(buffer)?;
        self.task.advance(count as u64);
        Ok(count)
    }
}
