//! `binfmt`, in registries of its own and, in one test, in the host's.

use std::fs;
use std::path::{Path, PathBuf};

use polyarch::binfmt::{self, Concern, Status};
use polyarch::target::{Catalogue, Platform};

use crate::support::handlers::{INSIDE, executable, in_a_private_registry};

/// A registration as any other tool could write it.
fn write(registry: &Path, line: &str) {
    fs::write(registry.join("register"), line).unwrap_or_else(|err| panic!("{line}: {err}"));
}

/// The first `length` bytes of a guest's rule, as escapes.
fn escaped(guest: &str, length: usize) -> (String, String) {
    let rule = &Catalogue::builtin().guest(guest).unwrap().binfmt;
    let text = |bytes: &[u8]| bytes.iter().take(length).map(|byte| format!("\\x{byte:02x}")).collect();
    (text(&rule.magic), text(&rule.mask))
}

fn concerns<'a>(status: &'a Status, name: &str) -> &'a [Concern] {
    &status.entries.iter().find(|entry| entry.entry.name == name).unwrap().concerns
}

#[test]
fn status_tells_what_serves_and_what_endangers() {
    let Some(folder) = std::env::var_os(INSIDE).map(PathBuf::from) else {
        return in_a_private_registry("binfmt::status_tells_what_serves_and_what_endangers", |folder| {
            executable(&folder.join("interpreters/q"), b"#!/bin/sh\n");
            fs::write(folder.join("interpreters/plain"), "").unwrap();
        });
    };
    let registry = folder.join("registry");
    let interpreter = folder.join("interpreters/q").display().to_string();
    let plain = folder.join("interpreters/plain").display().to_string();
    let (mips, mips_mask) = escaped("mips", 40);
    let (old, old_mask) = escaped("mips", 20);
    let (ppc, ppc_mask) = escaped("ppc", 20);
    let (class, class_mask) = escaped("ppc", 7);
    let (_, strict) = ("", "\\xff".repeat(9) + &ppc_mask[36..]);
    let host = &Catalogue::builtin().target(&Platform::host().to_string()).unwrap().qemu.guest;
    let (own, own_mask) = escaped(host, 20);
    for line in [
        format!(":mips:M::{mips}:{mips_mask}:{interpreter}:FP"),
        format!(":gone:M::{ppc}:{ppc_mask}:/no/such/emulator:P"),
        format!(":strict:M::{ppc}:{strict}:{interpreter}:F"),
        format!(":plain:M::{ppc}:{ppc_mask}:{plain}:C"),
        format!(":old:M::{old}:{old_mask}:{interpreter}:OCF"),
        ":jar:E::jar::/usr/bin/jexec:".to_owned(),
        ":text:M:2:ab::/usr/bin/text:".to_owned(),
    ] {
        write(&registry, &line);
    }
    let status = binfmt::status(&registry).unwrap();
    assert!(status.mounted && status.enabled);
    let names: Vec<_> = status.entries.iter().map(|entry| entry.entry.name.to_str().unwrap()).collect();
    assert_eq!(names, ["text", "jar", "old", "plain", "strict", "gone", "mips"]);
    // The old mask takes n32's programs with o32's, and all that the right rule takes.
    assert_eq!(status.entries[2].guests, ["mips", "mipsn32"]);
    assert_eq!(status.entries[6].guests, ["mips"]);
    assert_eq!(status.entries[6].shadowed_by.as_deref(), Some("old".as_ref()));
    assert_eq!(status.entries[4].shadowed_by.as_deref(), Some("plain".as_ref()));
    assert_eq!(status.entries[0].shadowed_by, None);
    assert_eq!(concerns(&status, "mips"), []);
    assert_eq!(concerns(&status, "gone"), [Concern::InterpreterMissing, Concern::NotFixed]);
    assert_eq!(concerns(&status, "strict"), [Concern::Partial { guest: "ppc".into() }]);
    assert_eq!(
        concerns(&status, "plain"),
        [Concern::InterpreterNotExecutable, Concern::NotFixed, Concern::Credentials]
    );
    assert_eq!(concerns(&status, "old"), [Concern::Credentials]);
    assert_eq!(concerns(&status, "text"), [Concern::InterpreterMissing]);
    assert_eq!(status.serving("mips").unwrap().entry.name, "old");
    assert!(status.serving("riscv64").is_none());
    let service = |name: &str| status.targets.iter().find(|service| service.target == name).unwrap();
    assert_eq!(service("routeros/mipsbe").entry.as_deref(), Some("old".as_ref()));
    assert!(service(&Platform::host().to_string()).native);

    // One that is switched off neither serves nor shadows.
    fs::write(registry.join("old"), "0").unwrap();
    let status = binfmt::status(&registry).unwrap();
    assert_eq!(status.serving("mips").unwrap().entry.name, "mips");
    assert_eq!(status.entries[6].shadowed_by, None);

    // These would take this test's own programs, so it starts none from here on.
    write(&registry, &format!(":own:M::{own}:{own_mask}:{interpreter}:F"));
    write(&registry, &format!(":class:M::{class}:{class_mask}:{interpreter}:F"));
    let status = binfmt::status(&registry).unwrap();
    assert!(matches!(concerns(&status, "own"), [Concern::HostPrograms { .. }]));
    assert_eq!(concerns(&status, "class")[0], Concern::CutShort { bytes: 7 });
    assert_eq!(status.serving("ppc").unwrap().entry.name, "class");
    fs::write(registry.join("status"), "0").unwrap();
    let status = binfmt::status(&registry).unwrap();
    assert!(!status.enabled && status.serving("mips").is_none() && status.entries.len() == 9);
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["entries"][8]["kind"]["magic"].as_str().unwrap().len(), 80);
    fs::write(registry.join("status"), "-1").unwrap();

    let status = binfmt::status(&folder.join("unmounted")).unwrap();
    assert!(!status.mounted && !status.enabled && status.entries.is_empty());
    assert!(status.targets.iter().all(|service| service.entry.is_none()));
}
