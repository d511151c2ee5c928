//! A process that makes a user namespace has its ids given from outside.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

use super::handoff::Handoff;
use super::namespaces::unshare;
use super::plan::{Failure, Message, Step};
use super::{Ids, Shortage};

/// Inside: makes the namespace and waits until it has its ids. This process is root in it then.
pub(super) fn enter(handoff: &mut Handoff) -> Result<(), Failure> {
    unshare(UnshareFlags::NEWUSER).map_err(Step::UserNamespace.on("user"))?;
    handoff.tell(&Message::Unshared);
    wait(&handoff.lifeline).map_err(Step::Start.io("the user namespace"))
}

fn wait(lifeline: &OwnedFd) -> io::Result<()> {
    File::from(lifeline.try_clone()?).read_exact(&mut [0])
}

/// Outside: gives the process `pid` its ids and has it go on, through the other end of its lifeline. Gives why it has fewer than
/// all of `ids`, where that is so.
pub(super) fn give(ids: &Ids, pid: Pid, mut lifeline: impl io::Write) -> io::Result<Option<Shortage>> {
    let shortage = ids.give(pid)?;
    // Where it cannot be told it has ended, and that shows by itself.
    let _ = lifeline.write_all(b"+");
    Ok(shortage)
}
