//! Commands with handlers of their own: `binfmt exec`.
//!
//! The command runs in a new user and mount namespace, in which a binfmt_misc of its own stands in the place of the outer one.
//! Everything else is as outside: files, process ids, network, working directory, environment, descriptors, terminal. A private
//! instance hides every outer handler, so the outer ones are registered in it too.
//!
//! Two processes stand beside the command. The supervisor (the caller) gives the namespace its ids, passes signals on and hears
//! of failures; the outer process (this program started anew) makes the namespaces and waits. There is no pid namespace, which
//! would change the ids of processes and want a new `/proc`. What the command leaves running goes all the same: orphans of the
//! command become children of the outer process (or, when that one is killed, of the supervisor), and end with it.
//!
//! This is the way `private`. Where the kernel has no private instances the outer process traces the command instead, as the way `trace`
//! of containers; only where that is not permitted either there is [`ExecError::NoPrivateRegistry`].

mod error;
mod inner;
mod orphans;
mod outer;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::Command;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::handoff::{self, Handoff};
use super::plan::Message;
use super::signals::Role;
use super::{Handler, Ids, Shortage, Signals, userns};
use crate::binfmt::{Entry, PREFIX, Status};
use crate::emulator::Emulator;
use crate::progress::Progress;
use crate::target::Guest;

pub use error::ExecError;
pub(super) use {inner::run as run_inner, outer::run as run_outer};

/// First argument of the process that makes the namespaces.
pub(super) const OUTER: &str = "\u{1}exec-outer";
/// First argument of the process that becomes the command.
pub(super) const INNER: &str = "\u{1}exec-inner";

/// A command, and the handlers that it gets.
#[derive(Debug)]
pub struct Exec {
    /// The command line, the program first: a path, or a bare name that is looked up in `PATH`.
    pub args: Vec<OsString>,
    /// Handlers, in the order of their registration: the kernel asks the last one first.
    pub registrations: Vec<Registration>,
    /// Whether the command is the same user as outside, without rights, and not root with root's rights inside.
    pub keep_id: bool,
    /// The ids of the namespace.
    pub ids: Ids,
    /// Why there are not more of them, which is told once the command cannot do without.
    pub shortage: Option<Shortage>,
}

/// One handler of the private instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Registration {
    /// One that stands outside, as it is.
    Carried {
        /// The entry's name.
        name: String,
        /// What is written to register it.
        line: Vec<u8>,
    },
    /// One of ours.
    Own(Handler),
}

/// Everything that the processes inside need.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    args: Vec<OsString>,
    registrations: Vec<Registration>,
    /// The user and group that the command is, where it is not root.
    keep: Option<(u32, u32)>,
}

impl Registration {
    /// `entry` of the outer registry, for the private one. `None` where the kernel would not take it again: it is switched off,
    /// not understood, or its interpreter, fixed by `F`, is out of sight here.
    #[must_use]
    pub fn carried(entry: &Entry) -> Option<Self> {
        let out_of_sight = entry.flags.known.fix_binary && !entry.interpreter.is_file();
        let line = entry.line().filter(|_| entry.enabled && !out_of_sight)?;
        Some(Self::Carried { name: entry.name.to_string_lossy().into_owned(), line })
    }

    /// The handlers of a private instance, in the order of their registration; and the names of outer ones that had to be left
    /// out.
    ///
    /// `wanted` come before all others. An outer handler comes before one of `defaults`, if it is fixed (`F`); others would not
    /// work in another root, where ours do.
    #[must_use]
    pub fn all(
        outer: Option<&Status>,
        defaults: &[(&Guest, Emulator)],
        wanted: &[(&Guest, Emulator)],
    ) -> (Vec<Self>, Vec<String>) {
        let own = |(guest, emulator): &(&Guest, Emulator)| {
            let path = super::Emulator::Host(emulator.path.clone().into());
            Self::Own(super::handlers::handler(guest, path))
        };
        let wanted_name = |name: &std::ffi::OsStr| {
            wanted.iter().any(|(guest, _)| name == format!("{PREFIX}{}", guest.name).as_str())
        };
        let (mut below, mut above, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        let mut served: Vec<&str> = Vec::new();
        // The kernel asks the first of the list first, so that one is registered last.
        for survey in outer.filter(|outer| outer.enabled).iter().flat_map(|outer| outer.entries.iter().rev())
        {
            let entry = &survey.entry;
            if !entry.enabled || wanted_name(&entry.name) {
                continue;
            }
            let Some(carried) = Self::carried(entry) else {
                left_out.push(entry.name.to_string_lossy().into_owned());
                continue;
            };
            if entry.flags.known.fix_binary {
                served.extend(survey.guests.iter().map(String::as_str));
                above.push(carried);
            } else {
                below.push(carried);
            }
        }
        let unserved = defaults.iter().filter(|(guest, _)| !served.contains(&guest.name.as_str()));
        let all = below.into_iter().chain(unserved.map(own)).chain(above).chain(wanted.iter().map(own));
        (all.collect(), left_out)
    }
}

impl Exec {
    /// Runs the command to its end, and gives its status, or 128 and the number of the signal that ended it. What it left
    /// running is ended.
    ///
    /// The caller's program is started anew for the processes inside, so its `main` must call [`super::enter`] before all else.
    ///
    /// # Errors
    /// [`ExecError`] where the command could not be started.
    pub fn run(self, signals: &Signals, progress: &dyn Progress) -> Result<u8, ExecError> {
        let start = |source| ExecError::Start { source };
        let interrupted = || match signals.interrupted() {
            Some(signal) => Err(ExecError::Interrupted { signal }),
            None => Ok(()),
        };
        interrupted()?;
        let Self { args, registrations, keep_id, ids, shortage } = self;
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let keep = keep_id.then_some((uid, gid));
        // Whatever becomes a child of this process from here on, and was not one before, is the command's.
        let before = orphans::children();
        orphans::adopt().map_err(start)?;
        let (theirs, mut ours) = std::io::pipe().map_err(start)?;
        let (handoff, reader) =
            Handoff::new(&Plan { args, registrations, keep }, OwnedFd::from(theirs)).map_err(start)?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("polyarch").arg(OUTER);
        handoff.give(&mut command).map_err(start)?;
        let mut child = command.spawn().map_err(start)?;
        // Our copies of what it inherited; while they are open the pipe does not end.
        drop(handoff);

        let mut failure = None;
        let outer = Pid::from_raw(child.id().cast_signed());
        for message in handoff::messages(reader) {
            match (message, outer) {
                (Message::Unshared, Some(outer)) => match userns::give(&ids, outer, &mut ours) {
                    Ok(less) => {
                        if let Some(Shortage(reason)) = less.as_ref().or(shortage.as_ref()) {
                            progress.note(&format!("one user and one group can be had inside: {reason}"));
                        }
                    }
                    Err(source) => {
                        let _ = child.kill();
                        failure = Some(ExecError::Ids { source });
                    }
                },
                (Message::Started { pid }, Some(outer)) => {
                    if let Some(pid) = Pid::from_raw(pid) {
                        signals.pass_on_to(pid, outer, Role::Command);
                    }
                }
                (Message::Note { text }, _) => progress.note(&text),
                (Message::Failed(reason), _) => failure = Some(reason.into()),
                _ => {}
            }
        }
        let status = child.wait().map_err(start)?;
        drop(ours);
        orphans::end_others(&before);
        if let Some(reason) = failure {
            interrupted()?;
            return Err(reason);
        }
        let code = status.signal().map_or_else(|| status.code().unwrap_or_default(), |signal| 128 + signal);
        Ok(u8::try_from(code).unwrap_or(u8::MAX))
    }
}
