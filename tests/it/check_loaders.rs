//! `check` and loaders: both miss the same libraries, in Debian's roots and in musl's.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polyarch::elf::Identity;
use polyarch::tree::libraries::{Loaded, Memo, closure_by, settle};
use polyarch::tree::root::{Executable, Listed as _, Root as _, Scanned};

use super::check::{check, debian, ran_inspect, report};
use super::emulators::real;
use super::support::{Cx, ran};

/// A root with links to the files of another, but for those whose names begin so.
#[track_caller]
fn without(cx: &Cx, root: &Path, names: &[&str]) -> PathBuf {
    let copy = cx.path("root");
    ran(cx.command("cp").arg("-a").arg(root).arg(&copy)).success();
    let mut folders = vec![copy.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if names.iter().any(|gone| name.starts_with(gone)) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
    copy
}

/// What `settle` tells of a root's programs is what a search for each of them finds. Gives how many it tells of, and how many lack something.
#[track_caller]
pub(crate) fn hold_settled(root: &Path) -> (usize, usize) {
    let root = Scanned::read(root, 2).unwrap();
    let mut programs: Vec<(PathBuf, Arc<Identity>)> = Vec::new();
    root.files(&mut |file| {
        if let Some(Executable { elf: Some(Ok(identity)), .. }) = file.executable
            && identity.linkage == Some("dynamic")
        {
            programs.push((file.path, Arc::clone(identity)));
        }
    });
    let interpreter = programs.iter().find_map(|(_, program)| program.interpreter.clone()).unwrap();
    let (memo, mut loaded) = (Memo::new(&root), Loaded::default());
    let (mut settled, mut lacking) = (0, 0);
    let (mut found, mut float_abis): (HashSet<PathBuf>, BTreeSet<String>) = Default::default();
    for (path, program) in &programs {
        let told = settle(&memo, path, program, &interpreter, None, Some(&mut loaded));
        let searched = closure_by(&Memo::new(&root), path, program, Some(&interpreter), None, Path::new("/"));
        lacking += usize::from(!searched.lacks.is_empty());
        let Some(told) = told else { continue };
        settled += 1;
        assert_eq!(searched.lacks, [], "{}", path.display());
        float_abis.clear();
        for (_, path) in searched.found {
            let library = root.executable(&path).unwrap().elf.unwrap().unwrap();
            float_abis.extend(library.float_abi.clone());
            found.insert(path);
        }
        assert_eq!(told.float_abis.into_iter().collect::<BTreeSet<_>>(), float_abis, "{}", path.display());
    }
    assert_eq!(loaded.count(), found.len());
    assert!(found.iter().all(|path| loaded.contains(path)));
    (settled, lacking)
}

/// The emulator for QEMU's guest of that name.
fn emulator(guest: &str) -> PathBuf {
    if guest != "loongarch64" {
        return format!("/usr/bin/qemu-{guest}-static").into();
    }
    // Version 7.2 has not the instructions that Debian's programs for it use.
    let args = ["fetch", "--guest", guest, "--suite", "trixie"];
    ran(&mut real(&Cx::new(), &args)).success().trim_end().into()
}

/// `check` and the loader of a root, from which libraries were taken, miss the same. `guest` is what runs it here: QEMU's name.
#[track_caller]
fn hold_loader(suite: &str, architecture: &str, own: &str, guest: Option<&str>) {
    let cx = Cx::new();
    let root = without(&cx, &debian(suite, architecture), &["libselinux.so", "liblzma.so", "libcap.so"]);
    let (settled, lacking) = hold_settled(&root);
    assert!(settled > 300 && lacking > 5, "{architecture}: {settled} {lacking}");
    if let Some(guest) = guest {
        fs::copy(emulator(guest), root.join("qemu")).unwrap();
    }
    let shown = root.display().to_string();
    let report = report(&check(&cx, &[&shown, "--target", own]));
    // By what needs them: names that are not found.
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for finding in report["findings"].as_array().unwrap() {
        if finding["rule"] == "needed-missing" && finding["severity"] == "error" {
            let names = finding["expected"].as_str().unwrap().split(", ").map(str::to_owned);
            told.entry(finding["path"].as_str().unwrap().to_owned()).or_default().extend(names);
        }
    }
    assert!(told.len() > 5, "{architecture}: {told:?}");
    let programs: Vec<String> = ran_inspect(&cx, &shown)
        .iter()
        .filter(|row| row["kind"] == "elf" && row["interpreter"].is_string() && row["soname"].is_null())
        .map(|row| row["path"].as_str().unwrap().strip_prefix(&shown).unwrap().to_owned())
        .collect();
    assert!(programs.len() > 100, "{architecture}");
    let mut missed_by_any: BTreeSet<String> = BTreeSet::new();
    for program in &programs {
        // As ldd does it: the program's loader lists what it finds and what not, and does not start it.
        let mut command = cx.command("unshare");
        command.args(["--map-root-user", "--user", "chroot", &shown]);
        match guest {
            Some(_) => command.args(["/qemu", "-E", "LD_TRACE_LOADED_OBJECTS=1", program]),
            None => command.args(["/usr/bin/env", "LD_TRACE_LOADED_OBJECTS=1", program]),
        };
        let out = ran(&mut command).stdout;
        assert!(out.contains("libc.so.6"), "{architecture}: {program}: {out}");
        let missing: BTreeSet<String> = out
            .lines()
            .filter_map(|line| line.trim().strip_suffix(" => not found"))
            .map(str::to_owned)
            .collect();
        // What the program itself asks for is told of it, what its libraries ask for of them.
        let own = told.get(program).cloned().unwrap_or_default();
        assert!(
            own.is_subset(&missing),
            "{architecture}: {program}: check says {own:?}, the loader {missing:?}"
        );
        missed_by_any.extend(missing);
    }
    let told: BTreeSet<String> = told.into_values().flatten().collect();
    assert_eq!(told, missed_by_any, "{architecture}");
}

#[test]
fn missing_libraries_are_those_that_the_loader_misses() {
    hold_loader("bookworm", "amd64", "linux/amd64", None);
}

#[test]
#[ignore = "has emulated loaders list hundreds of programs: scripts/test --all"]
fn missing_libraries_are_those_that_loaders_of_other_machines_miss() {
    for (suite, architecture, own, guest) in [
        ("bookworm", "arm64", "linux/arm64", "aarch64"),
        ("bookworm", "armel", "linux/arm/v5", "arm"),
        ("bookworm", "armhf", "linux/arm/v7", "arm"),
        ("bookworm", "i386", "linux/386", "i386"),
        ("bookworm", "mips64el", "linux/mips64le", "mips64el"),
        ("bookworm", "mipsel", "linux/mipsle", "mipsel"),
        ("bookworm", "ppc64el", "linux/ppc64le", "ppc64le"),
        ("bookworm", "s390x", "linux/s390x", "s390x"),
        ("stable", "riscv64", "linux/riscv64", "riscv64"),
        ("unstable", "loong64", "linux/loong64", "loongarch64"),
    ] {
        hold_loader(suite, architecture, own, Some(guest));
    }
}

/// A library, or a program, without a C library; it needs `needed`.
#[track_caller]
fn bare(cx: &Cx, triple: &str, out: &str, flags: &[&str], needed: &[&str]) {
    let source = cx.file("bare.c", "void _start(void) { for (;;) {} }\n");
    let mut command = cx.command(format!("/usr/bin/{triple}-gcc"));
    command.args(["-nostdlib", "-ffreestanding", "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined", "-o"]);
    command.arg(cx.path(out)).arg(source).args(flags);
    ran(command.args(needed.iter().map(|name| cx.path(name)))).success();
}

#[test]
fn musl_s_loader_agrees_whatever_its_file_of_folders_says() {
    for (architecture, triple, guest, name) in [
        ("amd64", "x86_64-linux-gnu", "x86_64", "x86_64"),
        ("arm64", "aarch64-linux-gnu", "aarch64", "aarch64"),
        ("armhf", "arm-linux-gnueabihf", "arm", "armhf"),
        ("mipsel", "mipsel-linux-gnu", "mipsel", "mipsel"),
    ] {
        let cx = Cx::new();
        let root = cx.path("root");
        let musl = super::support::deb::deb("bookworm", architecture, "musl");
        ran(cx.command("/usr/bin/dpkg-deb").arg("-x").arg(musl).arg(&root)).success();
        fs::copy(format!("/usr/bin/qemu-{guest}-static"), root.join("qemu")).unwrap();
        for folder in ["bin", "opt/a", "opt/b", "opt/app/lib", "usr/lib", "usr/local/lib"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let library = |path: &str, flags: &[&str], needed: &[&str]| {
            let soname = format!("-Wl,-soname,{}", Path::new(path).file_name().unwrap().display());
            bare(&cx, triple, path, &[&["-shared", "-fPIC", &soname], flags].concat(), needed);
        };
        // What is asked for by a library is looked for where what asked for that one says, too.
        library("root/opt/app/lib/libinner.so", &[], &[]);
        library("root/opt/a/libouter.so", &[], &["root/opt/app/lib/libinner.so"]);
        library("root/opt/b/libsecond.so", &[], &[]);
        library("root/usr/lib/libusual.so", &[], &[]);
        library("root/usr/local/lib/liblocal.so", &[], &[]);
        library("libgone.so", &[], &[]);
        let loader = format!("-Wl,--dynamic-linker=/lib/ld-musl-{name}.so.1");
        let needed = [
            "root/opt/a/libouter.so",
            "root/opt/b/libsecond.so",
            "root/usr/lib/libusual.so",
            "root/usr/local/lib/liblocal.so",
            "libgone.so",
        ];
        for (program, flags) in [
            ("plain", &[][..]),
            ("moved", &["-Wl,--enable-new-dtags,-rpath,$ORIGIN/../opt/app/lib"]),
            ("named", &["-Wl,--disable-new-dtags,-rpath,/opt/a:/opt/app/lib"]),
        ] {
            bare(
                &cx,
                triple,
                &format!("root/bin/{program}"),
                &[&["-pie", "-fPIE", &loader], flags].concat(),
                &needed,
            );
        }
        let shown = root.display().to_string();
        let folders = root.join(format!("etc/ld-musl-{name}.path"));
        let mut seen = BTreeSet::new();
        for paths in [None, Some("/opt/a\n/opt/b\n"), Some("/nothing:/opt/b:/usr/lib"), Some("")] {
            match paths {
                Some(text) => {
                    fs::create_dir_all(root.join("etc")).unwrap();
                    fs::write(&folders, text).unwrap();
                }
                None => assert!(!folders.exists() || fs::remove_file(&folders).is_ok()),
            }
            let target = format!(
                "linux/{}",
                match architecture {
                    "armhf" => "arm/v7",
                    "mipsel" => "mipsle",
                    other => other,
                }
            );
            let report = report(&check(&cx, &[&shown, "--root", "--target", &target]));
            for program in ["plain", "moved", "named"] {
                let path = format!("/bin/{program}");
                let mut command = cx.command("unshare");
                command.args(["--map-root-user", "--user", "chroot", &shown, "/qemu"]);
                command.args([&format!("/lib/ld-musl-{name}.so.1"), "--list", &path]);
                let listed = ran(&mut command);
                let missing: BTreeSet<&str> = listed
                    .stderr
                    .lines()
                    .filter_map(|line| line.strip_prefix("Error loading shared library "))
                    .filter_map(|line| line.split(':').next())
                    .collect();
                assert!(missing.contains("libgone.so"), "{architecture}: {listed:?}");
                let mut told = BTreeSet::new();
                for finding in report["findings"].as_array().unwrap() {
                    let by = finding["path"].as_str().unwrap_or_default();
                    let message = finding["message"].as_str().unwrap();
                    // A library's own lack is told of it, with the program that loads it.
                    if finding["rule"] == "needed-missing"
                        && (by == path || message.contains(&format!("(`{path}` loads it)")))
                    {
                        told.extend(finding["expected"].as_str().unwrap().split(", "));
                    }
                }
                // What another program had told of a library is not told again.
                let shared = BTreeSet::from(["libinner.so"]);
                let own = |names: &BTreeSet<&str>| {
                    names.difference(&shared).map(|&name| name.to_owned()).collect::<BTreeSet<_>>()
                };
                assert_eq!(own(&told), own(&missing), "{architecture} {paths:?} {program}: {listed:?}");
                assert!(told.is_subset(&missing), "{architecture} {paths:?} {program}: {told:?} {listed:?}");
                seen.insert(own(&missing));
            }
        }
        // The files made a difference.
        assert!(seen.len() > 2, "{architecture}: {seen:?}");
    }
}
