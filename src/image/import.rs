//! A root file system becomes an image of one layer.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use oci_spec::image::MediaType;
use serde_json::{Map, Value, json};

use super::json::canonical;
use super::write::{both, media_type, piped};
use super::{Destination, ImageError, Raw, descriptor, parse, rfc3339};
use crate::layer::metered::{Meter, Metered};
use crate::layer::{Compression, Compressor, Digest, DigestReader, FolderWriter, LayerError, decompressed};
use crate::progress::{Progress, Task};
use crate::target::Platform;

/// How many entries a root file system may have.
const ENTRIES: u64 = 10_000_000;

/// A root file system, and what is to be said of it.
#[derive(Debug)]
pub struct Import<'a> {
    /// A folder, or a tar file (plain, gzip, zstd or xz).
    pub root: &'a Path,
    /// The platform.
    pub platform: &'a Platform,
    /// An image config, as JSON, of which everything but the platform and the layers is taken.
    pub config: Option<&'a [u8]>,
    /// The image's time, in seconds since 1970. No file of a folder gets a later one.
    pub time: u64,
    /// Is told what goes on.
    pub progress: &'a dyn Progress,
}

impl Import<'_> {
    /// Writes the image to `destination`. Gives the digest by which it is known there.
    ///
    /// # Errors
    /// [`ImageError`] where the root file system cannot be read, is no tar file, or the image cannot be written.
    pub fn write(&self, destination: &dyn Destination) -> Result<Digest, ImageError> {
        let base = self.base()?;
        let failed = |source| ImageError::File { doing: "reading", path: self.root.into(), source };
        let layer = if self.root.metadata().map_err(failed)?.is_dir() {
            self.folder(destination)?
        } else {
            self.tar(destination)?
        };
        let config = self.config_of(base, &layer.diff_id);
        let config =
            canonical(&config).map_err(|source| ImageError::Json { part: "config".into(), source })?;
        let entry = descriptor(MediaType::ImageConfig, config.len() as u64, &Digest::of(&config));
        destination.put_config(&config, &entry)?;
        let manifest = canonical(&json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest,
            "config": entry,
            "layers": [descriptor(media_type(layer.compression), layer.size, &layer.digest)],
        }));
        let manifest = manifest.map_err(|source| ImageError::Json { part: "manifest".into(), source })?;
        destination.finish(&Raw::new(manifest, None)?, Some(self.platform))
    }

    /// The config that was given.
    fn base(&self) -> Result<Map<String, Value>, ImageError> {
        self.config.map_or_else(|| Ok(Map::new()), |config| parse(config, "config"))
    }

    fn config_of(&self, mut config: Map<String, Value>, diff_id: &Digest) -> Value {
        let created = rfc3339(self.time);
        config.entry("created").or_insert_with(|| json!(created));
        config.insert("os".into(), json!(self.platform.os));
        config.insert("architecture".into(), json!(self.platform.architecture));
        config.remove("variant");
        if let Some(variant) = &self.platform.variant {
            config.insert("variant".into(), json!(variant));
        }
        config.entry("config").or_insert_with(|| json!({ "Cmd": ["/bin/sh"] }));
        config.insert("rootfs".into(), json!({ "type": "layers", "diff_ids": [diff_id.to_string()] }));
        let history = json!([{ "created": created, "created_by": "polyarch image import" }]);
        config.insert("history".into(), history);
        Value::Object(config)
    }

    fn folder(&self, destination: &dyn Destination) -> Result<Layer, ImageError> {
        let compression = usual(destination);
        let task = self.progress.begin("packing the root file system", None);
        let (diff_id, put) = piped(
            |out| FolderWriter::new(self.time).write(self.root, out),
            |content| put(destination, Advancing { inner: content, task }, compression),
        );
        let (diff_id, blob) = both(diff_id, put, 1)?;
        Ok(Layer { diff_id, digest: blob.digest, size: blob.size, compression })
    }

    /// Reads a tar file twice: first to know that it is one, then to copy what was read.
    fn tar(&self, destination: &dyn Destination) -> Result<Layer, ImageError> {
        let failed = |source| ImageError::File { doing: "reading", path: self.root.into(), source };
        let open = || File::open(self.root).map_err(failed);
        let size = open()?.metadata().map_err(failed)?.len();
        let task = self.progress.begin("reading the root file system", Some(size));
        let mut stored = DigestReader::new(Advancing { inner: open()?, task });
        let mut magic = Vec::new();
        open()?.take(8).read_to_end(&mut magic).map_err(failed)?;
        let is_xz = magic.starts_with(b"\xfd7zXZ\0");
        let diff_id = {
            let mut plain = DigestReader::new(opened(&mut stored, is_xz).map_err(failed)?);
            check(&mut plain).map_err(failed)?;
            plain.digest()
        };
        io::copy(&mut stored, &mut io::sink()).map_err(failed)?;
        let found = Compression::of(&magic);
        let wanted = usual(destination);
        let content = BufReader::with_capacity(1 << 16, open()?);
        if !is_xz && found != Compression::None && wanted != Compression::None {
            let expected = descriptor(media_type(found), stored.count(), &stored.digest());
            destination.put_blob(&mut { content }, Some(&expected))?;
            let (digest, size) = (stored.digest(), stored.count());
            return Ok(Layer { diff_id, digest, size, compression: found });
        }
        let plain = opened(content, is_xz).map_err(failed)?;
        let plain = super::verified::Verified::new(plain, diff_id, None);
        let blob = put(destination, plain, wanted)?;
        Ok(Layer { diff_id, digest: blob.digest, size: blob.size, compression: wanted })
    }
}

/// A layer that was written.
struct Layer {
    diff_id: Digest,
    digest: Digest,
    size: u64,
    compression: Compression,
}

fn usual(destination: &dyn Destination) -> Compression {
    if destination.abilities().plain_single { Compression::None } else { Compression::Gzip }
}

fn put(
    destination: &dyn Destination,
    mut content: impl Read,
    compression: Compression,
) -> Result<super::Blob, ImageError> {
    if compression == Compression::None {
        destination.put_blob(&mut content, None)
    } else {
        let (made, put) = piped(
            |out| {
                let mut compressor = Compressor::new(out, compression, None)?;
                io::copy(&mut content, &mut compressor).map_err(|source| LayerError::Read { source })?;
                compressor.finish().map(|(_, written)| written)
            },
            |mut packed| destination.put_blob(&mut packed, None),
        );
        both(made, put, 1).map(|(_, blob)| blob)
    }
}

fn opened<'a>(stored: impl Read + 'a, is_xz: bool) -> io::Result<Box<dyn Read + 'a>> {
    if is_xz { Ok(Box::new(lzma_rust2::XzReader::new(stored, true))) } else { decompressed(stored) }
}

/// Reads `plain` to its end, and fails where it is no tar stream.
fn check(plain: &mut impl Read) -> io::Result<()> {
    let meter = Meter::new(u64::MAX);
    let mut archive = tar::Archive::new(Metered { inner: &mut *plain, meter: meter.clone() });
    let mut count = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        count += 1;
        if count > ENTRIES {
            return Err(io::Error::other("it has too many entries"));
        }
        meter.expect_content();
        io::copy(&mut entry, &mut io::sink())?;
        meter.expect_records();
    }
    if count == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no tar file, or an empty one"));
    }
    io::copy(plain, &mut io::sink()).map(drop)
}

/// Tells how far reading is.
struct Advancing<R> {
    inner: R,
    task: Box<dyn Task>,
}

impl<R: Read> Read for Advancing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.task.advance(count as u64);
        Ok(count)
    }
}
