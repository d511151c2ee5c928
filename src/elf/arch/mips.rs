//! MIPS.
//!
//! Sources: the MIPS psABI supplements and binutils' `elf/mips.h` (`e_flags`); "MIPS O32 ABI - FR0 and FR1
//! Interlinking" (`.MIPS.abiflags`, `Tag_GNU_MIPS_ABI_FP`).

use super::super::attributes::{Vendor, number};
use super::{Draft, ElfError, Parts, Source, gnu_attributes, word};

const EF_MIPS_ABI2: u32 = 0x20;
const EF_MIPS_FP64: u32 = 0x200;
const EF_MIPS_NAN2008: u32 = 0x400;
const EF_MIPS_ABI: u32 = 0xf000;
const EF_MIPS_MACH: u32 = 0x00ff_0000;

/// `PT_MIPS_ABIFLAGS` and `SHT_MIPS_ABIFLAGS`.
const PT_ABIFLAGS: u32 = 0x7000_0003;
const SHT_ABIFLAGS: u32 = 0x7000_002a;

const ASES: &[(u32, &str)] = &[
    (0x1, "dsp"),
    (0x2, "dspr2"),
    (0x4, "eva"),
    (0x8, "mcu"),
    (0x10, "mdmx"),
    (0x20, "mips3d"),
    (0x40, "mt"),
    (0x80, "smartmips"),
    (0x100, "virt"),
    (0x200, "msa"),
    (0x400, "mips16"),
    (0x800, "micromips"),
    (0x1000, "xpa"),
    (0x2000, "dspr3"),
    (0x4000, "mips16e2"),
    (0x8000, "crc"),
    (0x20000, "ginv"),
    (0x40000, "loongson-mmi"),
    (0x80000, "loongson-cam"),
    (0x0010_0000, "loongson-ext"),
    (0x0020_0000, "loongson-ext2"),
];

/// Makers' own instructions, by `EF_MIPS_MACH`.
const MACHINES: &[(u32, &str)] = &[
    (0x0081_0000, "r3900"),
    (0x0082_0000, "r4010"),
    (0x0083_0000, "vr4100"),
    (0x0084_0000, "allegrex"),
    (0x0085_0000, "r4650"),
    (0x0087_0000, "vr4120"),
    (0x0088_0000, "vr4111"),
    (0x008a_0000, "sb1"),
    (0x008b_0000, "octeon"),
    (0x008c_0000, "xlr"),
    (0x008d_0000, "octeon2"),
    (0x008e_0000, "octeon3"),
    (0x0091_0000, "vr5400"),
    (0x0092_0000, "r5900"),
    (0x0093_0000, "interaptiv-mr2"),
    (0x0098_0000, "vr5500"),
    (0x0099_0000, "rm9000"),
    (0x00a0_0000, "loongson2e"),
    (0x00a1_0000, "loongson2f"),
    (0x00a2_0000, "gs464"),
    (0x00a3_0000, "gs464e"),
    (0x00a4_0000, "gs264e"),
];

pub(super) fn describe(parts: &mut Parts<'_, '_>, draft: &mut Draft) -> Result<(), ElfError> {
    let flags = parts.layout.header.e_flags;
    let from_flags = format!("e_flags ({flags:#x})");
    let class = parts.layout.class();
    match (flags & EF_MIPS_ABI, flags & EF_MIPS_ABI2 != 0) {
        (0x1000, _) => draft.abi("o32", Source::Declared, from_flags.clone()),
        (0x2000, _) => draft.abi("o64", Source::Declared, from_flags.clone()),
        (0x3000, _) => draft.abi("eabi32", Source::Declared, from_flags.clone()),
        (0x4000, _) => draft.abi("eabi64", Source::Declared, from_flags.clone()),
        (_, true) => draft.abi("n32", Source::Declared, format!("{from_flags}, EF_MIPS_ABI2")),
        _ if class == 64 => draft.abi("n64", Source::Declared, "ELF class 64 with no other ABI in e_flags"),
        // Tools of before the flag wrote none, and knew o32 only.
        _ => draft.abi("o32", Source::Inferred, format!("{from_flags}, which name no other ABI")),
    }

    if let Some(abiflags) = abiflags(parts)? {
        abi_flags(parts, &abiflags, draft);
    }
    let level = match flags >> 28 {
        0 => "mips1",
        1 => "mips2",
        2 => "mips3",
        3 => "mips4",
        4 => "mips5",
        5 => "mips32",
        6 => "mips64",
        7 => "mips32r2",
        8 => "mips64r2",
        9 => "mips32r6",
        10 => "mips64r6",
        _ => "",
    };
    if !level.is_empty() {
        draft.isa(level, Source::Declared, format!("{from_flags}, EF_MIPS_ARCH"));
    }
    for (bit, name) in [(0x0800_0000, "mdmx"), (0x0400_0000, "mips16"), (0x0200_0000, "micromips")] {
        if flags & bit != 0 {
            draft.feature(name, "e_flags");
        }
    }
    if flags & EF_MIPS_NAN2008 != 0 {
        draft.feature("nan2008", "e_flags");
    }
    if flags & EF_MIPS_FP64 != 0 {
        draft.feature("fp64", "e_flags");
    }
    if let Some((_, name)) = MACHINES.iter().find(|(value, _)| flags & EF_MIPS_MACH == *value) {
        draft.feature(name, "e_flags");
    }
    // Tag_GNU_MIPS_ABI_FP has the values of the ABI flags' field.
    if let Some(value) = number(&gnu_attributes(parts)?, Vendor::Gnu, 4)
        && let Some(float) = u8::try_from(value).ok().and_then(float_abi)
    {
        draft.float_abi(float, Source::Declared, format!(".gnu.attributes (Tag_GNU_MIPS_ABI_FP {value})"));
    }
    if let Some(path) = parts.interpreter.filter(|path| path.contains("/ld-musl-mips")) {
        let float = if path.ends_with("-sf.so.1") { "soft" } else { "hard" };
        draft.float_abi(float, Source::Inferred, format!("the interpreter's name ({path})"));
    }
    Ok(())
}

fn abiflags(parts: &mut Parts<'_, '_>) -> Result<Option<Vec<u8>>, ElfError> {
    /// `sizeof (Elf_Internal_ABIFlags_v0)`.
    const SIZE: u64 = 24;
    let place = parts.layout.segment(PT_ABIFLAGS).map(|segment| segment.p_offset).or_else(|| {
        let mut sections = parts.layout.sections.iter();
        sections.find(|section| section.sh_type == SHT_ABIFLAGS).map(|section| section.sh_offset)
    });
    // Debugging information keeps the segment without its bytes.
    match place.filter(|_| !parts.layout.is_stripped_to_debug()) {
        Some(offset) => parts.layout.bytes(parts.file, ".MIPS.abiflags", offset, SIZE),
        None => Ok(None),
    }
}

fn abi_flags(parts: &Parts<'_, '_>, bytes: &[u8], draft: &mut Draft) {
    let from = ".MIPS.abiflags";
    let &[_, version, level, revision, _gpr, _cpr1, _cpr2, fp, ..] = bytes else { return };
    // Version 0 is the only one; the first two bytes are in the file's byte order.
    if version != 0 || bytes[0] != 0 {
        return;
    }
    let isa = match (level, revision) {
        (1..=5, _) => format!("mips{level}"),
        (32 | 64, 0 | 1) => format!("mips{level}"),
        (32 | 64, revision @ (2 | 3 | 5 | 6)) => format!("mips{level}r{revision}"),
        _ => String::new(),
    };
    if !isa.is_empty() {
        draft.isa(isa, Source::Declared, format!("{from} (level {level}, revision {revision})"));
    }
    if let Some(float) = float_abi(fp) {
        draft.float_abi(float, Source::Declared, format!("{from} (FP ABI {fp})"));
    }
    match fp {
        4 | 6 | 7 => draft.feature("fp64", from),
        5 => draft.feature("fpxx", from),
        _ => {}
    }
    let ases = word(parts, bytes, 12).unwrap_or(0);
    for (bit, name) in ASES {
        if ases & bit != 0 {
            draft.feature(name, from);
        }
    }
}

/// `Val_GNU_MIPS_ABI_FP_*`: any, double, single, soft, old 64-bit, xx, 64, 64A.
fn float_abi(value: u8) -> Option<&'static str> {
    match value {
        0 => Some("any"),
        3 => Some("soft"),
        1 | 2 | 4..=7 => Some("hard"),
        _ => None,
    }
}
