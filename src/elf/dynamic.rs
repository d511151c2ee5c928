//! The dynamic section: what the loader is asked for.
//!
//! Source: gABI, "Dynamic Section"; "Linux Standard Base", symbol versioning, for `DT_VERNEED`.

use goblin::elf::dynamic::{
    DF_1_PIE, DT_DEBUG, DT_FLAGS_1, DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB,
    DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM,
};
use goblin::elf::program_header::PT_DYNAMIC;
use goblin::elf::section_header::SHT_DYNAMIC;
use scroll::Pread;

use super::ElfError;
use super::layout::Layout;
use super::reader::{ReadError, Reader};

/// The largest dynamic section that is read, in bytes: 65,536 entries.
const MOST: u64 = 1 << 20;
/// The longest name in it, in bytes. Paths end at 4,096; search paths are lists of them.
const MOST_STRING: u64 = 1 << 16;
/// How many names and versions are read in all, and how many bytes they may have: entries of a hostile file may
/// all point at the same long name.
const MOST_NAMES: usize = 1 << 14;
const MOST_BYTES: usize = 1 << 20;

/// What a dynamic section asks for.
#[derive(Debug, Default)]
pub(super) struct Dynamic {
    pub(super) needed: Vec<String>,
    pub(super) soname: Option<String>,
    pub(super) rpath: Option<String>,
    pub(super) runpath: Option<String>,
    /// `DF_1_PIE`.
    pub(super) is_pie: bool,
    /// `DT_DEBUG`, which linkers put into programs and not into libraries.
    pub(super) has_debug: bool,
    /// (library, versions of its symbols that are needed).
    pub(super) versions: Vec<(String, Vec<String>)>,
    /// Versions of its own symbols.
    pub(super) provided: Vec<String>,
}

impl Dynamic {
    /// `2.34` of `GLIBC_2.34`, the highest by number.
    pub(super) fn highest_glibc(&self) -> Option<String> {
        let versions = self.versions.iter().flat_map(|(_, versions)| versions);
        versions
            .filter_map(|version| version.strip_prefix("GLIBC_"))
            .filter_map(|version| {
                let numbers: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
                numbers.map(|numbers| (numbers, version))
            })
            .max()
            .map(|(_, version)| version.to_owned())
    }
}

/// The dynamic section; `None` where the file has none.
pub(super) fn read(layout: &mut Layout, file: &mut Reader<'_>) -> Result<Option<Dynamic>, ElfError> {
    let Some((offset, len)) = place(layout) else { return Ok(None) };
    let Some(bytes) = layout.bytes(file, "the dynamic section", offset, len.min(MOST))? else {
        return Ok(None);
    };
    let word = layout.word() as usize;
    let endian = layout.endian();
    let get = |at: usize| -> Option<u64> {
        if word == 8 {
            bytes.pread_with::<u64>(at, endian).ok()
        } else {
            bytes.pread_with::<u32>(at, endian).ok().map(u64::from)
        }
    };
    let mut entries = Vec::new();
    let mut at = 0;
    while let (Some(tag), Some(value)) = (get(at), get(at + word)) {
        if tag == DT_NULL {
            break;
        }
        entries.push((tag, value));
        at += 2 * word;
    }
    let value = |wanted: u64| entries.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);

    let mut dynamic = Dynamic {
        has_debug: value(DT_DEBUG).is_some(),
        is_pie: value(DT_FLAGS_1).is_some_and(|flags| flags & DF_1_PIE != 0),
        ..Dynamic::default()
    };
    let Some(address) = value(DT_STRTAB) else { return Ok(Some(dynamic)) };
    // Objects that were never linked for loading have offsets where programs have addresses.
    let table = match layout.offset_of(address) {
        Some(offset) => offset,
        None if layout.segments.is_empty() => address,
        None => {
            layout.problem(format!("the dynamic string table ({address:#x}) lies in no segment"));
            return Ok(Some(dynamic));
        }
    };
    let mut strings =
        Strings { table, len: value(DT_STRSZ).unwrap_or(u64::MAX), names: MOST_NAMES, bytes: MOST_BYTES };
    for (tag, value) in &entries {
        let slot = match *tag {
            DT_NEEDED => None,
            DT_SONAME => Some(&mut dynamic.soname),
            DT_RPATH => Some(&mut dynamic.rpath),
            DT_RUNPATH => Some(&mut dynamic.runpath),
            _ => continue,
        };
        let Some(text) = strings.get(layout, file, *value)? else { continue };
        match slot {
            None => dynamic.needed.push(text),
            Some(slot) => *slot = Some(text),
        }
    }
    if let (Some(address), Some(count)) = (value(DT_VERNEED), value(DT_VERNEEDNUM)) {
        let offset = if layout.segments.is_empty() { Some(address) } else { layout.offset_of(address) };
        match offset {
            Some(offset) => dynamic.versions = versions(layout, file, &mut strings, offset, count)?,
            None => layout.problem(format!("the needed versions ({address:#x}) lie in no segment")),
        }
    }
    if let (Some(address), Some(count)) = (value(DT_VERDEF), value(DT_VERDEFNUM)) {
        let offset = if layout.segments.is_empty() { Some(address) } else { layout.offset_of(address) };
        match offset {
            Some(offset) => dynamic.provided = provided(layout, file, &mut strings, offset, count)?,
            None => layout.problem(format!("the versions ({address:#x}) lie in no segment")),
        }
    }
    Ok(Some(dynamic))
}

/// Where the dynamic section is. Debugging information names it and has no bytes of it.
fn place(layout: &Layout) -> Option<(u64, u64)> {
    if layout.is_stripped_to_debug() {
        return None;
    }
    if let Some(segment) = layout.segment(PT_DYNAMIC) {
        return Some((segment.p_offset, segment.p_filesz));
    }
    let section = layout.sections.iter().find(|section| section.sh_type == SHT_DYNAMIC)?;
    Some((section.sh_offset, section.sh_size))
}

struct Strings {
    table: u64,
    len: u64,
    /// Names and bytes that may still be read.
    names: usize,
    bytes: usize,
}

impl Strings {
    fn get(
        &mut self,
        layout: &mut Layout,
        file: &mut Reader<'_>,
        index: u64,
    ) -> Result<Option<String>, ElfError> {
        let what = "a name in the dynamic string table";
        if self.names == 0 || self.bytes == 0 {
            layout.problem("the names in the dynamic section are too many to be true".into());
            return Ok(None);
        }
        self.names -= 1;
        let left = self.len.saturating_sub(index);
        let read = match self.table.checked_add(index).filter(|_| left > 0) {
            Some(offset) => file.string(offset, left.min(MOST_STRING)),
            None => Err(ReadError::Beyond),
        };
        match read {
            Ok(text) => {
                self.bytes = self.bytes.saturating_sub(text.len());
                Ok(Some(String::from_utf8_lossy(&text).into_owned()))
            }
            Err(ReadError::TooLarge) => {
                layout.problem(format!("{what} ({index:#x}) does not end where the table does"));
                Ok(None)
            }
            Err(ReadError::Beyond) => {
                layout.problem(format!("{what} ({index:#x}) lies beyond its end"));
                Ok(None)
            }
            Err(ReadError::Io(source)) => Err(ElfError::Read { what: what.into(), source }),
        }
    }
}

/// Follows the chain of `Verneed` records, each with a chain of `Vernaux`.
fn versions(
    layout: &mut Layout,
    file: &mut Reader<'_>,
    strings: &mut Strings,
    mut offset: u64,
    count: u64,
) -> Result<Vec<(String, Vec<String>)>, ElfError> {
    let endian = layout.endian();
    let mut libraries = Vec::new();
    for _ in 0..count.min(MOST_NAMES as u64) {
        let Some(record) = layout.bytes(file, "a needed version", offset, 16)? else { break };
        let field = |at| record.pread_with::<u32>(at, endian).map_or(0, u64::from);
        let auxiliaries = record.pread_with::<u16>(2, endian).unwrap_or(0);
        let (library, first, next) = (field(4), field(8), field(12));
        let Some(library) = strings.get(layout, file, library)? else { break };
        let mut names = Vec::new();
        let mut at = offset.saturating_add(first);
        for _ in 0..auxiliaries {
            let Some(record) = layout.bytes(file, "a needed version", at, 16)? else { break };
            let field = |at| record.pread_with::<u32>(at, endian).map_or(0, u64::from);
            let Some(name) = strings.get(layout, file, field(8))? else { break };
            names.push(name);
            if field(12) == 0 {
                break;
            }
            at = at.saturating_add(field(12));
        }
        libraries.push((library, names));
        if next == 0 {
            break;
        }
        offset = offset.saturating_add(next);
    }
    Ok(libraries)
}

/// Follows the chain of `Verdef` records. The first auxiliary of each is its name, the others are what it succeeds.
fn provided(
    layout: &mut Layout,
    file: &mut Reader<'_>,
    strings: &mut Strings,
    mut offset: u64,
    count: u64,
) -> Result<Vec<String>, ElfError> {
    let endian = layout.endian();
    let mut names = Vec::new();
    for _ in 0..count.min(MOST_NAMES as u64) {
        let Some(record) = layout.bytes(file, "a version", offset, 20)? else { break };
        let field = |at| record.pread_with::<u32>(at, endian).map_or(0, u64::from);
        let (first, next) = (field(12), field(16));
        let at = offset.saturating_add(first);
        let Some(record) = layout.bytes(file, "a version's name", at, 8)? else { break };
        let name = record.pread_with::<u32>(0, endian).map_or(0, u64::from);
        let Some(name) = strings.get(layout, file, name)? else { break };
        names.push(name);
        if next == 0 {
            break;
        }
        offset = offset.saturating_add(next);
    }
    Ok(names)
}
