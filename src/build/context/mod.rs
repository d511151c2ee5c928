//! What `COPY`, `ADD` and `RUN --mount` take files from: a folder, an archive of the standard input, a repository.
//!
//! Paths and links are followed by hand, one name after the other and never out of the folder, as docker does: an absolute link begins at
//! the folder, and what an ignore file leaves out is not there at all. Folders are read one at a time; of files, digests are kept and no content.

mod archive;
mod error;
mod filter;
mod find;
mod git;
mod ignored;
mod input;
mod remote;
mod resolve;
mod walk;

pub use archive::{is_archive, plain};
pub use error::{ContextError, RemoteError, Why};
pub use git::{Repository, check_out};
pub use ignored::{IGNORE_FILES, ignore_file};
pub use input::{Input, unpack};
pub use remote::{Remote, fetch};

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::containerfile::Ignore;
use crate::tree::normalized;
use filter::Filter;

/// A folder that files are taken from.
#[derive(Debug)]
pub struct Context {
    root: OwnedFd,
    /// Its absolute path.
    folder: PathBuf,
    ignore: Ignore,
    contents: Contents,
}

/// What is told of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contents {
    Digested,
    Unread,
}

impl Context {
    /// The folder at `folder`, without what `ignore` leaves out.
    ///
    /// # Errors
    /// [`ContextError::Open`].
    pub fn open(folder: &Path, ignore: Ignore) -> Result<Self, ContextError> {
        let failed = |source| ContextError::Open { path: folder.into(), source };
        let absolute = std::path::absolute(folder).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&absolute, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        Ok(Self { root, folder: absolute, ignore, contents: Contents::Digested })
    }

    /// The same, but contents are not read: digests of files are empty.
    #[must_use]
    pub fn without_digests(self) -> Self {
        Self { contents: Contents::Unread, ..self }
    }

    /// The content of the file at `path`, links followed; `None` where it is not there.
    ///
    /// # Errors
    /// [`ContextError`] where it cannot be read, or is larger than `limit` bytes.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ContextError> {
        let found = match self.resolve(path.as_bytes()) {
            Ok(found) => found,
            Err(ContextError::Missing { .. }) => return Ok(None),
            Err(err) => return Err(err),
        };
        let Some(name) = &found.name else {
            return Err(ContextError::read(path.as_bytes(), rustix::io::Errno::ISDIR));
        };
        let failed = |source: std::io::Error| ContextError::read(path.as_bytes(), source);
        let file = walk::open_file(found.folder.as_fd(), name).map_err(|errno| failed(errno.into()))?;
        let mut content = Vec::new();
        File::from(file).take(limit + 1).read_to_end(&mut content).map_err(failed)?;
        if content.len() as u64 > limit {
            return Err(ContextError::TooMuch { path: path.into(), what: "bytes", limit });
        }
        Ok(Some(content))
    }

    /// What `pattern` matches, in the order of the names, without what `exclude` leaves out.
    ///
    /// A pattern with wildcards may match nothing, as BuildKit has it.
    ///
    /// # Errors
    /// [`ContextError`].
    pub fn take(&self, pattern: &str, exclude: &Ignore) -> Result<Vec<Match>, ContextError> {
        let filter = Filter::new(exclude, None);
        let mut matches = Vec::new();
        for found in self.find(pattern)? {
            matches.extend(self.walk(found, &filter)?);
        }
        Ok(matches)
    }

    /// The same for `--parents`: each match is a folder, of which only what the pattern matches is taken, in its own folders. It is the
    /// context itself, or what stands before `/./` in the pattern. `exclude` is seen from there.
    ///
    /// # Errors
    /// [`ContextError`].
    pub fn take_with_parents(&self, pattern: &str, exclude: &Ignore) -> Result<Vec<Match>, ContextError> {
        let (pivot, inner) = pattern.split_once("/./").unwrap_or(("", pattern));
        let inner = normalized(inner);
        if !find::has_wildcards(pivot) && !find::has_wildcards(&inner) {
            self.resolve(format!("{pivot}/{inner}").as_bytes())?;
        }
        let filter = Filter::new(exclude, Some(&inner));
        let mut matches = Vec::new();
        for found in self.find(pivot)? {
            if found.name.is_none() {
                matches.extend(self.walk(found, &filter)?);
            }
        }
        Ok(matches)
    }

    /// The path by which this machine has `path` of the context.
    fn outside(&self, path: &[u8]) -> std::ffi::OsString {
        self.folder.join(std::ffi::OsStr::from_bytes(path)).into_os_string()
    }
}

use super::taken::Match;
