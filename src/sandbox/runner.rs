//! The supervising side: it starts the processes inside, hears from them, and gives the program's status.

use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Pid;

use super::handoff::{self, Handoff, OUTER};
use super::plan::{Message, Plan, Process};
use super::{Emulation, Folder, Handlers, SandboxError, Signals};
use crate::progress::Progress;

/// One container.
#[derive(Debug)]
pub struct Container {
    /// Where its root file system is.
    pub folder: Folder,
    /// What it runs.
    pub process: Process,
    /// Its name of itself.
    pub hostname: String,
    /// The emulators of foreign programs in it.
    pub handlers: Handlers,
    /// How foreign programs are to reach them; the best way that can be had if `None`.
    pub emulation: Option<Emulation>,
}

impl Container {
    /// Runs it to its end, and gives the status of its program, or 128 and the number of the signal that ended it.
    ///
    /// Standard input, output and error are the program's. The caller's program is started anew for the
    /// processes inside, so its `main` must call [`super::enter`] before all else.
    ///
    /// # Errors
    /// [`SandboxError`] where the container could not be started. The root file system stays until the container is dropped.
    pub fn run(&self, signals: &Signals, progress: &dyn Progress) -> Result<u8, SandboxError> {
        let start = |source| SandboxError::Start { source };
        let interrupted = || match signals.interrupted() {
            Some(signal) => Err(SandboxError::Interrupted { signal }),
            None => Ok(()),
        };
        interrupted()?;
        let plan = Plan {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            folder: self.folder.path().into(),
            hostname: self.hostname.clone(),
            process: self.process.clone(),
            handlers: self.handlers.list.clone(),
            handlers_needed: self.handlers.needed,
            emulated: self.handlers.emulated,
            emulation: self.emulation,
        };
        let (theirs, ours) = std::io::pipe().map_err(start)?;
        let (handoff, reader) = Handoff::new(&plan, OwnedFd::from(theirs)).map_err(start)?;
        let mut command = Command::new(PathBuf::from("/proc/self/exe"));
        command.arg0("polyarch").arg(OUTER);
        handoff.give(&mut command).map_err(start)?;
        let mut child = command.spawn().map_err(start)?;
        // Our copies of what it inherited; while they are open the pipe does not end.
        drop(handoff);

        let outer = Pid::from_raw(child.id().cast_signed());
        let mut failure = None;
        for message in handoff::messages(reader) {
            match message {
                Message::Started { pid } => {
                    if let (Some(pid), Some(outer)) = (Pid::from_raw(pid), outer) {
                        signals.pass_on_to(pid, outer);
                    }
                }
                Message::Unshared => {}
                Message::Note { text } => progress.note(&text),
                Message::Failed(reason) => failure = Some(reason),
            }
        }
        let status = child.wait().map_err(start)?;
        drop(ours);
        if let Some(reason) = failure {
            interrupted()?;
            return Err(reason.into());
        }
        let signal = signals.interrupted().or(status.signal());
        let code = signal.map_or_else(|| status.code().unwrap_or_default(), |signal| 128 + signal);
        Ok(u8::try_from(code).unwrap_or(u8::MAX))
    }
}
