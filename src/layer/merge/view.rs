//! The files that layers make together, looked at without being unpacked.
//!
//! One pass over the layers finds which names are left in the end, and reads what each program and library says of itself as it
//! comes by. Of contents only what loaders and `/etc` hold is kept; anything else that is asked for is fetched by another pass.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::ahead::decompressed_ahead;
use super::super::entry::{Kind, Meta};
use super::super::walk::Walk;
use super::memory::LayerMemory;
use super::options::LayerStream;
use super::tree::{At, Tree};
use crate::layer::{LayerError, Limits};
use crate::tree::root::{Executable, FOREIGN_HEAD, HEAD, Listed, Listing, Node, NodeKind, Root};
use crate::tree::with_reader;

/// A kept file may have so many bytes, and all of them together.
const KEPT_FILE: u64 = 4 << 20;
const KEPT_ALL: u64 = 64 << 20;

/// The root file system that an image's layers make.
#[derive(Debug)]
pub struct LayeredRoot<'a> {
    pub(super) layers: Vec<LayerStream<'a>>,
    pub(super) limits: Limits,
    pub(super) tree: Tree,
    /// By the number of the entry.
    pub(super) files: Vec<Facts>,
    /// The number of each layer's first entry.
    begins: Vec<u32>,
}

/// What an entry that is no folder says.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) is_file: bool,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    /// Whether who executes it gets capabilities.
    pub(super) has_capabilities: bool,
    pub(super) executable: Option<Box<Executable>>,
    pub(super) content: Option<Box<[u8]>>,
}

/// What the layers made so far.
struct Made {
    tree: Tree,
    files: Vec<Facts>,
    /// Bytes of all files.
    claimed: u64,
    limits: Limits,
}

impl Made {
    fn add(&mut self, meta: &Meta, facts: Facts) -> Result<(), LayerError> {
        // A sparse file of a few bytes can claim any size.
        self.claimed = self.claimed.saturating_add(meta.size);
        if self.claimed > self.limits.bytes {
            return Err(LayerError::Limit { what: "bytes", limit: self.limits.bytes });
        }
        let number = u32::try_from(self.files.len())
            .map_err(|_| LayerError::Limit { what: "entries", limit: u32::MAX.into() })?;
        self.tree.apply(number, meta)?;
        self.files.push(facts);
        Ok(())
    }
}

/// A reader that notes when it has been read to its end.
struct Ended<'a, R> {
    inner: R,
    is_over: &'a AtomicBool,
}

impl<R: Read> Read for Ended<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.is_over.store(true, Ordering::Relaxed);
        }
        Ok(count)
    }
}

impl<'a> LayeredRoot<'a> {
    /// Reads `layers`, the lowest first, once. `stop` is asked at each file whether to end.
    ///
    /// # Errors
    /// As [`Unpacker::apply`](crate::layer::Unpacker::apply).
    pub fn read(
        layers: Vec<LayerStream<'a>>,
        limits: Limits,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, LayerError> {
        Self::read_with(layers, limits, stop, None)
    }

    /// The same, but that layers which `memory` knows by their stored digests are not read, and those that it does not know
    /// are known afterwards.
    ///
    /// # Errors
    /// As [`Unpacker::apply`](crate::layer::Unpacker::apply).
    pub fn read_with(
        layers: Vec<LayerStream<'a>>,
        limits: Limits,
        stop: &dyn Fn() -> bool,
        memory: Option<&LayerMemory>,
    ) -> Result<Self, LayerError> {
        let mut made = Made { tree: Tree::new(), files: Vec::new(), claimed: 0, limits };
        let mut walk = Walk::new(limits);
        let mut kept = 0;
        let mut begins = Vec::new();
        for layer in &layers {
            begins.push(u32::try_from(made.files.len()).unwrap_or(u32::MAX));
            made.tree.begin_layer();
            let stored = layer.stored().zip(memory);
            if let Some(known) = stored.and_then(|(digest, memory)| memory.recall(digest)) {
                for (meta, facts) in known {
                    made.add(&meta, facts)?;
                }
                continue;
            }
            let mut keeper = stored.and_then(|(_, memory)| memory.keep());
            let is_verified = AtomicBool::new(false);
            let source = Ended { inner: layer.open()?, is_over: &is_verified };
            decompressed_ahead(source, |plain| {
                walk.plain(plain, layer.diff_id(), stop, &mut |walk, mut meta, content| {
                    let facts =
                        Facts::of(&mut meta, content, &mut kept).map_err(|err| walk.read_error(err))?;
                    if let Some(keeping) = &mut keeper
                        && keeping.add(&meta, &facts).is_err()
                    {
                        // A full disk is no reason not to go on.
                        keeper = None;
                    }
                    made.add(&meta, facts)
                })
            })?;
            // What was read to its end was found to have its digest.
            if let (Some(keeper), Some((digest, memory))) = (keeper, stored)
                && is_verified.load(Ordering::Relaxed)
            {
                memory.kept(keeper, digest);
            }
        }
        Ok(Self { layers, limits, tree: made.tree, files: made.files, begins })
    }

    /// What the file at `path` is, and the number of its entry.
    pub(super) fn file(&self, path: &Path) -> io::Result<(u32, &Facts)> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        match self.tree.at(path.as_os_str().as_bytes()) {
            Some(At::File(entry)) => {
                let facts = self.files.get(entry as usize).filter(|facts| facts.is_file);
                facts.map(|facts| (entry, facts)).ok_or_else(missing)
            }
            _ => Err(missing()),
        }
    }

    /// Reads the content of entry number `wanted` in the layers once more.
    fn fetch(&self, wanted: u32, most: u64) -> io::Result<Vec<u8>> {
        let mut walk = Walk::new(self.limits);
        let (mut entry, mut bytes, mut found) = (0, Vec::new(), false);
        for layer in &self.layers {
            let source = layer.open().map_err(io::Error::other)?;
            // What was found is enough: the rest need not be read.
            let done = std::cell::Cell::new(false);
            let ended = walk.layer(source, None, &|| done.get(), &mut |walk, meta, content| {
                if entry == wanted {
                    let read = match meta.sparse {
                        Some(sparse) => sparse.reader(content).take(most).read_to_end(&mut bytes),
                        None => content.take(most).read_to_end(&mut bytes),
                    };
                    read.map_err(|err| walk.read_error(err))?;
                    (found, entry) = (true, entry + 1);
                    done.set(true);
                    return Ok(());
                }
                entry += 1;
                Ok(())
            });
            if found {
                return Ok(bytes);
            }
            ended.map_err(io::Error::other)?;
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

impl Facts {
    fn of(meta: &mut Meta, content: &mut dyn Read, kept: &mut u64) -> io::Result<Self> {
        let is_file = meta.kind == Kind::File;
        let mut facts = Self {
            is_file,
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            size: meta.size,
            has_capabilities: meta.attributes.iter().any(|(name, _)| name == b"security.capability"),
            executable: None,
            content: None,
        };
        if !is_file {
            return Ok(facts);
        }
        let (size, path) = (meta.size, &meta.path);
        let mut from: Box<dyn Read> = match meta.sparse.take() {
            Some(sparse) => Box::new(sparse.reader(content)),
            None => Box::new(content),
        };
        if is_kept(path) && size <= KEPT_FILE && *kept + size <= KEPT_ALL {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes)?;
            *kept += size;
            let read = Executable::read(&mut crate::elf::Reader::memory(&bytes))?;
            facts.executable = Some(Box::new(read));
            facts.content = Some(bytes.into());
            return Ok(facts);
        }
        let mut head = Vec::with_capacity(FOREIGN_HEAD);
        from.by_ref().take(FOREIGN_HEAD as u64).read_to_end(&mut head)?;
        // What is neither executable nor an ELF file is executed by nobody.
        if head.starts_with(b"\x7fELF") {
            let whole = io::Cursor::new(head).chain(from);
            facts.executable = Some(Box::new(with_reader(whole, Some(size), Executable::read)??));
        } else if Executable::is_worth_reading(facts.mode, &head) {
            if !Executable::is_foreign(&head) {
                head.truncate(HEAD);
            }
            head.shrink_to_fit();
            facts.executable = Some(Box::new(Executable { head, elf: None }));
        }
        Ok(facts)
    }
}

/// What is asked for most: settings and users, and loaders, which tell where they search.
fn is_kept(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let is_loader =
        (name.starts_with(b"ld") && memchr::memmem::find(name, b".so").is_some()) || name == b"libc.so";
    path.starts_with(b"etc/") || is_loader
}

impl Root for LayeredRoot<'_> {
    fn node(&self, path: &Path) -> io::Result<Option<Node>> {
        Ok(match self.tree.at(path.as_os_str().as_bytes()) {
            None => None,
            Some(At::Folder(meta)) => {
                let meta = meta.cloned().unwrap_or_default();
                Some(Node { kind: NodeKind::Folder, mode: meta.mode, uid: meta.uid, gid: meta.gid, size: 0 })
            }
            Some(At::Link(target)) => Some(Node {
                kind: NodeKind::Link(OsStr::from_bytes(target).into()),
                mode: 0o777,
                uid: 0,
                gid: 0,
                size: target.len() as u64,
            }),
            Some(At::File(entry)) => self.files.get(entry as usize).map(|facts| Node {
                kind: if facts.is_file { NodeKind::File } else { NodeKind::Special },
                mode: facts.mode,
                uid: facts.uid,
                gid: facts.gid,
                size: facts.size,
            }),
        })
    }

    fn executable(&self, path: &Path) -> io::Result<Executable> {
        let (entry, facts) = self.file(path)?;
        match &facts.executable {
            Some(executable) => Ok(Executable::clone(executable)),
            None => Ok(Executable { head: self.fetch(entry, HEAD as u64)?, elf: None }),
        }
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let (entry, facts) = self.file(path)?;
        match &facts.content {
            Some(content) => {
                let count = usize::try_from(most).unwrap_or(usize::MAX).min(content.len());
                Ok(content[..count].to_vec())
            }
            None => self.fetch(entry, most),
        }
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let names = self.tree.names_in(path.as_os_str().as_bytes());
        let names = names.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(names.into_iter().map(|name| OsString::from_vec(name.to_vec())).collect())
    }
}

impl Listed for LayeredRoot<'_> {
    fn files(&self, each: &mut dyn FnMut(Listing<'_>)) {
        let mut file = 0;
        while let Some(entry) = self.tree.entry(file) {
            let names = self.tree.names(file);
            file += 1;
            let facts = self.files.get(entry as usize).filter(|facts| facts.is_file);
            let (Some(facts), Some((path, _))) = (facts, names.into_iter().next()) else { continue };
            each(Listing {
                path: PathBuf::from("/").join(OsString::from_vec(path)),
                mode: facts.mode,
                uid: facts.uid,
                size: facts.size,
                layer: Some(self.begins.partition_point(|begin| *begin <= entry).saturating_sub(1)),
                executable: facts.executable.as_deref(),
            });
        }
    }
}
