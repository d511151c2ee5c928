//! What the caller wants of a container's confinement.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Capabilities, ConfineError, Device, Seccomp, Ulimit};

/// What `/dev/shm` holds where nothing is said, in bytes: as docker.
const SHM_SIZE: u64 = 64 << 20;

/// What a container's program may do and sees. The default is docker's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confine {
    /// What it may do where the kernel asks, within its own user namespace.
    pub capabilities: Capabilities,
    /// Which system calls it has; all where there is none.
    pub seccomp: Option<Seccomp>,
    /// Whether setuid programs and file capabilities do nothing.
    pub no_new_privileges: bool,
    /// Whether docker's masked and read-only paths are as the kernel shows them.
    pub unmasked: bool,
    /// Device nodes in addition to those that every container has.
    pub devices: Vec<Device>,
    /// How much `/dev/shm` holds, in bytes.
    pub shm_size: u64,
    /// Limits of its processes.
    pub ulimits: Vec<Ulimit>,
}

/// The same as it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Names of capabilities to add.
    pub cap_add: Vec<String>,
    /// Names of capabilities to take away.
    pub cap_drop: Vec<String>,
    /// `KEY=VALUE`, as docker's `--security-opt`.
    pub security: Vec<String>,
    /// `SOURCE[:TARGET][:PERMISSIONS]`.
    pub devices: Vec<String>,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<u64>,
    /// `NAME=SOFT[:HARD]`.
    pub ulimits: Vec<String>,
    /// Whether to lift all of it.
    pub privileged: bool,
}

/// Which seccomp profile is wanted.
#[derive(Debug)]
enum Wanted {
    Default,
    None,
    File(PathBuf),
}

impl Confine {
    /// What `options` ask for.
    ///
    /// # Errors
    /// [`ConfineError`] where they cannot be understood, or what they name is not to be had.
    pub fn new(options: &Options) -> Result<Self, ConfineError> {
        let mut seccomp = if options.privileged { Wanted::None } else { Wanted::Default };
        let (mut no_new_privileges, mut unmasked) = (false, options.privileged);
        for text in &options.security {
            let wrong = |reason: &str| ConfineError::Option { text: text.clone(), reason: reason.into() };
            // Docker took a colon once, and still does.
            let (key, value) =
                text.split_once(['=', ':']).map_or((text.as_str(), None), |(key, value)| (key, Some(value)));
            match (key, value) {
                ("no-new-privileges", None | Some("true")) => no_new_privileges = true,
                ("no-new-privileges", Some("false")) => no_new_privileges = false,
                ("seccomp", Some("unconfined")) => seccomp = Wanted::None,
                ("seccomp", Some("builtin")) => seccomp = Wanted::Default,
                ("seccomp", Some(path)) if !path.is_empty() => seccomp = Wanted::File(path.into()),
                ("systempaths", Some("unconfined")) => unmasked = true,
                // What is the case anyway: the kernel's other modules are not asked.
                ("apparmor", Some("unconfined")) | ("label", Some("disable")) => {}
                ("apparmor" | "label", _) => {
                    return Err(wrong(
                        "neither AppArmor nor SELinux is asked to confine the container more than its caller",
                    ));
                }
                _ => return Err(wrong("it is not known")),
            }
        }
        let capabilities = if options.privileged {
            Capabilities::all()
        } else {
            Capabilities::changed(&options.cap_add, &options.cap_drop)?
        };
        let seccomp = match seccomp {
            Wanted::None => None,
            Wanted::Default => Some(Seccomp::default_for(capabilities)?),
            Wanted::File(path) => Some(Seccomp::read(&path, capabilities)?),
        };
        let devices = options.devices.iter().map(|text| Device::parse(text));
        let devices: Vec<Vec<Device>> = devices.collect::<Result<_, _>>()?;
        Ok(Self {
            capabilities,
            seccomp,
            no_new_privileges,
            unmasked,
            devices: devices.concat(),
            shm_size: options.shm_size.unwrap_or(SHM_SIZE),
            ulimits: options.ulimits.iter().map(|text| Ulimit::parse(text)).collect::<Result<_, _>>()?,
        })
    }
}
