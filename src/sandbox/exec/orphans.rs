//! Processes that a command leaves behind: they become children of the process that adopts them, which ends them.

use std::collections::HashSet;
use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

/// Has the kernel make orphans among the descendants of this process its children.
pub(super) fn adopt() -> std::io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// The children of this process.
pub(super) fn children() -> HashSet<Pid> {
    // Kernels without `/proc/PID/task/TID/children` exist, and parents are in every process's own file.
    let own = rustix::process::getpid();
    let Ok(folder) = fs::read_dir("/proc") else { return HashSet::new() };
    folder
        .filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .filter(|pid| super::super::procfs::parent(*pid) == Some(own))
        .collect()
}

/// Ends all children of this process, and those that become its children by that.
pub(super) fn end_all() {
    end_others(&HashSet::new());
}

/// Ends all children of this process but `spared`, and those that become its children by that.
///
/// A process that began as child of a spared one has the same user namespace as this process; the command's have another.
pub(super) fn end_others(spared: &HashSet<Pid>) {
    loop {
        let own = namespace("self");
        let foreign = |pid: &Pid| {
            spared.is_empty() || namespace(&pid.as_raw_nonzero().to_string()) != own || is_ended(*pid)
        };
        let left: Vec<Pid> = children().difference(spared).copied().filter(foreign).collect();
        if left.is_empty() {
            return;
        }
        for pid in left {
            // It may have ended, which waiting shows.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            while matches!(rustix::process::waitpid(Some(pid), WaitOptions::empty()), Err(Errno::INTR)) {}
        }
    }
}

fn namespace(pid: &str) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/user")).ok()
}

/// Whether it waits to be waited for.
fn is_ended(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}
