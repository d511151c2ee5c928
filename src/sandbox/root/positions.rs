//! Positions in folders, which 32-bit guests must be able to hold.
//!
//! ext4 gives hashes of names as positions in a folder, of 64 bits to a 64-bit program; and an emulator is one. The C library of
//! a 32-bit guest that reads folders without large-file calls fails on them with `EOVERFLOW`. An overlay numbers the entries of a
//! folder that it merges of several layers by itself. So beneath a guest's files lies a layer that has nothing but their folders.
//! (What a container makes anew is merged of nothing, and keeps its positions.)

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags, RawDir};

use crate::target::{Catalogue, Platform};

/// Whether the file system gives positions in `folder`, which is not empty, that need more than 32 bits.
///
/// # Errors
/// Where the folder cannot be read.
pub fn has_long_positions(folder: &Path) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(folder, flags, Mode::empty())?;
    let mut buffer = Vec::with_capacity(1 << 13);
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    let mut is_long = false;
    while let Some(entry) = entries.next() {
        // The end of a folder is all ones to some file systems, which libraries know.
        let position = entry?.next_entry_cookie();
        is_long |= position > u64::from(u32::MAX) && position < i64::MAX as u64;
    }
    Ok(is_long)
}

/// Whether programs for `platform` are of 32 bits, and run here by a program of 64.
#[must_use]
pub fn wants_short(platform: &Platform) -> bool {
    let catalogue = Catalogue::builtin();
    let own = catalogue.target(&Platform::host().to_string()).ok();
    let native = |guest: &str| own.is_some_and(|own| own.runs_natively(guest));
    let target = catalogue.target(&platform.to_string()).ok();
    target.is_some_and(|target| target.elf.class == 32 && !native(&target.qemu.guest))
}

/// Makes the folders of `from`, and nothing else of it, in `to`.
///
/// # Errors
/// Where they cannot be made.
pub fn skeleton(from: &Path, to: &Path) -> io::Result<()> {
    match fs::create_dir(to) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
        _ => {}
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            skeleton(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
