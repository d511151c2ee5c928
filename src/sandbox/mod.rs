//! Containers: the built-in runner.
//!
//! Three processes make a run. The supervisor (the caller) prepares the root file system and starts
//! this program anew as the outer process; that one makes the namespaces and starts it anew once more as
//! the container's first process, which mounts what a container has, sees to it that foreign programs reach
//! their emulators ([`Emulation`]), gives up its rights and becomes the container's program. Each
//! dies with the one before it.
//!
//! The namespaces are user, mount, pid, ipc, uts and cgroup; the network is the host's. The caller is root inside, and its
//! subordinate ids are the other users; see [`Ids`]. There is no seccomp filter but the tracer's, and no cgroup limit yet.

mod confine;
mod copying;
mod debug;
mod error;
mod exec;
mod folder;
mod handlers;
mod handoff;
mod ids;
mod init;
mod inner;
mod lifeline;
mod limits;
mod link;
mod mounts;
mod namespaces;
mod network;
mod oci;
mod outer;
mod place;
mod plan;
pub mod probe;
mod process;
mod procfs;
mod program;
mod root;
mod runner;
mod signals;
pub mod size;
mod terminal;
mod trace;
mod userns;
mod volumes;
mod way;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

pub use confine::{
    Capabilities, Confine, ConfineError, Device, Options as ConfineOptions, Seccomp, Ulimit, User,
};
pub use debug::{Debug, Gdb};
pub use error::SandboxError;
pub use exec::{Exec, ExecError, Registration};
pub use folder::Folder;
pub use handlers::{Handlers, Tuning};
pub use ids::{Extent, Grants, Ids, Range, Shortage};
pub use limits::{Amount, Limits};
pub use network::{Mode, Network, Port, Protocol};
pub use oci::find_runtime;
pub use plan::{Emulator, Failure, Handler, Process};
pub use process::Overrides;
pub use root::{
    FILES, Helper, Inside, Layers, Plan as RootPlan, Pruned, Root, Snapshot, Snapshots, Told, WHOLE,
    has_long_positions, help, pack_tree, platform_of, remove as remove_trees, remove_files, skeleton,
    unpack_tree, wants_short,
};
pub use runner::Container;
pub use signals::Signals;
pub use terminal::Terminal;
pub use volumes::{Beneath, Source, Volume, VolumeError};
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
    if role == probe::PROBE || role == probe::PROBE_INNER {
        let answer = probe::run(role == probe::PROBE_INNER, args.get(2..).unwrap_or_default());
        // Nobody hears it whose reader has ended.
        let told = answer.is_some_and(|answer| std::io::stdout().write_all(answer.as_bytes()).is_ok());
        return Some(ExitCode::from(if told { 0 } else { FAILED }));
    }
    if role == network::LAUNCH {
        return Some(ExitCode::from(network::launch(args.get(2..).unwrap_or_default())));
    }
    if role == limits::WATCH {
        limits::run_watch(args.get(2..).unwrap_or_default());
        return Some(ExitCode::SUCCESS);
    }
    let part: fn(&mut handoff::Handoff) -> Result<u8, plan::Failure> = match role.to_str()? {
        handoff::OUTER => outer::run,
        handoff::INNER => |handoff| inner::run(handoff).map(init::Init::run),
        root::WORKER => root::run_worker,
        exec::OUTER => exec::run_outer,
        exec::INNER => |handoff| match exec::run_inner(handoff)? {},
        _ => return None,
    };
    let Some(mut handoff) = handoff::Handoff::take(args.get(2..).unwrap_or_default()) else {
        return Some(ExitCode::from(FAILED));
    };
    match part(&mut handoff) {
        Ok(status) => Some(ExitCode::from(status)),
        Err(failure) => {
            handoff.tell(&plan::Message::Failed(failure));
            Some(ExitCode::from(FAILED))
        }
    }
}
