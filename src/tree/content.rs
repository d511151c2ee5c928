//! What one file of a tree is, and how it is called.

use std::io;
use std::path::{Path, PathBuf};

use super::Content;
use crate::elf::{Identity, Kind, Reader, kind};

/// What a file is; `None` for what is no program.
pub(super) fn content(file: &mut Reader<'_>) -> io::Result<Option<Content>> {
    Ok(match kind(file)? {
        Kind::Elf => Some(match Identity::read(file) {
            Ok(identity) => Content::Elf(Box::new(identity)),
            Err(err) => {
                use std::error::Error as _;
                let cause = err.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                Content::Error { message: format!("{err}{cause}") }
            }
        }),
        Kind::Script(script) => Some(Content::Script(script)),
        Kind::MachO { architectures } => Some(Content::MachO(architectures)),
        Kind::Pe { machine } => Some(Content::Pe(machine)),
        _ => None,
    })
}

/// `INPUT/path`, or `INPUT!/path` in an archive.
pub(super) fn beneath(input: &Path, separator: &str, path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = input.as_os_str().as_bytes().to_vec();
    if path.is_empty() {
        return input.to_owned();
    }
    if separator != "/" || bytes.last() != Some(&b'/') {
        bytes.extend_from_slice(separator.as_bytes());
    }
    bytes.extend_from_slice(path);
    std::ffi::OsString::from_vec(bytes).into()
}
