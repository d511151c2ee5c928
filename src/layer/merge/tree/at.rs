//! What is left at a path.

use super::{FolderMeta, ROOT, Tree, What};

/// What is at a path in the end.
#[derive(Debug)]
pub(in crate::layer::merge) enum At<'a> {
    /// A folder, and what an entry said of it.
    Folder(Option<&'a FolderMeta>),
    /// A link, and where it leads.
    Link(&'a [u8]),
    /// Anything else: the number of its entry.
    File(u32),
}

impl Tree {
    /// The node at `path`, of which no folder is a link.
    fn plain(&self, path: &[u8]) -> Option<u32> {
        let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
        let node = parts.try_fold(ROOT, |node, part| {
            if self.node(node).what == What::Folder { self.find(node, part) } else { None }
        })?;
        (self.node(node).what != What::Gone).then_some(node)
    }

    /// What is at `path`, of which no folder is a link.
    pub(in crate::layer::merge) fn at(&self, path: &[u8]) -> Option<At<'_>> {
        let node = self.plain(path)?;
        Some(match self.node(node).what {
            What::Folder => At::Folder(self.folder_meta(node)),
            What::Link => At::Link(self.target(node)),
            What::Other => At::File(self.entry(self.node(node).data as usize)?),
            What::Gone => return None,
        })
    }

    /// The names in the folder at `path`, of which no folder is a link.
    pub(in crate::layer::merge) fn names_in(&self, path: &[u8]) -> Option<Vec<&[u8]>> {
        let node = self.plain(path).filter(|node| self.is_folder(*node))?;
        Some(self.children(node).into_iter().map(|child| self.name(child)).collect())
    }
}
