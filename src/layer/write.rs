//! Writing a layer that depends on nothing but what it holds.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use tar::{EntryType, Header};

use super::{Compression, Compressor, Digest, LayerError};

/// What a file of a layer holds.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Content {
    /// A folder.
    Folder,
    /// A copy of a file.
    Copy(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
    /// A symbolic link to this.
    Link(String),
    /// A part of a file.
    Part(Part),
}

/// A part of an open file, which may have no name.
#[derive(Debug, Clone)]
pub struct Part {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    /// Its length, in bytes.
    pub len: u64,
}

impl Part {
    /// All of `file`.
    ///
    /// # Errors
    /// Where the file does not tell its size.
    pub fn whole(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), offset: 0, len })
    }

    /// A reader of it, from its start.
    #[must_use]
    pub fn reader(&self) -> PartReader {
        PartReader { part: self.clone(), at: 0 }
    }
}

/// Reads a [`Part`]. Several may do so at once, for none moves the file's own place.
#[derive(Debug)]
pub struct PartReader {
    part: Part,
    at: u64,
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.part.len - self.at;
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.part.file.read_at(&mut buffer[..length], self.part.offset + self.at)?;
        if count == 0 && length > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter meanwhile"));
        }
        self.at += count as u64;
        Ok(count)
    }
}

/// One file of a layer. Owner and group are 0.
#[derive(Debug, Clone)]
pub struct LayerFile {
    /// Its path, without a slash before or after it.
    pub path: String,
    /// The permission bits.
    pub mode: u32,
    /// What it holds.
    pub content: Content,
}

/// A layer that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The digest of the tar stream.
    pub diff_id: Digest,
    /// The length of the tar stream, in bytes.
    pub plain_size: u64,
    /// The digest of what was written.
    pub digest: Digest,
    /// The length of what was written, in bytes.
    pub size: u64,
    /// How it is compressed.
    pub compression: Compression,
}

/// Writes a layer's files to a stream, and digests the stream both before and after compression.
#[derive(Debug)]
pub struct LayerWriter {
    /// Every file's time, in seconds since 1970.
    time: u64,
    compression: Compression,
}

impl LayerWriter {
    /// A writer that gives every file `time`, in seconds since 1970.
    #[must_use]
    pub fn new(time: u64, compression: Compression) -> Self {
        Self { time, compression }
    }

    /// Writes `files`, by their paths' order, and gives `out` back.
    ///
    /// Headers are POSIX ustar, which every reader has. gzip carries neither name nor time.
    ///
    /// # Errors
    /// [`LayerError::Write`].
    pub fn write<W: Write>(&self, files: &[LayerFile], out: W) -> Result<(W, Written), LayerError> {
        let compressor = Compressor::new(out, self.compression, None)?;
        self.tar(files, compressor)?.finish()
    }

    fn tar<W: Write>(&self, files: &[LayerFile], out: W) -> Result<W, LayerError> {
        let mut files: Vec<&LayerFile> = files.iter().collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut builder = tar::Builder::new(io::BufWriter::with_capacity(1 << 16, out));
        for file in files {
            self.file(&mut builder, file)
                .map_err(|source| LayerError::Write { path: file.path.clone(), source })?;
        }
        let end = |source| LayerError::Write { path: String::new(), source };
        builder.into_inner().map_err(end)?.into_inner().map_err(|err| end(err.into_error()))
    }

    fn file<W: Write>(&self, builder: &mut tar::Builder<W>, file: &LayerFile) -> io::Result<()> {
        let header = |kind, size| {
            let mut header = header(kind, size, self.time);
            header.set_mode(file.mode);
            header
        };
        let add = |builder: &mut tar::Builder<W>, mut header: Header, content: &mut dyn io::Read| {
            let name = if matches!(file.content, Content::Folder) {
                format!("{}/", file.path)
            } else {
                file.path.clone()
            };
            header.set_path(name)?;
            header.set_cksum();
            builder.append(&header, content)
        };
        match &file.content {
            Content::Folder => add(builder, header(EntryType::Directory, 0), &mut io::empty()),
            Content::Link(target) => {
                let mut header = header(EntryType::Symlink, 0);
                header.set_link_name_literal(target)?;
                add(builder, header, &mut io::empty())
            }
            Content::Bytes(bytes) => {
                add(builder, header(EntryType::Regular, bytes.len() as u64), &mut bytes.as_slice())
            }
            Content::Part(part) => add(builder, header(EntryType::Regular, part.len), &mut part.reader()),
            Content::Copy(path) => {
                let mut source = File::open(path)?;
                let size = source.metadata()?.len();
                let mut limited = Exact { inner: &mut source, left: size };
                add(builder, header(EntryType::Regular, size), &mut limited)
            }
        }
    }
}

/// A ustar header without names: owner and group 0, and `time` in seconds since 1970.
fn header(kind: EntryType, size: u64, time: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mtime(time);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Reads exactly as much as a file's header says, even where the file changes meanwhile.
struct Exact<'a> {
    inner: &'a mut File,
    left: u64,
}

impl io::Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..length])?;
        if count == 0 && length > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter meanwhile"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}
