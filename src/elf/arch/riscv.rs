//! RISC-V.
//!
//! Source: "RISC-V ELF Specification" of the psABI (`e_flags`, `.riscv.attributes`); "ISA Extension Naming
//! Conventions" of the unprivileged specification.

use super::super::attributes::{Vendor, text};
use super::super::isa::RiscV;
use super::{Draft, ElfError, Parts, Source, read_attributes};

/// `SHT_RISCV_ATTRIBUTES`.
const RISCV_ATTRIBUTES: u32 = 0x7000_0003;
const TAG_ARCH: u64 = 5;
/// The longest description of an ISA that is read, in bytes; one of all extensions has under 1,000.
const MOST_ARCH: usize = 4096;

const EF_RISCV_RVC: u32 = 1;
const EF_RISCV_RVE: u32 = 8;
const EF_RISCV_TSO: u32 = 0x10;

pub(super) fn describe(parts: &mut Parts<'_, '_>, draft: &mut Draft) -> Result<(), ElfError> {
    let flags = parts.layout.header.e_flags;
    let from = format!("e_flags ({flags:#x})");
    let base = if parts.layout.class() == 64 { "lp64" } else { "ilp32" };
    let (suffix, float) = match (flags >> 1 & 3, flags & EF_RISCV_RVE != 0) {
        (_, true) => ("e", "soft"),
        (0, _) => ("", "soft"),
        (1, _) => ("f", "hard"),
        (2, _) => ("d", "hard"),
        _ => ("q", "hard"),
    };
    draft.abi(format!("{base}{suffix}"), Source::Declared, from.clone());
    draft.float_abi(float, Source::Declared, from);
    for (bit, name) in [(EF_RISCV_RVC, "rvc"), (EF_RISCV_RVE, "rve"), (EF_RISCV_TSO, "tso")] {
        if flags & bit != 0 {
            draft.feature(name, "e_flags");
        }
    }
    let attributes = read_attributes(parts, Some(RISCV_ATTRIBUTES), b".riscv.attributes")?;
    if let Some(arch) = text(&attributes, Vendor::RiscV, TAG_ARCH).filter(|arch| arch.len() <= MOST_ARCH)
        && let Some(isa) = RiscV::parse(arch)
    {
        draft.isa(
            isa.to_string(),
            Source::Declared,
            format!("the build attributes (Tag_RISCV_arch {arch:?})"),
        );
    }
    Ok(())
}
