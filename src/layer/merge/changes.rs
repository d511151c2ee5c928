//! The layers of an image once more, with some of their files changed: one stands in another's place, which is kept beside it.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use super::options::{MergeOptions, Times};
use super::ustar::Header;
use super::view::LayeredRoot;
use super::writer::{self, Writer};
use crate::layer::ahead::decompressed_ahead;
use crate::layer::entry::{Meta, Time};
use crate::layer::name::join;
use crate::layer::walk::Walk;
use crate::layer::write::Part;
use crate::layer::{Compression, Content, DigestWriter, LayerError, LayerFile, Written};
use crate::tree::root::Executable;

/// A file that the layers leave in the end.
#[derive(Debug)]
pub struct LayeredFile<'a> {
    /// Which it is, for [`Changes::swaps`].
    pub number: u32,
    /// All of its names, without a slash before them; the first is the shortest.
    pub names: Vec<Vec<u8>>,
    /// The permission bits.
    pub mode: u32,
    /// Whether who executes it gets capabilities.
    pub has_capabilities: bool,
    /// What an ELF file or a script says of itself; `None` where neither the kernel nor a loader would look.
    pub executable: Option<&'a Executable>,
}

/// What takes a file's place.
#[derive(Debug, Clone)]
pub struct Swap {
    /// What stands under the file's names from then on, by the folder that they are in, without a slash before it.
    pub stands: HashMap<Vec<u8>, Vec<u8>>,
    /// The file's own name from then on, without its folder: it is in each folder that it had a name in.
    pub moved: Vec<u8>,
}

/// What is changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// By [`LayeredFile::number`].
    pub swaps: HashMap<u32, Swap>,
    /// Files that are not in the layers, with the folders that they are in.
    pub added: Vec<LayerFile>,
    /// The time of what is added, in seconds since 1970.
    pub time: i64,
}

impl LayeredRoot<'_> {
    /// All regular files that are left, in the order of their entries.
    pub fn files(&self) -> impl Iterator<Item = LayeredFile<'_>> {
        (0..).map_while(|file| self.tree.entry(file).map(|entry| (file, entry))).filter_map(
            |(file, number)| {
                let facts = self.files.get(number as usize).filter(|facts| facts.is_file)?;
                let names: Vec<Vec<u8>> = self.tree.names(file).into_iter().map(|(name, _)| name).collect();
                (!names.is_empty()).then_some(LayeredFile {
                    number,
                    names,
                    mode: facts.mode,
                    has_capabilities: facts.has_capabilities,
                    executable: facts.executable.as_deref(),
                })
            },
        )
    }

    /// The contents of the files at `paths`, which are none but regular files, by one pass over the layers. They are kept in a
    /// file without a name in `folder`.
    ///
    /// # Errors
    /// [`LayerError::Read`] where one is not there or cannot be read, [`LayerError::Write`] where there is no room.
    pub fn extract(&self, paths: &[&Path], folder: &Path) -> Result<Vec<Part>, LayerError> {
        let failed = |source| LayerError::Write { path: folder.display().to_string(), source };
        let mut wanted: HashMap<u32, Option<(u64, u64)>> = HashMap::new();
        let mut numbers = Vec::new();
        for path in paths {
            let (number, _) = self.file(path).map_err(|source| LayerError::Read { source })?;
            wanted.insert(number, None);
            numbers.push(number);
        }
        let mut out = tempfile::tempfile_in(folder).map_err(failed)?;
        let (mut walk, mut entry, mut at) = (Walk::new(self.limits), 0_u32, 0_u64);
        for layer in &self.layers {
            walk.layer(layer.open()?, layer.diff_id(), &|| false, &mut |walk, meta, content| {
                if let Some(place) = wanted.get_mut(&entry) {
                    let mut reader: Box<dyn Read> = match meta.sparse {
                        Some(sparse) => Box::new(sparse.reader(content)),
                        None => Box::new(content),
                    };
                    let len = copy(walk, &mut reader, &mut out, folder)?;
                    *place = Some((at, len));
                    at += len;
                }
                entry += 1;
                Ok(())
            })?;
        }
        let file = Arc::new(out);
        let missing = || LayerError::Changed;
        let part = |number| {
            let (offset, len) = wanted.get(&number).copied().flatten().ok_or_else(missing)?;
            Ok(Part { file: Arc::clone(&file), offset, len })
        };
        numbers.into_iter().map(part).collect()
    }

    /// Writes the files that the layers make together as one tar stream, changed so.
    ///
    /// The stub in a file's place has its names, owner and mode, and none of its attributes; the file itself loses its rights
    /// to more than its caller has, and may be read by whom it may be executed by.
    ///
    /// # Errors
    /// As [`merge`](super::merge()).
    pub fn rewrite<W: Write>(
        &mut self,
        changes: &Changes,
        options: &MergeOptions,
        out: W,
    ) -> Result<Written, LayerError> {
        self.tree.write_again();
        let entries = self.files.len();
        let mut writer = Writer { out: DigestWriter::new(out), options, tree: &mut self.tree };
        writer.root()?;
        let mut walk = Walk::new(self.limits);
        let (mut entry, mut file) = (0_u32, 0);
        for layer in &self.layers {
            let source = layer.open()?;
            decompressed_ahead(source, |plain| {
                walk.plain(plain, layer.diff_id(), &|| false, &mut |walk, meta, content| {
                    if writer.tree.entry(file) == Some(entry) {
                        match changes.swaps.get(&entry) {
                            Some(swap) => writer.swapped(file, walk, meta, content, swap)?,
                            None => writer.file(file, walk, meta, content)?,
                        }
                        file += 1;
                    }
                    entry += 1;
                    Ok(())
                })
            })?;
        }
        if entry as usize != entries {
            return Err(LayerError::Changed);
        }
        writer.rest()?;
        writer.added(changes)?;
        let (out, digest, size) = writer.finish()?;
        drop(out);
        Ok(Written { diff_id: digest, plain_size: size, digest, size, compression: Compression::None })
    }
}

fn copy(walk: &Walk, from: &mut dyn Read, to: &mut dyn Write, folder: &Path) -> Result<u64, LayerError> {
    let mut buffer = vec![0; 1 << 16];
    let mut len = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(len),
            Ok(count) => count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(walk.read_error(err)),
        };
        let failed = |source| LayerError::Write { path: folder.display().to_string(), source };
        to.write_all(&buffer[..count]).map_err(failed)?;
        len += count as u64;
    }
}

impl<W: Write> Writer<'_, W> {
    /// Writes `swap` under the names of file number `file`, and the file beside it.
    fn swapped(
        &mut self,
        file: usize,
        walk: &Walk,
        mut meta: Meta,
        content: &mut dyn Read,
        swap: &Swap,
    ) -> Result<(), LayerError> {
        let names = self.tree.names(file);
        let mut sparse = meta.sparse.take();
        // Hard links in one folder share a stub; one in another has its own, with the file beside it, for
        // programs look for their data in the folder that they are in.
        let mut folders: Vec<Folder<'_>> = Vec::new();
        for name in &names {
            let folder = folder_of(&name.0);
            match folders.iter_mut().find(|(known, _)| *known == folder) {
                Some((_, names)) => names.push(name),
                None => folders.push((folder, vec![name])),
            }
        }
        let kept: Vec<(Vec<u8>, Vec<u8>)> =
            meta.attributes.iter().filter(|(name, _)| name != b"security.capability").cloned().collect();
        let header = writer::header(&meta, self.options);
        let mut whole: Option<Vec<u8>> = None;
        for (folder, names) in &folders {
            let Some((first, others)) = names.split_first() else { continue };
            self.folders(first.1)?;
            let moved = join(folder, &swap.moved);
            match &whole {
                None => {
                    let readable = meta.mode & 0o777 | (meta.mode & 0o111) << 2;
                    let attributes = if self.options.attributes { kept.as_slice() } else { &[] };
                    self.header(&Header { path: &moved, mode: readable, attributes, ..header })?;
                    if header.size > 0 {
                        match sparse.take() {
                            Some(sparse) => {
                                self.content(walk, &moved, header.size, &mut sparse.reader(&mut *content))?;
                            }
                            None => self.content(walk, &moved, header.size, &mut *content)?,
                        }
                    }
                    whole = Some(moved);
                }
                Some(link) => {
                    self.header(&Header {
                        path: &moved,
                        kind: b'1',
                        link,
                        size: 0,
                        attributes: &[],
                        ..header
                    })?;
                }
            }
            let stub = swap.stands.get(folder).ok_or(LayerError::Changed)?;
            let size = stub.len() as u64;
            self.header(&Header { path: &first.0, size, attributes: &[], ..header })?;
            self.content(walk, &first.0, size, &mut stub.as_slice())?;
            for other in others {
                self.header(&Header {
                    path: &other.0,
                    kind: b'1',
                    link: &first.0,
                    size: 0,
                    attributes: &[],
                    ..header
                })?;
            }
        }
        Ok(())
    }

    /// Writes what is in no layer.
    fn added(&mut self, changes: &Changes) -> Result<(), LayerError> {
        let walk = Walk::new(crate::layer::Limits::default());
        let mut files: Vec<&LayerFile> = changes.added.iter().collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        for file in files {
            let path = file.path.as_bytes();
            let failed = |source| LayerError::Write { path: file.path.clone(), source };
            let (kind, link, size): (u8, &[u8], u64) = match &file.content {
                Content::Folder => (b'5', b"", 0),
                Content::Link(target) => (b'2', target.as_bytes(), 0),
                Content::Bytes(bytes) => (b'0', b"", bytes.len() as u64),
                Content::Part(part) => (b'0', b"", part.len),
                Content::Copy(path) => (b'0', b"", path.metadata().map_err(failed)?.len()),
            };
            let seconds = match self.options.times {
                Times::Set(seconds) => seconds,
                Times::Kept | Times::Clamped(_) => changes.time,
            };
            self.header(&Header {
                path,
                kind,
                link,
                mode: file.mode,
                uid: 0,
                gid: 0,
                size,
                time: Time { seconds, nanos: 0 },
                device: (0, 0),
                attributes: &[],
            })?;
            match &file.content {
                Content::Folder | Content::Link(_) => {}
                Content::Bytes(bytes) => self.content(&walk, path, size, &mut bytes.as_slice())?,
                Content::Part(part) => self.content(&walk, path, size, &mut part.reader())?,
                Content::Copy(from) => {
                    let mut source = std::fs::File::open(from).map_err(failed)?;
                    self.content(&walk, path, size, &mut source)?;
                }
            }
        }
        Ok(())
    }
}

/// A folder, and the names in it with their nodes.
type Folder<'a> = (Vec<u8>, Vec<&'a (Vec<u8>, u32)>);

fn folder_of(path: &[u8]) -> Vec<u8> {
    path.iter().rposition(|byte| *byte == b'/').map_or_else(Vec::new, |at| path[..at].to_vec())
}
