//! The container's first process, before it becomes the container's program.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::thread::UnshareFlags;

use super::handoff::Handoff;
use super::init::{self, Init, Part};
use super::namespaces::unshare;
use super::plan::{Emulator, Failure, Handler, Message, Plan, Step};
use super::way::{self, Way};
use super::{
    confine, debug, lifeline, limits, mounts, network, oci, place, program, root, terminal, trace, volumes,
};
use crate::binfmt::{self, Flags, Rule};
use crate::target::Magic;

const BINFMT_MISC: &str = "/proc/sys/fs/binfmt_misc";

/// Makes the container's inside and becomes its program. Returns where that fails, and where this process is to go on as the first one
/// beside the program.
pub(super) fn run(handoff: &mut Handoff) -> Result<Init, Failure> {
    let plan: Plan = handoff.plan().map_err(Step::Handoff.io("the plan"))?;
    lifeline::hold(&handoff.lifeline).map_err(Step::Start.on("the container"))?;
    let way = Way::hear(&handoff.lifeline).map_err(Step::Start.io("the container"))?;
    // Its own mounts: a new root for one process of a mount namespace is one for all, and the outer process
    // must go on seeing the host's `/proc`.
    unshare(UnshareFlags::NEWNS).map_err(Step::Namespaces.on("mount"))?;
    network::enter(plan.network, handoff)?;
    // While the host's cgroups are in sight; the namespace begins where the container is.
    limits::join(&plan.cgroups).map_err(|(path, err)| Step::Cgroup.io(path)(err))?;
    unshare(UnshareFlags::NEWCGROUP).map_err(Step::Namespaces.on("cgroup"))?;
    rustix::system::sethostname(plan.hostname.as_bytes()).map_err(Step::Prepare.on("the host name"))?;

    // Emulators of the host are out of sight after the root has changed; an open descriptor stays good.
    let emulators = plan.handlers.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let mut notes = Vec::new();
    let folder = Path::new(&plan.folder);
    root::mount(&plan.root, folder, &mut notes)?;
    let root = folder.join("root");
    let is_traced = matches!(way, Way::Trace(_));
    if plan.runtime.is_some() {
        oci::mount_proc()?;
    }
    mounts::furnish(&root, &plan.volumes, &plan.confine, folder, &mut notes, || {
        let debug = plan.has_debug.then(|| folder.join(debug::FOLDER));
        place::from_host(&root, &plan.handlers, is_traced, debug.as_deref())
    })?;
    // With a runtime, that one makes the root this process's.
    let (emulators, seen) = if plan.runtime.is_some() {
        (inside(&plan, emulators, &root)?, root.as_path())
    } else {
        mounts::enter(&root, &plan.confine)?;
        (emulators, Path::new("/"))
    };
    place::from_container(seen, &plan.handlers, is_traced)?;
    if way == Way::Private {
        register(&plan, &emulators, seen)?;
    }
    drop(emulators);
    for text in notes {
        handoff.tell(&Message::Note { text });
    }
    if plan.network.waits
        && let Some(link) = &handoff.link
    {
        link.hear(network::CONNECTED).map_err(Step::Network.io("the network"))?;
    }
    if let Some(runtime) = &plan.runtime {
        let terminal = match (&plan.terminal, &handoff.link) {
            (Some(pty), Some(link)) => Some(terminal::make_outside(pty, link)?),
            _ => None,
        };
        handoff.link = None;
        let mut warn = |text| handoff.tell(&Message::Warning { text });
        oci::run(runtime, &plan, terminal.as_ref(), &mut warn)?;
    }
    for limit in &plan.confine.ulimits {
        if let Some(text) = limit.set().map_err(Step::Limit.on(&limit.name))? {
            handoff.tell(&Message::Warning { text });
        }
    }

    // What is mounted and made for the program is there; now the place where it is.
    let terminal = match (&plan.terminal, &handoff.link) {
        (Some(pty), Some(link)) => Some(terminal::make(pty, link)?),
        _ => None,
    };
    handoff.link = None;
    let slash = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let identity = plan.process.user.resolve(slash.map_err(Step::Mount.on("/"))?)?;
    enter_cwd(&plan.process.cwd)?;
    root::seal(&plan.root)?;
    terminal::give_to(&identity, terminal.as_ref());
    if let Way::Trace(means) = way {
        // Before the container's own filter, which may let no other be added.
        match trace::hand_over(means, &handoff.lifeline).map_err(Step::Trace.on("the container")) {
            Err(failure) if plan.handlers_needed || plan.emulation.is_some() => return Err(failure),
            Err(_) => handoff.tell(&Message::Note { text: way::UNTRACED.into() }),
            Ok(()) => {}
        }
    }
    confine::become_user(&identity, &plan.confine)?;
    // Becoming another user has cleared it.
    lifeline::hold(&handoff.lifeline).map_err(Step::Start.on("the container"))?;
    if plan.init
        && let Part::Init(init) = init::divide().map_err(Step::Start.on("the program's process"))?
    {
        // Only the program's process speaks from here on.
        handoff.messages = None;
        return Ok(init);
    }
    terminal::enter(terminal.as_ref()).map_err(Step::Terminal.on("the session"))?;
    terminal::keep_streams_only().map_err(Step::Prepare.io("the program's descriptors"))?;
    Err(program::execute(&plan.process, &identity.home))
}

/// The host's emulator of `handler`, where it is one of the host.
fn open(handler: &Handler) -> Result<Option<OwnedFd>, Failure> {
    match &handler.emulator {
        Emulator::Inside(_) => Ok(None),
        Emulator::Host(path) => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).map(Some).map_err(Step::Emulator.on(path))
        }
    }
}

/// The same with those of the container itself, whose root is not yet that of this process.
fn inside(
    plan: &Plan,
    emulators: Vec<Option<OwnedFd>>,
    root: &Path,
) -> Result<Vec<Option<OwnedFd>>, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty()).map_err(Step::Mount.on(root))?;
    let open = |(handler, emulator): (&Handler, Option<OwnedFd>)| match (&handler.emulator, emulator) {
        (Emulator::Inside(path), None) => {
            let found = volumes::open_in(&root, Path::new(path), OFlags::PATH);
            found.map(Some).map_err(Step::Emulator.on(path))
        }
        (_, emulator) => Ok(emulator),
    };
    plan.handlers.iter().zip(emulators).map(open).collect()
}

/// Gives the container handlers of its own, which it can use and not change.
fn register(plan: &Plan, emulators: &[Option<OwnedFd>], root: &Path) -> Result<(), Failure> {
    if plan.handlers.is_empty() {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("binfmt_misc", BINFMT_MISC, "binfmt_misc", flags, None)
        .map_err(Step::Handlers.on(BINFMT_MISC))?;
    for (handler, emulator) in plan.handlers.iter().zip(emulators) {
        let interpreter = match (emulator, &handler.emulator) {
            // A handler passes no options: this interpreter does.
            _ if handler.has_flags() => place::interpreter(root, handler),
            (Some(fd), _) => PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())),
            (None, Emulator::Inside(path) | Emulator::Host(path)) => PathBuf::from(path),
        };
        register_one(handler, interpreter)?;
    }
    mounts::remount_bind(Path::new(BINFMT_MISC), MountFlags::RDONLY).map_err(Step::Mount.on(BINFMT_MISC))
}

/// The registry's errors say which file and why; the supervisor gets the text and the system's reason.
fn register_one(handler: &Handler, interpreter: PathBuf) -> Result<(), Failure> {
    let failed =
        |err: &dyn std::error::Error| Step::Register.on(format!("{}: {err}", handler.guest))(reason(err));
    let flags = Flags { preserve_argv0: true, fix_binary: true, ..Flags::default() };
    let name = format!("qemu-{}", handler.guest);
    let magic = Magic { magic: handler.magic.clone(), mask: handler.mask.clone() };
    let rule = Rule::new(name, magic, interpreter, flags);
    binfmt::register(Path::new(BINFMT_MISC), &rule.map_err(|err| failed(&err))?).map_err(|err| failed(&err))
}

/// The system's reason among the causes of `err`.
pub(super) fn reason(err: &dyn std::error::Error) -> Errno {
    let causes = std::iter::successors(err.source(), |cause| cause.source());
    let mut system = causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()?.raw_os_error());
    system.next().map_or(Errno::INVAL, Errno::from_raw_os_error)
}

/// Goes to the working directory, made where it is missing as docker does.
fn enter_cwd(cwd: &OsStr) -> Result<(), Failure> {
    let cwd = if cwd.is_empty() { Path::new("/") } else { Path::new(cwd) };
    fs::create_dir_all(cwd).map_err(Step::WorkingDirectory.io(cwd))?;
    rustix::process::chdir(cwd).map_err(Step::WorkingDirectory.on(cwd))
}
