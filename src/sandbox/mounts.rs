//! What is mounted in a container: `/proc`, `/dev`, `/sys`, and what is hidden or read-only in them.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::plan::{Failure, Step};
use super::volumes::{self, Volume};
use crate::tree;

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

/// Paths that a container cannot write. Source: as [`MASKED`].
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Device nodes of the host that a container gets.
const DEVICES: &[&str] = &["full", "null", "random", "tty", "urandom", "zero"];

/// Links in `/dev` and what they lead to.
const DEV_LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Makes `root` the file system of this process, with everything mounted. `notes` gets what could not be had
/// and is no reason to fail.
pub(super) fn enter(root: &Path, volumes: &[Volume], notes: &mut Vec<String>) -> Result<(), Failure> {
    rustix::mount::mount_bind_recursive(root, root).map_err(Step::Mount.on(root))?;
    remount_bind(root, MountFlags::NOSUID | MountFlags::NODEV).map_err(Step::Mount.on(root))?;

    let proc = mount_point(root, "proc")?;
    rustix::mount::mount("proc", &proc, "proc", PLAIN, None).map_err(Step::Mount.on("/proc"))?;
    let sys = mount_point(root, "sys")?;
    if let Err(failure) = mount_sys(&sys) {
        notes.push(format!("the container has no `/sys`: {}", io::Error::from_raw_os_error(failure.errno)));
    }
    mount_dev(&mount_point(root, "dev")?)?;
    volumes::mount_all(root, volumes)?;

    rustix::process::chdir(root).map_err(Step::Mount.on(root))?;
    rustix::process::pivot_root(".", ".").map_err(Step::Mount.on("the root file system"))?;
    // The old root lies on top of the new one now; all of the host's mounts go with it.
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(Step::Mount.on("the root file system"))?;
    rustix::process::chdir("/").map_err(Step::Mount.on("/"))?;

    for path in READ_ONLY {
        seal(Path::new(path)).map_err(Step::Mount.on(path))?;
    }
    for path in MASKED {
        mask(Path::new(path)).map_err(Step::Mount.on(path))?;
    }
    Ok(())
}

/// Adds `flags` to the mount at `path`, which keeps the flags that it has: the kernel lets none go that came from outside.
pub(super) fn remount_bind(path: &Path, flags: MountFlags) -> Result<(), Errno> {
    let has = rustix::fs::statvfs(path)?.f_flag;
    let mut all = flags | MountFlags::BIND;
    for (had, flag) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
    ] {
        if has.contains(had) {
            all |= flag;
        }
    }
    rustix::mount::mount_remount(path, all, c"")
}

/// The folder `name` directly under `root`, made where it is missing. A link there could lead a mount out of `root`.
fn mount_point(root: &Path, name: &str) -> Result<PathBuf, Failure> {
    let fail = |errno| Step::MountPoint.on(format!("/{name}"))(errno);
    let open = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(root, open, Mode::empty()).map_err(fail)?;
    match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(fail(errno)),
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(&folder, name, open, Mode::empty(), resolve).map_err(fail)?;
    Ok(root.join(name))
}

/// A new `/sys` needs a network namespace of its own, which this one shares with the host; so the host's, read-only.
fn mount_sys(target: &Path) -> Result<(), Failure> {
    // Recursively, for mounts that came from outside cannot be parted from what lies under them.
    rustix::mount::mount_bind_recursive("/sys", target).map_err(Step::Mount.on("/sys"))?;
    for mount in tree::mounts().map_err(Step::Mount.io("/sys"))? {
        if mount.point.starts_with(target) {
            remount_bind(&mount.point, MountFlags::RDONLY | PLAIN).map_err(Step::Mount.on(&mount.point))?;
        }
    }
    Ok(())
}

fn mount_dev(dev: &Path) -> Result<(), Failure> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    tmpfs(dev, flags, c"mode=755,size=64m").map_err(Step::Mount.on("/dev"))?;
    // From here on the folder is ours alone, and its names can be trusted.
    for name in DEVICES {
        let target = dev.join(name);
        let host = Path::new("/dev").join(name);
        File::create(&target).map_err(Step::Prepare.io(&host))?;
        rustix::mount::mount_bind(&host, &target).map_err(Step::Mount.on(&host))?;
    }
    for (name, target) in DEV_LINKS {
        symlink(target, dev.join(name)).map_err(Step::Prepare.io(Path::new("/dev").join(name)))?;
    }
    let folder = |name: &str| {
        let path = dev.join(name);
        fs::create_dir(&path).map_err(Step::Prepare.io(Path::new("/dev").join(name)))?;
        Ok(path)
    };
    let pts = folder("pts")?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    rustix::mount::mount("devpts", &pts, "devpts", flags, c"newinstance,ptmxmode=0666,mode=0620")
        .map_err(Step::Mount.on("/dev/pts"))?;
    tmpfs(&folder("shm")?, PLAIN, c"mode=1777,size=64m").map_err(Step::Mount.on("/dev/shm"))?;
    let mqueue = folder("mqueue")?;
    // Kernels without POSIX message queues exist, and hardly a program needs them.
    let _ = rustix::mount::mount("mqueue", &mqueue, "mqueue", PLAIN, None);
    Ok(())
}

fn tmpfs(target: &Path, flags: MountFlags, options: &CStr) -> Result<(), Errno> {
    rustix::mount::mount("tmpfs", target, "tmpfs", flags, options)
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
        Ok(there) if there.is_dir() => tmpfs(path, MountFlags::RDONLY | PLAIN, c"size=0,mode=755"),
        Ok(_) => rustix::mount::mount_bind("/dev/null", path),
        Err(_) => Ok(()),
    }
}
