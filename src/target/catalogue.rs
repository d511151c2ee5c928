//! All targets, and finding one by any of its names.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::LazyLock;

use super::{Magic, Platform, Target, TargetError, file};

/// The files of `targets/`, as (file name, text).
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/targets.rs"));

/// A target file of the user's own may have so many bytes.
const FILE_MOST: u64 = 1 << 20;

/// The targets that are known, and the guests that they run as.
#[derive(Debug, Clone)]
pub struct Catalogue {
    targets: Vec<Target>,
    guests: Vec<Guest>,
}

/// One architecture that QEMU's linux-user emulation runs. Several targets may share it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Guest {
    /// QEMU's name, as in `qemu-mipsel`.
    pub name: String,
    /// How the kernel tells its binaries.
    pub binfmt: Magic,
    /// What `uname -m` says in it.
    pub uname: String,
    /// The last QEMU that has it, where it was removed.
    pub until: Option<String>,
    /// The targets that run as it, by name.
    pub targets: Vec<String>,
}

impl Catalogue {
    /// The targets that the program carries.
    #[must_use]
    pub fn builtin() -> &'static Self {
        // That the embedded files are right is held by a test.
        static BUILTIN: LazyLock<Catalogue> = LazyLock::new(|| {
            let targets = FILES.iter().map(|(name, text)| file::parse(name, text)).collect::<Result<_, _>>();
            targets
                .and_then(Catalogue::new)
                .unwrap_or_else(|err| panic!("the embedded catalogue is wrong: {err}"))
        });
        &BUILTIN
    }

    /// A catalogue of `targets`. Each guest's rule stands in one of them, and the others of that guest get it.
    ///
    /// # Errors
    /// [`TargetError::Invalid`] where two targets have one name, a guest has no rule, or two.
    pub fn new(mut targets: Vec<Target>) -> Result<Self, TargetError> {
        targets.sort_by(|a, b| a.name.cmp(&b.name));
        let mut guests: Vec<Guest> = Vec::new();
        for pair in targets.windows(2) {
            if pair[0].name == pair[1].name {
                return Err(invalid(&pair[0], "another target has its name"));
            }
        }
        for target in &targets {
            let Some(binfmt) = &target.binfmt else { continue };
            if guests.iter().any(|guest| guest.name == target.qemu.guest) {
                return Err(invalid(target, "another target holds the rule of its guest already"));
            }
            guests.push(Guest {
                name: target.qemu.guest.clone(),
                binfmt: binfmt.clone(),
                uname: target.qemu.uname.clone(),
                until: target.qemu.until.clone(),
                targets: Vec::new(),
            });
        }
        for target in &mut targets {
            let Some(guest) = guests.iter_mut().find(|guest| guest.name == target.qemu.guest) else {
                return Err(invalid(target, "no target holds the rule of its guest"));
            };
            guest.targets.push(target.name.clone());
            target.binfmt = Some(guest.binfmt.clone());
        }
        guests.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { targets, guests })
    }

    /// All targets, by name.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// All guests, by name.
    #[must_use]
    pub fn guests(&self) -> &[Guest] {
        &self.guests
    }

    /// The target called `name`: its own name, or that of its platform (`linux/arm`), or that without the
    /// operating system (`arm64`, `arm/v7`).
    ///
    /// # Errors
    /// [`TargetError::Unknown`], with the name most alike.
    pub fn target(&self, name: &str) -> Result<&Target, TargetError> {
        let by_name = |name: &str| self.targets.iter().find(|target| target.name == name);
        // `arm/v7` reads as a platform too, of an operating system called `arm`.
        let by_platform = |text: &str| by_name(&text.parse::<Platform>().ok()?.to_string());
        by_name(name)
            .or_else(|| by_platform(name))
            .or_else(|| by_platform(&format!("linux/{name}")))
            .ok_or_else(|| TargetError::Unknown {
                name: name.into(),
                nearest: nearest(name, self.targets.iter().map(|target| target.name.as_str())),
            })
    }

    /// The guest called `name`: by QEMU's name (`i386`), an OCI architecture (`386`, `arm/v7`) or a target's
    /// name (`routeros/mmips`). QEMU's names come first, for `arm` and `mips` are both.
    ///
    /// # Errors
    /// [`TargetError::UnknownGuest`], with the name most alike.
    pub fn guest(&self, name: &str) -> Result<&Guest, TargetError> {
        let by_name = |name: &str| self.guests.iter().find(|guest| guest.name == name);
        by_name(name)
            .or_else(|| self.target(name).ok().and_then(|target| by_name(&target.qemu.guest)))
            .ok_or_else(|| TargetError::UnknownGuest {
                name: name.into(),
                nearest: nearest(
                    name,
                    self.guests.iter().map(|guest| guest.name.as_str()).chain(
                        self.targets
                            .iter()
                            .flat_map(|target| [target.name.as_str(), target.platform.architecture.as_str()]),
                    ),
                ),
            })
    }

    /// The target that `argument` names: one of the catalogue, or a file of the user's own.
    ///
    /// An argument with a `.toml` ending, or one that begins with `./`, `../` or `/`, is a file. A file without
    /// a rule takes that of its guest.
    ///
    /// # Errors
    /// [`TargetError`] where the name is unknown, or the file cannot be read or is not right.
    pub fn resolve(&self, argument: &str) -> Result<Target, TargetError> {
        let is_file = Path::new(argument).extension().is_some_and(|extension| extension == "toml")
            || ["./", "../", "/"].iter().any(|prefix| argument.starts_with(prefix));
        if !is_file {
            return self.target(argument).cloned();
        }
        let failed = |source| TargetError::Read { path: argument.into(), source };
        let mut text = String::new();
        let read = File::open(argument).and_then(|file| file.take(FILE_MOST + 1).read_to_string(&mut text));
        if read.map_err(failed)? as u64 > FILE_MOST {
            return Err(TargetError::Invalid {
                file: argument.into(),
                reason: format!("it is longer than {FILE_MOST} bytes"),
            });
        }
        let mut target = file::parse(argument, &text)?;
        if target.binfmt.is_none() {
            let guest = self.guests.iter().find(|guest| guest.name == target.qemu.guest).ok_or_else(
                || TargetError::Invalid {
                    file: argument.into(),
                    reason: format!(
                        "`qemu.guest` is `{}`, which the catalogue does not have, and there is no `[binfmt]`",
                        target.qemu.guest
                    ),
                },
            )?;
            target.binfmt = Some(guest.binfmt.clone());
        }
        Ok(target)
    }
}

fn invalid(target: &Target, reason: &str) -> TargetError {
    TargetError::Invalid { file: target.name.clone(), reason: reason.into() }
}

/// The candidate most like `name`, where one is like it at all.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.to_owned())
}
