//! What each architecture's flags, attributes and notes say of ABI, ISA level and float ABI.
//!
//! Each reader asks the surest source first: [`Draft`] keeps what it is told first.

mod arm;
mod loongarch;
mod mips;
mod others;
mod powerpc;
mod riscv;
mod sparc;
mod x86;

use goblin::elf::section_header::SHT_NOBITS;
use scroll::Pread;

use super::attributes::{self, Attribute};
use super::draft::{Draft, Parts, Source};
use super::{ElfError, Go};

/// `e_machine` values that more than one file needs.
pub(in crate::elf) mod em {
    pub(in crate::elf) const SPARC: u16 = 2;
    pub(in crate::elf) const I386: u16 = 3;
    pub(in crate::elf) const M68K: u16 = 4;
    pub(in crate::elf) const MIPS: u16 = 8;
    pub(in crate::elf) const MIPS_RS3_LE: u16 = 10;
    pub(in crate::elf) const PARISC: u16 = 15;
    pub(in crate::elf) const SPARC32PLUS: u16 = 18;
    pub(in crate::elf) const PPC: u16 = 20;
    pub(in crate::elf) const PPC64: u16 = 21;
    pub(in crate::elf) const S390: u16 = 22;
    pub(in crate::elf) const ARM: u16 = 40;
    pub(in crate::elf) const SH: u16 = 42;
    pub(in crate::elf) const SPARCV9: u16 = 43;
    pub(in crate::elf) const X86_64: u16 = 62;
    pub(in crate::elf) const HEXAGON: u16 = 164;
    pub(in crate::elf) const AARCH64: u16 = 183;
    pub(in crate::elf) const RISCV: u16 = 243;
    pub(in crate::elf) const LOONGARCH: u16 = 258;
}

/// The largest section of attributes that is read, in bytes.
const MOST_ATTRIBUTES: u64 = 1 << 20;

pub(super) fn describe(
    parts: &mut Parts<'_, '_>,
    go: Option<&Go>,
    draft: &mut Draft,
) -> Result<(), ElfError> {
    match parts.layout.header.e_machine {
        em::ARM => arm::arm(parts, draft)?,
        em::AARCH64 => arm::aarch64(parts, draft),
        em::I386 | em::X86_64 => x86::describe(parts, draft),
        em::MIPS | em::MIPS_RS3_LE => mips::describe(parts, draft)?,
        em::PPC | em::PPC64 => powerpc::describe(parts, draft)?,
        em::RISCV => riscv::describe(parts, draft)?,
        em::LOONGARCH => loongarch::describe(parts, draft),
        em::SPARC | em::SPARC32PLUS | em::SPARCV9 => sparc::describe(parts, draft)?,
        em::S390 => others::s390(parts, draft)?,
        em::SH => others::sh(parts, draft),
        em::M68K => others::m68k(parts, draft),
        em::PARISC => others::parisc(parts, draft),
        em::HEXAGON => others::hexagon(parts, draft),
        _ => {}
    }
    if let Some(go) = go {
        self::go(go, draft);
    }
    if parts.layout.header.e_machine == em::ARM {
        arm::inferred(parts, draft);
    }
    Ok(())
}

/// The OCI variant that an ISA level stands for.
///
/// Source: OCI image specification, "Platform Variants"; Go's `GOARM` and `GOAMD64`.
pub(super) fn variant(machine: u16, isa: Option<&str>) -> Option<&'static str> {
    let isa = isa?;
    match machine {
        em::ARM => Some(match isa.strip_prefix("armv")? {
            level if level.starts_with('4') || level.starts_with('5') => "v5",
            level if level.starts_with('6') => "v6",
            level if level.starts_with('7') => "v7",
            _ => "v8",
        }),
        em::X86_64 => match isa {
            "x86-64-v2" => Some("v2"),
            "x86-64-v3" => Some("v3"),
            "x86-64-v4" => Some("v4"),
            _ => None,
        },
        _ => None,
    }
}

/// The attributes in the section of type `kind`, or called `name`.
fn read_attributes(
    parts: &mut Parts<'_, '_>,
    kind: Option<u32>,
    name: &[u8],
) -> Result<Vec<Attribute>, ElfError> {
    let section = parts
        .layout
        .sections
        .iter()
        .find(|section| Some(section.sh_type) == kind)
        .or_else(|| parts.layout.section(name))
        .filter(|section| section.sh_type != SHT_NOBITS)
        .map(|section| (section.sh_offset, section.sh_size.min(MOST_ATTRIBUTES)));
    let Some((offset, len)) = section else { return Ok(Vec::new()) };
    let bytes = parts.layout.bytes(parts.file, "the section of attributes", offset, len)?;
    Ok(bytes.map(|bytes| attributes::parse(&bytes, parts.layout.endian())).unwrap_or_default())
}

/// `.gnu.attributes`.
fn gnu_attributes(parts: &mut Parts<'_, '_>) -> Result<Vec<Attribute>, ElfError> {
    /// `SHT_GNU_ATTRIBUTES`.
    const GNU_ATTRIBUTES: u32 = 0x6fff_fff5;
    read_attributes(parts, Some(GNU_ATTRIBUTES), b".gnu.attributes")
}

/// Go's own settings, which are the only word of a program that Go's linker wrote.
fn go(go: &Go, draft: &mut Draft) {
    let from = |key: &str, value: &str| format!("Go's build information ({key}={value:.64})");
    for (key, value) in &go.settings {
        let (level, mode) = value.split_once(',').map_or((value.as_str(), ""), |(level, mode)| (level, mode));
        let isa = match (key.as_str(), level) {
            ("GOARM", "5") => "armv5te",
            ("GOARM", "6") => "armv6k",
            ("GOARM", "7") => "armv7-a",
            ("GOAMD64", "v1") => "x86-64",
            ("GOAMD64", "v2") => "x86-64-v2",
            ("GOAMD64", "v3") => "x86-64-v3",
            ("GOAMD64", "v4") => "x86-64-v4",
            ("GOARM64", "v8.0") => "armv8-a",
            ("GOARM64", level) => match level.strip_prefix('v') {
                Some(number) => &format!("armv{number}-a").replace("9.0", "9"),
                None => continue,
            },
            ("GO386", "387") => "i586",
            // SSE2 came with the Pentium 4; the compilers have no shorter name for it than the chip's.
            ("GO386", "sse2") => "pentium4",
            ("GO386", "softfloat") => "i586",
            ("GOPPC64", level) => level,
            ("GOMIPS", _) => "mips32",
            ("GOMIPS64", _) => "mips3",
            ("GORISCV64", level) => level,
            _ => continue,
        };
        // The value is the file's own word: one that is no level is none.
        if super::values::is_isa(isa) {
            draft.isa(isa, Source::Declared, from(key, value));
        }
        let float = match (key.as_str(), level, mode) {
            // Go passes floats on the stack; what counts is whether it executes VFP instructions.
            ("GOARM", "5", "hardfloat") | ("GOARM", "6" | "7", "" | "hardfloat") => "softfp",
            ("GOARM", _, _) => "soft",
            ("GOMIPS" | "GOMIPS64", "hardfloat", _) => "hard",
            ("GOMIPS" | "GOMIPS64" | "GO386", "softfloat", _) => "soft",
            _ => continue,
        };
        draft.float_abi(float, Source::Declared, from(key, value));
    }
}

/// A 32-bit word of `bytes` in the file's byte order.
fn word(parts: &Parts<'_, '_>, bytes: &[u8], at: usize) -> Option<u32> {
    bytes.pread_with::<u32>(at, parts.layout.endian()).ok()
}
