//! Who the container's program is: a user and groups by the container's own `/etc/passwd` and `/etc/group`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::super::plan::{Failure, Step};
use super::super::volumes::open_in;

/// How much of `/etc/passwd` and `/etc/group` is read at most, in bytes.
const FILE_MOST: u64 = 1 << 20;
/// How many groups the kernel lets a process have (`NGROUPS_MAX`).
const GROUPS_MOST: usize = 65_536;
/// The kernel's word for no id.
const NOBODY: u32 = u32::MAX;

/// Whom the caller or the image wants: each a name or a number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// `USER[:GROUP]`; root where it is empty.
    pub name: String,
    /// Groups in addition.
    pub groups: Vec<String>,
}

/// Whom that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Identity {
    pub(in super::super) uid: u32,
    pub(in super::super) gid: u32,
    /// All groups, the user's own first.
    pub(in super::super) groups: Vec<u32>,
    pub(in super::super) home: OsString,
}

/// A line of `/etc/passwd`.
#[derive(Debug)]
struct Account<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

/// A line of `/etc/group`.
#[derive(Debug)]
struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

impl User {
    /// Whom `root`'s files name so, as far as this process's user namespace has the ids.
    pub(in super::super) fn resolve(&self, root: impl AsFd) -> Result<Identity, Failure> {
        let identity = self.look_up(&read(&root, "/etc/passwd"), &read(&root, "/etc/group"))?;
        let (users, groups) = (mapped("/proc/self/uid_map"), mapped("/proc/self/gid_map"));
        if !users(identity.uid) || !groups(identity.gid) {
            return Err(Step::UserId.on(self.shown())(Errno::INVAL));
        }
        // Those that the image gives along the way may be missing; those that were asked for may not.
        let asked = identity.groups.len().saturating_sub(self.groups.len());
        if let Some(at) = identity.groups.iter().skip(asked).position(|gid| !groups(*gid)) {
            let name = self.groups.get(at).map_or("", String::as_str);
            return Err(Step::UserId.on(name)(Errno::INVAL));
        }
        let all = identity.groups.into_iter().filter(|gid| groups(*gid)).collect();
        Ok(Identity { groups: all, ..identity })
    }

    fn look_up(&self, passwd: &[u8], group: &[u8]) -> Result<Identity, Failure> {
        let (user, group_name) = self.name.split_once(':').unwrap_or((&self.name, ""));
        let wanted = if user.is_empty() { "0" } else { user };
        let number = id(wanted.as_bytes());
        let mut accounts = passwd.split(|byte| *byte == b'\n').filter_map(account);
        let found = accounts.find(|account| account.name == wanted.as_bytes() || Some(account.uid) == number);
        let (uid, mut gid) = match (&found, number) {
            (Some(account), _) => (account.uid, account.gid),
            (None, Some(uid)) => (uid, 0),
            (None, None) => return Err(Step::UserName.on(user)(Errno::NOENT)),
        };
        let all: Vec<Group<'_>> = group.split(|byte| *byte == b'\n').filter_map(group_line).collect();
        let gid_of = |name: &str| {
            let number = id(name.as_bytes());
            let found = all.iter().find(|group| group.name == name.as_bytes() || Some(group.gid) == number);
            found.map(|group| group.gid).or(number).ok_or_else(|| Step::GroupName.on(name)(Errno::NOENT))
        };
        let mut groups = Vec::new();
        if !group_name.is_empty() {
            gid = gid_of(group_name)?;
        } else if let Some(account) = &found {
            let is_member = |group: &&Group<'_>| {
                group.members.split(|byte| *byte == b',').any(|name| name == account.name)
            };
            groups.extend(all.iter().filter(is_member).map(|group| group.gid));
        }
        groups.retain(|group| *group != gid);
        groups.insert(0, gid);
        groups.truncate(GROUPS_MOST.saturating_sub(self.groups.len()));
        for name in &self.groups {
            groups.push(gid_of(name)?);
        }
        let home = found.map(|account| account.home).filter(|home| home.starts_with(b"/"));
        let default = if uid == 0 { "/root" } else { "/" };
        let home = home.map_or_else(|| default.into(), |home| OsStr::from_bytes(home).to_owned());
        Ok(Identity { uid, gid, groups, home })
    }

    fn shown(&self) -> &str {
        if self.name.is_empty() { "0" } else { &self.name }
    }
}

/// The beginning of a regular file in `root`; nothing where there is none. No link in it leads out.
fn read(root: impl AsFd, path: &str) -> Vec<u8> {
    let mut text = Vec::new();
    // A fifo would be waited for.
    if let Ok(fd) = open_in(root, Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK)
        && rustix::fs::fstat(&fd).is_ok_and(|there| FileType::from_raw_mode(there.st_mode).is_file())
    {
        let _ = File::from(fd).take(FILE_MOST).read_to_end(&mut text);
    }
    text
}

fn id(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|id| *id != NOBODY)
}

fn account(line: &[u8]) -> Option<Account<'_>> {
    let mut fields = line.split(|byte| *byte == b':');
    let (name, _, uid, gid) = (fields.next()?, fields.next()?, id(fields.next()?)?, id(fields.next()?)?);
    let home = fields.nth(1).unwrap_or_default();
    (!name.is_empty()).then_some(Account { name, uid, gid, home })
}

fn group_line(line: &[u8]) -> Option<Group<'_>> {
    let mut fields = line.split(|byte| *byte == b':');
    let (name, _, gid) = (fields.next()?, fields.next()?, id(fields.next()?)?);
    (!name.is_empty()).then_some(Group { name, gid, members: fields.next().unwrap_or_default() })
}

/// Whether an id is one of this process's user namespace.
fn mapped(file: &str) -> impl Fn(u32) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    let extents: Vec<(u32, u32)> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            Some((fields.next()?.parse().ok()?, fields.nth(1)?.parse().ok()?))
        })
        .collect();
    move |id| extents.iter().any(|(first, count)| id >= *first && id - first < *count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\n\nbroken\nanna:x:1000:100:Anna:/home/anna:/bin/sh\n\
        bert:x:1001:1001::relative:/bin/sh\n1000:x:7:7::/seven:/bin/sh\nlast:x:9:9:::";
    const GROUP: &[u8] = b"root:x:0:\nusers:x:100:\nwheel:x:10:root,anna\naudio:x:29:anna\nbad:x:y:anna\n";

    fn find(name: &str, groups: &[&str]) -> Result<(u32, u32, Vec<u32>, String), Step> {
        let groups = groups.iter().map(ToString::to_string).collect();
        let found =
            User { name: name.into(), groups }.look_up(PASSWD, GROUP).map_err(|failure| failure.step)?;
        Ok((found.uid, found.gid, found.groups, found.home.into_string().unwrap()))
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_by_number() {
        let is = |uid, gid, groups: &[u32], home: &str| Ok((uid, gid, groups.to_vec(), home.to_owned()));
        assert_eq!(find("", &[]), is(0, 0, &[0, 10], "/root"));
        assert_eq!(find("anna", &[]), is(1000, 100, &[100, 10, 29], "/home/anna"));
        // The first line that it fits, be it by number or by name.
        assert_eq!(find("1000", &[]), is(1000, 100, &[100, 10, 29], "/home/anna"));
        assert_eq!(find("anna:audio", &[]), is(1000, 29, &[29], "/home/anna"));
        assert_eq!(find("anna:5", &["wheel", "77"]), is(1000, 5, &[5, 10, 77], "/home/anna"));
        assert_eq!(find(":users", &[]), is(0, 100, &[100], "/root"));
        assert_eq!(find("5000", &[]), is(5000, 0, &[0], "/"));
        assert_eq!(find("bert", &[]), is(1001, 1001, &[1001], "/"));
        assert_eq!(find("last", &[]), is(9, 9, &[9], "/"));
    }

    #[test]
    fn who_is_not_there_is_not_made_up() {
        for name in ["carl", "-1", "4294967295", "99999999999", "broken"] {
            assert_eq!(find(name, &[]), Err(Step::UserName), "{name}");
        }
        for name in ["anna:nobody", "anna:bad", "0:-1"] {
            assert_eq!(find(name, &[]), Err(Step::GroupName), "{name}");
        }
        assert_eq!(find("anna", &["none"]), Err(Step::GroupName));
        assert_eq!(User { name: "5".into(), groups: vec![] }.look_up(b"", b"").unwrap().home, "/");
    }
}
