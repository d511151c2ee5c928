//! Bytes that are checked against their digest while they are read.

use std::io::{self, Read};

use crate::layer::{Digest, DigestReader};

/// Reads a blob, and fails at its end, or beyond its size, where it is another than it should be.
#[derive(Debug)]
pub(super) struct Verified<R> {
    inner: DigestReader<R>,
    expected: Digest,
    /// Its length; not known of what a compressed layer holds.
    size: Option<u64>,
    ended: bool,
}

impl<R: Read> Verified<R> {
    pub(super) fn new(inner: R, expected: Digest, size: Option<u64>) -> Self {
        Self { inner: DigestReader::new(inner), expected, size, ended: false }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.ended {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        let found = self.inner.count();
        if let Some(size) = self.size
            && (found > size || (count == 0 && found < size))
        {
            return wrong(format!("its size is not the {size} bytes that the manifest says"));
        }
        if count == 0 {
            self.ended = true;
            let found = self.inner.digest();
            if found != self.expected {
                return wrong(format!("expected digest {}, found {found}", self.expected));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_an_error_before_the_end() {
        let read = |bytes: &[u8], digest, size| {
            let mut out = Vec::new();
            Verified::new(bytes, digest, Some(size)).read_to_end(&mut out).map(|_| out)
        };
        assert_eq!(read(b"abc", Digest::of(b"abc"), 3).unwrap(), b"abc");
        for (bytes, size) in [(&b"abd"[..], 3), (b"ab", 3), (b"abc", 2), (b"abcd", 3), (b"", 3)] {
            assert!(read(bytes, Digest::of(b"abc"), size).is_err(), "{bytes:?} {size}");
        }
    }
}
