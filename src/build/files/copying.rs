//! COPY and ADD, in the root of a step.
//!
//! Source: Docker's reference, and what BuildKit does where that says nothing: links of the destination are followed in the root, a folder's content
//! is merged into what is there, a file takes the place of what is no folder.

mod chmod;
mod tree;
mod write;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::owner::Owner;
use super::place::{followed, made_folder, open_in};
use super::{Copying, Done, From, Refused, Stop, open};
use crate::build::{Entry, Kind, Match};
use chmod::Chmod;
use tree::Tree;
use write::{Meta, What, Writer};

/// What every source of one instruction is copied by.
struct Copier<'a> {
    root: &'a std::os::fd::OwnedFd,
    copying: &'a Copying,
    /// `--chown`.
    owner: Option<Owner>,
    chmod: Option<Chmod>,
    destination: PathBuf,
}

/// Copies what `copying` says into the root at `root`; `sources` are the other roots.
pub(super) fn copy(root: &Path, sources: &[PathBuf], copying: &Copying, done: &mut Done) -> Result<(), Stop> {
    let root = open(root)?;
    let owner = copying.chown.as_deref().map(|text| Owner::resolve(&root, text)).transpose()?;
    let owner = owner.map(|owner| owner.if_kept(copying.owners, done));
    let chmod = copying.chmod.as_deref().map(Chmod::parse).transpose()?;
    let destination = PathBuf::from(&copying.destination);
    let of_parents = owner.unwrap_or_default();
    if copying.destination.ends_with('/') {
        made_folder(&root, &destination, of_parents)?;
    } else if let Some(parent) = destination.parent() {
        made_folder(&root, parent, of_parents)?;
    }
    let copier = Copier { root: &root, copying, owner, chmod, destination };
    for from in &copying.sources {
        match from {
            From::Machine { pattern, matches } => {
                for one in matches {
                    copier.machine(pattern, one, done)?;
                }
            }
            From::Root { root, pattern } => {
                let Some(source) = sources.get(*root) else { continue };
                copier.tree(source, pattern, done)?;
            }
            From::Text { name, content } => copier.text(name, content, done)?,
        }
    }
    Ok(())
}

impl Copier<'_> {
    fn machine(&self, pattern: &str, one: &Match, done: &mut Done) -> Result<(), Stop> {
        let Some(first) = one.entries.first() else { return Ok(()) };
        let is_folder = first.kind == Kind::Folder;
        if first.unpack {
            return self.unpack(first);
        }
        let mut writer = self.writer(pattern, Path::new(&one.path), is_folder, done)?;
        for entry in &one.entries {
            let meta = Meta { mode: entry.mode, owner: Owner::default(), time: entry.time, link: None };
            let path = Path::new(&entry.path);
            let what = match &entry.kind {
                Kind::Folder => What::Folder,
                Kind::File { .. } => What::File,
                Kind::Link { target } => What::Link(target.clone()),
            };
            writer.put(path, &what, &meta, &|| File::open(&entry.file))?;
        }
        writer.finish()
    }

    fn tree(&self, source: &Path, pattern: &str, done: &mut Done) -> Result<(), Stop> {
        let source = open(source)?;
        let tree = Tree { root: &source, exclude: &self.copying.exclude };
        let found = tree.matches(pattern)?;
        if found.is_empty() {
            let message = format!("`{pattern}` is not in what is copied from");
            return Err(Refused::new(message).into());
        }
        for (path, is_folder) in found {
            let mut writer = self.writer(pattern, &path, is_folder, done)?;
            tree.walk(&path, self.copying.owners, &mut writer)?;
            writer.finish()?;
        }
        Ok(())
    }

    fn text(&self, name: &str, content: &str, done: &mut Done) -> Result<(), Stop> {
        let mut writer = self.writer("", Path::new(name), false, done)?;
        let meta = Meta { mode: 0o644, owner: Owner::default(), time: (0, 0), link: None };
        let open = || {
            let file = rustix::fs::memfd_create("here-document", rustix::fs::MemfdFlags::CLOEXEC)?;
            let mut file = File::from(file);
            file.write_all(content.as_bytes())?;
            std::io::Seek::rewind(&mut file)?;
            Ok(file)
        };
        writer.put(Path::new(""), &What::File, &meta, &open)?;
        writer.finish()
    }

    /// What writes a match called `path` to where it belongs.
    fn writer<'w>(
        &'w self,
        pattern: &str,
        path: &Path,
        is_folder: bool,
        done: &'w mut Done,
    ) -> Result<Writer<'w>, Stop> {
        let failed = |errno: Errno| Stop::Failed(self.destination.clone(), errno.into());
        let mut target = followed(self.root, &self.destination).map_err(failed)?;
        let of_parents = self.owner.unwrap_or_default();
        let exists_as_folder =
            |path: &Path| open_in(self.root, path, OFlags::PATH | OFlags::DIRECTORY).is_ok();
        if self.copying.parents {
            let kept = behind_pivot(pattern, path);
            target.push(kept);
            if !is_folder && let Some(parent) = target.parent() {
                made_folder(self.root, parent, of_parents)?;
            }
        } else if !is_folder && exists_as_folder(&target) {
            target.push(path.file_name().unwrap_or_default());
        }
        let mut made = false;
        if is_folder && !exists_as_folder(&target) {
            if let Ok(there) = open_in(self.root, &target, OFlags::PATH | OFlags::NOFOLLOW) {
                drop(there);
                let message = format!("`{}` is no folder in the image", target.display());
                return Err(Refused::new(message)
                    .hint("a folder's content can only be copied into a folder")
                    .into());
            }
            made_folder(self.root, &target, of_parents)?;
            made = true;
        }
        Ok(Writer::new(self.root, target, made, self.owner, self.chmod.as_ref(), self.copying.owners, done))
    }

    /// Unpacks an archive into the destination.
    fn unpack(&self, entry: &Entry) -> Result<(), Stop> {
        use std::os::fd::AsRawFd as _;

        use crate::layer::{Limits, Owners, Unpacker};
        let folder = made_folder(self.root, &self.destination, self.owner.unwrap_or_default())?;
        let place = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        let name = entry.file.to_string_lossy().into_owned();
        let refused = |err: &dyn std::error::Error| {
            let causes = std::iter::successors(err.source(), |err| err.source());
            let text = causes.fold(err.to_string(), |text, cause| format!("{text}: {cause}"));
            Stop::Refused(Refused::new(format!("unpacking `{name}`: {text}")))
        };
        let owners = if self.copying.owners { Owners::Kept } else { Owners::Caller };
        let unpacked = Unpacker::new(&place, Limits::default()).and_then(|unpacker| {
            let mut unpacker = unpacker.with_owners(owners);
            let file = File::open(&entry.file).map_err(|source| crate::layer::LayerError::Read { source })?;
            unpacker.apply(file, None, &|| false)?;
            unpacker.finish()
        });
        unpacked.map(drop).map_err(|err| refused(&err))
    }
}

/// The part of a match's path that `--parents` keeps: what stands behind `/./` in the pattern.
fn behind_pivot(pattern: &str, path: &Path) -> PathBuf {
    let before = match pattern.split_once("/./") {
        Some((before, _)) => before.split('/').filter(|part| !part.is_empty() && *part != ".").count(),
        None => 0,
    };
    path.iter().filter(|part| part.as_bytes() != b"/").skip(before).map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_kept_behind_the_pivot() {
        for (pattern, path, kept) in [
            ("a/b/c", "a/b/c", "a/b/c"),
            ("a/./b/c", "a/b/c", "b/c"),
            ("./a/*/./c", "a/x/c", "c"),
            ("/a/b/./c", "/a/b/c", "c"),
            ("./a", "a", "a"),
        ] {
            assert_eq!(behind_pivot(pattern, Path::new(path)), Path::new(kept), "{pattern}");
        }
    }
}
