//! What `/proc` says of a process's signals.

use std::fs;

use rustix::process::Pid;

/// Signals that cannot be blocked (`KILL`, `STOP`), and those that C libraries keep for themselves and
/// leave out of a full set (32, 33 and, in musl, 34).
const NEVER_BLOCKED: u64 = bit(9) | bit(19) | bit(32) | bit(33) | bit(34);
/// Signals that by default end no process: `CHLD`, `CONT`, `TSTP`, `TTIN`, `TTOU`, `URG`, `WINCH`.
const HARMLESS: u64 = bit(17) | bit(18) | bit(20) | bit(21) | bit(22) | bit(23) | bit(28);

const fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

/// The signal sets of one thread, as in proc(5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SignalSets {
    sleeping: bool,
    blocked: u64,
    ignored: u64,
    caught: u64,
}

impl SignalSets {
    /// Reads the text of a `status` file.
    fn parse(status: &str) -> Self {
        let mut sets = Self::default();
        for line in status.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            let set = || u64::from_str_radix(value, 16).unwrap_or_default();
            match key {
                "State" => sets.sleeping = value.starts_with('S'),
                "SigBlk" => sets.blocked = set(),
                "SigIgn" => sets.ignored = set(),
                "SigCgt" => sets.caught = set(),
                _ => {}
            }
        }
        sets
    }

    /// Whether `signal`, sent now, would find its default action.
    fn is_default(self, signal: i32) -> bool {
        u32::try_from(signal)
            .is_ok_and(|signal| (self.blocked | self.ignored | self.caught) & bit(signal) == 0)
    }

    /// The one signal that the thread waits for, where that signal's default action would end it.
    fn deadly_wait(self) -> Option<i32> {
        let open = !(self.blocked | NEVER_BLOCKED);
        let waits =
            self.sleeping && open.is_power_of_two() && open & (self.ignored | self.caught | HARMLESS) == 0;
        waits.then(|| open.trailing_zeros().cast_signed() + 1)
    }
}

/// Tells which signals this process ignores.
pub(super) fn ignored_signals() -> impl Fn(i32) -> bool {
    let sets = SignalSets::parse(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    move |signal| u32::try_from(signal).is_ok_and(|signal| sets.ignored & bit(signal) != 0)
}

/// Whether the process neither catches, ignores nor blocks `signal`. The kernel discards such a signal for
/// the first process of a container, where any other would end.
pub(super) fn takes_default(pid: Pid, signal: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    status.is_ok_and(|status| SignalSets::parse(&status).is_default(signal))
        && u32::try_from(signal).is_ok_and(|signal| HARMLESS & bit(signal) == 0)
}

/// Whether the process has a handler of its own for `signal`.
pub(super) fn catches(pid: Pid, signal: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    status.is_ok_and(|status| {
        let caught = SignalSets::parse(&status).caught;
        u32::try_from(signal).is_ok_and(|signal| caught & bit(signal) != 0)
    })
}

/// The signal that a thread of the process has tried to end by, in vain.
///
/// An emulator whose guest dies of a signal takes back its own handler, sends itself that signal and
/// waits for it with every other one blocked. In a container's first process the kernel discards it, so
/// the emulator waits for ever. (In docker such a container hangs.)
pub(super) fn deadly_wait(pid: Pid) -> Option<i32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).ok()?;
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .find_map(|status| SignalSets::parse(&status).deadly_wait())
}

/// The processes that a process has started, and those that they have. None where the kernel does not tell.
pub(super) fn descendants(pid: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut left = vec![pid];
    while let Some(pid) = left.pop() {
        let tasks =
            fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).into_iter().flatten().flatten();
        let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let children: Vec<Pid> = texts
            .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
            .filter_map(Pid::from_raw)
            .collect();
        left.extend(&children);
        found.extend(children);
    }
    found
}

/// The parent of a process.
pub(super) fn parent(pid: Pid) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Pid::from_raw(parent.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulator_that_waits_to_die_is_told_from_one_that_waits() {
        // As qemu-mips 7.2 shows it after a guest's SIGTERM, and while its guest is in `pause`.
        let dying =
            "State:\tS (sleeping)\nSigBlk:\tfffffffe7ffbbeff\nSigIgn:\t0\nSigCgt:\tfffffffe3bfabef8\n";
        let pausing = "State:\tS (sleeping)\nSigBlk:\t0\nSigIgn:\t0\nSigCgt:\tfffffffe3bfabef8\n";
        assert_eq!(SignalSets::parse(dying).deadly_wait(), Some(15));
        assert_eq!(SignalSets::parse(pausing).deadly_wait(), None);
        assert!(SignalSets::parse("SigCgt:\t0\n").is_default(15));
        assert!(!SignalSets::parse("SigCgt:\t4000\n").is_default(15));
        assert!(!SignalSets::parse("SigBlk:\t4000\n").is_default(15));
    }
}
