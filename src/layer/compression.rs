//! How a layer is compressed. The bytes say it; media types are not to be trusted.

use std::io::{self, BufRead, BufReader, Read};

use crate::gzip::GzipReader;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// How a stream that begins with `bytes` is compressed.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || skippable(bytes) {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

/// zstd:chunked and pzstd streams may begin with a frame that holds no content.
fn skippable(bytes: &[u8]) -> bool {
    matches!(bytes, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// `inner`, decompressed as its first bytes say.
///
/// # Errors
/// Where the first bytes cannot be read.
pub fn decompressed<'a>(inner: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut inner = BufReader::with_capacity(1 << 16, inner);
    Ok(match Compression::of(inner.fill_buf()?) {
        Compression::None => Box::new(inner),
        Compression::Gzip => Box::new(GzipReader::new(inner)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(inner)?),
    })
}
