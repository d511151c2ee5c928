//! The emulators' files in a container whose programs are traced: each is mounted in a folder of the container's `/dev`.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::mount::MountFlags;

use super::plan::{Emulator, Failure, Handler, Step};
use super::{mounts, trace};

/// Places the host's emulators in the container that `root` becomes.
pub(super) fn from_host(root: &Path, handlers: &[Handler]) -> Result<(), Failure> {
    let folder = root.join(trace::FOLDER.trim_start_matches('/'));
    make(&folder)?;
    for handler in handlers {
        let names = folder.join(trace::names_folder(handler));
        make(&names)?;
        if let Emulator::Host(path) = &handler.emulator {
            place(handler, Path::new(path), &folder)?;
        }
    }
    Ok(())
}

/// Places the container's own, when its root is this process's.
pub(super) fn from_container(handlers: &[Handler]) -> Result<(), Failure> {
    for handler in handlers {
        if let Emulator::Inside(path) = &handler.emulator {
            place(handler, Path::new(path), Path::new(trace::FOLDER))?;
        }
    }
    Ok(())
}

/// Makes a folder that every user of the container can pass.
fn make(folder: &Path) -> Result<(), Failure> {
    let made =
        fs::create_dir(folder).and_then(|()| fs::set_permissions(folder, Permissions::from_mode(0o755)));
    made.map_err(Step::Prepare.io(folder))
}

fn place(handler: &Handler, emulator: &Path, folder: &Path) -> Result<(), Failure> {
    let subject = format!("{}: `{}`", handler.guest, emulator.display());
    let target = folder.join(trace::file_name(handler));
    let placed = || {
        File::create(&target)?;
        rustix::mount::mount_bind(emulator, &target)?;
        let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        mounts::remount_bind(&target, flags)?;
        rustix::fs::access(&target, rustix::fs::Access::EXEC_OK)?;
        io::Result::Ok(())
    };
    placed().map_err(Step::Register.io(subject))
}
