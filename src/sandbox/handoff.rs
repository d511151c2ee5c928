//! How one process of the chain hands the plan and the way back to the next, which is this program started anew.
//!
//! Starting anew instead of forking keeps this right in programs with threads. The plan is a file in
//! memory and the way back a pipe, both inherited; only their numbers are on the command line, where
//! every user could read them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, PipeReader, PipeWriter, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::process::Command;

use rustix::io::FdFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::link::Link;
use super::plan::Message;

/// First argument of the process that makes the namespaces.
pub(super) const OUTER: &str = "\u{1}sandbox-outer";
/// First argument of the process that becomes the container's first.
pub(super) const INNER: &str = "\u{1}sandbox-inner";

/// What a process of the chain is given.
#[derive(Debug)]
pub(super) struct Handoff {
    plan: File,
    /// Its way back to the supervisor.
    pub(super) messages: Option<PipeWriter>,
    /// Closed at the other end when the process that gave it has died.
    pub(super) lifeline: OwnedFd,
    /// A line to the supervisor, where they have more to say to each other.
    pub(super) link: Option<Link>,
}

impl Handoff {
    /// Makes the file in memory and the way back for `plan`.
    pub(super) fn new(plan: &impl Serialize, lifeline: OwnedFd) -> io::Result<(Self, PipeReader)> {
        let mut file =
            File::from(rustix::fs::memfd_create("polyarch-plan", rustix::fs::MemfdFlags::CLOEXEC)?);
        // In one write: the writer of JSON makes one of every word.
        file.write_all(&serde_json::to_vec(plan)?)?;
        let (reader, writer) = io::pipe()?;
        Ok((Self { plan: file, messages: Some(writer), lifeline, link: None }, reader))
    }

    /// Takes what the process before this one gave, by the numbers in `args`.
    pub(super) fn take(args: &[OsString]) -> Option<Self> {
        let [plan, messages, lifeline, link @ ..] = args else { return None };
        let link = match link {
            [] => None,
            [link] => Some(adopt(link)?.into()),
            _ => return None,
        };
        Some(Self {
            plan: adopt(plan)?.into(),
            messages: Some(adopt(messages)?.into()),
            lifeline: adopt(lifeline)?,
            link,
        })
    }

    /// The plan.
    pub(super) fn plan<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        self.plan.rewind()?;
        let mut text = Vec::new();
        self.plan.read_to_end(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// The same handoff with another lifeline.
    pub(super) fn pass_on(&self, lifeline: OwnedFd) -> io::Result<Self> {
        let messages = self.messages.as_ref().map(PipeWriter::try_clone).transpose()?;
        let link = self.link.as_ref().map(|link| link.as_fd().try_clone_to_owned().map(Link::from));
        Ok(Self { plan: self.plan.try_clone()?, messages, lifeline, link: link.transpose()? })
    }

    /// Has `command` inherit it all, and puts the numbers on its command line.
    pub(super) fn give(&self, command: &mut Command) -> io::Result<()> {
        let messages = self.messages.as_ref().map_or_else(|| self.plan.as_fd(), AsFd::as_fd);
        let link = self.link.as_ref().map(AsFd::as_fd);
        for fd in [self.plan.as_fd(), messages, self.lifeline.as_fd()].into_iter().chain(link) {
            rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
            command.arg(fd.as_raw_fd().to_string());
        }
        Ok(())
    }

    /// Tells the supervisor. That it may be gone is no matter: then this process is about to end too.
    pub(super) fn tell(&mut self, message: &Message) {
        if let Some(messages) = &mut self.messages
            && let Ok(mut line) = serde_json::to_vec(message)
        {
            line.push(b'\n');
            let _ = messages.write_all(&line);
        }
    }
}

/// The messages that come from inside, until every process that could send one has begun its program or ended.
pub(super) fn messages(reader: PipeReader) -> impl Iterator<Item = Message> {
    BufReader::new(reader).lines().map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok())
}

/// The descriptor of that number, which the process before this one left open for it.
fn adopt(number: &OsStr) -> Option<OwnedFd> {
    let number: RawFd = number.to_str()?.parse().ok().filter(|number| *number > 2)?;
    // A number that nobody left open is no descriptor of ours.
    std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).ok()?;
    #[expect(
        unsafe_code,
        reason = "the standard library has no safe way to take over an inherited descriptor"
    )]
    // SAFETY: this process has just begun, has opened nothing itself under a number that it was given, and
    // takes each number once, so nothing else owns the descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC).ok()?;
    Some(fd)
}
