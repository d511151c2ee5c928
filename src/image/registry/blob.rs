//! Reading a blob, on from where a connection broke.

use std::fmt;
use std::io::{self, Read};

use super::RegistryError;
use super::client::{Call, Endpoint};
use super::url::shown;

type Body = ureq::BodyReader<'static>;

/// The content of a blob. A connection that breaks is made again, and reading goes on where it was.
pub(super) struct BlobReader<'a> {
    endpoint: &'a Endpoint,
    url: String,
    scope: String,
    size: u64,
    /// How much was handed out.
    offset: u64,
    body: Option<Body>,
    /// Failures since the last byte that came.
    failures: u32,
}

impl fmt::Debug for BlobReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader")
            .field("url", &shown(&self.url))
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl<'a> BlobReader<'a> {
    /// Asks for the blob; what is wrong with it at once is told at once.
    pub(super) fn open(endpoint: &'a Endpoint, digest: &str, size: u64) -> Result<Self, RegistryError> {
        let url = endpoint.url(&format!("blobs/{digest}"));
        let scope = endpoint.pull();
        let mut reader = Self { endpoint, url, scope, size, offset: 0, body: None, failures: 0 };
        reader.body = Some(reader.ask()?);
        Ok(reader)
    }

    /// What is left of the blob.
    fn ask(&self) -> Result<Body, RegistryError> {
        let range = format!("bytes={}-", self.offset);
        let headers = [("range", range.as_str())];
        let headers = if self.offset > 0 { &headers[..] } else { &[] };
        let call = Call { headers, ..Call::new("GET", &self.url, &self.scope) };
        let answer = self.endpoint.call(&call)?;
        let size = |found| RegistryError::Size { what: shown(&self.url), expected: self.size, found };
        let skipped = match answer.status {
            200 => {
                // ureq knows the length of what it will give.
                if let Some(found) = answer.body.content_length().filter(|found| *found != self.size) {
                    return Err(size(found));
                }
                self.offset
            }
            206 if self.offset > 0 => {
                let range = answer.header("content-range").and_then(|range| range.strip_prefix("bytes "));
                let (start, total) = range
                    .and_then(|range| range.split_once('/'))
                    .ok_or_else(|| answer.wrong("it has no range"))?;
                let start = start.split('-').next().and_then(|start| start.parse::<u64>().ok());
                if start != Some(self.offset) {
                    return Err(answer.wrong("it is another part than was asked for"));
                }
                if let Some(found) = total.parse().ok().filter(|found| *found != self.size) {
                    return Err(size(found));
                }
                0
            }
            404 => {
                let name = shown(&self.url);
                return Err(RegistryError::NotFound { name, told: answer.told(&[]) });
            }
            _ => return Err(self.endpoint.refused(answer)),
        };
        let mut body = answer.body.into_with_config().limit(u64::MAX).reader();
        if skipped > 0 {
            // The server does not know parts. What is handed out already comes again, and is passed over.
            let passed = io::copy(&mut body.by_ref().take(skipped), &mut io::sink())
                .map_err(|source| RegistryError::Receive { url: shown(&self.url), source })?;
            if passed != skipped {
                return Err(size(passed));
            }
        }
        Ok(body)
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut body = match self.body.take() {
                Some(body) => body,
                None => match self.ask() {
                    Ok(body) => body,
                    Err(err) => {
                        self.failures += 1;
                        if !err.may_pass() || self.failures >= self.endpoint.tries {
                            return Err(io::Error::other(err));
                        }
                        self.endpoint.rest(self.failures, None);
                        continue;
                    }
                },
            };
            match body.read(buffer) {
                Ok(0) if self.offset < self.size && !buffer.is_empty() => {
                    self.failures += 1;
                    if self.failures >= self.endpoint.tries {
                        let what = format!("it ended after {} of {} bytes", self.offset, self.size);
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
                    }
                }
                Ok(count) => {
                    self.offset += count as u64;
                    if count > 0 {
                        self.failures = 0;
                    }
                    self.body = Some(body);
                    return Ok(count);
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {
                    self.body = Some(body);
                    return Err(err);
                }
                Err(err) => {
                    self.failures += 1;
                    if self.failures >= self.endpoint.tries {
                        return Err(err);
                    }
                }
            }
            self.endpoint.rest(self.failures, None);
        }
    }
}
