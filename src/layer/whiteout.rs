//! Whiteouts: names of a layer that remove what lower ones put there.
//!
//! Source: OCI image specification, "Whiteouts". They may come before or after what their own layer makes.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::LayerError;
use super::beneath;
use super::made::Made;
use super::name::{join, lossy};

/// What a name that begins with `.wh.` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whiteout<'a> {
    /// Nothing of lower layers is left in the folder.
    Opaque,
    /// This name goes.
    Name(&'a [u8]),
    /// A mark of AUFS's own, which layers made on it carry.
    Mark,
}

impl<'a> Whiteout<'a> {
    /// What the last part of `path` says; `None` for an ordinary name.
    pub(super) fn of(path: &[u8], name: &'a [u8]) -> Result<Option<Self>, LayerError> {
        let Some(hidden) = name.strip_prefix(b".wh.") else { return Ok(None) };
        Ok(Some(match hidden {
            b".wh..opq" => Self::Opaque,
            b"" | b"." | b".." => {
                return Err(LayerError::Name { path: lossy(path), reason: "a whiteout of nothing" });
            }
            _ if hidden.starts_with(b".wh.") => Self::Mark,
            name => Self::Name(name),
        }))
    }
}

/// The name that says that nothing of lower layers is left in its folder.
pub(super) const OPAQUE: &str = ".wh..wh..opq";

/// The whiteout of `path`.
pub(super) fn for_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(".wh.");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

/// Removes from `folder`, which the layer calls `path`, all that the current layer did not make.
pub(super) fn remove_lower(folder: impl AsFd, path: &[u8], made: &Made) -> Result<(), Errno> {
    for name in beneath::names(&folder)? {
        let path = join(path, name.as_encoded_bytes());
        if !made.contains(&path) {
            beneath::remove(&folder, &name)?;
        } else if let Ok(inner) = beneath::open_folder(&folder, &name) {
            remove_lower(&inner, &path, made)?;
        }
    }
    Ok(())
}
