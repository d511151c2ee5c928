//! Every guest's rule, held against programs of every machine: by our matcher and by the kernel's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use polyarch::binfmt::{BinfmtError, Flags, Rule, register};
use polyarch::target::{Catalogue, Platform};

use crate::support::Cx;
use crate::support::cc::{CROSS, Cc, compile};
use crate::support::handlers::{INSIDE, executable, in_a_private_registry};

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
        changed.push(Program {
            name: format!("{}+cut", program.name),
            guest: None,
            bytes: program.bytes[..18].to_vec(),
        });
    }
    programs.extend(changed);
    programs.push(Program { name: "empty".into(), guest: None, bytes: Vec::new() });
    programs.push(Program { name: "magic-only".into(), guest: None, bytes: b"\x7fELF".to_vec() });
    programs
}

/// A rule for each guest, called as it is, with its interpreter at `folder`/guest.
fn rules(folder: &Path) -> Vec<Rule> {
    let guests = Catalogue::builtin().guests().iter();
    guests
        .map(|guest| Rule::for_guest(guest, &guest.name, folder.join(&guest.name), Flags::default()).unwrap())
        .collect()
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

/// The guest that this machine is.
fn host() -> &'static str {
    &Catalogue::builtin().guest(&Platform::host().architecture).unwrap().name
}

/// The interpreter of the host's own rule. It must not be of the host's machine, or the kernel would look for
/// its interpreter in turn; so it is of the 32-bit one that the host's kernel runs too.
fn interpreter_for_host() -> PathBuf {
    let triple = match host() {
        "x86_64" => "i686-linux-gnu",
        "aarch64" => "arm-linux-gnueabi",
        other => panic!("no interpreter for the rule of a host of {other}"),
    };
    let source = format!(
        r#"
        static long call(long number, long first, const void *second, long third) {{
        #ifdef __i386__
            long result;
            __asm__ volatile("int $0x80" : "=a"(result)
                : "a"(number), "b"(first), "c"(second), "d"(third) : "memory");
            return result;
        #else
            register long r7 __asm__("r7") = number;
            register long r0 __asm__("r0") = first;
            register const void *r1 __asm__("r1") = second;
            register long r2 __asm__("r2") = third;
            __asm__ volatile("svc #0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2) : "memory");
            return r0;
        #endif
        }}
        void _start(void) {{
            call(4, 1, "{host}\n", sizeof "{host}");
            call(1, 0, 0, 0);
            for (;;) {{}}
        }}
        "#,
        host = host()
    );
    compile(&Cc { triple, flags: &["-static", "-nostdlib", "-ffreestanding", "-O1"], source: &source })
}

#[test]
fn the_kernel_matches_as_we_do() {
    let Some(folder) = std::env::var_os(INSIDE).map(PathBuf::from) else {
        return in_a_private_registry("rules::the_kernel_matches_as_we_do", |folder| {
            for (number, program) in programs().iter().enumerate() {
                let guest = program.guest.unwrap_or("none");
                executable(
                    &folder.join(format!("programs/{number}:{guest}:{}", program.name)),
                    &program.bytes,
                );
            }
            for rule in rules(&folder.join("interpreters")) {
                let script = format!("#!/bin/sh\necho {}\n", rule.name());
                executable(rule.interpreter(), script.as_bytes());
            }
            let interpreter = fs::read(interpreter_for_host()).unwrap();
            executable(&folder.join("interpreters").join(host()), &interpreter);
        });
    };
    let mut programs: Vec<PathBuf> =
        fs::read_dir(folder.join("programs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    programs.sort();
    assert!(programs.len() > 500, "{} programs", programs.len());
    let registry = folder.join("registry");
    let all = rules(&folder.join("interpreters"));
    let (own, mut foreign): (Vec<Rule>, Vec<Rule>) = all.into_iter().partition(|rule| rule.name() == host());
    // The latest entry that matches wins. If two matched one program, one of the two orders would show it.
    held_by_the_kernel(&registry, &foreign, &programs);
    foreign.reverse();
    held_by_the_kernel(&registry, &foreign, &programs);
    held_by_the_kernel(&registry, &own, &programs);
}

/// Registers `rules`, runs each of `programs` and compares whose interpreter ran with the guest in its name.
fn held_by_the_kernel(registry: &Path, rules: &[Rule], programs: &[PathBuf]) {
    for rule in rules {
        register(registry, rule).unwrap();
    }
    let mut wrong = Vec::new();
    for program in programs {
        let name = program.file_name().unwrap().to_str().unwrap();
        let guest = name.split(':').nth(1).unwrap();
        let expected = if rules.iter().any(|rule| rule.name() == guest) { guest } else { "" };
        // A program of no rule fails to start, or is the host's own and says nothing.
        let found = Command::new(program).output().map(|output| output.stdout).unwrap_or_default();
        let found = String::from_utf8_lossy(&found);
        if found.trim_end() != expected {
            wrong.push(format!("{name}: expected {expected:?}, found {found:?}"));
        }
    }
    fs::write(registry.join("status"), "-1").unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_registration_is_read_back_and_its_failures_are_told() {
    let Some(folder) = std::env::var_os(INSIDE).map(PathBuf::from) else {
        return in_a_private_registry(
            "rules::a_registration_is_read_back_and_its_failures_are_told",
            |folder| {
                executable(&folder.join("interpreters/a:b c"), b"#!/bin/sh\nexit 0\n");
            },
        );
    };
    let registry = folder.join("registry");
    let interpreter = folder.join("interpreters/a:b c");
    let mips = Catalogue::builtin().guest("mips").unwrap();
    let rule = |name: &str, flags| Rule::for_guest(mips, name, &interpreter, flags).unwrap();
    for set in 0..16_u8 {
        let flags = Flags {
            preserve_argv0: set & 1 != 0,
            open_binary: set & 2 != 0,
            credentials: set & 4 != 0,
            fix_binary: set & 8 != 0,
        };
        register(&registry, &rule(&format!("mips-{set}"), flags)).unwrap();
    }
    assert_eq!(fs::read_dir(&registry).unwrap().count(), 16 + 2);

    let plain = rule("mips-0", Flags::default());
    assert!(matches!(register(&registry, &plain), Err(BinfmtError::Exists { .. })));
    let unmounted = register(&folder.join("unmounted"), &plain);
    assert!(matches!(unmounted, Err(BinfmtError::NotMounted { .. })), "{unmounted:?}");
    let read_only = register(&folder.join("read-only"), &plain);
    assert!(matches!(read_only, Err(BinfmtError::NotPermitted { .. })), "{read_only:?}");
    let fixed = Flags { fix_binary: true, ..Flags::default() };
    let missing = Rule::for_guest(mips, "missing", "/no/such/emulator", fixed).unwrap();
    let missing = register(&registry, &missing);
    assert!(matches!(missing, Err(BinfmtError::Interpreter { .. })), "{missing:?}");
    fs::write(registry.join("status"), "-1").unwrap();
}

#[test]
fn an_entry_that_is_not_what_was_asked_for_is_removed() {
    let cx = Cx::new();
    cx.file("registry/register", "");
    let mips = Catalogue::builtin().guest("mips").unwrap();
    let rule = Rule::for_guest(mips, "mips", "/q", Flags::default()).unwrap();
    // A file system that is not the kernel's keeps no entry.
    let absent = register(&cx.path("registry"), &rule);
    assert!(matches!(absent, Err(BinfmtError::ReadBack { .. })), "{absent:?}");

    let entry =
        cx.file("registry/mips", "enabled\ninterpreter /q\nflags: \nfuture line\noffset 0\nmagic 7f454c46\n");
    let Err(BinfmtError::Differs { field, found, .. }) = register(&cx.path("registry"), &rule) else {
        panic!("a short magic was taken")
    };
    assert_eq!((field, found.as_str()), ("magic", "7f454c46"));
    assert_eq!(fs::read_to_string(entry).unwrap(), "-1");
    assert_eq!(fs::read(cx.path("registry/register")).unwrap(), rule.line());
}

#[test]
fn no_foreign_rule_takes_this_machines_programs() {
    for program in ["/proc/self/exe", "/bin/sh"] {
        let header = fs::read(program).unwrap();
        for rule in rules(Path::new("/")) {
            let spared = rule.check_spares(Path::new(program), &header);
            assert_eq!(spared.is_err(), rule.name() == host(), "{program}: {spared:?}");
        }
    }
}
