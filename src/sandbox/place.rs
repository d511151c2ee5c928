//! Emulators' files in a container, for the ways and options that take more than a handler: a folder of the container's
//! `/dev` has each emulator, and small programs that execute it with fixed options.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use super::plan::{Emulator, Failure, Handler, Step};
use super::{mounts, trace};
use crate::stub::{HostPrograms, Launch};

/// The interpreter that executes a handler's emulator with its options, as binfmt_misc calls it.
pub(super) fn interpreter(handler: &Handler) -> PathBuf {
    Path::new(trace::FOLDER).join(format!("{}.run", handler.guest))
}

/// Places the host's emulators in the container that `root` becomes: all of them where it is traced.
pub(super) fn from_host(root: &Path, handlers: &[Handler], is_traced: bool) -> Result<(), Failure> {
    let placed = || handlers.iter().filter(|handler| is_traced || handler.is_placed());
    if placed().next().is_none() {
        return Ok(());
    }
    let folder = root.join(trace::FOLDER.trim_start_matches('/'));
    make(&folder)?;
    // Programs are executed from it, which they are not from `/dev`.
    let (flags, options) = (MountFlags::NOSUID | MountFlags::NODEV, c"mode=755,size=1m,nr_inodes=16k");
    rustix::mount::mount("tmpfs", &folder, "tmpfs", flags, options).map_err(Step::Mount.on(trace::FOLDER))?;
    for handler in placed() {
        make(&folder.join(trace::names_folder(handler)))?;
        if let Emulator::Host(path) = &handler.emulator {
            place(handler, Path::new(path), &folder)?;
        }
    }
    Ok(())
}

/// Places the container's own, when its root is this process's, and the programs that execute them.
pub(super) fn from_container(handlers: &[Handler], is_traced: bool) -> Result<(), Failure> {
    for handler in handlers.iter().filter(|handler| is_traced || handler.is_placed()) {
        if let Emulator::Inside(path) = &handler.emulator {
            place(handler, Path::new(path), Path::new(trace::FOLDER))?;
        }
        if !handler.is_placed() {
            continue;
        }
        let emulator = format!("{}/{}", trace::FOLDER, trace::file_name(handler));
        write(handler, &interpreter(handler), &Launch::interpreter(&emulator, &handler.flags))?;
        if let Some(path) = &handler.replaces {
            let program = Path::new(trace::FOLDER).join(format!("{}.command", handler.guest));
            write(handler, &program, &Launch::command(&emulator, &handler.flags))?;
            rustix::mount::mount_bind(&program, Path::new(path)).map_err(Step::Emulator.on(path))?;
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

/// Writes the program of `launch`.
fn write(handler: &Handler, path: &Path, launch: &Launch) -> Result<(), Failure> {
    let made = HostPrograms::of(std::env::consts::ARCH).ok_or(io::ErrorKind::Unsupported.into());
    let made = made.and_then(|programs| programs.stub(launch).map_err(io::Error::other));
    let written = made.and_then(|program| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(path)?;
        file.set_permissions(Permissions::from_mode(0o755))?;
        file.write_all(&program)
    });
    written.map_err(Step::Emulator.io(format!("{}, with options", handler.guest)))
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
