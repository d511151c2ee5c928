//! What the container's program may do.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

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

/// Leaves this process, and what it executes, docker's default capabilities and no way to new ones.
///
/// There is no seccomp filter yet: what keeps the program from the host is the user namespace and
/// these capabilities, which count in it only.
pub(super) fn drop_privileges() -> Result<(), Errno> {
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
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno),
    }
    let sets = CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::set_no_new_privs(true)
}
