//! Roots that were made, in the cache: each under a digest of what decides over its content.
//!
//! `CACHE/rootfs/KEY.tar.gz` is the layer, `KEY.json`, which is written last, what is known of it. Both take their names when they are
//! whole.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::RootfsError;
use crate::image::LayerSource;
use crate::layer::{Compression, Compressor, Digest, DigestReader, LayerError, Written, recompress};

/// A root in the cache.
#[derive(Debug, Clone)]
pub struct Kept {
    file: PathBuf,
    /// The layer that it is.
    pub layer: Written,
}

/// What is known of it.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    diff_id: String,
    plain_size: u64,
    digest: String,
    size: u64,
}

fn place(cache: &Path) -> PathBuf {
    cache.join("rootfs")
}

impl Kept {
    /// The root of this key, if it is there.
    #[must_use]
    pub fn find(cache: &Path, key: &Digest) -> Option<Self> {
        let folder = place(cache);
        let record = fs::read(folder.join(format!("{}.json", key.hex()))).ok()?;
        let record: Record = serde_json::from_slice(&record).ok()?;
        let file = folder.join(format!("{}.tar.gz", key.hex()));
        let layer = Written {
            diff_id: record.diff_id.parse().ok()?,
            plain_size: record.plain_size,
            digest: record.digest.parse().ok()?,
            size: record.size,
            compression: Compression::Gzip,
        };
        (file.metadata().ok()?.len() == layer.size).then_some(Self { file, layer })
    }

    /// Keeps the root of this key, whose layer `make` writes.
    ///
    /// # Errors
    /// Those of `make`, and where the cache cannot be written; nothing is kept then.
    pub fn keep(
        cache: &Path,
        key: &Digest,
        make: impl FnOnce(&mut dyn Write) -> Result<(), RootfsError>,
    ) -> Result<Self, RootfsError> {
        let folder = place(cache);
        let failed = |source| RootfsError::File { doing: "writing", path: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        let new = tempfile::Builder::new().prefix("new-").tempfile_in(&folder).map_err(failed)?;
        let compress = |source| RootfsError::Compress { source: Box::new(source) };
        let out = BufWriter::with_capacity(1 << 18, new.as_file());
        let mut compressor = Compressor::new(out, Compression::Gzip, None).map_err(compress)?;
        make(&mut compressor)?;
        let (mut out, layer) = compressor.finish().map_err(compress)?;
        out.flush().map_err(failed)?;
        drop(out);
        let record = Record {
            diff_id: layer.diff_id.to_string(),
            plain_size: layer.plain_size,
            digest: layer.digest.to_string(),
            size: layer.size,
        };
        let record = serde_json::to_vec(&record).map_err(|err| failed(err.into()))?;
        let mut described = tempfile::Builder::new().prefix("new-").tempfile_in(&folder).map_err(failed)?;
        described.write_all(&record).map_err(failed)?;
        let file = folder.join(format!("{}.tar.gz", key.hex()));
        new.persist(&file).map_err(|err| failed(err.error))?;
        described.persist(folder.join(format!("{}.json", key.hex()))).map_err(|err| failed(err.error))?;
        Ok(Self { file, layer })
    }

    /// The layer as it is kept, gzip'd.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.file)
    }
}

impl LayerSource for Kept {
    fn write(&self, compression: Compression, out: &mut dyn Write) -> Result<Written, LayerError> {
        let read = |source| LayerError::Read { source };
        let file = self.open().map_err(read)?;
        let written = if compression == Compression::Gzip {
            let mut from = DigestReader::new(file);
            let mut buffer = vec![0; 1 << 17];
            loop {
                let count = from.read(&mut buffer).map_err(read)?;
                if count == 0 {
                    break;
                }
                let failed = |source| LayerError::Write { path: String::new(), source };
                out.write_all(&buffer[..count]).map_err(failed)?;
            }
            Written { digest: from.digest(), ..self.layer.clone() }
        } else {
            recompress(BufReader::with_capacity(1 << 17, file), compression, None, out)?
        };
        let (expected, found) = match compression {
            Compression::Gzip => (self.layer.digest, written.digest),
            _ => (self.layer.diff_id, written.diff_id),
        };
        if expected != found {
            // It is made anew the next time.
            let _ = fs::remove_file(&self.file);
            return Err(LayerError::DiffId { expected, found });
        }
        Ok(written)
    }
}
