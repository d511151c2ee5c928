//! The rules of the house that a compiler does not hold.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, the highest first: each may import only those after it.
const ROOMS: &[&str] = &[
    "cli",
    "rootfs",
    "build",
    "containerfile",
    "bundle",
    "check",
    "doctor",
    "sandbox",
    "image",
    "layer",
    "binfmt",
    "emulator",
    "debian",
    "tree",
    "stub",
    "elf",
    "target",
    "gzip",
    "progress",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn a_room_imports_only_rooms_below_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    let mut wrong = Vec::new();
    for file in sources(&src) {
        let room = file.strip_prefix(&src).unwrap().components().next().unwrap();
        let room = Path::new(&room).file_stem().unwrap().to_str().unwrap().to_owned();
        if room == "main" || room == "lib" {
            continue;
        }
        let rank = ROOMS.iter().position(|known| *known == room);
        let rank = rank.unwrap_or_else(|| panic!("`{}` is in no room of the list", file.display()));
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for (at, _) in line.match_indices("crate::") {
                let name: String = line[at + 7..]
                    .chars()
                    .take_while(|character| character.is_ascii_alphanumeric() || *character == '_')
                    .collect();
                let Some(imported) = ROOMS.iter().position(|known| *known == name) else { continue };
                seen += 1;
                // Links in documentation name other rooms freely.
                if imported < rank && !line.trim_start().starts_with("//") {
                    wrong.push(format!("{}:{}: {room} imports {name}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(seen > 10, "the test found no imports at all: is it reading the right text?");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
