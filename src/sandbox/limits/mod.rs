//! Limits of a whole container: cgroups.
//!
//! The supervisor makes a cgroup for the run where it may, and the container's first process goes into it before anything else. It is
//! found from the supervisor's own cgroup upwards, in the unified hierarchy or in those of single controllers (cgroups(7)), whichever the
//! host has for a controller. What cannot be had is told, and the run goes on.
//!
//! A [`Watch`], which is this program started anew, removes the cgroups when the supervisor has ended, however it ended. What a killed watch
//! has left, the next run with limits removes.

mod group;
mod watch;

use serde::{Deserialize, Serialize};

pub(super) use group::{Group, join};
pub(super) use watch::{WATCH, Watch, run as run_watch};

/// The period of a quota of processor time, in microseconds: as docker's.
const PERIOD: u64 = 100_000;

/// What a container may use. `None` is what the host has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together. Without it, twice the memory, as docker has it.
    pub memory_and_swap: Option<Amount>,
    /// Processor time, in thousandths of a processor.
    pub millicpus: Option<u64>,
    /// The weight among others, 1024 being the usual.
    pub cpu_shares: Option<u64>,
    /// How many processes and threads.
    pub pids: Option<u64>,
}

/// A number, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Amount {
    /// So much.
    Of(u64),
    /// As much as there is.
    Unlimited,
}

/// A setting of one controller: in the unified hierarchy, and in one of its own.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    controller: &'static str,
    /// The option that it is for.
    option: &'static str,
    unified: (&'static str, String),
    single: Vec<(&'static str, String)>,
    /// Whether kernels exist that have the controller without it, and a run is not worse for it.
    optional: bool,
}

impl Limits {
    /// Whether there are any.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        if let Some(memory) = self.memory {
            settings.push(Setting {
                controller: "memory",
                option: "--memory",
                unified: ("memory.max", memory.to_string()),
                single: vec![("memory.limit_in_bytes", memory.to_string())],
                optional: false,
            });
            let both = self.memory_and_swap.unwrap_or(Amount::Of(memory.saturating_mul(2)));
            let (swap, both) = match both {
                Amount::Of(both) => (both.saturating_sub(memory).to_string(), both.to_string()),
                Amount::Unlimited => ("max".to_owned(), "-1".to_owned()),
            };
            settings.push(Setting {
                controller: "memory",
                option: "--memory-swap",
                unified: ("memory.swap.max", swap),
                single: vec![("memory.memsw.limit_in_bytes", both)],
                optional: self.memory_and_swap.is_none(),
            });
        }
        if let Some(millicpus) = self.millicpus {
            let quota = (millicpus.saturating_mul(PERIOD) / 1000).max(1000);
            settings.push(Setting {
                controller: "cpu",
                option: "--cpus",
                unified: ("cpu.max", format!("{quota} {PERIOD}")),
                single: vec![
                    ("cpu.cfs_period_us", PERIOD.to_string()),
                    ("cpu.cfs_quota_us", quota.to_string()),
                ],
                optional: false,
            });
        }
        if let Some(shares) = self.cpu_shares {
            let shares = shares.clamp(2, 262_144);
            // The two scales meet at their ends, as the runtimes have it.
            let weight = 1 + (shares - 2) * 9999 / 262_142;
            settings.push(Setting {
                controller: "cpu",
                option: "--cpu-shares",
                unified: ("cpu.weight", weight.to_string()),
                single: vec![("cpu.shares", shares.to_string())],
                optional: false,
            });
        }
        if let Some(pids) = self.pids {
            settings.push(Setting {
                controller: "pids",
                option: "--pids-limit",
                unified: ("pids.max", pids.to_string()),
                single: vec![("pids.max", pids.to_string())],
                optional: false,
            });
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_those_of_both_kinds_of_hierarchies() {
        let limits = Limits {
            memory: Some(1000),
            memory_and_swap: Some(Amount::Of(1500)),
            millicpus: Some(1500),
            cpu_shares: Some(1024),
            pids: Some(7),
        };
        let settings = limits.settings();
        let unified: Vec<(&str, &str)> =
            settings.iter().map(|setting| (setting.unified.0, setting.unified.1.as_str())).collect();
        assert_eq!(
            unified,
            [
                ("memory.max", "1000"),
                ("memory.swap.max", "500"),
                ("cpu.max", "150000 100000"),
                ("cpu.weight", "39"),
                ("pids.max", "7"),
            ]
        );
        let single: Vec<(&str, &str)> = settings
            .iter()
            .flat_map(|setting| setting.single.iter().map(|(file, value)| (*file, value.as_str())))
            .collect();
        assert_eq!(
            single,
            [
                ("memory.limit_in_bytes", "1000"),
                ("memory.memsw.limit_in_bytes", "1500"),
                ("cpu.cfs_period_us", "100000"),
                ("cpu.cfs_quota_us", "150000"),
                ("cpu.shares", "1024"),
                ("pids.max", "7"),
            ]
        );
        assert!(Limits::default().is_none() && Limits::default().settings().is_empty());
    }
}
