//! All values that facts can have: what `docs/inspect.md` lists, and a test holds it to.

use super::isa;

/// `EI_OSABI`: number and name.
///
/// Source: gABI, "ELF Identification", and binutils' `elf/common.h` for the architectures' own.
pub const OS_ABI: &[(u8, &str)] = &[
    (0, "SYSV"),
    (1, "HPUX"),
    (2, "NETBSD"),
    (3, "GNU"),
    (6, "SOLARIS"),
    (7, "AIX"),
    (8, "IRIX"),
    (9, "FREEBSD"),
    (10, "TRU64"),
    (11, "MODESTO"),
    (12, "OPENBSD"),
    (13, "OPENVMS"),
    (14, "NSK"),
    (15, "AROS"),
    (16, "FENIXOS"),
    (17, "CLOUDABI"),
    (18, "OPENVOS"),
    (51, "CUDA"),
    (64, "ARM_AEABI"),
    (65, "ARM_FDPIC"),
    (97, "ARM"),
    (255, "STANDALONE"),
];

/// `abi`.
pub const ABI: &[&str] = &[
    "oabi", "eabi1", "eabi2", "eabi3", "eabi4", "eabi5", "lp64", "ilp32", "x32", "o32", "n32", "n64", "o64",
    "eabi32", "eabi64", "elfv1", "elfv2", "lp64f", "lp64d", "lp64q", "lp64e", "ilp32f", "ilp32d", "ilp32q",
    "ilp32e", "lp64s", "ilp32s", "fdpic",
];

/// `float_abi`.
pub const FLOAT_ABI: &[&str] = &["soft", "softfp", "hard", "spe", "any"];

/// `linkage`.
pub const LINKAGE: &[&str] = &["static", "static-pie", "dynamic"];

/// `features`, by architecture.
pub const FEATURES: &[(&str, &[&str])] = &[
    (
        "ARM",
        &[
            "be8",
            "vfpv1",
            "vfpv2",
            "vfpv3",
            "vfpv3-d16",
            "vfpv4",
            "vfpv4-d16",
            "fp-armv8",
            "fp-armv8-d16",
            "neon",
            "neon-vfpv4",
            "neon-armv8",
            "neon-armv8.1",
            "iwmmxt",
            "thumb",
            "thumb2",
        ],
    ),
    ("AARCH64", &["bti", "pac", "gcs"]),
    (
        "386, X86_64",
        &[
            "ibt", "shstk", "lam-u48", "lam-u57", "x86", "x87", "mmx", "xmm", "ymm", "zmm", "fxsr", "xsave",
            "xsaveopt", "xsavec", "tmm", "mask",
        ],
    ),
    (
        "MIPS",
        &[
            "nan2008",
            "fp64",
            "fpxx",
            "dsp",
            "dspr2",
            "dspr3",
            "eva",
            "mcu",
            "mdmx",
            "mips3d",
            "mt",
            "smartmips",
            "virt",
            "msa",
            "mips16",
            "mips16e2",
            "micromips",
            "xpa",
            "crc",
            "ginv",
            "loongson-mmi",
            "loongson-cam",
            "loongson-ext",
            "loongson-ext2",
            "r3900",
            "r4010",
            "vr4100",
            "allegrex",
            "r4650",
            "vr4120",
            "vr4111",
            "sb1",
            "octeon",
            "xlr",
            "octeon2",
            "octeon3",
            "vr5400",
            "r5900",
            "interaptiv-mr2",
            "vr5500",
            "rm9000",
            "loongson2e",
            "loongson2f",
            "gs464",
            "gs464e",
            "gs264e",
        ],
    ),
    (
        "PPC, PPC64",
        &[
            "altivec",
            "isel",
            "pmr",
            "rfmci",
            "cachelck",
            "spe",
            "efs",
            "brlock",
            "vle",
            "long-double-ibm128",
            "long-double-64",
            "long-double-ieee128",
        ],
    ),
    ("RISCV", &["rvc", "rve", "tso"]),
    (
        "SPARC, SPARC32PLUS, SPARCV9",
        &[
            "tso",
            "pso",
            "rmo",
            "hal-r1",
            "v8plus",
            "popc",
            "vis",
            "vis2",
            "asi_blk_init",
            "fmaf",
            "vis3",
            "hpc",
            "random",
            "trans",
            "fjfmau",
            "ima",
            "asi_cache_sparing",
            "aes",
            "des",
            "kasumi",
            "camellia",
            "md5",
            "sha1",
            "sha256",
            "sha512",
            "mpmul",
            "mont",
            "pause",
            "cbcond",
            "crc32c",
        ],
    ),
    ("S390", &["high-gprs", "vx"]),
];

/// `isa`, but for RISC-V's, which are `rv32` or `rv64`, letters and `_` with long names.
pub fn isa_levels() -> impl Iterator<Item = &'static str> {
    isa::names()
}

/// Whether `value` is one that `isa` can have.
pub fn is_isa(value: &str) -> bool {
    isa::names().any(|name| name == value) || isa::RiscV::parse(value).is_some()
}
