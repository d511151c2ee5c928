//! What makes a finding the same one in another run.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;

use sha2::{Digest as _, Sha256};

use super::{Finding, Report};

impl Finding {
    /// 32 hexadecimal digits that stay the same from run to run while the finding does: of its rule, file, target, platform, and
    /// what was expected and found.
    ///
    /// Severity, layer and position count for nothing, nor do digests, and numbers only where they are no versions that move on.
    /// Nor does the message, and of an image the name, since tags change.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            // Lengths keep parts apart.
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(self.rule.as_str().as_bytes());
        let path = self.path.as_ref().map(|path| path.as_os_str().as_bytes()).unwrap_or_default();
        part(path.strip_prefix(b"./").unwrap_or(path));
        for text in [&self.target, &self.platform] {
            part(text.as_deref().unwrap_or_default().as_bytes());
        }
        for text in [&self.expected, &self.found] {
            part(lasting(text.as_deref().unwrap_or_default(), self.rule.counts_numbers()).as_bytes());
        }
        hash.finalize()[..16].iter().fold(String::new(), |mut text, byte| {
            use std::fmt::Write as _;
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl Report {
    /// The fingerprint of each finding in turn, made unique: where several are the same, those behind the first have its
    /// number among them behind it, `:2`.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<String> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let unique = self.findings.iter().map(|finding| {
            let fingerprint = finding.fingerprint();
            let count = seen.entry(fingerprint.clone()).or_default();
            *count += 1;
            if *count == 1 { fingerprint } else { format!("{fingerprint}:{count}") }
        });
        unique.collect()
    }
}

/// `text` with `#` for each word of hexadecimal digits that is long enough for a digest, and, unless they count, for each number.
fn lasting(text: &str, numbers_count: bool) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let digits = |is: fn(&char) -> bool| rest.chars().take_while(is).count();
        let hexadecimal = digits(char::is_ascii_hexdigit);
        let decimal = digits(char::is_ascii_digit);
        let length = match hexadecimal {
            12.. => hexadecimal,
            _ if numbers_count => 0,
            _ => decimal,
        };
        if length > 0 {
            plain.push('#');
            rest = &rest[length..];
        } else {
            plain.push(character);
            rest = &rest[character.len_utf8()..];
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::lasting;

    #[test]
    fn numbers_and_digests_count_for_nothing() {
        for (text, expected) in [
            ("GLIBC_2.34", "GLIBC_#.#"),
            ("layer 3 (sha256:9f86d081884c7d65)", "layer # (sha#:#)"),
            ("armv7-a", "armv#-a"),
            ("decade of facade", "decade of facade"),
            ("größe 12", "größe #"),
            ("", ""),
        ] {
            assert_eq!(lasting(text, false), expected);
        }
        assert_eq!(lasting("x86-64-v3 (9f86d081884c7d65)", true), "x86-64-v3 (#)");
    }
}
