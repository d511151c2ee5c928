//! pasta: it connects the container's network to the host's.
//!
//! This program started anew becomes pasta, for that way the process can enter the container's user namespace first, and then ask the
//! kernel to be killed with the supervisor: pasta itself would lose that wish on the way. pasta gives up its rights before it opens the
//! network, and may not look into another process then, so the network is mounted as a file where only pasta sees it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, Mode as Permissions, OFlags};
use rustix::mount::MountPropagationFlags;
use rustix::process::{Pid, PidfdFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::super::SandboxError;
use super::super::namespaces::unshare;
use super::{Network, Protocol};

/// First argument of the process that becomes pasta.
pub(in super::super) const LAUNCH: &str = "\u{1}sandbox-network";

/// What stands in a container for the host's own name server.
pub(super) const FORWARDED_DNS: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// pasta, running. It ends with this.
#[derive(Debug)]
pub(in super::super) struct Pasta(Child);

impl Pasta {
    /// Connects the network of the process `pid`, and returns when that is done. `folder` is the run's.
    pub(in super::super) fn start(network: &Network, pid: Pid, folder: &Path) -> Result<Self, SandboxError> {
        let program = network.pasta.as_ref().ok_or(SandboxError::NoPasta)?;
        let start = |source| SandboxError::Start { source };
        // pasta writes its number into it when the network is there.
        let ready = folder.join("network-ready");
        let _ = fs::remove_file(&ready);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &ready,
            FileType::Fifo,
            Permissions::RUSR | Permissions::WUSR,
            0,
        )
        .map_err(|errno| start(errno.into()))?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let reader =
            rustix::fs::open(&ready, flags, Permissions::empty()).map_err(|errno| start(errno.into()))?;
        let said = folder.join("network-log");
        let log = File::create(&said).map_err(start)?;
        let place = folder.join("network");
        File::create(&place).map_err(start)?;

        let mut command = Command::new("/proc/self/exe");
        command.arg0("polyarch").arg(LAUNCH).arg(pid.as_raw_nonzero().to_string());
        command.arg(std::process::id().to_string()).arg(&place).arg(program);
        command.args(["--foreground", "--quiet", "--stderr", "--config-net"]);
        command.args(["--tcp-ns", "none", "--udp-ns", "none"]);
        command.arg("--dns-forward").arg(FORWARDED_DNS.to_string());
        for (option, protocol) in [("--tcp-ports", Protocol::Tcp), ("--udp-ports", Protocol::Udp)] {
            let mut ports = network.ports.iter().filter(|port| port.protocol == protocol).peekable();
            if ports.peek().is_none() {
                command.args([option, "none"]);
            }
            for port in ports {
                command.arg(option).arg(port.spec());
            }
        }
        if rustix::process::geteuid().is_root() {
            command.args(["--runas", "0:0"]);
        }
        command.arg("--pid").arg(&ready).arg("--netns").arg(&place);
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(start)?).stderr(log);
        let child = command.spawn().map_err(start)?;
        let pasta = Self(child);
        if pasta.wait(reader.as_fd()).map_err(start)? {
            return Ok(pasta);
        }
        let said = fs::read_to_string(&said).unwrap_or_default();
        let mut lines = said.lines().filter(|line| !line.contains("syslog"));
        let reason = lines.next_back().unwrap_or("it ended without a word").trim().to_owned();
        Err(SandboxError::Pasta { program: program.clone(), reason })
    }

    /// Waits until it is ready, or has ended; gives whether it is ready.
    fn wait(&self, ready: rustix::fd::BorrowedFd<'_>) -> io::Result<bool> {
        let pid = Pid::from_raw(self.0.id().cast_signed()).ok_or(io::ErrorKind::InvalidData)?;
        let ended = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(ready, PollFlags::IN),
                PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
            ];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) if fds[0].revents().contains(PollFlags::IN) => return Ok(true),
                Ok(_) if !fds[1].revents().is_empty() => return Ok(false),
                // Somebody opened it, wrote nothing and left, which ends in a moment.
                Ok(_) if !fds[0].revents().is_empty() => {
                    let mut fds = [PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN)];
                    rustix::event::poll(&mut fds, None)?;
                }
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for Pasta {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Becomes pasta, by the arguments that [`Pasta::start`] gives. Returns only where that fails; who has started it reads why.
pub(in super::super) fn launch(args: &[OsString]) -> u8 {
    let reason = become_pasta(args).err().map(|err| err.to_string());
    let _ = writeln!(io::stderr(), "{}", reason.unwrap_or_default());
    super::super::FAILED
}

fn become_pasta(args: &[OsString]) -> io::Result<()> {
    let [pid, supervisor, place, program, rest @ ..] = args else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = PathBuf::from("/proc").join(pid).join("ns");
    if !rustix::process::geteuid().is_root() {
        let user = File::open(folder.join("user"))?;
        rustix::thread::move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))?;
    }
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if supervisor.to_str().and_then(|text| text.parse().ok()) != Some(parent) {
        return Err(io::ErrorKind::NotConnected.into());
    }
    unshare(UnshareFlags::NEWNS)?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    rustix::mount::mount_bind(folder.join("net"), Path::new(place))?;
    Err(Command::new(program).args(rest).exec())
}
