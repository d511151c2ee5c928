//! The signed list of a suite: what it is, and the digest of every index.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::gpgv::Signed;
use super::index::Compression;
use super::{DebianError, Index, Keyring, Mirror, ReleaseFault, Sha256, SourceIndex, control};
use crate::progress::Progress;

/// The largest `InRelease` that is read, in bytes; Debian's are some hundreds of thousands.
const LIMIT: u64 = 16 << 20;

/// The `Release` of a suite, whose signature was verified.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Release {
    /// The suite, as it was asked for.
    pub name: String,
    /// Such as `oldstable`.
    pub suite: String,
    /// Such as `bookworm`.
    pub codename: String,
    /// When it was made.
    pub date: SystemTime,
    /// Debian's names of its architectures.
    pub architectures: Vec<String>,
    /// Such as `main`.
    pub components: Vec<String>,
    /// The fingerprints of the keys that signed it.
    pub signers: Vec<String>,
    by_hash: bool,
    files: BTreeMap<String, (u64, Sha256)>,
}

impl Release {
    /// Fetches the list of `suite` (a suite's name or code name), and verifies it: its signature, that it is of
    /// that suite, and that it has not expired.
    ///
    /// # Errors
    /// [`DebianError`], where it cannot be had or does not hold.
    pub fn fetch(mirror: &Mirror, suite: &str, keyring: &Keyring) -> Result<Self, DebianError> {
        let is_name = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._+".contains(&byte))
        };
        let no_suite = || DebianError::NoSuite { mirror: mirror.address(), suite: suite.into() };
        if !suite.split('/').all(is_name) {
            return Err(no_suite());
        }
        let path = format!("dists/{suite}/InRelease");
        let (path, (text, signers)) = if let Some(text) = mirror.get(&path, LIMIT)? {
            let verified = keyring.verify(&mirror.url(&path), Signed::Inline(&text))?;
            (path, verified)
        } else {
            let path = format!("dists/{suite}/Release");
            let text = mirror.get(&path, LIMIT)?.ok_or_else(no_suite)?;
            let url = mirror.url(&format!("{path}.gpg"));
            let signature =
                mirror.get(&format!("{path}.gpg"), LIMIT)?.ok_or(DebianError::Status { url, status: 404 })?;
            let signed = Signed::Detached { text: &text, signature: &signature };
            let verified = keyring.verify(&mirror.url(&path), signed)?;
            (path, verified)
        };
        let url = mirror.url(&path);
        let now = mirror.time().unwrap_or_else(SystemTime::now);
        Self::parse(&url, suite, &text, signers, now)
    }

    fn parse(
        url: &str,
        name: &str,
        text: &[u8],
        signers: Vec<String>,
        now: SystemTime,
    ) -> Result<Self, DebianError> {
        let wrong = |fault| DebianError::Release { url: url.into(), fault };
        let text = std::str::from_utf8(text).map_err(|_| wrong(ReleaseFault::Form))?;
        if text.trim().lines().any(|line| line.trim().is_empty()) {
            return Err(wrong(ReleaseFault::Form));
        }
        let field = |name: &str| control::field(text, name).unwrap_or_default().to_owned();
        let words = |name| field(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (suite, codename) = (field("Suite"), field("Codename"));
        if name != suite && name != codename {
            let found = vec![suite, codename];
            return Err(wrong(ReleaseFault::Suite { expected: name.into(), found }));
        }
        let date = date(&field("Date")).ok_or_else(|| wrong(ReleaseFault::Field { name: "Date" }))?;
        if let Some(until) = control::field(text, "Valid-Until") {
            let end = self::date(until).ok_or_else(|| wrong(ReleaseFault::Field { name: "Valid-Until" }))?;
            if end < now {
                return Err(DebianError::Expired { url: url.into(), until: until.into() });
            }
        }
        let list = control::field(text, "SHA256").unwrap_or_default();
        let files: Option<BTreeMap<_, _>> = list
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                let mut words = line.split_whitespace();
                let digest = words.next()?.parse().ok()?;
                let size = words.next()?.parse().ok()?;
                Some((words.next()?.to_owned(), (size, digest)))
            })
            .collect();
        let files = files
            .filter(|files| !files.is_empty())
            .ok_or_else(|| wrong(ReleaseFault::Field { name: "SHA256" }))?;
        Ok(Self {
            name: name.into(),
            suite,
            codename,
            date,
            architectures: words("Architectures"),
            components: words("Components"),
            signers,
            by_hash: field("Acquire-By-Hash") == "yes",
            files,
        })
    }

    /// Fetches the index of `component`'s packages for `architecture` into `folder`, where it is kept under its
    /// digest, unless it is there already.
    ///
    /// # Errors
    /// [`DebianError::NoIndex`] where the suite has none; others where it cannot be had.
    pub fn index(
        &self,
        mirror: &Mirror,
        component: &str,
        architecture: &str,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<Index, DebianError> {
        let base = format!("{component}/binary-{architecture}");
        let label = format!("package index of {} for {architecture}", self.name);
        let list = self.list(mirror, &base, "Packages", folder, &label, progress)?;
        let (path, compression, unpacked) = list.ok_or_else(|| self.no_index(component, architecture))?;
        Ok(Index::new(path, compression, unpacked, &self.name, architecture))
    }

    /// The same of `component`'s source packages.
    ///
    /// # Errors
    /// As [`index`](Self::index).
    pub fn sources(
        &self,
        mirror: &Mirror,
        component: &str,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<SourceIndex, DebianError> {
        let base = format!("{component}/source");
        let label = format!("source index of {}", self.name);
        let list = self.list(mirror, &base, "Sources", folder, &label, progress)?;
        let (path, compression, unpacked) = list.ok_or_else(|| self.no_index(component, "source"))?;
        Ok(SourceIndex::new(path, compression, unpacked, &self.name))
    }

    fn no_index(&self, component: &str, architecture: &str) -> DebianError {
        DebianError::NoIndex {
            suite: self.name.clone(),
            component: component.into(),
            architecture: architecture.into(),
            has: self.architectures.clone(),
        }
    }

    /// Fetches the list `base/name`, in the best form that there is; tells where it is, how it is packed and how much it unpacks to.
    fn list(
        &self,
        mirror: &Mirror,
        base: &str,
        name: &str,
        folder: &Path,
        label: &str,
        progress: &dyn Progress,
    ) -> Result<Option<(PathBuf, Compression, Option<u64>)>, DebianError> {
        let plain = format!("{base}/{name}");
        let known = |compression: Compression| {
            let packed = format!("{plain}{}", compression.ending());
            self.files.get(&packed).map(|(size, digest)| (compression, packed, *size, *digest))
        };
        let best = [Compression::Xz, Compression::Gzip, Compression::None].into_iter().find_map(known);
        let Some((compression, packed, size, digest)) = best else { return Ok(None) };
        let mut paths = vec![format!("dists/{}/{packed}", self.name)];
        if self.by_hash {
            // The plain name may hold the next index already while a mirror is being updated.
            paths.insert(0, format!("dists/{}/{base}/by-hash/SHA256/{digest}", self.name));
        }
        let path = folder.join(format!("{digest}{}", compression.ending()));
        mirror.download(&paths, size, digest, &path, label, progress)?;
        Ok(Some((path, compression, self.files.get(&plain).map(|(size, _)| *size))))
    }
}

/// `Sat, 11 Jul 2026 10:16:37 UTC`, the form that a `Release` has its dates in (RFC 2822, in UTC).
pub(super) fn date(text: &str) -> Option<SystemTime> {
    let text = text.split_once(", ").map_or(text, |(_, rest)| rest);
    let words: Vec<&str> = text.split_whitespace().collect();
    let [day, month, year, time, "UTC" | "GMT" | "Z" | "+0000"] = words[..] else { return None };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month)? as u64 + 1;
    let clock: Vec<u64> = time.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [hour, minute, second] = clock[..] else { return None };
    moment(year.parse().ok()?, month, day.parse().ok()?, [hour, minute, second])
}

/// The time of a date in the Gregorian calendar, from 1970 on.
pub(super) fn moment(
    year: u64,
    month: u64,
    day: u64,
    [hour, minute, second]: [u64; 3],
) -> Option<SystemTime> {
    let is_date = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    // 719,468 days lie between the first of March of the year 0 and the first of January 1970.
    let seconds = (days.checked_sub(719_468)?) * 86_400 + hour * 3600 + minute * 60 + second;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// A time from 1970 on as the dated archive writes it: `20261101T000000Z`.
#[must_use]
pub fn timestamp(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    // The inverse of `moment`: years that begin in March, counted in eras of 400.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let year = era * 400 + year;
    format!("{year:04}{month:02}{date:02}T{:02}{:02}{:02}Z", clock / 3600, clock / 60 % 60, clock % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        Some(date(text)?.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn timestamps_are_the_dates_of_times() {
        for (seconds, text) in [
            (1_783_764_997, "20260711T101637Z"),
            (0, "19700101T000000Z"),
            (1_709_251_199, "20240229T235959Z"),
        ] {
            assert_eq!(timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        // Every day until 2400 is the one that it is read as.
        for day in 0..157_000 {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400 + 3661);
            let text = timestamp(time);
            let part = |from: usize, to: usize| text[from..to].parse().unwrap();
            let read = moment(part(0, 4), part(4, 6), part(6, 8), [part(9, 11), part(11, 13), part(13, 15)]);
            assert_eq!(read, Some(time), "{text}");
        }
    }

    #[test]
    fn dates_are_read() {
        // By `date -u -d TEXT +%s`.
        assert_eq!(seconds("Sat, 11 Jul 2026 10:16:37 UTC"), Some(1_783_764_997));
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 UTC"), Some(0));
        assert_eq!(seconds("Thu, 29 Feb 2024 23:59:59 UTC"), Some(1_709_251_199));
        for wrong in [
            "",
            "Sat, 11 Jul 2026",
            "Sat, 11 Foo 2026 10:16:37 UTC",
            "Sat, 11 Jul 2026 10:16:37 CET",
            "Sat, 11 Jul 99999999999999999999 10:16:37 UTC",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
