//! What the supervising process hands to the processes inside: all that they need to know, and nothing else.

use std::ffi::OsString;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Emulation;
use super::confine::{Confine, User};
use super::volumes::Volume;

/// The program that the container runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The command line, the program first: a path, or a bare name that is looked up in the container's `PATH`.
    pub args: Vec<OsString>,
    /// The whole environment, in order.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory, made where it is missing.
    pub cwd: OsString,
    /// Who runs it.
    pub user: User,
}

/// A guest whose programs the container runs through an emulator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handler {
    /// QEMU's name of the guest, which the rule carries too.
    pub guest: String,
    /// The bytes by which its programs are told.
    pub magic: Vec<u8>,
    /// Which of their bits count.
    pub mask: Vec<u8>,
    /// The emulator.
    pub emulator: Emulator,
    /// What the emulator is given before all else, such as `-cpu` and a model.
    pub flags: Vec<String>,
    /// What the emulator is given besides where it runs the first foreign program of the container.
    pub first_flags: Vec<String>,
    /// The emulator that the image carries for it, by its path there: whoever executes it gets this one with its flags.
    pub replaces: Option<OsString>,
    /// Whether the container's own programs do without it: it is there for others that may be put in.
    pub spare: bool,
}

impl Handler {
    /// Whether the emulator is given more than a program.
    pub(super) fn has_flags(&self) -> bool {
        !self.flags.is_empty() || !self.first_flags.is_empty()
    }

    /// Whether the container must have a file of the emulator, since a handler alone would not do.
    pub(super) fn is_placed(&self) -> bool {
        self.has_flags() || (self.replaces.is_some() && matches!(self.emulator, Emulator::Host(_)))
    }
}

/// Where an emulator's file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Emulator {
    /// A file of this machine.
    Host(OsString),
    /// A file of the container.
    Inside(OsString),
}

impl fmt::Display for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(path) => write!(f, "`{}` of this machine", path.to_string_lossy()),
            Self::Inside(path) => write!(f, "`{}` of the image", path.to_string_lossy()),
        }
    }
}

/// Everything that the processes inside need.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The folder of this run: `root` is where the file system is put together, `exe` an empty file to mount this program on.
    pub(super) folder: OsString,
    /// What the root file system is made of.
    pub(super) root: super::root::Plan,
    pub(super) hostname: String,
    pub(super) process: Process,
    pub(super) volumes: Vec<Volume>,
    pub(super) confine: Confine,
    /// Folders of the cgroups that the container is to be in.
    pub(super) cgroups: Vec<OsString>,
    /// The OCI runtime that runs it, in place of the built-in runner.
    pub(super) runtime: Option<OsString>,
    pub(super) handlers: Vec<Handler>,
    /// Whether the run's folder has one that emulators write to, for those outside.
    pub(super) has_debug: bool,
    /// Whether the container cannot do without its handlers.
    pub(super) handlers_needed: bool,
    /// Whether the first program is an emulator, which runs the image's.
    pub(super) emulated: bool,
    /// The way that the caller wants; the best of those that can be had if none.
    pub(super) emulation: Option<Emulation>,
    pub(super) network: super::network::Plan,
    /// Whether this program stays as the container's first process.
    pub(super) init: bool,
    /// The program's terminal, where it has one of its own.
    pub(super) terminal: Option<super::terminal::Pty>,
}

/// What the processes inside tell the supervisor, one JSON value a line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// The user namespace exists, and waits to be given its ids.
    Unshared,
    /// The container's first process exists; its process id as the supervisor sees it.
    Started { pid: i32 },
    /// Layers were unpacked, or not.
    Unpacked(super::root::Unpacked),
    /// What came of the work of a helper.
    Answer(serde_json::Value),
    /// The container's network is there, and not connected.
    NetworkMade,
    /// The user may want to know.
    Note { text: String },
    /// The user must know.
    Warning { text: String },
    /// The container cannot start.
    Failed(Failure),
}

/// Why a container could not start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    pub(super) step: Step,
    /// What it was about: a path, a program, a guest.
    pub(super) subject: String,
    /// The system's error number.
    pub(super) errno: i32,
}

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    UserNamespace,
    IdMap,
    Namespaces,
    Mount,
    Prepare,
    Copy,
    Remove,
    MountPoint,
    Handlers,
    HostHandlers,
    HostFlags,
    Trace,
    Register,
    Emulator,
    Volume,
    Limit,
    Cgroup,
    Runtime,
    RuntimeWay,
    Seccomp,
    Identity,
    Terminal,
    Network,
    UserName,
    GroupName,
    UserId,
    WorkingDirectory,
    Find,
    Execute,
    Interpreter,
    Start,
    Handoff,
}

impl Step {
    /// The failure of this step for `subject`.
    pub(super) fn on(
        self,
        subject: impl AsRef<std::ffi::OsStr>,
    ) -> impl FnOnce(rustix::io::Errno) -> Failure {
        move |errno| Failure {
            step: self,
            subject: subject.as_ref().to_string_lossy().into_owned(),
            errno: errno.raw_os_error(),
        }
    }

    /// The same for an error of the standard library.
    pub(super) fn io(self, subject: impl AsRef<std::ffi::OsStr>) -> impl FnOnce(std::io::Error) -> Failure {
        move |err| {
            let errno =
                err.raw_os_error().map_or(rustix::io::Errno::IO, rustix::io::Errno::from_raw_os_error);
            self.on(subject)(errno)
        }
    }
}
