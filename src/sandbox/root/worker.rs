//! A process in a user namespace with a container's ids, which makes and removes files that belong to them.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::handoff::Handoff;
use super::super::plan::{Failure, Message, Step};
use super::super::{Ids, SandboxError, Signals, lifeline, userns};
use super::remove::remove_tree;
use super::{helper, positions};
use crate::layer::{Digest, FolderWriter, LayerError, Limits, Owners, Skipped, Unpacker};

/// First argument of the process.
pub(in super::super) const WORKER: &str = "\u{1}sandbox-files";

/// Layers come through standard input in pieces: the length of each, and a length of 0 at a layer's end.
const PIECE: usize = 1 << 18;

/// What it does.
#[derive(Debug, Serialize, Deserialize)]
enum Job {
    /// Unpacks layers of these digests, the lowest first, to an empty folder; and makes their folders once more in another one.
    Unpack { folder: OsString, skeleton: Option<OsString>, layers: Vec<String>, owners_kept: bool },
    /// Writes a tree to standard output as a layer whose files have no time later than `latest`.
    Pack { folder: OsString, latest: u64 },
    /// Removes trees.
    Remove { paths: Vec<OsString> },
}

/// What it says of layers.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) enum Unpacked {
    Whole {
        devices: u64,
        attributes: u64,
        owners: u64,
    },
    /// Layer `layer`, from 0, could not be unpacked.
    Failed {
        layer: usize,
        reasons: Vec<String>,
        hint: Option<String>,
    },
}

/// A failure of the worker, as it told it.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Told {
    text: String,
    #[source]
    cause: Option<Box<Told>>,
}

impl Told {
    fn new(reasons: Vec<String>) -> Self {
        let mut cause = None;
        for text in reasons.into_iter().rev() {
            cause = Some(Box::new(Self { text, cause }));
        }
        cause.map_or_else(|| Self { text: "no reason was told".into(), cause: None }, |told| *told)
    }
}

/// Unpacks layers to the empty folder `folder`, with the owners that they say where there are `ids` for them. `layers` gives
/// each layer as it is stored, and its digest when it is plain. `skeleton` gets the folders alone.
pub(super) fn unpack<'a>(
    folder: &Path,
    skeleton: Option<&Path>,
    ids: &Ids,
    digests: &[Digest],
    layer: &mut dyn FnMut(usize) -> Result<Box<dyn Read + 'a>, SandboxError>,
    signals: &Signals,
) -> Result<Skipped, SandboxError> {
    let job = Job::Unpack {
        folder: folder.into(),
        skeleton: skeleton.map(Into::into),
        layers: digests.iter().map(ToString::to_string).collect(),
        owners_kept: !ids.is_single(),
    };
    let feed = |to: &mut dyn Write, _: &mut dyn Read| {
        for at in 0..digests.len() {
            if !send(&mut *layer(at)?, to, at, signals)? {
                break;
            }
        }
        Ok(())
    };
    unpacked(start(&job, ids, feed)?)
}

/// Unpacks the layer that `stream` is, of which no digest is known, to the empty folder `folder`, with the owners that it says. The
/// caller's program is started anew for that, so its `main` must call [`super::super::enter`] before all else.
///
/// # Errors
/// [`SandboxError`]; part of the layer may be in the folder then. [`SandboxError::IdsRefused`] where the ids are not to be had.
pub fn unpack_tree(
    folder: &Path,
    ids: &Ids,
    stream: &mut dyn Read,
    signals: &Signals,
) -> Result<Skipped, SandboxError> {
    let layers = vec![String::new()];
    let job = Job::Unpack { folder: folder.into(), skeleton: None, layers, owners_kept: !ids.is_single() };
    let feed = |to: &mut dyn Write, _: &mut dyn Read| send(stream, to, 0, signals).map(|_| ());
    unpacked(start(&job, ids, feed)?)
}

/// Writes the tree at `folder`, whose files belong to `ids`, to `out` as a layer whose files belong to the ids inside and have no time
/// later than `latest`, in seconds since 1970.
///
/// # Errors
/// [`SandboxError`]; part of the layer may be written then.
pub fn pack_tree(
    folder: &Path,
    ids: &Ids,
    latest: u64,
    out: &mut dyn Write,
    signals: &Signals,
) -> Result<(), SandboxError> {
    let job = Job::Pack { folder: folder.into(), latest };
    let take = |_: &mut dyn Write, from: &mut dyn Read| {
        let failed = |source| SandboxError::Start { source };
        let mut piece = vec![0; PIECE];
        loop {
            if let Some(signal) = signals.interrupted() {
                return Err(SandboxError::Interrupted { signal });
            }
            match from.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => out.write_all(&piece[..count]).map_err(failed)?,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(failed(err)),
            }
        }
    };
    match start(&job, ids, take)? {
        Some(Unpacked::Whole { .. }) => Ok(()),
        Some(Unpacked::Failed { reasons, hint, .. }) => {
            Err(SandboxError::Pack { folder: folder.into(), source: Told::new(reasons), hint })
        }
        None => Err(SandboxError::Start { source: io::ErrorKind::UnexpectedEof.into() }),
    }
}

fn unpacked(told: Option<Unpacked>) -> Result<Skipped, SandboxError> {
    match told {
        Some(Unpacked::Whole { devices, attributes, owners }) => Ok(Skipped { devices, attributes, owners }),
        Some(Unpacked::Failed { layer, reasons, hint }) => {
            Err(SandboxError::Unpack { layer: layer + 1, source: Told::new(reasons), hint })
        }
        None => Err(SandboxError::Start { source: io::ErrorKind::UnexpectedEof.into() }),
    }
}

/// Removes a tree or a file; one that is not there is no error.
fn remove_path(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if !found.is_dir() => std::fs::remove_file(path),
        _ => remove_tree(path),
    }
}

/// Removes trees and files that belong to `ids`.
///
/// # Errors
/// [`SandboxError`] where one cannot be removed; one that is not there is no error.
pub fn remove(paths: &[PathBuf], ids: &Ids) -> Result<(), SandboxError> {
    let job = Job::Remove { paths: paths.iter().map(|path| path.clone().into_os_string()).collect() };
    start(&job, ids, |_, _| Ok(())).map(|_| ())
}

/// Starts this program anew for `job`, with `feed` writing to its standard input and reading its output, and waits for it.
fn start(
    job: &Job,
    ids: &Ids,
    feed: impl FnOnce(&mut dyn Write, &mut dyn Read) -> Result<(), SandboxError>,
) -> Result<Option<Unpacked>, SandboxError> {
    let mut unpacked = None;
    helper::run(
        WORKER,
        job,
        ids,
        |mut input, mut output| feed(&mut input, &mut output),
        |message| {
            if let Message::Unpacked(what) = message {
                unpacked = Some(what);
            }
        },
    )?;
    Ok(unpacked)
}

/// Sends layer `at`; `false` where the worker takes no more, because it has failed.
fn send(
    layer: &mut dyn Read,
    to: &mut dyn Write,
    at: usize,
    signals: &Signals,
) -> Result<bool, SandboxError> {
    let mut piece = vec![0; PIECE + 4];
    loop {
        if let Some(signal) = signals.interrupted() {
            return Err(SandboxError::Interrupted { signal });
        }
        let count = match layer.read(&mut piece[4..]) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            result => result.map_err(|source| SandboxError::Layer { layer: at + 1, source })?,
        };
        piece[..4].copy_from_slice(&(count as u32).to_be_bytes());
        match to.write_all(&piece[..count + 4]) {
            Err(err) if err.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
            result => result.map_err(|source| SandboxError::Start { source })?,
        }
        if count == 0 {
            return Ok(true);
        }
    }
}

/// The worker's own part.
pub(in super::super) fn run(handoff: &mut Handoff) -> Result<u8, Failure> {
    let job: Job = handoff.plan().map_err(Step::Handoff.io("the plan"))?;
    hold(handoff)?;
    match job {
        Job::Remove { paths } => {
            for path in &paths {
                remove_path(path.as_ref()).map_err(Step::Remove.io(path))?;
            }
        }
        Job::Unpack { folder, skeleton, layers, owners_kept } => {
            let owners = if owners_kept { Owners::Kept } else { Owners::Caller };
            let unpacked = match unpack_all(folder.as_ref(), &layers, owners) {
                Ok(Skipped { devices, attributes, owners }) => {
                    Unpacked::Whole { devices, attributes, owners }
                }
                Err((layer, err)) => Unpacked::Failed { layer, reasons: reasons(&err), hint: err.hint() },
            };
            if let (Unpacked::Whole { .. }, Some(skeleton)) = (&unpacked, &skeleton) {
                positions::skeleton(folder.as_ref(), skeleton.as_ref())
                    .map_err(Step::Prepare.io(skeleton))?;
            }
            handoff.tell(&Message::Unpacked(unpacked));
        }
        Job::Pack { folder, latest } => {
            let written = FolderWriter::new(latest).write(folder.as_ref(), &mut io::stdout().lock());
            let told = match written {
                Ok(_) => Unpacked::Whole { devices: 0, attributes: 0, owners: 0 },
                Err(err) => Unpacked::Failed { layer: 0, reasons: reasons(&err), hint: err.hint() },
            };
            handoff.tell(&Message::Unpacked(told));
        }
    }
    Ok(0)
}

/// Makes the user namespace, in which this process dies with its parent.
pub(super) fn hold(handoff: &mut Handoff) -> Result<(), Failure> {
    lifeline::hold(&handoff.lifeline).map_err(Step::Start.on("the worker"))?;
    userns::enter(handoff)?;
    // Becoming another user has cleared it.
    lifeline::hold(&handoff.lifeline).map_err(Step::Start.on("the worker"))
}

fn unpack_all(folder: &Path, layers: &[String], owners: Owners) -> Result<Skipped, (usize, LayerError)> {
    let mut unpacker = Unpacker::new(folder, Limits::default()).map_err(|err| (0, err))?.with_owners(owners);
    let mut input = io::stdin().lock();
    for (at, digest) in layers.iter().enumerate() {
        let digest: Option<Digest> = digest.parse().ok();
        let mut layer = Pieces { from: &mut input, left: 0, has_ended: false };
        unpacker.apply(&mut layer, digest.as_ref(), &|| false).map_err(|err| (at, err))?;
        // A compressed layer may end before its file does.
        io::copy(&mut layer, &mut io::sink()).map_err(|source| (at, LayerError::Read { source }))?;
    }
    unpacker.finish().map_err(|err| (layers.len().saturating_sub(1), err))
}

fn reasons(err: &LayerError) -> Vec<String> {
    let first: &dyn std::error::Error = err;
    std::iter::successors(Some(first), |err| err.source()).map(ToString::to_string).collect()
}

/// One layer of several in a stream.
struct Pieces<R> {
    from: R,
    left: usize,
    has_ended: bool,
}

impl<R: Read> Read for Pieces<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.has_ended {
            let mut length = [0; 4];
            self.from.read_exact(&mut length)?;
            self.left = u32::from_be_bytes(length) as usize;
            self.has_ended = self.left == 0;
        }
        let most = buffer.len().min(self.left);
        if most == 0 {
            return Ok(0);
        }
        let count = self.from.read(&mut buffer[..most])?;
        self.left -= count;
        if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_a_stream_are_parted() {
        let stream = b"\0\0\0\x03abc\0\0\0\x02de\0\0\0\0\0\0\0\0\0\0\0\x01f";
        let mut from = stream.as_slice();
        let mut one =
            |whole: &mut Vec<u8>| Pieces { from: &mut from, left: 0, has_ended: false }.read_to_end(whole);
        let mut text = Vec::new();
        assert_eq!(one(&mut text).unwrap(), 5);
        assert_eq!(one(&mut text).unwrap(), 0);
        // The third has no end.
        assert!(one(&mut text).is_err());
        assert_eq!(text, b"abcdef");
    }

    #[test]
    fn causes_are_told_in_their_order() {
        let told = Told::new(vec!["one".into(), "two".into()]);
        assert_eq!(told.to_string(), "one");
        assert_eq!(std::error::Error::source(&told).unwrap().to_string(), "two");
    }
}
