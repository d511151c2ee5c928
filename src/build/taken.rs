//! What a `COPY` or an `ADD` takes from this machine: the contract between contexts, which find it, and the builder, which copies it.
//!
//! A source is a [`Context`](super::context::Context) (a folder, an unpacked archive of the standard input, a cloned repository, and in the
//! container a stage's root too), whose `take` and `take_with_parents` give what a pattern matches, in the order of the names; or a file that was
//! fetched, which is one [`Match`] of one [`Entry`].
//!
//! What is ignored or excluded is not among the entries. Patterns are cleaned: `/a`, `./a` and `a` are the same, and `..` does not leave the
//! context. A link on the way to a match is followed within the context, and so is one that a match is itself; links in folders stay
//! links. [`Match::digest`] is what the cache knows of it.
//!
//! With `--parents` a match is the folder that the names begin at, with the folders on the way to what the pattern matches: to be copied
//! as the content of a folder is.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use serde::{Deserialize, Serialize};

use crate::layer::Digest;

/// One thing that a source pattern matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// Its path in the context as it was asked for, with no slash first; empty for the context itself.
    pub path: OsString,
    /// Itself first, then all that is in it: every folder before its content, in the order of the names.
    pub entries: Vec<Entry>,
}

/// A file of a [`Match`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path beneath the match; empty for the match itself.
    pub path: OsString,
    /// The absolute path by which this machine has it.
    pub file: OsString,
    /// What it is.
    pub kind: Kind,
    /// The permission bits.
    pub mode: u32,
    /// When it was changed: seconds since 1970, and nanoseconds.
    pub time: (i64, u32),
    /// Its user and group there, which a copy of a context does not keep.
    pub owner: (u32, u32),
    /// Its extended attributes, by their names: `user.*` and capabilities.
    pub attributes: Vec<(OsString, Vec<u8>)>,
    /// Whether it is an archive that is to be unpacked where it would be copied to.
    pub unpack: bool,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Its length in bytes.
        size: u64,
        /// The digest of its content, in text.
        digest: String,
    },
    /// A symbolic link.
    Link {
        /// Where it leads.
        target: OsString,
    },
    /// Another name of a file before it in the match.
    Again {
        /// That file's path beneath the match.
        path: OsString,
    },
}

impl Match {
    /// What decides over what a copy of it makes; neither owners nor times do, as in BuildKit.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut text = Vec::new();
        let mut put = |bytes: &[u8]| {
            text.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            text.extend_from_slice(bytes);
        };
        put(self.path.as_bytes());
        for entry in &self.entries {
            put(entry.path.as_bytes());
            put(&[u8::from(entry.unpack)]);
            put(&entry.mode.to_be_bytes());
            put(&(entry.attributes.len() as u64).to_be_bytes());
            for (name, value) in &entry.attributes {
                put(name.as_bytes());
                put(value);
            }
            match &entry.kind {
                Kind::Folder => put(b"folder"),
                Kind::File { digest, .. } => put(digest.as_bytes()),
                Kind::Link { target } => {
                    put(b"link");
                    put(target.as_bytes());
                }
                Kind::Again { path } => {
                    put(b"again");
                    put(path.as_bytes());
                }
            }
        }
        Digest::of(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_kinds_and_modes_count_and_times_do_not() {
        let entry = |path: &str, kind, mode, time| Entry {
            path: path.into(),
            file: "/f".into(),
            kind,
            mode,
            time: (time, 0),
            owner: (0, 0),
            attributes: Vec::new(),
            unpack: false,
        };
        let of = |entries: Vec<Entry>| Match { path: "a".into(), entries }.digest();
        let one = of(vec![entry("", Kind::Folder, 0o755, 1), entry("b", Kind::Folder, 0o755, 1)]);
        assert_eq!(one, of(vec![entry("", Kind::Folder, 0o755, 2), entry("b", Kind::Folder, 0o755, 9)]));
        assert_ne!(one, of(vec![entry("", Kind::Folder, 0o755, 1), entry("b", Kind::Folder, 0o700, 1)]));
        assert_ne!(one, of(vec![entry("", Kind::Folder, 0o755, 1), entry("c", Kind::Folder, 0o755, 1)]));
        let link = Kind::Link { target: "x".into() };
        assert_ne!(one, of(vec![entry("", Kind::Folder, 0o755, 1), entry("b", link, 0o755, 1)]));
    }
}
