//! Contexts that come as a stream.

use std::io::BufRead;
use std::path::Path;

use super::archive::plain;
use super::error::ContextError;
use crate::layer::{Compression, Limits, Unpacker};

/// What a stream holds that is given as a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// An archive, which is the context.
    Archive,
    /// A Containerfile, which has none.
    Containerfile,
}

impl Input {
    /// What `stream` holds, by its first bytes, which stay in it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn of(stream: &mut impl BufRead) -> std::io::Result<Self> {
        let first = stream.fill_buf()?;
        let is_archive = Compression::of(first) != Compression::None
            || first.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0])
            || first.starts_with(b"BZh")
            || first.get(257..262) == Some(b"ustar")
            || crate::tree::is_tar_header(first);
        Ok(if is_archive { Self::Archive } else { Self::Containerfile })
    }
}

/// The most that a context's archive holds.
const LIMITS: Limits = Limits { entries: 1 << 20, bytes: 32 << 30 };

/// Unpacks the archive `stream` into `folder`, which is empty. All files become the caller's, and readable to him.
///
/// # Errors
/// [`ContextError::Unpack`].
pub fn unpack(stream: impl BufRead, folder: &Path) -> Result<(), ContextError> {
    let unpacked = || {
        let plain = plain(stream).map_err(|source| crate::layer::LayerError::Read { source })?;
        let mut unpacker = Unpacker::new(folder, LIMITS)?;
        unpacker.apply(plain, None, &|| false)?;
        unpacker.finish().map(drop)
    };
    unpacked().map_err(|source| ContextError::Unpack { source })
}
