//! Lists the files of `targets/`, so that a new target is a new file and no change of code.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let folder = Path::new(&root).join("targets");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("`targets/` can be read")
        .map(|entry| entry.expect("`targets/` can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        // The pins of emulators are no target; `src/emulator/pins.rs` has them.
        .filter(|path| !path.ends_with("emulators.toml"))
        .collect();
    files.sort();
    let mut list = String::from("&[\n");
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
        let name = file.file_name().expect("a file has a name").to_string_lossy();
        writeln!(list, "    ({name:?}, include_str!({:?})),", file.display().to_string())
            .expect("writing to a string");
    }
    list.push_str("]\n");
    fs::write(Path::new(&out).join("targets.rs"), list).expect("OUT_DIR can be written");
    probes(&root, &out);
    stubs(&root, &out);
}

/// Lists the guest programs that `emulator verify` runs.
fn probes(root: &str, out: &str) {
    let folder = Path::new(root).join("src/emulator/probes");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("`src/emulator/probes/` can be read")
        .map(|entry| entry.expect("`src/emulator/probes/` can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "elf"))
        .collect();
    files.sort();
    let mut list = String::from("&[\n");
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
        let guest = file.file_stem().expect("a file has a name").to_string_lossy();
        writeln!(list, "    ({guest:?}, include_bytes!({:?})),", file.display().to_string())
            .expect("writing to a string");
    }
    list.push_str("]\n");
    fs::write(Path::new(out).join("probes.rs"), list).expect("OUT_DIR can be written");
}

/// Lists the programs of bundles' hosts: `HOST.NAME.elf`.
fn stubs(root: &str, out: &str) {
    let folder = Path::new(root).join("src/stub/built");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("`src/stub/built/` can be read")
        .map(|entry| entry.expect("`src/stub/built/` can be read").path())
        .collect();
    files.sort();
    let mut list = String::from("&[\n");
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
        let name = file.file_name().expect("a file has a name").to_string_lossy();
        let mut parts = name.split('.');
        let (host, program) = (parts.next().expect("a host"), parts.next().expect("a program"));
        writeln!(list, "    ({host:?}, {program:?}, include_bytes!({:?})),", file.display().to_string())
            .expect("writing to a string");
    }
    list.push_str("]\n");
    fs::write(Path::new(out).join("stubs.rs"), list).expect("OUT_DIR can be written");
}
