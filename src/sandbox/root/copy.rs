//! A copy of a file system tree, where no overlay is to be had.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

/// The longest list of a file's extended attributes, and the longest value; Linux, `linux/limits.h`.
const ATTRIBUTES: usize = 65_536;

/// Copies the content of `from`, which nothing changes meanwhile, into the empty folder `to`: owners, modes, times, hard links,
/// and those extended attributes that may be set. The error comes with the path that it is about.
pub(super) fn tree(from: &Path, to: &Path) -> Result<(), (PathBuf, io::Error)> {
    let mut links = HashMap::new();
    let there = fs::metadata(from).map_err(|err| (from.into(), err))?;
    folder(from, to, &there, &mut links)
}

type Links = HashMap<(u64, u64), PathBuf>;

fn folder(from: &Path, to: &Path, there: &Metadata, links: &mut Links) -> Result<(), (PathBuf, io::Error)> {
    let failed = |err| (from.to_owned(), err);
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let failed = |err| (path.clone(), err);
        let there = entry.metadata().map_err(failed)?;
        if there.is_dir() {
            fs::create_dir(&target).map_err(failed)?;
            folder(&path, &target, &there, links)?;
            continue;
        }
        let number = (there.dev(), there.ino());
        if let Some(first) = links.get(&number) {
            fs::hard_link(first, &target).map_err(failed)?;
            continue;
        }
        one(&path, &target, &there).map_err(failed)?;
        if there.nlink() > 1 {
            links.insert(number, target);
        }
    }
    // Last, for what is made in a folder changes its time, and its mode may close it.
    rights(from, to, there).map_err(failed)
}

fn one(from: &Path, to: &Path, there: &Metadata) -> io::Result<()> {
    let kind = there.file_type();
    if kind.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from)?, to)?;
    } else if kind.is_file() {
        // The kernel shares the blocks where the file system can.
        io::copy(&mut File::open(from)?, &mut File::create_new(to)?)?;
    } else if kind.is_fifo() {
        rustix::fs::mknodat(CWD, to, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
    } else {
        // Sockets mean nothing without their process, and device nodes cannot be made.
        return Ok(());
    }
    rights(from, to, there)
}

fn rights(from: &Path, to: &Path, there: &Metadata) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(there.uid()), Gid::from_raw(there.gid()));
    rustix::fs::chownat(CWD, to, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if !there.file_type().is_symlink() {
        attributes(from, to);
        fs::set_permissions(to, fs::Permissions::from_mode(there.mode()))?;
    }
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(there.atime(), there.atime_nsec()),
        last_modification: time(there.mtime(), there.mtime_nsec()),
    };
    Ok(rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// What the snapshot has and cannot be set here, a program has to do without, as it would on this file system anywhere.
fn attributes(from: &Path, to: &Path) {
    let mut names = vec![0_u8; ATTRIBUTES];
    let Ok(count) = rustix::fs::llistxattr(from, &mut names[..]) else { return };
    for name in names[..count].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = OsStr::from_bytes(name);
        let mut value = vec![0_u8; ATTRIBUTES];
        if let Ok(count) = rustix::fs::lgetxattr(from, name, &mut value[..]) {
            let _ = rustix::fs::lsetxattr(to, name, &value[..count], XattrFlags::empty());
        }
    }
}
