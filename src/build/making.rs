//! Making a step's layer: a process with the container's ids does the work, and what it wrote goes into the cache.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::cache::{Entrance, Info, Layer, Made};
use super::crew::Crew;
use super::files::{Answer, Done, Job, ROLE};
use super::{BuildError, Cache};
use crate::containerfile::{ContainerfileError, Position};
use crate::layer::{Compression, Compressor, LayerError, Written};
use crate::sandbox::{Helper, Ids, Signals};

/// A layer that is being written.
#[derive(Debug)]
pub(super) struct Commit<'a, K> {
    pub(super) at: Position,
    pub(super) job: Job,
    pub(super) layer: Arc<Layer>,
    pub(super) entrance: Entrance,
    pub(super) created: u64,
    pub(super) ids: &'a Ids,
    pub(super) ids_text: &'a str,
    pub(super) signals: &'a Signals,
    pub(super) crew: &'a Crew,
    /// What must be there until it is whole.
    pub(super) _kept: K,
}

/// What a commit tells while it goes on.
pub(super) type Handle<'scope> = ScopedJoinHandle<'scope, Result<Done, BuildError>>;

impl<'a, K> Commit<'a, K> {
    /// Begins, and waits until the files are as they will be: from then on other steps may use them.
    pub(super) fn begin<'scope>(self, scope: &'scope Scope<'scope, '_>) -> Result<Handle<'scope>, BuildError>
    where
        'a: 'scope,
        K: Send + 'scope,
    {
        let (sender, ready): (_, Receiver<()>) = sync_channel(1);
        let handle = scope.spawn(move || {
            let layer = Arc::clone(&self.layer);
            let done = self.run(|| {
                let _ = sender.send(());
            });
            if done.is_err() {
                // Whoever waits for it waits no longer.
                let _ = layer.finish(None);
            }
            done
        });
        if ready.recv().is_ok() {
            return Ok(handle);
        }
        // It has failed before.
        match handle.join() {
            Ok(Ok(_)) => Err(BuildError::Needed),
            Ok(Err(err)) => Err(err),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Does it, and tells when the files are as they will be.
    pub(super) fn run(self, is_ready: impl FnOnce()) -> Result<Done, BuildError> {
        let at = self.at;
        let blob = self.layer.blob();
        let mut written: Option<Result<Written, LayerError>> = None;
        let helper = Helper { role: ROLE, ids: self.ids };
        let answer = helper.work(&self.job, |input, mut output| {
            drop(input);
            if output.read(&mut [0])? == 0 {
                return Ok(());
            }
            is_ready();
            let _at_work = self.crew.join();
            written = Some(write(&blob, &mut output, self.signals)?);
            Ok(())
        });
        let answer: Answer = match (answer, &mut written) {
            (_, _) if let Some(signal) = self.signals.interrupted() => {
                return Err(BuildError::Interrupted { signal });
            }
            (Ok(answer), _) => answer,
            (Err(source), _) => return Err(BuildError::Sandbox { at, source: Box::new(source) }),
        };
        let done = match answer {
            Answer::Done(done) => done,
            Answer::Refused(refused) => {
                let err = ContainerfileError { at, message: refused.message, hint: refused.hint };
                return Err(BuildError::File(err));
            }
        };
        let info = match written {
            Some(Ok(written)) if !done.is_empty => Some(Info {
                diff_id: written.diff_id.to_string(),
                digest: written.digest.to_string(),
                size: written.size,
                ids: self.ids_text.to_owned(),
            }),
            Some(Err(source)) => return Err(BuildError::Layer { at, source: Box::new(source) }),
            _ => None,
        };
        let layer = info.is_some().then(|| Arc::clone(&self.layer));
        self.layer.finish(info)?;
        // Files that belong to others than they should are no use to other machines.
        let entrance = if done.owners_lost > 0 { self.entrance.unshared() } else { self.entrance };
        entrance.finish(Made { layer, created: self.created })?;
        Ok(done)
    }
}

/// Compresses what comes to the file `blob`.
fn write(
    blob: &Path,
    from: &mut impl io::Read,
    signals: &Signals,
) -> io::Result<Result<Written, LayerError>> {
    let out = io::BufWriter::with_capacity(1 << 18, File::create(blob)?);
    let mut compressor = match Compressor::new(out, Compression::Gzip, None) {
        Ok(compressor) => compressor,
        Err(err) => return Ok(Err(err)),
    };
    let mut buffer = vec![0; 1 << 17];
    loop {
        if signals.interrupted().is_some() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => compressor.write_all(buffer.get(..count).unwrap_or_default())?,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(compressor.finish().and_then(|(mut out, written)| {
        out.flush().map_err(|source| LayerError::Write { path: blob.display().to_string(), source })?;
        Ok(written)
    }))
}

/// Does work of which no layer is made.
pub(super) fn work(at: Position, job: &Job, ids: &Ids) -> Result<Done, BuildError> {
    let answer = Helper { role: ROLE, ids }.work(job, |input, mut output| {
        drop(input);
        io::copy(&mut output, &mut io::sink()).map(drop)
    });
    match answer.map_err(|source| BuildError::Sandbox { at, source: Box::new(source) })? {
        Answer::Done(done) => Ok(done),
        Answer::Refused(refused) => {
            Err(BuildError::File(ContainerfileError { at, message: refused.message, hint: refused.hint }))
        }
    }
}

/// The cache's layers as a whole, for where a killed build left some.
pub(super) fn sweep(cache: &Cache, ids: &Ids) -> Result<(), BuildError> {
    cache.sweep(&|path| crate::sandbox::remove_files(path, ids))
}
