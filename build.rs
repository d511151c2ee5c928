//! Lists the files of `targets/` and the small programs, so that a new one is a new file and no change of code.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    // The pins of emulators are no target; `src/emulator/pins.rs` has them.
    list(&root.join("targets"), "toml", &out.join("targets.rs"), |name| {
        (name != "emulators.toml").then(|| (format!("{name:?}"), "include_str"))
    });
    list(&root.join("rootfs"), "toml", &out.join("recipes.rs"), |name| {
        Some((format!("{name:?}"), "include_str"))
    });
    // What Containerfiles of recipes copy: `RECIPE/FILE`.
    let recipes = root.join("rootfs");
    println!("cargo::rerun-if-changed={}", recipes.display());
    let mut rows = Vec::new();
    for folder in entries(&recipes).into_iter().filter(|entry| entry.join("Containerfile").is_file()) {
        println!("cargo::rerun-if-changed={}", folder.display());
        for file in entries(&folder) {
            let name = file.strip_prefix(&recipes).expect("it is in the folder").display().to_string();
            println!("cargo::rerun-if-changed={}", file.display());
            rows.push(format!("    ({name:?}, include_bytes!({:?})),\n", file.display().to_string()));
        }
    }
    write(&out.join("contexts.rs"), &format!("&[\n{}]\n", rows.concat()));
    // The guest programs that `emulator verify` runs: `GUEST.elf`.
    list(&root.join("src/emulator/probes"), "elf", &out.join("probes.rs"), |name| {
        Some((format!("{:?}", name.strip_suffix(".elf")?), "include_bytes"))
    });
    // The programs of bundles' hosts: `HOST.NAME.elf`.
    list(&root.join("src/stub/built"), "elf", &out.join("stubs.rs"), |name| {
        let (host, program) = name.strip_suffix(".elf")?.split_once('.')?;
        Some((format!("{host:?}, {program:?}"), "include_bytes"))
    });
}

/// Writes to `out` a list with a line for each file of `folder` that has the extension: what `row` makes of its name, and its
/// content, by the macro that `row` names.
fn list(folder: &Path, extension: &str, out: &Path, row: impl Fn(&str) -> Option<(String, &'static str)>) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = entries(folder);
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    let mut rows = Vec::new();
    for file in &files {
        let name = file.file_name().expect("a file has a name").to_string_lossy();
        let Some((fields, include)) = row(&name) else { continue };
        println!("cargo::rerun-if-changed={}", file.display());
        rows.push(format!("    ({fields}, {include}!({:?})),\n", file.display().to_string()));
    }
    write(out, &format!("&[\n{}]\n", rows.concat()));
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|err| panic!("`{}`: {err}", folder.display()));
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    paths.sort();
    paths
}

fn write(out: &Path, text: &str) {
    fs::write(out, text).unwrap_or_else(|err| panic!("`{}`: {err}", out.display()));
}
