//! Capabilities by name, and which of them a container has.

use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use super::ConfineError;

/// Their names in the order of their numbers, without `CAP_` (linux/capability.h).
const NAMES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Docker's default (moby, `oci/caps/defaults.go`).
const DEFAULT: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The word for all of them.
const ALL: &str = "ALL";

/// Capabilities as the bits of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities(u64);

impl Default for Capabilities {
    fn default() -> Self {
        Self::of_names(DEFAULT)
    }
}

impl Capabilities {
    /// Every one that there is.
    #[must_use]
    pub fn all() -> Self {
        Self::of_names(NAMES)
    }

    /// Docker's default with these added and those taken away, as docker understands it: who adds all takes single ones away from
    /// that, and who takes all away adds to nothing.
    ///
    /// # Errors
    /// [`ConfineError::Capability`] where one is not known.
    pub fn changed(add: &[String], drop: &[String]) -> Result<Self, ConfineError> {
        let (all_added, added) = parse(add)?;
        let (all_dropped, dropped) = parse(drop)?;
        Ok(if all_added {
            Self(Self::all().0 & !dropped)
        } else if all_dropped {
            Self(added)
        } else {
            Self((Self::default().0 & !dropped) | added)
        })
    }

    fn of_names(names: &[&str]) -> Self {
        Self(names.iter().filter_map(|name| bit(name)).fold(0, |all, bit| all | bit))
    }

    /// Their names, with `CAP_`.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        let held = NAMES.iter().filter(|name| bit(name).is_some_and(|bit| self.0 & bit != 0));
        held.map(|name| format!("CAP_{name}")).collect()
    }

    /// Whether the one called `name`, with `CAP_`, is among them.
    pub(super) fn has(self, name: &str) -> bool {
        name.strip_prefix("CAP_").and_then(bit).is_some_and(|bit| self.0 & bit != 0)
    }

    pub(super) fn set(self) -> CapabilitySet {
        CapabilitySet::from_bits_retain(self.0)
    }
}

fn bit(name: &str) -> Option<u64> {
    NAMES.iter().position(|known| *known == name).map(|number| 1 << number)
}

/// Whether all are meant, and the bits of those that are named.
fn parse(names: &[String]) -> Result<(bool, u64), ConfineError> {
    let (mut all, mut bits) = (false, 0);
    // Several may be given at once.
    for text in names.iter().flat_map(|names| names.split(',')) {
        let name = text.trim().to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        if name == ALL {
            all = true;
        } else {
            bits |= bit(name).ok_or_else(|| ConfineError::Capability { name: text.into() })?;
        }
    }
    Ok((all, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(add: &[&str], drop: &[&str]) -> Option<u64> {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        Capabilities::changed(&words(add), &words(drop)).ok().map(|set| set.0)
    }

    #[test]
    fn they_are_added_and_dropped_as_docker_does() {
        const DEFAULT: u64 = 0xa804_25fb;
        assert_eq!(changed(&[], &[]), Some(DEFAULT));
        assert_eq!(changed(&["net_admin", "CAP_SYS_PTRACE"], &["cap_mknod"]), Some(0xa00c_35fb));
        assert_eq!(changed(&["ALL"], &[]), Some((1 << 41) - 1));
        assert_eq!(changed(&["all"], &["CHOWN"]), Some((1 << 41) - 2));
        assert_eq!(changed(&["KILL"], &["ALL"]), Some(1 << 5));
        assert_eq!(changed(&[], &["ALL"]), Some(0));
        assert_eq!(changed(&["FLY"], &[]), None);
        assert_eq!(changed(&[], &[""]), None);
    }
}
