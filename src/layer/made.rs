//! What the current layer made, which its own whiteouts spare.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use super::beneath::split;

/// A set of paths that takes 16 bytes for each, however long they are.
///
/// Two hashes with keys that nobody knows stand for a path: that two paths share both is no more likely than that
/// two contents share a digest's first half.
#[derive(Debug, Default)]
pub(super) struct Made {
    keys: (RandomState, RandomState),
    paths: HashSet<u128>,
}

impl Made {
    fn key(&self, path: &[u8]) -> u128 {
        u128::from(self.keys.0.hash_one(path)) << 64 | u128::from(self.keys.1.hash_one(path))
    }

    /// A new layer begins.
    pub(super) fn clear(&mut self) {
        self.paths = HashSet::new();
    }

    /// Remembers `path`, and with it the folders that it is in.
    pub(super) fn insert(&mut self, path: &[u8]) {
        let mut path = path;
        while !path.is_empty() && self.paths.insert(self.key(path)) {
            path = split(path).0;
        }
    }

    pub(super) fn contains(&self, path: &[u8]) -> bool {
        self.paths.contains(&self.key(path))
    }
}
