//! i386 and x86-64.
//!
//! Source: "Linux Extensions to gABI" and the x86-64 psABI, "Program Property" and "micro-architecture levels".

use super::em;
use super::{Draft, Parts, Source};

const FEATURE_1_AND: u32 = 0xc000_0002;
const ISA_1_NEEDED: u32 = 0xc000_8002;
const FEATURE_2_NEEDED: u32 = 0xc000_8001;

const FEATURES_1: &[(u32, &str)] = &[(1, "ibt"), (2, "shstk"), (4, "lam-u48"), (8, "lam-u57")];
const FEATURES_2: &[(u32, &str)] = &[
    (1, "x86"),
    (2, "x87"),
    (4, "mmx"),
    (8, "xmm"),
    (0x10, "ymm"),
    (0x20, "zmm"),
    (0x40, "fxsr"),
    (0x80, "xsave"),
    (0x100, "xsaveopt"),
    (0x200, "xsavec"),
    (0x400, "tmm"),
    (0x800, "mask"),
];
/// The highest first: a binary that needs a level has the bits of those below it too, or not.
const LEVELS: &[(u32, &str)] = &[(8, "x86-64-v4"), (4, "x86-64-v3"), (2, "x86-64-v2"), (1, "x86-64")];

pub(super) fn describe(parts: &mut Parts<'_, '_>, draft: &mut Draft) {
    let from = "the GNU property note";
    if parts.layout.header.e_machine == em::X86_64 {
        let abi = if parts.layout.class() == 64 { "lp64" } else { "x32" };
        draft.abi(abi, Source::Declared, format!("machine X86_64 with ELF class {}", parts.layout.class()));
    }
    let (word, endian) = (parts.layout.word(), parts.layout.endian());
    for (kind, value) in super::super::notes::properties(parts.notes, word, endian) {
        let names = match kind {
            FEATURE_1_AND => FEATURES_1,
            FEATURE_2_NEEDED => FEATURES_2,
            ISA_1_NEEDED => {
                if let Some((bit, level)) = LEVELS.iter().find(|(bit, _)| value & bit != 0) {
                    // The baseline is what every 64-bit CPU has: in 32-bit code, a Pentium 4's.
                    let is_32_bit = parts.layout.header.e_machine == em::I386;
                    let level = if is_32_bit && *bit == 1 { "pentium4" } else { level };
                    draft.isa(level, Source::Declared, format!("{from} (x86 ISA needed, {value:#x})"));
                }
                continue;
            }
            _ => continue,
        };
        for (bit, name) in names {
            if value & bit != 0 {
                draft.feature(name, from);
            }
        }
    }
}
