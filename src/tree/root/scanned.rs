//! A directory of this machine as a root file system, all of which was looked at beforehand.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{Executable, Folder, Listed, Listing, Node, NodeKind, Root};
use crate::tree::{Record, TreeError, directory};

/// A directory as a root file system, whose files are known.
#[derive(Debug)]
pub struct Scanned {
    folder: Folder,
    /// By path, without the slash before it.
    nodes: HashMap<Box<[u8]>, (Node, Option<Executable>)>,
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
        let nodes = found.listed.into_iter();
        let nodes = nodes.map(|listed| (listed.path.into(), (listed.node, listed.executable))).collect();
        Ok(Self { folder, nodes, unread: found.records })
    }

    /// What could not be read, by the path on this machine.
    #[must_use]
    pub fn unread(&self) -> &[Record] {
        &self.unread
    }

    fn at(&self, path: &Path) -> Option<&(Node, Option<Executable>)> {
        let path = path.as_os_str().as_bytes();
        self.nodes.get(path.strip_prefix(b"/").unwrap_or(path))
    }
}

impl Root for Scanned {
    fn node(&self, path: &Path) -> io::Result<Option<Node>> {
        Ok(self.at(path).map(|(node, _)| node.clone()))
    }

    fn executable(&self, path: &Path) -> io::Result<Executable> {
        match self.at(path) {
            Some((_, Some(executable))) => Ok(executable.clone()),
            _ => self.folder.executable(path),
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
        for (path, (node, executable)) in &self.nodes {
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
