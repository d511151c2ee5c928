//! Profiles in docker's format, and what of them counts for one container.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::{Capabilities, ConfineError};
use super::calls;
use crate::target::Platform;

/// Docker's default (moby, `profiles/seccomp`).
const DEFAULT: &str = include_str!("default.json");

/// How large a profile may be, in bytes.
const PROFILE_MOST: u64 = 4 << 20;

/// What counts for a container: names of calls, and what becomes of them. As `linux.seccomp` in the OCI runtime specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    pub(super) default_action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) default_errno_ret: Option<u16>,
    /// By the names of libseccomp.
    pub(super) architectures: Vec<String>,
    pub(super) syscalls: Vec<Rule>,
}

/// What becomes of some calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    pub(super) action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) errno_ret: Option<u16>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) args: Vec<Condition>,
}

/// What one argument of a call must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    pub(super) index: u32,
    pub(super) value: u64,
    #[serde(default)]
    pub(super) value_two: u64,
    pub(super) op: Comparison,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Action {
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Comparison {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    /// `value` is the mask, `value_two` what it must leave.
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

/// A profile's text.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: Action,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<Architecture>,
    #[serde(default)]
    syscalls: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// Of profiles that are older than `names`.
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: Action,
    errno_ret: Option<u16>,
    args: Option<Vec<Condition>>,
    includes: Option<Scope>,
    excludes: Option<Scope>,
}

/// For which containers and machines an entry counts.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Scope {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    min_kernel: Option<String>,
}

impl Seccomp {
    /// Docker's default for a container with those capabilities on this machine.
    ///
    /// # Errors
    /// [`ConfineError`]: never, for a test reads it.
    pub fn default_for(capabilities: Capabilities) -> Result<Self, ConfineError> {
        let source = |source| ConfineError::Profile { path: "default.json".into(), source };
        Self::resolve(serde_json::from_str(DEFAULT).map_err(source)?, capabilities, true)
    }

    /// The profile in the file `path` for a container with those capabilities on this machine.
    ///
    /// # Errors
    /// [`ConfineError`] where it cannot be read or used.
    pub fn read(path: &Path, capabilities: Capabilities) -> Result<Self, ConfineError> {
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(PROFILE_MOST).read_to_end(&mut text))
            .map_err(|source| ConfineError::ReadProfile { path: path.into(), source })?;
        let profile = serde_json::from_slice(&text);
        let profile = profile.map_err(|source| ConfineError::Profile { path: path.into(), source })?;
        let seccomp = Self::resolve(profile, capabilities, false)?;
        seccomp.filter()?;
        Ok(seccomp)
    }

    /// The same, with calls that wait for the disk doing nothing, and well.
    #[must_use]
    pub fn without_syncs(mut self) -> Self {
        let names = ["fsync", "fdatasync", "sync", "syncfs", "sync_file_range"].map(String::from).to_vec();
        // The first that holds counts.
        self.syscalls.insert(0, Rule { names, action: Action::Errno, errno_ret: Some(0), args: Vec::new() });
        self
    }

    fn resolve(profile: Profile, capabilities: Capabilities, all_abis: bool) -> Result<Self, ConfineError> {
        let host = Platform::host().architecture;
        let abis = calls::abis(&host);
        let own = abis.first().map_or("", |abi| abi.name);
        let wrong = |reason: &str| ConfineError::Filter { reason: reason.into() };
        let architectures = if all_abis {
            abis.iter().map(|abi| abi.name.to_owned()).collect()
        } else if !profile.arch_map.is_empty() {
            if !profile.architectures.is_empty() {
                return Err(wrong("it has both `archMap` and `architectures`"));
            }
            let map = profile.arch_map.into_iter().find(|map| map.architecture == own);
            let beside = map.and_then(|map| map.sub_architectures).unwrap_or_default();
            [own.to_owned()].into_iter().chain(beside).collect()
        } else {
            let others = profile.architectures.into_iter().filter(|name| name != own);
            [own.to_owned()].into_iter().chain(others).collect()
        };
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let holds = |scope: &Scope| {
            scope.caps.iter().all(|name| capabilities.has(name))
                && (scope.arches.is_empty() || scope.arches.contains(&host))
                && scope.min_kernel.as_ref().is_none_or(|least| version(&release) >= version(least))
        };
        let excludes = |scope: &Scope| {
            scope.caps.iter().any(|name| capabilities.has(name))
                || scope.arches.contains(&host)
                || scope.min_kernel.as_ref().is_some_and(|least| version(&release) >= version(least))
        };
        let mut syscalls = Vec::new();
        for entry in profile.syscalls {
            if entry.includes.as_ref().is_some_and(|scope| !holds(scope))
                || entry.excludes.as_ref().is_some_and(&excludes)
            {
                continue;
            }
            let args = entry.args.unwrap_or_default();
            if args.iter().any(|arg| arg.index > 5) {
                return Err(wrong("a system call has no seventh argument"));
            }
            let names = entry.names.into_iter().chain(entry.name).collect();
            syscalls.push(Rule { names, action: entry.action, errno_ret: entry.errno_ret, args });
        }
        let all = syscalls.iter().map(|rule| rule.action).chain([profile.default_action]);
        if all.into_iter().any(|action| action == Action::Notify) {
            return Err(wrong("`SCMP_ACT_NOTIFY` wants a listener, and there is none"));
        }
        Ok(Self {
            default_action: profile.default_action,
            default_errno_ret: profile.default_errno_ret,
            architectures,
            syscalls,
        })
    }
}

/// The first two numbers of a kernel's version.
fn version(text: &str) -> (u32, u32) {
    let mut numbers =
        text.split(|character: char| !character.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
