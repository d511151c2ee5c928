//! The files of all packages as one layer, as dpkg would have unpacked them.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use tar::{EntryType, Header};

use super::member::{Member, conffiles};
use crate::debian::{Deb, DebianError};
use crate::progress::Task;
use crate::rootfs::RootfsError;
use crate::rootfs::names::{Entry, Names, Place};

/// Bytes that go from one thread to another in one piece, and how many pieces of a package wait.
const PIECE: usize = 256 << 10;
const PIECES: usize = 32;
/// How many packages are decompressed at once, at most.
const MOST_THREADS: usize = 4;
/// The largest file that dpkg asks about, in bytes.
const CONFFILE_LIMIT: u64 = 16 << 20;

/// Writes a layer of files.
pub(super) struct Layer<W: Write> {
    builder: tar::Builder<W>,
    time: u64,
}

impl<W: Write> Layer<W> {
    /// One whose files have `time`, in seconds since 1970, where nothing else is said.
    pub(super) fn new(out: W, time: u64) -> Self {
        Self { builder: tar::Builder::new(out), time }
    }

    pub(super) fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        let header = header(EntryType::Directory, mode, self.time);
        self.put(path.as_bytes(), header, io::empty())
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let mut header = header(EntryType::Regular, mode, self.time);
        header.set_size(content.len() as u64);
        self.put(path.as_bytes(), header, content)
    }

    pub(super) fn link(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, self.time);
        self.builder.append_link(&mut header, as_path(path), as_path(target))
    }

    fn put(&mut self, path: &[u8], mut header: Header, content: impl Read) -> io::Result<()> {
        self.builder.append_data(&mut header, as_path(path), content)
    }

    pub(super) fn finish(self) -> io::Result<()> {
        self.builder.into_inner()?.flush()
    }
}

fn header(kind: EntryType, mode: u32, time: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(time);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Where writing the layer fails, somebody else knows why: its reader has gone.
pub(super) fn written(source: io::Error) -> RootfsError {
    RootfsError::File { doing: "writing", path: "the layer of all packages".into(), source }
}

/// Writes the files of `members`, in their order, and notes in each what dpkg is to list as its own. Gives the names of all.
pub(super) fn write<W: Write>(
    members: &mut [Member],
    layer: &mut Layer<W>,
    task: &dyn Task,
) -> Result<Names, RootfsError> {
    let mut names = Names::default();
    for name in ["bin", "lib", "sbin"] {
        names.merge(name.as_bytes());
        layer.folder(&format!("usr/{name}"), 0o755).map_err(written)?;
        layer.link(name.as_bytes(), format!("usr/{name}").as_bytes()).map_err(written)?;
    }
    let mut lists: Vec<Vec<String>> = vec![Vec::new(); members.len()];
    let debs: Vec<&Deb> = members.iter().map(|member| &member.deb).collect();
    ahead(&debs, |at, stream| {
        package(members, at, stream, layer, &mut names, &mut lists)?;
        task.advance(1);
        Ok(())
    })?;
    for (member, list) in members.iter_mut().zip(lists) {
        member.list = list;
    }
    Ok(names)
}

/// Writes the files of the package of number `at`.
fn package<W: Write>(
    members: &[Member],
    at: usize,
    stream: &mut dyn Read,
    layer: &mut Layer<W>,
    names: &mut Names,
    lists: &mut [Vec<String>],
) -> Result<(), RootfsError> {
    let Some(member) = members.get(at) else { return Ok(()) };
    let read = |source| RootfsError::Package {
        package: member.name.clone(),
        source: Box::new(DebianError::Read { path: format!("data.tar of {}", member.name).into(), source }),
    };
    let content = |reason: String| RootfsError::Content { package: member.name.clone(), reason };
    let conffiles = conffiles(member);
    let mut archive = tar::Archive::new(stream);
    for entry in archive.entries().map_err(read)? {
        let mut entry = entry.map_err(read)?;
        let own = entry.path_bytes().into_owned();
        let own = own.strip_prefix(b"./").unwrap_or(&own);
        let own = own.strip_suffix(b"/").unwrap_or(own);
        let shown = || String::from_utf8_lossy(own).into_owned();
        let kind = entry.header().entry_type();
        let listed = if own.is_empty() || own == b"." { "/.".to_owned() } else { format!("/{}", shown()) };
        if own.is_empty() || own == b"." {
            if let Some(list) = lists.get_mut(at) {
                list.push(listed);
            }
            continue;
        }
        let first = own.split(|byte| *byte == b'/').next().unwrap_or_default();
        if Names::is_merged(first) && (kind.is_dir() || first.len() < own.len()) && names.merge(first) {
            let target = [b"usr/", first].concat();
            layer.folder(&String::from_utf8_lossy(&target), 0o755).map_err(written)?;
            layer.link(first, &target).map_err(written)?;
        }
        let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
        let what = match kind {
            EntryType::Directory => Entry::Folder,
            EntryType::Symlink => Entry::Link(&link),
            EntryType::Regular
            | EntryType::Continuous
            | EntryType::Link
            | EntryType::Fifo
            | EntryType::Char
            | EntryType::Block => Entry::File,
            _ => return Err(content(format!("`{}` is of a kind that packages do not hold", shown()))),
        };
        let mut place = names.place(own, what, at, false);
        if let Place::Taken { path, by } = &place {
            let path = String::from_utf8_lossy(path).into_owned();
            let other = members.get(*by).filter(|_| *by != at);
            let replaces = other.is_some_and(|other| member.replaces(other));
            if replaces {
                if let Some(list) = lists.get_mut(*by) {
                    list.retain(|known| *known != listed);
                }
                place = names.place(own, what, at, true);
            } else if other.is_some_and(|other| other.replaces(member)) {
                continue;
            } else {
                let other = other.map_or_else(|| "the system".into(), |other| other.name.clone());
                return Err(RootfsError::FileConflict { package: member.name.clone(), other, path });
            }
        }
        if let Some(list) = lists.get_mut(at) {
            list.push(listed);
        }
        let path = match place {
            Place::At(path) => path,
            Place::Stays => continue,
            Place::Nowhere | Place::Taken { .. } => {
                return Err(content(format!("`{}` is no name of a file", shown())));
            }
        };
        let mut header = like(entry.header()).map_err(read)?;
        match kind {
            EntryType::Symlink => {
                layer.builder.append_link(&mut header, as_path(&path), as_path(&link)).map_err(written)?;
            }
            EntryType::Link => {
                let target =
                    names.resolve(&link).ok_or_else(|| content(format!("`{}` links to nothing", shown())))?;
                layer.builder.append_link(&mut header, as_path(&path), as_path(&target)).map_err(written)?;
            }
            EntryType::Regular | EntryType::Continuous if conffiles.contains(own) => {
                let size = entry.size();
                if size > CONFFILE_LIMIT {
                    return Err(content(format!("`{}` is larger than {CONFFILE_LIMIT} bytes", shown())));
                }
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(read)?;
                header.set_size(bytes.len() as u64);
                // dpkg puts it in its place when it configures the package. What others take for granted is there before.
                if member.is_base() {
                    layer.put(&path, header.clone(), bytes.as_slice()).map_err(written)?;
                }
                let new = [&path, b".dpkg-new".as_slice()].concat();
                layer.put(&new, header, bytes.as_slice()).map_err(written)?;
            }
            EntryType::Regular | EntryType::Continuous => {
                let size = entry.size();
                header.set_size(size);
                let mut exact = Exact { inner: &mut entry, left: size, failed: None };
                let result = layer.put(&path, header, &mut exact);
                if let Some(err) = exact.failed {
                    return Err(read(err));
                }
                result.map_err(written)?;
            }
            EntryType::Char | EntryType::Block => {
                let number =
                    |number: io::Result<Option<u32>>| number.map(Option::unwrap_or_default).map_err(read);
                header.set_device_major(number(entry.header().device_major())?).map_err(read)?;
                header.set_device_minor(number(entry.header().device_minor())?).map_err(read)?;
                layer.put(&path, header, io::empty()).map_err(written)?;
            }
            _ => {
                layer.put(&path, header, io::empty()).map_err(written)?;
            }
        }
    }
    Ok(())
}

/// A header with the rights, the owner and the time of `from`.
fn like(from: &Header) -> io::Result<Header> {
    let mut header = header(from.entry_type(), from.mode()? & 0o7777, from.mtime()?);
    header.set_uid(from.uid()?);
    header.set_gid(from.gid()?);
    Ok(header)
}

/// Reads exactly as much as a header says, and keeps why it could not: a stream that breaks off looks like the end of an entry.
struct Exact<R> {
    inner: R,
    left: u64,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let failure = match self.inner.read(&mut buffer[..length]) {
            Ok(0) if length > 0 => io::ErrorKind::UnexpectedEof.into(),
            Ok(count) => {
                self.left -= count as u64;
                return Ok(count);
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => return Err(err),
            Err(err) => err,
        };
        self.failed = Some(failure);
        Err(io::Error::other("the package ended"))
    }
}

/// Gives the files of `debs`, as tar streams, one after the other to `visit`, and has threads decompress those that come next.
fn ahead(
    debs: &[&Deb],
    mut visit: impl FnMut(usize, &mut dyn Read) -> Result<(), RootfsError>,
) -> Result<(), RootfsError> {
    let (senders, receivers): (Vec<_>, Vec<_>) = debs.iter().map(|_| sync_channel(PIECES)).unzip();
    let senders: Vec<_> = senders.into_iter().map(|sender| Mutex::new(Some(sender))).collect();
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS).min(debs.len());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    // In their order, so that the one that is waited for is always among those that are worked at.
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(deb), Some(sender)) = (debs.get(at), senders.get(at)) else { return };
                    let sender = sender.lock().ok().and_then(|mut sender| sender.take());
                    if let Some(sender) = sender {
                        decompress(deb, &sender);
                    }
                }
            });
        }
        for (at, receiver) in receivers.into_iter().enumerate() {
            visit(at, &mut Pieces { receiver, piece: Vec::new(), at: 0 })?;
        }
        Ok(())
    })
}

fn decompress(deb: &Deb, sender: &SyncSender<io::Result<Vec<u8>>>) {
    let mut stream = match deb.stream() {
        Ok(stream) => stream,
        Err(err) => {
            let _ = sender.send(Err(io::Error::other(err)));
            return;
        }
    };
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let result = stream.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let is_end = matches!(result, Ok(0) | Err(_));
        // Nobody receives any more where something else has failed.
        if sender.send(result.map(|_| piece)).is_err() || is_end {
            return;
        }
    }
}

/// What another thread sends.
struct Pieces {
    receiver: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.piece.len() {
            match self.receiver.recv() {
                Ok(Ok(piece)) if piece.is_empty() => return Ok(0),
                Ok(piece) => (self.piece, self.at) = (piece?, 0),
                Err(_) => return Ok(0),
            }
        }
        let rest = &self.piece[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}
