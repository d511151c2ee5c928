//! Members of the tar files that images are written to: plain ustar, nothing of the writer's machine.

use std::fs::File;
use std::io::{self, Write as _};

use tar::{EntryType, Header};

/// The size of a tar block, and so of a header, in bytes.
pub(super) const BLOCK: u64 = 512;

/// Writes a small file.
pub(super) fn member(file: &mut File, name: &str, content: &[u8]) -> io::Result<()> {
    file.write_all(header(name, EntryType::Regular, 0o644, content.len() as u64)?.as_bytes())?;
    file.write_all(content)?;
    pad(file, content.len() as u64)
}

/// Fills up the block in which content of `size` bytes ends.
pub(super) fn pad(file: &mut File, size: u64) -> io::Result<()> {
    let padding = size.next_multiple_of(BLOCK) - size;
    file.write_all(&[0; BLOCK as usize][..padding as usize])
}

pub(super) fn header(name: &str, kind: EntryType, mode: u32, size: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(header)
}
