//! What is a program, and what only looks like one.

use std::path::Path;

use super::BundleError;
use crate::elf::{self, Identity};
use crate::target::{Catalogue, Guest, Target};
use crate::tree::root::Executable;

/// How a file is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An ELF program.
    Program,
    /// A script, by its first line.
    Script,
    /// A loader, a library, or nothing that is executed.
    Other,
}

/// What `file`, which is called `name`, is.
///
/// Loaders, and libraries that can also be executed (glibc's own, some of PAM's), are opened by emulators and loaders under
/// their own names: a stub there would break every program.
pub(super) fn kind(file: &Executable, name: &[u8]) -> Kind {
    if file.head.starts_with(b"#!") {
        return Kind::Script;
    }
    match &file.elf {
        Some(Ok(identity)) if is_program(identity, name) => Kind::Program,
        _ => Kind::Other,
    }
}

fn is_program(identity: &Identity, name: &[u8]) -> bool {
    // A program whose parts lie beyond its end would only fail where it is run.
    if !identity.is_loadable || identity.alignment.is_none() {
        return false;
    }
    match (identity.kind.as_ref(), identity.linkage) {
        ("EXEC", Some(_)) | (_, Some("static-pie")) => true,
        ("DYN", Some("dynamic")) => {
            identity.interpreter.is_some() && identity.soname.is_none() && !is_library_name(name)
        }
        _ => false,
    }
}

/// `libc.so.6`, `pam_cap.so`, `ld-2.31.so`.
fn is_library_name(name: &[u8]) -> bool {
    let name = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name.ends_with(b".so") || memchr::memmem::find(name, b".so.").is_some()
}

/// The guest whose programs begin so.
pub(super) fn guest(head: &[u8]) -> Option<&'static Guest> {
    Catalogue::builtin().guests().iter().find(|guest| guest.binfmt.matches(head))
}

/// Why `file` is no program that can be bundled.
pub(super) fn refusal(path: &Path, file: &Executable) -> BundleError {
    let reason = match &file.elf {
        None => "it is neither an ELF file nor a script".into(),
        Some(Err(problem)) => problem.clone(),
        Some(Ok(identity)) if !identity.is_loadable => identity.problems.join("; "),
        Some(Ok(_)) => "it is an ELF file, and no executable".into(),
    };
    BundleError::NotProgram { path: path.into(), reason }
}

/// Whether the CPU of `target` runs it.
pub(super) fn check_target(
    path: &Path,
    guest: &Guest,
    identity: &Identity,
    target: &Target,
) -> Result<(), BundleError> {
    if target.qemu.guest != guest.name {
        return Err(BundleError::WrongTarget {
            path: path.into(),
            guest: guest.name.clone(),
            target: target.name.clone(),
            expected: target.qemu.guest.clone(),
        });
    }
    let wrong = elf::fit(identity, target);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(BundleError::Unfit {
        path: path.into(),
        target: target.name.clone(),
        reasons: wrong.iter().map(|wrong| wrong.describe(identity, target)).collect(),
    })
}

/// The interpreter of a script, and its one argument, as the kernel reads them.
pub(super) fn interpreter(head: &[u8]) -> Option<(String, Option<String>)> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n' || *byte == 0).next()?;
    let line = std::str::from_utf8(line).ok()?.trim_matches([' ', '\t']);
    let (path, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let argument = argument.trim_matches([' ', '\t']);
    (!path.is_empty()).then(|| (path.to_owned(), (!argument.is_empty()).then(|| argument.to_owned())))
}

/// The program that `env` is asked to start by a script's first line.
pub(super) fn of_env(argument: &str) -> Option<&str> {
    argument.split_whitespace().find(|word| !word.starts_with('-') && !word.contains('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_are_read_as_the_kernel_does() {
        let read = |line: &str| interpreter(line.as_bytes());
        assert_eq!(read("#!/bin/sh\nexit"), Some(("/bin/sh".into(), None)));
        assert_eq!(read("#! /bin/sh -e -x \n"), Some(("/bin/sh".into(), Some("-e -x".into()))));
        assert_eq!(read("#!/usr/bin/env\tperl"), Some(("/usr/bin/env".into(), Some("perl".into()))));
        assert_eq!(read("#!\n/bin/sh"), None);
        assert_eq!(read("/bin/sh"), None);
        assert_eq!(of_env("-S A=1 perl -w"), Some("perl"));
        assert_eq!(of_env("-i"), None);
    }

    #[test]
    fn libraries_are_told_by_their_names() {
        for name in ["libc.so.6", "pam_cap.so", "usr/lib/ld-2.31.so", "ld-musl-mipsel.so.1"] {
            assert!(is_library_name(name.as_bytes()), "{name}");
        }
        for name in ["sh", "so", "x.sofa", "lib.so.d/tool"] {
            assert!(!is_library_name(name.as_bytes()), "{name}");
        }
    }
}
