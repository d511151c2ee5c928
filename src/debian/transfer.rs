//! Getting a file from a mirror: retries, going on with what was begun, and digests verified on the way.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use sha2::Digest as _;

use super::digest;
use super::mirror::Place;
use super::{DebianError, Mirror, Sha256};
use crate::progress::{Progress, Task};

/// How often a file is asked for before we give up.
const TRIES: u32 = 4;

/// How long we wait before the second try; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(250);

const CHUNK: usize = 128 << 10;

/// How one try failed.
enum Failure {
    /// It may go better the next time.
    Passing(DebianError),
    /// It will not.
    Lasting(DebianError),
    /// There is no such file.
    Missing(DebianError),
}

/// What is to be had, and how it is known.
struct Wanted<'a> {
    path: &'a str,
    url: String,
    size: u64,
    sha256: Sha256,
}

/// What a mirror answers with.
struct Body {
    reader: Box<dyn Read>,
    /// Where in the file it begins.
    start: u64,
    /// The whole file's size in bytes, where the mirror tells.
    total: Option<u64>,
}

/// A file that is being received, and what it has come to.
struct Partial {
    file: File,
    path: PathBuf,
    length: u64,
    hasher: sha2::Sha256,
}

impl Mirror {
    /// A short file of which no digest is known; `None` where there is none.
    pub(super) fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, DebianError> {
        let url = self.url(path);
        let attempt = || {
            let mut body = self.body(path, &url, 0)?.reader;
            let mut bytes = Vec::new();
            body.by_ref()
                .take(limit + 1)
                .read_to_end(&mut bytes)
                .map_err(|source| Failure::Passing(DebianError::Receive { url: url.clone(), source }))?;
            if bytes.len() as u64 > limit {
                return Err(Failure::Lasting(DebianError::TooLarge { url: url.clone(), limit }));
            }
            Ok(bytes)
        };
        match retry(attempt) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Failure::Missing(_)) => Ok(None),
            Err(Failure::Passing(err) | Failure::Lasting(err)) => Err(err),
        }
    }

    /// Brings the file that is at the first of `paths` that exists to `destination`, where it appears as a whole
    /// and verified, or not at all. What a failed transfer has brought stays beside it, to be gone on with.
    pub(super) fn download(
        &self,
        paths: &[String],
        size: u64,
        sha256: Sha256,
        destination: &Path,
        label: &str,
        progress: &dyn Progress,
    ) -> Result<(), DebianError> {
        if is_there(destination, size, sha256)? {
            return Ok(());
        }
        if let Some(folder) = destination.parent() {
            fs::create_dir_all(folder)
                .map_err(|source| DebianError::Write { path: folder.into(), source })?;
        }
        let mut partial = Partial::open(destination, label, progress)?;
        // Another process may have brought it while we waited for it.
        if is_there(destination, size, sha256)? {
            return partial.remove();
        }
        partial.rehash()?;
        let task = progress.begin(&format!("fetching {label}"), Some(size));
        task.advance(partial.length.min(size));
        let mut missing = None;
        for path in paths {
            let wanted = Wanted { path, url: self.url(path), size, sha256 };
            match retry(|| self.receive(&wanted, &mut partial, &*task)) {
                Ok(()) => {
                    return fs::rename(&partial.path, destination)
                        .map_err(|source| DebianError::Write { path: destination.into(), source });
                }
                Err(Failure::Missing(err)) => missing = missing.or(Some(err)),
                Err(Failure::Passing(err)) => return Err(err),
                Err(Failure::Lasting(err)) => {
                    partial.remove()?;
                    return Err(err);
                }
            }
        }
        partial.remove()?;
        Err(missing.unwrap_or(DebianError::Status { url: self.address(), status: 404 }))
    }

    /// One try: receives what is still missing of `partial`.
    fn receive(&self, wanted: &Wanted<'_>, partial: &mut Partial, task: &dyn Task) -> Result<(), Failure> {
        let wrong_size =
            |found, more| DebianError::Size { url: wanted.url.clone(), expected: wanted.size, found, more };
        if partial.length > wanted.size {
            partial.restart()?;
        }
        let resumed = partial.length;
        if partial.length < wanted.size || wanted.size == 0 {
            let body = match self.body(wanted.path, &wanted.url, partial.length) {
                // What there is is no longer than what we have, so what we have is not from there.
                Err(Failure::Lasting(err @ DebianError::Status { status: 416, .. })) => {
                    partial.restart()?;
                    return Err(Failure::Passing(err));
                }
                body => body?,
            };
            if let Some(found) = body.total.filter(|total| *total != wanted.size) {
                return Err(Failure::Lasting(wrong_size(found, false)));
            }
            if body.start != partial.length {
                partial.restart()?;
            }
            let mut body = body.reader;
            let mut buffer = vec![0; CHUNK];
            loop {
                let count = body.read(&mut buffer).map_err(|source| {
                    Failure::Passing(DebianError::Receive { url: wanted.url.clone(), source })
                })?;
                if count == 0 {
                    break;
                }
                // What is more than it should be is never written.
                if partial.length + count as u64 > wanted.size {
                    return Err(Failure::Lasting(wrong_size(wanted.size, true)));
                }
                partial.append(&buffer[..count])?;
                task.advance(count as u64);
            }
        }
        if partial.length < wanted.size {
            // Broken off; the next try goes on from here.
            return Err(Failure::Passing(wrong_size(partial.length, false)));
        }
        let found = Sha256::of(partial.hasher.clone());
        if found == wanted.sha256 {
            return Ok(());
        }
        partial.restart()?;
        let err = DebianError::Digest { url: wanted.url.clone(), expected: wanted.sha256, found };
        // What an earlier run left behind may be to blame, rather than the mirror.
        Err(if resumed > 0 { Failure::Passing(err) } else { Failure::Lasting(err) })
    }

    /// The content of a file, from `offset` on where the server does that.
    fn body(&self, path: &str, url: &str, offset: u64) -> Result<Body, Failure> {
        let (base, agent) = match &self.place {
            Place::Http { base, agent } => (base, agent),
            Place::Folder(folder) => {
                let path = folder.join(path);
                let mut file = File::open(&path).map_err(|source| match source.kind() {
                    io::ErrorKind::NotFound => {
                        Failure::Missing(DebianError::Read { path: path.clone(), source })
                    }
                    _ => Failure::Lasting(DebianError::Read { path: path.clone(), source }),
                })?;
                let mut open = || {
                    file.seek(io::SeekFrom::Start(offset))?;
                    Ok(file.metadata()?.len())
                };
                let total = open().map_err(|source| Failure::Lasting(DebianError::Read { path, source }))?;
                return Ok(Body { reader: Box::new(file), start: offset, total: Some(total) });
            }
        };
        let mut request = agent.get(format!("{base}/{}", escaped(path)));
        if offset > 0 {
            request = request.header("range", format!("bytes={offset}-"));
        }
        let response = request.call().map_err(|source| failure(url, source))?;
        let status = response.status().as_u16();
        let length = response.body().content_length();
        let (start, total) = match status {
            200 => (0, length),
            206 => {
                let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
                // `bytes 100-199/200`, or `/*` where the whole is not known.
                let range = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('/'));
                let start = range.and_then(|(range, _)| range.split('-').next()?.parse::<u64>().ok());
                // An answer that does not say what it holds is of no use.
                let start = start
                    .filter(|start| *start == offset)
                    .ok_or_else(|| Failure::Lasting(DebianError::Status { url: url.into(), status }))?;
                (start, range.and_then(|(_, total)| total.parse().ok()))
            }
            _ => {
                let err = DebianError::Status { url: url.into(), status };
                return Err(match status {
                    404 | 410 => Failure::Missing(err),
                    408 | 425 | 429 | 500..=599 => Failure::Passing(err),
                    _ => Failure::Lasting(err),
                });
            }
        };
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Body { reader: Box::new(body), start, total })
    }
}

/// Whether another try may go better, by what ureq says.
fn failure(url: &str, source: ureq::Error) -> Failure {
    use ureq::Error;
    let passing =
        matches!(source, Error::Io(_) | Error::Timeout(_) | Error::ConnectionFailed | Error::Protocol(_));
    let err = DebianError::Transfer { url: url.into(), source: Box::new(source) };
    if passing { Failure::Passing(err) } else { Failure::Lasting(err) }
}

/// Tries, and tries again after failures that may pass.
fn retry<T>(mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match attempt() {
            Err(Failure::Passing(_)) => thread::sleep(pause),
            done => return done,
        }
        pause *= 2;
    }
    attempt()
}

/// A path with what has a meaning in URLs escaped. Debian's file names hold `+` and `~`, which have none, and
/// epochs as `%3a`, which stand for themselves.
fn escaped(path: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~+/:@!$&'()*,;=".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Whether the file is there, and is the right one.
fn is_there(path: &Path, size: u64, sha256: Sha256) -> Result<bool, DebianError> {
    let read = |source| DebianError::Read { path: path.into(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(read(source)),
    };
    if file.metadata().map_err(read)?.len() != size {
        return Ok(false);
    }
    Ok(Sha256::read(file).map_err(read)? == sha256)
}

impl Partial {
    /// The beginnings of `destination`, which no other process has at the same time.
    fn open(destination: &Path, label: &str, progress: &dyn Progress) -> Result<Self, DebianError> {
        let mut name = OsString::from(destination);
        name.push(".partial");
        let path = PathBuf::from(name);
        let write = |source| DebianError::Write { path: path.clone(), source };
        loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(write)?;
            if file.try_lock().is_err() {
                progress.note(&format!("waiting for another process, which fetches {label}"));
                file.lock().map_err(write)?;
            }
            // Who had the lock before may have renamed or removed the file since we opened it.
            let held = file.metadata().map_err(write)?;
            let is_current =
                path.metadata().is_ok_and(|now| (now.dev(), now.ino()) == (held.dev(), held.ino()));
            if is_current {
                let hasher = sha2::Sha256::new();
                return Ok(Self { file, path, length: 0, hasher });
            }
        }
    }

    /// Takes up what an earlier transfer left.
    fn rehash(&mut self) -> Result<(), DebianError> {
        self.length = digest::feed(&mut self.file, &mut self.hasher)
            .map_err(|source| DebianError::Read { path: self.path.clone(), source })?;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|source| self.unwritten(source))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Begins anew.
    fn restart(&mut self) -> Result<(), Failure> {
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(|source| self.unwritten(source))?;
        self.length = 0;
        self.hasher = sha2::Sha256::new();
        Ok(())
    }

    fn unwritten(&self, source: io::Error) -> Failure {
        Failure::Lasting(DebianError::Write { path: self.path.clone(), source })
    }

    fn remove(self) -> Result<(), DebianError> {
        fs::remove_file(&self.path).map_err(|source| DebianError::Write { path: self.path, source })
    }
}
