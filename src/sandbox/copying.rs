//! Copying between what is the caller's and the program.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// How much is copied at a time.
const PIECE: usize = 1 << 16;

/// Something that happens once, which threads can wait for.
#[derive(Debug)]
pub(super) struct Event(OwnedFd);

impl Event {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// It has happened, for all who wait and will wait.
    pub(super) fn happen(&self) {
        // It can only fail when it has happened very often.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Whether it has happened, or does so within this time.
    pub(super) fn comes_within(&self, time: Timespec) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&time)) {
            Ok(count) => Ok(count > 0),
            Err(Errno::INTR) => Ok(false),
            Err(err) => Err(err.into()),
        }
    }
}

/// Waits until `fd` can be read (or written) or has ended; `false` where `event` comes first.
pub(super) fn wait(fd: BorrowedFd<'_>, what: PollFlags, event: &Event) -> io::Result<bool> {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(fd, what), PollFd::new(&event.0, PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) if !fds[1].revents().is_empty() => return Ok(false),
            Ok(_) if !fds[0].revents().is_empty() => return Ok(true),
            Ok(_) | Err(Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
}

/// Writes all of `bytes`; waits where `to` does not take them at once, until `event`. Gives whether all were written.
pub(super) fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8], event: &Event) -> io::Result<bool> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                if !wait(to, PollFlags::OUT, event)? {
                    return Ok(false);
                }
            }
            Err(err) => return Err(err.into()),
        }
    }
    Ok(true)
}

/// Copies what comes from `from` to `to`, until it ends, nobody takes it any more, or `event` happens.
pub(super) fn copy(from: impl AsFd, to: impl AsFd, event: &Event) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    while wait(from.as_fd(), PollFlags::IN, event)? {
        match rustix::io::read(&from, &mut *piece) {
            Ok(0) => break,
            Ok(count) => {
                if !write_all(to.as_fd(), piece.get(..count).unwrap_or_default(), event)? {
                    break;
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

/// Copies what a terminal's programs write, until the terminal has ended, or `event` has happened and nothing is left.
pub(super) fn drain(master: impl AsFd, to: impl AsFd, event: &Event) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut last = false;
    // Nobody else ends the writing, so it waits for no event.
    let never = Event::new()?;
    loop {
        match rustix::io::read(&master, &mut *piece) {
            // The kernel's word for a terminal whose last program has let go of it.
            Ok(0) | Err(Errno::IO) => return Ok(()),
            Ok(count) => {
                write_all(to.as_fd(), piece.get(..count).unwrap_or_default(), &never)?;
            }
            Err(Errno::AGAIN) if last => return Ok(()),
            Err(Errno::AGAIN) => last = !wait(master.as_fd(), PollFlags::IN, event)?,
            Err(Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
}
