//! Whether a binary fits a target.

use super::{Identity, isa};
use crate::target::{Catalogue, Target};

/// Why a binary does not fit a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Mismatch {
    /// Made for another operating system.
    Os,
    /// Another `e_machine`.
    Machine,
    /// 32 bits and 64.
    Class,
    /// The other byte order.
    Endianness,
    /// Another ABI.
    Abi,
    /// An ISA level that the target's does not include.
    Isa,
    /// A float ABI whose instructions the target does not have.
    FloatAbi,
    /// A feature that the target does not have.
    Feature,
}

impl Mismatch {
    /// What `identity` is and `target` wants, in a few words.
    pub fn describe(self, identity: &Identity, target: &Target) -> String {
        let profile = &target.elf;
        let or = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".into());
        let list = |values: &[String]| values.join(" or ");
        match self {
            Self::Os => format!("it is for {}, not {}", or(&identity.platform.os), target.platform.os),
            Self::Machine => format!(
                "it is for machine {}, not {}",
                identity.machine.map_or_else(|| identity.machine_id.to_string(), str::to_owned),
                list(&profile.machines)
            ),
            Self::Class => format!("it has {} bits, not {}", identity.class, profile.class),
            Self::Endianness => "it has the other byte order".into(),
            Self::Abi => format!("its ABI is {}, not {}", or(&identity.abi), list(&profile.abi)),
            Self::Isa => {
                format!("it needs ISA level {}, and the target has {}", or(&identity.isa), or(&profile.isa))
            }
            Self::FloatAbi => format!(
                "its float ABI is {}, and the target takes {}",
                or(&identity.float_abi),
                list(&profile.float_abi)
            ),
            Self::Feature => {
                let features = excluded(identity, target).collect::<Vec<_>>().join(", ");
                format!("it uses {features}, which the target does not have")
            }
        }
    }
}

/// The features of a binary that a target does not have.
fn excluded<'a>(identity: &'a Identity, target: &'a Target) -> impl Iterator<Item = &'a str> {
    let families = &target.elf.excludes;
    let is_excluded = |feature: &&str| families.iter().any(|family| feature.starts_with(family.as_str()));
    identity.features.iter().map(String::as_str).filter(is_excluded)
}

/// Why `identity` does not fit `target`; empty where it does. Where it is for another machine altogether, the
/// finer differences are not told. Facts that the binary does not tell are held
/// in its favour.
pub fn fit(identity: &Identity, target: &Target) -> Vec<Mismatch> {
    let profile = &target.elf;
    let mut wrong = Vec::new();
    let mut check = |fits: bool, mismatch| {
        if !fits {
            wrong.push(mismatch);
        }
    };
    check(identity.platform.os.as_ref().is_none_or(|os| *os == target.platform.os), Mismatch::Os);
    check(is_machine(identity, target), Mismatch::Machine);
    check(identity.class == profile.class, Mismatch::Class);
    check(identity.endianness == profile.endianness, Mismatch::Endianness);
    if !wrong.is_empty() {
        return wrong;
    }
    let mut check = |fits: bool, mismatch| {
        if !fits {
            wrong.push(mismatch);
        }
    };
    check(fits_abi(identity, target), Mismatch::Abi);
    // How floating point numbers are passed is not chosen at run time, which instructions are used is.
    let takes_soft = profile.float_abi.iter().any(|float| float == "soft");
    let passes_softly = identity.float_abi.as_deref() == Some("softfp") && takes_soft;
    for mismatch in beyond(identity, target) {
        check(identity.chooses && (mismatch != Mismatch::FloatAbi || passes_softly), mismatch);
    }
    wrong
}

/// What of the CPU `identity` names and `target` does not have. A library that chooses at run time what it uses fits all the same.
pub fn beyond(identity: &Identity, target: &Target) -> Vec<Mismatch> {
    let profile = &target.elf;
    let mut wrong = Vec::new();
    if let (Some(has), Some(needs)) = (&profile.isa, &identity.isa)
        // A level that is not known is none that can be held against anything.
        && !isa::includes(has, needs).unwrap_or(true)
    {
        wrong.push(Mismatch::Isa);
    }
    if let Some(float) = identity.float_abi.as_deref().filter(|float| *float != "any")
        && !profile.float_abi.is_empty()
        && !profile.float_abi.iter().any(|known| known == float)
    {
        wrong.push(Mismatch::FloatAbi);
    }
    if excluded(identity, target).next().is_some() {
        wrong.push(Mismatch::Feature);
    }
    wrong
}

fn is_machine(identity: &Identity, target: &Target) -> bool {
    identity.machine.is_some_and(|machine| target.elf.machines.iter().any(|known| known == machine))
}

fn fits_abi(identity: &Identity, target: &Target) -> bool {
    let accepted = &target.elf.abi;
    accepted.is_empty() || identity.abi.as_ref().is_none_or(|abi| accepted.contains(abi))
}

/// The OCI architecture of a binary: that of a target with its machine, class and byte order, and its ABI too
/// where several differ by nothing else.
pub(super) fn architecture<'a>(identity: &Identity, catalogue: &'a Catalogue) -> Option<&'a str> {
    let alike = |target: &&Target| {
        target.routeros.is_none()
            && is_machine(identity, target)
            && identity.class == target.elf.class
            && identity.endianness == target.elf.endianness
    };
    let targets = catalogue.targets().iter();
    let mut exact = targets.filter(alike).filter(|target| fits_abi(identity, target));
    exact.next().map(|target| target.platform.architecture.as_str())
}
