//! Hearing of children, and of those that are traced, among other things to wait for.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;

/// Can be read when there may be news of one of them.
#[derive(Debug)]
pub(super) struct Children(OwnedFd);

impl Children {
    /// From here on this thread gets `SIGCHLD` in no other way.
    pub(super) fn watch() -> Result<Self, Errno> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        #[expect(unsafe_code, reason = "there is no safe interface to signals by descriptor")]
        // SAFETY: the set is filled before it is read, and `signalfd` returns a new descriptor, which nothing else owns.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
            libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
            }
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// Takes the news; what it is, `wait` tells.
    pub(super) fn heard(&self) {
        // One at a time is pending at most.
        let mut news = [0; size_of::<libc::signalfd_siginfo>()];
        let _ = rustix::io::read(&self.0, &mut news);
    }
}

impl AsFd for Children {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
