//! Being asked by the kernel (seccomp_unotify(2)): the calls that the filter stops wait, and what is answered here becomes of them.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use super::call::{Call, Host};
use super::registers::ARGUMENTS;

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`: who asks and who answers take turns on one CPU. Linux has it from 6.6 on.
const TAKE_TURNS: u64 = 1;

/// Where the kernel asks.
#[derive(Debug)]
pub(super) struct Listener(OwnedFd);

/// A thread that waits for an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    id: u64,
    pub(super) pid: Pid,
    pub(super) call: &'static Call,
    pub(super) arguments: [u64; ARGUMENTS],
}

impl Listener {
    pub(super) fn new(fd: OwnedFd) -> Self {
        #[expect(unsafe_code, reason = "there is no safe interface to seccomp's listeners")]
        // SAFETY: the flags themselves are the argument. Where the kernel does not know them, all is slower and else the same.
        unsafe {
            libc::ioctl(fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, TAKE_TURNS);
        }
        Self(fd)
    }

    /// The next question; none where who asked has been interrupted meanwhile.
    pub(super) fn question(&self, host: &Host) -> Result<Option<Question>, Errno> {
        let mut asked = MaybeUninit::<libc::seccomp_notif>::zeroed();
        #[expect(unsafe_code, reason = "there is no safe interface to seccomp's listeners")]
        // SAFETY: the kernel writes one such record, which is made of numbers, to a place of its size, and wants it zeroed before.
        let asked = unsafe {
            if libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, asked.as_mut_ptr()) < 0 {
                return match last() {
                    Errno::NOENT | Errno::INTR => Ok(None),
                    errno => Err(errno),
                };
            }
            asked.assume_init()
        };
        let (arch, number) = (asked.data.arch, asked.data.nr.cast_unsigned());
        let call = host.calls.iter().find(|call| (call.arch, call.number) == (arch, number));
        let pid = Pid::from_raw(asked.pid.cast_signed());
        if let (Some(call), Some(pid)) = (call, pid) {
            // A program of 64 bits can make a call of 32, and then the kernel shows the registers whole.
            let arguments = asked.data.args.map(|value| call.shape.counted(value));
            return Ok(Some(Question { id: asked.id, pid, call, arguments }));
        }
        // The filter asks about nothing else; and whoever asks is in the namespace of this process or beneath it.
        self.answer(asked.id, Answer::GoOn);
        Ok(None)
    }

    /// Whether the thread still waits. If so, its number was no other's when this was called.
    pub(super) fn is_open(&self, question: &Question) -> bool {
        let mut id = question.id;
        #[expect(unsafe_code, reason = "there is no safe interface to seccomp's listeners")]
        // SAFETY: the kernel reads one number of that size.
        let done =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw mut id) };
        done == 0
    }

    /// The kernel goes on with the call, as it is now.
    pub(super) fn leave(&self, question: &Question) {
        self.answer(question.id, Answer::GoOn);
    }

    /// The call returns `result`.
    pub(super) fn settle(&self, question: &Question, result: i32) {
        self.answer(question.id, Answer::Result(result));
    }

    /// That who asked may be gone, or interrupted, is no matter.
    fn answer(&self, id: u64, answer: Answer) {
        let (error, flags) = match answer {
            Answer::GoOn => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Answer::Result(result) => (result, 0),
        };
        let mut answer = libc::seccomp_notif_resp { id, val: 0, error, flags };
        #[expect(unsafe_code, reason = "there is no safe interface to seccomp's listeners")]
        // SAFETY: the kernel reads one such record.
        unsafe {
            libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    GoOn,
    Result(i32),
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
