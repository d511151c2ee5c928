//! Layers: tar streams that make a file system together, applied to a folder and written.
//!
//! [`Unpacker`] applies hostile ones safely; [`LayerWriter`] writes reproducible ones. What a layer holds
//! and cannot be had by an ordinary user is left out and told: devices, owners (all files are the
//! caller's) and extended attributes.

mod beneath;
mod compression;
mod digest;
mod error;
mod folder;
pub(crate) mod metered;
mod unpack;
mod write;

pub use compression::{Compression, decompressed};
pub use digest::{Digest, DigestReader, DigestWriter, ParseDigestError};
pub use error::LayerError;
pub use folder::FolderWriter;
pub use unpack::{Limits, Skipped, Unpacker};
pub use write::{Content, LayerFile, LayerWriter, Written};
