//! Owners, attributes, modes and times of what was unpacked.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::entry::{Meta, Time};

/// To whom the files belong that layers hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Owners {
    /// All to the caller, who may be any user. Device nodes and the attributes that speak of rights are left out.
    #[default]
    Caller,
    /// To whom the layer says; device nodes are made and file capabilities set. For root, also of a user namespace:
    /// ids that are not mapped there are errors.
    Kept,
}

/// The part of an entry that is set on a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rights {
    pub(super) mode: u32,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) time: Time,
}

impl Rights {
    pub(super) fn of(meta: &Meta, owners: Owners) -> Self {
        let owner = (owners == Owners::Kept).then_some((meta.uid, meta.gid));
        Self { mode: meta.mode, owner, time: meta.time }
    }

    /// Sets all of them on an open file or folder. Content and attributes must be there already.
    pub(super) fn set(&self, file: impl AsFd) -> Result<(), Errno> {
        let file = file.as_fd();
        self.set_owner(file)?;
        // After the owner, for whose change the kernel takes setuid away.
        rustix::fs::fchmod(file, Mode::from_raw_mode(self.mode))?;
        rustix::fs::futimens(file, &times(self.time))
    }

    pub(super) fn set_owner(&self, file: impl AsFd) -> Result<(), Errno> {
        match self.owner {
            Some((uid, gid)) => rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))),
            None => Ok(()),
        }
    }

    /// The same for what cannot be opened: links, fifos and devices, just made as `name` in `folder`.
    pub(super) fn set_at(
        &self,
        folder: impl AsFd,
        name: &std::ffi::OsStr,
        has_mode: bool,
    ) -> Result<(), Errno> {
        let folder = folder.as_fd();
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if has_mode {
            rustix::fs::chmodat(folder, name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        }
        rustix::fs::utimensat(folder, name, &times(self.time), AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// Sets what may be set of `attributes` on an open file or folder, and tells whether all of them could be.
///
/// `trusted.*` is the business of the machine's own overlays, `security.selinux` of its policy, and both would
/// mean something else here than where the layer was made.
pub(super) fn set_attributes(file: impl AsFd, attributes: &[(Vec<u8>, Vec<u8>)], owners: Owners) -> bool {
    let file = file.as_fd();
    let mut is_complete = true;
    for (name, value) in attributes {
        let value = match name.as_slice() {
            name if name.starts_with(b"user.") => Some(value.clone()),
            b"security.capability" if owners == Owners::Kept => capability(value),
            b"system.posix_acl_access" | b"system.posix_acl_default" if owners == Owners::Kept => {
                Some(value.clone())
            }
            _ => None,
        };
        let name = std::ffi::OsStr::from_bytes(name);
        // A file system may have no attributes at all, or no room for these.
        is_complete &=
            value.is_some_and(|value| rustix::fs::fsetxattr(file, name, &value, XattrFlags::empty()).is_ok());
    }
    is_complete
}

/// Capabilities without the user that they were made by (revision 3 to 2): the kernel puts in the one of this
/// namespace. Source: linux/capability.h, `vfs_ns_cap_data`.
fn capability(value: &[u8]) -> Option<Vec<u8>> {
    const REVISION: u8 = 3;
    match (value.get(REVISION as usize), value.len()) {
        (Some(2), 20) => Some(value.to_vec()),
        (Some(3), 24) => {
            let mut value = value[..20].to_vec();
            value[REVISION as usize] = 2;
            Some(value)
        }
        _ => None,
    }
}

/// `time` for a file's last access and last change.
fn times(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_lose_their_namespace() {
        let two = [[1, 0, 0, 2].as_slice(), &[7; 16]].concat();
        let three = [[1, 0, 0, 3].as_slice(), &[7; 16], &[9; 4]].concat();
        assert_eq!(capability(&two), Some(two.clone()));
        assert_eq!(capability(&three), Some(two));
        for wrong in [&b""[..], &[0; 20], &three[..23], &[1, 0, 0, 1]] {
            assert_eq!(capability(wrong), None);
        }
    }
}
