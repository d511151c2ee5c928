//! Scripts that set a container up on a RouterOS device: a `.rsc` for its version and architecture.
//!
//! What is known of RouterOS, and how surely, is told in the script itself, for it was not run on a device: see `docs/routeros.md`.

mod script;
mod version;

pub use script::{Place, Script};
pub use version::{ParseVersionError, Version};

use crate::image::{ImageConfiguration, labels};
use crate::target::{Catalogue, Platform, Target};

/// A script cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouterOsError {
    /// The device is none that is known.
    #[error("no RouterOS device called `{name}` is known")]
    UnknownDevice {
        /// As it was given.
        name: String,
    },
    /// The name is that of several kinds of devices.
    #[error("`{name}` may be any of {}", targets.join(", "))]
    ManyDevices {
        /// As it was given.
        name: String,
        /// The targets.
        targets: Vec<String>,
    },
    /// The target is no RouterOS one.
    #[error("`{target}` is no RouterOS target")]
    NotRouterOs {
        /// The target.
        target: String,
    },
    /// RouterOS has no containers there.
    #[error("RouterOS has no containers on {architecture} devices")]
    NoContainers {
        /// RouterOS's name of the architecture.
        architecture: String,
    },
    /// The image is for another machine.
    #[error("the image is for {platform}, and the device runs {expected}")]
    Platform {
        /// The image's.
        platform: String,
        /// The device's.
        expected: String,
    },
    /// The image does not say what to start.
    #[error("the image names no program to start")]
    NoCommand,
    /// The image's command line cannot be given to the device.
    #[error(
        "the image's command line has {entrypoint} words of entry point and {cmd} of command, and a script gives RouterOS one of each"
    )]
    ManyWords {
        /// Words of its entry point.
        entrypoint: usize,
        /// Words of its command.
        cmd: usize,
    },
    /// This version has no such thing.
    #[error("RouterOS {version} has no {what}; it came with {since}")]
    TooOld {
        /// The version that the script is for.
        version: Version,
        /// What it has not.
        what: &'static str,
        /// The first version that has.
        since: Version,
    },
    /// A name cannot be used.
    #[error("`{name}` is no {what}")]
    Name {
        /// As it was given.
        name: String,
        /// What it should be.
        what: &'static str,
    },
}

impl RouterOsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownDevice { .. } => {
                "`polyarch target list` has the RouterOS targets and `target show` their devices: give `--target`".into()
            }
            Self::ManyDevices { .. } => "give the one with `--target`".into(),
            Self::NotRouterOs { .. } => "RouterOS targets begin with `routeros/`: `polyarch target list`".into(),
            Self::NoContainers { .. } => {
                "run the container on another machine of its network (`polyarch bundle --host linux/amd64`, or an arm or x86 RouterOS \
                 device); for netinstall, RouterOS 7.24 has a package of its own for all but smips"
                    .into()
            }
            Self::Platform { expected, .. } => {
                format!("make it with `polyarch bundle --host {expected}`, or `polyarch copy --platform {expected}`")
            }
            Self::NoCommand => "make it with `polyarch bundle --entrypoint`; RouterOS starts nothing else".into(),
            Self::ManyWords { .. } => {
                "`polyarch bundle --host routeros/…` puts the whole line under one name, `/.polyarch/start`".into()
            }
            Self::TooOld { .. } => "leave it out, or update the device".into(),
            Self::Name { .. } => return None,
        })
    }
}

/// The target of the device called `name`, such as `RB5009` or `hAP ax2`.
///
/// # Errors
/// [`RouterOsError::UnknownDevice`], [`RouterOsError::ManyDevices`].
pub fn device(name: &str) -> Result<&'static Target, RouterOsError> {
    // `RB5009UG+S+IN` and `rb5009` are one; `hAP ac3` and `hAP-ac³` are not told apart by more than letters and digits.
    let plain = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    let wanted = plain(name);
    let is_it = |device: &str| {
        let words = device.split([',', '(', ')']).map(plain).filter(|word| word.len() >= 3);
        words.into_iter().any(|word| {
            word == wanted || (wanted.len() > word.len() && wanted.starts_with(&word) && word.len() >= 5)
        })
    };
    let found: Vec<&Target> = Catalogue::builtin()
        .targets()
        .iter()
        .filter(|target| {
            target
                .routeros
                .as_ref()
                .is_some_and(|routeros| routeros.devices.iter().any(|device| is_it(device)))
        })
        .collect();
    match found.as_slice() {
        [] => Err(RouterOsError::UnknownDevice { name: name.into() }),
        [one] => Ok(one),
        many => Err(RouterOsError::ManyDevices {
            name: name.into(),
            targets: many.iter().map(|target| target.name.clone()).collect(),
        }),
    }
}

/// What of an image a script needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Command {
    /// The program, in one word; `None` where the image's own is left to it.
    pub(super) entrypoint: Option<String>,
    /// Its argument, in one word.
    pub(super) cmd: Option<String>,
    /// The environment, as names and values.
    pub(super) env: Vec<(String, String)>,
}

impl Command {
    /// Sets a variable, in place of the image's.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }
}

/// What `config` says of an image for `target`, as a device with `version` can be told it.
///
/// # Errors
/// [`RouterOsError`] where the device cannot run it.
pub fn command(
    config: &ImageConfiguration,
    platform: &Platform,
    target: &Target,
    version: Version,
) -> Result<Command, RouterOsError> {
    let routeros =
        target.routeros.as_ref().ok_or_else(|| RouterOsError::NotRouterOs { target: target.name.clone() })?;
    if !routeros.containers {
        return Err(RouterOsError::NoContainers { architecture: routeros.architecture.clone() });
    }
    let wanted = &target.platform;
    let level = |platform: &Platform| {
        let variant = platform.variant.as_deref().and_then(|variant| variant.strip_prefix('v'));
        variant.and_then(|level| level.parse::<u32>().ok())
    };
    let is_newer = matches!((level(platform), level(wanted)), (Some(image), Some(device)) if image > device);
    if platform.os != wanted.os || platform.architecture != wanted.architecture || is_newer {
        return Err(RouterOsError::Platform { platform: platform.to_string(), expected: wanted.to_string() });
    }
    let process = config.config().clone().unwrap_or_default();
    let entrypoint = process.entrypoint().clone().unwrap_or_default();
    let cmd = process.cmd().clone().unwrap_or_default();
    let start = process.labels().as_ref().and_then(|labels| labels.get(labels::START)).cloned();
    let mut told = Command::default();
    for variable in process.env().iter().flatten() {
        if let Some((name, value)) = variable.split_once('=') {
            told.env.push((name.to_owned(), value.to_owned()));
        }
    }
    match (start, entrypoint.as_slice(), cmd.as_slice()) {
        (Some(start), _, _) => told.entrypoint = Some(start),
        (None, [], []) => return Err(RouterOsError::NoCommand),
        // What is one word is started as an entry point, whichever of the two it was.
        (None, [], [one]) => told.entrypoint = Some(one.clone()),
        (None, [one], []) => told.entrypoint = Some(one.clone()),
        (None, [one], [argument]) => {
            (told.entrypoint, told.cmd) = (Some(one.clone()), Some(argument.clone()));
        }
        (None, _, _) if version.wants_explicit_command() => {
            return Err(RouterOsError::ManyWords { entrypoint: entrypoint.len(), cmd: cmd.len() });
        }
        // The image's own is used.
        (None, _, _) => {}
    }
    Ok(told)
}
