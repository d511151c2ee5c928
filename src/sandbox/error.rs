//! Why a container could not be run.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use super::Shortage;
use super::plan::{Failure, Step};
use super::root::Told;
use crate::image::ImageError;

/// A container could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The folder that holds the container's files cannot be made or used.
    #[error("preparing the container's folder `{}`", path.display())]
    Folder {
        /// The folder or a file in it.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A process of the sandbox cannot be started or waited for.
    #[error("starting the sandbox")]
    Start {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel grants no user namespace.
    #[error("no user namespace is to be had, and the container needs one")]
    UserNamespace {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The namespace gets no ids.
    #[error("giving the user namespace its ids")]
    Ids {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The namespace gets fewer ids than were asked for; with [`Ids::single`](super::Ids::single) it gets what it asks for.
    #[error("giving the user namespace its ids: {}", shortage.0)]
    IdsRefused {
        /// Why.
        shortage: Shortage,
    },
    /// A layer of the image cannot be read.
    #[error("reading layer {layer} of the image")]
    Layer {
        /// Which, from 1.
        layer: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A layer of the image is not to be had.
    #[error("opening layer {layer} of the image")]
    Image {
        /// Which, from 1.
        layer: usize,
        /// Why.
        #[source]
        source: ImageError,
    },
    /// A layer of the image cannot be unpacked.
    #[error("unpacking layer {layer} of the image")]
    Unpack {
        /// Which, from 1.
        layer: usize,
        /// Why.
        #[source]
        source: Told,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A tree could not be packed as a layer.
    #[error("packing the files of `{}`", folder.display())]
    Pack {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: Told,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A step of making the container failed.
    #[error("{step} `{subject}` for the container")]
    Inside {
        /// What was being done.
        step: &'static str,
        /// To what.
        subject: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel has no binfmt_misc for user namespaces, and the container's program is foreign.
    #[error("foreign programs cannot run: no private binfmt_misc")]
    Handlers {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The host's handlers do not serve a guest of the container.
    #[error("the host has no handler that runs {guests} in a container")]
    HostHandlers {
        /// The guests.
        guests: String,
    },
    /// The host's handlers cannot have an emulator run as it was asked for.
    #[error(
        "the host's handlers run programs for {guest} with no options and with no emulator but the host's"
    )]
    HostFlags {
        /// The guest.
        guest: String,
    },
    /// There is nothing that an option of the emulation could be about.
    #[error("the container has no foreign programs for `{option}`")]
    NoGuest {
        /// The option.
        option: &'static str,
    },
    /// There is no waiting for a debugger.
    #[error("waiting for a debugger at `{place}`")]
    Gdb {
        /// An address or a path.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file for system calls cannot be made or written.
    #[error("writing system calls to `{}`", path.display())]
    Calls {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The image is for another machine than the target.
    #[error("the image's programs are for {found}, and `{target}` runs programs for {expected}")]
    OtherGuest {
        /// The target.
        target: String,
        /// QEMU's name of the target's guest.
        expected: String,
        /// QEMU's name of the image's.
        found: String,
    },
    /// The container's processes cannot be traced.
    #[error("foreign programs cannot run: tracing the container is not permitted")]
    Trace {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The image has a file or link where a file system is to be mounted.
    #[error("the image's `{path}` is no folder")]
    MountPoint {
        /// The path in the image.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program is not there.
    #[error("the program `{program}` was not found in the container")]
    NotFound {
        /// As given.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program is there, and what should run it is not: a script's interpreter, a dynamic program's loader, or
    /// the emulator of one of the host's handlers.
    #[error("`{program}`, which is there, needs an interpreter that is not")]
    Interpreter {
        /// The path in the container.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program is there and does not run.
    #[error("the program `{program}` cannot be executed")]
    NotExecutable {
        /// The path in the container.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Neither the image nor the caller names a program.
    #[error("the image names no program to run")]
    NoProgram,
    /// The container's user is not in its `/etc/passwd`.
    #[error("there is no user `{user}` in the container's `/etc/passwd`")]
    UserName {
        /// As the caller or the image says.
        user: String,
    },
    /// The network needs a program that is not there.
    #[error("`pasta`, which connects a container's own network, is not installed")]
    NoPasta,
    /// The network cannot be connected.
    #[error("`{}` cannot connect the container's network: {reason}", program.display())]
    Pasta {
        /// pasta.
        program: PathBuf,
        /// What it says.
        reason: String,
    },
    /// A port of the host cannot be had.
    #[error("the port {port} of this machine cannot be published")]
    Port {
        /// Address and number.
        port: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program is to have a terminal, and its input is to come from what is none.
    #[error("the input device is not a TTY, and `-t` with `-i` needs one")]
    NoTerminal,
    /// A group is not in the container's `/etc/group`.
    #[error("there is no group `{group}` in the container's `/etc/group`")]
    GroupName {
        /// As the caller or the image says.
        group: String,
    },
    /// The container's user or group is not among the ids that can be had in it.
    #[error("the container cannot run as `{user}`, whose id cannot be had in it")]
    UserId {
        /// As the caller or the image says.
        user: String,
    },
    /// An OCI runtime could not start the container.
    #[error("the runtime `{runtime}` could not start the container{said}")]
    Runtime {
        /// Its path.
        runtime: String,
        /// What it said, behind a colon.
        said: String,
    },
    /// There is no such runtime.
    #[error("the OCI runtime `{name}` was not found")]
    NoRuntime {
        /// As given.
        name: String,
    },
    /// A volume cannot be mounted.
    #[error("mounting {volume} in the container")]
    Volume {
        /// What, and where.
        volume: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A signal ended the preparation.
    #[error("interrupted by signal {signal} before the container started")]
    Interrupted {
        /// Its number.
        signal: i32,
    },
}

/// What is being done where the kernel refuses a handler.
const REGISTER: &str = "registering the handler of";

impl SandboxError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UserNamespace { .. } => user_namespace_hint(),
            Self::Inside { step: REGISTER, source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "the emulator must be executable: is the cache, where images are unpacked, on a file system mounted \
                 `noexec`? `POLYARCH_CACHE_DIR` puts it elsewhere"
                    .into()
            }
            Self::Ids { .. } => user_namespace_hint(),
            Self::IdsRefused { .. } => {
                "mend it, or `polyarch image prune`: an image is then unpacked anew, with root as its only user".into()
            }
            Self::Unpack { hint, .. } | Self::Pack { hint, .. } => return hint.clone(),
            Self::Inside { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => user_namespace_hint(),
            Self::Handlers { .. } => "Linux 6.7 or newer has it; `--emulation trace` does without".into(),
            Self::HostFlags { .. } => "leave `--emulation host` out: the other ways, `private` and `trace`, can".into(),
            Self::NoGuest { .. } => "`--target` names the machine that they are for".into(),
            Self::Gdb { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "something else is there: give another port, 0 for any that is free, or another path".into()
            }
            Self::OtherGuest { .. } => "`polyarch image inspect` shows what it is for".into(),
            Self::HostHandlers { .. } => "a handler serves containers if it is enabled and has the flag `F`; the other ways, \
                 `private` and `trace`, need none"
                .into(),
            Self::Trace { source } => trace_hint(source),
            Self::NotFound { .. } => {
                "give a program as an argument after the image, or another with `--entrypoint`".into()
            }
            Self::NotExecutable { source, .. } => cannot_execute_hint(source),
            Self::Interpreter { .. } => "`polyarch inspect` of the program shows what it needs".into(),
            Self::NoPasta => "install Debian's package `passt`; `--network host` and `--network none` do without".into(),
            Self::Pasta { reason, .. } if reason.contains("/dev/net/tun") || reason.contains("tun device") => {
                "it needs `/dev/net/tun`, open for everybody: `modprobe tun`, `chmod 666 /dev/net/tun` as root".into()
            }
            Self::Pasta { .. } => "`--network host` and `--network none` do without it".into(),
            Self::Port { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => "something else has it; choose another as in `-p 8081:80`".into(),
                io::ErrorKind::PermissionDenied => "ports below 1024 are root's: choose another as in `-p 8080:80`, or \
                     `sysctl net.ipv4.ip_unprivileged_port_start=80` as root"
                    .into(),
                _ => "the address must be one of this machine's".into(),
            },
            Self::NoTerminal => "leave out `-t` where input comes from a pipe or a file".into(),
            Self::NoProgram => "give one after the image, as in `polyarch run IMAGE PROGRAM`".into(),
            Self::Runtime { .. } => {
                "without `--runtime` the built-in runner runs it; `polyarch doctor` tells what this machine grants".into()
            }
            Self::NoRuntime { .. } => {
                "give its path, or install one, such as Debian's packages `runc` or `crun`; none is needed without `--runtime`"
                    .into()
            }
            Self::UserName { .. } | Self::GroupName { .. } => {
                "give a number, or a name that the image has, with `--user`".into()
            }
            Self::UserId { .. } => {
                "an ordinary user has ids besides root's by lines in `/etc/subuid` and `/etc/subgid`, as in \
                 `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME` as root, and by Debian's package \
                 `uidmap`; else `--user 0`"
                    .into()
            }
            Self::Volume { source, .. } => match source.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::NOTDIR | Errno::ISDIR) => {
                    "a folder is mounted on a folder, and a file on a file".into()
                }
                Some(Errno::LOOP) => "a link in the image leads from there to nothing".into(),
                Some(Errno::OPNOTSUPP) => "nothing can be mounted in the container's `/proc`".into(),
                _ => return None,
            },
            Self::Folder { .. } => {
                "set `POLYARCH_CACHE_DIR` to a folder on a local disk that you may write, with room for the image".into()
            }
            _ => return None,
        })
    }
}

/// Looks for what stands in the way of tracing.
fn trace_hint(source: &io::Error) -> String {
    if source.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) {
        // A process is listened to by one alone.
        return "whatever polyarch runs in is asked about its system calls by another program already (another container's `trace`, or a \
             container manager that intercepts calls); start it outside of that"
            .into();
    }
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    if scope.trim() == "3" {
        "`kernel.yama.ptrace_scope` is 3, which no program can undo before the machine starts anew".into()
    } else {
        "inside another container, start that one with `--cap-add SYS_PTRACE --security-opt seccomp=unconfined`".into()
    }
}

/// What to do about a program that the kernel refuses.
pub(super) fn cannot_execute_hint(source: &io::Error) -> String {
    if source.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) {
        "it is for another CPU, or a script without `#!`; `polyarch inspect` says which".into()
    } else {
        "it must be a file, and one that may be executed: `chmod +x` it (before an image is made of it)"
            .into()
    }
}

/// Looks for the switch that stands in the way.
pub(super) fn user_namespace_hint() -> String {
    let says = |file: &str, value: &str| std::fs::read_to_string(file).is_ok_and(|text| text.trim() == value);
    if says("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "let users make them: `sysctl kernel.unprivileged_userns_clone=1` as root".into()
    } else if says("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor keeps users from them: `sysctl kernel.apparmor_restrict_unprivileged_userns=0` as root, or give \
         polyarch a profile with `userns`"
            .into()
    } else if says("/proc/sys/user/max_user_namespaces", "0") {
        "let users make them: `sysctl user.max_user_namespaces=10000` as root".into()
    } else {
        "inside another container, start that one with `--security-opt seccomp=unconfined --security-opt \
         systempaths=unconfined`; in a chroot the kernel grants none"
            .into()
    }
}

impl From<Failure> for SandboxError {
    fn from(failure: Failure) -> Self {
        let Failure { step, subject, errno } = failure;
        let source = io::Error::from_raw_os_error(errno);
        let not_found = source.kind() == io::ErrorKind::NotFound;
        let step = match step {
            Step::UserNamespace => return Self::UserNamespace { source },
            Step::Handlers => return Self::Handlers { source },
            Step::HostFlags => return Self::HostFlags { guest: subject },
            Step::HostHandlers => return Self::HostHandlers { guests: subject },
            Step::Trace => return Self::Trace { source },
            Step::MountPoint => return Self::MountPoint { path: subject, source },
            Step::Start => return Self::Start { source },
            Step::Runtime if errno == 0 => {
                let (runtime, said) = subject.split_once(": ").unwrap_or((&subject, ""));
                return Self::Runtime { runtime: runtime.into(), said: format!(": {said}") };
            }
            Step::Runtime => return Self::Runtime { runtime: subject, said: format!(": {source}") },
            Step::RuntimeWay => {
                let said =
                    ": foreign programs run by tracing here, which is the built-in runner's own".into();
                return Self::Runtime { runtime: subject, said };
            }
            Step::Volume => return Self::Volume { volume: subject, source },
            Step::UserName => return Self::UserName { user: subject },
            Step::GroupName => return Self::GroupName { group: subject },
            Step::UserId => return Self::UserId { user: subject },
            Step::Find | Step::Execute if not_found => return Self::NotFound { program: subject, source },
            Step::Find | Step::Execute => return Self::NotExecutable { program: subject, source },
            Step::Interpreter => return Self::Interpreter { program: subject, source },
            Step::IdMap => "writing",
            Step::Namespaces => "making the namespaces",
            Step::Mount => "mounting",
            Step::Prepare => "making",
            Step::Copy => "copying",
            Step::Remove => "removing",
            Step::Register => REGISTER,
            Step::Emulator => "opening the emulator",
            Step::Terminal => "making the terminal",
            Step::Network => "raising",
            Step::Identity | Step::Limit => "setting",
            Step::Seccomp => "installing",
            Step::Cgroup => "entering",
            Step::WorkingDirectory => "entering the working directory",
            Step::Handoff => "reading",
        };
        Self::Inside { step, subject, source }
    }
}
