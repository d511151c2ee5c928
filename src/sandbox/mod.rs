//! Containers: the built-in runner.
//!
//! Three processes make a run. The supervisor (the caller) prepares the root file system and starts
//! this program anew as the outer process; that one makes the namespaces and starts it anew once more as
//! the container's first process, which mounts what a container has, sees to it that foreign programs reach
//! their emulators ([`Emulation`]), gives up its rights and becomes the container's program. Each
//! dies with the one before it.
//!
//! The namespaces are user, mount, pid, ipc, uts and cgroup; the network is the host's. One id is mapped,
//! the caller's, which is root's inside. There is no cgroup limit yet, and no seccomp
//! filter but the tracer's.

mod error;
mod folder;
mod handlers;
mod handoff;
mod identity;
mod inner;
mod lifeline;
mod mounts;
mod namespaces;
mod outer;
mod place;
mod plan;
mod process;
mod procfs;
mod program;
mod runner;
mod signals;
mod trace;
mod way;

use std::ffi::OsString;
use std::process::ExitCode;

pub use error::SandboxError;
pub use folder::Folder;
pub use handlers::Handlers;
pub use plan::{Emulator, Handler, Process};
pub use process::Overrides;
pub use runner::Container;
pub use signals::Signals;
pub use way::Emulation;

/// Search path of a container whose image sets none.
pub const DEFAULT_PATH: &str = program::PATH;

/// What a process of the sandbox ends with where it could not do its part. The supervisor knows the reason.
const FAILED: u8 = 125;

/// Does the part of this process in a container that is being started, where `args` (the program's name
/// first) say that it has one; it gives what to exit with. Anything else is `None`: an ordinary start.
#[must_use]
pub fn enter(args: &[OsString]) -> Option<ExitCode> {
    let role = args.get(1)?;
    let inner = role == handoff::INNER;
    if !inner && role != handoff::OUTER {
        return None;
    }
    let Some(mut handoff) = handoff::Handoff::take(args.get(2..).unwrap_or_default()) else {
        return Some(ExitCode::from(FAILED));
    };
    let failure = if inner {
        match inner::run(&mut handoff) {
            Err(failure) => failure,
        }
    } else {
        match outer::run(&mut handoff) {
            Ok(status) => return Some(ExitCode::from(status)),
            Err(failure) => failure,
        }
    };
    handoff.tell(&plan::Message::Failed(failure));
    Some(ExitCode::from(FAILED))
}
