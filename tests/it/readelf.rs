//! Every ELF file of Debian's basic packages, of all architectures, as `readelf` reads it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::deb::{deb, fixtures};
use crate::support::{Cx, ran};

/// (suite, architecture): the newest suite whose files the machine's own readelf knows all of.
const ARCHITECTURES: &[(&str, &str)] = &[
    ("bookworm", "amd64"),
    ("bookworm", "arm64"),
    ("bookworm", "armhf"),
    ("bookworm", "armel"),
    ("bookworm", "i386"),
    ("bookworm", "mipsel"),
    ("bookworm", "mips64el"),
    ("bookworm", "ppc64el"),
    ("bookworm", "s390x"),
    ("trixie", "riscv64"),
];

/// Libraries for cross compilers, of machines that Debian has no release for.
const CROSS: &[&str] = &[
    "mips", "powerpc", "sparc64", "m68k", "sh4", "hppa", "alpha", "riscv64", "mips64", "mipsr6", "mips64r6",
    "ppc64", "x32",
];

/// What readelf calls a machine, and the name without `EM_`.
const MACHINES: &[(&str, &str)] = &[
    ("Advanced Micro Devices X86-64", "X86_64"),
    ("Intel 80386", "386"),
    ("AArch64", "AARCH64"),
    ("ARM", "ARM"),
    ("MIPS R3000", "MIPS"),
    ("PowerPC", "PPC"),
    ("PowerPC64", "PPC64"),
    ("IBM S/390", "S390"),
    ("RISC-V", "RISCV"),
    ("Sparc v9", "SPARCV9"),
    ("Sparc v8+", "SPARC32PLUS"),
    ("Sparc", "SPARC"),
    ("MC68000", "68K"),
    ("Renesas / SuperH SH", "SH"),
    ("HPPA", "PARISC"),
    ("Alpha", "ALPHA"),
];

const OS_ABI: &[(&str, &str)] =
    &[("UNIX - System V", "SYSV"), ("UNIX - GNU", "GNU"), ("ARM", "ARM"), ("UNIX - NetBSD", "NETBSD")];

fn translated(table: &[(&str, &str)], word: &str) -> String {
    let found = table.iter().find(|(name, _)| *name == word);
    found.unwrap_or_else(|| panic!("the test does not know readelf's `{word}`")).1.to_owned()
}

/// What readelf prints of each of some files.
fn readelf(paths: &[&str]) -> Vec<String> {
    // A name of a file that does not exist keeps readelf naming files when there is one only.
    let output =
        Command::new("readelf").args(["-hldW"]).args(paths).arg("/").env("LC_ALL", "C").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let parts: Vec<String> = text.split("\nFile: ").skip(1).map(str::to_owned).collect();
    assert_eq!(parts.len(), paths.len(), "{}", String::from_utf8_lossy(&output.stderr));
    for (part, path) in parts.iter().zip(paths) {
        assert_eq!(part.lines().next(), Some(*path));
    }
    parts
}

/// The facts in readelf's `text` that `inspect` tells too, under the same keys.
fn facts(text: &str) -> BTreeMap<&'static str, Value> {
    let field = |name: &str| -> Option<&str> {
        text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let bracketed = |mark: &str| -> Vec<String> {
        text.lines()
            .filter(|line| line.contains(mark))
            .filter_map(|line| {
                line.rsplit_once(['[', ':'])?.1.split(']').next().map(|text| text.trim().to_owned())
            })
            .collect()
    };
    let flags = field("Flags").unwrap().split(',').next().unwrap().trim_start_matches("0x");
    let interpreter = bracketed("Requesting program interpreter").into_iter().next();
    BTreeMap::from([
        ("class", field("Class").unwrap().trim_start_matches("ELF").parse::<u64>().unwrap().into()),
        ("endianness", if field("Data").unwrap().contains("big") { "big" } else { "little" }.into()),
        ("machine", translated(MACHINES, field("Machine").unwrap()).into()),
        ("type", field("Type").unwrap().split(' ').next().unwrap().into()),
        ("flags", u64::from_str_radix(flags, 16).unwrap().into()),
        ("os_abi", translated(OS_ABI, field("OS/ABI").unwrap()).into()),
        ("abi_version", field("ABI Version").unwrap().parse::<u64>().unwrap().into()),
        ("interpreter", interpreter.map_or(Value::Null, Value::from)),
        ("needed", bracketed("(NEEDED)").into()),
    ])
}

/// Unpacks a package, once for all runs of the tests.
fn unpacked(package: &Path) -> std::path::PathBuf {
    let folder = fixtures().join("unpacked").join(package.file_stem().unwrap());
    if !folder.exists() {
        let temporary = folder.with_extension(format!("{}", std::process::id()));
        fs::create_dir_all(&temporary).unwrap();
        ran(Command::new("dpkg-deb").arg("-x").arg(package).arg(&temporary)).success();
        fs::rename(&temporary, &folder).unwrap();
    }
    folder
}

/// Compares all ELF files of a package; gives their count and the differences.
fn compare(package: &Path) -> (usize, Vec<String>) {
    let folder = unpacked(package);
    let ran = Cx::new().run(["inspect".as_ref(), "--format".as_ref(), "json".as_ref(), folder.as_os_str()]);
    let rows: Vec<Value> = serde_json::from_str(&ran.success()).unwrap();
    let rows: Vec<&Value> = rows.iter().filter(|row| row["kind"] != "script").collect();
    let paths: Vec<&str> = rows.iter().map(|row| row["path"].as_str().unwrap()).collect();
    let mut differences = Vec::new();
    for ((row, path), text) in rows.iter().zip(&paths).zip(readelf(&paths)) {
        assert_eq!(row["kind"], "elf", "{row:#?}");
        assert_eq!(row["problems"], Value::Array(Vec::new()), "{path}");
        for (key, expected) in facts(&text) {
            // Where there is nothing dynamic, readelf lists nothing and `needed` is null.
            let found = if row[key].is_null() && key == "needed" {
                Value::Array(Vec::new())
            } else {
                row[key].clone()
            };
            if found != expected {
                differences.push(format!("{path}: {key} is {found}, and by readelf {expected}"));
            }
        }
    }
    (rows.len(), differences)
}

#[test]
fn debians_basic_packages_are_read_as_readelf_reads_them() {
    let mut total = 0;
    let mut differences = Vec::new();
    for (suite, architecture) in ARCHITECTURES {
        for package in ["libc6", "busybox-static", "coreutils"] {
            let (count, found) = compare(&deb(suite, architecture, package));
            assert!(count > 0, "{package} {architecture} has no ELF file");
            total += count;
            differences.extend(found);
        }
    }
    assert!(differences.is_empty(), "{} of {total}:\n{}", differences.len(), differences.join("\n"));
    // 10 architectures with over a hundred files each.
    assert!(total > 1000, "{total}");
}

#[test]
fn cross_libraries_are_read_as_readelf_reads_them() {
    let mut total = 0;
    let mut differences = Vec::new();
    for architecture in CROSS {
        for package in [format!("libc6-{architecture}-cross"), format!("libc6-dev-{architecture}-cross")] {
            // Alpha's and IA-64's library has another soname.
            let package =
                if *architecture == "alpha" { package.replace("libc6-", "libc6.1-") } else { package };
            let (count, found) = compare(&deb("bookworm", "amd64", &package));
            assert!(count > 0, "{package} has no ELF file");
            total += count;
            differences.extend(found);
        }
    }
    assert!(differences.is_empty(), "{} of {total}:\n{}", differences.len(), differences.join("\n"));
    assert!(total > 300, "{total}");
}
