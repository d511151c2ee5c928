//! The process that becomes the command.

use std::convert::Infallible;

use std::fs;

use rustix::thread::UnshareFlags;

use super::super::confine::User;
use super::super::handoff::Handoff;
use super::super::namespaces::unshare;
use super::super::plan::{Failure, Process, Step};
use super::super::way::Way;
use super::super::{lifeline, program, trace};
use super::Plan;

/// Becomes the command. Returns only where that fails.
pub(in super::super) fn run(handoff: &mut Handoff) -> Result<Infallible, Failure> {
    let plan: Plan = handoff.plan().map_err(Step::Handoff.io("the plan"))?;
    let way = Way::hear(&handoff.lifeline).map_err(Step::Start.io("the command"))?;
    if let Way::Trace(means) = way {
        trace::hand_over(means, &handoff.lifeline).map_err(Step::Trace.on("the command"))?;
    }
    if let Some((uid, gid)) = plan.keep {
        become_user(uid, gid)?;
    }
    lifeline::hold(&handoff.lifeline).map_err(Step::Start.on("the command"))?;
    let process = Process {
        args: plan.args,
        env: std::env::vars_os().collect(),
        cwd: ".".into(),
        user: User::default(),
    };
    Err(program::execute_as_is(&process, &process.env))
}

/// Makes root of this namespace the user `uid` of one more, which has no rights once the command has begun. (A registry belongs
/// to a root, so there must be one where the handlers are registered; the kernel asks the handlers of outer namespaces, too.)
fn become_user(uid: u32, gid: u32) -> Result<(), Failure> {
    unshare(UnshareFlags::NEWUSER).map_err(Step::UserNamespace.on("user"))?;
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{uid} 0 1\n")),
        ("/proc/self/gid_map", format!("{gid} 0 1\n")),
    ];
    for (file, text) in maps {
        fs::write(file, text).map_err(Step::IdMap.io(file))?;
    }
    Ok(())
}
