//! What a process may reach: the kernel judges by the caller's ids, so what is looked at for it is looked at with them.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// What counts where a file is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Whether file permissions count little.
    overrides: bool,
}

/// The tracer with the ids of another; itself again when this is dropped.
#[derive(Debug)]
pub(super) struct Assumed<'a> {
    own: &'a Own,
}

/// What the tracer is by itself.
#[derive(Debug)]
pub(super) struct Own {
    credentials: Credentials,
    capabilities: CapabilitySets,
    /// Whether it was another since [`Own::was_another`] was asked.
    was_another: Cell<bool>,
}

/// What the kernel says of a thread, as far as it is of use here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) credentials: Credentials,
    /// The thread's and its process's number in the innermost process id namespace.
    pub(super) inner_thread: u32,
    pub(super) inner_process: u32,
    /// Its process as the tracer sees it.
    pub(super) process: i32,
    /// Who traces it; 0 where nobody does.
    pub(super) tracer: i32,
}

impl Status {
    pub(super) fn of(thread: &Path) -> io::Result<Self> {
        Self::parse(&fs::read_to_string(thread.join("status"))?)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(text: &str) -> Option<Self> {
        let fields = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            Some(line.split_ascii_whitespace())
        };
        let number = |key: &str| -> Option<i32> { fields(key)?.next()?.parse().ok() };
        // The fourth is the one for files.
        let id = |key: &str| -> Option<u32> { fields(key)?.nth(3)?.parse().ok() };
        let (uid, gid) = (id("Uid")?, id("Gid")?);
        let groups = fields("Groups")?.map(str::parse).collect::<Result<_, _>>().ok()?;
        let effective = u64::from_str_radix(fields("CapEff")?.next()?, 16).ok()?;
        let effective = CapabilitySet::from_bits_retain(effective);
        let last = |key: &str| fields(key)?.next_back()?.parse().ok();
        Some(Self {
            credentials: Credentials {
                uid,
                gid,
                groups,
                overrides: effective.contains(CapabilitySet::DAC_OVERRIDE),
            },
            inner_thread: last("NSpid")?,
            inner_process: last("NStgid")?,
            process: number("Tgid")?,
            tracer: number("TracerPid")?,
        })
    }
}

impl Own {
    pub(super) fn read() -> io::Result<Self> {
        let credentials = Status::of(Path::new("/proc/self"))?.credentials;
        let capabilities = rustix::thread::capabilities(None)?;
        Ok(Self { credentials, capabilities, was_another: Cell::new(false) })
    }

    /// Takes on `other`'s ids. Where that cannot be had in full, what is looked at is the poorer for it, and the kernel
    /// has the last word.
    pub(super) fn assume(&self, other: &Credentials) -> Option<Assumed<'_>> {
        if self.credentials == *other {
            return None;
        }
        self.was_another.set(true);
        if self.credentials.groups != other.groups {
            set_groups(&other.groups);
        }
        set_file_ids(other.uid, other.gid);
        if !other.overrides {
            let strong = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
            // Another id has taken more from it already.
            if let Ok(now) = rustix::thread::capabilities(None) {
                let effective = now.effective - strong;
                let _ = rustix::thread::set_capabilities(None, CapabilitySets { effective, ..now });
            }
        }
        Some(Assumed { own: self })
    }

    /// Whether it took on other ids since this was last asked. The kernel then forgets that this process is to die with its parent.
    pub(super) fn was_another(&self) -> bool {
        self.was_another.take()
    }

    /// Takes on the id of a file's owner.
    pub(super) fn assume_owner(&self, uid: u32) -> Option<Assumed<'_>> {
        self.assume(&Credentials { uid, ..self.credentials.clone() })
    }
}

impl Drop for Assumed<'_> {
    fn drop(&mut self) {
        let Credentials { uid, gid, .. } = self.own.credentials;
        set_file_ids(uid, gid);
        let _ = rustix::thread::set_capabilities(None, self.own.capabilities);
        set_groups(&self.own.credentials.groups);
    }
}

fn set_groups(groups: &[u32]) {
    let groups: Vec<Gid> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
    // Not permitted where one id is mapped; but then nobody there has other groups either.
    let _ = rustix::thread::set_thread_groups(&groups);
}

fn set_file_ids(uid: u32, gid: u32) {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    #[expect(unsafe_code, reason = "there is no safe interface to the ids for files")]
    // SAFETY: plain numbers are passed, and only this thread's ids for files change.
    unsafe {
        libc::setfsgid(gid.as_raw());
        libc::setfsuid(uid.as_raw());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read() {
        let text = "Name:\tUid:\t9\nTgid:\t900\nTracerPid:\t7\nUid:\t0\t1\t2\t3\nGid:\t4\t5\t6\t7\nGroups:\t8 9 \nNStgid:\t900\t12\t2\n\
            NSpid:\t901\t13\t3\nCapEff:\t00000000a80425fb\n";
        let status = Status::parse(text).unwrap();
        let credentials = Credentials { uid: 3, gid: 7, groups: vec![8, 9], overrides: true };
        assert_eq!(
            status,
            Status { credentials, inner_thread: 3, inner_process: 2, process: 900, tracer: 7 }
        );
        let plain = Status::parse(&text.replace("a80425fb", "a80425f9").replace("8 9", "")).unwrap();
        assert!(!plain.credentials.overrides && plain.credentials.groups.is_empty());
        assert_eq!(Status::parse("Uid:\t0\n"), None);
    }
}
