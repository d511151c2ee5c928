//! The process between the supervisor and the container: it makes the namespaces, starts the container's
//! first process in them, waits for it, and ends as it ended.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::{
    fs,
    io::{self, Read as _},
};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;

use super::handoff::{Handoff, INNER};
use super::link::Link;
use super::namespaces::unshare;
use super::plan::{Failure, Message, Plan, Step};
use super::trace::{Means, Traced};
use super::way::{self, Way};
use super::{lifeline, oci, procfs, root, signals, terminal, trace, userns};

/// How often a container whose first process is emulated is looked at; see [`procfs::deadly_wait`].
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Makes the container and gives the status it ended with.
pub(super) fn run(handoff: &mut Handoff) -> Result<u8, Failure> {
    let plan: Plan = handoff.plan().map_err(Step::Handoff.io("the plan"))?;
    // A terminal's signals reach this process too. It takes no notice; the supervisor decides. Handlers,
    // unlike ignoring, do not pass on to the program.
    for signal in signals::caught() {
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    lifeline::hold(&handoff.lifeline).map_err(Step::Start.on("the sandbox"))?;

    // What the kernel lets nobody raise from within a user namespace.
    for limit in &plan.confine.ulimits {
        limit.raise();
    }
    userns::enter(handoff)?;
    let others = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    unshare(others).map_err(Step::Namespaces.on("mount, pid, ipc and uts"))?;
    // Becoming another user would have cleared it.
    lifeline::hold(&handoff.lifeline).map_err(Step::Start.on("the sandbox"))?;

    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(Step::Mount.on("private mounts"))?;
    let exe = read_only_self(Path::new(&plan.folder))?;
    let (theirs, ours) = Link::pair().map_err(Step::Start.io("the container"))?;
    let mut choice = way::choose(&plan)?;
    if let Way::Trace(_) = choice.way
        && let Some(runtime) = &plan.runtime
    {
        if plan.handlers_needed || plan.emulation.is_some() {
            return Err(Step::RuntimeWay.on(runtime)(Errno::OPNOTSUPP));
        }
        choice.way = Way::None;
    }
    let mut child = start(handoff, &exe, theirs.into()).map_err(Step::Start.io("the container"))?;
    let mut way = choice.way;
    if let Way::Trace(means) = way
        && let Err(failure) = begin_trace(&child, means)
    {
        if plan.handlers_needed || plan.emulation.is_some() {
            // It would wait for its way.
            let _ = child.kill();
            let _ = child.wait();
            return Err(failure);
        }
        way = Way::None;
    }
    handoff.tell(&Message::Note { text: choice.reason(way) });
    way.tell(&ours).map_err(Step::Start.io("the container"))?;
    handoff.tell(&Message::Started { pid: child.id().cast_signed() });
    // From here on only the container's process speaks, and its program's start closes the pipe. A runtime has no way to
    // speak, and what it leaves in writing is told by this process.
    if plan.runtime.is_none() {
        handoff.messages = None;
    }
    handoff.link = None;
    terminal::leave_streams();
    let watched = match (plan.emulated && !plan.init, &plan.runtime) {
        (false, _) => Watched::Nothing,
        (true, None) => Watched::First,
        (true, Some(_)) => Watched::Descendants,
    };
    let status = match way {
        Way::Trace(means) => {
            let place = trace::Place::of_container();
            let traced = Traced {
                means,
                first: pid_of(&child).map_err(Step::Start.on("the container"))?,
                line: &ours,
                handlers: &plan.handlers,
                place: &place,
                is_spared: !plan.init,
                lifeline: handoff.lifeline.as_fd(),
            };
            traced.follow()
        }
        _ => wait(child, watched, &handoff.lifeline),
    };
    let status = status.map_err(Step::Start.io("the container"));
    drop(ours);
    let failure = plan.runtime.as_ref().and_then(|runtime| oci::failure(&plan, &runtime.to_string_lossy()));
    root::clear(&plan.root, Path::new(&plan.folder));
    failure.map_or(status, Err)
}

/// Mounts this program's file read-only in the run's folder and gives the path.
///
/// The container's first process is this program until it executes its own, and an image may name
/// `/proc/self/exe` as its program and so get hold of the file (CVE-2019-5736 in runc). Through a
/// read-only mount it cannot be written.
fn read_only_self(folder: &Path) -> Result<PathBuf, Failure> {
    let exe = folder.join("exe");
    let fail = |err| Step::Mount.io(&exe)(err);
    // The link itself leads to a mount of the namespace that was left, which cannot be mounted here.
    let link = Path::new("/proc/self/exe");
    let running = fs::metadata(link).map_err(fail)?;
    let path = fs::read_link(link).map_err(fail)?;
    let is_same =
        fs::metadata(&path).is_ok_and(|there| (there.dev(), there.ino()) == (running.dev(), running.ino()));
    if is_same {
        rustix::mount::mount_bind(&path, &exe).map_err(Step::Mount.on(&exe))?;
    } else {
        // An update has replaced the file since this program was started.
        fs::copy(link, &exe).map_err(fail)?;
        rustix::mount::mount_bind(&exe, &exe).map_err(Step::Mount.on(&exe))?;
    }
    super::mounts::remount_bind(&exe, MountFlags::RDONLY).map_err(Step::Mount.on(&exe))?;
    Ok(exe)
}

fn start(handoff: &Handoff, exe: &Path, lifeline: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new(exe);
    command.arg0("polyarch").arg(INNER);
    let inner = handoff.pass_on(lifeline)?;
    inner.give(&mut command)?;
    command.spawn()
}

/// Which processes are looked at by [`procfs::deadly_wait`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watched {
    Nothing,
    /// The child.
    First,
    /// What the child, a runtime, has started.
    Descendants,
}

impl Watched {
    /// The signal that one of them has tried to end by, in vain; it is ended.
    fn deadly_wait(self, child: Pid) -> Option<i32> {
        let pids = match self {
            Self::Nothing => Vec::new(),
            Self::First => vec![child],
            Self::Descendants => procfs::descendants(child),
        };
        let (pid, signal) = pids.into_iter().find_map(|pid| Some((pid, procfs::deadly_wait(pid)?)))?;
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        Some(signal)
    }
}

fn pid_of(child: &Child) -> Result<Pid, Errno> {
    Pid::from_raw(child.id().cast_signed()).ok_or(Errno::SRCH)
}

fn begin_trace(child: &Child, means: Means) -> Result<(), Failure> {
    pid_of(child).and_then(|pid| means.begin(pid)).map_err(Step::Trace.on("the container"))
}

/// Waits for the container's first process and gives its status as a shell would. Ends the container when the supervisor has died.
///
/// That the kernel is to kill the first process with this one is no longer so once that has become another user, or has executed a
/// program with rights of its own. So this process outlives the supervisor for as long as it takes.
fn wait(mut child: Child, watched: Watched, lifeline: &OwnedFd) -> io::Result<u8> {
    let (ended, teller) = UnixStream::pair()?;
    ended.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, teller)?;
    rustix::process::set_parent_process_death_signal(None)?;
    let pid = Pid::from_raw(child.id().cast_signed());
    let mut killed_by = None;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let mut fds = [
            PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(lifeline.as_fd(), PollFlags::empty()),
        ];
        let time = (watched != Watched::Nothing).then_some(&LOOK);
        let polled = rustix::event::poll(&mut fds, time);
        if polled.is_ok() && fds[1].revents().intersects(PollFlags::HUP) {
            child.kill()?;
            break child.wait()?;
        }
        if polled == Ok(0)
            && let Some(pid) = pid
            && killed_by.is_none()
        {
            killed_by = watched.deadly_wait(pid);
        }
        let mut told = [0; 64];
        let _ = (&ended).read(&mut told);
    };
    let signal = killed_by.or(status.signal());
    let code = signal.map_or_else(|| status.code().unwrap_or_default(), |signal| 128 + signal);
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}
