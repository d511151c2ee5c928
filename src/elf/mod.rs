//! What a binary says of itself: machine, ABI, ISA level, float ABI, linkage and where each fact stands.
//!
//! Facts are declared (a header field, note, attribute or flag says so) or inferred (from the name of a
//! loader, say), and [`Identity::evidence`] tells which. Where nothing tells, a fact is `None`.
//!
//! Files are hostile input: every read is bounded, and damage short of the header becomes an entry in
//! [`Identity::problems`].

mod arch;
mod attributes;
mod draft;
mod dynamic;
mod fit;
mod go;
mod identity;
mod isa;
mod kind;
mod layout;
mod notes;
mod reader;
mod rodata;
mod stored;
mod toolchain;
pub mod values;

use std::io;

pub use draft::{Evidence, Source};
pub use fit::{Mismatch, beyond, fit};
pub use identity::{Identity, PlatformFact};
pub use kind::{Kind, Script, kind};
pub use reader::{Blocks, Reader};
pub use toolchain::{Bionic, Glibc, Go, Musl, Rust, Toolchain};

/// A file is no ELF file that can be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The magic is another.
    #[error("not an ELF file")]
    NotElf,
    /// The file ends within the header.
    #[error("the ELF header is cut short: the file has {len} bytes")]
    Truncated {
        /// Bytes in the file.
        len: u64,
    },
    /// `EI_CLASS` is neither `ELFCLASS32` nor `ELFCLASS64`.
    #[error("the ELF header's class is {found}, which is neither 1 (32-bit) nor 2 (64-bit)")]
    Class {
        /// The byte.
        found: u8,
    },
    /// `EI_DATA` is neither `ELFDATA2LSB` nor `ELFDATA2MSB`.
    #[error("the ELF header's byte order is {found}, which is neither 1 (little-endian) nor 2 (big-endian)")]
    Data {
        /// The byte.
        found: u8,
    },
    /// The version is not 1.
    #[error("the ELF header's version is {found}, not 1")]
    Version {
        /// The number.
        found: u32,
    },
    /// The fields of the header are in the other byte order than `EI_DATA` says.
    #[error("the ELF header's byte order mark is {found}, and its fields are in the other order")]
    WrongByteOrder {
        /// The byte at `EI_DATA`.
        found: u8,
    },
    /// The operating system could not read.
    #[error("reading {what}")]
    Read {
        /// Which part of the file.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ElfError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Truncated { .. } => Some("copy or download the file again: it is not whole".into()),
            _ => None,
        }
    }
}
