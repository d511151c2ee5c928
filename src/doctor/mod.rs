//! What this machine can do for foreign programs, what it lacks and what mends that; and why one thing does not start.
//!
//! [`Machine`] is what was found, [`examine`] judges it check by check, and [`explain()`] goes the way that the kernel and the
//! loader go with a program, in an image, a folder or on this machine, until something is not right.

mod checks;
mod explain;
mod machine;
mod remedy;
mod verdict;
mod ways;

pub use checks::{CHECKS, Check, State, examine};
pub use explain::{Explanation, Foreign, Place, Subject, explain};
pub use machine::{Machine, Places, is_native};
pub use remedy::{Family, Remedy};
pub use verdict::{REASONS, Verdict};
pub use ways::{TargetWays, Way, WayState, ways};
