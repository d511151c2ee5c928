//! Versions of RouterOS, and what each has of what a script says.

use std::fmt;
use std::str::FromStr;

/// A version of RouterOS 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    minor: u32,
    patch: u32,
}

/// A text is no version that has containers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version of RouterOS with containers: 7.4 and newer, as `7.20` or `7.20.6`")]
pub struct ParseVersionError(String);

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let failed = || ParseVersionError(text.to_owned());
        let number = |part: &str| {
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| is_number).ok_or_else(failed)
        };
        let parts: Vec<&str> = text.split('.').collect();
        let (minor, patch) = match parts.as_slice() {
            ["7", minor] => (number(minor)?, 0),
            ["7", minor, patch] => (number(minor)?, number(patch)?),
            _ => return Err(failed()),
        };
        if minor >= 4 { Ok(Self { minor, patch }) } else { Err(failed()) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "7.{}", self.minor)?;
        if self.patch > 0 { write!(f, ".{}", self.patch) } else { Ok(()) }
    }
}

impl Version {
    /// `7.minor`.
    pub(super) const fn minor(minor: u32) -> Self {
        Self { minor, patch: 0 }
    }

    /// `name=` of a container.
    pub(super) fn has_name(self) -> bool {
        self.minor >= 19
    }

    /// `envlists=`, and `list=` in an entry of one, in place of `envlist=` and `name=`.
    pub(super) fn has_envlists(self) -> bool {
        self.minor >= 20
    }

    /// `mountlists=`, and `list=` in an entry of one, in place of `mounts=` and `name=`. The interface inside is called as the
    /// veth outside.
    pub(super) fn has_mountlists(self) -> bool {
        self.minor >= 21
    }

    /// What to start must be said.
    pub(super) fn wants_explicit_command(self) -> bool {
        self.minor >= 22
    }

    /// `memory-max=`.
    pub(super) fn has_memory_max(self) -> bool {
        self.minor >= 23
    }

    /// `privileged=`.
    pub(super) fn has_privileged(self) -> bool {
        self.minor >= 24
    }
}
