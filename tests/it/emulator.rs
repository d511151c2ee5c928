//! `polyarch emulator`: found on the host, in the cache, and in Debian's archive.

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use polyarch::emulator::{self, EmulatorError, Options, Source, Unfit};
use polyarch::target::{Catalogue, Guest, Platform};

use crate::support::archive::Archive;
use crate::support::deb::fixtures;
use crate::support::http::{Fault, Server};
use crate::support::{Cx, ran};

fn guest(name: &str) -> &'static Guest {
    Catalogue::builtin().guest(name).unwrap()
}

fn platform(name: &str) -> Platform {
    name.parse().unwrap()
}

/// A program for 64-bit ARM of `size` bytes: a header and one segment, as the gABI lays them out. With an
/// interpreter it is dynamically linked.
pub(crate) fn arm64(size: usize, interpreter: bool) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, 0, 183, 0, 1, 0, 0, 0]);
    for word in [0x40_0000_u64, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 64, 0, 0, 0, 0, 0]);
    for kind in [1_u32, if interpreter { 3 } else { 4 }] {
        file.extend(kind.to_le_bytes());
        file.extend(5_u32.to_le_bytes());
        for word in [0, 0x40_0000, 0x40_0000, 176, 176, 65536_u64] {
            file.extend(word.to_le_bytes());
        }
    }
    file.resize(size, 0x55);
    file
}

/// An archive as bookworm's is: a package with static emulators, and one beside it with dynamic ones.
pub(crate) fn bookworm(cx: &Cx) -> (Archive<'_>, String) {
    let mut archive = Archive::new(cx, "archive");
    archive.package(
        "qemu-user",
        "1:7.2+dfsg-7",
        "arm64",
        "Depends: libc6\n",
        &[("usr/bin/qemu-mips", &arm64(500, true), 0o755)],
    );
    let file = archive.package(
        "qemu-user-static",
        "1:7.2+dfsg-7",
        "arm64",
        "",
        &[
            ("usr/bin/qemu-arm-static", &arm64(4000, true), 0o755),
            ("usr/bin/qemu-i386-static", b"#!/bin/sh\n", 0o755),
            ("usr/bin/qemu-mips-static", &arm64(300_000, false), 0o644),
        ],
    );
    archive.publish("bookworm", "arm64");
    (archive, file)
}

/// `polyarch emulator fetch` for an arm64 host, from that archive.
fn fetch(cx: &Cx, archive: &Archive<'_>, mirror: &str, guest: &str) -> Command {
    let mut command = cx.polyarch();
    command.args(["emulator", "fetch", "--host", "linux/arm64", "--suite", "bookworm", "--guest", guest]);
    command.args(["--latest", "--mirror", mirror]).arg("--keyring").arg(archive.keyring());
    command
}

pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// The files beneath a folder, but for locks and indexes.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with(".lock")
            && !["/indexes/", "/.known/"].iter().any(|it| path.to_str().unwrap().contains(it))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn debians_emulator_for_another_host_is_fetched_once() {
    let cx = Cx::new();
    // Kept from one run of the tests to the next: it is large.
    let cache = fixtures().join("cache");
    let run = |args: &[&str]| {
        let mut command = cx.polyarch();
        for name in ["http_proxy", "https_proxy", "no_proxy"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.env("POLYARCH_CACHE_DIR", &cache).args(["emulator"]).args(args);
        ran(command.args(["--guest", "mips", "--host", "linux/arm64"]))
    };
    let path = run(&["fetch"]).success();
    let path = Path::new(path.trim_end());
    let header = ran(cx.command("readelf").arg("-hlW").arg(path)).success();
    assert!(header.contains("AArch64") && !header.contains("INTERP"), "{header}");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    // From the cache, whatever the network does.
    let told = json(&run(&["fetch", "--mirror", "http://127.0.0.1:1/debian", "--format", "json"]).success());
    assert_eq!(told["path"], path.to_str().unwrap());
    assert_eq!((&told["guest"], &told["host"]["architecture"]), (&"mips".into(), &"arm64".into()));
    assert_eq!(told["source"]["kind"], "cache");
    assert_eq!(told["source"]["package"]["name"], "qemu-user-static");
    assert_eq!(told["source"]["package"]["suite"], "bookworm");
    assert_eq!(told["version"], "7.2");
    let sum = ran(cx.command("sha256sum").arg(path)).success();
    assert_eq!(told["sha256"].as_str(), sum.split(' ').next());
    assert_eq!(run(&["path"]).success().trim_end(), path.to_str().unwrap());
    assert!(files(&cache).iter().all(|file| file.extension().is_none_or(|ending| ending != "deb")));
}

#[test]
fn the_hosts_own_emulator_is_found_by_any_name_of_the_guest() {
    let cx = Cx::new();
    let own =
        fs::canonicalize("/usr/bin/qemu-i386-static").expect("the tests need Debian's qemu-user-static");
    for name in ["386", "i386", "linux/386"] {
        for verb in ["path", "fetch"] {
            let ran = cx.run(["emulator", verb, "--guest", name]);
            assert_eq!(ran.success().trim_end(), own.to_str().unwrap());
        }
    }
    let told = json(&cx.run(["emulator", "path", "--guest", "386", "--format", "json"]).success());
    assert_eq!(told["source"], serde_json::json!({ "kind": "host" }));
    let version = ran(cx.command(&own).arg("--version")).success();
    assert!(version.contains(&format!("version {} ", told["version"].as_str().unwrap())), "{version}");
    assert!(files(&cx.path("home")).is_empty());
}

#[test]
fn a_host_folder_is_searched_under_each_usual_name() {
    let cx = Cx::new();
    let own = fs::canonicalize("/usr/bin/qemu-mips-static").unwrap();
    let (first, second) = (cx.path("first"), cx.path("second"));
    for folder in [&first, &second] {
        fs::create_dir_all(folder).unwrap();
    }
    let (cache, search) = (cx.path("cache"), [first.clone(), second.clone()]);
    let options = Options { given: None, cache: &cache, search: &search };
    let find = || emulator::find(guest("mips"), &Platform::host(), &options);
    // What cannot serve is passed over, and told of.
    fs::write(first.join("qemu-mips"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(first.join("qemu-mips"), Permissions::from_mode(0o755)).unwrap();
    fs::copy("/bin/true", first.join("qemu-mips-static")).unwrap();
    let Err(EmulatorError::NotFound { rejected, .. }) = find() else { panic!("{:?}", find()) };
    assert!(matches!(rejected[0].1, Unfit::Dynamic { .. }), "{rejected:?}");
    assert_eq!(rejected[1], (first.join("qemu-mips"), Unfit::NotElf));
    for name in ["qemu-mips", "qemu-mips-static", "mips-binfmt-P"] {
        std::os::unix::fs::symlink(&own, second.join(name)).unwrap();
        let found = find().unwrap();
        assert_eq!((found.path, found.source), (own.clone(), Source::Host), "{name}");
        fs::remove_file(second.join(name)).unwrap();
    }
    // Another host has no use for this one's programs.
    std::os::unix::fs::symlink(&own, second.join("qemu-mips")).unwrap();
    let other = if Platform::host() == platform("linux/arm64") { "linux/amd64" } else { "linux/arm64" };
    let err = emulator::find(guest("mips"), &platform(other), &options).unwrap_err();
    assert!(matches!(&err, EmulatorError::NotFound { rejected, .. } if rejected.is_empty()), "{err:?}");
}

#[test]
fn a_program_that_was_given_is_taken_or_refused() {
    let cx = Cx::new();
    let cache = cx.path("cache");
    let find = |path: &Path, host: &str| {
        let options = Options { given: Some(path.into()), cache: &cache, search: &[] };
        emulator::find(guest("mips"), &platform(host), &options)
    };
    let path = cx.file("my-qemu", arm64(200, false));
    assert!(matches!(
        find(&path, "linux/arm64"),
        Err(EmulatorError::Unfit { unfit: Unfit::NotExecutable, .. })
    ));
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let found = find(&path, "linux/arm64").unwrap();
    assert_eq!((found.source, found.path), (Source::Given, path.canonicalize().unwrap()));
    let err = find(&path, "linux/386").unwrap_err().to_string();
    assert!(
        err.contains("it is a program for AARCH64 (64 bits, little-endian), and the host runs 386 (32 bits"),
        "{err}"
    );
    assert!(matches!(
        find(&cx.path(""), "linux/arm64"),
        Err(EmulatorError::Unfit { unfit: Unfit::NotFile, .. })
    ));
    assert!(matches!(find(&cx.path("none"), "linux/arm64"), Err(EmulatorError::Read { .. })));
    assert!(matches!(find(&path, "plan9/vax"), Err(EmulatorError::Host { .. })));
}

#[test]
fn only_the_static_program_that_is_wanted_is_taken() {
    let cx = Cx::new();
    let (archive, deb) = bookworm(&cx);
    let folder = archive.folder().to_str().unwrap();
    let told = json(&ran(fetch(&cx, &archive, folder, "mips").args(["--format", "json"])).success());
    let path = Path::new(told["path"].as_str().unwrap());
    assert_eq!(told["source"]["kind"], "debian");
    assert_eq!(fs::read(path).unwrap(), arm64(300_000, false));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    let description = json(&fs::read_to_string(path.with_file_name("emulator.json")).unwrap());
    assert_eq!(description["package"], told["source"]["package"]);
    assert!(!description.to_string().contains(folder));
    assert_eq!(files(&cx.path("home")).len(), 2);
    // A damaged one is told of, and mended.
    let mut damaged = fs::read(path).unwrap();
    damaged[1000] ^= 1;
    fs::write(path, damaged).unwrap();
    let find = ["emulator", "path", "--host", "linux/arm64", "--guest", "mips"];
    let err = cx.run(find).failure(2);
    assert!(
        err.contains("has changed: expected SHA-256") && err.contains("hint: `polyarch emulator fetch"),
        "{err}"
    );
    ran(&mut fetch(&cx, &archive, folder, "mips")).success();
    assert_eq!(cx.run(find).success().trim_end(), path.to_str().unwrap());
    // A process that was killed leaves a folder behind; the next one removes it, and keeps the package if asked.
    let left = path.parent().unwrap().with_file_name(".new-left");
    fs::create_dir_all(left.join("x")).unwrap();
    ran(fetch(&cx, &archive, folder, "mips").args(["--force", "--keep-package"])).success();
    assert!(!left.exists());
    let kept = files(&cx.path("home"))
        .into_iter()
        .find(|file| file.extension().is_some_and(|ending| ending == "deb"));
    assert_eq!(fs::read(kept.unwrap()).unwrap(), fs::read(archive.path(&deb)).unwrap());
}

#[test]
fn a_failure_leaves_no_emulator_behind() {
    let cx = Cx::new();
    let (archive, deb) = bookworm(&cx);
    let server = Server::new(archive.folder());
    let failure = |guest: &str| {
        let err = ran(&mut fetch(&cx, &archive, &server.url(""), guest)).failure(2);
        let left = files(&cx.path("home"));
        assert!(left.is_empty(), "{guest}: {left:?}");
        err
    };
    let err = failure("aarch64");
    assert!(err.contains("holds no file `usr/bin/qemu-aarch64-static` or `usr/bin/qemu-aarch64`"), "{err}");
    assert!(err.contains("hint: this version of QEMU has no `qemu-aarch64`"), "{err}");
    assert!(failure("i386").contains("it is no ELF program"));
    let right = fs::read(archive.path(&deb)).unwrap();
    let mut changed = right.clone();
    changed[200] ^= 1;
    fs::write(archive.path(&deb), changed).unwrap();
    let err = failure("mips");
    assert!(err.contains("is not what the signed index names: expected SHA-256"), "{err}");
    fs::write(archive.path(&deb), right).unwrap();
    fs::write(archive.keyring(), fs::read(Archive::new(&cx, "other").keyring()).unwrap()).unwrap();
    let err = failure("mips");
    assert!(err.contains("keys that the keyring does not have") && err.contains("--keyring"), "{err}");
    let err = ran(fetch(&cx, &archive, "nowhere", "mips").env("PATH", "/nonexistent")).failure(2);
    assert!(err.contains("`nowhere` is no address of a mirror: it is neither a URL nor a folder"), "{err}");
    let err = ran(fetch(&cx, &archive, &server.url(""), "mips").env("PATH", "/nonexistent")).failure(2);
    assert!(err.contains("`gpgv` cannot be started") && err.contains("apt-get install gpgv"), "{err}");
    let err = cx.run(["emulator", "path", "--guest", "mips", "--host", "linux/arm64"]).failure(2);
    assert!(err.contains("no static `qemu-mips` for linux/arm64 was found"), "{err}");
    assert!(
        err.contains("hint: `polyarch emulator fetch --guest mips --host linux/arm64` fetches one"),
        "{err}"
    );
    let err = cx.run(["emulator", "path", "--guest", "mipz"]).failure(2);
    assert!(err.contains("no guest is called `mipz`") && err.contains("did you mean `mips`?"), "{err}");
}

#[test]
fn two_processes_at_once_fetch_once() {
    let cx = Cx::new();
    let (archive, deb) = bookworm(&cx);
    let server = Server::new(archive.folder());
    // The first to come is held up, so that the other comes in the meantime.
    server.fail(&deb.replace('%', "%25"), [Fault::Delay(Duration::from_millis(700))]);
    let children: Vec<_> = (0..2)
        .map(|_| {
            let mut command = fetch(&cx, &archive, &server.url(""), "mips");
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let outputs: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    assert!(outputs.iter().all(|output| output.status.success()));
    assert_eq!(outputs[0].stdout, outputs[1].stdout);
    assert_eq!(server.requests(&deb.replace('%', "%25")).len(), 1);
}

#[test]
fn a_qemu_that_cannot_serve_is_refused_with_the_reason() {
    let cx = Cx::new();
    let mut archive = Archive::new(&cx, "archive");
    archive.package("qemu-user-static", "1:10.0.2+ds-2", "i386", "Depends: qemu-user\n", &[]);
    archive.package("qemu-user", "1:10.0.2+ds-2", "i386", "", &[("usr/bin/qemu-mips", b"", 0o755)]);
    archive.publish("trixie", "i386");
    let fetch = |guest: &str, suite: Option<&str>| {
        let mut command = cx.polyarch();
        command.args(["emulator", "fetch", "--host", "linux/386", "--latest", "--guest", guest, "--mirror"]);
        command.arg(archive.folder()).arg("--keyring").arg(archive.keyring());
        ran(command.args(suite.map(|suite| format!("--suite={suite}")))).failure(2)
    };
    let err = fetch("aarch64", Some("trixie"));
    assert!(err.contains("QEMU 10.0.2 of Debian's `trixie` cannot run `aarch64` on linux/386"), "{err}");
    assert!(err.contains("QEMU 10 no longer runs 64-bit guests on 32-bit machines"), "{err}");
    // A 32-bit guest may; the empty package under the old name is passed over.
    assert!(fetch("mips", Some("trixie")).contains("it is no ELF program"));
    // Without a suite, the next one that the mirror has is taken.
    assert!(fetch("mips", None).contains("it is no ELF program"));
    assert!(fetch("mips", Some("sid")).contains("has no suite `sid`"));
}

#[test]
fn an_ordinary_user_fetches_too() {
    let cx = Cx::new();
    let (archive, _) = bookworm(&cx);
    let folder = archive.folder().to_str().unwrap().to_owned();
    let inner = fetch(&cx, &archive, &folder, "mips");
    // The test's folder is its owner's only, and the program may be in one that is.
    let program = cx.path("polyarch");
    fs::copy(inner.get_program(), &program).unwrap();
    fs::copy(archive.keyring(), cx.path("keys.gpg")).unwrap();
    fs::create_dir_all(cx.path("nobody")).unwrap();
    for path in ["", "archive"] {
        fs::set_permissions(cx.path(path), Permissions::from_mode(0o755)).unwrap();
    }
    let is_root = ran(cx.command("id").arg("-u")).success().trim() == "0";
    let mut command = if is_root {
        std::os::unix::fs::chown(cx.path("nobody"), Some(65534), Some(65534)).unwrap();
        let mut command = cx.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
        command
    } else {
        cx.command(&program)
    };
    command.env("HOME", cx.path("nobody")).args([
        "emulator",
        "fetch",
        "--host",
        "linux/arm64",
        "--guest",
        "mips",
    ]);
    command
        .args(["--latest", "--suite", "bookworm", "--mirror", &folder])
        .arg("--keyring")
        .arg(cx.path("keys.gpg"));
    let path = ran(&mut command).success();
    assert!(
        Path::new(path.trim_end()).starts_with(cx.path("nobody/.cache/polyarch/emulators/linux-arm64/mips"))
    );
    assert_eq!(fs::read(path.trim_end()).unwrap(), arm64(300_000, false));
}
