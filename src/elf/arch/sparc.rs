//! SPARC.
//!
//! Sources: "SPARC Compliance Definition" 2.4 (`e_flags`), binutils' `elf/sparc.h` (GNU attributes).

use super::super::attributes::{Vendor, number};
use super::em;
use super::{Draft, ElfError, Parts, Source, gnu_attributes};

const EF_SPARC_SUN_US1: u32 = 0x200;
const EF_SPARC_HAL_R1: u32 = 0x400;
const EF_SPARC_SUN_US3: u32 = 0x800;

/// `Tag_GNU_Sparc_HWCAPS`, what is worth telling of it.
const HWCAPS: &[(u64, &str)] = &[
    (0x8, "v8plus"),
    (0x10, "popc"),
    (0x20, "vis"),
    (0x40, "vis2"),
    (0x80, "asi_blk_init"),
    (0x100, "fmaf"),
    (0x400, "vis3"),
    (0x800, "hpc"),
    (0x1000, "random"),
    (0x2000, "trans"),
    (0x4000, "fjfmau"),
    (0x8000, "ima"),
    (0x1_0000, "asi_cache_sparing"),
    (0x2_0000, "aes"),
    (0x4_0000, "des"),
    (0x8_0000, "kasumi"),
    (0x10_0000, "camellia"),
    (0x20_0000, "md5"),
    (0x40_0000, "sha1"),
    (0x80_0000, "sha256"),
    (0x100_0000, "sha512"),
    (0x200_0000, "mpmul"),
    (0x400_0000, "mont"),
    (0x800_0000, "pause"),
    (0x1000_0000, "cbcond"),
    (0x2000_0000, "crc32c"),
];

pub(super) fn describe(parts: &mut Parts<'_, '_>, draft: &mut Draft) -> Result<(), ElfError> {
    let header = parts.layout.header;
    let flags = header.e_flags;
    let from = format!("machine {} and e_flags ({flags:#x})", header.e_machine);
    let ultra = match flags {
        _ if flags & EF_SPARC_SUN_US3 != 0 => "b",
        _ if flags & EF_SPARC_SUN_US1 != 0 => "a",
        _ => "",
    };
    let isa = match header.e_machine {
        em::SPARC => "v8".to_owned(),
        em::SPARC32PLUS => format!("v8plus{ultra}"),
        _ => format!("v9{ultra}"),
    };
    draft.isa(isa, Source::Declared, from);
    if flags & EF_SPARC_HAL_R1 != 0 {
        draft.feature("hal-r1", "e_flags");
    }
    if header.e_machine == em::SPARCV9 {
        let model = match flags & 3 {
            0 => "tso",
            1 => "pso",
            _ => "rmo",
        };
        draft.feature(model, "e_flags");
    }
    let capabilities = number(&gnu_attributes(parts)?, Vendor::Gnu, 4).unwrap_or(0);
    for (bit, name) in HWCAPS {
        if capabilities & bit != 0 {
            draft.feature(name, ".gnu.attributes (Tag_GNU_Sparc_HWCAPS)");
        }
    }
    Ok(())
}
