//! A container's file system becomes that of a process, with what is mounted in it.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::confine::{self, Confine};
use super::plan::{Failure, Step};
use super::volumes::{self, Volume};

/// What file systems of the kernel's own are mounted with.
pub(super) const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Mounts everything beneath `root`. `notes` gets what could not be had and is no reason to fail; `place` is done when the container's
/// `/dev` is there; `own` is the folder of the run.
pub(super) fn furnish(
    root: &Path,
    volumes: &[Volume],
    confine: &Confine,
    own: &Path,
    notes: &mut Vec<String>,
    place: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    rustix::mount::mount_bind_recursive(root, root).map_err(Step::Mount.on(root))?;
    remount_bind(root, MountFlags::NODEV).map_err(Step::Mount.on(root))?;

    let proc = mount_point(root, "proc")?;
    rustix::mount::mount("proc", &proc, "proc", PLAIN, None).map_err(Step::Mount.on("/proc"))?;
    let sys = mount_point(root, "sys")?;
    if let Err(failure) = confine::mount_sys(&sys) {
        notes.push(format!("the container has no `/sys`: {}", io::Error::from_raw_os_error(failure.errno)));
    }
    confine::mount_dev(&mount_point(root, "dev")?, confine)?;
    confine::mount_devices(root, &confine.devices)?;
    place()?;
    volumes::mount_all(root, volumes, own)
}

/// Makes `root` the file system of this process, in which what is not to be seen is hidden.
pub(super) fn enter(root: &Path, confine: &Confine) -> Result<(), Failure> {
    rustix::process::chdir(root).map_err(Step::Mount.on(root))?;
    rustix::process::pivot_root(".", ".").map_err(Step::Mount.on("the root file system"))?;
    // The old root lies on top of the new one now; all of the host's mounts go with it.
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(Step::Mount.on("the root file system"))?;
    rustix::process::chdir("/").map_err(Step::Mount.on("/"))?;

    if confine.unmasked { Ok(()) } else { confine::mask_paths() }
}

/// Makes the host's cgroups read-only for this mount namespace, as far as they are there.
pub(super) fn seal_cgroups() {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(folder) = rustix::fs::open("/sys/fs/cgroup", flags, Mode::empty()) {
        let _ = volumes::set_attributes(&folder, MountFlags::RDONLY, true);
    }
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
