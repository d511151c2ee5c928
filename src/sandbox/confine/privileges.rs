//! The container's first process gives up what its program is not to have.

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::super::plan::{Failure, Step};
use super::{Confine, Identity, seccomp};

/// Makes this process `identity`, and leaves it, and what it executes, what `confine` says and no way to more.
pub(in super::super) fn become_user(identity: &Identity, confine: &Confine) -> Result<(), Failure> {
    let filter = || match &confine.seccomp {
        Some(profile) => seccomp::install(profile).map_err(Step::Seccomp.on("the seccomp filter")),
        None => Ok(()),
    };
    let kept = confine.capabilities.set();
    // A filter needs privileges, or a promise that there will be no new ones; the later, the fewer of our own calls it sees.
    if !confine.no_new_privileges {
        filter()?;
    }
    drop_bounding(kept).map_err(Step::Identity.on("capabilities"))?;
    set_ids(identity).map_err(Step::Identity.on(format!("user {}", identity.uid)))?;
    // As after an execve by that user.
    let held = if identity.uid == 0 { kept } else { CapabilitySet::empty() };
    let sets = CapabilitySets { effective: held, permitted: held, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(Step::Identity.on("capabilities"))?;
    if confine.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(Step::Identity.on("no new privileges"))?;
        filter()?;
    }
    Ok(())
}

fn drop_bounding(kept: CapabilitySet) -> Result<(), Errno> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
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
