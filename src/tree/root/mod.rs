//! A root file system as the programs in it see it, whichever form it comes in.
//!
//! [`Root`] is what a form must be able to tell: [`Folder`] is a directory of this machine, its own `/` among
//! them; the layers of an image are another (`layer::LayeredRoot`). [`resolve`] follows links as the kernel does
//! for a process whose root it is, so that none leads out of it.

mod folder;
mod resolve;
mod scanned;

pub use folder::Folder;
pub use resolve::{Found, Lost, resolve};
pub use scanned::Scanned;

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::elf::{Identity, Reader};

/// How many of a file's first bytes are looked at: as many as the kernel reads to tell how to execute it
/// (`BINPRM_BUF_SIZE`).
pub const HEAD: usize = 256;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// The permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Bytes of a file.
    pub size: u64,
}

/// What something at a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, and where it leads.
    Link(PathBuf),
    /// A device, a fifo or a socket.
    Special,
}

impl Node {
    /// From what the kernel says of it.
    pub(super) fn of(stat: &rustix::fs::Stat, kind: NodeKind) -> Self {
        Self {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
        }
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind == NodeKind::File
    }

    /// Whether the kernel lets a user execute it, by its mode: one of its bits is enough for root.
    #[must_use]
    pub fn is_executable_by(&self, uid: u32, gids: &[u32]) -> bool {
        let bit = match uid {
            0 => 0o111,
            uid if uid == self.uid => 0o100,
            _ if gids.contains(&self.gid) => 0o010,
            _ => 0o001,
        };
        self.mode & bit != 0
    }
}

/// What a regular file holds, as far as it says how it is executed.
#[derive(Debug, Clone)]
pub struct Executable {
    /// Its first bytes, [`HEAD`] of them where it has as many; some more of a file for another system.
    pub head: Vec<u8>,
    /// What it says of itself if it begins as an ELF file; the message says why it cannot be read.
    pub elf: Option<Result<Arc<Identity>, String>>,
}

/// How many of the first bytes are kept of a file for another system, to tell which.
pub(crate) const FOREIGN_HEAD: usize = 1024;

impl Executable {
    /// Whether a file with that mode, which begins so, is one that is executed or loaded by anybody.
    pub(crate) fn is_worth_reading(mode: u32, first: &[u8]) -> bool {
        mode & 0o111 != 0
            || first.starts_with(b"\x7fELF")
            || first.starts_with(b"#!")
            || Self::is_foreign(first)
    }

    /// Whether a file that begins so may be for another system: DOS's mark, or one of Mach-O's.
    pub(crate) fn is_foreign(first: &[u8]) -> bool {
        first.starts_with(b"MZ")
            || matches!(
                first.get(..4),
                Some(
                    [0xfe, 0xed, 0xfa, 0xce | 0xcf]
                        | [0xce | 0xcf, 0xfa, 0xed, 0xfe]
                        | [0xca, 0xfe, 0xba, 0xbe | 0xbf]
                )
            )
    }

    /// Reads what `file` begins with.
    pub(crate) fn read(file: &mut Reader<'_>) -> io::Result<Self> {
        let mut head = file.head(HEAD)?;
        if Self::is_foreign(&head) {
            head = file.head(FOREIGN_HEAD)?;
        }
        let elf = head.starts_with(b"\x7fELF").then(|| match Identity::read(file) {
            Ok(identity) => Ok(Arc::new(identity)),
            Err(err) => Err(err.to_string()),
        });
        Ok(Self { head, elf })
    }
}

/// A file of a root file system, as it is listed.
#[derive(Debug)]
pub struct Listing<'a> {
    /// Its path; one of them, where it has several names.
    pub path: PathBuf,
    /// The permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// Bytes.
    pub size: u64,
    /// The layer that it is from, counted from 0, where there are layers.
    pub layer: Option<usize>,
    /// How it is executed, if it may be executed or is an ELF file, a script or a file for another system.
    pub executable: Option<&'a Executable>,
}

/// A root file system all of whose files are known.
pub trait Listed: Root {
    /// Calls `each` with every regular file, in no order.
    fn files(&self, each: &mut dyn FnMut(Listing<'_>));
}

/// A root file system.
///
/// Paths are absolute, and none of the folders in them is a link, `.` or `..`: they come from [`resolve`].
pub trait Root: Debug {
    /// What is at `path`, which is not followed if it is a link; `None` where nothing is.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    fn node(&self, path: &Path) -> io::Result<Option<Node>>;

    /// How the file at `path` is executed.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn executable(&self, path: &Path) -> io::Result<Executable>;

    /// The content of the file at `path`, its first `most` bytes if it has more.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>>;

    /// The names in the folder at `path`.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn names(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// Where the file system that holds `path` is mounted, if nothing on it may be executed.
    fn noexec(&self, _path: &Path) -> Option<PathBuf> {
        None
    }
}
