//! The process between the supervisor and the command: it makes the namespaces, registers the handlers, starts the command,
//! waits for it, and ends what it left.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use rustix::thread::UnshareFlags;

use super::super::handoff::Handoff;
use super::super::link::Link;
use super::super::namespaces::unshare;
use super::super::plan::{Emulator, Failure, Handler, Message, Step};
use super::super::trace::{Means, Traced};
use super::super::way::Way;
use super::super::{lifeline, place, signals, trace, userns};
use super::{INNER, Plan, Registration, orphans};
use crate::binfmt::{self, Flags, PREFIX, REGISTRY, Rule};
use crate::target::Magic;

/// Runs the command and gives the status it ended with.
pub(in super::super) fn run(handoff: &mut Handoff) -> Result<u8, Failure> {
    let plan: Plan = handoff.plan().map_err(Step::Handoff.io("the plan"))?;
    let start = || Step::Start.io("the command");
    // A terminal's signals reach this process too. It takes no notice; handlers, unlike ignoring, do not pass on.
    for signal in signals::caught() {
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    orphans::adopt().map_err(start())?;

    userns::enter(handoff)?;
    unshare(UnshareFlags::NEWNS).map_err(Step::Namespaces.on("mount"))?;
    // What is mounted outside later shows inside; what is mounted inside stays there.
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(Step::Mount.on("private mounts"))?;
    let traced = match binfmt::mount_over(Path::new(REGISTRY)) {
        Ok(()) => {
            for registration in &plan.registrations {
                register(registration, handoff)?;
            }
            None
        }
        // What is registered outside goes on to serve, since nothing hides it.
        Err(errno) => Some((own_handlers(&plan), Step::Handlers.on(REGISTRY)(errno))),
    };

    // Children that end are told through it.
    let (ended, teller) = UnixStream::pair().map_err(start())?;
    ended.set_nonblocking(true).map_err(start())?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, teller).map_err(start())?;
    let (theirs, ours) = Link::pair().map_err(start())?;
    let means = Means::of_kernel();
    let folder = traced.as_ref().map(|(handlers, _)| place::for_command(handlers)).transpose()?;
    let pid = spawn(handoff, theirs.into()).map_err(start())?;
    let way = if traced.is_some() { Way::Trace(means) } else { Way::Private };
    if let Some((_, failure)) = &traced {
        if means.begin(pid).is_err() {
            // It would wait for its way, and then have its own word to say.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            return Err(failure.clone());
        }
        let why = io::Error::from_raw_os_error(failure.errno);
        let text = format!("foreign programs run by tracing (trace): no private binfmt_misc ({why})");
        handoff.tell(&Message::Note { text });
        if means == Means::Following {
            // Its end is that of all that it traces.
            lifeline::hold(&handoff.lifeline).map_err(Step::Start.on("the command"))?;
        }
    }
    way.tell(&ours).map_err(start())?;
    handoff.tell(&Message::Started { pid: pid.as_raw_nonzero().get() });
    // From here on only the command's process speaks, and its start closes the pipe.
    handoff.messages = None;
    let status = match (&traced, folder) {
        (Some((handlers, _)), Some(folder)) => {
            let place = place_of(&folder);
            let traced = Traced {
                means,
                first: pid,
                line: &ours,
                handlers,
                place: &place,
                is_spared: false,
                lifeline: handoff.lifeline.as_fd(),
            };
            traced.follow().map_err(start())?
        }
        _ => wait(pid, &ended, &handoff.lifeline),
    };
    drop(ours);
    orphans::end_all();
    Ok(status)
}

/// The handlers of ours.
fn own_handlers(plan: &Plan) -> Vec<Handler> {
    let own = plan.registrations.iter().filter_map(|registration| match registration {
        Registration::Own(handler) => Some(handler.clone()),
        Registration::Carried { .. } => None,
    });
    own.collect()
}

/// Where the emulators are for those that are traced.
fn place_of(folder: &Path) -> trace::Place {
    // There are no process ids of the command's own.
    let root = format!("/proc/{}/root", rustix::process::getpid().as_raw_nonzero());
    trace::Place { folder: folder.to_string_lossy().into_owned(), root }
}

fn register(registration: &Registration, handoff: &mut Handoff) -> Result<(), Failure> {
    match registration {
        Registration::Carried { name, line } => {
            // The command may do without it; that it is missing must not be a riddle.
            if let Err(err) = fs::write(Path::new(REGISTRY).join("register"), line) {
                let text = format!("the outer handler `{name}` could not be carried over: {err}");
                handoff.tell(&Message::Note { text });
            }
            Ok(())
        }
        Registration::Own(handler) => register_own(handler),
    }
}

fn register_own(handler: &Handler) -> Result<(), Failure> {
    let (Emulator::Host(path) | Emulator::Inside(path)) = &handler.emulator;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(Step::Emulator.on(path))?;
    let rule = |interpreter: PathBuf| {
        let flags = Flags { preserve_argv0: true, fix_binary: true, ..Flags::default() };
        let magic = Magic { magic: handler.magic.clone(), mask: handler.mask.clone() };
        Rule::new(format!("{PREFIX}{}", handler.guest), magic, interpreter, flags)
    };
    // A path that is too long, or not one that the kernel takes, has a short name as a descriptor.
    let rule = rule(path.into()).or_else(|_| rule(format!("/proc/self/fd/{}", file.as_raw_fd()).into()));
    let failed = |err: &dyn std::error::Error| {
        Step::Register.on(format!("{}: {err}", handler.guest))(super::super::inner::reason(err))
    };
    let rule = rule.map_err(|err| failed(&err))?;
    binfmt::register(Path::new(REGISTRY), &rule).map_err(|err| failed(&err))
}

fn spawn(handoff: &Handoff, lifeline: OwnedFd) -> io::Result<Pid> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("polyarch").arg(INNER);
    let inner = handoff.pass_on(lifeline)?;
    inner.give(&mut command)?;
    let child = command.spawn()?;
    // It is waited for together with the orphans.
    Pid::from_raw(child.id().cast_signed()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Waits for the command, and for the orphans that end before it; gives its status as a shell would. Ends early when the
/// supervisor has died.
fn wait(command: Pid, ended: &UnixStream, lifeline: &OwnedFd) -> u8 {
    loop {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == command => return code(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                // There is no child any more, which cannot be.
                Err(_) => return super::super::FAILED,
            }
        }
        let mut fds = [
            PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(lifeline.as_fd(), PollFlags::empty()),
        ];
        let polled = rustix::event::poll(&mut fds, None);
        if polled.is_ok() && fds[1].revents().intersects(PollFlags::HUP) {
            return super::super::FAILED;
        }
        let mut told = [0; 64];
        let _ = (&*ended).read(&mut told);
    }
}

fn code(status: WaitStatus) -> u8 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    let code = signal.or(status.exit_status()).unwrap_or_default();
    u8::try_from(code).unwrap_or(u8::MAX)
}
