//! The catalogue: the machines that programs and images are meant for.
//!
//! A target is a file `targets/*.toml`, embedded in the program, or a file of the user's own. This
//! room holds facts only; whether a binary fits a target is the business of [`crate::elf`].

mod catalogue;
mod file;
pub mod machine;
mod platform;

pub(crate) use catalogue::nearest;
pub use catalogue::{Catalogue, Guest};
pub use file::TargetError;
pub use platform::{Platform, PlatformError};

use serde::Serialize;

/// A named destination, such as `linux/arm64` or `routeros/mmips`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Target {
    /// `linux/arm/v7`, `routeros/mipsbe`.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The OCI platform that images for it carry.
    pub platform: Platform,
    /// Guests besides its own whose programs it runs without an emulator, by QEMU's names.
    pub also_runs: Vec<String>,
    /// What its binaries look like.
    pub elf: Profile,
    /// How QEMU's linux-user emulation runs its programs.
    pub qemu: Qemu,
    /// How the kernel tells its binaries, shared by all targets of one guest. `None` where QEMU has no
    /// such guest.
    pub binfmt: Option<Magic>,
    /// What Debian calls it. `None` where Debian has neither a port nor a cross compiler.
    pub debian: Option<Debian>,
    /// What RouterOS devices of this kind allow. `None` for targets that are not RouterOS's.
    pub routeros: Option<RouterOs>,
}

impl Target {
    /// Whether its machines run the programs of `guest` themselves.
    #[must_use]
    pub fn runs_natively(&self, guest: &str) -> bool {
        self.qemu.guest == guest || self.also_runs.iter().any(|name| name == guest)
    }
}

/// The ELF files that a target runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Profile {
    /// `e_machine` values that it runs, the usual one first, by the gABI's names without `EM_`.
    pub machines: Vec<String>,
    /// 32 or 64.
    pub class: u8,
    /// Byte order.
    pub endianness: Endianness,
    /// ABIs, as the psABI calls them; empty where the architecture has one only.
    pub abi: Vec<String>,
    /// The highest ISA level, by the psABI's or compiler's name. `None` where ELF files do not tell theirs.
    pub isa: Option<String>,
    /// Float ABIs whose instructions it can execute; empty where any is right.
    pub float_abi: Vec<String>,
    /// Families of features (see `features` of `inspect`) that it cannot execute: `vfp` is all that begin so.
    pub excludes: Vec<String>,
    /// The largest page size, in bytes, that its kernels are configured with: segments must be aligned to it.
    pub page_size: u32,
}

/// Byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endianness {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// How QEMU's linux-user emulation runs a target's programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Qemu {
    /// The guest: the suffix of the program's name, as in `qemu-mipsel`.
    pub guest: String,
    /// The `-cpu` model that shows what the target's CPU does; `None` for QEMU's default.
    pub cpu: Option<String>,
    /// The last QEMU that has the guest, where it was removed.
    pub until: Option<String>,
    /// What the guest's `uname -m` says.
    pub uname: String,
}

/// The bytes by which binfmt_misc tells a guest's binaries: `(file & mask) == (magic & mask)` from offset 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Magic {
    /// The bytes to match.
    #[serde(serialize_with = "as_hex")]
    pub magic: Vec<u8>,
    /// Which bits count; as long as `magic`.
    #[serde(serialize_with = "as_hex")]
    pub mask: Vec<u8>,
}

impl Magic {
    /// How many bytes of a file the kernel looks at (`BINPRM_BUF_SIZE`).
    pub const SEEN: usize = 256;

    /// Whether the kernel takes a file that begins with `head` for one of these: as it does, over the first
    /// [`Magic::SEEN`] bytes, with zeros behind the end of a shorter file.
    #[must_use]
    pub fn matches(&self, head: &[u8]) -> bool {
        let head = &head[..head.len().min(Self::SEEN)];
        let bytes = head.iter().copied().chain(std::iter::repeat(0));
        self.magic.iter().zip(&self.mask).zip(bytes).all(|((magic, mask), byte)| (byte ^ magic) & mask == 0)
    }
}

/// What Debian calls a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Debian {
    /// The Debian architecture, such as `armhf`.
    pub architecture: String,
    /// The GNU triple, which prefixes the cross compiler's name.
    pub triple: String,
    /// The suites in which the architecture is released, newest first; empty where it is none of the
    /// released ones (a port, or a cross compiler only).
    pub suites: Vec<String>,
}

/// What RouterOS devices of one kind allow. The facts' certainty is told in `notes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RouterOs {
    /// RouterOS's own name of the architecture.
    pub architecture: String,
    /// Whether the container package exists for it.
    pub containers: bool,
    /// The kernel, as `major.minor.patch`.
    pub kernel: String,
    /// SoCs and boards, examples.
    pub devices: Vec<String>,
    /// Boards whose flash is known, from the vendor's product pages.
    pub flash: Vec<Flash>,
    /// Limits and how sure each is.
    pub notes: Vec<String>,
}

/// The flash of a board. RouterOS itself takes some of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flash {
    /// The board.
    pub board: String,
    /// MiB.
    pub mib: u32,
}

impl Target {
    /// The target as a file of `targets/` or of the user's own, to be changed and given back.
    #[must_use]
    pub fn to_toml(&self) -> String {
        file::write(self)
    }
}

/// `7f454c46…`: bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn as_hex<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}
