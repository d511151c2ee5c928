//! Whether a file can serve as an emulator, and what it says of itself.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use goblin::container::Endian;
use goblin::elf::Elf;
use goblin::elf::header::{ET_DYN, ET_EXEC};
use goblin::elf::program_header::{PT_INTERP, PT_LOAD, ProgramHeader};

use super::{EmulatorError, Unfit};
use crate::debian::Sha256;
use crate::target::{Endianness, Profile, machine};

/// Where the program headers are looked for, in bytes from the start: linkers put them behind the header.
const HEAD: u64 = 64 << 10;

/// How long a program may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the program at `path` runs on a host of `profile` with nothing else beside it.
///
/// # Errors
/// An [`io::Error`] where the file cannot be read, and [`Unfit`] within where it is of no use.
pub(super) fn check(path: &Path, profile: &Profile) -> io::Result<Result<(), Unfit>> {
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        return Ok(Err(Unfit::NotFile));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Ok(Err(Unfit::NotExecutable));
    }
    let mut head = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    Ok(fits(&head, profile))
}

/// Judges the first bytes of a file.
fn fits(head: &[u8], profile: &Profile) -> Result<(), Unfit> {
    let header = Elf::parse_header(head).map_err(|_| Unfit::NotElf)?;
    let class = header.container().map_err(|_| Unfit::NotElf)?;
    let endianness = header.endianness().map_err(|_| Unfit::NotElf)?;
    let bits = if class.is_big() { 64 } else { 32 };
    let order = match endianness {
        Endian::Little => Endianness::Little,
        Endian::Big => Endianness::Big,
    };
    let name = machine::name(header.e_machine);
    let is_machine = name.is_some_and(|name| profile.machines.iter().any(|known| known == name));
    if !is_machine || bits != profile.class || order != profile.endianness {
        let describe = |name: &str, bits: u8, order: Endianness| {
            format!(
                "{name} ({bits} bits, {})",
                if order == Endianness::Little { "little-endian" } else { "big-endian" }
            )
        };
        let found = name.map_or_else(|| format!("machine {}", header.e_machine), str::to_owned);
        return Err(Unfit::Machine {
            expected: describe(&profile.machines.join(" or "), profile.class, profile.endianness),
            found: describe(&found, bits, order),
        });
    }
    if !matches!(header.e_type, ET_EXEC | ET_DYN) {
        return Err(Unfit::NotProgram);
    }
    let offset = usize::try_from(header.e_phoff).map_err(|_| Unfit::NotElf)?;
    let size = usize::from(header.e_phentsize);
    let end = size.checked_mul(usize::from(header.e_phnum)).and_then(|length| length.checked_add(offset));
    if end.is_none_or(|end| end > head.len()) {
        return Err(Unfit::NotElf);
    }
    let context = goblin::container::Ctx::new(class, endianness);
    let segments = ProgramHeader::parse(head, offset, usize::from(header.e_phnum), context)
        .map_err(|_| Unfit::NotElf)?;
    if let Some(segment) = segments.iter().find(|segment| segment.p_type == PT_INTERP) {
        let text = usize::try_from(segment.p_offset)
            .ok()
            .zip(usize::try_from(segment.p_filesz).ok())
            .and_then(|(start, length)| head.get(start..start.checked_add(length)?));
        let text = text.unwrap_or_default();
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        return Err(Unfit::Dynamic { interpreter: String::from_utf8_lossy(text).into_owned() });
    }
    if !segments.iter().any(|segment| segment.p_type == PT_LOAD) {
        return Err(Unfit::NotProgram);
    }
    Ok(())
}

/// The SHA-256 of a file, in hexadecimal digits.
pub(super) fn sha256(path: &Path) -> Result<String, EmulatorError> {
    let digest = File::open(path).and_then(Sha256::read);
    digest
        .map(|digest| digest.to_string())
        .map_err(|source| EmulatorError::Read { path: path.into(), source })
}

/// The version that the emulator at `path`, which this machine can run, tells; `None` where it tells none.
pub(super) fn version(path: &Path) -> Option<String> {
    let child = Command::new(path)
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let text = first_output(child)?;
    // `qemu-mips version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)`.
    let version = text.split_once(" version ")?.1.split_whitespace().next()?;
    let is_version = version.starts_with(|first: char| first.is_ascii_digit())
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-~".contains(&byte));
    is_version.then(|| version.to_owned())
}

/// What `child` writes first, up to a page of it; a child that takes too long is killed.
fn first_output(mut child: Child) -> Option<String> {
    let stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.take(4096).read_to_end(&mut text);
        // The other side may have lost its patience.
        let _ = sender.send(read.map(|_| text));
    });
    let text = receiver.recv_timeout(PATIENCE).ok();
    if text.is_none() {
        // It may have ended by itself in between.
        let _ = child.kill();
    }
    // The pipe is at its end now, or the program is killed: neither waits for long.
    let _ = child.wait();
    if text.is_some() {
        let _ = reader.join();
    }
    String::from_utf8(text?.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Catalogue;

    fn profile(name: &str) -> &'static Profile {
        &Catalogue::builtin().target(name).unwrap().elf
    }

    /// A header and one program header of `kind`, as the gABI lays them out.
    fn amd64(kind: u32) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        for half in [2_u16, 62] {
            file.extend(half.to_le_bytes());
        }
        file.extend(1_u32.to_le_bytes());
        for word in [0x40_0000_u64, 64, 0] {
            file.extend(word.to_le_bytes());
        }
        file.extend(0_u32.to_le_bytes());
        for half in [64_u16, 56, 1, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        file.extend(kind.to_le_bytes());
        file.extend(4_u32.to_le_bytes());
        for word in [120_u64, 0, 0, 8, 8, 1] {
            file.extend(word.to_le_bytes());
        }
        file.extend(b"/lib/ld\0");
        file
    }

    #[test]
    fn a_static_program_of_the_host_fits() {
        assert_eq!(fits(&amd64(PT_LOAD), profile("linux/amd64")), Ok(()));
        let interpreter = "/lib/ld".to_owned();
        assert_eq!(fits(&amd64(PT_INTERP), profile("linux/amd64")), Err(Unfit::Dynamic { interpreter }));
        assert!(matches!(fits(&amd64(PT_LOAD), profile("linux/arm64")), Err(Unfit::Machine { .. })));
        assert_eq!(fits(&amd64(7), profile("linux/amd64")), Err(Unfit::NotProgram));
        assert_eq!(fits(b"#!/bin/sh\n", profile("linux/amd64")), Err(Unfit::NotElf));
    }

    #[test]
    fn a_cut_or_lying_header_is_no_program() {
        let whole = amd64(PT_LOAD);
        for length in 0..120 {
            assert_eq!(fits(&whole[..length], profile("linux/amd64")), Err(Unfit::NotElf), "{length} bytes");
        }
        let mut lying = whole;
        lying[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(fits(&lying, profile("linux/amd64")), Err(Unfit::NotElf));
    }
}
