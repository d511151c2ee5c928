//! `polyarch emulator list`, `verify` and `prune`, and the guest programs of our own.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use polyarch::emulator;
use polyarch::target::{Catalogue, Platform};
use serde_json::Value;

use crate::emulator::{bookworm, files, json};
use crate::support::cc::{Cc, compile};
use crate::support::deb::fixtures;
use crate::support::{Cx, ran};

/// The cache for real packages, kept from one run of the tests to the next, and the way to the real mirror.
pub(crate) fn real(cx: &Cx, args: &[&str]) -> std::process::Command {
    let mut command = cx.polyarch();
    for name in ["http_proxy", "https_proxy", "no_proxy"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command.env("POLYARCH_CACHE_DIR", fixtures().join("cache")).arg("emulator").args(args);
    command
}

const CHECKS: [&str; 5] = ["arithmetic", "signal", "thread", "fork", "uname"];

/// Whether a row of `verify` says that every check went well.
#[track_caller]
fn assert_passed(row: &Value) {
    assert_eq!(row["result"], "passed", "{row:#}");
    let names: Vec<&str> =
        row["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(names, CHECKS);
}

#[test]
fn arm_hosts_get_emulators_that_run_i386_programs_under_the_hosts_own_emulator() {
    const HELLO: &str = r#"
#include <stdio.h>
#include <sys/utsname.h>
int main(int argc, char **argv) { struct utsname u; uname(&u); printf("%s says %s\n", u.machine, argv[argc - 1]); return 7; }
"#;
    let cx = Cx::new();
    let hello = compile(&Cc { triple: "i686-linux-gnu", flags: &["-static", "-O1"], source: HELLO });
    for (host, machine, outer) in [
        ("linux/arm/v7", "ARM", "qemu-arm-static"),
        ("linux/arm/v5", "ARM", "qemu-arm-static"),
        ("linux/arm64", "AArch64", "qemu-aarch64-static"),
    ] {
        let path = ran(&mut real(&cx, &["fetch", "--guest", "386", "--host", host])).success();
        let path = path.trim_end();
        let header = ran(cx.command("readelf").arg("-hW").arg(path)).success();
        assert!(header.contains(&format!("Machine:                           {machine}\n")), "{header}");
        let rows =
            json(&ran(&mut real(&cx, &["verify", "i386", "--host", host, "--format", "json"])).success());
        assert_passed(&rows[0]);
        assert!(rows[0]["under"].as_str().unwrap().ends_with(outer), "{rows:#}");
        // A 64-bit emulator wants the place for its guest where the outer one is.
        let place: &[&str] = if host == "linux/arm64" { &["-B", "0x1000000000"] } else { &[] };
        let run = ran(cx.command(outer).arg(path).args(place).arg(&hello).arg(host));
        assert_eq!((run.status, run.stdout.as_str()), (7, &*format!("i686 says {host}\n")), "{}", run.stderr);
    }
}

#[test]
fn the_guest_programs_are_what_their_source_makes() {
    let cx = Cx::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = cx.path("built");
    ran(cx.command(root.join("scripts/build-probes")).arg(&built)).success();
    let names = |folder: &Path| -> BTreeSet<String> {
        let names =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "elf")).collect()
    };
    let kept = root.join("src/emulator/probes");
    assert_eq!(names(&built), names(&kept));
    for name in names(&built) {
        let (new, old) = (fs::read(built.join(&name)).unwrap(), fs::read(kept.join(&name)).unwrap());
        assert!(new == old, "{name} is not what `scripts/build-probes` makes: run it and commit the result");
    }
}

#[test]
fn the_hosts_own_emulators_all_pass() {
    let cx = Cx::new();
    let rows = json(&cx.run(["emulator", "verify", "--all", "--format", "json"]).success());
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), Catalogue::builtin().guests().len());
    let mut passed = 0;
    for row in rows {
        match row["result"].as_str().unwrap() {
            "passed" => {
                assert_passed(row);
                assert_eq!(row["under"], Value::Null);
                passed += 1;
            }
            "skipped" => {
                let message = row["message"].as_str().unwrap();
                let is_known = message.contains("there is no test program for `")
                    || message.contains("no static `qemu-");
                assert!(is_known, "{row:#}");
            }
            _ => panic!("{row:#}"),
        }
    }
    // All that Debian's compilers can make programs for.
    assert_eq!(passed, 28);
    let text = cx.run(["emulator", "verify", "mips"]).success();
    for check in CHECKS {
        assert!(text.contains(&format!("{check:<11} passed\n")), "{text}");
    }
    assert!(files(&cx.path("home")).is_empty());
}

#[test]
fn an_emulator_that_is_wrong_fails_each_check_by_itself() {
    // It tells its version as QEMU does, and then does some things right.
    const FAKE: &str = r#"
#include <stdio.h>
#include <string.h>
#include <signal.h>
int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--version")) { puts("qemu-mips version 7.2.0 (ours)"); return 0; }
    switch (getchar()) {
    case 'a': puts("0123"); return 0;
    case 's': raise(SIGSEGV); return 0;
    case 't': puts("y"); return 0;
    case 'f': fputs("first\nno fork\x1b[2J\n", stderr); return 9;
    default: puts("mips"); return 0;
    }
}
"#;
    let cx = Cx::new();
    let triple = if cfg!(target_arch = "x86_64") { "x86_64-linux-gnu" } else { "aarch64-linux-gnu" };
    let fake = compile(&Cc { triple, flags: &["-static"], source: FAKE });
    let verify = |format: &str| {
        let mut command = cx.polyarch();
        command.args(["emulator", "verify", "mips", "--format", format, "--emulator"]).arg(&fake);
        ran(&mut command)
    };
    let run = verify("json");
    assert_eq!(run.status, 1, "{}", run.stderr);
    let rows = json(&run.stdout);
    assert_eq!(
        (&rows[0]["result"], &rows[0]["emulator"]["source"]["kind"]),
        (&"failed".into(), &"given".into())
    );
    let outcomes: Vec<&str> = rows[0]["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["wrong", "died", "passed", "died", "passed"]);
    assert_eq!(rows[0]["checks"][0]["found"], "0123");
    let text = verify("text").stdout;
    assert!(text.contains("signal      failed: signal 11 killed it"), "{text}");
    assert!(text.contains("fork        failed: it exited with status 9: no fork\\u{1b}[2J"), "{text}");
}

#[test]
fn what_cannot_be_verified_is_told() {
    let cx = Cx::new();
    let verify = |args: &[&str]| ran(cx.polyarch().args(["emulator", "verify"]).args(args));
    let run = verify(&["microblaze"]);
    assert_eq!(run.status, 2);
    assert!(run.stdout.contains("there is no test program for `microblaze`"), "{}", run.stdout);
    let run = verify(&["mips", "--host", "linux/s390x", "--format", "json"]);
    assert_eq!(run.status, 2);
    assert_eq!(json(&run.stdout)[0]["result"], "error");
    assert!(
        run.stderr.contains("hint: `polyarch emulator fetch --guest mips --host linux/s390x`"),
        "{}",
        run.stderr
    );
    let err = verify(&["mips", "--emulator", "/bin/sh"]);
    assert_eq!(err.status, 2);
    assert!(err.stdout.contains("cannot be used as an emulator"), "{}", err.stdout);
    assert!(verify(&[]).failure(2).contains("<GUEST>"));
    assert!(verify(&["--all", "mips"]).failure(2).contains("cannot be used with"));
}

#[test]
fn the_list_has_every_pair_and_why_one_is_not_to_be_had() {
    let cx = Cx::new();
    let pairs = json(&cx.run(["emulator", "list", "--all-hosts", "--format", "json"]).success());
    let pairs = pairs.as_array().unwrap();
    let hosts: BTreeSet<&str> = pairs.iter().map(|pair| pair["architecture"].as_str().unwrap()).collect();
    for host in
        ["armel", "armhf", "arm64", "i386", "amd64", "mipsel", "mips64el", "ppc64el", "riscv64", "s390x"]
    {
        assert!(hosts.contains(host), "{hosts:?}");
    }
    assert_eq!(pairs.len(), hosts.len() * Catalogue::builtin().guests().len());
    let pair = |guest: &str, architecture: &str| {
        let is_it = |pair: &&Value| pair["guest"] == guest && pair["architecture"] == architecture;
        pairs.iter().find(is_it).unwrap()
    };
    // Where bookworm has the host it comes first; 32-bit hosts get no QEMU that cannot serve there.
    let mips = pair("mips", "armhf");
    assert_eq!((&mips["available"][0]["suite"], &mips["reason"]), (&"bookworm".into(), &Value::Null));
    let wide = pair("aarch64", "armel");
    assert_eq!(wide["available"].as_array().unwrap().len(), 1);
    assert_eq!(wide["refused"][0]["suite"], "trixie");
    assert!(
        wide["refused"][0]["reason"].as_str().unwrap().starts_with("QEMU 10 no longer runs 64-bit guests")
    );
    let tile = pair("tilegx", "arm64");
    assert_eq!(tile["available"], Value::Array(Vec::new()));
    assert!(tile["reason"].as_str().unwrap().contains("QEMU 5.2 is the last"), "{tile:#}");
    assert_eq!(pair("i386", "i386")["native"], true);
    // No host of a mirror's is in the pins.
    let pins = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/targets/emulators.toml")).unwrap();
    assert!(!pins.contains("://") && !pins.contains("debian.org"));

    let own = json(&cx.run(["emulator", "list", "--guest", "386,linux/mips", "--format", "json"]).success());
    let own = own.as_array().unwrap();
    assert_eq!(own.len(), 2);
    for pair in own {
        let path = pair["on_host"][0]["path"].as_str().unwrap();
        let host: Platform = Platform::host();
        assert_eq!(pair["host"]["architecture"], *host.architecture);
        let version = ran(cx.command(path).arg("--version")).success();
        assert!(version.contains(pair["on_host"][0]["version"].as_str().unwrap()), "{version}");
    }
    let text = cx.run(["emulator", "list", "--host", "linux/386", "--guest", "mips,i386"]).success();
    assert!(text.contains("on linux/386\n") && text.contains("bookworm 7.2, trixie 10."), "{text}");
    let err = cx.run(["emulator", "list", "--host", "linux/vax"]).failure(2);
    assert!(err.contains("`linux/vax` is no host"), "{err}");
    assert!(files(&cx.path("home")).is_empty());
}

/// Every key of the objects in `value`, and the names of tagged values.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                found.insert(key.clone());
                keys(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn documented_keys_are_the_keys() {
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/emulators.md")).unwrap();
    let cx = Cx::new();
    let (archive, _) = bookworm(&cx);
    let archive = |command: &mut std::process::Command| {
        command.arg("--mirror").arg(archive.folder()).arg("--keyring").arg(archive.keyring());
    };
    let mut found = BTreeSet::new();
    let mut take = |command: &mut std::process::Command| {
        let run = ran(command.args(["--format", "json"]));
        assert!(run.status < 2, "{}", run.stderr);
        keys(&json(&run.stdout), &mut found);
    };
    let mut command = cx.polyarch();
    archive(command.args(["emulator", "update", "--host", "linux/arm64", "--suite", "bookworm"]));
    take(&mut command);
    let mut command = cx.polyarch();
    archive(command.args(["emulator", "fetch", "--guest", "mips", "--host", "linux/arm64"]));
    take(&mut command);
    for args in [
        ["list", "--host", "linux/arm64"].as_slice(),
        &["list", "--host", "linux/386"],
        &["list", "--guest", "mips"],
        &["verify", "mips"],
        &["prune", "--all", "--dry-run"],
    ] {
        take(cx.polyarch().arg("emulator").args(args));
    }
    let missing: Vec<&String> = found.iter().filter(|key| !docs.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "docs/emulators.md does not tell {missing:?}");
    assert!(found.len() > 30, "{found:?}");
    for check in emulator::CHECKS {
        assert!(docs.contains(&format!("`{check}`")), "{check}");
    }
}

#[test]
fn prune_removes_what_is_damaged_left_or_not_pinned_and_nothing_else() {
    let cx = Cx::new();
    let (archive, _) = bookworm(&cx);
    let fetch = |extra: &[&str]| -> PathBuf {
        let mut command = cx.polyarch();
        command.args(["emulator", "fetch", "--guest", "mips", "--host", "linux/arm64"]).args(extra);
        command.arg("--mirror").arg(archive.folder()).arg("--keyring").arg(archive.keyring());
        ran(&mut command).success().trim_end().into()
    };
    let prune = |args: &[&str]| {
        json(&ran(cx.polyarch().args(["emulator", "prune", "--format", "json"]).args(args)).success())
    };
    assert_eq!(prune(&[])["pruned"], Value::Array(Vec::new()));
    assert!(!cx.path("home/.cache").exists());
    // The package is not pinned: it and its emulator go. A look changes nothing.
    let path = fetch(&["--latest", "--suite", "bookworm", "--keep-package"]);
    let told = prune(&["--dry-run"]);
    assert!(path.exists());
    let reasons: Vec<&str> =
        told["pruned"].as_array().unwrap().iter().map(|pruned| pruned["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["unpinned", "unpinned"], "{told:#}");
    let size: u64 = told["pruned"].as_array().unwrap().iter().map(|it| it["size"].as_u64().unwrap()).sum();
    assert_eq!(told["size"], size);
    assert!(size > 300_000);
    assert_eq!(prune(&[])["pruned"], told["pruned"]);
    assert!(files(&cx.path("home")).is_empty(), "{:?}", files(&cx.path("home")));
    // Pinned by the user, it stays, until it is damaged.
    let mut command = cx.polyarch();
    command.args(["emulator", "update", "--host", "linux/arm64", "--suite", "bookworm"]);
    command.arg("--mirror").arg(archive.folder()).arg("--keyring").arg(archive.keyring());
    ran(&mut command).success();
    let path = fetch(&["--keep-package"]);
    let cache = cx.path("home/.cache/polyarch");
    fs::create_dir_all(cache.join("emulators/linux-arm64/mips/.new-left/x")).unwrap();
    fs::write(cache.join("debian/packages/abc.deb.partial"), "x").unwrap();
    let pruned = prune(&[]);
    assert_eq!(pruned["pruned"].as_array().unwrap().len(), 2, "{pruned:#}");
    assert!(pruned["pruned"].as_array().unwrap().iter().all(|it| it["reason"] == "left"), "{pruned:#}");
    assert!(path.exists());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&path, "changed").unwrap();
    assert_eq!(prune(&[])["pruned"][0]["reason"], "damaged");
    assert!(!path.exists());
    // From the package that was kept, with no mirror at all.
    fs::remove_dir_all(archive.path("pool")).unwrap();
    let path = fetch(&[]);
    assert!(path.exists());
    let text = cx.run(["emulator", "prune", "--all"]).success();
    assert!(text.contains("  all, ") && text.ends_with(" removed\n"), "{text}");
    let left = files(&cache);
    assert!(left.is_empty(), "{left:?}");
}
