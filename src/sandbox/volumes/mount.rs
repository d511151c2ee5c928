//! Mounting a container's volumes, beneath its root and before that is the root of a process.

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::super::mounts::remount_bind;
use super::super::plan::{Failure, Step};
use super::super::root;
use super::{Beneath, Kind, Source, Volume, open_in, point};
use crate::tree;

/// Mounts all volumes, outer ones before what lies in them. `own` is the folder of the run.
pub(in super::super) fn mount_all(at: &Path, volumes: &[Volume], own: &Path) -> Result<(), Failure> {
    if volumes.is_empty() {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(at, flags, Mode::empty()).map_err(Step::Mount.on(at))?;
    let mut order: Vec<&Volume> = volumes.iter().collect();
    order.sort_by_key(|volume| Path::new(&volume.target).components().count());
    for (number, volume) in order.into_iter().enumerate() {
        let target = Path::new(&volume.target);
        let shown = match &volume.source {
            Source::Bind { path, .. } => {
                format!("`{}` at `{}`", path.to_string_lossy(), target.display())
            }
            Source::Tmpfs { .. } => format!("a tmpfs at `{}`", target.display()),
            Source::Own => format!("the volume `{}`", target.display()),
            Source::Root { path, .. } => {
                format!("`{}` of another root at `{}`", path.to_string_lossy(), target.display())
            }
            Source::Text { .. } => format!("a file in memory at `{}`", target.display()),
        };
        let other = match &volume.source {
            Source::Root { root: plan, .. } => {
                let other = root::make_folder(own, &format!("{}{number}", root::OTHER))?;
                root::mount(plan, &other, &mut Vec::new())?;
                other.join("root")
            }
            Source::Text { .. } => root::make_folder(own, &format!("{}{number}", root::OTHER))?,
            _ => PathBuf::new(),
        };
        mount(folder.as_fd(), target, volume, &other).map_err(Step::Volume.on(shown))?;
    }
    Ok(())
}

/// `other` is the folder of what a source needs besides.
fn mount(root: BorrowedFd<'_>, target: &Path, volume: &Volume, other: &Path) -> Result<(), Errno> {
    let read_only = if volume.read_only { MountFlags::RDONLY } else { MountFlags::empty() };
    match &volume.source {
        Source::Bind { path, beneath, .. } => {
            let source = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            opened(root, target, &source, read_only, *beneath)
        }
        Source::Root { path, .. } => {
            let other = rustix::fs::open(other, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            let source = open_in(other, &Path::new("/").join(path), OFlags::PATH)?;
            opened(root, target, &source, read_only, Beneath::Outside)
        }
        Source::Text { content, mode, owner } => {
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            rustix::mount::mount("tmpfs", other, "tmpfs", flags, c"mode=700,nr_inodes=8")?;
            let file = other.join("text");
            let written = write_text(&file, content, *mode, *owner);
            written.map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::IO))?;
            let source = rustix::fs::open(&file, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            opened(root, target, &source, read_only, Beneath::Outside)
        }
        Source::Tmpfs { options, exec } => {
            let place = place(root, target, Kind::Folder)?;
            let mut flags = MountFlags::NOSUID | MountFlags::NODEV | read_only;
            if !exec {
                flags |= MountFlags::NOEXEC;
            }
            let options = CString::new(options.as_str()).map_err(|_| Errno::INVAL)?;
            rustix::mount::mount("tmpfs", by_descriptor(&place), "tmpfs", flags, options.as_c_str())
        }
        Source::Own => {
            // A mount of its own, so that it is as writable as it is wanted, whatever the root is.
            let place = place(root, target, Kind::Folder)?;
            bind(&place, &place, false)?;
            set_attributes(&open_in(root, target, OFlags::PATH)?, read_only, false)
        }
    }
}

fn write_text(path: &Path, content: &[u8], mode: u32, (uid, gid): (u32, u32)) -> io::Result<()> {
    fs::write(path, content)?;
    std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Mounts what is open.
fn opened(
    root: BorrowedFd<'_>,
    target: &Path,
    source: &OwnedFd,
    read_only: MountFlags,
    beneath: Beneath,
) -> Result<(), Errno> {
    let place = place(root, target, Kind::of(source)?)?;
    bind(source, &place, beneath != Beneath::Outside)?;
    let mounted = open_in(root, target, OFlags::PATH)?;
    // A device is asked for by its name; in a folder one would come along unasked.
    let plain = if Kind::of(source)? == Kind::Folder {
        MountFlags::NOSUID | MountFlags::NODEV
    } else {
        MountFlags::NOSUID
    };
    set_attributes(&mounted, plain, true)?;
    set_attributes(&mounted, read_only, beneath == Beneath::Alike)
}

/// The place for a volume. `/proc` is no place for one: programs believe what stands there.
fn place(root: BorrowedFd<'_>, target: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
    let place = point(root, target, kind)?;
    if rustix::fs::fstatfs(&place)?.f_type == rustix::fs::PROC_SUPER_MAGIC {
        return Err(Errno::OPNOTSUPP);
    }
    Ok(place)
}

fn bind(source: &OwnedFd, target: &OwnedFd, recursive: bool) -> Result<(), Errno> {
    let (source, target) = (by_descriptor(source), by_descriptor(target));
    if recursive {
        rustix::mount::mount_bind_recursive(source, target)
    } else {
        rustix::mount::mount_bind(source, target)
    }
}

fn by_descriptor(fd: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

/// As in linux/mount.h.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Adds `flags` to the mount that `mounted` is the root of and, where `recursive`, to those beneath it. None that it has goes.
pub(in super::super) fn set_attributes(
    mounted: &OwnedFd,
    flags: MountFlags,
    recursive: bool,
) -> Result<(), Errno> {
    let attributes = [
        (MountFlags::RDONLY, libc::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, libc::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, libc::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, libc::MOUNT_ATTR_NOEXEC),
    ];
    let chosen = attributes.iter().filter(|(flag, _)| flags.contains(*flag));
    let attr_set = chosen.fold(0, |all, (_, attribute)| all | *attribute);
    if attr_set == 0 {
        return Ok(());
    }
    let attr = MountAttr { attr_set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let at = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    #[expect(unsafe_code, reason = "neither rustix nor the standard library has `mount_setattr`")]
    // SAFETY: the path is a NUL-terminated text, and `attr` is of the size that is given; both live until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mounted.as_raw_fd(),
            c"".as_ptr(),
            at,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        return Ok(());
    }
    match std::io::Error::last_os_error().raw_os_error().map(Errno::from_raw_os_error) {
        // Linux before 5.12 has no such call.
        Some(Errno::NOSYS) => one_by_one(mounted, flags, recursive),
        errno => Err(errno.unwrap_or(Errno::IO)),
    }
}

/// The same with a call for each mount.
fn one_by_one(mounted: &OwnedFd, flags: MountFlags, recursive: bool) -> Result<(), Errno> {
    let link = by_descriptor(mounted);
    remount_bind(&link, flags)?;
    if recursive {
        let top = rustix::fs::readlink(&link, Vec::new())?;
        let top = Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(top.to_bytes()));
        for mount in tree::mounts().map_err(|_| Errno::IO)? {
            if mount.point.starts_with(top) {
                remount_bind(&mount.point, flags)?;
            }
        }
    }
    Ok(())
}
