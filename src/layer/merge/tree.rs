//! The names that layers make together, without their content.
//!
//! Each layer's entries are applied as the unpacker applies them, links in folders' names included. A name takes about 60 bytes
//! and its length, for an image may hold millions.

mod at;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

pub(super) use at::At;
use rustix::io::Errno;

use crate::layer::LayerError;
use crate::layer::beneath::split;
use crate::layer::entry::{Kind, Meta, Time};
use crate::layer::made::Made;
use crate::layer::name::{join, lossy};
use crate::layer::whiteout::Whiteout;

/// No node, no file, no folder.
const NONE: u32 = u32::MAX;
/// The root folder's node.
pub(super) const ROOT: u32 = 0;
/// How many links may be followed for one name; the kernel's own limit.
const LINKS: u32 = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Folder,
    Link,
    Other,
    Gone,
}

/// A name in a folder.
#[derive(Debug)]
struct Node {
    /// Where in `names` its name is.
    name: u32,
    len: u8,
    what: What,
    is_written: bool,
    parent: u32,
    /// A folder's first name; where in `names` a link's target is.
    child: u32,
    next: u32,
    previous: u32,
    /// The next one in the same bucket.
    chain: u32,
    /// Which file, or which folder's metadata, it is.
    data: u32,
    /// The next name of the same file.
    twin: u32,
}

/// A file of any kind but a folder.
#[derive(Debug)]
struct File {
    /// The number of its entry, counted through all layers.
    entry: u32,
    first: u32,
}

/// What is known of a folder. The default is one that no entry speaks of.
#[derive(Debug, Clone)]
pub(super) struct FolderMeta {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) time: Time,
    pub(super) attributes: Box<[(Vec<u8>, Vec<u8>)]>,
}

impl Default for FolderMeta {
    fn default() -> Self {
        Self { mode: 0o755, uid: 0, gid: 0, time: Time::default(), attributes: Box::default() }
    }
}

/// The names of all layers so far.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    names: Vec<u8>,
    /// The first node of each chain; a power of two of them.
    buckets: Vec<u32>,
    key: RandomState,
    files: Vec<File>,
    folders: Vec<FolderMeta>,
    made: Made,
}

impl Tree {
    pub(super) fn new() -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            names: Vec::new(),
            buckets: vec![NONE; 1024],
            key: RandomState::new(),
            files: Vec::new(),
            folders: Vec::new(),
            made: Made::default(),
        };
        tree.nodes.push(Node {
            name: 0,
            len: 0,
            what: What::Folder,
            is_written: false,
            parent: ROOT,
            child: NONE,
            next: NONE,
            previous: NONE,
            chain: NONE,
            data: NONE,
            twin: NONE,
        });
        tree
    }

    fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    fn node_mut(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    fn name(&self, node: u32) -> &[u8] {
        let Node { name, len, .. } = *self.node(node);
        &self.names[name as usize..name as usize + usize::from(len)]
    }

    fn bucket(&self, parent: u32, name: &[u8]) -> usize {
        self.key.hash_one((parent, name)) as usize & (self.buckets.len() - 1)
    }

    fn find(&self, parent: u32, name: &[u8]) -> Option<u32> {
        let mut node = self.buckets[self.bucket(parent, name)];
        while node != NONE {
            if self.node(node).parent == parent && self.name(node) == name {
                return Some(node);
            }
            node = self.node(node).chain;
        }
        None
    }

    /// Keeps `bytes` in the names, and tells where.
    fn keep(&mut self, bytes: &[u8]) -> Result<u32, Errno> {
        let at = u32::try_from(self.names.len()).map_err(|_| Errno::NOMEM)?;
        self.names.extend_from_slice(bytes);
        Ok(at)
    }

    fn add(&mut self, parent: u32, name: &[u8], what: What) -> Result<u32, Errno> {
        let len = u8::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
        let node = u32::try_from(self.nodes.len()).ok().filter(|node| *node != NONE).ok_or(Errno::NOMEM)?;
        if self.nodes.len() >= self.buckets.len() {
            self.widen();
        }
        let at = self.keep(name)?;
        let bucket = self.bucket(parent, name);
        let next = self.node(parent).child;
        self.nodes.push(Node {
            name: at,
            len,
            what,
            is_written: false,
            parent,
            child: NONE,
            next,
            previous: NONE,
            chain: self.buckets[bucket],
            data: NONE,
            twin: NONE,
        });
        self.buckets[bucket] = node;
        self.node_mut(parent).child = node;
        if next != NONE {
            self.node_mut(next).previous = node;
        }
        Ok(node)
    }

    fn widen(&mut self) {
        self.buckets = vec![NONE; self.buckets.len() * 2];
        for node in 1..self.nodes.len() as u32 {
            if self.node(node).what != What::Gone {
                let bucket = self.bucket(self.node(node).parent, self.name(node));
                self.node_mut(node).chain = self.buckets[bucket];
                self.buckets[bucket] = node;
            }
        }
    }

    /// Removes a name, with all that is in it.
    fn remove(&mut self, node: u32) {
        let Node { parent, next, previous, .. } = *self.node(node);
        if previous == NONE {
            self.node_mut(parent).child = next;
        } else {
            self.node_mut(previous).next = next;
        }
        if next != NONE {
            self.node_mut(next).previous = previous;
        }
        let mut gone = vec![node];
        while let Some(node) = gone.pop() {
            if self.node(node).what == What::Folder {
                gone.extend(self.children(node));
            }
            let bucket = self.bucket(self.node(node).parent, self.name(node));
            let after = self.node(node).chain;
            let mut at = self.buckets[bucket];
            if at == node {
                self.buckets[bucket] = after;
            } else {
                while self.node(at).chain != node {
                    at = self.node(at).chain;
                }
                self.node_mut(at).chain = after;
            }
            self.node_mut(node).what = What::Gone;
        }
    }

    fn children(&self, folder: u32) -> Vec<u32> {
        let mut children = Vec::new();
        let mut node = self.node(folder).child;
        while node != NONE {
            children.push(node);
            node = self.node(node).next;
        }
        children
    }

    fn target(&self, link: u32) -> &[u8] {
        let at = self.node(link).child as usize;
        let len = usize::from(u16::from_le_bytes([self.names[at], self.names[at + 1]]));
        &self.names[at + 2..at + 2 + len]
    }

    /// The folder `path`, as the kernel finds it beneath the root.
    fn folder(&self, path: &[u8]) -> Result<u32, Errno> {
        let (mut rest, mut at, mut links) = (path.to_vec(), ROOT, 0);
        loop {
            let Some(start) = rest.iter().position(|byte| *byte != b'/') else { return Ok(at) };
            let end =
                rest[start..].iter().position(|byte| *byte == b'/').map_or(rest.len(), |len| start + len);
            let part = &rest[start..end];
            match part {
                b"." => {}
                b".." => at = self.node(at).parent,
                _ => {
                    let child = self.find(at, part).ok_or(Errno::NOENT)?;
                    match self.node(child).what {
                        What::Folder => at = child,
                        What::Link => {
                            links += 1;
                            if links > LINKS {
                                return Err(Errno::LOOP);
                            }
                            let target = self.target(child);
                            if target.starts_with(b"/") {
                                at = ROOT;
                            }
                            rest = [target, &rest[end..]].concat();
                            continue;
                        }
                        What::Other | What::Gone => return Err(Errno::NOTDIR),
                    }
                }
            }
            rest.drain(..end);
        }
    }

    /// The same, with what is missing of it made.
    fn made_folder(&mut self, path: &[u8]) -> Result<u32, Errno> {
        match self.folder(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            other => return other,
        }
        let (parent, name) = split(path);
        let parent = self.made_folder(parent)?;
        let name = name.as_encoded_bytes();
        if let Some(there) = self.find(parent, name) {
            self.remove(there);
        }
        self.add(parent, name, What::Folder)
    }

    /// A new layer begins.
    pub(super) fn begin_layer(&mut self) {
        self.made.clear();
    }

    /// Applies entry number `entry` of all layers.
    pub(super) fn apply(&mut self, entry: u32, meta: &Meta) -> Result<(), LayerError> {
        let path = &meta.path;
        let fail = |errno: Errno| LayerError::Entry { path: lossy(path), source: errno.into() };
        if meta.kind == Kind::Ignored {
            return Ok(());
        }
        if path.is_empty() {
            if meta.kind == Kind::Folder {
                self.describe(ROOT, meta);
            }
            return Ok(());
        }
        let (folder, name) = split(path);
        let name = name.as_encoded_bytes();
        if let Some(whiteout) = Whiteout::of(path, name)? {
            return self.whiteout(folder, &whiteout).map_err(fail);
        }
        let parent = self.made_folder(folder).map_err(fail)?;
        let there = self.find(parent, name);
        let is_folder = |tree: &Self, node| tree.node(node).what == What::Folder;
        if let Kind::HardLink(target) = &meta.kind
            && (target == path || target.is_empty())
        {
            return Err(not_linked(path, target, Errno::LOOP));
        }
        match (&meta.kind, there) {
            (Kind::Folder, Some(there)) if is_folder(self, there) => self.describe(there, meta),
            (kind, there) => {
                if let Some(there) = there {
                    self.remove(there);
                }
                match kind {
                    Kind::Folder => {
                        let node = self.add(parent, name, What::Folder).map_err(fail)?;
                        self.describe(node, meta);
                    }
                    Kind::HardLink(target) => {
                        let not_linked = |errno| not_linked(path, target, errno);
                        let (folder, target) = split(target);
                        let folder = self.folder(folder).map_err(not_linked)?;
                        let target = self.find(folder, target.as_encoded_bytes());
                        let target = target.ok_or_else(|| not_linked(Errno::NOENT))?;
                        if is_folder(self, target) {
                            return Err(not_linked(Errno::PERM));
                        }
                        let Node { what, data, child, twin, .. } = *self.node(target);
                        let node = self.add(parent, name, what).map_err(fail)?;
                        self.node_mut(target).twin = node;
                        let new = self.node_mut(node);
                        new.data = data;
                        new.twin = twin;
                        if what == What::Link {
                            new.child = child;
                        }
                    }
                    kind => {
                        let target = match kind {
                            Kind::Symlink(target) => {
                                let len =
                                    u16::try_from(target.len()).map_err(|_| fail(Errno::NAMETOOLONG))?;
                                let at = self.keep(&len.to_le_bytes()).map_err(fail)?;
                                self.keep(target).map_err(fail)?;
                                Some(at)
                            }
                            _ => None,
                        };
                        let what = if target.is_some() { What::Link } else { What::Other };
                        let node = self.add(parent, name, what).map_err(fail)?;
                        let file = self.files.len() as u32;
                        let new = self.node_mut(node);
                        new.data = file;
                        new.child = target.unwrap_or(NONE);
                        self.files.push(File { entry, first: node });
                    }
                }
            }
        }
        self.made.insert(path);
        Ok(())
    }

    /// Notes what an entry says of a folder.
    fn describe(&mut self, node: u32, meta: &Meta) {
        let folder = FolderMeta {
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            time: meta.time,
            attributes: meta.attributes.clone().into_boxed_slice(),
        };
        match self.node(node).data {
            NONE => {
                self.node_mut(node).data = self.folders.len() as u32;
                self.folders.push(folder);
            }
            known => self.folders[known as usize] = folder,
        }
    }

    fn whiteout(&mut self, folder: &[u8], whiteout: &Whiteout<'_>) -> Result<(), Errno> {
        let node = match self.folder(folder) {
            Ok(node) => node,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        match whiteout {
            Whiteout::Mark => {}
            Whiteout::Opaque => self.remove_lower(node, folder),
            Whiteout::Name(hidden) => {
                if let Some(child) = self.find(node, hidden) {
                    let whole = join(folder, hidden);
                    if !self.made.contains(&whole) {
                        self.remove(child);
                    } else if self.node(child).what == What::Folder {
                        self.remove_lower(child, &whole);
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes from a folder, which the layer calls `path`, all that the current layer did not make.
    fn remove_lower(&mut self, folder: u32, path: &[u8]) {
        for child in self.children(folder) {
            let path = join(path, self.name(child));
            if !self.made.contains(&path) {
                self.remove(child);
            } else if self.node(child).what == What::Folder {
                self.remove_lower(child, &path);
            }
        }
    }

    /// A node's path.
    pub(super) fn path(&self, node: u32) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut node = node;
        while node != ROOT {
            parts.push(self.name(node));
            node = self.node(node).parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    /// All nodes that are left, with what is in their way: whether they are folders, and where links lead.
    pub(super) fn left(&self) -> impl Iterator<Item = (u32, bool, Option<&[u8]>)> {
        (1..self.nodes.len() as u32).filter_map(|node| match self.node(node).what {
            What::Gone => None,
            What::Folder => Some((node, true, None)),
            What::Link => Some((node, false, Some(self.target(node)))),
            What::Other => Some((node, false, None)),
        })
    }

    /// What an entry said of a folder.
    pub(super) fn folder_meta(&self, node: u32) -> Option<&FolderMeta> {
        self.folders.get(self.node(node).data as usize)
    }

    /// The entry of file number `file`, in the order of entries.
    pub(super) fn entry(&self, file: usize) -> Option<u32> {
        self.files.get(file).map(|file| file.entry)
    }

    /// The names that file number `file` has in the end: the first is the shortest, the others are by their names.
    pub(super) fn names(&self, file: usize) -> Vec<(Vec<u8>, u32)> {
        let mut names = Vec::new();
        let mut node = self.files.get(file).map_or(NONE, |file| file.first);
        while node != NONE {
            if self.node(node).what != What::Gone {
                names.push((self.path(node), node));
            }
            node = self.node(node).twin;
        }
        names.sort();
        if let Some(shortest) = (0..names.len()).min_by_key(|at| names[*at].0.len()) {
            let first = names.remove(shortest);
            names.insert(0, first);
        }
        names
    }

    /// The folders that `node` is in and that were not asked for before, the outermost first; with them `node`
    /// itself if it is a folder. The root is none of them.
    pub(super) fn unwritten(&mut self, node: u32) -> Vec<u32> {
        let mut folders = Vec::new();
        let mut at = if self.node(node).what == What::Folder { node } else { self.node(node).parent };
        while at != ROOT && !self.node(at).is_written {
            self.node_mut(at).is_written = true;
            folders.push(at);
            at = self.node(at).parent;
        }
        folders.reverse();
        folders
    }

    /// Forgets which folders were asked for.
    pub(super) fn write_again(&mut self) {
        for node in &mut self.nodes {
            node.is_written = false;
        }
    }

    /// The number of nodes, those that are gone included.
    pub(super) fn nodes(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// Whether a node is a folder that is left.
    pub(super) fn is_folder(&self, node: u32) -> bool {
        self.node(node).what == What::Folder
    }
}

fn not_linked(path: &[u8], target: &[u8], errno: Errno) -> LayerError {
    LayerError::HardLink { path: lossy(path), target: lossy(target), source: errno.into() }
}
