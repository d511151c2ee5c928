//! What is told of one file.

use std::ffi::OsString;

use crate::elf::{Identity, Script};

/// One file of a tree that is a program, or that could not be read.
#[derive(Debug)]
pub struct Record {
    /// The input as given, and the path beneath it; `INPUT!/path` in an archive. Bytes, for names need be no text.
    pub path: OsString,
    /// What it is.
    pub content: Content,
}

/// What a file is.
#[derive(Debug)]
#[non_exhaustive]
pub enum Content {
    /// An ELF file.
    Elf(Box<Identity>),
    /// A script.
    Script(Script),
    /// A Mach-O file, with its architectures as Apple calls them.
    MachO(Vec<String>),
    /// A Portable Executable, with its machine as Microsoft calls it.
    Pe(String),
    /// It could not be read, or is not what it should be.
    Error {
        /// What and why, in one sentence.
        message: String,
    },
}

impl Record {
    pub(super) fn error(path: impl Into<OsString>, message: impl Into<String>) -> Self {
        Self { path: path.into(), content: Content::Error { message: message.into() } }
    }
}
