//! What the kernel's registry holds, and what of it is of use or dangerous.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::entry::lossy;
use super::{BinfmtError, Entry, Kind};
use crate::target::{Catalogue, Guest, Magic, Platform};

/// Where the kernel's registry is mounted.
pub const REGISTRY: &str = "/proc/sys/fs/binfmt_misc";

/// What `statfs` says of a binfmt_misc (`BINFMTFS_MAGIC` of `uapi/linux/magic.h`).
const FILE_SYSTEM: u64 = 0x4249_4e4d;
/// More than the kernel ever prints of one entry, in bytes.
const ENTRY_MOST: u64 = 1 << 16;
/// More entries than anyone has.
const ENTRIES_MOST: usize = 1 << 14;
/// Where an ELF header tells its machine: a magic that ends before tells no machines apart.
const MACHINE_END: usize = 20;
/// Programs of the host that no rule may take.
const OWN: &[&str] = &["/bin/true", "/bin/sh", "/proc/self/exe"];

/// The kernel's registry at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Where it was looked for.
    #[serde(serialize_with = "lossy")]
    pub registry: PathBuf,
    /// Whether a binfmt_misc is mounted there. Without one there is nothing else to tell.
    pub mounted: bool,
    /// Whether the kernel uses the registry at all.
    pub enabled: bool,
    /// The entries, in the order in which the kernel asks them: the one that was registered last is first.
    pub entries: Vec<Surveyed>,
    /// Every target of the catalogue, and what serves it.
    pub targets: Vec<Service>,
}

/// An entry, and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Surveyed {
    /// What its file says.
    #[serde(flatten)]
    pub entry: Entry,
    /// Whether the interpreter's path is there, as seen from here. One that is fixed (`F`) works without.
    pub interpreter_exists: bool,
    /// Whether it is a file that may be executed.
    pub interpreter_executable: bool,
    /// Guests whose programs it takes, by QEMU's names, whether or not another entry takes them before.
    pub guests: Vec<String>,
    /// The targets that run as these guests.
    pub targets: Vec<String>,
    /// The entry that takes all of its files before it.
    #[serde(serialize_with = "maybe_lossy")]
    pub shadowed_by: Option<OsString>,
    /// What may go wrong with it.
    pub concerns: Vec<Concern>,
}

/// What may go wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Concern {
    /// It takes programs of the host itself, which then run through its interpreter or not at all.
    HostPrograms {
        /// One of them.
        program: PathBuf,
    },
    /// Its magic ends before the machine in an ELF header, so that it takes the programs of all machines.
    CutShort {
        /// Bytes of the file that it looks at.
        bytes: usize,
    },
    /// The interpreter is not there and was not opened at registration (no `F`): its programs do not start.
    InterpreterMissing,
    /// The interpreter is there and may not be executed.
    InterpreterNotExecutable,
    /// Without `F` it works only where the interpreter is at the same path: not in containers and other roots.
    NotFixed,
    /// `C`: a setuid program of the guest gains rights, through an emulator that was not made for it.
    Credentials,
    /// It takes some programs of a guest and leaves others, such as those with another ABI version.
    Partial {
        /// QEMU's name of the guest.
        guest: String,
    },
    /// What its file says is not understood.
    Unknown,
}

/// How one target's programs run here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Service {
    /// The target's name.
    pub target: String,
    /// QEMU's name of its guest.
    pub guest: String,
    /// Whether this machine runs its programs itself.
    pub native: bool,
    /// The entry that takes its programs: enabled, in an enabled registry, and asked before all others.
    #[serde(serialize_with = "maybe_lossy")]
    pub entry: Option<OsString>,
}

impl Concern {
    /// Whether it breaks or endangers more than the entry's own programs.
    #[must_use]
    pub fn is_dangerous(&self) -> bool {
        matches!(self, Self::HostPrograms { .. } | Self::CutShort { .. })
    }
}

impl std::fmt::Display for Concern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::HostPrograms { program } => {
                write!(f, "it takes the host's own programs, `{}` for one", program.display())
            }
            Self::CutShort { bytes } => write!(
                f,
                "it looks at {bytes} bytes only, and an ELF file names its machine in byte 19 and 20: it takes programs of all machines"
            ),
            Self::InterpreterMissing => {
                f.write_str("its interpreter is missing, so its programs do not start")
            }
            Self::InterpreterNotExecutable => f.write_str("its interpreter may not be executed"),
            Self::NotFixed => {
                f.write_str("without the flag `F` it does not work in containers and other roots")
            }
            Self::Credentials => f.write_str("with the flag `C` setuid programs of the guest gain rights"),
            Self::Partial { guest } => write!(f, "it leaves out some programs of `{guest}`"),
            Self::Unknown => f.write_str("what the kernel says of it is not understood"),
        }
    }
}

/// What the binfmt_misc at `registry` (usually [`REGISTRY`]) holds. One that is not mounted is no error.
///
/// Reading needs no rights. Programs of the host are held against the entries: the shell, `true` and the program that asks.
///
/// # Errors
/// [`BinfmtError::Survey`] where it is mounted and cannot be read.
pub fn status(registry: &Path) -> Result<Status, BinfmtError> {
    let failed = |source| BinfmtError::Survey { path: registry.into(), source };
    if !is_mounted(registry) {
        return Ok(Status::survey(registry, None, Vec::new()));
    }
    let mut entries = Vec::new();
    // The kernel lists the newest first, which is the order in which it asks them.
    for file in fs::read_dir(registry).map_err(failed)?.take(ENTRIES_MOST) {
        let name = file.map_err(failed)?.file_name();
        if name == "register" || name == "status" {
            continue;
        }
        match read(&registry.join(&name)) {
            Ok(text) => entries.push(Entry::parse(name, &text)),
            // Removed since its folder was read.
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(BinfmtError::Survey { path: registry.join(name), source }),
        }
    }
    let state = read(&registry.join("status")).map_err(failed)?;
    Ok(Status::survey(registry, Some(state.starts_with(b"enabled")), entries))
}

/// Whether a binfmt_misc is mounted at `path`.
#[must_use]
pub fn is_mounted(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|system| u64::try_from(system.f_type) == Ok(FILE_SYSTEM))
}

pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(ENTRY_MOST).read_to_end(&mut text)?;
    Ok(text)
}

/// The beginnings of programs that the host runs itself, with their paths.
pub(super) fn own_programs() -> Vec<(PathBuf, Vec<u8>)> {
    let head = |path: &&str| {
        let mut head = Vec::new();
        File::open(path).ok()?.take(Magic::SEEN as u64).read_to_end(&mut head).ok()?;
        Some((PathBuf::from(path), head))
    };
    OWN.iter().filter_map(head).collect()
}

impl Status {
    /// What is to be said of `entries`, in the kernel's order. `enabled` is `None` where nothing is mounted.
    fn survey(registry: &Path, enabled: Option<bool>, entries: Vec<Entry>) -> Self {
        let catalogue = Catalogue::builtin();
        let forms: Vec<(&Guest, Vec<Vec<u8>>)> =
            catalogue.guests().iter().map(|guest| (guest, headers(&guest.binfmt))).collect();
        let own = own_programs();
        let mut surveyed: Vec<Surveyed> = Vec::new();
        for entry in entries {
            let survey = Surveyed::new(entry, &surveyed, &forms, &own);
            surveyed.push(survey);
        }
        let enabled = enabled.unwrap_or(false);
        let host = catalogue.target(&Platform::host().to_string()).ok();
        let targets = catalogue
            .targets()
            .iter()
            .map(|target| {
                let serving =
                    |survey: &&Surveyed| survey.entry.enabled && survey.guests.contains(&target.qemu.guest);
                let entry = surveyed.iter().find(serving).filter(|_| enabled);
                Service {
                    target: target.name.clone(),
                    guest: target.qemu.guest.clone(),
                    native: host.is_some_and(|host| host.runs_natively(&target.qemu.guest)),
                    entry: entry.map(|survey| survey.entry.name.clone()),
                }
            })
            .collect();
        Self { registry: registry.into(), mounted: is_mounted(registry), enabled, entries: surveyed, targets }
    }

    /// The entry that takes the programs of `guest` (QEMU's name): enabled, and asked before all others.
    #[must_use]
    pub fn serving(&self, guest: &str) -> Option<&Surveyed> {
        let serves =
            |survey: &&Surveyed| survey.entry.enabled && survey.guests.iter().any(|name| name == guest);
        self.entries.iter().filter(|_| self.enabled).find(serves)
    }
}

impl Surveyed {
    /// `before` are the entries that the kernel asks before this one.
    fn new(
        entry: Entry,
        before: &[Self],
        forms: &[(&Guest, Vec<Vec<u8>>)],
        own: &[(PathBuf, Vec<u8>)],
    ) -> Self {
        let there = fs::metadata(&entry.interpreter).ok();
        let executable = |there: &fs::Metadata| there.is_file() && there.permissions().mode() & 0o111 != 0;
        let interpreter_executable = there.as_ref().is_some_and(executable);
        let mut survey = Self {
            interpreter_exists: there.is_some(),
            interpreter_executable,
            guests: Vec::new(),
            targets: Vec::new(),
            shadowed_by: None,
            concerns: Vec::new(),
            entry,
        };
        let entry = &survey.entry;
        for (guest, headers) in forms {
            match headers.iter().filter(|header| entry.matches(header)).count() {
                0 => {}
                count => {
                    // What most compilers write comes first.
                    if headers.iter().take(2).all(|header| entry.matches(header)) {
                        survey.guests.push(guest.name.clone());
                        survey.targets.extend(guest.targets.iter().cloned());
                    }
                    if count < headers.len() {
                        survey.concerns.push(Concern::Partial { guest: guest.name.clone() });
                    }
                }
            }
        }
        survey.targets.sort();
        survey.shadowed_by = before
            .iter()
            .find(|first| {
                let takes_all = |(guest, headers): &(&Guest, Vec<Vec<u8>>)| {
                    !survey.guests.contains(&guest.name)
                        || headers.iter().all(|header| first.entry.matches(header))
                };
                first.entry.enabled
                    && (first.entry.covers(entry)
                        || (!survey.guests.is_empty() && forms.iter().all(takes_all)))
            })
            .map(|first| first.entry.name.clone());
        survey.examine(own);
        survey
    }

    fn examine(&mut self, own: &[(PathBuf, Vec<u8>)]) {
        let entry = &self.entry;
        let mut concerns = Vec::new();
        if let Some((program, _)) = own.iter().find(|(_, head)| entry.matches(head)) {
            concerns.push(Concern::HostPrograms { program: program.clone() });
        }
        if let Kind::Magic { offset, magic, mask } = &entry.kind {
            let bytes = offset + magic.len();
            let elf = *offset == 0 && magic.starts_with(b"\x7fELF") && mask.starts_with(&[0xff; 4]);
            // The two bytes of the machine must count at all.
            let tells = mask.get(18..MACHINE_END).is_some_and(|mask| mask.iter().all(|byte| *byte != 0));
            if elf && !tells {
                concerns.push(Concern::CutShort { bytes });
            }
        }
        let flags = entry.flags.known;
        if entry.kind == Kind::Unknown || entry.interpreter.as_os_str().is_empty() {
            concerns.push(Concern::Unknown);
        } else if !self.interpreter_exists && !flags.fix_binary {
            concerns.push(Concern::InterpreterMissing);
        } else if self.interpreter_exists && !self.interpreter_executable {
            concerns.push(Concern::InterpreterNotExecutable);
        }
        // Interpreters of scripts and the like are looked for in each root on purpose.
        if !self.guests.is_empty() && !flags.fix_binary {
            concerns.push(Concern::NotFixed);
        }
        if flags.credentials {
            concerns.push(Concern::Credentials);
        }
        concerns.append(&mut self.concerns);
        self.concerns = concerns;
    }
}

/// Headers of a guest's programs, made from its rule: executables and shared objects, the usual ones first, then with
/// every value that the rule leaves open where compilers write several, the OS ABI and its version.
fn headers(rule: &Magic) -> Vec<Vec<u8>> {
    const TYPE: std::ops::Range<usize> = 16..18;
    let mut base = rule.magic.clone();
    base.resize(64, 0);
    let (big, is_64) = (base[5] == 2, base[4] == 2);
    let mut put = |at: usize, value: u16| {
        let bytes = if big { value.to_be_bytes() } else { value.to_le_bytes() };
        base[at..at + 2].copy_from_slice(&bytes);
    };
    put(if big { 22 } else { 20 }, 1);
    let (at, sizes) = if is_64 { (52, [64, 56, 2]) } else { (40, [52, 32, 2]) };
    for (index, size) in sizes.into_iter().enumerate() {
        put(at + index * 2, size);
    }
    let open = |at: usize| rule.mask.get(at).is_none_or(|mask| *mask == 0);
    let some = |at: usize, values: &[u8]| if open(at) { values.to_vec() } else { vec![rule.magic[at]] };
    let mut headers = Vec::new();
    for version in some(8, &[0, 1, 3, 5]) {
        for system in some(7, &[0, 3]) {
            for kind in [2_u16, 3] {
                let mut header = base.clone();
                header[7] = system;
                header[8] = version;
                header[TYPE].copy_from_slice(&if big { kind.to_be_bytes() } else { kind.to_le_bytes() });
                headers.push(header);
            }
        }
    }
    headers
}

#[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
fn maybe_lossy<S: serde::Serializer>(name: &Option<OsString>, serializer: S) -> Result<S::Ok, S::Error> {
    match name {
        Some(name) => serializer.serialize_some(&name.to_string_lossy()),
        None => serializer.serialize_none(),
    }
}
