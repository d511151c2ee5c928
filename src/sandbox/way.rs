//! How foreign programs reach their emulators: which ways there are, and which one a container takes.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags};
use serde::{Deserialize, Serialize};

use super::link::Link;
use super::plan::{Failure, Handler, Plan, Step};
use super::trace::Means;
use crate::binfmt::{self, REGISTRY};

/// A way by which foreign programs reach their emulators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Emulation {
    /// By handlers in a binfmt_misc of the container's own, which Linux has from 6.7 on.
    Private,
    /// By the host's handlers, with the host's emulators.
    Host,
    /// By a tracer, which sees every program that is executed.
    Trace,
}

/// What the outer process has its child do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Private,
    Host,
    Trace(Means),
    /// There is nothing to emulate, or no way to do it.
    None,
}

/// A way, and why it is that one.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) way: Way,
    /// What kept it from a better one.
    because: Option<String>,
}

/// What becomes of foreign programs in a container that has none of its own and cannot be traced.
pub(super) const UNTRACED: &str =
    "foreign programs that the container's program starts will not run: it cannot be traced";

impl Way {
    const ALL: [(Self, u8); 5] = [
        (Self::Private, b'p'),
        (Self::Host, b'h'),
        (Self::Trace(Means::Listening), b'l'),
        (Self::Trace(Means::Following), b'f'),
        (Self::None, b'n'),
    ];

    /// Tells the process at the other end of the line, which waits for it.
    pub(super) fn tell(self, line: &Link) -> io::Result<()> {
        let byte = Self::ALL.iter().find(|(way, _)| *way == self).map_or(b'n', |(_, byte)| *byte);
        line.say(byte, &[])
    }

    /// Waits until it is told.
    pub(super) fn hear(line: &OwnedFd) -> io::Result<Self> {
        let mut byte = [0];
        File::from(line.as_fd().try_clone_to_owned()?).read_exact(&mut byte)?;
        let known = Self::ALL.iter().find(|(_, known)| *known == byte[0]);
        known.map(|(way, _)| *way).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Choice {
    /// For `-v`, when it has become `way`.
    pub(super) fn reason(&self, way: Way) -> String {
        let text = match way {
            Way::Private => "foreign programs run by handlers of the container's own (private)",
            Way::Host => "foreign programs run by the host's handlers (host)",
            Way::Trace(_) => "foreign programs run by tracing (trace)",
            Way::None if self.way == Way::None => "the container has no foreign programs",
            Way::None => UNTRACED,
        };
        match &self.because {
            Some(because) => format!("{text}: {because}"),
            None => text.into(),
        }
    }
}

/// Chooses among the ways that can be had, in the namespaces where the container will be.
pub(super) fn choose(plan: &Plan) -> Result<Choice, Failure> {
    let chosen = |way| Ok(Choice { way, because: None });
    if plan.handlers.is_empty() {
        return chosen(Way::None);
    }
    match plan.emulation {
        Some(Emulation::Private) => {
            probe(plan)?;
            chosen(Way::Private)
        }
        Some(Emulation::Host) => match unserved(plan) {
            _ if let Some(handler) = plan.handlers.iter().find(|handler| handler.is_placed()) => {
                Err(Step::HostFlags.on(&handler.guest)(rustix::io::Errno::OPNOTSUPP))
            }
            guests if guests.is_empty() => chosen(Way::Host),
            guests => Err(Step::HostHandlers.on(guests.join(", "))(rustix::io::Errno::NOENT)),
        },
        Some(Emulation::Trace) => chosen(Way::Trace(Means::of_kernel())),
        None => {
            let Err(failure) = probe(plan) else { return chosen(Way::Private) };
            let why = io::Error::from_raw_os_error(failure.errno);
            let because = Some(format!("no private binfmt_misc ({why})"));
            let way = if unserved(plan).is_empty() { Way::Host } else { Way::Trace(Means::of_kernel()) };
            Ok(Choice { way, because })
        }
    }
}

/// Whether the kernel grants a binfmt_misc of one's own.
fn probe(plan: &Plan) -> Result<(), Failure> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let point = Path::new(&plan.folder);
    let mounted = rustix::mount::mount("binfmt_misc", point, "binfmt_misc", flags, None);
    mounted
        .and_then(|()| rustix::mount::unmount(point, UnmountFlags::DETACH))
        .map_err(Step::Handlers.on(REGISTRY))
}

/// The guests of the container that the host's handlers do not serve as they should be.
fn unserved(plan: &Plan) -> Vec<String> {
    let status = binfmt::status(Path::new(REGISTRY)).ok();
    let is_served = |handler: &Handler| {
        let entry = status.as_ref().and_then(|status| status.serving(&handler.guest));
        // With `F` the emulator is there in any root. Handlers of the host pass no flags on.
        !handler.is_placed() && entry.is_some_and(|survey| survey.entry.flags.known.fix_binary)
    };
    plan.handlers
        .iter()
        .filter(|handler| !handler.spare && !is_served(handler))
        .map(|handler| handler.guest.clone())
        .collect()
}
