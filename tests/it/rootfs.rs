//! `rootfs`: recipes, and roots made from small archives of our own. Debian's own is made by `scripts/test` and `scripts/test-roots`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::support::archive::Archive;
use crate::support::http::{Fault, Server};
use crate::support::oci::sha256;
use crate::support::probe::names;
use crate::support::{Cx, Ran, ran};

/// Debian's name of this machine, and its target.
const HERE: (&str, &str) =
    if cfg!(target_arch = "aarch64") { ("arm64", "linux/arm64") } else { ("amd64", "linux/amd64") };

/// Stands in for dpkg: what is unpacked becomes installed, with the files that it asks about in their places.
const DPKG: &str = r#"#!/bin/sh
set -e
cd /var/lib/dpkg
echo "dpkg $*" >>/var/log/dpkg.log
test "$1" = --force-depends && exit
for list in info/*.list; do
    while read -r path; do
        if test -e "$path.dpkg-new"; then /bin/busybox mv "$path.dpkg-new" "$path"; fi
    done <"$list"
done
for script in info/*.postinst; do
    if test -e "$script"; then "$script" configure; fi
done
/bin/busybox sed -i 's/ok unpacked/ok installed/' status
"#;

/// And for what lists states.
const QUERY: &str = r#"#!/bin/sh
while read -r key value; do
    case $key in
        Package:) name=$value ;;
        Status:) echo "${value##* } $name" ;;
    esac
done </var/lib/dpkg/status
"#;

/// A file of a package: path, content and mode.
type File<'a> = (&'a str, &'a [u8], u32);

/// A small system: busybox with the libraries that it needs, and stand-ins for dpkg.
fn system<'a>(cx: &'a Cx, extra: &[(&str, &str, &[File<'_>])]) -> Archive<'a> {
    let mut archive = Archive::new(cx, "archive");
    let busybox = fs::read("/bin/busybox").expect("scripts/packages has busybox");
    let list = ran(cx.command("ldd").arg("/bin/busybox")).success();
    let libraries: Vec<String> = list
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(|path| fs::canonicalize(path).map(|_| path.to_owned()).unwrap())
        .collect();
    let contents: Vec<(String, Vec<u8>)> = libraries
        .iter()
        .map(|path| (path.trim_start_matches('/').to_owned(), fs::read(path).unwrap()))
        .collect();
    let mut files: Vec<File<'_>> = vec![
        ("bin/busybox", &busybox, 0o755),
        ("bin/sh", &busybox, 0o755),
        ("bin/rm", &busybox, 0o755),
        ("usr/bin/dpkg", DPKG.as_bytes(), 0o755),
        ("usr/bin/dpkg-query", QUERY.as_bytes(), 0o755),
        ("etc/base.conf", b"set\n", 0o640),
        ("DEBIAN/conffiles", b"/etc/base.conf\n", 0o644),
        ("DEBIAN/preinst", b"#!/bin/sh\necho \"$1 $DPKG_MAINTSCRIPT_PACKAGE\" >/var/log/preinst\n", 0o755),
        ("var/log/keep", b"", 0o644),
    ];
    files.extend(contents.iter().map(|(path, content)| (path.as_str(), content.as_slice(), 0o755)));
    archive.package("base", "1:1.0-1", HERE.0, "Essential: yes\nPriority: required\n", &files);
    for (name, fields, files) in extra {
        archive.package(name, "2.0-1", "all", fields, files);
    }
    archive.source("hello", "1.0-1", b"old\n");
    archive.source("hello", "1.0-2", b"world\n");
    archive.publish("small", HERE.0);
    fs::copy(archive.keyring(), cx.path("keys.gpg")).unwrap();
    archive
}

/// A recipe for such systems.
const RECIPE: &str = r#"
name = "small"
description = "a test's"
kind = "debian"
[debian]
suites = ["small"]
variant = "all"
clean = ["/var/log/dpkg.log"]
[debian.variants.all]
[config]
cmd = ["/bin/sh"]
"#;

/// Runs `rootfs build` with the test's recipe, as an ordinary user who has ids.
fn build(cx: &Cx, mirror: &str, args: &[&str]) -> Ran {
    if !cx.path("small.toml").exists() {
        cx.file("small.toml", RECIPE);
    }
    let mut command = cx.granted("");
    command.env_remove("SOURCE_DATE_EPOCH");
    command.args(["-v", "rootfs", "build", "./small.toml", "--keyring", "keys.gpg"]);
    ran(command.args(["--mirror", mirror, "--target", HERE.1]).args(args))
}

/// What is left in the cache that a user would take for a root, and in the store.
fn left(cx: &Cx) -> Vec<String> {
    let mut left = names(&cx.path("home/.cache/polyarch/rootfs"));
    left.extend(names(&cx.path("home/.cache/polyarch/run")).into_iter().filter(|name| name != "lock"));
    left.extend(names(&cx.path("home/.local/share/polyarch/store")));
    left
}

#[test]
fn every_released_machine_of_debian_is_listed_with_its_suite() {
    let cx = Cx::new();
    let list: Value =
        serde_json::from_str(&cx.run(["rootfs", "list", "--format", "json"]).success()).unwrap();
    let debian = list.as_array().unwrap().iter().find(|recipe| recipe["name"] == "debian").unwrap();
    assert_eq!(debian["kind"], "debian");
    let suite = |name: &str| {
        let targets = debian["targets"].as_array().unwrap();
        targets.iter().find(|target| target["target"] == name).map(|target| target["suite"].as_str().unwrap())
    };
    for (target, expected) in [
        ("linux/amd64", "trixie"),
        ("linux/386", "trixie"),
        ("linux/arm64", "trixie"),
        ("linux/arm/v7", "trixie"),
        ("linux/arm/v5", "trixie"),
        ("linux/mipsle", "bookworm"),
        ("linux/mips64le", "bookworm"),
        ("linux/ppc64le", "trixie"),
        ("linux/s390x", "trixie"),
        ("linux/riscv64", "trixie"),
        ("linux/loong64", "forky"),
    ] {
        assert_eq!(suite(target), Some(expected), "{target}");
    }
    assert_eq!(suite("linux/mips"), None);
    let text = cx.run(["rootfs", "list"]).success();
    assert!(text.contains("debian  Debian from its archive") && text.contains("linux/arm64"), "{text}");
}

#[test]
fn a_wrong_recipe_is_told_with_the_place() {
    let cx = Cx::new();
    cx.file("wrong.toml", RECIPE.replace("suites", "suits"));
    let err = cx.run(["rootfs", "build", "./wrong.toml", "-o", "x"]).failure(2);
    assert!(err.contains("`./wrong.toml` is not right") && err.contains("line 6"), "{err}");
    assert!(err.contains("docs/rootfs.md"), "{err}");
    let err = cx.run(["rootfs", "build", "debain", "-o", "x"]).failure(2);
    assert!(err.contains("no recipe is called `debain`") && err.contains("did you mean `debian`?"), "{err}");
    let err = cx.run(["rootfs", "build", "debian", "--target", "linux/mips", "-o", "x"]).failure(2);
    assert!(err.contains("makes nothing for `linux/mips`") && err.contains("--suite"), "{err}");
    let err = cx.run(["rootfs", "build", "debian", "--variant", "huge", "-o", "x"]).failure(2);
    assert!(err.contains("no variant `huge`") && err.contains("build, essential, minbase"), "{err}");
    let err = cx.run(["rootfs", "build", "debian", "--include", "gcc make", "-o", "x"]).failure(2);
    assert!(err.contains("`gcc make` is no name of a package"), "{err}");
}

#[test]
fn packages_become_an_image_and_a_folder() {
    let cx = Cx::new();
    let tool: &[File<'_>] = &[
        ("sbin/tool", b"#!/bin/sh\necho tool runs\n", 0o4755),
        ("lib/tool/data", b"data", 0o644),
        ("DEBIAN/postinst", b"#!/bin/sh\ncat=/bin/busybox\n$cat cat /etc/base.conf >/etc/made\n", 0o755),
    ];
    let archive = system(&cx, &[("tool", "Depends: base, data\n", tool), ("data", "", &[])]);
    let mirror = archive.folder().to_str().unwrap();
    let out = build(&cx, mirror, &["--include", "tool", "-o", "oci:images:small", "--lock", "small.lock"])
        .success();
    let run =
        |args: &[&str]| ran(cx.granted("").args(["-q", "run", "oci:images:small"]).args(args)).success();
    assert_eq!(run(&["/usr/sbin/tool"]), "tool runs\n");
    assert_eq!(
        run(&["/bin/busybox", "cat", "/etc/base.conf", "/etc/made", "/var/log/preinst"]),
        "set\nset\ninstall base\n"
    );
    // Links to folders of /usr, rights, and nothing of the making.
    let script = "cd /; b=/bin/busybox; for l in bin lib sbin; do $b readlink $l; done; $b stat -c '%a %u:%g' usr/sbin/tool etc/base.conf; \
                  $b ls -A var/log; $b ls -d .polyarch usr/sbin/policy-rc.d etc/*.dpkg-new 2>&1 | $b grep -c 'No such'; \
                  $b grep -c newconffile var/lib/dpkg/status; $b sort var/lib/dpkg/info/tool.list | $b tail -n 3";
    assert_eq!(
        run(&["/bin/sh", "-c", script]),
        "usr/bin\nusr/lib\nusr/sbin\n4755 0:0\n640 0:0\nkeep\npreinst\n3\n1\n/lib/tool/data\n/sbin\n/sbin/tool\n"
    );
    let facts: Value = serde_json::from_str(
        &ran(cx.polyarch().args(["image", "inspect", "oci:images:small", "--format", "json"])).success(),
    )
    .unwrap();
    let labels = &facts["images"][0]["config"]["config"]["Labels"];
    assert_eq!(labels["io.polyarch.rootfs.packages"], "3", "{facts}");
    assert_eq!(labels["io.polyarch.rootfs.include"], "tool");
    assert_eq!(labels["io.polyarch.rootfs.date"], "20260711T101637Z");

    // Once more, made anew, it is the same; and so from the lock alone.
    let again = build(&cx, mirror, &["--include", "tool", "-o", "oci:images:small", "--no-cache"]).success();
    assert_eq!(out, again);
    let kept = build(&cx, mirror, &["--include", "tool", "-o", "oci:images:small"]);
    assert!(kept.stderr.contains("it was made before"), "{}", kept.stderr);
    assert_eq!(out, kept.success());
    fs::remove_dir_all(archive.path("dists")).unwrap();
    let locked =
        build(&cx, mirror, &["--lock", "small.lock", "-o", "oci:images:small", "--no-cache"]).success();
    assert_eq!(out, locked);
    let err =
        build(&cx, mirror, &["--lock", "small.lock", "--include", "data", "-o", "oci:images:x"]).failure(2);
    assert!(err.contains("is for the include `tool`, and `data` was asked for"), "{err}");

    let script = "test $(stat -c %u root/etc/base.conf) = 65534 && cat root/usr/lib/tool/data";
    build(&cx, mirror, &["--lock", "small.lock", "-o", "./root"]).success();
    assert_eq!(ran(cx.command("sh").args(["-c", script])).success(), "data");
    let err = build(&cx, mirror, &["--lock", "small.lock", "-o", "./root"]).failure(2);
    assert!(err.contains("`./root` is not empty"), "{err}");
    assert_eq!(names(&cx.path("home/.cache/polyarch/run")), ["lock"]);
}

#[test]
fn what_fails_leaves_nothing_and_says_why() {
    let cx = Cx::new();
    // What cannot be packed.
    let noise: Vec<u8> = (0..2000_u32).flat_map(|at| sha256(&at.to_be_bytes()).into_bytes()).collect();
    let huge: &[File<'_>] = &[("usr/share/huge", &noise, 0o644)];
    let same: &[File<'_>] = &[("bin/rm", b"another", 0o755)];
    let broken: &[File<'_>] = &[("DEBIAN/postinst", b"#!/bin/sh\necho it went wrong\nexit 9\n", 0o755)];
    let archive = system(
        &cx,
        &[
            ("huge", "", huge),
            ("needy", "Depends: nowhere (>= 2)\n", &[]),
            ("hostile", "Conflicts: huge\n", &[]),
            ("same", "", same),
            ("heir", "Replaces: base\n", same),
            ("broken", "", broken),
        ],
    );
    let server = Server::new(archive.folder());
    let mirror = server.url("");
    let expect = |args: &[&str], words: &[&str]| {
        let args = [args, &["-o", "small"]].concat();
        let err = build(&cx, &mirror, &args).failure(2);
        for word in words {
            assert!(err.contains(word), "{args:?}: no `{word}` in {err}");
        }
        assert_eq!(left(&cx), [""; 0], "{args:?}: {err}");
    };
    expect(&["--include", "none"], &["choosing the packages", "no package `none`"]);
    expect(&["--include", "needy"], &["`needy` depends on `nowhere (>= 2)`"]);
    expect(&["--include", "huge,hostile"], &["`hostile` does not go with `huge`"]);
    expect(&["--include", "same"], &["`same` and `base` both hold `usr/bin/rm`"]);
    expect(&["--include", "broken"], &["configuring the packages failed", "it went wrong"]);
    expect(&["--suite", "other"], &["has no suite `other`"]);
    expect(&["--component", "main,extra"], &["no packages of `extra`"]);

    let deb = "pool/main/huge_2.0-1_all.deb";
    let whole = fs::read(archive.path(deb)).unwrap();
    // A package that breaks off is gone on with, and one that does not come at all is an error.
    server.fail(deb, [Fault::Truncate(whole.len() / 2), Fault::Refuse]);
    build(&cx, &mirror, &["--include", "huge", "-o", "oci:images:huge"]).success();
    let cache = cx.path("home/.cache/polyarch");
    let forget = || {
        for folder in ["rootfs", "debian/packages"] {
            let _ = fs::remove_dir_all(cache.join(folder));
        }
    };
    forget();
    server.fail(deb, [Fault::Truncate(9), Fault::Truncate(1), Fault::Truncate(1), Fault::Truncate(1)]);
    expect(&["--include", "huge"], &["fetching the package `huge`", "receiving"]);
    // Another archive's packages are not looked for in Debian's.
    forget();
    server.fail(deb, [Fault::Status(404)]);
    expect(&["--include", "huge"], &["fetching the package `huge`", "answered 404"]);
    forget();
    let mut other = whole.clone();
    other[1000] ^= 1;
    fs::write(archive.path(deb), &other).unwrap();
    expect(&["--include", "huge"], &["fetching the package `huge`"]);
    forget();
    expect(&["--include", "huge"], &["expected SHA-256", "name another with `--mirror`"]);
    fs::write(archive.path(deb), &whole).unwrap();

    // The list: signed by another, changed, expired.
    let path = archive.path("dists/small/InRelease");
    let signed = fs::read_to_string(&path).unwrap();
    fs::write(&path, signed.replace("Origin: packages", "Origin: packagez")).unwrap();
    expect(&[], &["does not hold", "do not trust this mirror"]);
    let other = Archive::new(&cx, "other");
    fs::copy(other.keyring(), cx.path("keys.gpg")).unwrap();
    fs::write(&path, &signed).unwrap();
    expect(&[], &["keys that the keyring does not have", "--keyring"]);
    fs::copy(archive.keyring(), cx.path("keys.gpg")).unwrap();
    let release = archive.path("dists/small/Release");
    let text = fs::read_to_string(&release).unwrap();
    fs::write(&release, text.replace("SHA256:", "Valid-Until: Sat, 18 Jul 2026 10:16:37 UTC\nSHA256:"))
        .unwrap();
    archive.sign("small");
    expect(&[], &["was valid until Sat, 18 Jul 2026", "out of date"]);
    server.fail("dists/small/InRelease", [Fault::Status(500); 4]);
    expect(&[], &["answered 500"]);
}

#[test]
fn files_of_replaced_packages_are_their_heirs() {
    let cx = Cx::new();
    let heir: &[File<'_>] = &[("etc/base.conf.d/x", b"heir's", 0o644), ("var/log/keep", b"heir's", 0o600)];
    let archive = system(&cx, &[("heir", "Replaces: base (<< 2:0)\n", heir)]);
    let mirror = archive.folder().to_str().unwrap();
    build(&cx, mirror, &["--include", "heir", "-o", "./root"]).success();
    let root = cx.path("root");
    assert_eq!(fs::read_to_string(root.join("var/log/keep")).unwrap(), "heir's");
    let list = |name: &str| fs::read_to_string(root.join(format!("var/lib/dpkg/info/{name}.list"))).unwrap();
    assert!(list("heir").contains("/var/log/keep\n"));
    assert!(!list("base").contains("/var/log/keep\n"), "{}", list("base"));
}

#[test]
fn one_id_is_not_enough_and_is_told_before_anything_is_fetched() {
    let cx = Cx::new();
    let archive = system(&cx, &[]);
    cx.file("small.toml", RECIPE);
    let mut command = cx.as_nobody(env!("CARGO_BIN_EXE_polyarch"));
    command.args([
        "rootfs",
        "build",
        "./small.toml",
        "--suite",
        "small",
        "--keyring",
        "keys.gpg",
        "--mirror",
    ]);
    let err = ran(command.arg(archive.folder()).args(["-o", "x", "--target", HERE.1])).failure(2);
    assert!(err.contains("only one can be had") && err.contains("polyarch doctor"), "{err}");
    assert!(names(&cx.path("home/.cache/polyarch/debian/packages")).is_empty());
    assert!(!Path::new(&cx.path("home/.local/share/polyarch/store")).exists());
}

/// A root file system as others make them: everything beneath a folder, with a device, a hard link and a program of a user.
fn tarball() -> Vec<u8> {
    use tar::EntryType::{Char, Directory, Link, Regular, Symlink};
    let mut builder = tar::Builder::new(Vec::new());
    let mut put = |kind: tar::EntryType, path: &str, link: &str, content: &[u8], mode: u32, owner: u64| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_600_000_000);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_size(content.len() as u64);
        if kind == Char {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        if link.is_empty() {
            builder.append_data(&mut header, format!("./root-1.0/{path}"), content).unwrap();
        } else {
            builder.append_link(&mut header, format!("./root-1.0/{path}"), link).unwrap();
        }
    };
    put(Directory, "", "", b"", 0o755, 0);
    put(Directory, "bin/", "", b"", 0o755, 0);
    put(Regular, "bin/tool", "", b"tool", 0o4755, 0);
    put(Link, "usr/bin/other", "./root-1.0/bin/tool", b"", 0o4755, 0);
    put(Symlink, "usr/lib64/x", "../lib", b"", 0o777, 0);
    put(Regular, "lib64/data", "", b"data", 0o640, 33);
    put(Char, "dev/null", "", b"", 0o666, 0);
    put(Regular, "etc/passwd", "", b"root:x:0:0::/:/bin/sh\n", 0o644, 0);
    builder.into_inner().unwrap()
}

#[test]
fn a_tar_file_becomes_an_image_with_all_that_it_holds_whoever_makes_it() {
    let cx = Cx::new();
    let plain = tarball();
    cx.file("served/root.tar", &plain);
    ran(cx.command("gzip").arg("-k").arg(cx.path("served/root.tar"))).success();
    let packed = fs::read(cx.path("served/root.tar.gz")).unwrap();
    // The server takes what follows the name for a part of it.
    cx.file("served/root.tar.gz?token=secret", &packed);
    let server = Server::new(&cx.path("served"));
    let recipe = |merge: bool, digest: &str| {
        format!(
            "name = \"theirs\"\ndescription = \"a test's\"\nkind = \"tarball\"\n[[tarball]]\ntargets = [\"routeros/mmips\"]\n\
             url = \"{}?token=secret\"\nsha256 = \"{digest}\"\nstrip = 1\nmerge-usr = {merge}\n[config]\ncmd = [\"/bin/tool\"]\n",
            server.url("root.tar.gz")
        )
    };
    let digest = sha256(&packed);
    let digest = digest.strip_prefix("sha256:").unwrap_or(&digest);
    cx.file("plain.toml", recipe(false, digest));
    cx.file("merged.toml", recipe(true, digest));
    // A user without any ids but their own.
    let build = |args: &[&str]| {
        let mut command = cx.as_nobody(env!("CARGO_BIN_EXE_polyarch"));
        ran(command.args(["-v", "rootfs", "build", "--target", "routeros/mmips"]).args(args))
    };
    let list = |image: &str| {
        let archive = cx.path("image.tar");
        let to = format!("docker-archive:{}", archive.display());
        ran(cx.polyarch().args(["copy", image, &to])).success();
        let script = "rm -rf unpacked && mkdir unpacked && tar -xf image.tar -C unpacked && tar --numeric-owner -tvf unpacked/*/layer.tar | \
                      awk '{ $4 = $5 = \"\"; print }' | tr -s ' '";
        ran(cx.command("sh").args(["-c", script])).success()
    };
    let one = build(&["./plain.toml", "-o", "oci:images:plain"]).success();
    let files = list("oci:images:plain");
    for line in [
        "-rwsr-xr-x 0/0 4 bin/tool",
        "hrwsr-xr-x 0/0 0 usr/bin/other link to bin/tool",
        "-rw-r----- 33/33 4 lib64/data",
        "crw-rw-rw- 0/0 1,3 dev/null",
    ] {
        assert!(files.lines().any(|found| found == line), "no `{line}` in\n{files}");
    }
    assert_eq!(build(&["./plain.toml", "-o", "oci:images:plain", "--no-cache"]).success(), one);
    assert_eq!(server.requests("root.tar.gz?token=secret").len(), 1, "the cache has the file");
    let facts: Value = serde_json::from_str(
        &ran(cx.polyarch().args(["image", "inspect", "oci:images:plain", "--format", "json"])).success(),
    )
    .unwrap();
    let config = &facts["images"][0]["config"];
    assert_eq!((config["architecture"].as_str(), config["os"].as_str()), (Some("mipsle"), Some("linux")));
    assert_eq!(config["config"]["Labels"]["io.polyarch.rootfs.url"], server.url("root.tar.gz"));
    build(&["./merged.toml", "-o", "oci:images:merged"]).success();
    let files = list("oci:images:merged");
    for line in [
        "-rwsr-xr-x 0/0 4 usr/bin/tool",
        "hrwsr-xr-x 0/0 0 usr/bin/other link to usr/bin/tool",
        "lrwxrwxrwx 0/0 0 lib64 -> usr/lib64",
        "-rw-r----- 33/33 4 usr/lib64/data",
    ] {
        assert!(files.lines().any(|found| found == line), "no `{line}` in\n{files}");
    }
    // To a folder, for somebody with ids: owners are theirs, and what only root can make is told.
    let mut command = cx.granted("");
    let made =
        ran(command.args(["rootfs", "build", "./plain.toml", "--target", "routeros/mmips", "-o", "./root"]));
    assert!(made.stderr.contains("1 device nodes were left out"), "{}", made.stderr);
    made.success();
    let owner = ran(cx.command("stat").args(["-c", "%u %a", "root/lib64/data", "root/bin/tool"])).success();
    assert_eq!(owner, "200032 640\n65534 4755\n");
}

#[test]
fn a_tar_file_that_is_another_or_none_is_refused() {
    let cx = Cx::new();
    cx.file("served/root.tar", tarball());
    cx.file("served/text", "no tar file at all");
    let server = Server::new(&cx.path("served"));
    let url = server.url("root.tar");
    let zeros = "0".repeat(64);
    let build = |args: &[&str]| {
        let base = ["rootfs", "build", "gentoo", "--target", "linux/ppc", "-o", "theirs"];
        let err = cx.run(base.iter().chain(args)).failure(2);
        assert_eq!(left(&cx), [""; 0], "{args:?}: {err}");
        err
    };
    assert!(build(&[]).contains("give one with `--url`"));
    assert!(build(&["--url", &url]).contains("give it with `--sha256`"));
    assert!(build(&["--url", &url, "--sha256", "12"]).contains("no SHA-256 digest"));
    let err = build(&["--url", &url, "--sha256", &zeros]);
    assert!(
        err.contains(&format!("`{url}` is not the file that is meant: expected sha256:{zeros}")),
        "{err}"
    );
    assert!(build(&["--suite", "x"]).contains("no use for `--suite`"));
    let digest = |name: &str| {
        let digest = sha256(&fs::read(cx.path(format!("served/{name}"))).unwrap());
        digest.strip_prefix("sha256:").unwrap_or(&digest).to_owned()
    };
    let err = build(&["--url", &server.url("text"), "--sha256", &digest("text")]);
    assert!(err.contains("is no root file system") || err.contains("reading `"), "{err}");
    // Nothing of a root at the top, for it is all in a folder.
    let err = build(&["--url", "served/root.tar", "--sha256", &digest("root.tar")]);
    assert!(err.contains("neither `/usr` nor `/bin` nor `/etc`"), "{err}");
    server.fail("root.tar", [Fault::Status(404)]);
    assert!(build(&["--url", &url, "--sha256", &zeros]).contains("answered 404"));
}

/// A recipe whose stages make the root, on a system as above.
const STAGES: &str = r#"
name = "stages"
description = "a test's"
kind = "containerfile"
[containerfile]
context = "stages"
variant = "plain"
variants = ["plain", "more"]
suite = "small"
include = ["tool"]
sources = ["hello"]
[[containerfile.machine]]
targets = ["linux/mips"]
[[containerfile.machine]]
targets = ["routeros/mipsbe"]
args = { GREETING = "hello" }
[config]
cmd = ["/greet"]
"#;

/// Its steps: files of the builder, of the recipe's folder and of a source package come together; there is no network.
const STEPS: &str = r#"
FROM --platform=$BUILDPLATFORM builder AS made
ARG GREETING
ARG TARGETPLATFORM
COPY words /words
RUN --mount=type=bind,from=source,source=hello,target=/source b=/bin/busybox; $b mkdir -p /out/etc; \
    echo "$GREETING $($b cat /words /usr/lib/tool/data /source/hello_1.0-2.tar | $b tr '\n' ' ')for $TARGETPLATFORM" >/out/greet; \
    $b ls /source | $b tr '\n' ' ' >/out/etc/list; $b ip -o link | $b wc -l >/out/etc/links; $b chmod 4711 /out/greet
FROM scratch AS plain
COPY --from=made /out/ /
FROM plain AS more
COPY words /more
"#;

#[test]
fn stages_of_a_containerfile_become_a_root() {
    let cx = Cx::new();
    let tool: &[File<'_>] = &[("usr/lib/tool/data", b"data\n", 0o644)];
    let archive = system(&cx, &[("tool", "", tool), ("apt", "", &[])]);
    let server = Server::new(archive.folder());
    fs::create_dir(cx.path("stages")).unwrap();
    cx.file("stages.toml", STAGES);
    cx.file("stages/Containerfile", STEPS);
    cx.file("stages/words", "big\n");
    ran(cx.command("chmod").args(["745", "stages/words"])).success();
    let stages = |args: &[&str]| {
        let mut command = cx.granted("");
        command.env_remove("SOURCE_DATE_EPOCH").args(["-v", "rootfs", "build", "./stages.toml", "--keyring"]);
        ran(command.args(["keys.gpg", "--mirror", &server.url("")]).args(args))
    };
    let mipsbe = |args: &[&str]| stages(&[&["--target", "routeros/mipsbe"], args].concat());

    // Sources: missing, another than the signed index says. Nothing is kept then.
    let tar = "pool/main/hello/hello_1.0-2.tar";
    server.fail(tar, [Fault::Status(404)]);
    let err = mipsbe(&["-o", "oci:images:x"]).failure(2);
    assert!(err.contains("fetching the package `hello`") && err.contains("answered 404"), "{err}");
    fs::write(archive.path(tar), "worms\n").unwrap();
    let err = mipsbe(&["-o", "oci:images:x"]).failure(2);
    assert!(err.contains("fetching the package `hello`") && err.contains("expected SHA-256"), "{err}");
    fs::write(archive.path(tar), "world\n").unwrap();
    assert!(!cx.path("images").exists());

    let out = mipsbe(&["-o", "oci:images:greet"]).success();
    mipsbe(&["-o", "./root"]).success();
    let read = |path: &str| fs::read_to_string(cx.path(path)).unwrap();
    assert_eq!(read("root/greet"), "hello big data world for linux/mips\n");
    assert_eq!(read("root/etc/list"), "hello_1.0-2.dsc hello_1.0-2.tar ");
    assert_eq!(read("root/etc/links").trim(), "1", "the steps have a network");
    let facts: Value = serde_json::from_str(
        &ran(cx.polyarch().args(["image", "inspect", "oci:images:greet", "--format", "json"])).success(),
    )
    .unwrap();
    let config = &facts["images"][0]["config"];
    assert_eq!((&config["architecture"], &config["config"]["Cmd"][0]), (&"mips".into(), &"/greet".into()));
    assert_eq!(config["config"]["Labels"]["io.polyarch.rootfs.sources"], "hello=1.0-2");

    // It is made once; made anew, it is the same.
    let kept = mipsbe(&["-o", "oci:images:greet"]);
    assert!(kept.stderr.contains("it was made before"), "{}", kept.stderr);
    assert_eq!(kept.success(), out);
    assert_eq!(mipsbe(&["-o", "oci:images:greet", "--no-cache"]).success(), out);
    mipsbe(&["-o", "./more", "--variant", "more"]).success();
    assert_eq!(read("more/more"), "big\n");
    // Whether it may be executed, and no more, is as it is there.
    assert_eq!(fs::metadata(cx.path("more/more")).unwrap().permissions().mode() & 0o7777, 0o755);
    cx.file("stages/words", "small\n");
    mipsbe(&["-o", "./small"]).success();
    assert_eq!(read("small/greet"), "hello small data world for linux/mips\n");
    assert_eq!(names(&cx.path("home/.cache/polyarch/run")), ["lock"]);

    // What a step says is told with its place, and so is what the recipe does not have.
    cx.file("stages/Containerfile", STEPS.replace("$b mkdir", "echo it went wrong; exit 9; mkdir"));
    let err = mipsbe(&["-o", "./none"]).failure(2);
    assert!(err.contains("stopped at line 6 of the Containerfile") && err.contains("it went wrong"), "{err}");
    assert!(!cx.path("none").exists());
    let err = stages(&["--target", "linux/amd64", "-o", "./none"]).failure(2);
    assert!(err.contains("it is for linux/mips, routeros/mipsbe"), "{err}");
    let err = mipsbe(&["--variant", "huge", "-o", "./none"]).failure(2);
    assert!(err.contains("no variant `huge`") && err.contains("plain, more"), "{err}");
    let err = mipsbe(&["--lock", "x", "-o", "./none"]).failure(2);
    assert!(err.contains("is made by stages, which has no use for `--lock`"), "{err}");
    let err = mipsbe(&["--sources", "none", "-o", "./none"]).failure(2);
    assert!(err.contains("is made by stages, which has no use for `--sources`"), "{err}");
    for (line, what) in [
        ("FROM alpine:3\n", "alpine:3"),
        ("FROM scratch AS x\nCOPY --from=alpine:3 /a /\n", "alpine:3"),
        ("FROM scratch AS x\nADD https://example.invalid/a /\n", "https://example.invalid/a"),
        ("FROM builder AS x\nRUN --mount=from=alpine:3,target=/x true\n", "alpine:3"),
    ] {
        cx.file("stages/Containerfile", format!("{line}{STEPS}"));
        let err = mipsbe(&["-o", "./none"]).failure(2);
        assert!(err.contains(&format!("takes `{what}` at line")), "{line}: {err}");
    }
    cx.file("stages/Containerfile", STEPS);
    std::os::unix::fs::symlink("/etc/passwd", cx.path("stages/link")).unwrap();
    let err = mipsbe(&["-o", "./none"]).failure(2);
    assert!(err.contains("stages/link") && err.contains("plain files alone"), "{err}");
    fs::remove_file(cx.path("stages/link")).unwrap();
    cx.file("stages.toml", STAGES.replace("[\"hello\"]", "[\"nowhere\"]"));
    let err = mipsbe(&["-o", "./none"]).failure(2);
    assert!(err.contains("finding the source packages") && err.contains("`nowhere`"), "{err}");
    fs::remove_file(cx.path("stages/Containerfile")).unwrap();
    cx.file("stages.toml", STAGES);
    let err = mipsbe(&["-o", "./none"]).failure(2);
    assert!(err.contains("the `Containerfile` of the recipe's folder `stages` is missing"), "{err}");
}
