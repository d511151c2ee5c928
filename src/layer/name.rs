//! Names as layers have them, and as they are used.

use super::LayerError;

/// The longest name that is accepted, in bytes; the kernel's own limit for a path.
const LENGTH: usize = 4095;
/// The longest part of a name, in bytes; the limit of every Linux file system that holds images.
const PART: usize = 255;
/// How deep a name may lead. Removing a folder takes a descriptor for each level.
const DEPTH: usize = 500;

/// A layer's name without the slash before it, empty parts and `.`; one with `..` is refused, for no tool writes it.
pub(super) fn clean(name: &[u8]) -> Result<Vec<u8>, LayerError> {
    let refuse = |reason| LayerError::Name { path: lossy(name.get(..256).unwrap_or(name)), reason };
    if name.len() > LENGTH {
        return Err(refuse("longer than 4095 bytes"));
    }
    if name.contains(&0) {
        return Err(refuse("a NUL byte"));
    }
    let mut path = Vec::with_capacity(name.len());
    let mut depth = 0;
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(refuse("`..`")),
            part if part.len() > PART => return Err(refuse("a part longer than 255 bytes")),
            part => {
                depth += 1;
                if depth > DEPTH {
                    return Err(refuse("more than 500 folders deep"));
                }
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
    }
    Ok(path)
}

/// Where a symbolic link leads. It may lead anywhere, for it is only ever followed within the root.
pub(super) fn link(path: &[u8], target: &[u8]) -> Result<Vec<u8>, LayerError> {
    let refuse = |reason| Err(LayerError::Name { path: lossy(path), reason });
    match target {
        b"" => refuse("a symbolic link to nothing"),
        _ if target.len() > LENGTH => refuse("a symbolic link's target is longer than 4095 bytes"),
        _ if target.contains(&0) => refuse("a NUL byte in a symbolic link's target"),
        _ => Ok(target.to_vec()),
    }
}

pub(super) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// `path` as a message shows it: on one line, whatever it holds.
pub(super) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string()
}
