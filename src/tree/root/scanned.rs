//! A directory of this machine as a root file system, all of which was looked at beforehand.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{Executable, Folder, Listed, Listing, Node, NodeKind, Root};
use crate::tree::{Record, TreeError, by_name, directory};

/// A directory as a root file system, whose files are known.
#[derive(Debug)]
pub struct Scanned {
    folder: Folder,
    /// In the order of their paths.
    listed: Vec<directory::Listed>,
    unread: Vec<Record>,
}

impl Scanned {
    /// Reads the directory at `path`, with `threads` threads.
    ///
    /// # Errors
    /// [`TreeError`] where it cannot be opened, or is no directory.
    pub fn read(path: &Path, threads: usize) -> Result<Self, TreeError> {
        let found = directory::list(path, threads)?;
        let folder = Folder::open(path).map_err(|source| TreeError::Open { path: path.into(), source })?;
        Ok(Self { folder, listed: found.listed, unread: found.records })
    }

    /// What could not be read, by the path on this machine.
    #[must_use]
    pub fn unread(&self) -> &[Record] {
        &self.unread
    }

    fn at(&self, path: &Path) -> Option<&directory::Listed> {
        let path = path.as_os_str().as_bytes();
        let path = path.strip_prefix(b"/").unwrap_or(path);
        self.listed.get(self.listed.binary_search_by(|listed| by_name(&listed.path, path)).ok()?)
    }
}

impl Root for Scanned {
    fn node(&self, path: &Path) -> io::Result<Option<Node>> {
        Ok(self.at(path).map(|listed| listed.node.clone()))
    }

    fn executable(&self, path: &Path) -> io::Result<Executable> {
        match self.at(path).and_then(|listed| listed.executable.as_ref()) {
            Some(executable) => Ok(executable.clone()),
            None => self.folder.executable(path),
        }
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        self.folder.read(path, most)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.folder.names(path)
    }

    fn noexec(&self, path: &Path) -> Option<PathBuf> {
        self.folder.noexec(path)
    }
}

impl Listed for Scanned {
    fn files(&self, each: &mut dyn FnMut(Listing<'_>)) {
        for directory::Listed { path, node, executable } in &self.listed {
            if node.kind != NodeKind::File {
                continue;
            }
            each(Listing {
                path: Path::new("/").join(OsStr::from_bytes(path)),
                mode: node.mode,
                uid: node.uid,
                size: node.size,
                layer: None,
                executable: executable.as_ref(),
            });
        }
    }
}
