//! Sending a blob: at once where it is small, else in parts, on from where a connection broke.

use std::io::Read;

use super::RegistryError;
use super::answer::Answer;
use super::client::{Call, Endpoint};
use super::error::is_passing;
use super::url::{shown, with};
use crate::layer::{Digest, DigestReader};

/// How much is sent at once, and kept to be sent again: the least that large registries want, the most that others take.
const PART: usize = 4 << 20;

/// The largest part that a registry may ask for, for each is held in memory.
const LARGEST_PART: usize = 16 << 20;

/// Sends `content`; it must be what `expected` says, where that is given.
pub(super) fn send(
    endpoint: &Endpoint,
    scope: &str,
    content: &mut dyn Read,
    expected: Option<(Digest, u64)>,
) -> Result<(Digest, u64), RegistryError> {
    let mut content = DigestReader::new(content);
    let mut upload = Upload { endpoint, scope, url: String::new(), part: PART };
    let mut part = Vec::new();
    upload.fill(&mut content, &mut part)?;
    if part.len() < PART {
        let blob = (content.digest(), content.count());
        check(endpoint, blob, expected)?;
        upload.at_once(&part, blob.0)?;
        return Ok(blob);
    }
    upload.begin()?;
    // The registry may want larger parts than we thought.
    upload.fill(&mut content, &mut part)?;
    let mut offset = 0;
    while !part.is_empty() {
        upload.patch(&part, offset)?;
        offset += part.len() as u64;
        part.clear();
        upload.fill(&mut content, &mut part)?;
    }
    let blob = (content.digest(), content.count());
    if let Err(err) = check(endpoint, blob, expected) {
        upload.cancel();
        return Err(err);
    }
    upload.complete(blob.0)?;
    Ok(blob)
}

fn check(
    endpoint: &Endpoint,
    blob: (Digest, u64),
    expected: Option<(Digest, u64)>,
) -> Result<(), RegistryError> {
    let Some((digest, size)) = expected else { return Ok(()) };
    let what = format!("what is to be sent to `{}`", endpoint.place.repository);
    if blob.1 != size {
        return Err(RegistryError::Size { what, expected: size, found: blob.1 });
    }
    if blob.0 != digest {
        return Err(RegistryError::Digest { what, expected: digest, found: blob.0 });
    }
    Ok(())
}

/// One upload that was begun.
struct Upload<'a> {
    endpoint: &'a Endpoint,
    scope: &'a str,
    /// Where it goes on; it is another after each part.
    url: String,
    part: usize,
}

impl Upload<'_> {
    /// Reads until `part` is full or the content ends.
    fn fill(&self, content: &mut impl Read, part: &mut Vec<u8>) -> Result<(), RegistryError> {
        let missing = self.part.saturating_sub(part.len());
        part.reserve_exact(missing);
        let read = content.take(missing as u64).read_to_end(part);
        let repository = &self.endpoint.place.repository;
        read.map(drop).map_err(|source| RegistryError::Content { repository: repository.clone(), source })
    }

    fn begin(&mut self) -> Result<(), RegistryError> {
        let url = self.endpoint.url("blobs/uploads/");
        let answer = self.endpoint.call(&Call::new("POST", &url, self.scope))?;
        if answer.status != 202 {
            return Err(self.endpoint.refused(answer));
        }
        let least = answer.header("oci-chunk-min-length").and_then(|least| least.parse().ok()).unwrap_or(0);
        self.part = PART.max(least).min(LARGEST_PART);
        self.url = answer.location()?;
        Ok(())
    }

    /// Sends a small blob with one request.
    fn at_once(&mut self, content: &[u8], digest: Digest) -> Result<(), RegistryError> {
        let mut number = 1;
        loop {
            self.begin()?;
            let result = self.finish(content, digest);
            // What became of the upload is not known; another one is sure.
            match result {
                Err(err) if number < self.endpoint.tries && (err.may_pass() || is_lost(&err)) => {}
                done => return done,
            }
            self.endpoint.rest(number, None);
            number += 1;
        }
    }

    fn complete(&mut self, digest: Digest) -> Result<(), RegistryError> {
        let mut number = 1;
        loop {
            match self.finish(&[], digest) {
                Err(err) if number < self.endpoint.tries && err.may_pass() => {
                    self.endpoint.rest(number, None);
                    number += 1;
                    // It may have been done, and only the answer lost.
                    if is_there(self.endpoint, self.scope, digest, None)? {
                        return Ok(());
                    }
                }
                done => return done,
            }
        }
    }

    fn finish(&self, content: &[u8], digest: Digest) -> Result<(), RegistryError> {
        let url = with(&self.url, "digest", &digest.to_string());
        let headers = [("content-type", "application/octet-stream")];
        let call = Call {
            headers: &headers,
            body: content,
            is_repeatable: false,
            ..Call::new("PUT", &url, self.scope)
        };
        let answer = self.endpoint.call(&call)?;
        match answer.status {
            201 | 204 => Ok(()),
            _ => Err(self.endpoint.refused(answer)),
        }
    }

    /// Sends one part, which begins at `offset` of the whole.
    fn patch(&mut self, part: &[u8], offset: u64) -> Result<(), RegistryError> {
        let end = offset + part.len() as u64;
        let (mut sent, mut number) = (offset, 1);
        while sent < end {
            let range = format!("{sent}-{}", end - 1);
            let headers = [("content-type", "application/octet-stream"), ("content-range", range.as_str())];
            let call = Call {
                headers: &headers,
                body: &part[usize::try_from(sent - offset).unwrap_or(usize::MAX).min(part.len())..],
                is_repeatable: false,
                ..Call::new("PATCH", &self.url, self.scope)
            };
            let result = self.endpoint.call(&call);
            let before = sent;
            let failure = match result {
                Ok(answer) if matches!(answer.status, 201 | 202 | 204) => {
                    sent = self.position(&answer, offset, end, Some(end))?;
                    None
                }
                // It has another idea of how much it has.
                Ok(answer) if answer.status == 416 || is_passing(answer.status) => {
                    Some(self.endpoint.refused(answer))
                }
                Ok(answer) => return Err(self.endpoint.refused(answer)),
                Err(err) if err.may_pass() => Some(err),
                Err(err) => return Err(err),
            };
            if sent > before && failure.is_none() {
                number = 1;
                continue;
            }
            if number >= self.endpoint.tries {
                return Err(failure.unwrap_or_else(|| RegistryError::Answer {
                    url: shown(&self.url),
                    reason: "it takes nothing of what is sent".into(),
                }));
            }
            self.endpoint.rest(number, None);
            number += 1;
            if let Some(failure) = failure {
                let answer = self.endpoint.call(&Call::new("GET", &self.url, self.scope))?;
                if !matches!(answer.status, 200 | 202 | 204) {
                    // The upload is gone; why it broke says more.
                    return Err(failure);
                }
                sent = self.position(&answer, offset, end, None)?;
            }
        }
        Ok(())
    }

    /// How much of the whole is there, by what an answer says, and where it goes on.
    fn position(
        &mut self,
        answer: &Answer,
        offset: u64,
        end: u64,
        unsaid: Option<u64>,
    ) -> Result<u64, RegistryError> {
        if answer.header("location").is_some() {
            self.url = answer.location()?;
        }
        let sent =
            answer.received().or(unsaid).ok_or_else(|| answer.wrong("it does not say how much it has"))?;
        if !(offset..=end).contains(&sent) {
            return Err(answer.wrong(&format!("it has {sent} bytes, where {offset} to {end} were sent")));
        }
        Ok(sent)
    }

    /// Tells the registry that nothing more comes.
    fn cancel(&self) {
        // It would find out by itself, some day.
        let call = Call { is_repeatable: false, ..Call::new("DELETE", &self.url, self.scope) };
        let _ = self.endpoint.call(&call);
    }
}

fn is_lost(err: &RegistryError) -> bool {
    matches!(err, RegistryError::Status { status: 404, .. })
}

/// Whether the registry has the blob in this repository.
pub(super) fn is_there(
    endpoint: &Endpoint,
    scope: &str,
    digest: Digest,
    size: Option<u64>,
) -> Result<bool, RegistryError> {
    let url = endpoint.url(&format!("blobs/{digest}"));
    let answer = endpoint.call(&Call::new("HEAD", &url, scope))?;
    match answer.status {
        // Whoever asks with another size must not write it into a manifest.
        200 => {
            let found = answer.header("content-length").and_then(|length| length.parse::<u64>().ok());
            Ok(size.is_none_or(|size| found.is_none_or(|found| found == size)))
        }
        404 => Ok(false),
        _ => Err(endpoint.refused(answer)),
    }
}

/// Has the registry take the blob over from another of its repositories; `false` where it does not.
pub(super) fn mount(
    endpoint: &Endpoint,
    scope: &str,
    digest: Digest,
    from: &str,
) -> Result<bool, RegistryError> {
    let url = with(&endpoint.url("blobs/uploads/"), "mount", &digest.to_string());
    let url = with(&url, "from", from);
    let answer = endpoint.call(&Call::new("POST", &url, scope))?;
    match answer.status {
        201 => Ok(true),
        202 => {
            // It began an upload instead, which is not wanted.
            if let Ok(url) = answer.location() {
                Upload { endpoint, scope, url, part: PART }.cancel();
            }
            Ok(false)
        }
        // Not to be allowed to read the other repository is no failure.
        _ => Ok(false),
    }
}
