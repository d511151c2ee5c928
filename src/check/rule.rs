//! The rules by name.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::Severity;
use super::explain;
use crate::target::nearest;

/// A rule. Its id is public: policies, baselines and reports name it, and it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Index entry, config and the target that is asked for agree.
    PlatformMismatch,
    /// Programs are for the target's machine and system.
    Machine,
    /// Programs have the target's word size.
    Class,
    /// Programs have the target's byte order.
    Endianness,
    /// Index entry, config and target agree on the variant, and the ABI is the target's.
    Variant,
    /// The ISA level, and each CPU feature, is one that the target has.
    Isa,
    /// The float ABI is one that the target has, and one in each process.
    FloatAbi,
    /// The loader that a program names is there.
    InterpreterMissing,
    /// The loader that a program names is one for it.
    InterpreterMismatch,
    /// The libraries that a program needs are found by its loader.
    NeededMissing,
    /// What the loader finds is a library for the program.
    NeededMismatch,
    /// Libraries have the versions of symbols that are needed.
    SymbolVersion,
    /// The interpreter of a script is there and can be executed.
    Shebang,
    /// The target's kernel is new enough.
    Kernel,
    /// Segments are aligned to the target's pages.
    PageSize,
    /// The ELF header is one by which handlers know the program.
    BinfmtQuirk,
    /// What the image runs is there and can be executed.
    Entrypoint,
    /// Programs are of one architecture.
    MixedArchitectures,
    /// A program is linked as it has to be where it stands.
    Linkage,
    /// An emulator in the image serves the foreign programs in it.
    Emulator,
    /// Foreign programs are not setuid.
    SetuidForeign,
    /// Programs use nothing that emulation lacks.
    UnsupportedUnderEmulation,
    /// Files are for Linux.
    ForeignFormat,
    /// The archive is one that the device takes.
    ArchiveLayout,
    /// The image fits into the device's flash.
    Size,
    /// No allowance of the policy is past its last day.
    AllowanceExpired,
    /// Every allowance of the policy allows something.
    AllowanceUnused,
    /// What the baseline has is there yet.
    BaselineGone,
}

/// What is to be known of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// What the rule holds.
    pub holds: &'static str,
    /// Why it matters, with what the user sees at run time.
    pub why: &'static str,
    /// How to mend what breaks it.
    pub mend: &'static str,
    /// When to allow it.
    pub allow: &'static str,
}

impl Rule {
    /// All rules, in the order in which they are listed.
    pub const ALL: [Self; 28] = [
        Self::PlatformMismatch,
        Self::Machine,
        Self::Class,
        Self::Endianness,
        Self::Variant,
        Self::Isa,
        Self::FloatAbi,
        Self::InterpreterMissing,
        Self::InterpreterMismatch,
        Self::NeededMissing,
        Self::NeededMismatch,
        Self::SymbolVersion,
        Self::Shebang,
        Self::Kernel,
        Self::PageSize,
        Self::BinfmtQuirk,
        Self::Entrypoint,
        Self::MixedArchitectures,
        Self::Linkage,
        Self::Emulator,
        Self::SetuidForeign,
        Self::UnsupportedUnderEmulation,
        Self::ForeignFormat,
        Self::ArchiveLayout,
        Self::Size,
        Self::AllowanceExpired,
        Self::AllowanceUnused,
        Self::BaselineGone,
    ];

    /// The public id.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PlatformMismatch => "platform-mismatch",
            Self::Machine => "machine",
            Self::Class => "class",
            Self::Endianness => "endianness",
            Self::Variant => "variant",
            Self::Isa => "isa",
            Self::FloatAbi => "float-abi",
            Self::InterpreterMissing => "interpreter-missing",
            Self::InterpreterMismatch => "interpreter-mismatch",
            Self::NeededMissing => "needed-missing",
            Self::NeededMismatch => "needed-mismatch",
            Self::SymbolVersion => "symbol-version",
            Self::Shebang => "shebang",
            Self::Kernel => "kernel",
            Self::PageSize => "page-size",
            Self::BinfmtQuirk => "binfmt-quirk",
            Self::Entrypoint => "entrypoint",
            Self::MixedArchitectures => "mixed-architectures",
            Self::Linkage => "linkage",
            Self::Emulator => "emulator",
            Self::SetuidForeign => "setuid-foreign",
            Self::UnsupportedUnderEmulation => "unsupported-under-emulation",
            Self::ForeignFormat => "foreign-format",
            Self::ArchiveLayout => "archive-layout",
            Self::Size => "size",
            Self::AllowanceExpired => "allowance-expired",
            Self::AllowanceUnused => "allowance-unused",
            Self::BaselineGone => "baseline-gone",
        }
    }

    /// How bad it is to break it, where nobody says otherwise. A finding may be milder, where a rule has milder cases.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::PlatformMismatch
            | Self::Machine
            | Self::Class
            | Self::Endianness
            | Self::Variant
            | Self::Isa
            | Self::FloatAbi
            | Self::InterpreterMissing
            | Self::InterpreterMismatch
            | Self::NeededMissing
            | Self::NeededMismatch
            | Self::SymbolVersion
            | Self::Kernel
            | Self::Linkage
            | Self::Entrypoint
            | Self::Emulator
            | Self::ArchiveLayout
            | Self::Size => Severity::Error,
            Self::Shebang
            | Self::PageSize
            | Self::BinfmtQuirk
            | Self::MixedArchitectures
            | Self::SetuidForeign
            | Self::UnsupportedUnderEmulation
            | Self::ForeignFormat
            | Self::AllowanceExpired => Severity::Warning,
            Self::AllowanceUnused | Self::BaselineGone => Severity::Note,
        }
    }

    /// Whether it is about the policy or the baseline, not about what is checked.
    #[must_use]
    pub fn is_about_policy(self) -> bool {
        matches!(self, Self::AllowanceExpired | Self::AllowanceUnused | Self::BaselineGone)
    }

    /// Whether another number in what was expected or found is another finding: it is no version or size that moves on, as it is for
    /// these rules only.
    #[must_use]
    pub(super) fn counts_numbers(self) -> bool {
        !matches!(
            self,
            Self::SymbolVersion
                | Self::NeededMissing
                | Self::NeededMismatch
                | Self::Kernel
                | Self::Size
                | Self::ArchiveLayout
                | Self::Shebang
                | Self::Entrypoint
                | Self::Emulator
        )
    }

    /// One line for lists.
    #[must_use]
    pub fn summary(self) -> &'static str {
        explain::summary(self)
    }

    /// A page for people.
    #[must_use]
    pub fn explanation(self) -> Explanation {
        explain::explanation(self)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// No rule is called so.
#[derive(Debug, thiserror::Error)]
#[error("there is no rule `{text}`")]
pub struct UnknownRule {
    text: String,
}

impl UnknownRule {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let names = Rule::ALL.map(Rule::as_str);
        Some(match nearest(&self.text, names.into_iter()) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("the rules are {}", names.join(", ")),
        })
    }
}

impl FromStr for Rule {
    type Err = UnknownRule;

    fn from_str(text: &str) -> Result<Self, UnknownRule> {
        let known = Self::ALL.into_iter().find(|rule| rule.as_str() == text);
        known.ok_or_else(|| UnknownRule { text: text.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back_and_each_is_there_once() {
        for (at, rule) in Rule::ALL.into_iter().enumerate() {
            assert_eq!(rule.as_str().parse::<Rule>().unwrap(), rule);
            assert_eq!(rule as usize, at, "ALL is in the order of the enum: {rule}");
        }
        assert!("nothing".parse::<Rule>().is_err());
    }
}
