//! Architectures of which a few flags tell all that files tell.
//!
//! Sources: the psABI supplements and binutils' headers `elf/s390.h`, `elf/sh.h`, `elf/m68k.h`, `elf/hppa.h`,
//! and LLVM's `ELF.h` for Hexagon.

use super::super::attributes::{Vendor, number};
use super::{Draft, ElfError, Parts, Source, gnu_attributes};

pub(super) fn s390(parts: &mut Parts<'_, '_>, draft: &mut Draft) -> Result<(), ElfError> {
    const EF_S390_HIGH_GPRS: u32 = 1;
    if parts.layout.header.e_flags & EF_S390_HIGH_GPRS != 0 && parts.layout.class() == 32 {
        draft.feature("high-gprs", "e_flags");
    }
    // Tag_GNU_S390_ABI_Vector: 1 software, 2 hardware.
    if number(&gnu_attributes(parts)?, Vendor::Gnu, 8) == Some(2) {
        draft.feature("vx", ".gnu.attributes (Tag_GNU_S390_ABI_Vector)");
    }
    Ok(())
}

/// The values of `EF_SH_MACH_MASK`: name, and whether it is one without an FPU of a CPU that has one.
const SH: &[(u32, &str, bool)] = &[
    (1, "sh1", false),
    (2, "sh2", false),
    (3, "sh3", false),
    (4, "sh-dsp", false),
    (5, "sh3-dsp", false),
    (6, "sh4al-dsp", false),
    (8, "sh3e", false),
    (9, "sh4", false),
    (11, "sh2e", false),
    (12, "sh4a", false),
    (13, "sh2a", false),
    (16, "sh4-nofpu", true),
    (17, "sh4a-nofpu", true),
    (18, "sh4-nommu-nofpu", true),
    (19, "sh2a-nofpu", true),
    (20, "sh3-nommu", false),
    (21, "sh2a-nofpu-or-sh4-nommu-nofpu", false),
    (22, "sh2a-nofpu-or-sh3-nommu", false),
    (23, "sh2a-or-sh4", false),
    (24, "sh2a-or-sh3e", false),
];

pub(super) fn sh(parts: &mut Parts<'_, '_>, draft: &mut Draft) {
    const EF_SH_FDPIC: u32 = 0x8000;
    let flags = parts.layout.header.e_flags;
    if let Some((_, isa, soft)) = SH.iter().find(|(value, ..)| flags & 0x1f == *value) {
        draft.isa(*isa, Source::Declared, format!("e_flags ({flags:#x})"));
        if *soft {
            draft.float_abi("soft", Source::Declared, format!("e_flags ({flags:#x})"));
        }
    }
    if flags & EF_SH_FDPIC != 0 {
        draft.abi("fdpic", Source::Declared, "e_flags (EF_SH_FDPIC)");
    }
}

pub(super) fn m68k(parts: &mut Parts<'_, '_>, draft: &mut Draft) {
    let flags = parts.layout.header.e_flags;
    let isa = match flags {
        _ if flags & 0x0081_0000 == 0x0081_0000 => "cpu32",
        _ if flags & 0x0100_0000 != 0 => "m68000",
        _ if flags & 0x0200_0000 != 0 => "fido",
        _ => match flags & 0xf {
            0 => return,
            1 => "isa-a-nodiv",
            2 => "isa-a",
            3 => "isa-a-plus",
            4 => "isa-b-nousp",
            5 => "isa-b",
            6 => "isa-c",
            7 => "isa-c-nodiv",
            _ => return,
        },
    };
    draft.isa(isa, Source::Declared, format!("e_flags ({flags:#x})"));
}

pub(super) fn parisc(parts: &mut Parts<'_, '_>, draft: &mut Draft) {
    let flags = parts.layout.header.e_flags;
    let isa = match flags & 0xffff {
        0x20b => "pa1.0",
        0x210 => "pa1.1",
        0x214 => "pa2.0",
        _ => return,
    };
    draft.isa(isa, Source::Declared, format!("e_flags ({flags:#x})"));
}

pub(super) fn hexagon(parts: &mut Parts<'_, '_>, draft: &mut Draft) {
    let flags = parts.layout.header.e_flags;
    let isa = match flags & 0x3ff {
        1 => "hexagonv2".to_owned(),
        2 => "hexagonv3".to_owned(),
        3 => "hexagonv4".to_owned(),
        4 => "hexagonv5".to_owned(),
        5 => "hexagonv55".to_owned(),
        // From V60 on the number stands there as people write it, in hexadecimal.
        version @ 0x60..=0x99 => format!("hexagonv{version:x}"),
        _ => return,
    };
    draft.isa(isa, Source::Declared, format!("e_flags ({flags:#x})"));
}
