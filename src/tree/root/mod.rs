//! A root file system as the programs in it see it, whichever form it comes in.
//!
//! [`Root`] is what a form must be able to tell: [`Folder`] is a directory of this machine, its own `/` among
//! them; the layers of an image are another (`layer::LayeredRoot`). [`resolve`] follows links as the kernel does
//! for a process whose root it is, so that none leads out of it.

mod folder;
mod resolve;

pub use folder::Folder;
pub use resolve::{Found, Lost, resolve};

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
    /// Its first bytes, [`HEAD`] of them where it has as many.
    pub head: Vec<u8>,
    /// What it says of itself if it begins as an ELF file; the message says why it cannot be read.
    pub elf: Option<Result<Arc<Identity>, String>>,
}

impl Executable {
    /// Reads what `file` begins with.
    pub(crate) fn read(file: &mut Reader<'_>) -> io::Result<Self> {
        let head = file.head(HEAD)?;
        let elf = head.starts_with(b"\x7fELF").then(|| match Identity::read(file) {
            Ok(identity) => Ok(Arc::new(identity)),
            Err(err) => Err(err.to_string()),
        });
        Ok(Self { head, elf })
    }
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
