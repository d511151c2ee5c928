//! Everything an ELF file says of itself, put together.

use std::borrow::Cow;
use std::collections::BTreeMap;

use goblin::elf::header::{EI_ABIVERSION, EI_OSABI, ET_CORE, ET_DYN, ET_EXEC, ET_NONE, ET_REL};
use goblin::elf::program_header::PT_INTERP;
use scroll::Pread;
use serde::Serialize;

use super::draft::{Draft, Evidence, Parts, Source};
use super::dynamic::{self, Dynamic};
use super::layout::Layout;
use super::notes::{self, Note};
use super::reader::Reader;
use super::toolchain::{self, Toolchain};
use super::{ElfError, arch, fit, go, rodata, values};
use crate::target::{Catalogue, Endianness, machine};

/// What an ELF file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Identity {
    /// The `EM_` name without its prefix, such as `MIPS`; `None` for a number that nobody registered.
    pub machine: Option<&'static str>,
    /// `e_machine`.
    pub machine_id: u16,
    /// 32 or 64.
    pub class: u8,
    /// Byte order.
    pub endianness: Endianness,
    /// `EXEC`, `DYN`, `REL`, `CORE`, `NONE`, or the number in hexadecimal.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The `ELFOSABI_` name without its prefix, or the number in hexadecimal.
    pub os_abi: Cow<'static, str>,
    /// `EI_ABIVERSION`.
    pub abi_version: u8,
    /// `e_flags`.
    pub flags: u32,
    /// The ABI, as the psABI calls it.
    pub abi: Option<String>,
    /// The ISA level that is needed, by the psABI's or the compiler's name.
    pub isa: Option<String>,
    /// `soft`, `softfp`, `hard`, `spe` or `any`.
    pub float_abi: Option<String>,
    /// What else of the CPU is used or marked: `neon`, `msa`, `nan2008`, `spe`, `ibt`.
    pub features: Vec<String>,
    /// `static`, `static-pie` or `dynamic`; `None` for what is not run or loaded.
    pub linkage: Option<&'static str>,
    /// The program interpreter, that is the loader.
    pub interpreter: Option<String>,
    /// `DT_NEEDED`.
    pub needed: Option<Vec<String>>,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_RPATH`.
    pub rpath: Option<String>,
    /// `DT_RUNPATH`.
    pub runpath: Option<String>,
    /// The highest `GLIBC_` version of its symbols that is needed.
    pub glibc: Option<String>,
    /// The oldest kernel that its C library accepts, as `major.minor.patch`.
    pub kernel: Option<String>,
    /// Who made it.
    pub toolchain: Toolchain,
    /// The platform of an image that it belongs into.
    pub platform: PlatformFact,
    /// The targets of the catalogue that it fits.
    pub targets: Vec<&'static str>,
    /// For each fact beyond the header, whether it is declared or inferred, and from what.
    pub evidence: BTreeMap<&'static str, Evidence>,
    /// What is wrong with the file.
    pub problems: Vec<String>,
    /// The largest alignment of a loaded segment, in bytes: the largest page that it can be mapped with.
    pub alignment: Option<u64>,
    /// Whether its program headers and all loaded segments lie within the file: damage elsewhere does not keep a
    /// kernel from running it.
    #[serde(skip)]
    pub is_loadable: bool,
    /// The versions of symbols that are needed, by library.
    #[serde(skip)]
    pub versions: Vec<(String, Vec<String>)>,
    /// The versions of its own symbols, of a library that has any.
    #[serde(skip)]
    pub provided: Vec<String>,
    /// Whether some of what level and features name may be used only where the CPU has it: a library that asks which CPU it
    /// is on, and whose attributes tell the most that any part of it has.
    #[serde(skip)]
    pub chooses: bool,
}

/// A platform of which not everything may be known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, serde::Deserialize)]
pub struct PlatformFact {
    /// `linux`, `freebsd`, ….
    pub os: Option<String>,
    /// The OCI architecture.
    pub architecture: Option<String>,
    /// `v7`; `None` where the architecture has no variants or the file does not tell.
    pub variant: Option<String>,
}

impl Identity {
    /// Reads the identity of an ELF file.
    ///
    /// # Errors
    /// [`ElfError`] where the header cannot be read. Damage behind it is told in `problems`.
    pub fn read(file: &mut Reader<'_>) -> Result<Self, ElfError> {
        let mut layout = Layout::read(file)?;
        let notes = notes::read(&mut layout, file)?;
        let dynamic = dynamic::read(&mut layout, file)?;
        let interpreter = interpreter(&mut layout, file)?;
        let go = go::read(&mut layout, file, &notes)?;

        let mut draft = Draft::default();
        let mut parts =
            Parts { layout: &mut layout, file, notes: &notes, interpreter: interpreter.as_deref() };
        arch::describe(&mut parts, go.as_ref(), &mut draft)?;
        let toolchain = toolchain::read(&mut parts, dynamic.as_ref(), go, &mut draft)?;

        let header = layout.header;
        let (linkage, linkage_evidence) = linkage(&layout, dynamic.as_ref(), interpreter.as_deref());
        if let Some(evidence) = linkage_evidence {
            draft.evidence.insert("linkage", evidence);
        }
        let is_library = linkage == Some("dynamic") && interpreter.is_none();
        let mut parts = Parts { layout: &mut layout, file, notes: &notes, interpreter: None };
        let chooses = is_library && draft.is_most && rodata::asks_for_cpu(&mut parts)?;
        if chooses {
            for fact in ["isa", "features"] {
                if let Some(evidence) = draft.evidence.get_mut(fact) {
                    evidence.from.push_str("; it asks which CPU it is on, so not all of it need be used");
                }
            }
        }
        let kernel = notes.iter().find(|note| note.name == b"GNU" && note.kind == 1).and_then(|note| {
            let word = |at: usize| note.desc.pread_with::<u32>(at, layout.endian()).ok();
            // The first word is the system; 0 is Linux.
            match word(0)? {
                0 => Some(format!("{}.{}.{}", word(4)?, word(8)?, word(12)?)),
                _ => None,
            }
        });
        if kernel.is_some() {
            let from = "the ABI note (NT_GNU_ABI_TAG)".into();
            draft.evidence.insert("kernel", Evidence { source: Source::Declared, from });
        }
        let os = os(&layout, &notes, &toolchain, &mut draft);
        let dynamic = dynamic.unwrap_or_default();
        let glibc = dynamic.highest_glibc();
        if glibc.is_some() {
            let from = "the needed symbol versions (DT_VERNEED)".into();
            draft.evidence.insert("glibc", Evidence { source: Source::Declared, from });
        }
        let alignment = layout
            .segments
            .iter()
            .filter(|segment| segment.p_type == goblin::elf::program_header::PT_LOAD)
            .map(|segment| segment.p_align)
            .max();
        let is_dynamic = linkage == Some("dynamic");
        let mut identity = Self {
            machine: machine::name(header.e_machine),
            machine_id: header.e_machine,
            class: layout.class(),
            endianness: layout.endianness(),
            kind: kind(header.e_type),
            os_abi: os_abi(header.e_ident[EI_OSABI], header.e_machine),
            abi_version: header.e_ident[EI_ABIVERSION],
            flags: header.e_flags,
            abi: draft.abi,
            isa: draft.isa,
            float_abi: draft.float_abi,
            features: draft.features,
            linkage,
            interpreter,
            needed: (is_dynamic || !dynamic.needed.is_empty()).then_some(dynamic.needed),
            soname: dynamic.soname,
            rpath: dynamic.rpath,
            runpath: dynamic.runpath,
            glibc,
            kernel,
            toolchain,
            platform: PlatformFact { os, ..PlatformFact::default() },
            targets: Vec::new(),
            evidence: draft.evidence,
            is_loadable: layout.is_loadable,
            problems: layout.problems,
            alignment,
            versions: dynamic.versions,
            provided: dynamic.provided,
            chooses,
        };
        identity.place();
        Ok(identity)
    }

    /// Finds the platform and the targets, which follow from the facts and the catalogue.
    fn place(&mut self) {
        let catalogue = Catalogue::builtin();
        self.platform.architecture = fit::architecture(self, catalogue).map(str::to_owned);
        if self.platform.architecture.is_some() {
            let source = self.evidence.get("abi").map_or(Source::Declared, |abi| abi.source);
            let from = "machine, class, byte order and ABI".into();
            self.evidence.insert("platform.architecture", Evidence { source, from });
        }
        self.platform.variant = arch::variant(self.machine_id, self.isa.as_deref()).map(str::to_owned);
        if self.platform.variant.is_some()
            && let Some(isa) = self.evidence.get("isa")
        {
            let evidence = Evidence { source: isa.source, from: format!("the ISA level: {}", isa.from) };
            self.evidence.insert("platform.variant", evidence);
        }
        self.targets = catalogue
            .targets()
            .iter()
            .filter(|target| fit::fit(self, target).is_empty())
            .map(|target| target.name.as_str())
            .collect();
    }
}

fn kind(value: u16) -> Cow<'static, str> {
    match value {
        ET_NONE => "NONE".into(),
        ET_REL => "REL".into(),
        ET_EXEC => "EXEC".into(),
        ET_DYN => "DYN".into(),
        ET_CORE => "CORE".into(),
        other => format!("{other:#x}").into(),
    }
}

fn os_abi(value: u8, machine: u16) -> Cow<'static, str> {
    // From 64 on each architecture has its own meanings, but for 255.
    let is_known = value < 64 || value == 255 || machine == arch::em::ARM;
    let name = values::OS_ABI.iter().find(|(id, _)| *id == value && is_known);
    name.map_or_else(|| format!("{value:#x}").into(), |(_, name)| Cow::Borrowed(*name))
}

/// The longest path of a loader that is read, in bytes (`PATH_MAX`).
const MOST_INTERPRETER: u64 = 4096;

fn interpreter(layout: &mut Layout, file: &mut Reader<'_>) -> Result<Option<String>, ElfError> {
    if layout.is_stripped_to_debug() {
        return Ok(None);
    }
    let Some((offset, len)) = layout.segment(PT_INTERP).map(|segment| (segment.p_offset, segment.p_filesz))
    else {
        return Ok(None);
    };
    if len > MOST_INTERPRETER {
        layout.problem(format!("the interpreter's path is said to have {len} bytes, which no path has"));
        return Ok(None);
    }
    let Some(bytes) = layout.bytes(file, "the interpreter's path", offset, len)? else { return Ok(None) };
    let end = memchr::memchr(0, &bytes).unwrap_or_else(|| {
        layout
            .problem("the interpreter's path does not end with a NUL, so the kernel refuses the file".into());
        bytes.len()
    });
    Ok(Some(String::from_utf8_lossy(&bytes[..end]).into_owned()))
}

fn linkage(
    layout: &Layout,
    dynamic: Option<&Dynamic>,
    interpreter: Option<&str>,
) -> (Option<&'static str>, Option<Evidence>) {
    let declared = |linkage, from: &str| {
        (Some(linkage), Some(Evidence { source: Source::Declared, from: from.to_owned() }))
    };
    let header = &layout.header;
    if !matches!(header.e_type, ET_EXEC | ET_DYN) || layout.is_stripped_to_debug() {
        return (None, None);
    }
    if interpreter.is_some() {
        return declared("dynamic", "an interpreter (PT_INTERP)");
    }
    let needs = dynamic.is_some_and(|dynamic| !dynamic.needed.is_empty());
    match (header.e_type, dynamic) {
        _ if needs => declared("dynamic", "needed libraries (DT_NEEDED)"),
        (ET_EXEC, _) => declared("static", "type EXEC without an interpreter and needed libraries"),
        (_, Some(dynamic)) if dynamic.is_pie => declared("static-pie", "DF_1_PIE without an interpreter"),
        // Older linkers do not set the flag.
        (_, Some(dynamic)) if dynamic.has_debug => {
            let from = "DT_DEBUG, which programs have, without an interpreter".into();
            (Some("static-pie"), Some(Evidence { source: Source::Inferred, from }))
        }
        (_, Some(_)) => declared("dynamic", "type DYN with a dynamic section"),
        (_, None) => declared("static", "no dynamic section"),
    }
}

/// The operating system, from the surest mark to the weakest.
fn os(layout: &Layout, notes: &[Note], toolchain: &Toolchain, draft: &mut Draft) -> Option<String> {
    let mut told = |os: &str, source, from: String| {
        draft.evidence.insert("platform.os", Evidence { source, from });
        Some(os.to_owned())
    };
    for (name, os) in [(&b"FreeBSD"[..], "freebsd"), (b"NetBSD", "netbsd"), (b"OpenBSD", "openbsd")] {
        if notes.iter().any(|note| note.name == name && note.kind == 1) {
            return told(os, Source::Declared, format!("the note of {os}"));
        }
    }
    let tag = notes.iter().find(|note| note.name == b"GNU" && note.kind == 1);
    if let Some(word) = tag.and_then(|note| note.desc.pread_with::<u32>(0, layout.endian()).ok()) {
        let os = match word {
            0 => Some("linux"),
            1 => Some("hurd"),
            2 => Some("solaris"),
            3 => Some("freebsd"),
            4 => Some("netbsd"),
            _ => None,
        };
        if let Some(os) = os {
            return told(os, Source::Declared, "the ABI note (NT_GNU_ABI_TAG)".into());
        }
    }
    if let Some(os) = toolchain.go.as_ref().and_then(|go| go.settings.get("GOOS")) {
        return told(os, Source::Declared, "Go's build information (GOOS)".into());
    }
    let by_osabi = match layout.header.e_ident[EI_OSABI] {
        2 => Some("netbsd"),
        3 => Some("linux"),
        6 => Some("solaris"),
        7 => Some("aix"),
        9 => Some("freebsd"),
        12 => Some("openbsd"),
        _ => None,
    };
    if let Some(os) = by_osabi {
        return told(os, Source::Declared, "EI_OSABI".into());
    }
    if toolchain.bionic.is_some() {
        // Android's programs run on Linux; OCI has no other word for it.
        return told("linux", Source::Inferred, "Android's C library".into());
    }
    if layout.section(b".modinfo").is_some() {
        return told("linux", Source::Inferred, "a kernel module's section (.modinfo)".into());
    }
    match (layout.header.e_ident[EI_OSABI], layout.header.e_machine) {
        (0, _) | (64 | 97, arch::em::ARM) => {
            told("linux", Source::Inferred, "EI_OSABI, which names no other system".into())
        }
        _ => None,
    }
}
