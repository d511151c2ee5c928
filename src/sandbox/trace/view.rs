//! Files as a stopped thread sees them: from its root and its working directory, with its ids.
//!
//! The kernel offers no look-up for another process. A path is walked here by descriptors, one name after the
//! other, with symbolic links followed beneath the thread's root; `/proc/self` means the thread's own.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::Pid;

use super::credentials::{Assumed, Own, Status};
use super::script::HEAD;

/// As many links as the kernel follows.
const LINKS: u32 = 40;
/// The longest path, with its zero.
pub(super) const PATH_MOST: usize = 4096;
/// Linux's numbers of the file system that has processes in it, and of that one's root folder.
const PROC_MAGIC: u64 = 0x9fa0;
const PROC_ROOT: u64 = 1;
/// `O_CLOEXEC` as `/proc` prints it, on all hosts.
const CLOSE_ON_EXEC: u32 = 0o2_000_000;

/// A file that the thread could execute.
#[derive(Debug)]
pub(super) struct Sight {
    /// Its beginning, filled up with zeros.
    pub(super) head: [u8; HEAD],
}

/// One thread's view.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// Its folder in `/proc`.
    thread: PathBuf,
    root: OwnedFd,
    status: Status,
    own: &'a Own,
}

/// What a path is relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    WorkingDirectory,
    Descriptor(i32),
}

impl<'a> View<'a> {
    pub(super) fn of(pid: Pid, own: &'a Own) -> Result<Self, Errno> {
        let thread = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let root = handle(thread.join("root"))?;
        let status = Status::of(&thread).map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::SRCH))?;
        Ok(Self { thread, root, status, own })
    }

    /// Device and number of the folder that is its root.
    pub(super) fn root_id(&self) -> Result<(u64, u64), Errno> {
        rustix::fs::fstat(&self.root).map(|stat| id(&stat))
    }

    /// Device and number of the file at `path`.
    pub(super) fn id(&self, path: &[u8]) -> Result<(u64, u64), Errno> {
        let file = self.walk(path, Base::WorkingDirectory, true)?;
        rustix::fs::fstat(file).map(|stat| id(&stat))
    }

    /// The file at `path`, where the thread may execute it. Nothing to see is all that is told of what it may not:
    /// the kernel knows the error.
    pub(super) fn executable(&self, path: &[u8], base: Base, follow: bool) -> Result<Sight, Errno> {
        if path.ends_with(b"/") {
            return Err(Errno::NOTDIR);
        }
        let assumed = self.own.assume(&self.status.credentials);
        let file = self.walk(path, base, follow)?;
        self.sight(&file, assumed)
    }

    /// The file that a descriptor stands for.
    pub(super) fn executable_descriptor(&self, number: i32) -> Result<Sight, Errno> {
        let file = handle(self.thread.join("fd").join(number.to_string()))?;
        self.sight(&file, self.own.assume(&self.status.credentials))
    }

    /// Whether the descriptor is closed when the thread executes something.
    pub(super) fn closes(&self, number: i32) -> bool {
        let text =
            fs::read_to_string(self.thread.join("fdinfo").join(number.to_string())).unwrap_or_default();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        flags
            .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
            .is_some_and(|flags| flags & CLOSE_ON_EXEC != 0)
    }

    fn sight(&self, file: &OwnedFd, assumed: Option<Assumed<'_>>) -> Result<Sight, Errno> {
        let stat = rustix::fs::fstat(file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::ACCESS);
        }
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        may_execute(&path, &stat)?;
        drop(assumed);

        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        if self.is_written(&file, &stat) {
            return Err(Errno::TXTBSY);
        }
        let mut head = Vec::with_capacity(HEAD);
        file.take(HEAD as u64)
            .read_to_end(&mut head)
            .map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::IO))?;
        head.resize(HEAD, 0);
        head.try_into().map(|head| Sight { head }).map_err(|_| Errno::IO)
    }

    /// Whether somebody has the file open for writing: then the kernel grants no lease for reading. Leases are the owner's.
    fn is_written(&self, file: &File, stat: &Stat) -> bool {
        let _assumed = self.own.assume_owner(stat.st_uid);
        let lease = |kind: libc::c_int| {
            #[expect(unsafe_code, reason = "there is no safe interface to leases")]
            // SAFETY: the descriptor is open for the whole call, and a lease's kind is a plain number.
            unsafe {
                libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind)
            }
        };
        if lease(libc::F_RDLCK) == 0 {
            lease(libc::F_UNLCK);
            return false;
        }
        std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
    }

    fn walk(&self, path: &[u8], base: Base, follow: bool) -> Result<OwnedFd, Errno> {
        let mut current = match base {
            _ if path.starts_with(b"/") => self.root.try_clone().map_err(|_| Errno::MFILE)?,
            Base::WorkingDirectory => handle(self.thread.join("cwd"))?,
            Base::Descriptor(number) => handle(self.thread.join("fd").join(number.to_string()))?,
        };
        let root = self.root_id()?;
        let names = |path: &[u8]| -> Vec<Vec<u8>> {
            path.split(|byte| *byte == b'/')
                .filter(|name| !matches!(name, [] | [b'.']))
                .map(<[u8]>::to_vec)
                .collect()
        };
        let mut ahead = VecDeque::from(names(path));
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            let folder = rustix::fs::fstat(&current)?;
            if name == b".." && id(&folder) == root {
                continue;
            }
            let open = OFlags::PATH | OFlags::CLOEXEC;
            let next = rustix::fs::openat(
                &current,
                OsStr::from_bytes(&name),
                open | OFlags::NOFOLLOW,
                Mode::empty(),
            )?;
            let stat = rustix::fs::fstat(&next)?;
            let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
            if !is_link || (ahead.is_empty() && !follow) {
                current = next;
                continue;
            }
            links += 1;
            if links > LINKS {
                return Err(Errno::LOOP);
            }
            let target = match self.proc_link(&next, &folder, &name)? {
                Link::Text(text) => text,
                // Such a link leads where its text does not say.
                Link::Magic => {
                    current = rustix::fs::openat(&current, OsStr::from_bytes(&name), open, Mode::empty())?;
                    continue;
                }
            };
            if target.starts_with(b"/") {
                current = self.root.try_clone().map_err(|_| Errno::MFILE)?;
            }
            for name in names(&target).into_iter().rev() {
                ahead.push_front(name);
            }
            if ahead.iter().map(|name| name.len() + 1).sum::<usize>() > 2 * PATH_MOST {
                return Err(Errno::NAMETOOLONG);
            }
        }
        Ok(current)
    }

    fn proc_link(&self, link: &OwnedFd, folder: &Stat, name: &[u8]) -> Result<Link, Errno> {
        let is_proc = rustix::fs::fstatfs(link)?.f_type.cast_unsigned() == PROC_MAGIC;
        if is_proc && folder.st_ino != PROC_ROOT {
            return Ok(Link::Magic);
        }
        let Status { inner_process, inner_thread, .. } = self.status;
        Ok(Link::Text(match name {
            b"self" if is_proc => inner_process.to_string().into_bytes(),
            b"thread-self" if is_proc => format!("{inner_process}/task/{inner_thread}").into_bytes(),
            _ => rustix::fs::readlinkat(link, "", Vec::new())?.into_bytes(),
        }))
    }
}

#[derive(Debug)]
enum Link {
    Text(Vec<u8>),
    Magic,
}

/// A descriptor that can be neither read nor written.
fn handle(path: impl AsRef<Path>) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path.as_ref(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Whether this thread, with the ids that it has now, may execute the file.
fn may_execute(path: &str, stat: &Stat) -> Result<(), Errno> {
    let here: BorrowedFd<'_> = rustix::fs::CWD.as_fd();
    match rustix::fs::accessat(here, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // Linux before 5.8 knows no such flag; the real ids are not what counts.
        Err(Errno::NOSYS | Errno::INVAL) => {
            let noexec = rustix::fs::statvfs(path)?.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC);
            if noexec || stat.st_mode & 0o111 == 0 { Err(Errno::ACCESS) } else { Ok(()) }
        }
        other => other,
    }
}
