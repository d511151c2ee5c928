//! The second pass: what is left goes out.

use std::io::{self, Read, Write};

use super::options::{Ids, MergeOptions, TarFormat, Times};
use super::tree::{FolderMeta, ROOT, Tree};
use super::ustar::{self, BLOCK, Header};
use crate::layer::entry::{Kind, Meta, Time};
use crate::layer::name::lossy;
use crate::layer::walk::Walk;
use crate::layer::{Digest, DigestWriter, LayerError};

pub(super) struct Writer<'a, W> {
    pub(super) out: DigestWriter<W>,
    pub(super) options: &'a MergeOptions,
    pub(super) tree: &'a mut Tree,
}

/// The header of a file, under the name of its own entry.
pub(super) fn header<'a>(meta: &'a Meta, options: &MergeOptions) -> Header<'a> {
    let (kind, link, device, size) = match &meta.kind {
        Kind::Symlink(target) => (b'2', target.as_slice(), (0, 0), 0),
        Kind::HardLink(target) => (b'1', target.as_slice(), (0, 0), 0),
        Kind::Device { is_block: false, major, minor } => (b'3', &b""[..], (*major, *minor), 0),
        Kind::Device { is_block: true, major, minor } => (b'4', &b""[..], (*major, *minor), 0),
        Kind::Folder => (b'5', &b""[..], (0, 0), 0),
        Kind::Fifo => (b'6', &b""[..], (0, 0), 0),
        Kind::File | Kind::Ignored => (b'0', &b""[..], (0, 0), meta.size),
    };
    let (uid, gid) = ids(options, meta.uid, meta.gid);
    Header {
        path: &meta.path,
        kind,
        link,
        mode: meta.mode,
        uid,
        gid,
        size,
        time: time(options, meta.time),
        device,
        attributes: if options.attributes { &meta.attributes } else { &[] },
    }
}

/// The header of a folder.
pub(super) fn folder_header<'a>(path: &'a [u8], meta: &'a FolderMeta, options: &MergeOptions) -> Header<'a> {
    let (uid, gid) = ids(options, meta.uid, meta.gid);
    Header {
        path,
        kind: b'5',
        link: b"",
        mode: meta.mode,
        uid,
        gid,
        size: 0,
        time: time(options, meta.time),
        device: (0, 0),
        attributes: if options.attributes { &meta.attributes } else { &[] },
    }
}

fn ids(options: &MergeOptions, uid: u32, gid: u32) -> (u32, u32) {
    match options.ids {
        Ids::Kept => (uid, gid),
        Ids::Zero => (0, 0),
    }
}

fn time(options: &MergeOptions, time: Time) -> Time {
    match options.times {
        Times::Kept => time,
        Times::Clamped(latest) if time.seconds >= latest => Time { seconds: latest, nanos: 0 },
        Times::Clamped(_) => time,
        Times::Set(seconds) => Time { seconds, nanos: 0 },
    }
}

impl<W: Write> Writer<'_, W> {
    pub(super) fn header(&mut self, header: &Header<'_>) -> Result<(), LayerError> {
        ustar::write(&mut self.out, header, self.options.format == TarFormat::Pax)
            .map_err(|source| LayerError::Write { path: lossy(header.path), source })
    }

    /// The root's own entry, if the layers have one.
    pub(super) fn root(&mut self) -> Result<(), LayerError> {
        match self.tree.folder_meta(ROOT).cloned() {
            Some(meta) if self.options.format == TarFormat::Pax => {
                self.header(&folder_header(b".", &meta, self.options))
            }
            _ => Ok(()),
        }
    }

    /// The folders that `node` is in, and it itself if it is one, unless they are there already.
    pub(super) fn folders(&mut self, node: u32) -> Result<(), LayerError> {
        for folder in self.tree.unwritten(node) {
            let path = self.tree.path(folder);
            let meta = self.tree.folder_meta(folder).cloned().unwrap_or_default();
            self.header(&folder_header(&path, &meta, self.options))?;
        }
        Ok(())
    }

    /// Writes file number `file` under all of its names.
    pub(super) fn file(
        &mut self,
        file: usize,
        walk: &Walk,
        mut meta: Meta,
        content: &mut dyn Read,
    ) -> Result<(), LayerError> {
        let names = self.tree.names(file);
        let Some(((path, node), others)) = names.split_first() else { return Ok(()) };
        self.folders(*node)?;
        let sparse = meta.sparse.take();
        let header = Header { path, ..header(&meta, self.options) };
        self.header(&header)?;
        if header.size > 0 {
            match sparse {
                Some(sparse) => self.content(walk, path, header.size, &mut sparse.reader(content))?,
                None => self.content(walk, path, header.size, content)?,
            }
        }
        for (other, node) in others {
            self.folders(*node)?;
            self.header(&Header { path: other, kind: b'1', link: path, size: 0, attributes: &[], ..header })?;
        }
        Ok(())
    }

    pub(super) fn content(
        &mut self,
        walk: &Walk,
        path: &[u8],
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), LayerError> {
        let failed = |source| LayerError::Write { path: lossy(path), source };
        let mut buffer = vec![0; 1 << 16];
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = match content.read(&mut buffer[..most]) {
                Ok(0) => return Err(walk.read_error(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Err(walk.read_error(err)),
            };
            self.out.write_all(&buffer[..count]).map_err(failed)?;
            left -= count as u64;
        }
        ustar::pad(&mut self.out, size).map_err(failed)
    }

    /// Folders without files.
    pub(super) fn rest(&mut self) -> Result<(), LayerError> {
        for node in 1..self.tree.nodes() {
            if self.tree.is_folder(node) {
                self.folders(node)?;
            }
        }
        Ok(())
    }

    /// The end.
    pub(super) fn finish(mut self) -> Result<(W, Digest, u64), LayerError> {
        let end = |source| LayerError::Write { path: String::new(), source };
        self.out.write_all(&[0; 2 * BLOCK as usize]).map_err(end)?;
        self.out.flush().map_err(end)?;
        Ok(self.out.finish())
    }
}
