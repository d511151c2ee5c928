//! Whether a file can serve as an emulator, and what it says of itself.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{EmulatorError, Unfit};
use crate::debian::Sha256;
use crate::elf::{Blocks, ElfError, Identity, Reader};
use crate::target::{Endianness, Profile};

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
    let file = File::open(path)?;
    let mut blocks = Blocks::default();
    match Identity::read(&mut Reader::file(file.as_fd(), 0, metadata.len(), &mut blocks)) {
        Ok(identity) => Ok(fits(&identity, profile)),
        Err(ElfError::Read { source, .. }) => Err(source),
        Err(_) => Ok(Err(Unfit::NotElf)),
    }
}

/// Judges what a file says of itself.
fn fits(identity: &Identity, profile: &Profile) -> Result<(), Unfit> {
    let is_machine =
        identity.machine.is_some_and(|machine| profile.machines.iter().any(|known| known == machine));
    if !is_machine || identity.class != profile.class || identity.endianness != profile.endianness {
        let describe = |name: &str, bits: u8, order: Endianness| {
            let order = if order == Endianness::Little { "little-endian" } else { "big-endian" };
            format!("{name} ({bits} bits, {order})")
        };
        let found =
            identity.machine.map_or_else(|| format!("machine {}", identity.machine_id), str::to_owned);
        return Err(Unfit::Machine {
            expected: describe(&profile.machines.join(" or "), profile.class, profile.endianness),
            found: describe(&found, identity.class, identity.endianness),
        });
    }
    if !identity.is_loadable {
        return Err(Unfit::NotElf);
    }
    if let Some(interpreter) = &identity.interpreter {
        return Err(Unfit::Dynamic { interpreter: interpreter.clone() });
    }
    match identity.linkage {
        Some("static" | "static-pie") if identity.alignment.is_some() => Ok(()),
        _ => Err(Unfit::NotProgram),
    }
}

/// The SHA-256 of a file, in hexadecimal digits.
pub(super) fn sha256(path: &Path) -> Result<String, EmulatorError> {
    let digest = File::open(path).and_then(Sha256::read);
    digest
        .map(|digest| digest.to_string())
        .map_err(|source| EmulatorError::Read { path: path.into(), source })
}

/// What an emulator tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// The guest, by QEMU's name.
    pub(super) guest: String,
    /// QEMU's version.
    pub(super) version: String,
}

/// What the emulator at `path`, which this machine can run, tells of itself; `None` where it tells nothing as QEMU does.
pub(super) fn told(path: &Path) -> Option<Told> {
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
    let (name, version) = text.split_once(" version ")?;
    let guest = name.strip_prefix("qemu-")?;
    let version = version.split_whitespace().next()?;
    let is_version = version.starts_with(|first: char| first.is_ascii_digit())
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-~".contains(&byte));
    is_version.then(|| Told { guest: guest.to_owned(), version: version.to_owned() })
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

    fn judged(file: &[u8], host: &str) -> Result<(), Unfit> {
        let identity = Identity::read(&mut Reader::memory(file)).map_err(|_| Unfit::NotElf)?;
        fits(&identity, profile(host))
    }

    #[test]
    fn a_static_program_of_the_host_fits() {
        const PT_LOAD: u32 = 1;
        const PT_INTERP: u32 = 3;
        const PT_TLS: u32 = 7;
        assert_eq!(judged(&amd64(PT_LOAD), "linux/amd64"), Ok(()));
        let interpreter = "/lib/ld".to_owned();
        assert_eq!(judged(&amd64(PT_INTERP), "linux/amd64"), Err(Unfit::Dynamic { interpreter }));
        assert!(matches!(judged(&amd64(PT_LOAD), "linux/arm64"), Err(Unfit::Machine { .. })));
        assert_eq!(judged(&amd64(PT_TLS), "linux/amd64"), Err(Unfit::NotProgram));
        assert_eq!(judged(b"#!/bin/sh\n", "linux/amd64"), Err(Unfit::NotElf));
    }

    #[test]
    fn a_cut_or_lying_header_is_no_program() {
        let whole = amd64(1);
        for length in 0..120 {
            assert_eq!(judged(&whole[..length], "linux/amd64"), Err(Unfit::NotElf), "{length} bytes");
        }
        let mut lying = whole;
        lying[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(judged(&lying, "linux/amd64"), Err(Unfit::NotElf));
    }
}
