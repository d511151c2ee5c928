//! What is merged, and how.

use std::fmt;
use std::io::{self, Read};

use crate::layer::{Digest, LayerError, Limits};

type Open<'a> = Box<dyn Fn() -> io::Result<Box<dyn Read + Send + 'a>> + 'a>;

/// A layer that can be read more than once.
pub struct LayerStream<'a> {
    open: Open<'a>,
    diff_id: Option<Digest>,
    stored: Option<Digest>,
}

impl<'a> LayerStream<'a> {
    /// `open` gives the layer from its start, plain or compressed; `diff_id` is the digest of its tar stream, if that
    /// is to be verified.
    pub fn new(
        open: impl Fn() -> io::Result<Box<dyn Read + Send + 'a>> + 'a,
        diff_id: Option<Digest>,
    ) -> Self {
        Self { open: Box::new(open), diff_id, stored: None }
    }

    /// The same layer, which is known to have that digest as it is stored: reading it to its end verifies it.
    #[must_use]
    pub fn stored_as(self, digest: Digest) -> Self {
        Self { stored: Some(digest), ..self }
    }

    pub(super) fn stored(&self) -> Option<&Digest> {
        self.stored.as_ref()
    }

    pub(super) fn open(&self) -> Result<Box<dyn Read + Send + 'a>, LayerError> {
        (self.open)().map_err(|source| LayerError::Read { source })
    }

    pub(super) fn diff_id(&self) -> Option<&Digest> {
        self.diff_id.as_ref()
    }
}

impl fmt::Debug for LayerStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerStream").field("diff_id", &self.diff_id).finish_non_exhaustive()
    }
}

/// How a merged layer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeOptions {
    /// Which headers.
    pub format: TarFormat,
    /// Owners and groups.
    pub ids: Ids,
    /// Times.
    pub times: Times,
    /// Whether extended attributes are kept.
    pub attributes: bool,
    /// How much the layers may hold.
    pub limits: Limits,
}

impl Default for MergeOptions {
    /// All is kept as it is, in a format that can hold it.
    fn default() -> Self {
        Self {
            format: TarFormat::Pax,
            ids: Ids::Kept,
            times: Times::Kept,
            attributes: true,
            limits: Limits::default(),
        }
    }
}

/// Which headers a merged layer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarFormat {
    /// POSIX ustar, with pax records before the entries that need them.
    Pax,
    /// POSIX ustar and nothing else: no extension records, and no entry for the root.
    PureUstar,
}

/// Owners and groups of a merged layer's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// As the layers have them.
    Kept,
    /// 0.
    Zero,
}

/// Times of a merged layer's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// As the layers have them.
    Kept,
    /// No later than this, in seconds since 1970, as `SOURCE_DATE_EPOCH` is understood.
    Clamped(i64),
    /// All the same, in seconds since 1970.
    Set(i64),
}

/// A file that a format cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unfit {
    /// Its path.
    pub path: String,
    /// Why.
    pub reason: &'static str,
}
