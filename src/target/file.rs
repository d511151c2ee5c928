//! The form of a target file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Debian, Endianness, Flash, Magic, Profile, Qemu, RouterOs, Target};

/// A target could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Not in the catalogue.
    #[error("no target is called `{name}`")]
    Unknown {
        /// As asked for.
        name: String,
        /// The most alike, where one is.
        nearest: Option<String>,
    },
    /// Not in the catalogue.
    #[error("no guest is called `{name}`")]
    UnknownGuest {
        /// As asked for.
        name: String,
        /// The most alike, where one is.
        nearest: Option<String>,
    },
    /// A file of the user's own cannot be read.
    #[error("reading the target file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not TOML, or holds keys of the wrong kind.
    #[error("the target file `{file}` is not right")]
    Syntax {
        /// The file.
        file: String,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A file says something that cannot be.
    #[error("the target file `{file}` is not right: {reason}")]
    Invalid {
        /// The file.
        file: String,
        /// What and why.
        reason: String,
    },
}

impl TargetError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown { nearest: Some(nearest), .. } | Self::UnknownGuest { nearest: Some(nearest), .. } => {
                format!("did you mean `{nearest}`? `polyarch target list` shows all")
            }
            Self::Unknown { .. } => {
                "`polyarch target list` shows all; a file of your own is given by its path, as `./my-board.toml`".into()
            }
            Self::UnknownGuest { .. } => "`polyarch target list` shows all guests".into(),
            Self::Read { .. } => "a target file is given by its path, as `./my-board.toml`".into(),
            Self::Syntax { .. } | Self::Invalid { .. } => {
                "`polyarch target show --format toml linux/arm64` prints one to start from".into()
            }
        })
    }
}

/// The words of `elf.abi`: psABI names of ARM, 64-bit machines, x32, MIPS, PowerPC64, RISC-V and LoongArch.
const ABIS: &[&str] = &[
    "eabi5", "eabi4", "oabi", "lp64", "ilp32", "x32", "o32", "n32", "n64", "o64", "eabi32", "eabi64",
    "elfv1", "elfv2", "lp64f", "lp64d", "lp64q", "ilp32f", "ilp32d", "ilp32e", "lp64s", "ilp32s",
];

/// The words of `elf.float-abi`.
const FLOAT_ABIS: &[&str] = &["soft", "softfp", "hard", "spe", "any"];

/// A file as it is written. Optional tables may be left out; unknown keys are refused, since a typo in
/// a limit would otherwise silently lift it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    name: String,
    description: String,
    platform: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    also_runs: Vec<String>,
    elf: Elf,
    qemu: QemuTable,
    #[serde(skip_serializing_if = "Option::is_none")]
    binfmt: Option<Binfmt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    debian: Option<DebianTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routeros: Option<RouterOsTable>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Elf {
    machine: Vec<String>,
    class: u8,
    endianness: Endianness,
    #[serde(default)]
    abi: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    isa: Option<String>,
    #[serde(default)]
    float_abi: Vec<String>,
    #[serde(default)]
    excludes: Vec<String>,
    page_size: u32,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct QemuTable {
    guest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    uname: String,
}

/// Magic and mask are hexadecimal digits; spaces between them are for the reader.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Binfmt {
    magic: String,
    mask: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct DebianTable {
    architecture: String,
    triple: String,
    #[serde(default)]
    suites: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RouterOsTable {
    architecture: String,
    containers: bool,
    kernel: String,
    #[serde(default)]
    devices: Vec<String>,
    #[serde(default)]
    notes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    flash: Vec<Flash>,
}

/// Reads the `text` of a target file; `file` names it in errors.
pub(super) fn parse(file: &str, text: &str) -> Result<Target, TargetError> {
    let read: File = toml::from_str(text)
        .map_err(|source| TargetError::Syntax { file: file.into(), source: Box::new(source) })?;
    let invalid = |reason: String| TargetError::Invalid { file: file.into(), reason };
    let platform = read.platform.parse().map_err(|_| {
        invalid(format!("`platform` is `{}`, which is not os/architecture[/variant]", read.platform))
    })?;
    if read.name.is_empty() || read.name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(invalid("`name` is empty or holds white space".into()));
    }
    if !matches!(read.elf.class, 32 | 64) {
        return Err(invalid(format!("`elf.class` is {}, which is neither 32 nor 64", read.elf.class)));
    }
    if read.elf.machine.is_empty() {
        return Err(invalid("`elf.machine` names no machine".into()));
    }
    if let Some(unknown) = read.elf.machine.iter().find(|name| crate::target::machine::id(name).is_none()) {
        return Err(invalid(format!("`elf.machine` holds `{unknown}`, which is no machine's EM_ name")));
    }
    if !read.elf.page_size.is_power_of_two() || read.elf.page_size < 4096 {
        return Err(invalid(format!("`elf.page-size` is {}, which is no page size", read.elf.page_size)));
    }
    for (key, words, known) in [("abi", &read.elf.abi, ABIS), ("float-abi", &read.elf.float_abi, FLOAT_ABIS)]
    {
        if let Some(unknown) = words.iter().find(|word| !known.contains(&word.as_str())) {
            return Err(invalid(format!(
                "`elf.{key}` holds `{unknown}`, which is none of {}",
                known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            )));
        }
    }
    if read.qemu.guest.is_empty()
        || !read.qemu.guest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err(invalid(format!("`qemu.guest` is `{}`, which is no guest's name", read.qemu.guest)));
    }
    let binfmt = read
        .binfmt
        .map(|binfmt| magic(&binfmt))
        .transpose()
        .map_err(|reason| invalid(format!("`binfmt`: {reason}")))?;
    Ok(Target {
        name: read.name,
        description: read.description,
        platform,
        also_runs: read.also_runs,
        elf: Profile {
            machines: read.elf.machine,
            class: read.elf.class,
            endianness: read.elf.endianness,
            abi: read.elf.abi,
            isa: read.elf.isa,
            float_abi: read.elf.float_abi,
            excludes: read.elf.excludes,
            page_size: read.elf.page_size,
        },
        qemu: Qemu {
            guest: read.qemu.guest,
            cpu: read.qemu.cpu,
            until: read.qemu.until,
            uname: read.qemu.uname,
        },
        binfmt,
        debian: read.debian.map(|debian| Debian {
            architecture: debian.architecture,
            triple: debian.triple,
            suites: debian.suites,
        }),
        routeros: read.routeros.map(|routeros| RouterOs {
            architecture: routeros.architecture,
            containers: routeros.containers,
            kernel: routeros.kernel,
            devices: routeros.devices,
            notes: routeros.notes,
            flash: routeros.flash,
        }),
    })
}

fn magic(table: &Binfmt) -> Result<Magic, String> {
    let magic = unhex(&table.magic).ok_or("`magic` is not made of pairs of hexadecimal digits")?;
    let mask = unhex(&table.mask).ok_or("`mask` is not made of pairs of hexadecimal digits")?;
    if magic.len() != mask.len() {
        return Err(format!("`magic` has {} bytes and `mask` {}", magic.len(), mask.len()));
    }
    // The kernel takes no longer one than 127 bytes; one shorter than e_ident, e_type and e_machine cannot
    // tell machines apart.
    if !(20..=127).contains(&magic.len()) {
        return Err(format!("`magic` has {} bytes; 20 to 127 are needed", magic.len()));
    }
    if !magic.starts_with(b"\x7fELF") {
        return Err("`magic` does not begin with ELF's own".into());
    }
    Ok(Magic { magic, mask })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => {
                let (high, low) = (char::from(*high).to_digit(16)?, char::from(*low).to_digit(16)?);
                u8::try_from(high * 16 + low).ok()
            }
            _ => None,
        })
        .collect()
}

/// The file that says what `target` is, without comments; [`parse`] gives the same target back.
pub(super) fn write(target: &Target) -> String {
    let Target { name, description, platform, also_runs, elf, qemu, binfmt, debian, routeros } =
        target.clone();
    let file = File {
        name,
        description,
        platform: platform.to_string(),
        also_runs,
        elf: Elf {
            machine: elf.machines,
            class: elf.class,
            endianness: elf.endianness,
            abi: elf.abi,
            isa: elf.isa,
            float_abi: elf.float_abi,
            excludes: elf.excludes,
            page_size: elf.page_size,
        },
        qemu: QemuTable { guest: qemu.guest, cpu: qemu.cpu, until: qemu.until, uname: qemu.uname },
        binfmt: binfmt
            .map(|binfmt| Binfmt { magic: super::hex(&binfmt.magic), mask: super::hex(&binfmt.mask) }),
        debian: debian.map(|debian| DebianTable {
            architecture: debian.architecture,
            triple: debian.triple,
            suites: debian.suites,
        }),
        routeros: routeros.map(|routeros| RouterOsTable {
            architecture: routeros.architecture,
            containers: routeros.containers,
            kernel: routeros.kernel,
            devices: routeros.devices,
            notes: routeros.notes,
            flash: routeros.flash,
        }),
    };
    toml::to_string_pretty(&file).expect("strings, numbers and lists of strings are TOML")
}
