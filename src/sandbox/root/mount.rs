//! Making a container's root file system, in its user namespace and a mount namespace of its own.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::super::mounts::remount_bind;
use super::super::plan::{Failure, Step};
use super::{Plan, copy, positions};

/// What the container writes; the overlay's own; where the whole is to be seen.
pub(super) const UPPER: &str = "upper";
pub(super) const WORK: &str = "work";
pub(super) const ROOT: &str = "root";
/// What a container wrote, as an overlay takes it; or all of its root.
pub const FILES: &str = "files";
/// See [`FILES`].
pub const WHOLE: &str = "whole";
/// The folders of what is beneath, where 32-bit guests want them.
pub(super) const SKELETON: &str = "skeleton";

/// Puts the root file system together at `root` in `folder`. `notes` gets what the user may want to know.
pub(in super::super) fn mount(plan: &Plan, folder: &Path, notes: &mut Vec<String>) -> Result<(), Failure> {
    let root = folder.join(ROOT);
    if let ([only], true) = (plan.lowers.as_slice(), plan.is_direct) {
        return rustix::mount::mount_bind_recursive(only, &root).map_err(Step::Mount.on(only));
    }
    let lowers = plan.lowers.iter().map(|path| open(path.as_ref()).map_err(Step::Mount.on(path)));
    let mut lowers = lowers.collect::<Result<Vec<_>, Failure>>()?;
    if plan.wants_skeleton {
        let skeleton = folder.join(SKELETON);
        for lower in &plan.lowers {
            positions::skeleton(lower.as_ref(), &skeleton).map_err(Step::Prepare.io(&skeleton))?;
        }
        lowers.push(open(&skeleton).map_err(Step::Mount.on(&skeleton))?);
    }
    let kept = plan.kept.as_ref().map(Path::new);
    let upper = kept.map_or_else(|| folder.join(UPPER), |kept| kept.join(FILES));
    // On one file system with the other.
    let work = kept.unwrap_or(folder).join(WORK);
    for path in [&upper, &work] {
        fs::create_dir(path).map_err(Step::Prepare.io(path))?;
    }
    let Some(top) = plan.lowers.first() else { return Ok(()) };
    // A merged folder is what its uppermost part is.
    like(top.as_ref(), &upper).map_err(Step::Prepare.io(&upper))?;
    let Err(reason) = overlay(&lowers, &upper, &work, &root) else { return Ok(()) };
    if plan.lowers.len() > usize::from(plan.has_skeleton) + 1 {
        return Err(Step::Mount.on(&root)(reason));
    }
    notes.push(format!(
        "the image's files are copied, for an overlay is not to be had where the cache is: {}",
        io::Error::from(reason)
    ));
    let Some(kept) = kept else {
        return copy::tree(top.as_ref(), &root).map_err(|(path, err)| Step::Copy.io(path)(err));
    };
    fs::remove_dir(&upper).map_err(Step::Prepare.io(&upper))?;
    let whole = kept.join(WHOLE);
    fs::create_dir(&whole).map_err(Step::Prepare.io(&whole))?;
    copy::tree(top.as_ref(), &whole).map_err(|(path, err)| Step::Copy.io(path)(err))?;
    rustix::mount::mount_bind(&whole, &root).map_err(Step::Mount.on(&whole))
}

/// Makes `name` in `folder` for another root file system to be put together in, and gives it.
pub(in super::super) fn make(folder: &Path, name: &str) -> Result<std::path::PathBuf, Failure> {
    let made = folder.join(name);
    for path in [&made, &made.join(ROOT)] {
        fs::create_dir(path).map_err(Step::Prepare.io(path))?;
    }
    Ok(made)
}

/// Makes the root file system of this process what the container may write of it, once all is mounted and made in it.
pub(in super::super) fn seal(plan: &Plan) -> Result<(), Failure> {
    if plan.is_read_only {
        remount_bind(Path::new("/"), MountFlags::RDONLY).map_err(Step::Mount.on("/"))?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Gives the folder `to` the owner and the mode of `from`.
fn like(from: &Path, to: &Path) -> io::Result<()> {
    let from = fs::metadata(from)?;
    std::os::unix::fs::chown(to, Some(from.uid()), Some(from.gid()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(from.mode()))
}

/// Source of the options: Linux, `Documentation/filesystems/overlayfs.rst`.
fn overlay(lowers: &[OwnedFd], upper: &Path, work: &Path, root: &Path) -> Result<(), Errno> {
    let (upper, work) = (open(upper)?, open(work)?);
    // By descriptors, for paths may hold what separates options, and all options have one page.
    let path = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let lowers: Vec<String> = lowers.iter().map(path).collect();
    let places = format!("lowerdir={},upperdir={},workdir={}", lowers.join(":"), path(&upper), path(&work));
    // Attributes of its own that a user may set; inode numbers as they are, for 32-bit programs take no larger ones; and
    // no features that depend on the kernel's configuration.
    let options = format!("{places},userxattr,xino=off,index=off");
    // Setuid programs make their user root of the container, as in docker; `no-new-privileges` says otherwise.
    let flags = MountFlags::NODEV;
    let mount = |options: String| {
        let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
        rustix::mount::mount("overlay", root, "overlay", flags, options.as_c_str())
    };
    // What the container writes goes with it: no `fsync` of its programs needs to wait for the disk.
    match mount(format!("{options},volatile")) {
        Err(Errno::INVAL) => mount(options),
        other => other,
    }
}
