//! A directory, read by several threads.
//!
//! Opening and reading small files dominates, so the work is shared by pieces of at most a few hundred files; each
//! thread takes the piece that was added last, which keeps what the kernel has just read warm. Directories are
//! reached by descriptors from the input down and symbolic links are never followed.

use std::ffi::{CStr, CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::content::{beneath, content};
use super::root::{Executable, Node, NodeKind};
use super::{Content, Record, TreeError, by_name};
use crate::elf::{Blocks, Reader};

/// Files of one directory that are one piece of work.
const PIECE: usize = 256;
/// The first read of each file; see [`Reader::file_begun`].
const FIRST: usize = 4096;

/// Pseudo file systems of the kernel, which hold no programs and whose files may block: proc, sysfs, cgroup,
/// cgroup2, debugfs, tracefs, securityfs, pstore, bpf, devpts, selinux, efivarfs, binfmt_misc, configfs, fusectl, mqueue.
/// Source: `linux/magic.h`.
const PSEUDO: &[u64] = &[
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x6165_676c,
    0xcafe_4a11,
    0x1cd1,
    0xf97c_ff8c,
    0xde5e_81e4,
    0x4249_4e4d,
    0x6265_6570,
    0x6573_5543,
    0x1980_0202,
];

enum Work {
    /// A directory, by its name in an open one, so that no path is too long and no link on the way is followed.
    Directory { parent: Arc<OwnedFd>, name: CString, path: Vec<u8> },
    /// Files of an open directory.
    Files { directory: Arc<OwnedFd>, path: Arc<[u8]>, names: Vec<CString> },
}

#[derive(Default)]
struct Queue {
    work: Vec<Work>,
    /// Threads that are at work, and may add more.
    busy: usize,
}

/// Something in a directory.
#[derive(Debug)]
pub(super) struct Listed {
    /// Beneath the input, without a slash before it.
    pub(super) path: Vec<u8>,
    pub(super) node: Node,
    /// What a file is executed as, if it may be executed or is an ELF file.
    pub(super) executable: Option<Executable>,
}

/// What a thread found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) records: Vec<Record>,
    pub(super) listed: Vec<Listed>,
}

struct Walk<'a> {
    input: &'a Path,
    /// Whether all that is there is listed, and not its programs only.
    lists: bool,
    device: u64,
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// The programs in a directory.
pub(super) fn identify(input: &Path, threads: usize) -> Result<Vec<Record>, TreeError> {
    walk(input, threads, false).map(|found| found.records)
}

/// All that is in a directory, in the order of paths; the records are of what could not be read.
pub(super) fn list(input: &Path, threads: usize) -> Result<Found, TreeError> {
    walk(input, threads, true)
}

fn walk(input: &Path, threads: usize, lists: bool) -> Result<Found, TreeError> {
    let open = |err: Errno| TreeError::Open { path: input.into(), source: err.into() };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(input, flags, Mode::empty()).map_err(open)?;
    let device = rustix::fs::fstat(&root).map_err(open)?.st_dev;
    let top = Work::Directory { parent: Arc::new(root), name: c".".into(), path: Vec::new() };
    let queue = Queue { work: vec![top], busy: 0 };
    let walk = Walk { input, lists, device, queue: Mutex::new(queue), changed: Condvar::new() };
    let mut found = Found::default();
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(|| walk.work())).collect();
        found = walk.work();
        for other in others {
            // A thread that panicked is a bug; its panic goes on here.
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            found.records.extend(other.records);
            found.listed.extend(other.listed);
        }
    });
    // Each thread's are in order: this sort finds that, and merges them.
    found.listed.sort_by(|a, b| by_name(&a.path, &b.path));
    Ok(found)
}

/// A thread at work. However it ends, also by a panic, the others must not wait for it.
struct Busy<'a>(&'a Walk<'a>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.busy -= 1;
        if queue.busy == 0 && queue.work.is_empty() {
            self.0.changed.notify_all();
        }
    }
}

impl Walk<'_> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes pieces of work until there are none and nobody can add any.
    fn work(&self) -> Found {
        let mut found = Found::default();
        let mut blocks = Blocks::default();
        let mut listing = Vec::with_capacity(1 << 15);
        loop {
            let mut queue = self.lock();
            let work = loop {
                if let Some(work) = queue.work.pop() {
                    break work;
                }
                if queue.busy == 0 {
                    self.changed.notify_all();
                    drop(queue);
                    found.listed.sort_unstable_by(|a, b| by_name(&a.path, &b.path));
                    return found;
                }
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            queue.busy += 1;
            drop(queue);
            let busy = Busy(self);
            match work {
                Work::Directory { parent, name, path } => {
                    self.directory(&parent, &name, path, &mut listing, &mut found);
                }
                Work::Files { directory, path, names } => {
                    for name in names {
                        self.file(&directory, &path, &name, &mut blocks, &mut found);
                    }
                }
            }
            drop(busy);
        }
    }

    fn add(&self, work: impl IntoIterator<Item = Work>) {
        self.lock().work.extend(work);
        self.changed.notify_all();
    }

    fn record(&self, path: &[u8], content: Content) -> Record {
        Record { path: beneath(self.input, "/", path).into(), content }
    }

    fn error(&self, path: &[u8], doing: &str, err: impl Into<std::io::Error>) -> Record {
        let message = format!("{doing}: {}", err.into());
        self.record(path, Content::Error { message })
    }

    fn directory(
        &self,
        parent: &OwnedFd,
        name: &CString,
        path: Vec<u8>,
        listing: &mut Vec<u8>,
        found: &mut Found,
    ) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(parent, name, flags, Mode::empty());
        let directory = match directory {
            Ok(directory) => Arc::new(directory),
            Err(err) => return found.records.push(self.error(&path, "the directory cannot be opened", err)),
        };
        if self.is_pseudo(&directory) {
            return;
        }
        if self.lists
            && let Ok(stat) = rustix::fs::fstat(&directory)
        {
            let node = Node::of(&stat, NodeKind::Folder);
            found.listed.push(Listed { path: path.clone(), node, executable: None });
        }
        let path: Arc<[u8]> = path.into();
        let mut directories = Vec::new();
        let mut names = Vec::new();
        let files = |names: &mut Vec<CString>| Work::Files {
            directory: Arc::clone(&directory),
            path: Arc::clone(&path),
            names: std::mem::take(names),
        };
        listing.clear();
        let mut entries = RawDir::new(directory.as_fd(), listing.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(err) => {
                    found.records.push(self.error(&path, "the directory cannot be read", err));
                    break;
                }
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                // Some file systems do not tell with the name.
                match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => kind = FileType::from_raw_mode(stat.st_mode),
                    Err(err) => {
                        let path = join(&path, name.to_bytes());
                        found.records.push(self.error(&path, "the file cannot be read", err));
                    }
                }
            }
            match kind {
                FileType::Directory => directories.push(Work::Directory {
                    parent: Arc::clone(&directory),
                    name: name.to_owned(),
                    path: join(&path, name.to_bytes()),
                }),
                FileType::RegularFile => names.push(name.to_owned()),
                _ if self.lists => self.other(&directory, &path, name, found),
                _ => {}
            }
            if names.len() == PIECE {
                self.add([files(&mut names)]);
            }
        }
        if !names.is_empty() {
            directories.push(files(&mut names));
        }
        self.add(directories);
    }

    /// Lists what is neither a directory nor a file.
    fn other(&self, directory: &OwnedFd, path: &[u8], name: &CStr, found: &mut Found) {
        let path = join(path, name.to_bytes());
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let kind = match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Symlink => rustix::fs::readlinkat(directory, name, Vec::new())
                        .map(|target| NodeKind::Link(OsString::from_vec(target.into_bytes()).into())),
                    _ => Ok(NodeKind::Special),
                };
                match kind {
                    Ok(kind) => {
                        found.listed.push(Listed { path, node: Node::of(&stat, kind), executable: None });
                    }
                    Err(err) => found.records.push(self.error(&path, "the link cannot be read", err)),
                }
            }
            Err(err) => found.records.push(self.error(&path, "the file cannot be read", err)),
        }
    }

    /// Lists a file, with what it is executed as.
    fn list(&self, file: &OwnedFd, path: Vec<u8>, first: &[u8], blocks: &mut Blocks, found: &mut Found) {
        let stat = match rustix::fs::fstat(file) {
            Ok(stat) => stat,
            Err(err) => return found.records.push(self.error(&path, "the file cannot be read", err)),
        };
        let node = Node::of(&stat, NodeKind::File);
        let is_begun = first.len() == FIRST || first.len() as u64 == node.size;
        let executable = if Executable::is_worth_reading(node.mode, first) {
            let begun = if is_begun { first } else { &[] };
            match Executable::read(&mut Reader::file_begun(file.as_fd(), node.size, begun, blocks)) {
                Ok(executable) => Some(executable),
                Err(err) => return found.records.push(self.error(&path, "the file cannot be read", err)),
            }
        } else {
            None
        };
        found.listed.push(Listed { path, node, executable });
    }

    /// Whether a directory is one of the kernel's own that is mounted beneath the input. One that was named
    /// itself is read: whoever names /proc means it.
    fn is_pseudo(&self, directory: &OwnedFd) -> bool {
        let elsewhere = rustix::fs::fstat(directory).is_ok_and(|stat| stat.st_dev != self.device);
        elsewhere
            && rustix::fs::fstatfs(directory).is_ok_and(|fs| PSEUDO.contains(&fs.f_type.cast_unsigned()))
    }

    fn file(&self, directory: &OwnedFd, path: &[u8], name: &CString, blocks: &mut Blocks, found: &mut Found) {
        let path = || join(path, name.to_bytes());
        // NONBLOCK: should a fifo have taken the file's place, opening it must not wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(err) => return found.records.push(self.error(&path(), "the file cannot be opened", err)),
        };
        let mut first = [0; FIRST];
        let count = match rustix::io::pread(&file, &mut first, 0) {
            Ok(count) => count,
            Err(err) => return found.records.push(self.error(&path(), "the file cannot be read", err)),
        };
        if self.lists {
            return self.list(&file, path(), &first[..count], blocks, found);
        }
        // Most files are no programs, and their first bytes tell.
        if !matches!(
            first.get(..count.min(4)),
            Some(
                [0x7f, b'E', b'L', b'F']
                    | [b'#', b'!', ..]
                    | [b'M', b'Z', ..]
                    | [0xca..=0xcf | 0xfe, 0xfa | 0xed | 0xfe, ..]
            )
        ) {
            return;
        }
        let len = match rustix::fs::fstat(&file) {
            Ok(stat) => u64::try_from(stat.st_size).unwrap_or(0),
            Err(err) => return found.records.push(self.error(&path(), "the file cannot be read", err)),
        };
        // A short read of a longer file tells nothing of what follows, so it is not taken for the first block.
        let first = if count == FIRST || count as u64 == len { &first[..count] } else { &[] };
        match content(&mut Reader::file_begun(file.as_fd(), len, first, blocks)) {
            Ok(Some(content)) => found.records.push(self.record(&path(), content)),
            Ok(None) => {}
            Err(err) => found.records.push(self.error(&path(), "the file cannot be read", err)),
        }
    }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(path.len() + 1 + name.len());
    joined.extend_from_slice(path);
    if !path.is_empty() {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}
