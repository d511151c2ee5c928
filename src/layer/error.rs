//! Why a layer could not be applied or written.

use std::io;

use super::{Digest, Unfit};

/// A layer could not be applied or written. Paths are as the layer has them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The layer is no tar stream, ends early, or is not compressed as it should be.
    #[error("reading the layer")]
    Read {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An entry's name, or a hard link's target, is none that can be used.
    #[error("layer entry `{path}` has a name that leaves the root file system or is no name: {reason}")]
    Name {
        /// The entry.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry's owner or time is no number that a file can have.
    #[error("layer entry `{path}` has a {field} that no file can have: `{value}`")]
    Field {
        /// The entry.
        path: String,
        /// `uid`, `gid` or `mtime`.
        field: &'static str,
        /// As the layer has it.
        value: String,
    },
    /// An entry cannot be made.
    #[error("unpacking layer entry `{path}`")]
    Entry {
        /// The entry.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An entry belongs to a user or group that there is not in this user namespace.
    #[error("layer entry `{path}` belongs to {uid}:{gid}, ids that are not to be had here")]
    Owner {
        /// The entry.
        path: String,
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// A hard link leads to nothing.
    #[error("layer entry `{path}` is a hard link to `{target}`, which cannot be linked")]
    HardLink {
        /// The entry.
        path: String,
        /// What it leads to.
        target: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More than an image may hold.
    #[error("the image holds more than {limit} {what}")]
    Limit {
        /// `entries` or `bytes`.
        what: &'static str,
        /// How many are allowed.
        limit: u64,
    },
    /// The content is not what the image's config says.
    #[error("the layer's content does not match its digest: expected {expected}, found {found}")]
    DiffId {
        /// As the config says.
        expected: Digest,
        /// As read.
        found: Digest,
    },
    /// Files that the asked format cannot hold; nothing was written.
    #[error("{} of the image's files do not fit into a plain ustar archive: {}", files.len(), list(files))]
    Unfit {
        /// All of them, by their paths.
        files: Vec<Unfit>,
    },
    /// A compression has no such level.
    #[error("compression level {level} is out of range: {least} to {most}")]
    Level {
        /// As asked for.
        level: u32,
        /// The lowest.
        least: u32,
        /// The highest.
        most: u32,
    },
    /// The layers gave other content when they were read again.
    #[error("the layers changed while they were read")]
    Changed,
    /// The caller asked to stop.
    #[error("stopped while unpacking")]
    Stopped,
    /// The root file system's folder cannot be used.
    #[error("opening the root file system's folder")]
    Root {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The layer cannot be written.
    #[error("writing layer entry `{path}`")]
    Write {
        /// The entry; empty for the end of the layer.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The files of a message, and how many more there are.
fn list(files: &[Unfit]) -> String {
    const SHOWN: usize = 50;
    let mut text: Vec<String> =
        files.iter().take(SHOWN).map(|Unfit { path, reason }| format!("`{path}`: {reason}")).collect();
    if files.len() > SHOWN {
        text.push(format!("and {} more", files.len() - SHOWN));
    }
    text.join("; ")
}

impl LayerError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Name { .. } | Self::HardLink { .. } => {
                Some("the image was made wrongly or to do harm; do not trust it".into())
            }
            Self::Unfit { .. } => {
                Some("shorten these names in the image, or leave the files out; they are never cut".into())
            }
            Self::Owner { .. } => Some(
                "grant more ids in `/etc/subuid` and `/etc/subgid`, as with `usermod --add-subuids`".into(),
            ),
            Self::DiffId { .. } => Some("the image is damaged; fetch or make it again".into()),
            Self::Entry { source, .. } | Self::Write { source, .. }
                if source.kind() == io::ErrorKind::StorageFull =>
            {
                Some("make room on the disk; `df` shows which is full".into())
            }
            _ => None,
        }
    }
}
