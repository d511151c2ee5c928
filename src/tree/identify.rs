//! Telling what every program of an input is.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::archive::{self, Compression};
use super::content::content;
use super::{Content, Record, TreeError, directory};
use crate::elf::{Blocks, Reader};

/// Tells what every program of `input` is: a file, a directory, a tar stream (plain, gzip, zstd or xz), or `-` for
/// standard input. Records come sorted by path.
///
/// Directories are read by `threads` threads. What goes wrong within the input is a record.
///
/// # Errors
/// [`TreeError`] where the input cannot be opened, or is nothing that can be read.
pub fn identify(input: &Path, threads: usize) -> Result<Vec<Record>, TreeError> {
    let mut records =
        if input == Path::new("-") { stream(input, io::stdin())? } else { named(input, threads)? };
    records.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(records)
}

fn named(input: &Path, threads: usize) -> Result<Vec<Record>, TreeError> {
    let open = |source| TreeError::Open { path: input.into(), source };
    // NONBLOCK: opening a fifo must not wait for its other end.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file: File = match rustix::fs::open(input, flags, Mode::empty()) {
        Ok(file) => file.into(),
        // A socket cannot be opened at all.
        Err(Errno::NXIO) => return Err(TreeError::Special { path: input.into(), what: "socket" }),
        Err(err) => return Err(open(err.into())),
    };
    let metadata = file.metadata().map_err(open)?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return directory::identify(input, threads);
    }
    let special = |what| Err(TreeError::Special { path: input.into(), what });
    if kind.is_fifo() {
        return special("fifo");
    } else if kind.is_char_device() {
        return special("character device");
    } else if kind.is_block_device() {
        return special("block device");
    }
    let first = head(&mut file).map_err(open)?;
    if first.is_empty() {
        return Ok(vec![Record::error(input, "the file is empty")]);
    }
    file.rewind().map_err(open)?;
    if let Some(compression) = Compression::of(&first) {
        return Ok(archive::identify(input, compression, file));
    }
    if archive::is_tar_header(&first) {
        return Ok(archive::identify_plain(input, &file));
    }
    let len = metadata.len();
    let mut blocks = Blocks::default();
    let record = content(&mut Reader::file(file.as_fd(), 0, len, &mut blocks));
    Ok(vec![whole(input.as_os_str(), record, &first)])
}

/// As [`identify`], from a stream that is called `input`: a tar stream, or one file.
///
/// # Errors
/// [`TreeError::Read`] where the stream breaks off before anything can be told of it.
pub fn identify_stream(input: &Path, from: impl Read + Send) -> Result<Vec<Record>, TreeError> {
    let mut records = stream(input, from)?;
    records.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(records)
}

fn stream(input: &Path, mut from: impl Read + Send) -> Result<Vec<Record>, TreeError> {
    let read = |source| TreeError::Read { path: input.into(), source };
    let first = head(&mut from).map_err(read)?;
    let all = io::Cursor::new(first.clone()).chain(&mut from);
    if first.is_empty() {
        return Ok(vec![Record::error(input, "the stream is empty")]);
    }
    if let Some(compression) = Compression::of(&first) {
        return Ok(archive::identify(input, compression, all));
    }
    if archive::is_tar_header(&first) {
        return Ok(archive::identify(input, Compression::None, all));
    }
    let record = archive::with_reader(all, None, content).map_err(read)?;
    Ok(vec![whole(input.as_os_str(), record, &first)])
}

/// The first bytes of an input: enough to tell a tar stream.
fn head(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    from.take(archive::BLOCK as u64).read_to_end(&mut first)?;
    Ok(first)
}

/// The record of a file that was named itself, so that something is to be said whatever it is.
fn whole(path: &OsStr, content: io::Result<Option<Content>>, first: &[u8]) -> Record {
    match content {
        Ok(Some(content)) => Record { path: path.into(), content },
        Ok(None) => Record::error(path, format!("no program: it begins with {}", excerpt(first))),
        Err(err) => Record::error(path, format!("it cannot be read: {err}")),
    }
}

/// The first bytes of something unknown, for people.
fn excerpt(first: &[u8]) -> String {
    if first.starts_with(b"!<arch>\n") {
        return "the mark of an `ar` archive, as static libraries and Debian packages are (`ar p FILE data.tar.xz | polyarch inspect -`)"
            .into();
    }
    let first = &first[..first.len().min(16)];
    if first.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return format!("the text {:?}", String::from_utf8_lossy(first));
    }
    let bytes: Vec<String> = first.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("the bytes {}", bytes.join(" "))
}
