//! SHA-256, by which everything in the archive is known.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use sha2::Digest as _;

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The digest of all that `reader` gives.
    ///
    /// # Errors
    /// Those of `reader`.
    pub fn read(reader: impl Read) -> io::Result<Self> {
        let mut hasher = sha2::Sha256::new();
        feed(reader, &mut hasher)?;
        Ok(Self::of(hasher))
    }

    /// The digest that `hasher` comes to.
    pub(super) fn of(hasher: sha2::Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

/// Adds all that `reader` gives to `hasher`, and counts its bytes.
pub(super) fn feed(mut reader: impl Read, hasher: &mut sha2::Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(length),
            count => {
                hasher.update(&buffer[..count]);
                length += count as u64;
            }
        }
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

/// A text is not the 64 hexadecimal digits of a SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no SHA-256 digest of 64 hexadecimal digits")]
pub struct Sha256Error;

impl FromStr for Sha256 {
    type Err = Sha256Error;

    fn from_str(text: &str) -> Result<Self, Sha256Error> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(Sha256Error) };
        let mut digest = [0; 32];
        if pairs.len() != digest.len() {
            return Err(Sha256Error);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(Sha256Error);
        for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
            *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
        }
        Ok(Self(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_64_digits() {
        let text = "00ff".repeat(16);
        assert_eq!(text.parse::<Sha256>().unwrap().to_string(), text);
        for wrong in ["", "00", &text[1..], &format!("{text}00"), &text.replace('f', "g"), &"é".repeat(32)] {
            assert_eq!(wrong.parse::<Sha256>(), Err(Sha256Error), "{wrong}");
        }
    }
}
