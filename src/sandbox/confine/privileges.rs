//! What the container's program may do.

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::super::plan::{Failure, Step};
use super::Identity;

/// Docker's default capabilities (moby, `oci/caps/defaults.go`).
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Makes this process `identity`, and leaves it, and what it executes, docker's default capabilities and no way to new ones.
pub(in super::super) fn become_user(identity: &Identity) -> Result<(), Failure> {
    drop_bounding().map_err(Step::Identity.on("capabilities"))?;
    set_ids(identity).map_err(Step::Identity.on(format!("user {}", identity.uid)))?;
    drop_rest(identity).map_err(Step::Identity.on("capabilities"))
}

fn drop_bounding() -> Result<(), Errno> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if KEPT.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The kernel knows none from here on.
            Err(Errno::INVAL) => break,
            other => other?,
        }
    }
    match rustix::thread::clear_ambient_capability_set() {
        // Linux before 4.3 has no ambient set to clear.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn set_ids(identity: &Identity) -> Result<(), Errno> {
    // Where one id is mapped the kernel lets nobody set groups.
    let may = std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() != "deny");
    if may {
        let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        rustix::thread::set_thread_groups(&groups)?;
    }
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

fn drop_rest(identity: &Identity) -> Result<(), Errno> {
    // As after an execve by that user.
    let kept = if identity.uid == 0 { KEPT } else { CapabilitySet::empty() };
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::set_no_new_privs(true)
}
