//! Package files that emulators are taken from: pinned, renewed, out of a dated archive, out of a folder.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::emulator::{arm64, bookworm, files, json};
use crate::support::archive::Archive;
use crate::support::http::{Fault, Server};
use crate::support::{Cx, Ran, ran};

/// The archive's package with static emulators for arm64, in a version with these guests.
fn package(archive: &mut Archive<'_>, version: &str, guests: &[&str]) -> String {
    let names: Vec<String> = guests.iter().map(|guest| format!("usr/bin/qemu-{guest}-static")).collect();
    let program = arm64(200_000, false);
    let files: Vec<(&str, &[u8], u32)> =
        names.iter().map(|name| (name.as_str(), program.as_slice(), 0o755)).collect();
    let file = archive.package("qemu-user-static", version, "arm64", "", &files);
    archive.publish("bookworm", "arm64");
    file
}

/// `polyarch emulator VERB … --host linux/arm64`.
fn command(cx: &Cx, verb: &str, args: &[&str]) -> Command {
    let mut command = cx.polyarch();
    command.args(["emulator", verb, "--host", "linux/arm64"]).args(args);
    command
}

/// Pins what the archive has for arm64 in bookworm, in the user's own file.
fn update(cx: &Cx, archive: &Archive<'_>, args: &[&str]) -> Ran {
    let mut command = command(cx, "update", &["--suite", "bookworm"]);
    command.arg("--mirror").arg(archive.folder()).arg("--keyring").arg(archive.keyring());
    ran(command.args(args))
}

/// Where the file is asked for in a URL.
fn escaped(file: &str) -> String {
    file.replace('%', "%25")
}

#[test]
fn pins_are_renewed_from_the_signed_index_and_then_hold() {
    let cx = Cx::new();
    let mut archive = Archive::new(&cx, "archive");
    let first = package(&mut archive, "1:7.2+dfsg-7", &["mips", "m68k"]);
    let told = update(&cx, &archive, &[]).success();
    assert!(told.contains("arm64 bookworm: qemu-user-static 1:7.2+dfsg-7, before 1:7.2"), "{told}");
    let path = cx.path("home/.config/polyarch/emulators.toml");
    let text = fs::read_to_string(&path).unwrap();
    // Six hours after the date of the `Release`, when the dated archive has it.
    for line in
        ["time = \"20260711T161637Z\"\n", "guests = [\"m68k\", \"mips\"]\n", &format!("file = \"{first}\"\n")]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains(archive.folder().to_str().unwrap()));
    assert_eq!(update(&cx, &archive, &[]).success(), "all 1 pins are those of the archive\n");
    assert!(files(&cx.path("home/.cache")).is_empty());
    let list = json(&ran(&mut command(&cx, "list", &["--guest", "m68k,sh4", "--format", "json"])).success());
    assert_eq!(list[0]["available"][0]["version"], "1:7.2+dfsg-7");
    assert_eq!(list[1]["refused"][0]["reason"], "the package holds no `qemu-sh4`");
    // By the pin neither signature nor index is needed.
    let server = Server::new(archive.folder());
    let fetch = |args: &[&str]| {
        let mut command = command(&cx, "fetch", &["--guest", "mips", "--mirror", &server.url("")]);
        ran(command.args(args).env("PATH", "/nonexistent"))
    };
    fetch(&[]).success();
    assert!(server.requests("dists/bookworm/InRelease").is_empty());
    // A new version comes with `--latest`, and by renewing the pins.
    package(&mut archive, "1:7.2+dfsg-8", &["mips"]);
    let told = json(&fetch(&["--format", "json"]).success());
    assert_eq!(told["source"]["package"]["version"], "1:7.2+dfsg-7");
    let mut latest = command(&cx, "fetch", &["--guest", "mips", "--latest", "--format", "json"]);
    latest.arg("--mirror").arg(archive.folder()).arg("--keyring").arg(archive.keyring());
    let told = json(&ran(latest.args(["--suite", "bookworm"])).success());
    assert_eq!(told["source"]["package"]["version"], "1:7.2+dfsg-8");
    let output = cx.path("all.toml");
    let told = update(&cx, &archive, &["--output", output.to_str().unwrap()]).success();
    assert!(told.contains("1 pins renewed in "), "{told}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert!(fs::read_to_string(&output).unwrap().contains("1:7.2+dfsg-8"));
    let told = json(&update(&cx, &archive, &["--format", "json"]).success());
    assert_eq!(told[0]["before"]["version"], "1:7.2+dfsg-7");
    assert_eq!(told[0]["after"]["version"], "1:7.2+dfsg-8");
}

#[test]
fn an_update_that_cannot_be_trusted_leaves_the_pins_as_they_are() {
    let cx = Cx::new();
    let (archive, deb) = bookworm(&cx);
    let path = cx.path("home/.config/polyarch/emulators.toml");
    let right = fs::read(archive.path(&deb)).unwrap();
    let mut changed = right.clone();
    changed[300] ^= 1;
    fs::write(archive.path(&deb), changed).unwrap();
    let err = update(&cx, &archive, &[]).failure(2);
    assert!(err.contains("pinning the emulators for linux/arm64 of Debian's `bookworm`"), "{err}");
    assert!(err.contains("expected SHA-256") && !path.exists(), "{err}");
    fs::write(archive.path(&deb), right).unwrap();
    let release = archive.path("dists/bookworm/InRelease");
    let signed = fs::read_to_string(&release).unwrap();
    fs::write(&release, signed.replace("Suite: oldstable", "Suite: newstable")).unwrap();
    let err = update(&cx, &archive, &[]).failure(2);
    assert!(err.contains("signature") && !path.exists(), "{err}");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "[[package]]\nsuite = 1\n").unwrap();
    let err = cx.run(["emulator", "list"]).failure(2);
    assert!(err.contains("emulators.toml` are not right: TOML parse error"), "{err}");
    assert!(err.contains("hint: mend or remove `"), "{err}");
}

#[test]
fn what_has_left_the_mirror_comes_from_the_dated_archive() {
    let cx = Cx::new();
    let (archive, deb) = bookworm(&cx);
    update(&cx, &archive, &[]).success();
    // As the dated archive has it: a folder for the time, and the same path beneath.
    let dated = cx.path("dated/20260711T161637Z").join(Path::new(&deb).parent().unwrap());
    fs::create_dir_all(&dated).unwrap();
    fs::rename(archive.path(&deb), dated.join(Path::new(&deb).file_name().unwrap())).unwrap();
    let (mirror, snapshots) = (Server::new(archive.folder()), Server::new(&cx.path("dated")));
    let fetch = |base: &str| {
        let (mirror, snapshots) = (mirror.url(""), snapshots.url(base));
        ran(&mut command(
            &cx,
            "fetch",
            &["--guest", "mips", "--mirror", &mirror, "--snapshots", &snapshots, "-v"],
        ))
    };
    let err = fetch("nowhere").failure(2);
    assert!(err.contains("the server answered 404 for `http://127.0.0.1:"), "{err}");
    assert!(err.contains("hint: `polyarch emulator update` renews the pins; `--latest` takes"), "{err}");
    assert!(files(&cx.path("home/.cache")).is_empty());
    // It breaks off once, and is gone on with.
    let name = format!("20260711T161637Z/{}", escaped(&deb));
    snapshots.fail(&name, [Fault::Truncate(100)]);
    let run = fetch("");
    assert!(run.stderr.contains("the mirror no longer has qemu-user-static 1:7.2+dfsg-7"), "{}", run.stderr);
    let path = run.success();
    assert_eq!(fs::read(path.trim_end()).unwrap(), arm64(300_000, false));
    let ranges: Vec<_> = snapshots.requests(&name).into_iter().map(|request| request.range).collect();
    assert_eq!(ranges, [None, Some("bytes=100-".to_owned())]);
}

#[test]
fn one_download_serves_all_guests() {
    let cx = Cx::new();
    let mut archive = Archive::new(&cx, "archive");
    let deb = package(&mut archive, "1:7.2+dfsg-7", &["mips", "m68k", "sh4", "or1k"]);
    update(&cx, &archive, &[]).success();
    let server = Server::new(archive.folder());
    let url = server.url("");
    let several = ["--guest", "mips,m68k", "--guest", "linux/mips", "--mirror", &url, "--format", "json"];
    let told = json(&ran(&mut command(&cx, "fetch", &several)).success());
    let guests: Vec<&str> = told.as_array().unwrap().iter().map(|it| it["guest"].as_str().unwrap()).collect();
    assert_eq!(guests, ["mips", "m68k"]);
    assert_eq!(server.requests(&escaped(&deb)).len(), 1);
    // The two others, and the two that are there.
    let all = ["--all", "--suite", "bookworm", "--mirror", &url];
    let paths = ran(&mut command(&cx, "fetch", &all)).success();
    assert_eq!(paths.lines().count(), 4);
    assert_eq!(server.requests(&escaped(&deb)).len(), 2);
    assert_eq!(ran(&mut command(&cx, "fetch", &all)).success(), paths);
    assert_eq!(server.requests(&escaped(&deb)).len(), 2);
    // One that the package does not have is told before anything is fetched.
    let one = ["--guest", "mips,hppa", "--suite", "bookworm", "--force", "--mirror", &url];
    let err = ran(&mut command(&cx, "fetch", &one)).failure(2);
    assert!(
        err.contains("`qemu-user-static` 1:7.2+dfsg-7 of Debian's `bookworm` holds no `qemu-hppa`"),
        "{err}"
    );
    assert_eq!(server.requests(&escaped(&deb)).len(), 2);
    assert!(files(&cx.path("home/.cache")).iter().all(|file| file.extension().is_none_or(|it| it != "deb")));
}

#[test]
fn a_folder_of_packages_is_a_mirror_by_the_pins_digest() {
    let cx = Cx::new();
    let mut archive = Archive::new(&cx, "archive");
    let deb = package(&mut archive, "1:7.2+dfsg-7", &["mips"]);
    let folder = cx.path("debs");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(archive.path(&deb), folder.join("any-name.deb")).unwrap();
    archive.package("hostname", "3", "arm64", "", &[("bin/hostname", b"x", 0o755)]);
    fs::copy(archive.path("pool/main/hostname_3_arm64.deb"), folder.join("hostname.deb")).unwrap();
    let fetch = |args: &[&str]| {
        let folder = folder.to_str().unwrap();
        ran(command(&cx, "fetch", &["--guest", "mips", "--mirror", folder, "--format", "json"]).args(args))
    };
    let err = fetch(&[]).failure(2);
    assert!(err.contains("none of the 2 package files in `"), "{err}");
    assert!(err.contains("hint: `qemu-user-static_7.2+dfsg") && err.contains("`--unpinned` takes"), "{err}");
    let told = json(&fetch(&["--unpinned"]).success());
    assert_eq!(told["source"]["package"]["suite"], "local");
    assert_eq!(told["source"]["package"]["version"], "1:7.2+dfsg-7");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    // The pin knows it under any name.
    update(&cx, &archive, &[]).success();
    let told = json(&fetch(&["--force"]).success());
    assert_eq!(told["source"]["package"]["suite"], "bookworm");
    fs::remove_file(folder.join("any-name.deb")).unwrap();
    let err = fetch(&["--force", "--unpinned"]).failure(2);
    assert!(err.contains("holds static emulators for linux/arm64"), "{err}");
    let err = ran(&mut command(&cx, "fetch", &["--guest", "mips", "--unpinned"])).failure(2);
    assert!(err.contains("--mirror"), "{err}");
}

#[test]
fn prune_waits_for_a_fetch() {
    let cx = Cx::new();
    let (archive, deb) = bookworm(&cx);
    update(&cx, &archive, &[]).success();
    let server = Server::new(archive.folder());
    server.fail(&escaped(&deb), [Fault::Delay(Duration::from_millis(700))]);
    let mut fetch =
        command(&cx, "fetch", &["--guest", "mips", "--keep-package", "--mirror", &server.url("")]);
    let fetch = fetch.stdout(Stdio::piped()).spawn().unwrap();
    while server.requests(&escaped(&deb)).is_empty() {
        std::thread::yield_now();
    }
    let run = ran(cx.polyarch().args(["emulator", "prune", "-v"]));
    assert!(run.stderr.contains("waiting for other processes, which fetch emulators"), "{}", run.stderr);
    run.success();
    let output = fetch.wait_with_output().unwrap();
    assert!(output.status.success());
    let path = String::from_utf8(output.stdout).unwrap();
    assert!(Path::new(path.trim_end()).exists());
}
