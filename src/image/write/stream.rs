//! Bytes on their way to a file, digested as they go by.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

use oci_spec::image::Descriptor;

use super::super::{Blob, ImageError, digest_of};
use crate::layer::DigestWriter;

/// How many bytes go at a time.
const CHUNK: usize = 1 << 17;

/// Writes `content` to `file` and tells what it was; where it is not as `expected`, that is an error.
pub(super) fn stream(
    content: &mut dyn Read,
    file: &mut File,
    path: &Path,
    expected: Option<&Descriptor>,
) -> Result<Blob, ImageError> {
    let part = || expected.map_or_else(|| "content".to_owned(), |entry| format!("blob {}", entry.digest()));
    let mut out = DigestWriter::new(file);
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(ImageError::Blob { part: part(), source }),
        };
        out.write_all(&buffer[..count]).map_err(|source| ImageError::File {
            doing: "writing",
            path: path.into(),
            source,
        })?;
    }
    let (_, digest, size) = out.finish();
    if let Some(entry) = expected {
        let expected = digest_of(entry, "manifest")?;
        if expected != digest {
            return Err(ImageError::Digest { part: part(), expected, found: digest });
        }
        if entry.size() != size {
            let reason = format!("it has {size} bytes where {} were expected", entry.size());
            return Err(ImageError::Invalid { part: part(), reason });
        }
    }
    Ok(Blob { digest, size })
}
