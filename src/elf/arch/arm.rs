//! ARM and AArch64.
//!
//! Sources: "ELF for the Arm Architecture" (`e_flags`), "Build Attributes for the Arm Architecture"
//! (`.ARM.attributes`), "ELF for the Arm 64-bit Architecture".

use super::super::attributes::{Vendor, number, text};
use super::{Draft, ElfError, Parts, Source, read_attributes};

/// `SHT_ARM_ATTRIBUTES`.
const ARM_ATTRIBUTES: u32 = 0x7000_0003;

/// `Tag_CPU_arch` of ARMv8-A.
const ARMV8_A: u64 = 14;

/// Tags of the `aeabi` vendor.
mod tag {
    pub(super) const CPU_NAME: u64 = 5;
    pub(super) const CPU_ARCH: u64 = 6;
    pub(super) const CPU_ARCH_PROFILE: u64 = 7;
    pub(super) const THUMB_ISA_USE: u64 = 9;
    pub(super) const FP_ARCH: u64 = 10;
    pub(super) const WMMX_ARCH: u64 = 11;
    pub(super) const ADVANCED_SIMD_ARCH: u64 = 12;
    pub(super) const ABI_VFP_ARGS: u64 = 28;
}

const EF_ARM_ABI_FLOAT_SOFT: u32 = 0x200;
const EF_ARM_ABI_FLOAT_HARD: u32 = 0x400;
const EF_ARM_BE8: u32 = 0x0080_0000;
/// The same bits meant other things before EABI version 1.
const EF_ARM_SOFT_FLOAT: u32 = 0x200;
const EF_ARM_VFP_FLOAT: u32 = 0x400;

pub(super) fn arm(parts: &mut Parts<'_, '_>, draft: &mut Draft) -> Result<(), ElfError> {
    let flags = parts.layout.header.e_flags;
    let eabi = flags >> 24;
    let from_flags = format!("e_flags ({flags:#x})");
    match eabi {
        // The bits of before the EABI are not set by every tool, so 0 alone only hints at it.
        0 => draft.abi("oabi", Source::Inferred, format!("{from_flags}, which name no EABI")),
        version => draft.abi(format!("eabi{version}"), Source::Declared, from_flags.clone()),
    }
    if flags & EF_ARM_BE8 != 0 {
        draft.feature("be8", "e_flags (EF_ARM_BE8)");
    }
    let attributes = read_attributes(parts, Some(ARM_ATTRIBUTES), b".ARM.attributes")?;
    let get = |tag| number(&attributes, Vendor::Arm, tag);
    let declared = "the build attributes";

    if let Some(arch) = get(tag::CPU_ARCH) {
        let profile = get(tag::CPU_ARCH_PROFILE).and_then(|profile| u8::try_from(profile).ok());
        if let Some(isa) = isa(arch, profile) {
            let name = text(&attributes, Vendor::Arm, tag::CPU_NAME).unwrap_or_default();
            let name = if name.is_empty() { String::new() } else { format!(", Tag_CPU_name {name:?}") };
            draft.isa(isa, Source::Declared, format!("{declared} (Tag_CPU_arch {arch}{name})"));
        }
    }
    let fp = get(tag::FP_ARCH).unwrap_or(0);
    for (name, tag) in [
        (fp_name(fp), "Tag_FP_arch"),
        (simd_name(get(tag::ADVANCED_SIMD_ARCH).unwrap_or(0)), "Tag_Advanced_SIMD_arch"),
        (if get(tag::WMMX_ARCH).unwrap_or(0) > 0 { Some("iwmmxt") } else { None }, "Tag_WMMX_arch"),
        (thumb_name(get(tag::THUMB_ISA_USE).unwrap_or(0)), "Tag_THUMB_ISA_use"),
    ] {
        if let Some(name) = name {
            draft.feature(name, &format!("{declared} ({tag})"));
        }
    }
    // A linker takes the highest of all objects', those in assembly for NEON or for ARMv8's own instructions among them.
    draft.is_most = get(tag::ADVANCED_SIMD_ARCH).unwrap_or(0) > 0 || get(tag::CPU_ARCH) == Some(ARMV8_A);
    // In a linked EABI version 5 file the flags are the linker's verdict on all of its parts.
    if eabi >= 5 && flags & EF_ARM_ABI_FLOAT_HARD != 0 {
        draft.float_abi("hard", Source::Declared, "e_flags (EF_ARM_ABI_FLOAT_HARD)");
    }
    match get(tag::ABI_VFP_ARGS) {
        Some(1) => draft.float_abi("hard", Source::Declared, format!("{declared} (Tag_ABI_VFP_args 1)")),
        Some(3) => draft.float_abi("any", Source::Declared, format!("{declared} (Tag_ABI_VFP_args 3)")),
        // The base standard: floats go in integer registers; that VFP instructions are used is told elsewhere.
        Some(0) | None if !attributes.is_empty() => {
            let float = if fp > 0 { "softfp" } else { "soft" };
            draft.float_abi(
                float,
                Source::Declared,
                format!("{declared} (Tag_ABI_VFP_args 0, Tag_FP_arch {fp})"),
            );
        }
        _ => {}
    }
    if eabi >= 5 && flags & EF_ARM_ABI_FLOAT_SOFT != 0 {
        draft.float_abi("soft", Source::Declared, "e_flags (EF_ARM_ABI_FLOAT_SOFT)");
    }
    if eabi == 0 && flags & EF_ARM_SOFT_FLOAT != 0 {
        draft.float_abi("soft", Source::Declared, "e_flags (EF_ARM_SOFT_FLOAT)");
    }
    if eabi == 0 && flags & EF_ARM_VFP_FLOAT != 0 {
        draft.float_abi("hard", Source::Declared, "e_flags (EF_ARM_VFP_FLOAT)");
    }
    Ok(())
}

/// What the loader's name tells of a program without attributes and flags.
pub(super) fn inferred(parts: &Parts<'_, '_>, draft: &mut Draft) {
    let Some(path) = parts.interpreter else { return };
    let from = || format!("the interpreter's name ({path})");
    if path.ends_with("/ld-linux-armhf.so.3") || path.ends_with("/ld-musl-armhf.so.1") {
        draft.float_abi("hard", Source::Inferred, from());
    } else if path.ends_with("/ld-musl-arm.so.1") {
        draft.float_abi("soft", Source::Inferred, from());
    }
}

fn isa(arch: u64, profile: Option<u8>) -> Option<&'static str> {
    Some(match (arch, profile) {
        (1, _) => "armv4",
        (2, _) => "armv4t",
        (3, _) => "armv5t",
        (4, _) => "armv5te",
        (5, _) => "armv5tej",
        (6, _) => "armv6",
        (7, _) => "armv6kz",
        (8, _) => "armv6t2",
        (9, _) => "armv6k",
        (10, Some(b'A')) => "armv7-a",
        (10, Some(b'R')) => "armv7-r",
        (10, Some(b'M')) => "armv7-m",
        (10, _) => "armv7",
        (11, _) => "armv6-m",
        (12, _) => "armv6s-m",
        (13, _) => "armv7e-m",
        (14, _) => "armv8-a",
        (15, _) => "armv8-r",
        (16, _) => "armv8-m.base",
        (17, _) => "armv8-m.main",
        (18, _) => "armv8.1-a",
        (19, _) => "armv8.2-a",
        (20, _) => "armv8.3-a",
        (21, _) => "armv8.1-m.main",
        (22, _) => "armv9-a",
        _ => return None,
    })
}

fn fp_name(value: u64) -> Option<&'static str> {
    Some(match value {
        1 => "vfpv1",
        2 => "vfpv2",
        3 => "vfpv3",
        4 => "vfpv3-d16",
        5 => "vfpv4",
        6 => "vfpv4-d16",
        7 => "fp-armv8",
        8 => "fp-armv8-d16",
        _ => return None,
    })
}

fn simd_name(value: u64) -> Option<&'static str> {
    Some(match value {
        1 => "neon",
        2 => "neon-vfpv4",
        3 => "neon-armv8",
        4 => "neon-armv8.1",
        _ => return None,
    })
}

fn thumb_name(value: u64) -> Option<&'static str> {
    Some(match value {
        1 => "thumb",
        2 => "thumb2",
        // "As the architecture permits" tells nothing.
        _ => return None,
    })
}

/// `GNU_PROPERTY_AARCH64_FEATURE_1_AND` and its bits.
const AARCH64_FEATURE_1_AND: u32 = 0xc000_0000;
const AARCH64_FEATURES: &[(u32, &str)] = &[(1, "bti"), (2, "pac"), (4, "gcs")];

pub(super) fn aarch64(parts: &mut Parts<'_, '_>, draft: &mut Draft) {
    let abi = if parts.layout.class() == 64 { "lp64" } else { "ilp32" };
    draft.abi(abi, Source::Declared, format!("ELF class {}", parts.layout.class()));
    let (word, endian) = (parts.layout.word(), parts.layout.endian());
    for (kind, value) in super::super::notes::properties(parts.notes, word, endian) {
        for (bit, name) in AARCH64_FEATURES {
            if kind == AARCH64_FEATURE_1_AND && value & bit != 0 {
                draft.feature(name, "the GNU property note");
            }
        }
    }
}
