//! Whom files are given to.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{Done, Refused};

/// How much of `/etc/passwd` and `/etc/group` is read at most, in bytes.
const FILE_MOST: u64 = 1 << 20;

/// A user and a group by their numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Owner {
    /// Whom `USER[:GROUP]` names by the files of `root`. Without a group it is the user's own; a number's is of the same number.
    pub(super) fn resolve(root: &OwnedFd, text: &str) -> Result<Self, Refused> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let (uid, own) = match number(user) {
            Some(uid) => (uid, uid),
            None if user.is_empty() => (0, 0),
            None => {
                let line = find(&read(root, "etc/passwd"), user);
                let ids = line.and_then(|line| Some((number(line.get(2)?)?, number(line.get(3)?)?)));
                ids.ok_or_else(|| {
                    Refused::new(format!("there is no user `{user}` in the image's `/etc/passwd`"))
                        .hint("make it by a `RUN` before, or give a number")
                })?
            }
        };
        let gid = match number(group) {
            Some(gid) => gid,
            None if group.is_empty() => own,
            None => {
                let line = find(&read(root, "etc/group"), group);
                line.and_then(|line| number(line.get(2)?)).ok_or_else(|| {
                    Refused::new(format!("there is no group `{group}` in the image's `/etc/group`"))
                        .hint("make it by a `RUN` before, or give a number")
                })?
            }
        };
        Ok(Self { uid, gid })
    }

    /// The same where files can belong to others than root; else root, which is counted.
    pub(super) fn if_kept(self, is_kept: bool, done: &mut Done) -> Self {
        if is_kept || self == Self::default() {
            return self;
        }
        done.owners_lost += 1;
        Self::default()
    }
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number != u32::MAX)
}

/// The fields of the line that begins with `name`.
fn find(text: &str, name: &str) -> Option<Vec<String>> {
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    text.lines().map(fields).find(|fields| fields.first().is_some_and(|first| first == name))
}

/// The beginning of a regular file in `root`; nothing where there is none.
fn read(root: &OwnedFd, path: &str) -> String {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut text = Vec::new();
    if let Ok(fd) = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        let file = File::from(fd);
        if file.metadata().is_ok_and(|there| there.is_file()) {
            let _ = file.take(FILE_MOST).read_to_end(&mut text);
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
