//! `bundle`: images that carry a program and its emulator, in both forms, the same each time.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::cc::{Cc, compile};
use crate::support::probe::{bundle, names, probe};
use crate::support::{Cx, ran};

const MIPS: &str = "mips-linux-gnu";

/// Every file under a folder, and what is in it.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in names(folder) {
        let path = folder.join(&name);
        if path.is_dir() {
            files
                .extend(contents(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            files.insert(name, fs::read(path).unwrap());
        }
    }
    files
}

fn skopeo(cx: &Cx, args: &[&str]) -> Value {
    let out = ran(cx.command("/usr/bin/skopeo").arg("--insecure-policy").args(args)).success();
    serde_json::from_str(&out).unwrap_or(Value::Null)
}

/// Runs `bundle` and gives the digest it prints.
fn digest(cx: &Cx, args: &[&str]) -> String {
    let out = ran(cx.polyarch().arg("bundle").args(args)).success();
    let (_, digest) = out.trim_end().rsplit_once(' ').unwrap();
    assert!(digest.starts_with("sha256:") && digest.len() == 71, "{out}");
    digest.to_owned()
}

#[test]
fn the_same_bundle_is_the_same_bytes() {
    let cx = Cx::new();
    probe(&cx, MIPS, "probe");
    fs::create_dir(cx.path("elsewhere")).unwrap();
    fs::copy(cx.path("probe"), cx.path("elsewhere/probe")).unwrap();
    let first = digest(&cx, &["probe", "-o", "oci:one:t"]);
    let again = digest(&cx, &["elsewhere/probe", "-o", "oci:two:t"]);
    assert_eq!(first, again);
    assert_eq!(contents(&cx.path("one")), contents(&cx.path("two")));
    digest(&cx, &["probe", "-o", "docker-archive:one.tar:a"]);
    digest(&cx, &["elsewhere/probe", "-o", "docker-archive:two.tar:a"]);
    assert!(fs::read(cx.path("one.tar")).unwrap() == fs::read(cx.path("two.tar")).unwrap());
    // The same again adds nothing; what differs, differs.
    digest(&cx, &["probe", "-o", "oci:one:t"]);
    assert_eq!(contents(&cx.path("one")), contents(&cx.path("two")));
    assert_ne!(digest(&cx, &["probe", "-o", "oci:one:u", "-e", "A=1"]), first);
    let later =
        ran(cx.polyarch().env("SOURCE_DATE_EPOCH", "5").args(["bundle", "probe", "-o", "oci:three:t"]));
    assert!(!later.success().contains(&first));
    let wrong =
        ran(cx.polyarch().env("SOURCE_DATE_EPOCH", "x").args(["bundle", "probe", "-o", "oci:four:t"]));
    assert!(wrong.failure(2).contains("`SOURCE_DATE_EPOCH`"));
}

#[test]
fn other_tools_read_what_is_written() {
    let cx = Cx::new();
    probe(&cx, MIPS, "probe");
    let board = cx.run(["target", "show", "linux/mips", "--format", "toml"]).success();
    let board = board
        .replace("\"linux/mips\"\ndesc", "\"my/board\"\ndesc")
        .replace("[qemu]\n", "[qemu]\ncpu = \"24Kc\"\n");
    cx.file("board.toml", board);
    let printed = digest(
        &cx,
        &[
            "probe",
            "-o",
            "oci:dir:t",
            "-e",
            "A=b c",
            "-w",
            "/w",
            "--target",
            "./board.toml",
            "--",
            "uname",
            "-x",
        ],
    );
    let raw = ran(cx.command("/usr/bin/skopeo").args(["inspect", "oci:dir:t"])).success();
    let seen: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(seen["Digest"], printed.as_str());
    assert_eq!((&seen["Architecture"], &seen["Os"]), (&"amd64".into(), &"linux".into()));
    assert_eq!(seen["Created"], "2023-11-14T22:13:20Z");
    assert_eq!(seen["Labels"]["io.polyarch.guest"], "mips");
    assert_eq!(seen["Labels"]["io.polyarch.target"], "my/board");
    let config = skopeo(&cx, &["inspect", "--config", "oci:dir:t"]);
    assert_eq!(config["config"]["Entrypoint"], json!(["/bin/probe"]));
    assert_eq!(config["config"]["Cmd"], json!(["uname", "-x"]));
    assert_eq!(config["config"]["Env"], json!(["A=b c"]));
    assert_eq!(config["config"]["WorkingDir"], "/w");
    let emulator = fs::read("/usr/bin/qemu-mips-static").unwrap();
    let emulator = polyarch::layer::Digest::of(&emulator).to_string();
    assert_eq!(config["config"]["Labels"]["io.polyarch.emulator.digest"], emulator.as_str());
    assert_eq!(config["history"].as_array().unwrap().len(), 1);

    // The compiler's C library uses an FPU, which that board has not; without a target the program runs.
    digest(&cx, &["probe", "-o", "oci:dir:t", "--", "uname"]);
    digest(&cx, &["probe", "-o", "docker-archive:file.tar:registry.example/probe:v1"]);
    let seen = skopeo(&cx, &["inspect", "docker-archive:file.tar"]);
    assert_eq!(seen["Layers"].as_array().unwrap().len(), 1);
    skopeo(&cx, &["copy", "-q", "docker-archive:file.tar:registry.example/probe:v1", "oci:copied:t"]);
    assert_eq!(cx.run(["run", "oci:copied:t"]).success(), "uname -m = mips\n");
    // And what they write, we read: hybrid layouts, gzip, docker's media types.
    skopeo(&cx, &["copy", "-q", "oci:dir:t", "docker-archive:theirs.tar:x:y"]);
    assert_eq!(cx.run(["run", "docker-archive:theirs.tar", "uname"]).success(), "uname -m = mips\n");
    assert_eq!(
        cx.run(["run", "docker-archive:theirs.tar:docker.io/library/x:y"]).success(),
        "uname -m = mips\n"
    );
    let err = cx.run(["run", "docker-archive:theirs.tar:other"]).failure(125);
    assert!(err.contains("no image called `other:latest`") && err.contains("x:y"), "{err}");
    ran(cx.command("gzip").arg("theirs.tar")).success();
    assert_eq!(cx.run(["run", "docker-archive:theirs.tar.gz"]).success(), "uname -m = mips\n");
    skopeo(&cx, &["copy", "-q", "--format", "v2s2", "oci:dir:t", "oci:v2s2:t"]);
    skopeo(&cx, &["copy", "-q", "--dest-compress-format", "zstd", "oci:dir:t", "oci:zstd:t"]);
    assert_eq!(cx.run(["run", "oci:zstd"]).success(), "uname -m = mips\n");
}

#[test]
fn a_docker_archive_holds_what_every_reader_knows_and_no_more() {
    let cx = Cx::new();
    probe(&cx, MIPS, "probe");
    let id = digest(&cx, &["probe", "-o", "docker-archive:file.tar:probe"]);
    let bytes = fs::read(cx.path("file.tar")).unwrap();
    assert_eq!(bytes.len() % 512, 0);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut seen = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert!(header.as_ustar().is_some());
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        seen.push((name, content));
    }
    let names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    let layer = polyarch::layer::Digest::of(&seen[1].1).hex();
    let config = format!("{}.json", id.trim_start_matches("sha256:"));
    let (folder, file) = (format!("{layer}/"), format!("{layer}/layer.tar"));
    assert_eq!(names, [folder.as_str(), file.as_str(), config.as_str(), "manifest.json"]);
    let manifest: Value = serde_json::from_slice(&seen[3].1).unwrap();
    assert_eq!(manifest, json!([{"Config": config, "RepoTags": ["probe:latest"], "Layers": [file]}]));

    let mut inner = tar::Archive::new(seen[1].1.as_slice());
    let listed: Vec<(String, u32)> = inner
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (String::from_utf8_lossy(&entry.path_bytes()).into_owned(), entry.header().mode().unwrap())
        })
        .collect();
    let expected = [
        (".polyarch/", 0o755),
        (".polyarch/manifest.json", 0o644),
        (".polyarch/qemu-mips", 0o755),
        ("bin/", 0o755),
        ("bin/.probe.guest", 0o755),
        ("bin/probe", 0o755),
    ];
    assert_eq!(listed, expected.map(|(name, mode)| (name.to_owned(), mode)));
}

#[test]
fn the_host_gets_no_emulator_for_what_it_runs_itself() {
    let cx = Cx::new();
    for triple in ["i686-linux-gnu", "x86_64-linux-gnu"] {
        let image = bundle(&cx, triple, "native");
        let config = skopeo(&cx, &["inspect", "--config", &image]);
        assert_eq!(config["config"]["Entrypoint"], json!(["/bin/native"]));
        assert_eq!(config["config"]["Labels"]["io.polyarch.emulator"], Value::Null);
    }
    let err =
        cx.run(["bundle", "native", "-o", "oci:x:t", "--emulator", "/usr/bin/qemu-i386-static"]).failure(2);
    assert!(err.contains("leave `--emulator` out"), "{err}");
}

#[test]
fn what_cannot_be_bundled_is_refused_and_leaves_nothing() {
    let cx = Cx::new();
    let hello = "int main(void) { return 0; }";
    let dynamic = compile(&Cc { triple: MIPS, flags: &[], source: hello });
    let object = compile(&Cc { triple: MIPS, flags: &["-c"], source: hello });
    fs::copy(dynamic, cx.path("dynamic")).unwrap();
    fs::copy(object, cx.path("object")).unwrap();
    let native = compile(&Cc { triple: "x86_64-linux-gnu", flags: &["-static"], source: hello });
    fs::copy(native, cx.path("native")).unwrap();
    probe(&cx, MIPS, "probe");
    cx.file("text", format!("#!/bin/sh\n{}", "true\n".repeat(20)));
    cx.file("short", "\x7fELF");
    let whole = fs::read(cx.path("probe")).unwrap();
    cx.file("cut", &whole[..60]);
    fs::create_dir(cx.path("empty")).unwrap();
    let before = names(&cx.path(""));
    for (args, words) in [
        (vec!["dynamic"], "dynamically linked: it needs `/lib/ld.so.1`"),
        (vec!["dynamic"], "`--from deb:PACKAGE`"),
        (vec!["object"], "no executable"),
        (vec!["text"], "is a script of `/bin/sh`"),
        (vec!["short"], "cut short"),
        (vec!["cut"], "beyond the end of the file"),
        (vec!["missing"], "reading `missing`"),
        (vec!["/usr/bin"], "it is no file"),
        (vec!["dynamic", "--from", "empty"], "needs what is not there: /lib/ld.so.1"),
        (vec!["probe", "--from", "empty", "--from", "deb:x"], "`--from` takes one image or folder"),
        (vec!["/bin/sh", "--from", "deb:dash"], "give `--target` or `--platform`"),
        (vec!["probe", "--entrypoint", "[1]"], "no JSON array of words"),
        (vec!["probe", "--port", "x"], "a port is given as"),
        (vec!["probe", "--passwd", "--user", "me"], "`me` is no number"),
        (vec!["probe", "--timezone", "../passwd"], "the time zone `../passwd` cannot be found"),
        (vec!["probe", "--include", "/no/such"], "reading `/no/such`"),
        (vec!["--rootfs", "empty"], "holds no program that linux/amd64 does not run"),
        (vec!["probe", "--target", "linux/arm64"], "the target `linux/arm64` runs aarch64"),
        (vec!["probe", "--target", "routeros/mipsbe"], "its float ABI is hard, and the target takes soft"),
        (vec!["probe", "--emulator", "/usr/bin/true"], "dynamically linked"),
        (
            vec!["probe", "--emulator", "/usr/bin/qemu-arm-static"],
            "runs programs for arm, and mips is wanted",
        ),
        (vec!["probe", "--emulator", "native"], "does not answer `--version`"),
        (vec!["probe", "--host", "nonsense"], "no target is called"),
    ] {
        for output in ["oci:new:t", "docker-archive:new.tar"] {
            let err = cx.run([&["bundle", "-o", output], args.as_slice()].concat()).failure(2);
            assert!(err.contains(words), "{args:?}: {err}");
            assert_eq!(names(&cx.path("")), before, "{args:?}");
        }
    }
    cx.run(["bundle", "probe", "-o", "docker-archive:no/such/folder.tar"]).failure(2);
    cx.run(["bundle", "probe", "-o", "docker-archive:home"]).failure(2);
    assert_eq!(names(&cx.path("")), before);
}

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let cx = Cx::new();
    probe(&cx, MIPS, "probe");
    digest(&cx, &["probe", "-o", "docker-archive:file.tar"]);
    digest(&cx, &["probe", "-o", "oci:dir:t"]);
    let (file, dir) = (fs::read(cx.path("file.tar")).unwrap(), contents(&cx.path("dir")));
    let before = names(&cx.path(""));
    for output in ["docker-archive:file.tar:other", "oci:dir:other"] {
        // A limit on the size of files stands for a full disk; its signal would end the program first.
        let mut limited = cx.command("/usr/bin/env");
        limited.args(["--ignore-signal=XFSZ", "/usr/bin/prlimit", "--fsize=1000000"]);
        limited.args([env!("CARGO_BIN_EXE_polyarch"), "bundle", "probe", "-e", "X=1", "-o", output]);
        let err = ran(&mut limited).failure(2);
        assert!(err.contains("File too large"), "{err}");
        assert!(fs::read(cx.path("file.tar")).unwrap() == file);
        assert_eq!(contents(&cx.path("dir")), dir, "{output}");
        assert_eq!(names(&cx.path("")), before, "{output}");
    }
}

#[test]
fn many_write_to_one_layout_at_once() {
    let cx = Cx::new();
    probe(&cx, MIPS, "probe");
    let children: Vec<_> = (0..6)
        .map(|number| {
            let variable = format!("N={number}");
            let output = format!("oci:shared:t{number}");
            cx.polyarch()
                .args(["bundle", "probe", "-e", &variable, "-o", &output])
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    for number in 0..6 {
        let config = skopeo(&cx, &["inspect", "--config", &format!("oci:shared:t{number}")]);
        assert_eq!(config["config"]["Env"], json!([format!("N={number}")]));
    }
    assert_eq!(names(&cx.path("shared")), ["blobs", "index.json", "oci-layout"]);
    let err = cx.run(["run", "oci:shared"]).failure(125);
    assert!(err.contains("6 images and none was chosen") && err.contains("`t0`"), "{err}");
    let err = cx.run(["run", "oci:shared:no"]).failure(125);
    assert!(err.contains("no image called `no`"), "{err}");
}

#[test]
fn every_damaged_blob_is_noticed() {
    let cx = Cx::new();
    let image = bundle(&cx, MIPS, "probe");
    let blobs = cx.path("images/blobs/sha256");
    assert_eq!(names(&blobs).len(), 3);
    for name in names(&blobs) {
        let whole = fs::read(blobs.join(&name)).unwrap();
        let mut changed = whole.clone();
        let last = changed.len() - 1;
        changed[last] ^= 0x20;
        for (what, bytes) in
            [("changed", changed), ("cut", whole[..last].to_vec()), ("longer", [&whole[..], b" "].concat())]
        {
            fs::write(blobs.join(&name), bytes).unwrap();
            let err = cx.run(["run", &image]).failure(125);
            assert!(
                ["digest", "size", "OCI layout", "gzip"].iter().any(|word| err.contains(word)),
                "{what}: {err}"
            );
        }
        fs::write(blobs.join(&name), whole).unwrap();
    }
    cx.run(["run", &image]).success();
    assert_eq!(names(&cx.path("home/.cache/polyarch/run")), ["lock"]);

    digest(&cx, &["probe", "-o", "docker-archive:file.tar"]);
    let whole = fs::read(cx.path("file.tar")).unwrap();
    let mut refused = 0;
    for at in [1500, whole.len() / 2, whole.len() - 2600] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        cx.file("file.tar", changed);
        // What was unpacked before is not read again.
        let mut run = cx.polyarch();
        run.env("POLYARCH_CACHE_DIR", cx.path(format!("cache{at}"))).args(["run", "docker-archive:file.tar"]);
        refused += i32::from(ran(&mut run).status == 125);
    }
    assert_eq!(refused, 3);
    for cut in [0, 100, 1024, whole.len() / 2, whole.len() - 3000] {
        cx.file("file.tar", &whole[..cut]);
        let mut run = cx.polyarch();
        run.env("POLYARCH_CACHE_DIR", cx.path(format!("cut{cut}"))).args(["run", "docker-archive:file.tar"]);
        ran(&mut run).failure(125);
    }
}

#[test]
fn indexes_are_searched_for_the_platform() {
    let cx = Cx::new();
    bundle(&cx, MIPS, "probe");
    let index = cx.path("images/index.json");
    let read: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let mut mine = read["manifests"][0].clone();
    mine.as_object_mut().unwrap().remove("annotations");
    let put = |value: &Value| {
        let bytes = serde_json::to_vec(value).unwrap();
        let digest = polyarch::layer::Digest::of(&bytes);
        fs::write(cx.path("images/blobs/sha256").join(digest.hex()), &bytes).unwrap();
        (digest.to_string(), bytes.len())
    };
    let entry = |(digest, size): (String, usize), kind: &str, platform: Value| json!({"mediaType": kind, "digest": digest, "size": size, "platform": platform});
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let list = "application/vnd.oci.image.index.v1+json";
    let (other, size) = put(&json!({"broken": true}));
    let other = |os: &str, arch: &str| {
        entry((other.clone(), size), manifest, json!({"os": os, "architecture": arch}))
    };
    let write = |nested: Value| {
        let mut top = entry(put(&nested), list, Value::Null);
        top.as_object_mut().unwrap().remove("platform");
        top["annotations"] = json!({"org.opencontainers.image.ref.name": "multi"});
        fs::write(&index, json!({"schemaVersion": 2, "manifests": [top]}).to_string()).unwrap();
    };
    let nested = |entries: Vec<Value>| json!({"schemaVersion": 2, "mediaType": list, "manifests": entries});
    write(nested(vec![other("unknown", "unknown"), other("linux", "arm64"), mine.clone()]));
    assert_eq!(cx.run(["run", "oci:images:multi"]).success(), "uname -m = mips\n");
    assert_eq!(cx.run(["run", "oci:images"]).success(), "uname -m = mips\n");
    write(nested(vec![other("linux", "arm64"), other("linux", "s390x"), other("unknown", "unknown")]));
    let err = cx.run(["run", "oci:images:multi"]).failure(125);
    assert!(err.contains("nothing for linux/amd64") && err.contains("`linux/arm64`, `linux/s390x`"), "{err}");
}

#[test]
fn an_archive_takes_no_device_s_or_pipe_s_place_and_follows_links() {
    let cx = Cx::new();
    probe(&cx, MIPS, "probe");
    ran(cx.command("mkfifo").arg("pipe")).success();
    std::os::unix::fs::symlink("real.tar", cx.path("link.tar")).unwrap();
    std::os::unix::fs::symlink("pipe", cx.path("to-pipe")).unwrap();
    for (output, words) in [
        ("docker-archive:pipe", "no regular file"),
        ("docker-archive:to-pipe", "no regular file"),
        ("oci-archive:pipe", "no regular file"),
        ("docker-archive:/dev/null", "no regular file"),
        ("docker-archive:.", "no regular file"),
    ] {
        let err = cx.run(["bundle", "probe", "-o", output]).failure(2);
        assert!(err.contains(words), "{output}: {err}");
    }
    assert!(FileTypeExt::is_fifo(&fs::metadata(cx.path("pipe")).unwrap().file_type()));
    assert!(FileTypeExt::is_char_device(&fs::metadata("/dev/null").unwrap().file_type()));
    cx.run(["bundle", "probe", "-o", "docker-archive:link.tar"]).success();
    assert!(fs::symlink_metadata(cx.path("link.tar")).unwrap().is_symlink());
    assert!(fs::metadata(cx.path("real.tar")).unwrap().is_file());
    let err = cx.run(["run", "docker-archive:probe"]).failure(125);
    assert!(err.contains("no tar archive"), "{err}");
}

#[test]
fn a_layout_without_names_has_the_image_that_was_written_last() {
    let cx = Cx::new();
    probe(&cx, MIPS, "first");
    probe(&cx, "powerpc-linux-gnu", "second");
    for program in ["first", "second", "second"] {
        cx.run(["bundle", program, "-o", "oci:dir"]).success();
    }
    assert_eq!(cx.run(["run", "oci:dir", "uname"]).success().trim(), "uname -m = ppc");
    skopeo(&cx, &["inspect", "--config", "oci:dir"]);
}
