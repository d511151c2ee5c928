//! Files that `ADD` takes from an address.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::error::RemoteError;
use super::git::Repository;
use crate::build::taken::{Entry, Kind, Match};
use crate::image::parse_rfc3339;
use crate::image::registry::{Options, agent, is_passing, resolve};
use crate::layer::{Digest, DigestWriter};
use crate::progress::Progress;

/// How many redirections are followed.
const HOPS: u32 = 10;

/// The largest file that is fetched, in bytes.
const SIZE_LIMIT: u64 = 32 << 30;

/// What a file is called whose address does not say.
const UNNAMED: &str = "__unnamed__";

/// What a source of `ADD` is that is not of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A file, by its address.
    File(String),
    /// A repository.
    Repository(Repository),
}

impl Remote {
    /// What `source` names; `None` where it is a path.
    #[must_use]
    pub fn of(source: &str) -> Option<Self> {
        if let Some(repository) = Repository::of(source) {
            return Some(Self::Repository(repository));
        }
        let is_address = source.starts_with("http://") || source.starts_with("https://");
        is_address.then(|| Self::File(source.to_owned()))
    }
}

/// Fetches the file at `url` into `folder`, by the name that it has there. It is readable to its owner alone, and as old as its server says.
///
/// # Errors
/// [`RemoteError`] where it cannot be had, or is not what `checksum` says.
pub fn fetch(
    url: &str,
    checksum: Option<&str>,
    folder: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Match, RemoteError> {
    let expected = checksum.map(str::parse::<Digest>).transpose();
    let expected = expected.map_err(|source| RemoteError::Checksum { source })?;
    let name = file_name(url);
    let path = folder.join("fetched");
    let written = |source| RemoteError::Write { path: path.clone(), source };
    let mut file = File::create(&path).map_err(written)?;
    let mut number = 1;
    let (digest, size, time) = loop {
        file.set_len(0).and_then(|()| file.rewind()).map_err(written)?;
        match receive(url, &file, options, progress) {
            Err(Failure::Passing(_)) if number < options.tries => {
                let pause = options.pause.saturating_mul(1 << (number - 1).min(6));
                thread::sleep(pause.min(Duration::from_secs(30)));
                number += 1;
            }
            Err(Failure::Passing(err) | Failure::Lasting(err)) => return Err(err),
            Ok(done) => break done,
        }
    };
    file.flush().map_err(written)?;
    if let Some(expected) = expected.filter(|expected| *expected != digest) {
        return Err(RemoteError::Digest { url: shown(url), expected, found: digest });
    }
    let entry = Entry {
        path: std::ffi::OsString::new(),
        file: std::path::absolute(&path).map_err(written)?.into_os_string(),
        kind: Kind::File { size, digest: digest.to_string() },
        mode: 0o600,
        time: (i64::try_from(time).unwrap_or_default(), 0),
        owner: (0, 0),
        attributes: Vec::new(),
        unpack: false,
    };
    Ok(Match { path: name.into(), entries: vec![entry] })
}

/// How one try failed.
enum Failure {
    /// It may go better the next time.
    Passing(RemoteError),
    /// It will not.
    Lasting(RemoteError),
}

/// One try: the digest, size and time of what came.
fn receive(
    url: &str,
    mut file: &File,
    options: &Options,
    progress: &dyn Progress,
) -> Result<(Digest, u64, u64), Failure> {
    let response = answer(url, options)?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    // What has no time is as old as time itself, as with BuildKit: builds are to give the same again.
    let time = header("last-modified").and_then(http_date).unwrap_or_default();
    let length = response.body().content_length();
    let task = progress.begin(&format!("fetching {}", shown(url)), length);
    let mut body = response.into_body().into_with_config().limit(u64::MAX).reader().take(SIZE_LIMIT + 1);
    let mut out = DigestWriter::new(&mut file);
    let mut buffer = vec![0; 1 << 17];
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(source) => return Err(Failure::Passing(RemoteError::Receive { url: shown(url), source })),
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        out.write_all(bytes).map_err(|source| {
            Failure::Lasting(RemoteError::Write { path: "the file that is fetched".into(), source })
        })?;
        task.advance(count as u64);
    }
    let (_, digest, size) = out.finish();
    if size > SIZE_LIMIT {
        return Err(Failure::Lasting(RemoteError::Answer {
            url: shown(url),
            reason: "it is too large".into(),
        }));
    }
    if length.is_some_and(|length| length != size) {
        let source = io::ErrorKind::UnexpectedEof.into();
        return Err(Failure::Passing(RemoteError::Receive { url: shown(url), source }));
    }
    Ok((digest, size, time))
}

/// The answer of the server that has the file.
fn answer(url: &str, options: &Options) -> Result<ureq::http::Response<ureq::Body>, Failure> {
    let lasting =
        |reason: &str| Failure::Lasting(RemoteError::Answer { url: shown(url), reason: reason.into() });
    let mut at = url.split('#').next().unwrap_or(url).to_owned();
    let host = at.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next()).unwrap_or_default();
    if host.contains('@') {
        return Err(lasting("it holds a name or a password, which would stay in the image's history"));
    }
    for _ in 0..HOPS {
        let agent = agent(&at, options).map_err(|source| {
            Failure::Lasting(RemoteError::Unreachable { url: shown(url), source: Box::new(source) })
        })?;
        let response = agent.get(&at).call().map_err(|source| {
            let passing = matches!(
                source,
                ureq::Error::Io(_)
                    | ureq::Error::Timeout(_)
                    | ureq::Error::ConnectionFailed
                    | ureq::Error::Protocol(_)
            );
            let err = RemoteError::Transfer { url: shown(url), source: Box::new(source) };
            if passing { Failure::Passing(err) } else { Failure::Lasting(err) }
        })?;
        let status = response.status().as_u16();
        match status {
            200..=299 => return Ok(response),
            301 | 302 | 303 | 307 | 308 => {
                let location = response.headers().get("location").and_then(|value| value.to_str().ok());
                let next = location.and_then(|location| resolve(&at, location));
                let next = next.ok_or_else(|| lasting("it names no place to go on"))?;
                if at.starts_with("https:") && !next.starts_with("https:") {
                    return Err(lasting("it leads from HTTPS to plain HTTP"));
                }
                at = next;
            }
            _ => {
                let err = RemoteError::Status { url: shown(url), status };
                return Err(if is_passing(status) { Failure::Passing(err) } else { Failure::Lasting(err) });
            }
        }
    }
    Err(lasting("it leads on and on"))
}

/// The last name of an address' path.
fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let path = rest.get(..end).and_then(|rest| rest.split_once('/')).map_or("", |(_, path)| path);
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let name = unescaped(last);
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        UNNAMED.into()
    } else {
        name
    }
}

/// A text with `%41` for `A`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = code.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// An address as messages show it: without a password, and without what follows its path.
fn shown(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let plain = url.get(..end).unwrap_or(url);
    match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
        }
        None => plain.to_owned(),
    }
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`. Source: RFC 9110, "IMF-fixdate".
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: &[&str] =
        &["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|known| *known == month)? + 1;
    parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_times_and_shown_addresses() {
        for (url, name) in [
            ("http://h/a/b.tar?x=/y", "b.tar"),
            ("https://h/a%20b", "a b"),
            ("https://h/a%2fb", UNNAMED),
            ("https://h/%zz%", "%zz%"),
            ("http://h", UNNAMED),
            ("http://h/", UNNAMED),
            ("http://h/..", UNNAMED),
            ("http://h/a/", "a"),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        for wrong in ["", "yesterday", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 6"] {
            assert_eq!(http_date(wrong), None, "{wrong}");
        }
        assert_eq!(shown("https://user:pw@h/p?token=x#y"), "https://h/p");
        assert_eq!(shown("https://h"), "https://h");
    }
}
