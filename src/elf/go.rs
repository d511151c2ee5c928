//! Go's build information: the only place where a Go program says for which ISA level and float ABI it was made.
//!
//! Source: Go's `debug/buildinfo` package and `cmd/link`. Before Go 1.18 two pointers lead to the texts;
//! since then they stand behind the 32-byte header.

use goblin::elf::program_header::{PF_W, PT_LOAD};
use scroll::{Endian, Pread};

use super::layout::Layout;
use super::notes::Note;
use super::reader::Reader;
use super::{ElfError, Go};

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The header's size, and its alignment's least, in bytes.
const HEADER: usize = 32;
const ALIGN: usize = 16;
/// How much of the data segment is searched in a program without section names, in bytes.
const SEARCH: u64 = 1 << 16;
/// The largest text that is read, in bytes; a program with a thousand modules has 100 KiB.
const MOST: u64 = 4 << 20;

/// What a Go program says of its build; `None` where it is no Go program.
pub(super) fn read(
    layout: &mut Layout,
    file: &mut Reader<'_>,
    notes: &[Note],
) -> Result<Option<Go>, ElfError> {
    let has_note = notes.iter().any(|note| note.name == b"Go" && note.kind == 4);
    let place = match layout.section(b".go.buildinfo") {
        Some(section) => Some((section.sh_offset, section.sh_size)),
        // Without section names it begins the first writable segment.
        None if layout.sections.is_empty() || has_note => layout
            .segments
            .iter()
            .find(|segment| segment.p_type == PT_LOAD && segment.p_flags & PF_W != 0)
            .map(|segment| (segment.p_offset, segment.p_filesz.min(SEARCH))),
        None => None,
    };
    let Some((offset, len)) = place else { return Ok(has_note.then(Go::default)) };
    // Without section names this is a guess, which a file that is cut short must not be blamed with.
    let len = if layout.sections.is_empty() { len.min(file.len().saturating_sub(offset)) } else { len };
    let Some(bytes) = layout.bytes(file, "Go's build information", offset, len.min(MOST))? else {
        return Ok(has_note.then(Go::default));
    };
    let found = memchr::memmem::find_iter(&bytes, MAGIC)
        .find(|at| (offset as usize).wrapping_add(*at).is_multiple_of(ALIGN) || at.is_multiple_of(ALIGN));
    let Some(info) = found.and_then(|at| bytes.get(at..)).filter(|info| info.len() >= HEADER) else {
        return Ok(has_note.then(Go::default));
    };
    let flags = info[15];
    let (version, modules) = if flags & 2 != 0 {
        // The segment's search window may end within the texts.
        let whole;
        let mut rest = if len == SEARCH {
            let start = offset + (bytes.len() - info.len()) as u64;
            let left = file.len().saturating_sub(start).min(MOST);
            whole = file.bytes(start, left).map(std::borrow::Cow::into_owned).unwrap_or_default();
            whole.get(HEADER..).unwrap_or_default()
        } else {
            &info[HEADER..]
        };
        (inline(&mut rest), inline(&mut rest))
    } else {
        let endian = if flags & 1 != 0 { Endian::Big } else { Endian::Little };
        let size = usize::from(info[14]);
        let header: Vec<u8> = info[16..HEADER].to_vec();
        (pointed(layout, file, &header, 0, size, endian), pointed(layout, file, &header, size, size, endian))
    };
    let mut go = Go { version: version.map(|version| text(&version)), ..Go::default() };
    if let Some(modules) = modules {
        settings(&mut go, &text(strip_sentinels(&modules)));
    }
    Ok(Some(go))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The linker frames the module text with 16 bytes at both ends.
fn strip_sentinels(bytes: &[u8]) -> &[u8] {
    if bytes.len() >= 33 && bytes[bytes.len() - 17] == b'\n' { &bytes[16..bytes.len() - 16] } else { &[] }
}

/// A length as a varint, and that many bytes.
fn inline(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut len = 0usize;
    for shift in (0..35).step_by(7) {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        len |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let bytes = rest.get(..len)?.to_vec();
            *rest = &rest[len..];
            return Some(bytes);
        }
    }
    None
}

/// A pointer at `at` in `header` to a Go string, which is itself a pointer and a length.
fn pointed(
    layout: &Layout,
    file: &mut Reader<'_>,
    header: &[u8],
    at: usize,
    size: usize,
    endian: Endian,
) -> Option<Vec<u8>> {
    let word = |bytes: &[u8], at: usize| match size {
        8 => bytes.pread_with::<u64>(at, endian).ok(),
        4 => bytes.pread_with::<u32>(at, endian).ok().map(u64::from),
        _ => None,
    };
    let address = word(header, at)?;
    let string = file.bytes(layout.offset_of(address)?, 2 * size as u64).ok()?.into_owned();
    let (data, len) = (word(&string, 0)?, word(&string, size)?);
    if len > MOST {
        return None;
    }
    file.bytes(layout.offset_of(data)?, len).ok().map(std::borrow::Cow::into_owned)
}

/// Lines of `path`, `mod` and `build` with their values behind tabs.
fn settings(go: &mut Go, text: &str) {
    for line in text.lines() {
        let mut fields = line.split('\t');
        match (fields.next(), fields.next(), fields.next()) {
            (Some("path"), Some(path), _) => go.path = Some(path.to_owned()),
            (Some("mod"), Some(module), version) => {
                go.module = Some(match version {
                    Some(version) if !version.is_empty() => format!("{module}@{version}"),
                    _ => module.to_owned(),
                });
            }
            (Some("build"), Some(setting), _) => {
                if let Some((key, value)) = setting.split_once('=') {
                    go.settings.insert(key.to_owned(), value.to_owned());
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_line_by_line() {
        let mut go = Go::default();
        settings(
            &mut go,
            "path\tcommand-line-arguments\nmod\texample.com/x\tv1.2.3\th1:=\nbuild\t-compiler=gc\nbuild\tGOARM=5\n",
        );
        assert_eq!(go.module.as_deref(), Some("example.com/x@v1.2.3"));
        assert_eq!(go.settings.get("GOARM").map(String::as_str), Some("5"));
        assert_eq!(go.settings.get("-compiler").map(String::as_str), Some("gc"));
    }

    #[test]
    fn lengths_that_lie_give_nothing() {
        assert_eq!(inline(&mut &b"\xff\xff\xff\xff\xff\xff"[..]), None);
        assert_eq!(inline(&mut &b"\x05abc"[..]), None);
        assert_eq!(inline(&mut &b"\x03abcd"[..]), Some(b"abc".to_vec()));
        assert_eq!(strip_sentinels(b"short"), b"");
    }
}
