//! What of `/proc` and `/sys` a container does not see, or not write.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::super::mounts::{PLAIN, remount_bind};
use super::super::plan::{Failure, Step};

/// Paths that a container does not see. Source: docker's default (moby, `oci/defaults.go`).
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// The folder in which each processor has one, of which [`THROTTLE`] is masked too.
const PROCESSORS: &str = "/sys/devices/system/cpu";
const THROTTLE: &str = "thermal_throttle";

/// Paths that a container cannot write. Source: as [`MASKED`].
pub(in super::super) const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Every path that is masked on this machine.
pub(in super::super) fn masked() -> Vec<PathBuf> {
    let processors = fs::read_dir(PROCESSORS).into_iter().flatten().flatten();
    let processors = processors.filter(|entry| {
        let name = entry.file_name();
        name.to_str()
            .and_then(|name| name.strip_prefix("cpu"))
            .is_some_and(|number| number.parse::<u32>().is_ok())
    });
    let throttles = processors.map(|entry| entry.path().join(THROTTLE)).filter(|path| path.exists());
    MASKED.iter().map(PathBuf::from).chain(throttles).collect()
}

/// Hides and seals them in the root of this process.
pub(in super::super) fn mask_paths() -> Result<(), Failure> {
    for path in READ_ONLY {
        seal(Path::new(path)).map_err(Step::Mount.on(path))?;
    }
    for path in masked() {
        mask(&path).map_err(Step::Mount.on(&path))?;
    }
    Ok(())
}

/// Makes what is at `path`, if it is there, read-only.
fn seal(path: &Path) -> Result<(), Errno> {
    match rustix::mount::mount_bind_recursive(path, path) {
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
        Ok(()) => remount_bind(path, MountFlags::RDONLY),
    }
}

/// Hides what is at `path`, if it is there.
fn mask(path: &Path) -> Result<(), Errno> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => {
            rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::RDONLY | PLAIN, c"size=0,mode=755")
        }
        Ok(_) => rustix::mount::mount_bind("/dev/null", path),
        Err(_) => Ok(()),
    }
}
