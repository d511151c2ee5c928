//! The way `trace`: a tracer sends foreign programs to their emulators, where the kernel has no handlers to do it.
//!
//! A seccomp filter ([`filter`]) stops `execve` and `execveat`, and nothing else, in every process of the
//! container. The outer process, which is the tracer ([`tracer`]), looks at the file as the kernel would
//! ([`view`]), follows `#!` lines ([`script`]), and judges ([`verdict`], [`decision`]):
//!
//! - What is no guest's program, and whatever the kernel would refuse, goes to the kernel as it is, so that the
//!   kernel's own errors are what the caller gets.
//! - A guest's program is replaced by its emulator: one string, its path, is written below the caller's stack
//!   pointer, and one register is made to point there. When the emulator has been loaded, and before it runs, the
//!   words of the emulation are put before the arguments on its new stack ([`stack`]). Nothing of the argument
//!   list is copied or even read before, so it may be as long as the kernel allows.
//!
//! What is looked at may change before the kernel looks: other threads can write to the path, others can rename
//! the file. That is no matter of security, for the tracer grants nothing that the container could not do by
//! itself; it must only neither panic nor hang, whatever it meets.
//!
//! By [`Means::Listening`] the kernel asks the tracer ([`listener`]) while the caller waits. Only who is to be changed is traced:
//! seized, interrupted, so that it makes its call again, changed where that begins, and let go when the emulator is loaded. The
//! changed call bears a ticket that the filter lets pass. Where nothing is executed this costs nothing at all, and a debugger
//! inside the container has all processes but those that execute a foreign program under it, whose call fails with `EPERM`.
//! A signal that comes after a caller has begun to wait, and before the kernel's question has been read, whose handler is not to have
//! calls made again (no `SA_RESTART`), has the call fail with `EINTR`: the kernel leaves no way around that, and the time is short.
//!
//! By [`Means::Following`] all processes are traced from their beginning to their end, each of which is a stop, as is each signal.

mod call;
mod children;
mod credentials;
mod decision;
mod filter;
mod listener;
mod memory;
mod ptrace;
mod registers;
mod script;
mod stack;
mod tracer;
mod verdict;
mod view;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

pub(super) use filter::install;
pub(super) use tracer::Traced;

use super::link::Link;
use super::plan::Handler;

/// The word that the listener goes to the tracer with.
const LISTENER: u8 = b'L';

/// How a tracer learns of what is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// The kernel asks it, and waits for the answer.
    Listening,
    /// Every process stops for it.
    Following,
}

impl Means {
    /// The better one of those that this kernel has: to listen takes Linux 5.5, where a call that was asked about can go on.
    pub(super) fn of_kernel() -> Self {
        let uname = rustix::system::uname();
        if has_answers(&uname.release().to_string_lossy()) { Self::Listening } else { Self::Following }
    }

    /// Makes sure that `first`, a child of this process, can be traced; by [`Self::Following`] it is from then on.
    ///
    /// # Errors
    /// Those of the system: `EPERM` where another traces it already.
    pub(super) fn begin(self, first: Pid) -> Result<(), Errno> {
        match self {
            Self::Listening => ptrace::try_out(first),
            Self::Following => ptrace::seize(first),
        }
    }
}

fn has_answers(release: &str) -> bool {
    let mut numbers = release.split(|char: char| !char.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return false };
    (major, minor) >= (5, 5)
}

/// Has all that this process and those that come of it execute be asked about, and gives the tracer, at the other end of `line`, what it
/// is asked through.
///
/// # Errors
/// Those of the system; see [`install`].
pub(super) fn hand_over(means: Means, line: &OwnedFd) -> Result<(), Errno> {
    let Some(listener) = install(means)? else { return Ok(()) };
    let failed = |err: io::Error| Errno::from_io_error(&err).unwrap_or(Errno::IO);
    let line = Link::from(line.try_clone().map_err(failed)?);
    line.say(LISTENER, &[listener.as_fd()]).map_err(failed)
}

/// Where the container has its emulators on this way: a folder of its own `/dev`.
pub(super) const FOLDER: &str = "/dev/.polyarch";

/// Where the emulators are, for those that are traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The folder, in the root that the first of them has.
    pub(super) folder: String,
    /// The path of that root, for those that have another.
    pub(super) root: String,
}

impl Place {
    /// In a container: its first process has the container's root.
    pub(super) fn of_container() -> Self {
        Self { folder: FOLDER.into(), root: "/proc/1/root".into() }
    }
}

/// The file of a handler's emulator in [`FOLDER`].
pub(super) fn file_name(handler: &Handler) -> String {
    handler.guest.clone()
}

/// The folder beside it with links that lead to it; the kernel calls a process by the name of what it executed.
pub(super) fn names_folder(handler: &Handler) -> String {
    format!("{}.as", handler.guest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_can_be_listened_to() {
        for (release, has) in [
            ("6.1.0-18-amd64", true),
            ("5.15.0-91-generic", true),
            ("5.5", true),
            ("5.14.0-362.el9.x86_64", true),
            ("5.4.0-150-generic", false),
            ("4.18.0-513.el8.x86_64", false),
            ("2.6.78", false),
            ("what", false),
            ("", false),
        ] {
            assert_eq!(has_answers(release), has, "{release}");
        }
    }
}
