//! Nothing of a container outlives the process that started it, however that process ends.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Signal;

/// Has the kernel kill this process when its parent dies.
///
/// # Errors
/// `ESRCH` where the parent has died already: the other end of `lifeline` is closed. (The parent's process
/// id does not tell, since it is outside of the process id namespace.)
pub(super) fn hold(lifeline: impl AsFd) -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut fds = [PollFd::new(&lifeline, PollFlags::empty())];
    rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    if fds[0].revents().intersects(PollFlags::HUP) { Err(Errno::SRCH) } else { Ok(()) }
}
