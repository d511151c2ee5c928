//! PowerPC, 32 and 64 bits.
//!
//! Sources: "Power Architecture 32-bit ABI Supplement" (APUinfo), "64-Bit ELF V2 ABI Specification"
//! (`e_flags`), binutils' `elf/ppc.h` (GNU attributes).

use super::super::attributes::{Vendor, number};
use super::em;
use super::{Draft, ElfError, Parts, Source, gnu_attributes, word};
use crate::target::Endianness;

/// Application-specific units of the embedded category, by the upper half of an APUinfo word.
const APUS: &[(u32, &str)] = &[
    (0x3f, "altivec"),
    (0x40, "isel"),
    (0x41, "pmr"),
    (0x42, "rfmci"),
    (0x43, "cachelck"),
    (0x100, "spe"),
    (0x101, "efs"),
    (0x102, "brlock"),
    (0x104, "vle"),
];

pub(super) fn describe(parts: &mut Parts<'_, '_>, draft: &mut Draft) -> Result<(), ElfError> {
    let header = parts.layout.header;
    if header.e_machine == em::PPC64 {
        match header.e_flags & 3 {
            1 => draft.abi("elfv1", Source::Declared, "e_flags"),
            2 => draft.abi("elfv2", Source::Declared, "e_flags"),
            _ => {
                // Version 1 was never little-endian; big-endian files of before the flag are version 1.
                let abi = if parts.layout.endianness() == Endianness::Little { "elfv2" } else { "elfv1" };
                draft.abi(abi, Source::Inferred, "byte order; e_flags name no version");
            }
        }
    }
    let apuinfo = apuinfo(parts)?;
    for (apu, name) in APUS {
        if apuinfo.iter().any(|word| word >> 16 == *apu) {
            draft.feature(name, ".PPC.EMB.apuinfo");
        }
    }
    let attributes = gnu_attributes(parts)?;
    let vector = number(&attributes, Vendor::Gnu, 8).unwrap_or(0);
    match vector {
        2 => draft.feature("altivec", ".gnu.attributes (Tag_GNU_Power_ABI_Vector)"),
        3 => draft.feature("spe", ".gnu.attributes (Tag_GNU_Power_ABI_Vector)"),
        _ => {}
    }
    if let Some(value) = number(&attributes, Vendor::Gnu, 4) {
        let from = format!(".gnu.attributes (Tag_GNU_Power_ABI_FP {value})");
        // The lower two bits are about float and double, the next two about long double.
        match value & 3 {
            1 | 3 => draft.float_abi("hard", Source::Declared, from.clone()),
            // Soft in the calling convention; SPE's instructions work on the integer registers all the same.
            2 if draft.features.iter().any(|name| name == "spe" || name == "efs") => {
                draft.float_abi("spe", Source::Declared, format!("{from} with SPE"));
            }
            2 => draft.float_abi("soft", Source::Declared, from.clone()),
            _ => {}
        }
        match value >> 2 & 3 {
            1 => draft.feature("long-double-ibm128", &from),
            2 => draft.feature("long-double-64", &from),
            3 => draft.feature("long-double-ieee128", &from),
            _ => {}
        }
    }
    if draft.features.iter().any(|name| name == "spe" || name == "efs") {
        draft.float_abi("spe", Source::Declared, ".PPC.EMB.apuinfo");
    }
    if let Some(path) = parts.interpreter.filter(|path| path.contains("/ld-musl-powerpc")) {
        let float = if path.ends_with("-sf.so.1") { "soft" } else { "hard" };
        draft.float_abi(float, Source::Inferred, format!("the interpreter's name ({path})"));
    }
    Ok(())
}

/// The words of the APUinfo record, which has the form of a note called `APUinfo` of type 2.
fn apuinfo(parts: &mut Parts<'_, '_>) -> Result<Vec<u32>, ElfError> {
    let section =
        parts.layout.section(b".PPC.EMB.apuinfo").map(|section| (section.sh_offset, section.sh_size));
    let Some((offset, len)) = section else { return Ok(Vec::new()) };
    let what = "the APUinfo record";
    let Some(bytes) = parts.layout.bytes(parts.file, what, offset, len.min(1 << 16))? else {
        return Ok(Vec::new());
    };
    if bytes.get(12..20) != Some(b"APUinfo\0") {
        return Ok(Vec::new());
    }
    let count = word(parts, &bytes, 4).unwrap_or(0) as usize / 4;
    Ok((0..count.min(bytes.len() / 4)).map_while(|index| word(parts, &bytes, 20 + index * 4)).collect())
}
