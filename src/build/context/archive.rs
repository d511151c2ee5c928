//! Archives: told by their content, and decompressed.

use std::io::{self, BufRead as _, BufReader, Read};

use crate::layer::decompressed;
use crate::tree::is_tar_header;

/// What an xz stream may ask for, in KiB: `xz -9` needs 64 MiB.
const XZ_KIB: u32 = 66 << 10;

/// A tar header's size.
const BLOCK: u64 = 512;

/// `inner`, decompressed as its first bytes say: gzip, bzip2, zstd, xz or none of them.
///
/// # Errors
/// Where the first bytes cannot be read.
pub fn plain<'a>(inner: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut inner = BufReader::with_capacity(1 << 16, inner);
    if inner.fill_buf()?.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        return Ok(Box::new(lzma_rust2::XzReader::new_mem_limit(inner, true, XZ_KIB)));
    }
    if inner.fill_buf()?.starts_with(b"BZh") {
        return Ok(Box::new(bzip2::bufread::MultiBzDecoder::new(inner)));
    }
    decompressed(inner)
}

/// Whether `inner` is a tar archive, plain or compressed, which has at least one entry. What cannot be read is none.
pub fn is_archive(inner: impl Read) -> bool {
    let Ok(plain) = plain(inner) else { return false };
    let mut first = Vec::new();
    plain.take(BLOCK).read_to_end(&mut first).is_ok() && is_tar_header(&first)
}
