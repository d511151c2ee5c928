//! What a file is, by its first bytes.

use super::reader::{ReadError, Reader};

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// An ELF file, by its magic.
    Elf,
    /// A text whose first line names its interpreter.
    Script(Script),
    /// A Mach-O file (macOS): thin, or fat with several architectures.
    MachO {
        /// The architectures, as Apple calls them.
        architectures: Vec<String>,
    },
    /// A Portable Executable (Windows, UEFI).
    Pe {
        /// The machine, as Microsoft's specification calls it.
        machine: String,
    },
    /// None of those.
    Other,
}

/// The first line of a script.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Script {
    /// The interpreter's path.
    pub interpreter: String,
    /// The one argument that the kernel passes to it: all the rest of the line.
    pub argument: Option<String>,
}

/// How much of a script's first line the kernel reads, in bytes (`BINPRM_BUF_SIZE`).
const SCRIPT_LINE: usize = 256;

/// What `file` is.
pub fn kind(file: &mut Reader<'_>) -> std::io::Result<Kind> {
    let len = file.len().min(SCRIPT_LINE as u64);
    let first = match file.bytes(0, len) {
        Ok(bytes) => bytes.into_owned(),
        Err(ReadError::Io(err)) => return Err(err),
        Err(ReadError::Beyond | ReadError::TooLarge) => return Ok(Kind::Other),
    };
    Ok(match first.get(..4) {
        Some(b"\x7fELF") => Kind::Elf,
        Some([b'#', b'!', ..]) => script(&first).map_or(Kind::Other, Kind::Script),
        Some([b'M', b'Z', ..]) => pe(file, &first).map_or(Kind::Other, |machine| Kind::Pe { machine }),
        Some(_) => mach_o(file, &first).map_or(Kind::Other, |architectures| Kind::MachO { architectures }),
        None if first.starts_with(b"#!") => script(&first).map_or(Kind::Other, Kind::Script),
        None => Kind::Other,
    })
}

/// As `load_script` of the kernel (fs/binfmt_script.c): spaces and tabs separate, the rest of the line is one
/// argument, and a carriage return belongs to the name.
fn script(first: &[u8]) -> Option<Script> {
    let line = first.strip_prefix(b"#!")?;
    let end = memchr::memchr2(b'\n', 0, line);
    let line = &line[..end.unwrap_or(line.len())];
    let text = String::from_utf8_lossy(line);
    let text = text.trim_start_matches([' ', '\t']);
    // An interpreter that does not end within what the kernel reads is none to it.
    if end.is_none() && first.len() == SCRIPT_LINE && !text.contains([' ', '\t']) {
        return None;
    }
    let text = text.trim_end_matches([' ', '\t']);
    let (interpreter, argument) = match text.split_once([' ', '\t']) {
        Some((interpreter, argument)) => (interpreter, Some(argument.trim_matches([' ', '\t']).to_owned())),
        None => (text, None),
    };
    (!interpreter.is_empty()).then(|| Script { interpreter: interpreter.to_owned(), argument })
}

fn little(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes)
}

/// Source: Microsoft's "PE Format": the word at 0x3c points at `PE\0\0`, after which stands the machine.
fn pe(file: &mut Reader<'_>, first: &[u8]) -> Option<String> {
    let offset = u64::from(little(first, 0x3c)?);
    let header = file.bytes(offset, 6).ok()?;
    let machine = header.strip_prefix(b"PE\0\0")?;
    Some(match u16::from_le_bytes([*machine.first()?, *machine.get(1)?]) {
        0x14c => "I386".into(),
        0x8664 => "AMD64".into(),
        0x1c0 => "ARM".into(),
        0x1c2 => "THUMB".into(),
        0x1c4 => "ARMNT".into(),
        0xaa64 => "ARM64".into(),
        0xa641 => "ARM64EC".into(),
        0x5032 => "RISCV32".into(),
        0x5064 => "RISCV64".into(),
        0x6232 => "LOONGARCH32".into(),
        0x6264 => "LOONGARCH64".into(),
        0x200 => "IA64".into(),
        0xebc => "EBC".into(),
        0x166 => "R4000".into(),
        0x1f0 => "POWERPC".into(),
        0x1a6 => "SH4".into(),
        other => format!("{other:#x}"),
    })
}

/// The most architectures that a fat file is believed to have. Java class files share its magic, and their
/// version stands where the count does, from 45 up.
const MOST_FAT: u32 = 30;

/// Source: Apple's `mach-o/loader.h` and `mach-o/fat.h`.
fn mach_o(file: &mut Reader<'_>, first: &[u8]) -> Option<Vec<String>> {
    let big = |at: usize| little(first, at).map(u32::swap_bytes);
    match big(0)? {
        0xfeed_face | 0xfeed_facf => Some(vec![mach_cpu(big(4)?, big(8)?)]),
        0xcefa_edfe | 0xcffa_edfe => Some(vec![mach_cpu(little(first, 4)?, little(first, 8)?)]),
        magic @ (0xcafe_babe | 0xcafe_babf) => {
            let count = big(4)?;
            if count == 0 || count > MOST_FAT {
                return None;
            }
            let size = if magic == 0xcafe_babf { 32 } else { 20 };
            let table = file.bytes(8, u64::from(count) * size).ok()?;
            let big = |at: usize| little(&table, at).map(u32::swap_bytes);
            (0..count as usize)
                .map(|index| {
                    let at = index * size as usize;
                    Some(mach_cpu(big(at)?, big(at + 4)?))
                })
                .collect()
        }
        _ => None,
    }
}

fn mach_cpu(cpu: u32, sub: u32) -> String {
    match (cpu, sub & 0x00ff_ffff) {
        (7, _) => "i386".into(),
        (0x0100_0007, 8) => "x86_64h".into(),
        (0x0100_0007, _) => "x86_64".into(),
        (12, 6) => "armv6".into(),
        (12, 9) => "armv7".into(),
        (12, 11) => "armv7s".into(),
        (12, _) => "arm".into(),
        (0x0100_000c, 2) => "arm64e".into(),
        (0x0100_000c, _) => "arm64".into(),
        (0x0200_000c, _) => "arm64_32".into(),
        (18, _) => "ppc".into(),
        (0x0100_0012, _) => "ppc64".into(),
        (cpu, _) => format!("{cpu:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Kind {
        kind(&mut Reader::memory(bytes)).unwrap()
    }

    fn script_of(bytes: &[u8]) -> (String, Option<String>) {
        match of(bytes) {
            Kind::Script(script) => (script.interpreter, script.argument),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn scripts_as_the_kernel_splits_them() {
        assert_eq!(script_of(b"#!/bin/sh\n"), ("/bin/sh".into(), None));
        assert_eq!(
            script_of(b"#! \t/usr/bin/env  -S  a b \nx"),
            ("/usr/bin/env".into(), Some("-S  a b".into()))
        );
        assert_eq!(script_of(b"#!/bin/sh\r\n"), ("/bin/sh\r".into(), None));
        assert_eq!(of(b"#!"), Kind::Other);
        assert_eq!(of(b"#! \n"), Kind::Other);
        assert_eq!(of(&[b"#!/", &[b'a'; 300][..]].concat()), Kind::Other);
        assert_eq!(script_of(&[b"#!/a ", &[b'b'; 300][..]].concat()).0, "/a");
    }

    #[test]
    fn foreign_formats() {
        let mut pe = vec![0; 0x46];
        pe[..2].copy_from_slice(b"MZ");
        pe[0x3c] = 0x40;
        pe[0x40..].copy_from_slice(b"PE\0\0\x64\x86");
        assert_eq!(of(&pe), Kind::Pe { machine: "AMD64".into() });
        pe[0x3c] = 0xff;
        assert_eq!(of(&pe), Kind::Other, "an offset that lies");

        let mut thin = 0xfeed_facf_u32.to_le_bytes().to_vec();
        thin.extend(0x0100_000c_u32.to_le_bytes());
        thin.extend(0u32.to_le_bytes());
        assert_eq!(of(&thin), Kind::MachO { architectures: vec!["arm64".into()] });

        let java = b"\xca\xfe\xba\xbe\0\0\0\x34rest of a class file";
        assert_eq!(of(java), Kind::Other);
        assert_eq!(of(b""), Kind::Other);
        assert_eq!(of(b"MZ"), Kind::Other);
    }
}
