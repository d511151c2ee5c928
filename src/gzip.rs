//! Reading gzip streams (RFC 1952) of any number of members, by zlib-rs.
//!
//! `flate2` would be the usual way. But ocidir makes it use the C zlib, which inflates at half of the speed.

use std::fmt;
use std::io::{self, BufRead, Read};

use zlib_rs::{Inflate, InflateFlush, Status};

/// What zlib takes for "a gzip header, and a window of 32 KiB".
const GZIP_WINDOW: u8 = 16 + 15;

/// Reads what a gzip stream holds, and checks each member's sum and length.
///
/// Zeros after the last member are passed over, as gzip(1) does; anything else there is an error.
pub(crate) struct GzipReader<R> {
    inner: R,
    /// `None` between members.
    inflate: Option<Inflate>,
    /// Whether a member was read: a stream has at least one.
    has_begun: bool,
}

impl<R: BufRead> GzipReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, inflate: None, has_begun: false }
    }

    /// Whether another member begins where the reader is.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            let next = fill(&mut self.inner)?;
            match next.iter().position(|byte| *byte != 0 || !self.has_begun) {
                None if next.is_empty() => {
                    return if self.has_begun { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
                }
                None => {
                    let zeros = next.len();
                    self.inner.consume(zeros);
                }
                Some(zeros) => {
                    self.inner.consume(zeros);
                    self.inflate = Some(Inflate::new(true, GZIP_WINDOW));
                    self.has_begun = true;
                    return Ok(true);
                }
            }
        }
    }
}

/// What is buffered, at least a byte but at the end.
fn fill(inner: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match inner.fill_buf() {
            Ok(_) => break,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    inner.fill_buf()
}

impl<R: BufRead> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let Some(inflate) = &mut self.inflate else {
                if self.begin()? {
                    continue;
                }
                return Ok(0);
            };
            let input = fill(&mut self.inner)?;
            let at_end = input.is_empty();
            let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
            let result = inflate.decompress(input, buffer, InflateFlush::NoFlush);
            let taken = (inflate.total_in() - before_in) as usize;
            let given = (inflate.total_out() - before_out) as usize;
            self.inner.consume(taken);
            match result {
                Ok(Status::StreamEnd) => self.inflate = None,
                Ok(_) => {}
                // What came before the damage goes out first; asked again, zlib says the same.
                Err(_) if given > 0 => {}
                Err(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "corrupt gzip stream")),
            }
            if given > 0 {
                return Ok(given);
            }
            if at_end && self.inflate.is_some() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl<R> fmt::Debug for GzipReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GzipReader").field("has_begun", &self.has_begun).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// What gzip(1) makes of it.
    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut child = Command::new("gzip")
            .args(["-c", "-6"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let plain = plain.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&plain).unwrap());
        let packed = child.wait_with_output().unwrap().stdout;
        writer.join().unwrap();
        packed
    }

    fn read(packed: &[u8], buffer: usize) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        // Small buffers, so that everything ends up across an edge once.
        GzipReader::new(io::BufReader::with_capacity(buffer, packed)).read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn members_follow_each_other() {
        let plain: Vec<u8> =
            (0..200_000_u32).flat_map(|number| (number.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        let (first, second) = (gzip(&plain), gzip(b"second"));
        let both = [plain.as_slice(), b"second"].concat();
        for buffer in [1, 7, 4096] {
            assert!(read(&[&first[..], &second[..]].concat(), buffer).unwrap() == both, "{buffer}");
            assert!(read(&[&first[..], &second[..], &[0; 700][..]].concat(), buffer).unwrap() == both);
        }
        assert_eq!(read(&gzip(b""), 4096).unwrap(), b"");
    }

    #[test]
    fn damage_is_noticed() {
        let whole = gzip(b"some text, some text, some text");
        for length in 0..whole.len() {
            let err = read(&whole[..length], 4096).unwrap_err();
            assert_eq!(err.kind(), io::ErrorKind::UnexpectedEof, "{length} bytes");
        }
        for at in 10..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x01;
            // The text before the damage may have been given, but no end.
            assert!(read(&damaged, 4096).is_err(), "byte {at}");
        }
        let err = read(&[&whole[..], b"garbage that is no member"].concat(), 4096).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::InvalidData);
    }
}
