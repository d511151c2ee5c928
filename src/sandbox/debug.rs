//! What an emulator shows of its guest to those outside: a port for a debugger, and the guest's system calls.
//!
//! The emulator's own socket, and the pipe that it writes calls to, are in a folder of the run that the container has in its
//! `/dev`. So they work whatever network the container has, and nothing of the container's listens where others reach it. This process
//! listens where the caller wants it, and copies.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType};

use super::SandboxError;
use super::copying::{Event, copy, drain, wait};
use super::place::DEBUG;

/// The folder in that of a run.
pub(super) const FOLDER: &str = "debug";
/// There until a foreign program has begun.
pub(super) const TOKEN: &str = "first";
/// The emulator's socket for a debugger.
const SOCKET: &str = "gdb";
/// The pipe for system calls.
const CALLS: &str = "calls";
/// How often a debugger that waits makes this process look whether the program has begun.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Where a debugger attaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gdb {
    /// A port of this machine's loopback; 0 for one that is free.
    Port(u16),
    /// A socket of the file system.
    Socket(PathBuf),
}

/// What is shown of a container's first foreign program, and of the calls of all.
#[derive(Debug, Default)]
pub struct Debug {
    gdb: Option<Listener>,
    calls: Option<File>,
}

#[derive(Debug)]
enum Listener {
    Port(TcpListener),
    Socket(UnixListener, PathBuf),
}

/// The copying, until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Session {
    ended: Option<Arc<Event>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

/// What an emulator is given for a debugger, which it waits for.
pub(super) fn gdb_flags() -> [String; 2] {
    ["-g".into(), format!("{DEBUG}/{SOCKET}")]
}

/// What emulators are given to write system calls down.
pub(super) fn strace_flags() -> [String; 3] {
    ["-strace".into(), "-D".into(), format!("{DEBUG}/{CALLS}")]
}

impl Debug {
    /// Listens for a debugger, and makes the file for system calls.
    ///
    /// # Errors
    /// [`SandboxError`] where that cannot be.
    pub fn new(gdb: Option<&Gdb>, calls: Option<&Path>) -> Result<Self, SandboxError> {
        let gdb = gdb.map(Listener::new).transpose()?;
        let open = |path: &Path| {
            File::create(path).map_err(|source| SandboxError::Calls { path: path.into(), source })
        };
        Ok(Self { gdb, calls: calls.map(open).transpose()? })
    }

    /// Where a debugger attaches, as gdb calls it.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        self.gdb.as_ref().map(|listener| match listener {
            Listener::Port(listener) => {
                listener.local_addr().map_or_else(|_| String::new(), |at| at.to_string())
            }
            Listener::Socket(_, path) => path.display().to_string(),
        })
    }

    /// Whether there is nothing to show.
    pub(super) fn is_none(&self) -> bool {
        self.gdb.is_none() && self.calls.is_none()
    }

    /// Makes the folder in that of the run, and begins to copy. What fails later is told at the [end](Session::finish).
    pub(super) fn begin(&self, run: &Path) -> io::Result<Session> {
        if self.is_none() {
            return Ok(Session::default());
        }
        let folder = run.join(FOLDER);
        fs::create_dir(&folder)?;
        // The folder above is closed; in the container every user may run the first foreign program.
        fs::set_permissions(&folder, Permissions::from_mode(0o777))?;
        let ended = Arc::new(Event::new()?);
        let mut session = Session { ended: Some(Arc::clone(&ended)), threads: Vec::new() };
        if let Some(file) = &self.calls {
            let (path, file, ended) = (folder.join(CALLS), file.try_clone()?, Arc::clone(&ended));
            rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o666), 0)?;
            fs::set_permissions(&path, Permissions::from_mode(0o666))?;
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            let reader = OpenOptions::new().read(true).custom_flags(flags).open(&path)?;
            // While it is open there is a writer, however many emulators come and go.
            let writer = OpenOptions::new().write(true).custom_flags(flags).open(&path)?;
            session.spawn("calls", move || {
                let kept = drain(&reader, &file, &ended);
                if kept.is_err() {
                    // The disk is full, say. The program must not wait for it.
                    drain(&reader, OpenOptions::new().write(true).open("/dev/null")?, &ended)?;
                }
                drop(writer);
                kept
            })?;
        }
        if let Some(listener) = &self.gdb {
            File::create(folder.join(TOKEN))?;
            let listener = listener.as_fd().try_clone_to_owned()?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = rustix::fs::open(&folder, flags, Mode::empty())?;
            session.spawn("debugger", move || serve(&listener, &folder, &ended))?;
        }
        Ok(session)
    }
}

impl Session {
    fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name.into()).spawn(work)?);
        Ok(())
    }

    /// Ends it, when the container has ended; gives what went wrong.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if let Some(ended) = &self.ended {
            ended.happen();
        }
        let results = self.threads.drain(..).map(|thread| thread.join().unwrap_or(Ok(())));
        results.fold(Ok(()), io::Result::and)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(ended) = &self.ended {
            ended.happen();
        }
    }
}

impl Listener {
    fn new(wanted: &Gdb) -> Result<Self, SandboxError> {
        match wanted {
            Gdb::Port(port) => {
                // Whoever reaches it does with the program what he likes.
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
                let listener = TcpListener::bind(address).map(Self::Port);
                listener.map_err(|source| SandboxError::Gdb { place: address.to_string(), source })
            }
            Gdb::Socket(path) => {
                let bound = UnixListener::bind(path).and_then(|listener| {
                    fs::set_permissions(path, Permissions::from_mode(0o600))?;
                    Ok(Self::Socket(listener, path.clone()))
                });
                bound.map_err(|source| SandboxError::Gdb { place: path.display().to_string(), source })
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        match self {
            Self::Port(listener) => listener.as_fd(),
            Self::Socket(listener, _) => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Socket(_, path) = self
            && fs::symlink_metadata(&*path).is_ok_and(|there| there.file_type().is_socket())
        {
            let _ = fs::remove_file(path);
        }
    }
}

/// Connects a debugger with the emulator whose socket is in `folder`: the first that stays until there is one. An emulator takes
/// one, so others are turned away.
fn serve(listener: &OwnedFd, folder: &OwnedFd, ended: &Event) -> io::Result<()> {
    let mut is_taken = false;
    while wait(listener.as_fd(), PollFlags::IN, ended)? {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let client = match rustix::net::accept_with(listener, flags) {
            Ok(client) => client,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => continue,
            Err(err) => return Err(err.into()),
        };
        if is_taken {
            continue;
        }
        let Some(emulator) = await_emulator(folder, &client, ended)? else { continue };
        is_taken = true;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ = copy(&client, &emulator, ended);
                let _ = rustix::net::shutdown(&emulator, Shutdown::Write);
            });
            // The last that it says, how the program ended, is for the debugger too.
            let _ = drain(&emulator, &client, ended);
            let _ = rustix::net::shutdown(&client, Shutdown::Both);
        });
    }
    Ok(())
}

/// The emulator, once it listens; `None` where `client` or the container is gone before.
fn await_emulator(folder: &OwnedFd, client: &OwnedFd, ended: &Event) -> io::Result<Option<OwnedFd>> {
    loop {
        match connect(folder) {
            Ok(emulator) => return Ok(Some(emulator)),
            // It has not begun, or is just about to listen.
            Err(Errno::NOENT | Errno::CONNREFUSED) => {}
            Err(err) => return Err(err.into()),
        }
        let mut fds = [PollFd::new(client, PollFlags::RDHUP)];
        rustix::event::poll(&mut fds, Some(&Timespec::default()))?;
        if !fds[0].revents().is_empty() || ended.comes_within(LOOK)? {
            return Ok(None);
        }
    }
}

/// The container can put anything in that folder, so no link is followed.
fn connect(folder: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, SOCKET, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::Socket {
        return Err(Errno::NOTSOCK);
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // A short name, wherever the run's folder is.
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}
