//! Leaving namespaces for new ones.

use rustix::thread::UnshareFlags;

/// Moves this process, which must have one thread, or its children, into new namespaces.
pub(super) fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    #[expect(unsafe_code, reason = "`unshare` can take descriptors from other threads")]
    // SAFETY: the processes that call this have one thread, and descriptors are never unshared.
    unsafe {
        rustix::thread::unshare_unsafe(flags - UnshareFlags::FILES)
    }
}
