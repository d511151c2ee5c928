//! Writing a folder of this machine as a layer.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tar::{EntryType, Header};

use super::header::put_record;
use super::{Digest, DigestWriter, LayerError};

/// Writes a folder as a tar stream that depends on nothing but the files: in the order of their names, without the names of
/// owners, and with no time later than a given one. What an ordinary user owns is root's.
///
/// Of extended attributes those are kept that [`Unpacker`](super::Unpacker) gives back: `user.*`, capabilities and POSIX access lists. Sockets are
/// left out.
#[derive(Debug, Clone)]
pub struct FolderWriter {
    /// The latest time of a file, in seconds since 1970.
    latest: u64,
    /// Whether the folder is an overlay's uppermost part, in which some files stand for what is gone.
    overlay: bool,
    /// What the folder was a copy of, where only what has changed since is written.
    over: Option<PathBuf>,
}

/// The files of one folder that are yet to be written, the last first.
type Pending = Vec<(PathBuf, PathBuf)>;

impl FolderWriter {
    /// A writer that gives no file a time later than `latest`, in seconds since 1970.
    #[must_use]
    pub fn new(latest: u64) -> Self {
        Self { latest, overlay: false, over: None }
    }

    /// The same for the part of an overlay that takes what is written: what was removed becomes OCI's whiteouts.
    ///
    /// Source: Linux, `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories", with `userxattr`.
    #[must_use]
    pub fn of_overlay(self) -> Self {
        Self { overlay: true, ..self }
    }

    /// The same for a copy of the folder `below`: only what is not alike there is written, and whiteouts for what is gone.
    #[must_use]
    pub fn over(self, below: &Path) -> Self {
        Self { over: Some(below.into()), ..self }
    }

    /// Writes what is in `folder` to `out`. Gives the digest of the stream.
    ///
    /// # Errors
    /// [`LayerError::Write`].
    pub fn write(self, folder: &Path, out: &mut dyn Write) -> Result<Digest, LayerError> {
        let mut out = DigestWriter::new(out);
        self.write_plain(folder, &mut out)?;
        Ok(out.finish().1)
    }

    /// The same without a digest. Gives whether the folder holds nothing to be written.
    ///
    /// # Errors
    /// [`LayerError::Write`].
    pub fn write_plain(self, folder: &Path, out: &mut dyn Write) -> Result<bool, LayerError> {
        let mut builder = tar::Builder::new(io::BufWriter::with_capacity(1 << 17, out));
        let mut is_empty = true;
        let mut linked: HashMap<(u64, u64), PathBuf> = HashMap::new();
        let failed = |path: &Path| {
            let path = path.to_string_lossy().into_owned();
            move |source| LayerError::Write { path, source }
        };
        let over = self.over.as_deref();
        let mut pending = children(folder, over, Path::new("")).map_err(failed(Path::new("")))?;
        // The folders around the next file that are alike: they are written with the first file in them that is not, as an
        // overlay has them.
        let mut around: Vec<(PathBuf, PathBuf)> = Vec::new();
        while let Some((path, name)) = pending.pop() {
            around.retain(|(_, folder)| name.starts_with(folder));
            let below = over.map(|over| over.join(&name));
            let there = match fs::symlink_metadata(&path) {
                Ok(there) => Some(there),
                Err(err) if below.is_some() && err.kind() == io::ErrorKind::NotFound => None,
                Err(err) => return Err(failed(&name)(err)),
            };
            let is_alike = |below: &PathBuf| there.as_ref().is_some_and(|it| is_alike(&path, it, below));
            let is_alike = below.as_ref().is_some_and(is_alike);
            if !is_alike {
                is_empty = false;
                for (path, name) in around.drain(..) {
                    self.add(&mut builder, &path, &name, &mut linked).map_err(failed(&name))?;
                }
                match &there {
                    Some(_) => self.add(&mut builder, &path, &name, &mut linked),
                    None => whiteout(&mut builder, &super::whiteout::for_name(&name)),
                }
                .map_err(failed(&name))?;
            }
            // A link to a folder is a link.
            if there.is_some_and(|there| there.is_dir()) {
                let was_folder =
                    below.filter(|below| fs::symlink_metadata(below).is_ok_and(|it| it.is_dir()));
                let over = was_folder.as_ref().and(over);
                pending.extend(children(&path, over, &name).map_err(failed(&name))?);
                if is_alike {
                    around.push((path, name));
                }
            }
        }
        let end = failed(Path::new(""));
        builder.into_inner().and_then(|mut out| out.flush()).map_err(end)?;
        Ok(is_empty)
    }

    fn add<W: Write>(
        &self,
        builder: &mut tar::Builder<W>,
        path: &Path,
        name: &Path,
        linked: &mut HashMap<(u64, u64), PathBuf>,
    ) -> io::Result<()> {
        let meta = fs::symlink_metadata(path)?;
        let kind = meta.file_type();
        let mut header = self.header(&meta);
        if self.overlay && kind.is_char_device() && meta.rdev() == 0 {
            return whiteout(builder, &super::whiteout::for_name(name));
        }
        let kind = if kind.is_dir() {
            EntryType::Directory
        } else if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            return builder.append_link(&mut header, name, fs::read_link(path)?);
        } else if kind.is_file() {
            if meta.nlink() > 1 {
                if let Some(first) = linked.get(&(meta.dev(), meta.ino())) {
                    header.set_entry_type(EntryType::Link);
                    return builder.append_link(&mut header, name, first);
                }
                linked.insert((meta.dev(), meta.ino()), name.into());
            }
            attributes(builder, path, name, &header)?;
            header.set_size(meta.len());
            let content = Exact { inner: File::open(path)?, left: meta.len() };
            return builder.append_data(&mut header, name, content);
        } else if kind.is_fifo() {
            EntryType::Fifo
        } else if kind.is_char_device() || kind.is_block_device() {
            header.set_device_major(rustix::fs::major(meta.rdev()))?;
            header.set_device_minor(rustix::fs::minor(meta.rdev()))?;
            if kind.is_block_device() { EntryType::Block } else { EntryType::Char }
        } else {
            return Ok(());
        };
        attributes(builder, path, name, &header)?;
        header.set_entry_type(kind);
        builder.append_data(&mut header, name, io::empty())?;
        if self.overlay && meta.is_dir() && is_opaque(path)? {
            return whiteout(builder, &name.join(super::whiteout::OPAQUE));
        }
        Ok(())
    }

    fn header(&self, meta: &Metadata) -> Header {
        let mut header = Header::new_gnu();
        header.set_mode(meta.mode() & 0o7777);
        header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0).min(self.latest));
        let user = rustix::process::geteuid();
        let own = |id: u32, mine: u32| if !user.is_root() && id == mine { 0 } else { u64::from(id) };
        header.set_uid(own(meta.uid(), user.as_raw()));
        header.set_gid(own(meta.gid(), rustix::process::getegid().as_raw()));
        header.set_size(0);
        header
    }
}

/// Whether the file at `path` is what is at `below`, as far as can be told without reading it.
fn is_alike(path: &Path, there: &Metadata, below: &Path) -> bool {
    let Ok(before) = fs::symlink_metadata(below) else { return false };
    let facts = |meta: &Metadata| (meta.mode(), meta.uid(), meta.gid(), meta.rdev());
    if facts(there) != facts(&before) {
        return false;
    }
    let time = |meta: &Metadata| (meta.mtime(), meta.mtime_nsec());
    let is_same = if there.is_symlink() {
        fs::read_link(path).ok() == fs::read_link(below).ok()
    } else {
        // What is in a folder is seen by itself.
        !there.is_file() || there.len() == before.len()
    };
    is_same && time(there) == time(&before)
}

/// Writes the empty file `name`, which says that something is gone.
fn whiteout<W: Write>(builder: &mut tar::Builder<W>, name: &Path) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    // That something is gone has no time of its own.
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header.set_entry_type(EntryType::Regular);
    builder.append_data(&mut header, name, io::empty())
}

/// The most that the kernel gives of a file's attributes: their names, and one's value. Source: linux/limits.h.
const ATTRIBUTE_MOST: usize = 64 << 10;

/// Writes a pax header with the extended attributes of the file at `path`, which is no link, if it has any.
fn attributes<W: Write>(
    builder: &mut tar::Builder<W>,
    path: &Path,
    name: &Path,
    like: &Header,
) -> io::Result<()> {
    let mut names = Vec::with_capacity(ATTRIBUTE_MOST);
    match rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut names)) {
        Ok(_) => {}
        // A file system that knows none.
        Err(Errno::NOTSUP) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    }
    let mut names: Vec<&[u8]> = names.split(|byte| *byte == 0).filter(|name| is_kept(name)).collect();
    names.sort_unstable();
    let mut records = Vec::new();
    for attribute in names {
        let mut value = Vec::with_capacity(ATTRIBUTE_MOST);
        match rustix::fs::lgetxattr(path, attribute, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => {}
            // Taken away in between.
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(errno.into()),
        }
        put_record(&mut records, &[b"SCHILY.xattr.", attribute].concat(), &value);
    }
    if records.is_empty() {
        return Ok(());
    }
    let mut header = Header::new_gnu();
    let base = name.file_name().unwrap_or_default().as_encoded_bytes();
    let own = [b"PaxHeaders/", &base[..base.len().min(80)]].concat();
    header.as_mut_bytes()[..own.len()].copy_from_slice(&own);
    header.set_entry_type(EntryType::XHeader);
    header.set_mode(0o644);
    header.set_mtime(like.mtime()?);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(records.len() as u64);
    header.set_cksum();
    builder.append(&header, records.as_slice())
}

/// Whether nothing of what lies under the folder at `path` is to be seen.
fn is_opaque(path: &Path) -> io::Result<bool> {
    for name in ["user.overlay.opaque", "trusted.overlay.opaque"] {
        let mut value = [0; 4];
        match rustix::fs::lgetxattr(path, name, &mut value[..]) {
            Ok(count) => return Ok(value.get(..count) == Some(b"y")),
            Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(false)
}

/// Whether an attribute means on another machine what it means here.
fn is_kept(attribute: &[u8]) -> bool {
    attribute.starts_with(b"user.") && !attribute.starts_with(b"user.overlay.")
        || [&b"security.capability"[..], b"system.posix_acl_access", b"system.posix_acl_default"]
            .contains(&attribute)
}

/// What is in `folder`, or was in that folder of `over`, the last first, each with its name in the layer.
fn children(folder: &Path, over: Option<&Path>, name: &Path) -> io::Result<Pending> {
    let names = |folder: &Path| {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<OsString>>>()
    };
    let mut all = names(folder)?;
    if let Some(over) = over {
        all.extend(names(&over.join(name))?);
    }
    all.sort_by(|a, b| b.cmp(a));
    all.dedup();
    Ok(all.into_iter().map(|child| (folder.join(&child), name.join(&child))).collect())
}

/// Reads exactly as much as a file's header says, even where the file changes meanwhile.
struct Exact {
    inner: File,
    left: u64,
}

impl Read for Exact {
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
