//! `bundle` of several programs, what they load, and what else goes in: what is in the image, and that it runs with no
//! handler anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::bundle::{Root, load};
use crate::support::cc::{Cc, compile};
use crate::support::probe::probe;
use crate::support::{Cx, ran};

const MIPS: &str = "mips-linux-gnu";

/// Loads a library from beside itself and one from the system, and starts another program.
const TOOL: &str = r#"
#include <stdio.h>
#include <unistd.h>
int answer(void);
double sqrt(double);
int main(int argc, char **argv) {
    char exe[200] = { 0 };
    readlink("/proc/self/exe", exe, sizeof exe - 1);
    printf("%s %d %g %d\n", argv[0], answer(), sqrt(argc * argc), argc);
    fflush(stdout);
    if (argc > 1) execvp(argv[1], argv + 1);
    return argc > 1 ? 9 : 4;
}
"#;

/// A root file system for big-endian MIPS with a dynamic program, its libraries in three places, links and a script.
fn mips_root(cx: &Cx) {
    let library = compile(&Cc {
        triple: MIPS,
        flags: &["-shared", "-fPIC", "-Wl,-soname,libanswer.so.2"],
        source: "int answer(void) { return 42; }",
    });
    let library = library.to_str().unwrap().to_owned();
    let flags = [library.as_str(), "-lm", "-Wl,-rpath,$ORIGIN/../lib/tool", "-Wl,--no-as-needed"];
    let tool = compile(&Cc { triple: MIPS, flags: &["-O1"], source: "int main(void) { return 0; }" });
    assert!(tool.exists());
    for folder in ["usr/bin", "usr/lib/tool", "lib", "etc", "usr/share/tool"] {
        fs::create_dir_all(cx.path("root").join(folder)).unwrap();
    }
    let root = cx.path("root");
    fs::write(cx.path("tool.c"), TOOL).unwrap();
    let mut gcc = cx.command("/usr/bin/mips-linux-gnu-gcc");
    gcc.args(["-O1", "-o", "root/usr/bin/tool-1.0", "tool.c"]).args(flags);
    ran(&mut gcc).success();
    fs::copy(&library, root.join("usr/lib/tool/libanswer.so.2.1")).unwrap();
    symlink("libanswer.so.2.1", root.join("usr/lib/tool/libanswer.so.2")).unwrap();
    for name in ["ld.so.1", "libc.so.6", "libm.so.6", "libpthread.so.0"] {
        fs::copy(Path::new("/usr/mips-linux-gnu/lib").join(name), root.join("lib").join(name)).unwrap();
    }
    symlink("tool-1.0", root.join("usr/bin/tool")).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    fs::write(root.join("usr/bin/script"), "#!/usr/bin/env -S tool from\n").unwrap();
    fs::copy(root.join("usr/bin/tool-1.0"), root.join("usr/bin/env")).unwrap();
    for name in ["script", "env"] {
        fs::set_permissions(root.join("usr/bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(root.join("etc/tool.conf"), "conf").unwrap();
    fs::write(root.join("usr/share/tool/data"), "data").unwrap();
    symlink("data", root.join("usr/share/tool/link")).unwrap();
}

#[test]
fn a_dynamic_program_comes_with_what_it_loads_and_no_more() {
    let cx = Cx::new();
    mips_root(&cx);
    cx.run(["bundle", "tool", "--from", "root", "-o", "docker-archive:a.tar", "--", "x"]).success();
    let root = Root::of(&cx, "a.tar");
    let expected = [
        ".polyarch",
        ".polyarch/manifest.json",
        ".polyarch/qemu-mips",
        "lib",
        "lib/ld.so.1",
        "lib/libc.so.6",
        "lib/libm.so.6",
        "usr",
        "usr/bin",
        "usr/bin/.tool-1.0.guest",
        "usr/bin/tool",
        "usr/bin/tool-1.0",
        "usr/lib",
        "usr/lib/tool",
        "usr/lib/tool/libanswer.so.2",
        "usr/lib/tool/libanswer.so.2.1",
    ];
    assert_eq!(root.names(), expected);
    assert_eq!(root.config()["Entrypoint"], json!(["/usr/bin/tool"]));
    assert_eq!(root.config()["Cmd"], json!(["x"]));
    // By its link, by its own name, from another folder: the library beside it is found, and its name is kept.
    for name in ["/usr/bin/tool", "/usr/bin/tool-1.0"] {
        let ran = root.run(&cx, &[name]);
        assert_eq!((ran.status, ran.stdout.as_str()), (4, &*format!("{name} 42 1 1\n")), "{}", ran.stderr);
    }
    let three = root.run(&cx, &["/usr/bin/tool", "/usr/bin/tool", "tool"]);
    assert_eq!(three.stdout, "/usr/bin/tool 42 3 3\n/usr/bin/tool 42 2 2\ntool 42 1 1\n", "{}", three.stderr);

    let manifest: Value = serde_json::from_slice(&root.read(".polyarch/manifest.json")).unwrap();
    let program = &manifest["programs"][0];
    assert_eq!(program["path"], "/usr/bin/tool-1.0");
    assert_eq!(program["real"], "/usr/bin/.tool-1.0.guest");
    let digest = polyarch::layer::Digest::of(&root.read("usr/bin/.tool-1.0.guest")).to_string();
    assert_eq!(program["digest"], digest.as_str());
    assert_eq!(manifest["emulators"][0]["guest"], "mips");
    assert!(manifest["emulators"][0]["source"].as_str().unwrap().starts_with("Debian 1:7.2+dfsg"));
    let libraries = ["/lib/ld.so.1", "/lib/libc.so.6", "/lib/libm.so.6", "/usr/lib/tool/libanswer.so.2.1"];
    assert_eq!(manifest["libraries"], json!(libraries));

    // The same from an image of the root, and from a Debian package of it; the manifest alone tells which.
    cx.run(["image", "import", "root", "oci:images:root", "--platform", "linux/mips"]).success();
    cx.run(["bundle", "tool", "--from", "oci:images:root", "-o", "docker-archive:b.tar"]).success();
    ran(cx.command("/bin/sh").args(["-c", DEB])).success();
    cx.run(["bundle", "/usr/bin/tool", "--from", "tool.deb", "-o", "docker-archive:c.tar"]).success();
    for (archive, source) in [("b.tar", "image sha256:"), ("c.tar", "Debian tool 1.0-1 (mips)")] {
        let other = Root::of(&cx, archive);
        assert_eq!(other.names(), expected);
        for name in expected.iter().filter(|name| name.contains("lib") || name.contains("tool")) {
            assert_eq!(other.content(name), root.content(name), "{archive} {name}");
        }
        let manifest: Value = serde_json::from_slice(&other.read(".polyarch/manifest.json")).unwrap();
        let told = manifest["programs"][0]["source"].as_str().unwrap();
        assert!(told.starts_with(source), "{told}");
    }
    // A library that is not there is told of by its name.
    fs::remove_file(cx.path("root/lib/libm.so.6")).unwrap();
    let err = cx.run(["bundle", "tool", "--from", "root", "-o", "docker-archive:d.tar"]).failure(2);
    assert!(err.contains("`/usr/bin/tool` needs what is not there: libm.so.6"), "{err}");
}

/// Makes `tool.deb` of the folder `root`.
const DEB: &str = "mkdir root/DEBIAN && printf 'Package: tool\\nVersion: 1.0-1\\nArchitecture: mips\\nMaintainer: x <x@example.org>\\n\
    Description: x\\n' >root/DEBIAN/control && dpkg-deb --root-owner-group -b root tool.deb >/dev/null && rm -r root/DEBIAN";

#[test]
fn scripts_bring_their_interpreters_and_folders_their_programs() {
    let cx = Cx::new();
    mips_root(&cx);
    probe(&cx, "arm-linux-gnueabi", "probe");
    fs::create_dir(cx.path("more")).unwrap();
    fs::rename(cx.path("probe"), cx.path("more/probe")).unwrap();
    fs::write(cx.path("more/text"), "text").unwrap();
    let include = format!("{}:/opt/more", cx.path("more").display());
    let bundle = ["bundle", "script", "--from", "root", "-o", "docker-archive:a.tar", "--include", &include];
    let bundle =
        bundle.iter().chain(&["--include", "/usr/share/tool", "--include", "/etc/tool.conf:/etc/other"]);
    cx.run(bundle).success();
    let root = Root::of(&cx, "a.tar");
    assert_eq!(root.read("etc/other"), b"conf");
    assert_eq!(root.read("opt/more/text"), b"text");
    assert_eq!(fs::read_link(root.path("usr/share/tool/link")).unwrap(), Path::new("data"));
    // The kernel starts `env`, a stub, with the script's first line; it starts the other.
    let ran = root.run(&cx, &["/usr/bin/script", "more"]);
    assert_eq!(ran.stdout, "/usr/bin/env 42 4 4\n", "{}", ran.stderr);
    // A program of another guest has its own emulator.
    assert_eq!(root.run(&cx, &["/opt/more/probe"]).success(), "uname -m = armv7l\n");
    let manifest: Value = serde_json::from_slice(&root.read(".polyarch/manifest.json")).unwrap();
    let guests: Vec<&str> =
        manifest["emulators"].as_array().unwrap().iter().map(|one| one["guest"].as_str().unwrap()).collect();
    assert_eq!(guests, ["arm", "mips"]);
}

#[test]
fn the_config_says_all_that_it_was_told() {
    let cx = Cx::new();
    probe(&cx, MIPS, "probe");
    let words = [
        "bundle",
        "probe",
        "-o",
        "docker-archive:a.tar",
        "--entrypoint",
        r#"["/bin/probe", "args"]"#,
        "--cmd",
        r#"["a b", ""]"#,
        "-e",
        "A=1",
        "-e",
        "A=2",
        "-w",
        "/data",
        "-u",
        "1000:100",
        "-l",
        "x.y=z",
        "-p",
        "80",
        "-p",
        "53/udp",
        "--volume",
        "/data",
        "--certificates",
        "--timezone",
        "Europe/Riga",
        "--passwd",
        "--init",
    ];
    cx.run(words).success();
    let root = Root::of(&cx, "a.tar");
    let config = root.config();
    assert_eq!(config["Entrypoint"], json!(["/.polyarch/init", "/bin/probe", "args"]));
    assert_eq!(config["Cmd"], json!(["a b", ""]));
    assert_eq!(config["Env"], json!(["A=2"]));
    assert_eq!((&config["WorkingDir"], &config["User"]), (&json!("/data"), &json!("1000:100")));
    assert_eq!(config["Labels"]["x.y"], "z");
    assert_eq!(config["ExposedPorts"], json!({"80/tcp": {}, "53/udp": {}}));
    assert_eq!(config["Volumes"], json!({"/data": {}}));
    assert!(root.read("etc/passwd").ends_with(b"user:x:1000:100:user:/:/bin/sh\n"));
    assert_eq!(root.read("etc/localtime"), fs::read("/usr/share/zoneinfo/Europe/Riga").unwrap());
    assert_eq!(
        root.read("etc/ssl/certs/ca-certificates.crt"),
        fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap()
    );
    let ran = root.run(&cx, &["/.polyarch/init", "/bin/probe", "args", "a b"]);
    assert_eq!(ran.success(), "[/bin/probe]\n[args]\n[a b]\n");
    // A host whose runtime takes one word has a program that is the whole command line.
    cx.run(words.iter().chain(&["--host", "routeros/x86"])).success();
    let root = Root::of(&cx, "a.tar");
    assert_eq!(root.config()["Labels"]["io.polyarch.start"], "/.polyarch/start");
    assert_eq!(root.run(&cx, &["/.polyarch/start"]).success(), "[/bin/probe]\n[args]\n[a b]\n[]\n");
    cx.run(["bundle", "probe", "-o", "docker-archive:a.tar", "--host", "routeros/x86", "--", "one"])
        .success();
    assert_eq!(Root::of(&cx, "a.tar").config()["Labels"]["io.polyarch.start"], Value::Null);
}

#[test]
fn a_target_s_cpu_reaches_every_program_and_not_its_environment() {
    let cx = Cx::new();
    probe(&cx, "arm-linux-gnueabihf", "hard");
    probe(&cx, "arm-linux-gnueabi", "soft");
    let board = cx.run(["target", "show", "linux/arm/v7", "--format", "toml"]).success();
    let old = board
        .replace("cpu = \"cortex-a7\"", "cpu = \"arm926\"")
        .replace("name = \"linux/arm/v7\"", "name = \"my/v5\"");
    cx.file("board.toml", old);
    cx.run(["bundle", "soft", "hard", "--target", "./board.toml", "-o", "docker-archive:a.tar"]).success();
    let root = Root::of(&cx, "a.tar");
    assert!(!root.run(&cx, &["/bin/soft", "env"]).success().contains("QEMU"));
    // The hard one dies there as on the CPU itself, a child too.
    assert_eq!(root.run(&cx, &["/bin/hard"]).status, 132);
    assert_eq!(root.run(&cx, &["/bin/soft", "child", "/bin/hard"]).success(), "child 132\n");
}

#[test]
fn a_base_image_keeps_its_own_files() {
    let cx = Cx::new();
    mips_root(&cx);
    probe(&cx, "x86_64-linux-gnu", "native");
    fs::create_dir_all(cx.path("base/usr/lib")).unwrap();
    fs::create_dir_all(cx.path("base/usr/bin")).unwrap();
    fs::rename(cx.path("native"), cx.path("base/usr/bin/native")).unwrap();
    symlink("usr/lib", cx.path("base/lib")).unwrap();
    cx.file(
        "config.json",
        r#"{"config":{"Env":["PATH=/usr/bin","A=1"],"Cmd":["native","x"],"WorkingDir":"/usr"}}"#,
    );
    let import = [
        "image",
        "import",
        "base",
        "oci:images:base",
        "--platform",
        "linux/amd64",
        "--config",
        "config.json",
    ];
    cx.run(import).success();
    let bundle = [
        "bundle",
        "tool",
        "--from",
        "root",
        "--base",
        "oci:images:base",
        "-o",
        "docker-archive:a.tar",
        "-e",
        "A=2",
    ];
    cx.run(bundle).success();
    let root = Root::of(&cx, "a.tar");
    // The base's link is still one, and the library is beyond it.
    assert_eq!(fs::read_link(root.path("lib")).unwrap(), Path::new("usr/lib"));
    assert!(root.path("usr/lib/libc.so.6").is_file());
    assert_eq!(root.run(&cx, &["/usr/bin/tool", "/usr/bin/native", "exit", "5"]).status, 5);
    let config = root.config();
    assert_eq!((&config["Entrypoint"], &config["Cmd"]), (&json!(["/usr/bin/tool"]), &Value::Null));
    assert_eq!(config["Env"], json!(["PATH=/usr/bin", "A=2"]));
    assert_eq!(config["WorkingDir"], "/usr");
    // What the base has is not replaced, and a base of another machine is refused.
    fs::copy(cx.path("root/lib/libc.so.6"), cx.path("base/usr/lib/libc.so.6")).unwrap();
    cx.run(import).success();
    let err = cx.run(bundle).failure(2);
    assert!(err.contains("the base image has a `/lib/libc.so.6` of its own"), "{err}");
    cx.run(["image", "import", "root", "oci:images:base", "--platform", "linux/mips"]).success();
    let err = cx.run(bundle).failure(2);
    assert!(err.contains("mips") && err.contains("linux/amd64"), "{err}");
}

#[test]
fn two_users_make_the_same_bytes() {
    let cx = Cx::new();
    mips_root(&cx);
    probe(&cx, "arm-linux-gnueabi", "probe");
    let all = cx.path("").display().to_string();
    ran(cx.command("/bin/chmod").args(["-R", "a+rX", &all])).success();
    let args =
        ["bundle", "tool", "./probe", "--from", "root", "--include", "/usr/share/tool", "--passwd", "--idle"];
    let mut made: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for user in ["by-root", "nobody"] {
        let output = format!("docker-archive:{user}/a.tar:x");
        fs::create_dir(cx.path(user)).unwrap();
        fs::set_permissions(cx.path(user), fs::Permissions::from_mode(0o777)).unwrap();
        let mut command =
            if user == "by-root" { cx.polyarch() } else { cx.as_nobody(env!("CARGO_BIN_EXE_polyarch")) };
        command.env("SOURCE_DATE_EPOCH", "5").env("HOME", cx.path(user)).args(args).args(["-o", &output]);
        ran(&mut command).success();
        made.insert(user, fs::read(cx.path(user).join("a.tar")).unwrap());
    }
    assert!(made["by-root"] == made["nobody"]);
}

#[test]
fn an_idle_bundle_stays_and_a_shell_is_the_host_s() {
    let cx = Cx::new();
    probe(&cx, MIPS, "probe");
    let args =
        ["bundle", "probe", "--idle", "--shell", "-o", "docker-archive:a.tar", "--host", "linux/amd64"];
    cx.run(args).success();
    let root = Root::of(&cx, "a.tar");
    assert_eq!(root.config()["Entrypoint"], json!(["/.polyarch/init"]));
    assert_eq!(
        root.run(&cx, &["/bin/sh", "-c", "probe uname; echo $((6 * 7))"]).success(),
        "uname -m = mips\n42\n"
    );
    // Without any program it is a container to open a shell in.
    cx.run(["bundle", "--idle", "--shell", "-o", "docker-archive:b.tar", "--host", "linux/arm/v7"]).success();
    let root = Root::of(&cx, "b.tar");
    let names = [
        ".polyarch",
        ".polyarch/busybox",
        ".polyarch/init",
        ".polyarch/manifest.json",
        "bin",
        "bin/busybox",
        "bin/sh",
    ];
    assert_eq!(root.names(), names);
    load(&cx, "b.tar");
    let file = ran(cx.command("/usr/bin/readelf").arg("-h").arg(root.path(".polyarch/busybox"))).success();
    assert!(file.contains("Machine:                           ARM\n"), "{file}");
}
