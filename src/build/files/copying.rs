//! COPY and ADD, in the root of a step.
//!
//! Source: Docker's reference, and what BuildKit does where that says nothing: links of the destination are followed in the root, a folder's content
//! is merged into what is there, a file takes the place of what is no folder.

mod chmod;
mod write;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::owner::Owner;
use super::place::{followed, made_folder, open_in};
use super::{Copying, Done, From, Refused, Stop, open};
use crate::build::context::{Context, ContextError, plain};
use crate::build::{Entry, Kind, Match};
use crate::containerfile::Ignore;
use crate::layer::DigestWriter;
use chmod::Chmod;
use write::{Writer, changed};

/// Opens a file that was one when it was found: it is neither followed nor waited for, should it be something else now.
fn opened(path: &std::ffi::OsStr) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(changed()) }
}

/// The same for one that is to be unpacked, if it is what the step was begun with.
fn verified(entry: &Entry) -> io::Result<File> {
    let mut file = opened(&entry.file)?;
    if let Kind::File { digest, .. } = &entry.kind
        && !digest.is_empty()
    {
        let mut out = DigestWriter::new(io::sink());
        io::copy(&mut file, &mut out)?;
        if out.finish().1.to_string() != *digest {
            return Err(changed());
        }
        io::Seek::rewind(&mut file)?;
    }
    Ok(file)
}

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
            From::Machine { matches } => copier.matches(matches, false, done)?,
            From::Root { root, pattern } => {
                if let Some(source) = sources.get(*root) {
                    copier.root(source, pattern, done)?;
                }
            }
            From::Text { name, content } => copier.text(name, content, done)?,
        }
    }
    Ok(())
}

impl Copier<'_> {
    fn matches(&self, matches: &[Match], are_owned: bool, done: &mut Done) -> Result<(), Stop> {
        for one in matches {
            let Some(first) = one.entries.first() else { continue };
            if first.unpack {
                self.unpack(first)?;
                continue;
            }
            let is_folder = first.kind == Kind::Folder;
            let mut writer = self.writer(Path::new(&one.path), is_folder, done)?;
            for entry in &one.entries {
                writer.put(entry, are_owned, &|| opened(&entry.file))?;
            }
            writer.finish()?;
        }
        Ok(())
    }

    /// Copies what `pattern` matches in the root at `source`.
    fn root(&self, source: &Path, pattern: &str, done: &mut Done) -> Result<(), Stop> {
        let refused = |err: ContextError| {
            let hint = err.hint();
            let causes = std::iter::successors(std::error::Error::source(&err), |err| err.source());
            let message = causes.fold(err.to_string(), |text, cause| format!("{text}: {cause}"));
            Refused { message, hint }
        };
        let exclude = Ignore::of(self.copying.exclude.iter().map(String::as_str));
        let exclude = exclude.map_err(|err| Refused::new(err.to_string()))?;
        let context = Context::open(source, Ignore::default()).map_err(refused)?.without_digests();
        let found = if self.copying.parents {
            context.take_with_parents(pattern, &exclude)
        } else {
            context.take(pattern, &exclude)
        };
        self.matches(&found.map_err(refused)?, true, done)
    }

    fn text(&self, name: &str, content: &str, done: &mut Done) -> Result<(), Stop> {
        let mut writer = self.writer(Path::new(name), false, done)?;
        let entry = Entry {
            path: OsString::new(),
            file: OsString::new(),
            kind: Kind::File { size: content.len() as u64, digest: String::new() },
            mode: 0o644,
            time: (0, 0),
            owner: (0, 0),
            attributes: Vec::new(),
            unpack: false,
        };
        let open = || {
            let file = rustix::fs::memfd_create("here-document", rustix::fs::MemfdFlags::CLOEXEC)?;
            let mut file = File::from(file);
            file.write_all(content.as_bytes())?;
            std::io::Seek::rewind(&mut file)?;
            Ok(file)
        };
        writer.put(&entry, false, &open)?;
        writer.finish()
    }

    /// What writes a match called `path` to where it belongs.
    fn writer<'w>(&'w self, path: &Path, is_folder: bool, done: &'w mut Done) -> Result<Writer<'w>, Stop> {
        let failed = |errno: Errno| Stop::Failed(self.destination.clone(), errno.into());
        let mut target = followed(self.root, &self.destination).map_err(failed)?;
        let of_parents = self.owner.unwrap_or_default();
        let exists_as_folder =
            |path: &Path| open_in(self.root, path, OFlags::PATH | OFlags::DIRECTORY).is_ok();
        if !is_folder && exists_as_folder(&target) {
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
            let file = verified(entry).map_err(|source| crate::layer::LayerError::Read { source })?;
            let plain = plain(file).map_err(|source| crate::layer::LayerError::Read { source })?;
            unpacker.apply(plain, None, &|| false)?;
            unpacker.finish()
        });
        unpacked.map(drop).map_err(|err| refused(&err))
    }
}
