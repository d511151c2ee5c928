//! What this machine lets the caller do, really tried: user namespaces, mounts in them, a private binfmt_misc,
//! overlay, and the interception of `execve`.
//!
//! A process of its own tries, in namespaces of its own, and says what the kernel answered; when it ends, all of it is
//! gone. Without [`Wanted::processes`] and [`Wanted::overlay`] that is one start of this program and some ten system calls.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags};
use rustix::process::Signal;
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use super::namespaces::unshare;
use super::trace::{self, Means};
use crate::binfmt::{self, Flags, Rule};
use crate::target::Magic;

/// First argument of the process that tries.
pub(super) const PROBE: &str = "\u{1}sandbox-probe";
/// First argument of the process that tries what only a process in a new process id namespace can.
pub(super) const PROBE_INNER: &str = "\u{1}sandbox-probe-inner";

/// What is tried besides what costs next to nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Wanted {
    /// A folder of the file system where containers are unpacked, empty and the caller's own. What is made in it stays there.
    pub overlay: Option<PathBuf>,
    /// A new `/proc`, which takes another start of this program.
    pub processes: bool,
}

/// What the kernel answered. A trial that another one's failure made pointless is [`Trial::Untried`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// A user namespace, in which the caller is root.
    pub user_namespaces: Trial,
    /// The other namespaces of a container, and mounts that nobody else sees.
    pub mounts: Trial,
    /// A `/proc` of a container's own.
    pub processes: Trial,
    /// A binfmt_misc of the namespace's own, with a handler in it.
    pub private_binfmt: Trial,
    /// An overlay file system, written to.
    pub overlay: Trial,
    /// A seccomp filter that stops `execve` for a tracer, and being traced.
    pub seccomp_trace: Trial,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trial {
    /// It can be had.
    Granted,
    /// It cannot.
    Denied(Denial),
    /// It was not asked for, or what it needs was denied.
    Untried,
}

/// What was denied, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// What was being done, as in "mounting `/proc`".
    pub doing: String,
    /// The system's error number.
    pub errno: i32,
}

impl Trial {
    /// Whether it can be had.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        *self == Self::Granted
    }

    /// The answer, if it was no.
    #[must_use]
    pub fn denial(&self) -> Option<&Denial> {
        match self {
            Self::Denied(denial) => Some(denial),
            Self::Granted | Self::Untried => None,
        }
    }
}

impl Denial {
    fn new(doing: &str, errno: Errno) -> Self {
        Self { doing: doing.into(), errno: errno.raw_os_error() }
    }

    /// The system's reason.
    #[must_use]
    pub fn source(&self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

impl From<Result<(), Denial>> for Trial {
    fn from(result: Result<(), Denial>) -> Self {
        match result {
            Ok(()) => Self::Granted,
            Err(denial) => Self::Denied(denial),
        }
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        let untried = || Trial::Untried;
        Self {
            user_namespaces: untried(),
            mounts: untried(),
            processes: untried(),
            private_binfmt: untried(),
            overlay: untried(),
            seccomp_trace: untried(),
        }
    }
}

/// Tries what `wanted` says. The caller's program is started anew for it, so its `main` must call [`super::enter`]
/// before all else.
///
/// # Errors
/// Where that process could not be started, or ended without an answer.
pub fn probe(wanted: &Wanted) -> io::Result<Capabilities> {
    answer(PROBE, &serde_json::to_string(wanted)?)
}

/// Starts this program anew in the role `role`, and gives what it says.
fn answer<T: for<'a> Deserialize<'a>>(role: &str, argument: &str) -> io::Result<T> {
    let output = Command::new("/proc/self/exe")
        .args([role, argument])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The part of the process that tries, with what follows its role on the command line: the answer.
pub(super) fn run(inner: bool, args: &[OsString]) -> Option<String> {
    // Nothing of it may outlive the one that asks.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).ok()?;
    if inner {
        return serde_json::to_string(&Trial::from(mount_proc())).ok();
    }
    let wanted: Wanted = serde_json::from_str(args.first()?.to_str()?).ok()?;
    serde_json::to_string(&tried(&wanted)).ok()
}

fn tried(wanted: &Wanted) -> Capabilities {
    let mut found = Capabilities { user_namespaces: user_namespace().into(), ..Capabilities::default() };
    if found.user_namespaces.is_granted() {
        found.mounts = namespaces().into();
    }
    if found.mounts.is_granted() {
        found.private_binfmt = private_binfmt().into();
        if let Some(folder) = &wanted.overlay {
            found.overlay = overlay(folder).into();
        }
        if wanted.processes {
            found.processes = answer(PROBE_INNER, "").unwrap_or_else(|err| {
                let errno = err.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
                Trial::Denied(Denial::new("starting a process in new namespaces", errno))
            });
        }
    }
    // A traced process stops at signals, and at executing another program; this one is about to end.
    found.seccomp_trace = seccomp_trace().into();
    found
}

fn user_namespace() -> Result<(), Denial> {
    let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    unshare(UnshareFlags::NEWUSER).map_err(|errno| Denial::new("making a user namespace", errno))?;
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {} 1\n", ids.0)),
        ("/proc/self/gid_map", format!("0 {} 1\n", ids.1)),
    ] {
        fs::write(file, text)
            .map_err(|err| denied(&format!("writing `{file}` in a user namespace"), &err))?;
    }
    Ok(())
}

fn namespaces() -> Result<(), Denial> {
    let others = UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    unshare(others)
        .map_err(|errno| Denial::new("making the mount, pid, ipc, uts and cgroup namespaces", errno))?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| Denial::new("making mounts private in a user namespace", errno))
}

fn mount_proc() -> Result<(), Denial> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", "/proc", "proc", flags, None)
        .map_err(|errno| Denial::new("mounting `/proc` in new namespaces", errno))
}

/// Makes one that is mounted nowhere, and puts a handler into it that matches nothing.
fn private_binfmt() -> Result<(), Denial> {
    let mount = || {
        let context = rustix::mount::fsopen("binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(&context)?;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    let mount = mount().map_err(|errno| Denial::new("mounting binfmt_misc in a user namespace", errno))?;
    let magic = Magic { magic: vec![0xff; 20], mask: vec![0xff; 20] };
    let flags = Flags { fix_binary: true, preserve_argv0: true, ..Flags::default() };
    let registry = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
    let rule = Rule::new("polyarch-probe", magic, "/proc/self/exe", flags).map_err(|_| Errno::INVAL);
    let registered = rule.and_then(|rule| binfmt::register(&registry, &rule).map_err(|err| errno_of(&err)));
    registered.map_err(|errno| Denial::new("registering a handler in a private binfmt_misc", errno))
}

/// The system's reason beneath an error.
fn errno_of(err: &dyn std::error::Error) -> Errno {
    let mut cause = err.source();
    while let Some(err) = cause {
        if let Some(errno) = err.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Errno::from_raw_os_error(errno);
        }
        cause = err.source();
    }
    Errno::INVAL
}

/// Mounts one in `folder` and removes a file of its lower layer through it.
fn overlay(folder: &Path) -> Result<(), Denial> {
    let failed = |err: io::Error| denied(&format!("writing in `{}`", folder.display()), &err);
    rustix::process::chdir(folder).map_err(|errno| failed(errno.into()))?;
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(name).map_err(failed)?;
    }
    fs::write("lower/file", "x").map_err(failed)?;
    let options = c"lowerdir=lower,upperdir=upper,workdir=work,userxattr";
    rustix::mount::mount("overlay", "merged", "overlay", MountFlags::empty(), options)
        .map_err(|errno| Denial::new("mounting an overlay in a user namespace", errno))?;
    fs::write("merged/other", "x")
        .and_then(|()| fs::remove_file("merged/file"))
        .map_err(|err| denied("writing to an overlay in a user namespace", &err))
}

/// Asks for the filter that hands `execve` to a tracer, and to be traced.
fn seccomp_trace() -> Result<(), Denial> {
    rustix::thread::set_no_new_privs(true)
        .map_err(|errno| Denial::new("giving up the right to new privileges", errno))?;
    trace::install(Means::of_kernel()).map_err(|errno| Denial::new("installing a seccomp filter", errno))?;
    #[expect(unsafe_code, reason = "neither rustix nor the standard library traces processes")]
    // SAFETY: the request takes no pointers. The one that waits for this process sees it end as any other.
    let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    if traced != 0 {
        return Err(denied("being traced (ptrace)", &io::Error::last_os_error()));
    }
    Ok(())
}

fn denied(doing: &str, err: &io::Error) -> Denial {
    Denial { doing: doing.into(), errno: err.raw_os_error().unwrap_or_else(|| Errno::IO.raw_os_error()) }
}
