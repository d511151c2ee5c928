//! `doctor`: what a machine lacks, with lacks that are made, and why programs with one defect each do not start.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use polyarch::doctor::{CHECKS, REASONS};
use polyarch::image::{self, Access, History, ImageRef, NewImage, NewLayer};
use polyarch::layer::{Content, LayerFile};
use serde_json::Value;

use crate::support::cc::{Cc, compile};
use crate::support::{Cx, Ran, ran};

const MIPS: &str = "mips-linux-gnu";
const MAIN: &str = "#include <math.h>\nint main(int c, char **v) { return (int)cos(c); }\n";

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|err| panic!("{err}\n{}\n{}", ran.stdout, ran.stderr))
}

/// The check `id` of a report: its state, message and Debian's remedy.
fn check(report: &Value, id: &str) -> (String, String, String) {
    let check = report["checks"].as_array().unwrap().iter().find(|check| check["id"] == id).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&check["state"]), text(&check["message"]), text(&check["remedy"]["debian"]))
}

/// The program where everyone may execute it.
fn open_program(cx: &Cx) -> PathBuf {
    let program = cx.path("polyarch");
    if !program.exists() {
        fs::copy(env!("CARGO_BIN_EXE_polyarch"), &program).unwrap();
    }
    program
}

#[test]
fn every_check_is_told_and_documented() {
    let cx = Cx::new();
    let ran = cx.run(["doctor", "--format", "json"]);
    let report = json(&ran);
    let ids: Vec<&str> =
        report["checks"].as_array().unwrap().iter().map(|check| check["id"].as_str().unwrap()).collect();
    assert_eq!(ids, CHECKS);
    let missing = report["checks"].as_array().unwrap().iter().any(|check| check["state"] == "missing");
    assert_eq!(ran.status, i32::from(missing));
    assert_eq!(report["ready"], !missing);
    let native = report["targets"].as_array().unwrap().iter().find(|target| target["chosen"] == "native");
    assert!(native.is_some());
    assert!(crate::emulator::files(&cx.path("home")).is_empty(), "the folder that was tried with is gone");

    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/doctor.md")).unwrap();
    let mut keys: Vec<String> = CHECKS.iter().chain(REASONS).map(|id| (*id).to_owned()).collect();
    let check = &report["checks"][0];
    let (target, way) = (&report["targets"][0], &report["targets"][0]["ways"][0]);
    for object in [&report, check, target, way, &json(&cx.run(["doctor", "--format", "json", "/bin/none"]))] {
        keys.extend(object.as_object().unwrap().keys().cloned());
    }
    keys.retain(|key| !docs.contains(&format!("`{key}`")));
    assert!(keys.is_empty(), "docs/doctor.md does not list {keys:?}");
}

#[test]
fn namespaces_that_are_used_up_are_missing_and_the_limit_is_named() {
    let cx = Cx::new();
    let program = open_program(&cx);
    let script = format!(
        "echo 0 >/proc/sys/user/max_user_namespaces; exec {} doctor --format json",
        program.display()
    );
    let ran = ran(cx.as_nobody("unshare").args(["-Ur", "sh", "-c", &script]));
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    let (state, message, remedy) = check(&json(&ran), "user-namespaces");
    assert_eq!(state, "missing");
    assert!(message.contains("`user.max_user_namespaces`"), "{message}");
    assert!(remedy.contains("user.max_user_namespaces=15000"), "{remedy}");
    assert_eq!(check(&json(&ran), "foreign-programs").0, "missing");
}

#[test]
fn a_user_without_newuidmap_is_told_which_package_has_it() {
    let cx = Cx::new();
    let program = open_program(&cx);
    let path = format!("PATH={}", cx.path("none").display());
    let ran = ran(cx.as_nobody("env").arg(path).arg(&program).args(["doctor", "--format", "json"]));
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    let report = json(&ran);
    let (state, message, remedy) = check(&report, "id-ranges");
    assert_eq!((state.as_str(), remedy.as_str()), ("missing", "apt-get install uidmap"), "{message}");
    assert_eq!(check(&report, "private-binfmt").0, "ok", "an ordinary user has handlers of his own");
    assert_eq!(check(&report, "archive-keys").0, "limited", "gpgv is on that path neither");
}

#[test]
fn what_lies_on_a_noexec_mount_does_not_start() {
    let cx = Cx::new();
    let program = open_program(&cx);
    fs::create_dir(cx.path("mnt")).unwrap();
    let script = format!(
        "mount -t tmpfs -o noexec none mnt && cp /bin/true mnt/true && export POLYARCH_CACHE_DIR=$PWD/mnt/cache && \
         {0} doctor --format json mnt/true; {0} doctor --format json >report",
        program.display()
    );
    let ran = ran(cx.as_nobody("unshare").args(["-Urm", "sh", "-c", &script]));
    let report = json(&ran);
    assert_eq!(ids(&report), ["noexec"]);
    let message = report["verdicts"][0]["message"].as_str().unwrap();
    assert!(message.contains(&format!("`{}`", cx.path("mnt").display())), "{message}");
    let report: Value = serde_json::from_slice(&fs::read(cx.path("report")).unwrap()).unwrap();
    assert_eq!(check(&report, "cache").0, "missing");
}

fn ids(report: &Value) -> Vec<String> {
    let verdicts = report["verdicts"].as_array().unwrap();
    verdicts.iter().map(|verdict| verdict["id"].as_str().unwrap().to_owned()).collect()
}

fn put(root: &Path, name: &str, content: impl AsRef<[u8]>, mode: u32) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&path);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn copy(root: &Path, name: &str, from: impl AsRef<Path>) {
    put(root, name, fs::read(from).unwrap(), 0o755);
}

/// A root of MIPS with a dynamic program, what it needs, and a script.
fn good(root: &Path) {
    // What stands before the source is left out by the linker if it is not told otherwise.
    let program = linked(&["-fno-builtin", "-Wl,--no-as-needed", "-lm"], MAIN);
    copy(root, "bin/main", program);
    for name in ["ld.so.1", "libc.so.6", "libm.so.6"] {
        copy(root, &format!("lib/{name}"), format!("/usr/{MIPS}/lib/{name}"));
    }
    put(root, "bin/script", "#!/bin/main\n", 0o755);
    put(root, "etc/passwd", "root:x:0:0::/:/bin/sh\n", 0o644);
}

fn linked(flags: &[&str], source: &str) -> PathBuf {
    compile(&Cc { triple: MIPS, flags, source })
}

/// What is wrong with `program` of the folder, and of the image that is made of it: the same.
#[track_caller]
fn told(cx: &Cx, root: &Path, program: &str) -> Value {
    let report = json(&cx.run(["doctor", "--format", "json", root.to_str().unwrap(), program]));
    let image = format!("oci:{}", cx.path("image").display());
    let _ = fs::remove_dir_all(cx.path("image"));
    cx.run(["image", "import", root.to_str().unwrap(), &image, "--platform", "linux/mips"]).success();
    let of_image = json(&cx.run(["doctor", "--format", "json", &image, program]));
    assert_eq!(ids(&report), ids(&of_image), "{report:#}\n{of_image:#}");
    assert_eq!(report["chain"], of_image["chain"]);
    report
}

#[test]
fn each_defect_has_its_explanation_in_folders_and_in_images() {
    type Break = fn(&Path);
    let cases: &[(&str, &str, Break, &str)] = &[
        ("", "/bin/main", |_| {}, ""),
        ("", "main", |_| {}, ""),
        ("", "script", |_| {}, ""),
        ("not-on-path", "none", |_| {}, "`/usr/local/sbin:"),
        ("not-found", "/bin/none", |_| {}, "`/bin/none` is not there"),
        (
            "not-found",
            "/bin/link",
            |root| symlink("/opt/x/y", root.join("bin/link")).unwrap(),
            "`/opt` is not",
        ),
        ("circular-link", "/bin/link", |root| symlink("link", root.join("bin/link")).unwrap(), "circle"),
        ("is-folder", "/bin", |_| {}, "folder"),
        ("not-executable", "/bin/x", |root| put(root, "bin/x", "#!/bin/main\n", 0o644), "0644"),
        ("empty", "/bin/x", |root| put(root, "bin/x", "", 0o755), "empty"),
        ("crlf", "/bin/x", |root| put(root, "bin/x", "#!/bin/main\r\nx\r\n", 0o755), "`/bin/main`"),
        ("crlf", "/bin/x", |root| put(root, "bin/x", "#!/usr/bin/env main\r\n", 0o755), "CR LF"),
        ("bom", "/bin/x", |root| put(root, "bin/x", "\u{feff}#!/bin/main\n", 0o755), "byte order mark"),
        ("no-shebang", "/bin/x", |root| put(root, "bin/x", "echo hello\n", 0o755), "text without `#!`"),
        (
            "script-interpreter-missing",
            "/bin/x",
            |root| put(root, "bin/x", "#!/bin/perl\n", 0o755),
            "`/bin/perl`",
        ),
        (
            "env-program-missing",
            "/bin/x",
            |root| {
                fs::copy(root.join("bin/main"), root.join("bin/env")).unwrap();
                put(root, "bin/x", "#!/bin/env -S A=1 python3 -u\n", 0o755);
            },
            "`python3`",
        ),
        ("script-nesting", "/bin/x", |root| put(root, "bin/x", "#!/bin/x\n", 0o755), "fifth"),
        (
            "damaged",
            "/bin/x",
            |root| {
                let whole = fs::read(root.join("bin/main")).unwrap();
                put(root, "bin/x", &whole[..1500], 0o755);
            },
            "damaged",
        ),
        (
            "not-program",
            "/bin/x",
            |root| copy(root, "bin/x", linked(&["-c"], "int x(void) { return 1; }")),
            "REL",
        ),
        (
            "foreign-system",
            "/bin/x",
            |root| put(root, "bin/x", [b"MZ".as_slice(), &[0; 300]].concat(), 0o755),
            "Windows",
        ),
        (
            "loader-missing",
            "/bin/main",
            |root| fs::remove_file(root.join("lib/ld.so.1")).unwrap(),
            "`/lib/ld.so.1`",
        ),
        (
            "loader-missing",
            "script",
            |root| fs::remove_file(root.join("lib/ld.so.1")).unwrap(),
            "`/bin/main`",
        ),
        (
            "loader-not-executable",
            "/bin/main",
            |root| fs::set_permissions(root.join("lib/ld.so.1"), fs::Permissions::from_mode(0o644)).unwrap(),
            "0644",
        ),
        (
            "loader-foreign",
            "/bin/main",
            |root| copy(root, "lib/ld.so.1", "/usr/powerpc-linux-gnu/lib/ld.so.1"),
            "linux/ppc",
        ),
        (
            "loader-of-other-libc",
            "/bin/x",
            |root| {
                let flags = ["-Wl,--dynamic-linker=/lib/ld-musl-mips.so.1"];
                copy(root, "bin/x", linked(&flags, "int main(void) { return 0; }"));
            },
            "musl (`/lib/ld-musl-mips.so.1`), and the root file system has glibc (`/lib/ld.so.1`)",
        ),
        (
            "library-missing",
            "/bin/main",
            |root| fs::remove_file(root.join("lib/libm.so.6")).unwrap(),
            "`libm.so.6`, which is not in /lib/mips-linux-gnu",
        ),
        (
            "library-foreign",
            "/bin/main",
            |root| copy(root, "lib/libm.so.6", "/usr/powerpc-linux-gnu/lib/libm.so.6"),
            "another architecture",
        ),
        ("library-damaged", "/bin/main", |root| put(root, "lib/libm.so.6", "", 0o644), "it is empty"),
        (
            "library-not-in-cache",
            "/bin/main",
            |root| {
                fs::create_dir_all(root.join("opt/lib")).unwrap();
                fs::rename(root.join("lib/libm.so.6"), root.join("opt/lib/libm.so.6")).unwrap();
                put(root, "etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf # all\n", 0o644);
                put(root, "etc/ld.so.conf.d/a.conf", "/opt/lib\n", 0o644);
            },
            "`/opt/lib/libm.so.6`",
        ),
        (
            "library-version",
            "/bin/main",
            |root| {
                let flags =
                    ["-shared", "-fPIC", "-nostdlib", "-Wl,-soname,libm.so.6", "-Wl,--default-symver"];
                copy(root, "lib/libm.so.6", linked(&flags, "double cos(double x) { return x; }"));
            },
            "needs GLIBC_2.0 of `/lib/libm.so.6`",
        ),
        (
            "",
            "/bin/x",
            |root| {
                fs::create_dir_all(root.join("bin/own")).unwrap();
                fs::rename(root.join("lib/libm.so.6"), root.join("bin/own/libm.so.6")).unwrap();
                let flags = ["-fno-builtin", "-Wl,--no-as-needed", "-lm", "-Wl,-rpath,$ORIGIN/own"];
                copy(root, "bin/x", linked(&flags, MAIN));
            },
            "",
        ),
    ];
    for (number, (id, program, broken, said)) in cases.iter().enumerate() {
        let cx = Cx::new();
        let root = cx.path(format!("root-{number}"));
        good(&root);
        broken(&root);
        let report = told(&cx, &root, program);
        let expected: &[&str] = if id.is_empty() { &[] } else { &[id] };
        assert_eq!(ids(&report), expected, "{program}: {report:#}");
        assert_eq!(report["starts"], id.is_empty());
        if !id.is_empty() {
            let message = report["verdicts"][0]["message"].as_str().unwrap();
            assert!(message.contains(said), "{id}: {message}");
            assert!(REASONS.contains(id));
        }
    }
}

#[test]
fn a_program_that_does_not_fit_its_image_or_this_machine() {
    let cx = Cx::new();
    let root = cx.path("root");
    copy(&root, "x", linked(&["-static"], "int main(void) { return 0; }"));
    let image = format!("oci:{}", cx.path("image").display());
    cx.run(["image", "import", "root", &image, "--platform", "linux/ppc"]).success();
    let report = json(&cx.run(["doctor", "--format", "json", &image, "/x"]));
    assert_eq!(ids(&report), ["other-architecture"]);
    // On the machine itself nobody runs it, unless a handler is registered; in a new namespace none is.
    let program = open_program(&cx);
    let ran = ran(cx
        .as_nobody("unshare")
        .args(["-Urm", "sh", "-c", "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && exec \"$@\"", "sh"])
        .arg(&program)
        .args(["doctor", "--format", "json", "root/x"]));
    assert_eq!(ids(&json(&ran)), ["handler-missing"]);
}

#[test]
fn what_an_images_config_asks_for_is_looked_up_in_the_image() {
    let cx = Cx::new();
    let cases: &[(&str, &[&str])] = &[
        ("{}", &["no-program"]),
        (r#"{"Cmd":["/x"],"User":"web"}"#, &["user-unknown"]),
        (r#"{"Cmd":["/x"],"User":"0:web"}"#, &["group-unknown"]),
        (r#"{"Cmd":["/x"],"User":"app"}"#, &["not-executable"]),
        (r#"{"Cmd":["/x"],"User":"1000:7"}"#, &["not-executable"]),
        (r#"{"Cmd":["/x"],"WorkingDir":"/x/y"}"#, &["workdir-not-folder"]),
        (r#"{"Cmd":["/x"],"User":"web","WorkingDir":"/x"}"#, &["user-unknown", "workdir-not-folder"]),
        (r#"{"Entrypoint":["x"],"Env":["PATH=/none:/"]}"#, &[]),
        (r#"{"Entrypoint":["x"]}"#, &["not-on-path"]),
    ];
    let program = fs::read(linked(&["-static"], "int main(void) { return 0; }")).unwrap();
    for (config, expected) in cases {
        let config = format!(
            r#"{{"architecture":"mips","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        );
        let file = |path: &str, mode, content: &[u8]| LayerFile {
            path: path.into(),
            mode,
            content: Content::Bytes(content.to_vec()),
        };
        let layer = NewLayer {
            files: vec![file("etc/passwd", 0o644, b"app:x:1000:1000::/:\n"), file("x", 0o744, &program)],
            time: 0,
        };
        let image = NewImage {
            config: serde_json::from_str(&config).unwrap(),
            layers: vec![(&layer, History::default())],
        };
        let reference = format!("oci:{}:made", cx.path("made").display());
        image::write(&image, &reference.parse::<ImageRef>().unwrap(), &Access::default()).unwrap();
        let report = json(&cx.run(["doctor", "--format", "json", &reference]));
        assert_eq!(ids(&report), *expected, "{config}");
    }
}

#[test]
fn layers_are_seen_as_they_lie_on_each_other() {
    let cx = Cx::new();
    let program = fs::read(linked(&["-static"], "int main(void) { return 0; }")).unwrap();
    let file = |path: &str, mode, content: Content| LayerFile { path: path.into(), mode, content };
    let bytes = |content: &[u8]| Content::Bytes(content.to_vec());
    let lower = NewLayer {
        files: vec![
            file("a/gone", 0o755, bytes(&program)),
            file("a/kept", 0o755, bytes(&program)),
            file("a/replaced", 0o755, bytes(&program)),
            // Neither beneath `etc` nor executable: its content is fetched when it is asked for.
            file("share/users", 0o644, bytes(b"app:x:1000:1000::/:\n")),
        ],
        time: 0,
    };
    let upper = NewLayer {
        files: vec![
            file("a/.wh.gone", 0o644, bytes(b"")),
            file("a/replaced", 0o755, bytes(b"#!/a/gone\n")),
            file("etc/passwd", 0o777, Content::Link("../share/users".into())),
        ],
        time: 0,
    };
    let config = r#"{"architecture":"mips","os":"linux","config":{"User":"app"},"rootfs":{"type":"layers","diff_ids":[]}}"#;
    let image = NewImage {
        config: serde_json::from_str(config).unwrap(),
        layers: vec![(&lower, History::default()), (&upper, History::default())],
    };
    let reference = format!("oci:{}:made", cx.path("made").display());
    image::write(&image, &reference.parse::<ImageRef>().unwrap(), &Access::default()).unwrap();
    for (program, expected) in
        [("/a/kept", &[][..]), ("/a/gone", &["not-found"]), ("/a/replaced", &["script-interpreter-missing"])]
    {
        let report = json(&cx.run(["doctor", "--format", "json", &reference, program]));
        assert_eq!(ids(&report), expected, "{report:#}");
    }
}

#[test]
fn run_says_why_a_program_did_not_start() {
    let cx = Cx::new();
    let root = cx.path("root");
    put(&root, "bin/x", "#!/bin/sh\r\n", 0o755);
    let image = format!("oci:{}", cx.path("image").display());
    cx.run(["image", "import", "root", &image, "--platform", "linux/amd64"]).success();
    let stderr = cx.run(["run", &image, "/bin/x"]).failure(127);
    assert!(stderr.contains("CR LF"), "{stderr}");
}
