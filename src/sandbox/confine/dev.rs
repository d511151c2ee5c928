//! A container's `/dev`.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::super::mounts::PLAIN;
use super::super::plan::{Failure, Step};
use super::super::volumes::{Kind, point};
use super::{Confine, Device};

/// Device nodes of the host that a container gets.
pub(in super::super) const DEVICES: &[&str] = &["full", "null", "random", "tty", "urandom", "zero"];

/// Links in `/dev` and what they lead to.
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

/// The group that terminals belong to, on every distribution.
const TTY: u32 = 5;

/// Makes and mounts everything in the folder `dev`.
pub(in super::super) fn mount_dev(dev: &Path, confine: &Confine) -> Result<(), Failure> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    tmpfs(dev, flags, c"mode=755,size=64m").map_err(Step::Mount.on("/dev"))?;
    // From here on the folder is ours alone, and its names can be trusted.
    for name in DEVICES {
        let target = dev.join(name);
        let host = Path::new("/dev").join(name);
        File::create(&target).map_err(Step::Prepare.io(&host))?;
        rustix::mount::mount_bind(&host, &target).map_err(Step::Mount.on(&host))?;
    }
    for (name, target) in LINKS {
        symlink(target, dev.join(name)).map_err(Step::Prepare.io(Path::new("/dev").join(name)))?;
    }
    let folder = |name: &str| {
        let path = dev.join(name);
        fs::create_dir(&path).map_err(Step::Prepare.io(Path::new("/dev").join(name)))?;
        Ok(path)
    };
    mount_pts(&folder("pts")?).map_err(Step::Mount.on("/dev/pts"))?;
    let shm = CString::new(format!("mode=1777,size={}", confine.shm_size)).unwrap_or_default();
    tmpfs(&folder("shm")?, PLAIN, &shm).map_err(Step::Mount.on("/dev/shm"))?;
    let mqueue = folder("mqueue")?;
    // Kernels without POSIX message queues exist, and hardly a program needs them.
    let _ = rustix::mount::mount("mqueue", &mqueue, "mqueue", PLAIN, None);
    Ok(())
}

/// Terminals of the container's own, which belong to their group where there is one.
fn mount_pts(target: &Path) -> Result<(), Errno> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let options = format!("newinstance,ptmxmode=0666,mode=0620,gid={TTY}");
    let mount = |options: &CStr| rustix::mount::mount("devpts", target, "devpts", flags, options);
    match mount(&CString::new(options).unwrap_or_default()) {
        Err(Errno::INVAL) => mount(c"newinstance,ptmxmode=0666,mode=0620"),
        other => other,
    }
}

/// Mounts the nodes of the host that were asked for, beneath the container's root.
pub(in super::super) fn mount_devices(root: &Path, devices: &[Device]) -> Result<(), Failure> {
    if devices.is_empty() {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty()).map_err(Step::Mount.on(root))?;
    for device in devices {
        mount_device(root.as_fd(), device).map_err(Step::Mount.on(&device.target))?;
    }
    Ok(())
}

fn mount_device(root: impl AsFd, device: &Device) -> Result<(), Errno> {
    let place = point(root, Path::new(&device.target), Kind::File)?;
    rustix::mount::mount_bind(&device.source, PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd())))
}

fn tmpfs(target: &Path, flags: MountFlags, options: &CStr) -> Result<(), Errno> {
    rustix::mount::mount("tmpfs", target, "tmpfs", flags, options)
}
