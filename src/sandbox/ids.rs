//! Which ids a user namespace has, the caller being root in it: all of the caller's where the caller is root, those of `/etc/subuid` and `/etc/subgid`
//! through newuidmap and newgidmap where they are granted, else the caller's own alone.
//!
//! Formats: user_namespaces(7), subuid(5), newuidmap(1).

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Pid;

/// How much of `/etc/passwd`, `/etc/subuid` and `/etc/subgid` is read at most, in bytes.
const FILE_MOST: u64 = 1 << 20;
/// How many lines a map may have (Linux 4.15; five before).
const LINES_MOST: usize = 340;
/// Where the tools are, the distribution's own first.
const TOOLS: &[&str] = &["/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"];

/// One line of a map: `count` ids from `inside` on are those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First id in the namespace.
    pub inside: u32,
    /// First id outside of it.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The ids of a user namespace that is yet to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    users: Map,
    groups: Map,
}

/// The map of users or of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Map {
    /// What is wanted.
    extents: Vec<Extent>,
    /// What the kernel grants everyone.
    single: Extent,
    /// The program that writes `extents`; `None` where this process may.
    tool: Option<PathBuf>,
}

/// What can be had is less than what was wanted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage(pub String);

impl Ids {
    /// The ids that this process can give to a namespace, and why they are not many.
    #[must_use]
    pub fn of_caller() -> (Self, Option<Shortage>) {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if uid == 0 {
            let all = |file, id| {
                let extents = identity(&read(Path::new(file)));
                Map { extents, single: single(id), tool: None }
            };
            let (users, groups) = (all("/proc/self/uid_map", uid), all("/proc/self/gid_map", gid));
            return (Self { users, groups }, None);
        }
        let name = user_name(&read(Path::new("/etc/passwd")), uid);
        let map = |file: &str, tool: &str, id: u32| {
            let ranges = subordinate(&read(Path::new(file)), name.as_deref(), uid);
            let single = single(id);
            if ranges.is_empty() {
                let who = name.clone().unwrap_or_else(|| uid.to_string());
                return Err((single, format!("`{file}` grants no ids to `{who}`")));
            }
            let found = TOOLS.iter().map(|folder| Path::new(folder).join(tool)).find(|path| path.is_file());
            let Some(found) = found else {
                return Err((single, format!("`{tool}` is not installed (Debian's package is `uidmap`)")));
            };
            Ok(Map { extents: extents(id, &ranges), single, tool: Some(found) })
        };
        let mut shortage = None;
        let mut settle = |map: Result<Map, (Extent, String)>| {
            map.unwrap_or_else(|(single, reason)| {
                shortage.get_or_insert(Shortage(reason));
                Map { extents: vec![single], single, tool: None }
            })
        };
        let users = settle(map("/etc/subuid", "newuidmap", uid));
        let groups = settle(map("/etc/subgid", "newgidmap", gid));
        (Self { users, groups }, shortage)
    }

    /// The caller's own ids alone, as root's: what everyone is granted.
    #[must_use]
    pub fn single(&self) -> Self {
        let own = |map: &Map| Map { extents: vec![map.single], single: map.single, tool: None };
        Self { users: own(&self.users), groups: own(&self.groups) }
    }

    /// Whether there are no other users, or no other groups, than root.
    #[must_use]
    pub fn is_single(&self) -> bool {
        let one = |map: &Map| map.extents.iter().map(|extent| u64::from(extent.count)).sum::<u64>() == 1;
        one(&self.users) || one(&self.groups)
    }

    /// The maps as text: files that were made with other ids belong to others.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}", lines(&self.users.extents), lines(&self.groups.extents))
    }

    /// Gives them to the user namespace that the process `pid` has just made, from outside of it. Where not all can be had,
    /// it gets the caller's own alone.
    ///
    /// # Errors
    /// A [`std::io::Error`] where the kernel grants not even that.
    pub fn give(&self, pid: Pid) -> std::io::Result<Option<Shortage>> {
        let folder = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let mut shortage = None;
        for (map, file) in [(&self.groups, "gid_map"), (&self.users, "uid_map")] {
            let given = match &map.tool {
                Some(tool) => run(tool, pid, &map.extents),
                None if map.extents == [map.single] => Err(None),
                None => {
                    fs::write(folder.join(file), lines(&map.extents)).map_err(|err| Some(err.to_string()))
                }
            };
            let Err(reason) = given else { continue };
            shortage = shortage.or(reason.map(Shortage));
            if file == "gid_map" {
                // Who may not set groups at will may not drop one that a file denies either.
                match fs::write(folder.join("setgroups"), "deny") {
                    Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(err),
                    _ => {}
                }
            }
            fs::write(folder.join(file), lines(&[map.single]))?;
        }
        Ok(shortage)
    }
}

/// The one line that everyone may write: their own id, as root's.
fn single(id: u32) -> Extent {
    Extent { inside: 0, outside: id, count: 1 }
}

/// The caller's own id as root's, and behind it the subordinate ones in their order.
fn extents(id: u32, ranges: &[Range]) -> Vec<Extent> {
    let mut extents = vec![single(id)];
    let mut next = 1;
    for range in ranges.iter().take(LINES_MOST - 1) {
        let count = range.count.min(u32::MAX - next);
        if count > 0 {
            extents.push(Extent { inside: next, outside: range.start, count });
            next += count;
        }
    }
    extents
}

/// Ids that a user may hand to namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub start: u32,
    /// How many; never 0.
    pub count: u32,
}

/// What a file like `/etc/subuid` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// What it grants to one user, in its order.
    pub ranges: Vec<Range>,
    /// The first id behind all ranges in it: where another one may begin.
    pub free: u32,
}

impl Grants {
    /// Reads the file at `path` for the user called `name` or with number `uid`. A file that is not there grants nothing.
    #[must_use]
    pub fn read(path: &Path, name: Option<&str>, uid: u32) -> Self {
        Self::of(&read(path), name, uid)
    }

    fn of(text: &[u8], name: Option<&str>, uid: u32) -> Self {
        let ends = parsed(&String::from_utf8_lossy(text)).map(|(_, range)| range.start + range.count).max();
        Self { ranges: subordinate(text, name, uid), free: ends.unwrap_or_default().max(FREE) }
    }
}

/// Where distributions begin to grant ids.
const FREE: u32 = 100_000;

/// The users and ranges of a file like `/etc/subuid`. Lines that are not right do not count.
fn parsed(text: &str) -> impl Iterator<Item = (&str, Range)> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [user, start, count] = fields[..] else { return None };
        let (start, count) = (start.parse::<u32>().ok()?, count.parse::<u32>().ok()?);
        // The last id is the kernel's word for none.
        start.checked_add(count).filter(|_| count > 0)?;
        Some((user, Range { start, count }))
    })
}

/// What a file like `/etc/subuid` grants to the user called `name` or with number `uid`. Ranges that overlap with one before do
/// not count.
fn subordinate(text: &[u8], name: Option<&str>, uid: u32) -> Vec<Range> {
    let uid = uid.to_string();
    let mut ranges: Vec<Range> = Vec::new();
    for (user, new) in parsed(&String::from_utf8_lossy(text)) {
        if Some(user) != name && user != uid {
            continue;
        }
        let overlaps =
            |range: &Range| new.start < range.start + range.count && range.start < new.start + new.count;
        if !ranges.iter().any(overlaps) {
            ranges.push(new);
        }
    }
    ranges
}

/// Each id that a map of this process holds, as itself.
fn identity(map: &[u8]) -> Vec<Extent> {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (inside, _, count) = (fields.next()?.ok()?, fields.next()?, fields.next()?.ok()?);
        Some(Extent { inside, outside: inside, count })
    };
    String::from_utf8_lossy(map).lines().filter_map(line).collect()
}

/// The name of the user with number `uid`, by a text as in passwd(5).
fn user_name(passwd: &[u8], uid: u32) -> Option<String> {
    let uid = uid.to_string();
    String::from_utf8_lossy(passwd).lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

/// The text of a map's file.
fn lines(extents: &[Extent]) -> String {
    let line = |extent: &Extent| format!("{} {} {}\n", extent.inside, extent.outside, extent.count);
    extents.iter().map(line).collect::<Vec<_>>().concat()
}

/// Has newuidmap or newgidmap write the map. They have rights of their own, and check what they are asked for.
fn run(tool: &Path, pid: Pid, extents: &[Extent]) -> Result<(), Option<String>> {
    let mut command = Command::new(tool);
    command.arg(pid.as_raw_nonzero().to_string()).env_clear().stdin(Stdio::null());
    for extent in extents {
        for number in [extent.inside, extent.outside, extent.count] {
            command.arg(number.to_string());
        }
    }
    let output = command.output().map_err(|err| Some(format!("`{}`: {err}", tool.display())))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let first = text.lines().next().unwrap_or("it failed without a word");
    Err(Some(format!("`{}`: {first}", tool.display())))
}

/// A file's beginning; nothing where it cannot be read.
fn read(path: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    let _ = File::open(path).and_then(|file| file.take(FILE_MOST).read_to_end(&mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(inside: u32, outside: u32, count: u32) -> Extent {
        Extent { inside, outside, count }
    }

    #[test]
    fn ranges_are_granted_by_name_and_by_number() {
        let text =
            b"anna:100000:65536\n# comment\nbert:1:2\n1000:200000:10\nanna:x:1\nanna:1\nanna:4294967295:9\n\
            anna:165535:2\nanna:300000:0\n\xff:1:1\n";
        let range = |start, count| Range { start, count };
        assert_eq!(subordinate(text, Some("anna"), 1000), [range(100_000, 65_536), range(200_000, 10)]);
        assert_eq!(subordinate(text, None, 1000), [range(200_000, 10)]);
        assert_eq!(subordinate(text, Some("carl"), 7), []);
    }

    #[test]
    fn new_ranges_begin_behind_all() {
        let table = b"a:100000:65536\n1000:200000:1000\nb:300000:65536\nb:400000:70000\nbroken\nx:1\n";
        let grants = Grants::of(table, Some("b"), 5);
        assert_eq!(grants.ranges.iter().map(|range| range.count).collect::<Vec<_>>(), [65_536, 70_000]);
        assert_eq!(grants.free, 470_000);
        assert_eq!(Grants::of(b"", None, 5), Grants { ranges: Vec::new(), free: 100_000 });
    }

    #[test]
    fn one_user_is_single_however_many_groups() {
        let map = |extents: Vec<Extent>| Map { extents, single: extent(0, 7, 1), tool: None };
        let many = || map(vec![extent(0, 7, 1), extent(1, 100, 10)]);
        let ids = Ids { users: many(), groups: many() };
        assert!(!ids.is_single());
        assert!(Ids { users: map(vec![extent(0, 7, 1)]), groups: many() }.is_single());
        assert!(ids.single().is_single());
        assert_ne!(ids.text(), ids.single().text());
    }

    #[test]
    fn the_callers_id_is_roots() {
        let ranges = [Range { start: 100, count: 1500 }, Range { start: 9000, count: 10 }];
        assert_eq!(
            extents(1000, &ranges),
            [extent(0, 1000, 1), extent(1, 100, 1500), extent(1501, 9000, 10)]
        );
        let all = [Range { start: 0, count: u32::MAX }, Range { start: 0, count: 1 }];
        assert_eq!(extents(5, &all), [extent(0, 5, 1), extent(1, 0, u32::MAX - 1)]);
    }

    #[test]
    fn roots_ids_are_all_that_it_has() {
        assert_eq!(identity(b"         0          0 4294967295\n"), [extent(0, 0, u32::MAX)]);
        assert_eq!(identity(b"0 1000 1\n1 100000 65536\nx y z\n"), [extent(0, 0, 1), extent(1, 1, 65_536)]);
        assert_eq!(identity(b""), []);
    }

    #[test]
    fn names_are_those_of_passwd() {
        let passwd = b"root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\nbroken\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("anna"));
        assert_eq!(user_name(passwd, 1), None);
    }
}
