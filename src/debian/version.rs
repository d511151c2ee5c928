//! Debian's order of versions.
//!
//! Source: Debian Policy Manual, section 5.6.12, and deb-version(7).

use std::cmp::Ordering;
use std::fmt;

/// A Debian version, in Debian's order: `1:7.2+dfsg-7+deb12u18`. Two that are written differently and mean the
/// same (`1.0`, `0:1.0-0`) are equal.
#[derive(Debug, Clone)]
pub struct Version(String);

impl Version {
    /// The version written as `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part between epoch and Debian revision, which upstream chose.
    #[must_use]
    pub fn upstream(&self) -> &str {
        parts(&self.0).1
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

/// Which of two versions is the later one.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (parts(a), parts(b));
    number(a.0).cmp(&number(b.0)).then_with(|| part(a.1, b.1)).then_with(|| part(a.2, b.2))
}

/// Epoch, upstream version and Debian revision.
fn parts(version: &str) -> (&str, &str, &str) {
    let version = version.trim();
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Compares two parts: runs of other characters and runs of digits in turn.
fn part(mut a: &str, mut b: &str) -> Ordering {
    while !(a.is_empty() && b.is_empty()) {
        let (text_a, rest_a) = split(a, |byte| !byte.is_ascii_digit());
        let (text_b, rest_b) = split(b, |byte| !byte.is_ascii_digit());
        let (digits_a, rest_a) = split(rest_a, |byte| byte.is_ascii_digit());
        let (digits_b, rest_b) = split(rest_b, |byte| byte.is_ascii_digit());
        let order = text(text_a, text_b).then_with(|| number(digits_a).cmp(&number(digits_b)));
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

/// The longest start of `text` whose bytes are all `wanted`, and the rest.
fn split(text: &str, wanted: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !wanted(byte)).unwrap_or(text.len());
    // Digits are single bytes, so a run of others ends at the border of a character too.
    text.split_at(end)
}

/// Compares without digits: `~` before the end, the end before letters, letters before all else.
fn text(a: &str, b: &str) -> Ordering {
    let rank = |byte: Option<u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(letter),
        Some(other) => i32::from(other) + 256,
    };
    let (mut a, mut b) = (a.bytes(), b.bytes());
    loop {
        let (x, y) = (a.next(), b.next());
        let order = rank(x).cmp(&rank(y));
        if order.is_ne() || (x.is_none() && y.is_none()) {
            return order;
        }
    }
}

/// Digits in an order that is that of the numbers, however long they are.
fn number(digits: &str) -> (usize, &str) {
    let digits = digits.trim_start_matches('0');
    (digits.len(), digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_the_policy_manuals_order() {
        // "~~, ~~a, ~, the empty part, a", and the examples of deb-version(7) and of dpkg's own tests.
        for ordered in [
            ["~~", "~~a", "~", "", "a"].as_slice(),
            &["1.0~beta1~svn1245", "1.0~beta1", "1.0", "1.0-0+b1", "1.0-1", "1.0a", "1.0+b1", "1.0.1"],
            &["1.9", "1.10", "1.10-1~bpo12+1", "1.10-1", "1.10-1+deb12u1", "1:0.1", "2:0"],
            &["1:5.2+dfsg-11", "1:7.2+dfsg-7+deb12u2", "1:7.2+dfsg-7+deb12u18", "1:10.0.2+ds-2"],
            &["0.00000000000000000000001", "0.99999999999999999999999998", "0.99999999999999999999999999"],
        ] {
            for pair in ordered.windows(2) {
                assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{} < {}", pair[0], pair[1]);
                assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{} > {}", pair[1], pair[0]);
            }
        }
    }

    #[test]
    fn differently_written_versions_can_be_equal() {
        for (a, b) in [("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.02", "1.2"), ("1.", "1.0")] {
            assert_eq!(Version::new(a), Version::new(b), "{a} = {b}");
        }
    }

    #[test]
    fn the_upstream_part_is_between_epoch_and_revision() {
        assert_eq!(Version::new("1:7.2+dfsg-7+deb12u18").upstream(), "7.2+dfsg");
        assert_eq!(Version::new("10.0-rc1-1").upstream(), "10.0-rc1");
    }
}
