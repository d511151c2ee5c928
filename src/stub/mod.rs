//! Programs of a bundle's host, a kilobyte each: the stub that executes another program in its place, and the init.
//!
//! They are freestanding C (`stub.c`, `init.c`, and `first.c` for containers alone; `host/` has what differs from host to host), built by
//! `scripts/build-stubs` and kept in `built/`; a test builds them again and compares. A stub's command line is data that is put
//! behind its code: see [`Launch`].

use crate::target::Endianness;

/// The built programs, by QEMU's name of the host and their own.
const BUILT: &[(&str, &str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/stubs.rs"));

/// The most words that a stub may put before its caller's, and the most bytes of all of them: what its stack has room for,
/// with much to spare.
const MOST_WORDS: usize = 200;
const MOST_BYTES: usize = 32 << 10;

/// The programs for one host.
#[derive(Debug, Clone, Copy)]
pub struct HostPrograms {
    stub: &'static [u8],
    init: &'static [u8],
    /// Where polyarch itself runs.
    first: Option<&'static [u8]>,
}

/// What a stub does: which program it executes, and with which arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// How many of the caller's first arguments, its name among them, are not passed on as they are.
    skipped: u8,
    path: String,
    words: Vec<Word>,
}

/// An argument that comes before those that are passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Text(String),
    /// One of the first three arguments of the caller; empty where it gave none.
    Caller(u8),
}

/// A stub cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StubError {
    /// An argument holds a NUL byte.
    #[error("an argument holds a NUL byte")]
    Nul,
    /// There are too many arguments, or too long ones.
    #[error("the command line has more than {MOST_WORDS} words or {MOST_BYTES} bytes")]
    TooLong,
    /// The built program is none of `scripts/build-stubs`.
    #[error("the built stub is damaged")]
    Damaged,
}

impl Launch {
    /// In a guest program's place: `emulator`, with `flags`, runs the program that really is at `program`, under the name and with the
    /// arguments of the caller.
    #[must_use]
    pub fn emulated(emulator: &str, flags: &[String], program: &str) -> Self {
        let mut words = vec![Word::Text(emulator.into())];
        words.extend(flags.iter().cloned().map(Word::Text));
        words.extend([Word::Text("-0".into()), Word::Caller(0), Word::Text(program.into())]);
        Self { skipped: 1, path: emulator.into(), words }
    }

    /// As an interpreter that binfmt_misc executes with the flag `P`: `emulator`, with `flags`, runs the program that
    /// the kernel names.
    #[must_use]
    pub fn interpreter(emulator: &str, flags: &[String]) -> Self {
        let mut words = vec![Word::Text(emulator.into())];
        words.extend(flags.iter().cloned().map(Word::Text));
        // The kernel gives the interpreter, the program's path, and what the program was called.
        words.extend([Word::Text("-0".into()), Word::Caller(2), Word::Caller(1)]);
        Self { skipped: 3, path: emulator.into(), words }
    }

    /// A whole command line under one name; what it is called with comes after it.
    #[must_use]
    pub fn command(path: &str, words: &[String]) -> Self {
        let first = std::iter::once(path.to_owned());
        let words = first.chain(words.iter().cloned()).map(Word::Text).collect();
        Self { skipped: 1, path: path.into(), words }
    }

    /// The template that `stub.c` reads.
    fn template(&self) -> Result<Vec<u8>, StubError> {
        let mut template = vec![b'0' + self.skipped];
        let text = |template: &mut Vec<u8>, text: &str| {
            template.extend_from_slice(text.as_bytes());
            template.push(0);
            if text.contains('\0') { Err(StubError::Nul) } else { Ok(()) }
        };
        text(&mut template, &self.path)?;
        for word in &self.words {
            match word {
                Word::Text(word) => {
                    template.push(b'=');
                    text(&mut template, word)?;
                }
                Word::Caller(number) => template.push(b'0' + number),
            }
        }
        template.push(0);
        if self.words.len() > MOST_WORDS || template.len() > MOST_BYTES {
            return Err(StubError::TooLong);
        }
        Ok(template)
    }
}

impl HostPrograms {
    /// Those of the host that QEMU calls `host`, if there are any.
    #[must_use]
    pub fn of(host: &str) -> Option<Self> {
        let find = |wanted: &str| {
            let found = BUILT.iter().find(|(of, name, _)| *of == host && *name == wanted);
            found.map(|(_, _, bytes)| *bytes)
        };
        Some(Self { stub: find("stub")?, init: find("init")?, first: find("first") })
    }

    /// The hosts that there are programs for, by QEMU's names.
    pub fn hosts() -> impl Iterator<Item = &'static str> {
        BUILT.iter().filter(|(_, name, _)| *name == "stub").map(|(host, _, _)| *host)
    }

    /// A program that does what `launch` says.
    ///
    /// # Errors
    /// [`StubError`] where the command line cannot be held.
    pub fn stub(&self, launch: &Launch) -> Result<Vec<u8>, StubError> {
        extended(self.stub, &launch.template()?).ok_or(StubError::Damaged)
    }

    /// A program that executes `then` the first time that it is executed, which the file `token` tells by being there, and
    /// `otherwise` all other times.
    ///
    /// # Errors
    /// [`StubError`] where the paths cannot be held, or there is no such program for the host.
    pub fn first(&self, token: &str, then: &str, otherwise: &str) -> Result<Vec<u8>, StubError> {
        let paths = [token, then, otherwise];
        if paths.iter().any(|path| path.contains('\0')) {
            return Err(StubError::Nul);
        }
        let template: Vec<u8> = paths.iter().flat_map(|path| path.bytes().chain([0])).collect();
        if template.len() > MOST_BYTES {
            return Err(StubError::TooLong);
        }
        self.first.and_then(|built| extended(built, &template)).ok_or(StubError::Damaged)
    }

    /// The first process of a container, which executes the program that its arguments name.
    ///
    /// # Errors
    /// [`StubError::Damaged`].
    pub fn init(&self) -> Result<Vec<u8>, StubError> {
        extended(self.init, &[]).ok_or(StubError::Damaged)
    }
}

/// An ELF file of one loaded segment, with `more` at its end, and without the sections behind it. Source: the gABI, "ELF
/// Header" and "Program Header".
fn extended(built: &[u8], more: &[u8]) -> Option<Vec<u8>> {
    const PT_LOAD: u64 = 1;
    let is_64 = *built.get(4)? == 2;
    let order = if *built.get(5)? == 1 { Endianness::Little } else { Endianness::Big };
    let get = |at: usize, len: usize| {
        let bytes = built.get(at..at.checked_add(len)?)?.iter().map(|byte| u64::from(*byte));
        Some(match order {
            Endianness::Little => bytes.rev().fold(0, |value, byte| value << 8 | byte),
            Endianness::Big => bytes.fold(0, |value, byte| value << 8 | byte),
        })
    };
    let word = if is_64 { 8 } else { 4 };
    // Where the header has the program headers, the sections, and how many sections there are.
    let (headers, sections, count) = if is_64 { (32, 40, 60) } else { (28, 32, 48) };
    let segment = usize::try_from(get(headers, word)?).ok()?;
    let (offset, size) = if is_64 { (8, 32) } else { (4, 16) };
    if get(segment, 4)? != PT_LOAD || get(segment + offset, word)? != 0 {
        return None;
    }
    let end = usize::try_from(get(segment + size, word)?).ok()?;
    let mut file = built.get(..end)?.to_vec();
    file.extend_from_slice(more);
    let len = file.len() as u64;
    let mut set = |at: usize, len: usize, value: u64| {
        let bytes = value.to_be_bytes();
        let target = file.get_mut(at..at + len)?;
        target.copy_from_slice(&bytes[8 - len..]);
        if order == Endianness::Little {
            target.reverse();
        }
        Some(())
    };
    // The sizes in the file and in memory are next to each other.
    set(segment + size, word, len)?;
    set(segment + size + word, word, len)?;
    set(sections, word, 0)?;
    set(count, 2, 0)?;
    set(count + 2, 2, 0)?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::{Identity, Reader};

    #[test]
    fn every_host_has_programs_that_are_static_and_small() {
        let launch = Launch::emulated("/.polyarch/qemu-x", &["-cpu".into(), "y".into()], "/bin/.z.guest");
        assert_eq!(HostPrograms::hosts().count(), 9);
        for host in HostPrograms::hosts() {
            let programs = HostPrograms::of(host).unwrap();
            for bytes in [programs.stub(&launch).unwrap(), programs.init().unwrap()] {
                assert!(bytes.len() < 2048, "{host}: {}", bytes.len());
                let identity = Identity::read(&mut Reader::memory(&bytes)).unwrap();
                assert!(identity.is_loadable && identity.problems.is_empty(), "{host}: {identity:?}");
                assert_eq!(identity.linkage, Some("static"), "{host}");
            }
        }
        assert!(HostPrograms::of("pdp11").is_none());
    }

    #[test]
    fn what_a_stub_cannot_hold_is_refused() {
        let programs = HostPrograms::of("x86_64").unwrap();
        let stub = |words: &[String]| programs.stub(&Launch::command("/bin/x", words));
        assert_eq!(stub(&["a\0b".into()]), Err(StubError::Nul));
        assert_eq!(stub(&vec![String::new(); 200]), Err(StubError::TooLong));
        assert_eq!(stub(&["x".repeat(40_000)]), Err(StubError::TooLong));
        stub(&vec![String::new(); 199]).unwrap();
        assert_eq!(extended(&[], &[]), None);
        assert_eq!(extended(&programs.stub[..70], &[]), None);
    }
}
