//! Layers: tar streams that make a file system together, applied to a folder and written.
//!
//! [`Unpacker`] applies hostile ones safely; [`LayerWriter`] writes reproducible ones; [`merge()`] makes one of several. What a layer holds
//! and cannot be had by the caller is left out and told: device nodes and extended attributes.

mod ahead;
mod beneath;
mod compress;
mod compression;
mod digest;
mod entry;
mod error;
mod folder;
mod header;
mod made;
mod merge;
mod metadata;
mod name;
mod unpack;
mod walk;
mod whiteout;
mod write;

pub(crate) use crate::tree::metered;
pub use compress::{Compressor, recompress};
pub use compression::{Compression, decompressed};
pub use digest::{Digest, DigestReader, DigestWriter, ParseDigestError};
pub use error::LayerError;
pub use folder::FolderWriter;
pub use merge::{
    Changes, Ids, LayerMemory, LayerStream, LayeredFile, LayeredRoot, MergeOptions, Swap, TarFormat, Times,
    Unfit, merge,
};
pub use metadata::Owners;
pub use unpack::{Limits, Skipped, Unpacker};
pub use write::{Content, LayerFile, LayerWriter, Part, PartReader, Written};
