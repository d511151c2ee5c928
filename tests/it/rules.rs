//! Every guest's rule, held against programs of every machine: by our matcher and by the kernel's.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use polyarch::binfmt::{BinfmtError, Flags, Rule, register};
use polyarch::target::{Catalogue, Platform};

use crate::support::cc::{CROSS, Cc, compile};
use crate::support::{Cx, ran};

/// A program, and the guest that runs it.
struct Program {
    name: String,
    guest: Option<&'static str>,
    bytes: Vec<u8>,
}

/// Headers of the machines that Debian has no compiler for, made from the gABI and the machines' own
/// supplements: (name, guest, class, big-endian, `e_machine`). `sh4eb` is here since its linker is not shipped.
const BY_SPECIFICATION: &[(&str, Option<&str>, u8, bool, u16)] = &[
    ("xtensaeb", Some("xtensaeb"), 32, true, 94),
    ("microblaze", Some("microblaze"), 32, true, 189),
    ("microblazeel", Some("microblazeel"), 32, false, 189),
    ("tilegx", Some("tilegx"), 64, false, 191),
    ("tilegx-m32", None, 32, false, 191),
    ("tilepro", None, 32, false, 188),
    ("sh4eb", None, 32, true, 42),
    ("ia64", None, 64, false, 50),
    ("alpha-41", None, 64, false, 41),
    ("ppc64-with-high-byte", None, 64, false, 0x0115),
    ("iamcu", None, 32, false, 6),
    ("mips-rs3-le", None, 32, true, 10),
    ("riscv128", None, 0, false, 243),
];

/// An ELF header alone, of an executable without segments.
fn header(class: u8, big: bool, machine: u16, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0; if class == 64 { 64 } else { 52 }];
    let class = match class {
        32 => 1,
        64 => 2,
        _ => 3,
    };
    bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, if big { 2 } else { 1 }, 1]);
    let half = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    bytes[16..18].copy_from_slice(&half(kind));
    bytes[18..20].copy_from_slice(&half(machine));
    bytes
}

/// What all rules are held against: compiled programs, the same with other OS ABIs and ABI versions, headers
/// by specification, and files that are no program of any guest.
fn programs() -> Vec<Program> {
    let mut programs = Vec::new();
    for cross in CROSS {
        for (name, file) in cross.programs() {
            programs.push(Program { name, guest: cross.guest, bytes: fs::read(file).unwrap() });
        }
    }
    for (name, guest, class, big, machine) in BY_SPECIFICATION {
        for (form, kind) in [("exec", 2), ("dyn", 3)] {
            let bytes = header(*class, *big, *machine, kind);
            programs.push(Program { name: format!("{name}.{form}"), guest: *guest, bytes });
        }
    }
    let mut changed = Vec::new();
    for program in &programs {
        let patched = |name: &str, at: usize, value: u8| {
            let mut bytes = program.bytes.clone();
            bytes[at] = value;
            (format!("{}+{name}", program.name), bytes)
        };
        let mut add = |guest, (name, bytes)| changed.push(Program { name, guest, bytes });
        // IFUNC makes linkers write 3, most others 0: each program is tried with both.
        add(program.guest, patched("sysv", 7, 0));
        add(program.guest, patched("gnu", 7, 3));
        if program.guest.is_some_and(|guest| guest.starts_with("mips")) {
            // 1 is OpenWrt's; glibc's go up to 5.
            for version in [1, 3, 5] {
                add(program.guest, patched(&format!("abi-version-{version}"), 8, version));
            }
        }
        // Objects, core files, and a file whose byte order is neither, are nobody's.
        let low = if program.bytes[5] == 2 { 17 } else { 16 };
        add(None, patched("object", low, 1));
        add(None, patched("core", low, 4));
        add(None, patched("no-order", 5, 0));
        add(None, patched("no-version", 6, 0));
        // Too short for its machine.
        changed.push(Program { name: format!("{}+cut", program.name), guest: None, bytes: program.bytes[..18].to_vec() });
    }
    programs.extend(changed);
    programs.push(Program { name: "empty".into(), guest: None, bytes: Vec::new() });
    programs.push(Program { name: "magic-only".into(), guest: None, bytes: b"\x7fELF".to_vec() });
    programs
}

/// A rule for each guest, called as it is, with its interpreter at `folder`/guest.
fn rules(folder: &Path) -> Vec<Rule> {
    let guests = Catalogue::builtin().guests().iter();
    guests.map(|guest| Rule::for_guest(guest, &guest.name, folder.join(&guest.name), Flags::default()).unwrap()).collect()
}

#[test]
fn each_rule_matches_all_of_its_guest_and_none_of_another() {
    let rules = rules(Path::new("/"));
    let programs = programs();
    let mut wrong = Vec::new();
    for program in &programs {
        let found: Vec<&str> =
            rules.iter().filter(|rule| rule.matches(&program.bytes)).map(Rule::name).collect();
        let expected: Vec<&str> = program.guest.into_iter().collect();
        if found != expected {
            wrong.push(format!("{}: expected {expected:?}, found {found:?}", program.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for rule in &rules {
        let count = programs.iter().filter(|program| program.guest == Some(rule.name())).count();
        assert!(count >= 3, "{} has {count} programs only", rule.name());
    }
}
