//! Notes: named records in `PT_NOTE` segments and `SHT_NOTE` sections.
//!
//! Source: gABI, "Note Section"; "Linux Extensions to gABI" for the GNU property note, whose fields are
//! aligned to 8 bytes in 64-bit files.

use goblin::elf::header::ET_CORE;
use goblin::elf::program_header::PT_NOTE;
use goblin::elf::section_header::SHT_NOTE;
use scroll::{Endian, Pread};

use super::ElfError;
use super::layout::Layout;
use super::reader::Reader;

/// The largest note area that is read, in bytes.
const MOST: u64 = 1 << 20;

/// How many notes are read.
const MOST_NOTES: usize = 1 << 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// Without its NUL.
    pub(super) name: Vec<u8>,
    pub(super) kind: u32,
    pub(super) desc: Vec<u8>,
}

/// All notes of a file. Core files' are left out: they tell of the process that died, not of a program.
pub(super) fn read(layout: &mut Layout, file: &mut Reader<'_>) -> Result<Vec<Note>, ElfError> {
    if layout.header.e_type == ET_CORE {
        return Ok(Vec::new());
    }
    let mut areas: Vec<(u64, u64, u64)> = layout
        .segments
        .iter()
        .filter(|segment| segment.p_type == PT_NOTE)
        .map(|segment| (segment.p_offset, segment.p_filesz, segment.p_align))
        .collect();
    // Objects have no segments; debugging information has segments without their bytes.
    if areas.is_empty() || layout.is_stripped_to_debug() {
        areas = layout
            .sections
            .iter()
            .filter(|section| section.sh_type == SHT_NOTE)
            .map(|section| (section.sh_offset, section.sh_size, section.sh_addralign))
            .collect();
    }
    let mut notes = Vec::new();
    let mut total = 0;
    for (offset, len, align) in areas {
        // Objects with annotations of the compiler have hundreds of note sections, all small.
        total += len.min(MOST);
        if total > 4 * MOST || notes.len() > MOST_NOTES {
            layout.problem("the notes are too many to be true".into());
            break;
        }
        if let Some(bytes) = layout.bytes(file, "a note", offset, len.min(MOST))? {
            parse(&bytes, align, layout.endian(), &mut notes);
        }
    }
    Ok(notes)
}

fn parse(mut bytes: &[u8], align: u64, endian: Endian, notes: &mut Vec<Note>) {
    let align = if align == 8 { 8 } else { 4 };
    while let (Ok(name_len), Ok(desc_len), Ok(kind)) = (
        bytes.pread_with::<u32>(0, endian),
        bytes.pread_with::<u32>(4, endian),
        bytes.pread_with::<u32>(8, endian),
    ) {
        let name_end = 12usize.saturating_add(name_len as usize);
        let Some(desc_start) = name_end.checked_next_multiple_of(align) else { break };
        let desc_end = desc_start.saturating_add(desc_len as usize);
        let (Some(name), Some(desc)) = (bytes.get(12..name_end), bytes.get(desc_start..desc_end)) else {
            break;
        };
        // Go counts the padding into the name.
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        notes.push(Note { name: name.to_vec(), kind, desc: desc.to_vec() });
        let next = desc_end.checked_next_multiple_of(align);
        let Some(rest) = next.and_then(|next| bytes.get(next..)) else { break };
        bytes = rest;
    }
}

/// `NT_GNU_PROPERTY_TYPE_0`.
const GNU_PROPERTY: u32 = 5;

/// The properties of the GNU property notes, as (type, value).
pub(super) fn properties(notes: &[Note], word: u64, endian: Endian) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    for note in notes.iter().filter(|note| note.name == b"GNU" && note.kind == GNU_PROPERTY) {
        let mut bytes = note.desc.as_slice();
        while let (Ok(kind), Ok(len)) =
            (bytes.pread_with::<u32>(0, endian), bytes.pread_with::<u32>(4, endian))
        {
            if len == 4
                && let Ok(value) = bytes.pread_with::<u32>(8, endian)
            {
                found.push((kind, value));
            }
            let next = 8usize.saturating_add(len as usize).checked_next_multiple_of(word as usize);
            let Some(rest) = next.and_then(|next| bytes.get(next..)) else { break };
            bytes = rest;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_aligned_as_the_segment_says() {
        let mut bytes = Vec::new();
        for (name, desc) in [("GNU\0", &[1u8, 2, 3][..]), ("Go\0\0", b"id")] {
            bytes.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
            bytes.extend(u32::try_from(desc.len()).unwrap().to_le_bytes());
            bytes.extend(4u32.to_le_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend(desc);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let mut notes = Vec::new();
        parse(&bytes, 4, Endian::Little, &mut notes);
        assert_eq!(notes.len(), 2);
        assert_eq!((notes[0].name.as_slice(), notes[0].desc.as_slice()), (&b"GNU"[..], &[1u8, 2, 3][..]));
        assert_eq!((notes[1].name.as_slice(), notes[1].desc.as_slice()), (&b"Go"[..], &b"id"[..]));
        for len in 0..bytes.len() {
            parse(&bytes[..len], 8, Endian::Big, &mut notes);
        }
    }

    #[test]
    fn sizes_that_lie_end_the_reading() {
        let mut notes = Vec::new();
        parse(&[0xff; 64], 4, Endian::Little, &mut notes);
        assert!(notes.is_empty());
    }
}
