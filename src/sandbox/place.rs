//! Emulators' files in a container, for the ways and options that take more than a handler: a folder of the container's
//! `/dev` has each emulator, and small programs that execute it with fixed options.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;

use super::plan::{Emulator, Failure, Handler, Step};
use super::{debug, mounts, trace, volumes};
use crate::stub::{HostPrograms, Launch};

/// Where the container has the run's folder that emulators write to.
pub(super) const DEBUG: &str = "/dev/.polyarch/debug";

/// The interpreter that executes a handler's emulator with its options, as binfmt_misc calls it, in the container that is seen at `root`.
pub(super) fn interpreter(root: &Path, handler: &Handler) -> PathBuf {
    own_folder(root).join(format!("{}.run", handler.guest))
}

/// The folder of the emulators in the container that is seen at `root`. It is on file systems of ours alone.
fn own_folder(root: &Path) -> PathBuf {
    root.join(trace::FOLDER.trim_start_matches('/'))
}

/// Places the host's emulators in the container that `root` becomes: all of them where it is traced.
/// `debug` is the run's folder that they write to.
pub(super) fn from_host(
    root: &Path,
    handlers: &[Handler],
    is_traced: bool,
    debug: Option<&Path>,
) -> Result<(), Failure> {
    let placed = || handlers.iter().filter(|handler| is_traced || handler.is_placed());
    if placed().next().is_none() {
        return Ok(());
    }
    let folder = own_folder(root);
    make(&folder)?;
    // Programs are executed from it, which they are not from `/dev`.
    let (flags, options) = (MountFlags::NOSUID | MountFlags::NODEV, c"mode=755,size=1m,nr_inodes=16k");
    rustix::mount::mount("tmpfs", &folder, "tmpfs", flags, options).map_err(Step::Mount.on(trace::FOLDER))?;
    if let Some(debug) = debug {
        let target = root.join(DEBUG.trim_start_matches('/'));
        make(&target)?;
        rustix::mount::mount_bind(debug, &target).map_err(Step::Mount.on(DEBUG))?;
        mounts::remount_bind(&target, mounts::PLAIN).map_err(Step::Mount.on(DEBUG))?;
    }
    for handler in placed() {
        make(&folder.join(trace::names_folder(handler)))?;
        if let Emulator::Host(path) = &handler.emulator {
            place(handler, Path::new(path), &folder)?;
        }
    }
    Ok(())
}

/// Places the container's own, which is seen at `root`, and the programs that execute them.
pub(super) fn from_container(root: &Path, handlers: &[Handler], is_traced: bool) -> Result<(), Failure> {
    let folder = own_folder(root);
    for handler in handlers.iter().filter(|handler| is_traced || handler.is_placed()) {
        if let Emulator::Inside(path) = &handler.emulator {
            let (emulator, _open) = resolved(root, Path::new(path))?;
            place(handler, &emulator, &folder)?;
        }
        if !handler.is_placed() {
            continue;
        }
        let emulator = format!("{}/{}", trace::FOLDER, trace::file_name(handler));
        let interpreter = interpreter(root, handler);
        write_both(handler, &interpreter, |flags| Launch::interpreter(&emulator, flags))?;
        if let Some(path) = &handler.replaces {
            let program = folder.join(format!("{}.command", handler.guest));
            write_both(handler, &program, |flags| Launch::command(&emulator, flags))?;
            let (target, _open) = resolved(root, Path::new(path))?;
            rustix::mount::mount_bind(&program, &target).map_err(Step::Emulator.on(path))?;
        }
    }
    Ok(())
}

/// Where this process finds the container's file `path`, whatever links lie on the way; with what keeps it there.
fn resolved(root: &Path, path: &Path) -> Result<(PathBuf, Option<OwnedFd>), Failure> {
    if root == Path::new("/") {
        return Ok((path.into(), None));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(root, flags, Mode::empty()).map_err(Step::Mount.on(root))?;
    let open = volumes::open_in(&folder, path, OFlags::PATH).map_err(Step::Emulator.on(path))?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd())), Some(open)))
}

/// Makes a folder that every user of the container can pass.
fn make(folder: &Path) -> Result<(), Failure> {
    let made =
        fs::create_dir(folder).and_then(|()| fs::set_permissions(folder, Permissions::from_mode(0o755)));
    made.map_err(Step::Prepare.io(folder))
}

/// Writes the program of `launch` to `path`; where the first foreign program's emulator is given more, one that executes one of two.
fn write_both(handler: &Handler, path: &Path, launch: impl Fn(&[String]) -> Launch) -> Result<(), Failure> {
    let stub = |flags: &[String]| {
        programs().and_then(|programs| programs.stub(&launch(flags)).map_err(io::Error::other))
    };
    if handler.first_flags.is_empty() {
        return write(handler, path, stub(&handler.flags));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let [first, others] = ["first", "others"].map(|which| format!("{name}.{which}"));
    let all = [&handler.flags[..], &handler.first_flags].concat();
    write(handler, &path.with_file_name(&first), stub(&all))?;
    write(handler, &path.with_file_name(&others), stub(&handler.flags))?;
    let [first, others] = [first, others].map(|name| format!("{}/{name}", trace::FOLDER));
    let token = format!("{DEBUG}/{}", debug::TOKEN);
    let made =
        programs().and_then(|programs| programs.first(&token, &first, &others).map_err(io::Error::other));
    write(handler, path, made)
}

/// The small programs of this machine.
fn programs() -> io::Result<HostPrograms> {
    HostPrograms::of(std::env::consts::ARCH).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Writes a program that could be made.
fn write(handler: &Handler, path: &Path, program: io::Result<Vec<u8>>) -> Result<(), Failure> {
    let written = program.and_then(|program| {
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
