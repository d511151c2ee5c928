//! Which system calls a container's program has.
//!
//! A profile in docker's format says it by names, capabilities and kernels; docker's own default is `default.json`. What of it counts
//! for one container ([`Seccomp`], which is the `linux.seccomp` of an OCI bundle too) becomes one filter for all ABIs that the machine
//! has: emulators make the machine's own calls, and programs of its 32-bit companions run without one. `calls.txt` has their numbers.
//!
//! Filters stack, and the strictest answer counts: one that has a tracer asked (`SECCOMP_RET_TRACE`) comes before `ALLOW` and
//! after every refusal, whichever is installed first.

mod calls;
mod filter;
mod profile;

pub(in super::super) use filter::install;
pub use profile::Seccomp;
