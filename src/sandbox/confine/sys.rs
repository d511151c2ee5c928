//! A container's `/sys`, and the cgroups in it.

use std::ffi::CString;
use std::fs;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::super::mounts::{PLAIN, remount_bind};
use super::super::plan::{Failure, Step};
use crate::tree::{self, Mount};

/// Where cgroups are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Mounts it, read-only, on the folder `target`.
pub(in super::super) fn mount_sys(target: &Path) -> Result<(), Failure> {
    let flags = MountFlags::RDONLY | PLAIN;
    let mounts = tree::mounts().map_err(Step::Mount.io("/sys"))?;
    // A new one needs a network namespace of the container's own; else it is the host's.
    if rustix::mount::mount("sysfs", target, "sysfs", flags, None).is_err() {
        // Recursively, for mounts that came from outside cannot be parted from what lies under them.
        rustix::mount::mount_bind_recursive("/sys", target).map_err(Step::Mount.on("/sys"))?;
        for mount in tree::mounts().map_err(Step::Mount.io("/sys"))? {
            if mount.point.starts_with(target) {
                remount_bind(&mount.point, flags).map_err(Step::Mount.on(&mount.point))?;
            }
        }
    }
    mount_cgroups(&target.join("fs/cgroup"), &mounts).map_err(Step::Mount.on(CGROUPS))
}

/// The container's own view of its cgroups, in the place of the host's.
fn mount_cgroups(target: &Path, mounts: &[Mount]) -> Result<(), Errno> {
    if !target.is_dir() {
        return Ok(());
    }
    let unified = mounts.iter().rfind(|mount| mount.point == Path::new(CGROUPS));
    if unified.is_some_and(|mount| mount.kind == "cgroup2") {
        return rustix::mount::mount("cgroup", target, "cgroup2", MountFlags::RDONLY | PLAIN, None);
    }
    // Older hosts have one hierarchy for each controller. Whatever of them cannot be had is not seen.
    rustix::mount::mount("tmpfs", target, "tmpfs", PLAIN, c"mode=755,size=64k")?;
    for mount in mounts.iter().filter(|mount| mount.point.parent() == Some(Path::new(CGROUPS))) {
        let Some(name) = mount.point.file_name() else { continue };
        let place = target.join(name);
        if fs::create_dir(&place).is_err() {
            continue;
        }
        let options = CString::new(controllers(&mount.options)).unwrap_or_default();
        let flags = MountFlags::RDONLY | PLAIN;
        if rustix::mount::mount("cgroup", &place, mount.kind.as_str(), flags, options.as_c_str()).is_err() {
            let _ = fs::remove_dir(&place);
        }
    }
    rustix::mount::mount_remount(target, MountFlags::RDONLY | PLAIN, c"mode=755,size=64k")
}

/// Of the options of a mounted hierarchy, those that say which it is.
fn controllers(options: &str) -> String {
    let of_mount = |word: &&str| {
        !matches!(
            *word,
            "rw" | "ro"
                | "nosuid"
                | "nodev"
                | "noexec"
                | "relatime"
                | "noatime"
                | "nsdelegate"
                | "memory_recursiveprot"
                | "xattr"
                | "clone_children"
        )
    };
    let words: Vec<&str> =
        options.split(',').filter(of_mount).filter(|word| !word.starts_with("release_agent=")).collect();
    words.join(",")
}
