//! The supervising side: it starts the processes inside, hears from them, and gives the program's status.

use std::io::PipeWriter;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::handoff::{self, Handoff, OUTER};
use super::limits::{Group, Watch};
use super::link::Link;
use super::network::{self, Network, Pasta};
use super::plan::{Message, Plan, Process};
use super::signals::Role;
use super::terminal::{Streams, Terminal};
use super::{
    Confine, Debug, Emulation, Folder, Handlers, Ids, Limits, Root, SandboxError, Signals, Volume, userns,
};
use crate::progress::Progress;

/// One container.
#[derive(Debug)]
pub struct Container {
    /// The folder of this run.
    pub folder: Folder,
    /// Its root file system.
    pub root: Root,
    /// What it runs.
    pub process: Process,
    /// What is mounted in it besides what every container has.
    pub volumes: Vec<Volume>,
    /// What its program may do, and sees.
    pub confine: Confine,
    /// How much it may use.
    pub limits: Limits,
    /// The OCI runtime that runs it, in place of the built-in runner.
    pub runtime: Option<PathBuf>,
    /// Its name of itself.
    pub hostname: String,
    /// What it is called in lists of processes.
    pub name: Option<String>,
    /// What its programs reach.
    pub network: Network,
    /// The emulators of foreign programs in it.
    pub handlers: Handlers,
    /// How foreign programs are to reach them; the best way that can be had if `None`.
    pub emulation: Option<Emulation>,
    /// What emulators show to those outside.
    pub debug: Debug,
    /// Whether its first process is one of ours, which reaps what ends and passes signals on, and not its program itself.
    pub init: bool,
    /// What of the caller's its program is connected to.
    pub terminal: Terminal,
    /// What takes all that its program says, in place of the caller's streams. Such a container is one of several: signals end it.
    pub output: Option<PipeWriter>,
    /// Its users and groups.
    pub ids: Ids,
}

impl Container {
    /// Runs it to its end, and gives the status of its program, or 128 and the number of the signal that ended it.
    ///
    /// Standard output and error are the program's, and input, where [`Terminal`] says so: what it gets as it is, is let go of in this
    /// process, so that a pipe ends with the program. The caller's program is started anew for the processes inside, so its `main`
    /// must call [`super::enter`] before all else.
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
        let (group, missing) =
            if self.limits.is_none() { Default::default() } else { Group::make(&self.limits) };
        for reason in missing {
            progress.warn(&format!("a limit is not kept: {reason}"));
        }
        let watch = if group.folders.is_empty() { None } else { Some(Watch::start(&group).map_err(start)?) };
        let output = self.output.as_ref().map(PipeWriter::try_clone).transpose().map_err(start)?;
        let mut streams = Streams::new(self.terminal, output)?;
        let files = self.network.files(self.folder.path(), &self.hostname).map_err(start)?;
        // What is mounted by the caller counts.
        let files =
            files.into_iter().filter(|file| !self.volumes.iter().any(|own| own.target == file.target));
        let plan = Plan {
            folder: self.folder.path().into(),
            root: self.root.plan(),
            hostname: self.hostname.clone(),
            process: self.process.clone(),
            volumes: files.chain(self.volumes.iter().cloned()).collect(),
            confine: self.confine.clone(),
            cgroups: group.folders.iter().map(|path| path.clone().into_os_string()).collect(),
            runtime: self.runtime.as_ref().map(|path| path.clone().into_os_string()),
            handlers: self.handlers.list.clone(),
            has_debug: !self.debug.is_none(),
            handlers_needed: self.handlers.needed,
            emulated: self.handlers.emulated,
            emulation: self.emulation,
            network: self.network.plan(),
            init: self.init,
            terminal: streams.pty(),
        };
        let debugged = self.debug.begin(self.folder.path()).map_err(start)?;
        let (theirs, mut ours) = std::io::pipe().map_err(start)?;
        let (link, far) = Link::pair().map_err(start)?;
        let (mut handoff, reader) = Handoff::new(&plan, OwnedFd::from(theirs)).map_err(start)?;
        handoff.link = Some(far);
        let link = Arc::new(link);
        let mut command = Command::new(PathBuf::from("/proc/self/exe"));
        let name = self.name.as_ref().map_or_else(|| "polyarch".into(), |name| format!("polyarch: {name}"));
        command.arg0(name).arg(OUTER);
        handoff.give(&mut command).map_err(start)?;
        streams.give(&mut command).map_err(start)?;
        let mut child = command.spawn().map_err(start)?;
        // Our copies of what it inherited; while they are open no pipe ends.
        drop((handoff, command));
        signals.show_on(streams.console());
        let mut streams = streams.begin(Arc::clone(&link)).map_err(start)?;

        let outer = Pid::from_raw(child.id().cast_signed());
        let role = match (&self.output, self.init) {
            (Some(_), _) => Role::Step,
            (None, true) => Role::Init,
            (None, false) => Role::First,
        };
        let (mut first, mut pasta, mut unconnected) = (None, None, false);
        let mut handle = None;
        let mut failure = None;
        for message in handoff::messages(reader) {
            match (message, outer) {
                (Message::Unshared, Some(outer)) => {
                    let refused = match userns::give(&self.ids, outer, &mut ours) {
                        Ok(None) => continue,
                        Ok(Some(shortage)) => SandboxError::IdsRefused { shortage },
                        Err(source) => SandboxError::Ids { source },
                    };
                    let _ = child.kill();
                    failure = Some(refused);
                }
                (Message::Started { pid }, Some(outer)) => {
                    if let Some(pid) = Pid::from_raw(pid) {
                        signals.pass_on_to(pid, outer, role);
                        first = Some(pid);
                        handle = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok();
                    }
                }
                (Message::NetworkMade, _) => unconnected = true,
                (Message::Note { text }, _) => progress.note(&text),
                (Message::Warning { text }, _) => progress.warn(&text),
                // Of a process that was ended because of the first failure, that one is told.
                (Message::Failed(reason), _) => failure = failure.or(Some(reason.into())),
                _ => {}
            }
            if unconnected && let Some(pid) = first {
                unconnected = false;
                let connected = Pasta::start(&self.network, pid, self.folder.path());
                match connected
                    .and_then(|running| Ok((running, link.say(network::CONNECTED, &[]).map_err(start)?)))
                {
                    Ok((running, ())) => pasta = Some(running),
                    Err(err) => {
                        let _ = child.kill();
                        failure = failure.or(Some(err));
                    }
                }
            }
        }
        if failure.is_none() {
            streams.let_go().map_err(start)?;
        }
        let status = child.wait().map_err(start)?;
        if let (Some(_), Some(handle)) = (status.signal(), handle) {
            end(&handle);
        }
        if let (Role::Step, Some(pid)) = (role, first) {
            signals.forget(pid);
        }
        drop((ours, pasta));
        drop(watch);
        streams.finish();
        if let Err(err) = debugged.finish() {
            progress.warn(&format!("what emulators told of their programs is not complete: {err}"));
        }
        signals.show_on(None);
        if let Some(reason) = failure {
            interrupted()?;
            return Err(reason);
        }
        let signal = signals.interrupted().or(status.signal());
        let code = signal.map_or_else(|| status.code().unwrap_or_default(), |signal| 128 + signal);
        Ok(u8::try_from(code).unwrap_or(u8::MAX))
    }
}

/// Ends a container whose outer process was killed, and could not do so.
fn end(first: &OwnedFd) {
    // It may have ended by itself.
    let _ = rustix::process::pidfd_send_signal(first, Signal::KILL);
    let mut fds = [PollFd::new(first, PollFlags::IN)];
    while rustix::event::poll(&mut fds, None) == Err(Errno::INTR) {}
}
