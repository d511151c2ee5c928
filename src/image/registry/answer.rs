//! What a registry answers.

use std::io::Read as _;
use std::time::Duration;

use ureq::http::HeaderMap;

use super::RegistryError;
use super::url::{resolve, shown};

/// The longest wait that a registry may ask for.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// How much of an error's text is read, and how much of it is shown.
const ERROR_LIMIT: u64 = 64 << 10;
const SHOWN_LIMIT: usize = 300;

/// One answer, of any status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) method: &'static str,
    /// The URL that gave it, after redirections.
    pub(super) url: String,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: ureq::Body,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long the registry wants us to wait.
    pub(super) fn wait(&self) -> Option<Duration> {
        let seconds = self.header("retry-after")?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
    }

    /// Where it sends us.
    pub(super) fn location(&self) -> Result<String, RegistryError> {
        let location = self.header("location").and_then(|location| resolve(&self.url, location));
        location.ok_or_else(|| self.wrong("it names no place to go on"))
    }

    /// `Range: 0-N`: how many bytes of an upload are there.
    pub(super) fn received(&self) -> Option<u64> {
        let range = self.header("range")?;
        let (start, end) = range.strip_prefix("bytes=").unwrap_or(range).split_once('-')?;
        let end: u64 = end.trim().parse().ok()?;
        // Nothing and one byte are written alike.
        (start.trim() == "0").then(|| if end == 0 { 0 } else { end.saturating_add(1) })
    }

    pub(super) fn wrong(&self, reason: &str) -> RegistryError {
        RegistryError::Answer { url: shown(&self.url), reason: reason.into() }
    }

    /// The content, of at most `limit` bytes.
    pub(super) fn bytes(self, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let url = shown(&self.url);
        let mut bytes = Vec::new();
        let mut reader = self.body.into_with_config().limit(u64::MAX).reader().take(limit + 1);
        reader
            .read_to_end(&mut bytes)
            .map_err(|source| RegistryError::Receive { url: url.clone(), source })?;
        if bytes.len() as u64 > limit {
            return Err(RegistryError::Answer { url, reason: format!("it is longer than {limit} bytes") });
        }
        Ok(bytes)
    }

    /// The registry's own words on why it refused, with nothing of `secrets` in them: `: CODE: message`, or nothing.
    pub(super) fn told(self, secrets: &[String]) -> String {
        let mut bytes = Vec::new();
        // An error about an error helps nobody.
        let _ =
            self.body.into_with_config().limit(u64::MAX).reader().take(ERROR_LIMIT).read_to_end(&mut bytes);
        words(&bytes, secrets)
    }
}

fn words(bytes: &[u8], secrets: &[String]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    let errors = json.as_ref().and_then(|json| json.get("errors")?.as_array());
    let mut text = if let Some(errors) = errors {
        let field = |error: &serde_json::Value, name: &str| {
            error.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
        };
        let lines =
            errors.iter().map(|error| format!("{}: {}", field(error, "code"), field(error, "message")));
        lines.collect::<Vec<_>>().join("; ")
    } else {
        let text = String::from_utf8_lossy(bytes);
        let first = text.lines().next().unwrap_or_default().trim();
        // A page for browsers tells a terminal nothing.
        if first.starts_with('<') { String::new() } else { first.to_owned() }
    };
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
    }
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_LIMIT).collect();
    if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_short_and_clean() {
        let json = br#"{"errors":[{"code":"DENIED","message":"no \u001b[31m hunter2 here","detail":{}}]}"#;
        assert_eq!(words(json, &["hunter2".into()]), ": DENIED: no  [31m *** here");
        assert_eq!(words(b"<html>", &[]), "");
        assert_eq!(words(b"", &[]), "");
        assert_eq!(words(b"too many\nrequests", &[]), ": too many");
        assert_eq!(words("é".repeat(5000).as_bytes(), &[]).chars().count(), SHOWN_LIMIT + 2);
    }
}
