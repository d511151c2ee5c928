//! What read-only data tells of who made a program, where nothing else does.

use super::ElfError;
use super::draft::Parts;

/// How much of `.rodata` is searched, in bytes.
const MOST: u64 = 16 << 20;
/// It is searched by pieces of this many bytes, so that no more than one is in memory, with this overlap.
const PIECE: u64 = 1 << 18;
const OVERLAP: u64 = 128;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// (version, commit) of Rust's standard library: one of them.
    pub(super) rust: Option<(Option<String>, Option<String>)>,
    /// The architecture that musl's loader, which is its C library too, names when it is run by itself.
    pub(super) musl: Option<String>,
}

pub(super) fn search(parts: &mut Parts<'_, '_>) -> Result<Found, ElfError> {
    let mut found = Found::default();
    pieces(parts, b".rodata", |bytes| {
        found.rust = found.rust.take().or_else(|| rust(bytes));
        found.musl = found.musl.take().or_else(|| musl(bytes));
        found.rust.is_some()
    })?;
    Ok(found)
}

/// Whether a library asks which CPU it is on: it calls `getauxval`, or names the files that tell.
pub(super) fn asks_for_cpu(parts: &mut Parts<'_, '_>) -> Result<bool, ElfError> {
    const CALL: &[u8] = b"\0getauxval\0";
    const FILES: [&[u8]; 2] = [b"/proc/self/auxv", b"/proc/cpuinfo"];
    let is_there = |bytes: &[u8], text: &[u8]| memchr::memmem::find(bytes, text).is_some();
    let calls = pieces(parts, b".dynstr", |bytes| is_there(bytes, CALL))?;
    Ok(calls || pieces(parts, b".rodata", |bytes| FILES.iter().any(|file| is_there(bytes, file)))?)
}

/// Goes through a section by pieces, until `found` has what it looks for.
fn pieces(
    parts: &mut Parts<'_, '_>,
    section: &[u8],
    mut found: impl FnMut(&[u8]) -> bool,
) -> Result<bool, ElfError> {
    let section = parts.layout.section(section).map(|section| (section.sh_offset, section.sh_size));
    let Some((offset, len)) = section else { return Ok(false) };
    let len = len.min(MOST);
    let mut at = 0;
    while at < len {
        let piece = (len - at).min(PIECE);
        let Some(bytes) =
            parts.layout.bytes(parts.file, "the read-only data", offset.saturating_add(at), piece)?
        else {
            break;
        };
        if found(&bytes) {
            return Ok(true);
        }
        if piece < PIECE {
            break;
        }
        at += PIECE - OVERLAP;
    }
    Ok(false)
}

fn musl(bytes: &[u8]) -> Option<String> {
    const MESSAGE: &[u8] = b"musl libc (";
    let rest = &bytes[memchr::memmem::find(bytes, MESSAGE)? + MESSAGE.len()..];
    let end = memchr::memchr(b')', &rest[..rest.len().min(32)])?;
    std::str::from_utf8(&rest[..end]).ok().map(str::to_owned)
}

/// (version, commit) of the standard library, from the paths that its panics name: `/rustc/COMMIT/library/…`
/// of Rust's own builds, `/usr/src/rustc-VERSION/library/…` of Debian's.
fn rust(bytes: &[u8]) -> Option<(Option<String>, Option<String>)> {
    for at in memchr::memmem::find_iter(bytes, b"/rustc") {
        let rest = &bytes[at + b"/rustc".len()..];
        let Some((mark, rest)) = rest.split_first() else { continue };
        let Some(end) = memchr::memchr(b'/', &rest[..rest.len().min(64)]) else { continue };
        let (name, path) = rest.split_at(end);
        if !path.starts_with(b"/library/") && !path.starts_with(b"/src/lib") {
            continue;
        }
        let Ok(name) = std::str::from_utf8(name) else { continue };
        match mark {
            b'/' if name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                return Some((None, Some(name.to_owned())));
            }
            b'-' if name.starts_with(|first: char| first.is_ascii_digit()) => {
                return Some((Some(name.to_owned()), None));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_is_known_by_the_paths_of_its_library() {
        let own = b"xx/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/std/src/io/mod.rs";
        let commit = "59807616e1fa2540724bfbac14d7976d7e4a3860".to_owned();
        assert_eq!(rust(own), Some((None, Some(commit))));
        let debian = b"/usr/src/rustc-1.63.0/library/core/src/fmt/mod.rs";
        assert_eq!(rust(debian), Some((Some("1.63.0".into()), None)));
        assert_eq!(rust(b"/rustc/short/library/"), None);
        assert_eq!(rust(b"ends with /rustc"), None);
        assert_eq!(rust(b"ends with /rustc/"), None);
    }
}
