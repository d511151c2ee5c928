//! `bundle --rootfs`: whole foreign root file systems that run on this machine with no handler anywhere.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::bundle::Root;
use crate::support::cc::{Cc, compile};
use crate::support::deb::deb;
use crate::support::probe::probe;
use crate::support::{Cx, ran};

const ARM: &str = "arm-linux-gnueabi";

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A root file system for 32-bit ARM with all that must and must not get a stub.
fn arm_root(cx: &Cx) {
    let root = cx.path("root");
    for folder in ["bin", "usr/bin", "usr/lib/deep", "lib", "etc"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let put = |triple: &str, flags: &[&str], name: &str, bits: u32| {
        let source =
            "#include <stdio.h>\nint main(int c, char **v) { printf(\"%s %d\\n\", v[0], c); return c; }";
        let source = if flags.contains(&"-shared") { "int x(void) { return 1; }" } else { source };
        fs::copy(compile(&Cc { triple, flags, source }), root.join(name)).unwrap();
        mode(&root.join(name), bits);
    };
    put(ARM, &["-static"], "bin/static", 0o755);
    put(ARM, &[], "usr/bin/pie", 0o755);
    put(ARM, &["-no-pie"], "usr/bin/plain", 0o711);
    put(ARM, &["-static", "-O2"], "usr/bin/setuid", 0o4755);
    put(ARM, &["-shared", "-fPIC", "-Wl,-soname,libx.so.1"], "usr/lib/libx.so.1", 0o755);
    put(ARM, &["-shared", "-fPIC"], "usr/lib/plugin.so", 0o755);
    put(ARM, &["-static"], "etc/data", 0o644);
    put(ARM, &["-c"], "etc/object.o", 0o755);
    put("x86_64-linux-gnu", &["-static"], "usr/bin/native", 0o755);
    probe(cx, ARM, "probe");
    fs::rename(cx.path("probe"), root.join("usr/bin/probe")).unwrap();
    for name in ["ld-linux.so.3", "libc.so.6"] {
        fs::copy(Path::new("/usr/arm-linux-gnueabi/lib").join(name), root.join("lib").join(name)).unwrap();
        mode(&root.join("lib").join(name), 0o755);
    }
    for (from, to) in
        [("bin/static", "bin/hard"), ("bin/static", "usr/lib/deep/far"), ("bin/static", "usr/lib/deep/near")]
    {
        fs::hard_link(root.join(from), root.join(to)).unwrap();
    }
    symlink("/usr/bin/../../bin/static", root.join("usr/bin/link")).unwrap();
    // A file that has the name which a program would get.
    fs::write(root.join("usr/bin/.pie.guest"), "taken").unwrap();
    for (name, line) in
        [("one", "#!/usr/bin/probe args\n"), ("two", "#!/usr/bin/one\n"), ("three", "#!/usr/bin/two x\n")]
    {
        fs::write(root.join("usr/bin").join(name), line).unwrap();
        mode(&root.join("usr/bin").join(name), 0o755);
    }
}

#[test]
fn every_program_gets_a_stub_and_nothing_else_does() {
    let cx = Cx::new();
    arm_root(&cx);
    let bundle = ["bundle", "--rootfs", "root", "-o", "docker-archive:a.tar", "--host", "linux/amd64"];
    cx.run(bundle).success();
    let root = Root::of(&cx, "a.tar");
    let is_stub = |name: &str| {
        let bytes = root.read(name);
        bytes.len() < 4096 && bytes.starts_with(b"\x7fELF\x02\x01")
    };
    let programs = [
        ("bin/static", "bin/.hard.guest"),
        ("bin/hard", "bin/.hard.guest"),
        ("usr/lib/deep/far", "usr/lib/deep/.hard.guest"),
        ("usr/lib/deep/near", "usr/lib/deep/.hard.guest"),
        ("usr/bin/pie", "usr/bin/.pie.guest1"),
        ("usr/bin/plain", "usr/bin/.plain.guest"),
        ("usr/bin/setuid", "usr/bin/.setuid.guest"),
        ("usr/bin/probe", "usr/bin/.probe.guest"),
    ];
    for (name, real) in programs {
        assert!(is_stub(name), "{name}");
        assert_eq!(root.read(real), fs::read(cx.path("root").join(name)).unwrap(), "{name}");
    }
    for name in [
        "usr/lib/libx.so.1",
        "usr/lib/plugin.so",
        "etc/data",
        "etc/object.o",
        "usr/bin/native",
        "lib/ld-linux.so.3",
        "lib/libc.so.6",
        "usr/bin/.pie.guest",
        "usr/bin/one",
    ] {
        assert_eq!(root.read(name), fs::read(cx.path("root").join(name)).unwrap(), "{name}");
    }
    // Links are links, in each folder by itself; the program is there once.
    let inode = |name: &str| fs::metadata(root.path(name)).unwrap().ino();
    assert_eq!(inode("bin/static"), inode("bin/hard"));
    assert_eq!(inode("usr/lib/deep/far"), inode("usr/lib/deep/near"));
    assert_ne!(inode("bin/static"), inode("usr/lib/deep/far"));
    assert_eq!(inode("bin/.hard.guest"), inode("usr/lib/deep/.hard.guest"));
    let bits = |name: &str| fs::metadata(root.path(name)).unwrap().mode() & 0o7777;
    assert_eq!((bits("usr/bin/setuid"), bits("usr/bin/.setuid.guest")), (0o4755, 0o755));
    assert_eq!((bits("usr/bin/plain"), bits("usr/bin/.plain.guest")), (0o711, 0o755));

    for (words, out, status) in [
        (&["/bin/static"][..], "/bin/static 1\n", 1),
        (&["/bin/hard", "x"], "/bin/hard 2\n", 2),
        (&["/usr/lib/deep/far"], "/usr/lib/deep/far 1\n", 1),
        (&["/usr/bin/link"], "/usr/bin/link 1\n", 1),
        (&["/usr/bin/pie"], "/usr/bin/pie 1\n", 1),
        (&["/usr/bin/plain"], "/usr/bin/plain 1\n", 1),
        (&["/usr/bin/setuid"], "/usr/bin/setuid 1\n", 1),
        (&["/usr/bin/native"], "/usr/bin/native 1\n", 1),
        (
            &["/usr/bin/three", "y"],
            "[/usr/bin/probe]\n[args]\n[/usr/bin/one]\n[/usr/bin/two]\n[x]\n[/usr/bin/three]\n[y]\n",
            0,
        ),
        (
            &["/usr/bin/probe", "child", "/usr/bin/probe", "child", "/bin/static"],
            "/bin/static 1\nchild 1\nchild 0\n",
            0,
        ),
    ] {
        let seen = root.run(&cx, words);
        assert_eq!((seen.stdout.as_str(), seen.status), (out, status), "{words:?}: {}", seen.stderr);
    }
    // What was made is not turned again; neither is what is the host's own.
    cx.run(["bundle", "--rootfs", "root", "-o", "oci:made:t", "--host", "linux/amd64"]).success();
    let err = cx.run(["bundle", "--rootfs", "oci:made:t", "-o", "oci:again:t"]).failure(2);
    assert!(err.contains("a bundle already"), "{err}");
}

#[test]
fn a_setuid_program_has_its_owner_s_rights_and_knows_it() {
    assert!(rustix::process::geteuid().is_root(), "a setuid program must belong to another user");
    let source = "#include <stdio.h>\n#include <stdlib.h>\n#include <sys/auxv.h>\n#include <unistd.h>\nint main(void) { \
        printf(\"%d %d %lu %s\\n\", getuid(), geteuid(), getauxval(AT_SECURE), getenv(\"QEMU_X\")); return 0; }";
    let program = compile(&Cc { triple: ARM, flags: &["-static"], source });
    let cx = Cx::new();
    for (bits, found) in [(0o755, "65534 65534 0 y\n"), (0o4755, "65534 0 1 (null)\n")] {
        fs::create_dir_all(cx.path("root/bin")).unwrap();
        fs::copy(&program, cx.path("root/bin/who")).unwrap();
        mode(&cx.path("root/bin/who"), bits);
        ran(cx.polyarch().args([
            "bundle",
            "--rootfs",
            "root",
            "-o",
            "docker-archive:a.tar",
            "--host",
            "linux/amd64",
        ]))
        .success();
        let root = Root::of(&cx, "a.tar");
        let mut command = cx.command("chroot");
        command.env("QEMU_X", "y").arg("--userspec=65534:65534").arg(root.path("")).arg("/bin/who");
        assert_eq!(ran(&mut command).success(), found, "{bits:o}");
        fs::remove_file(cx.path("a.tar")).unwrap();
    }
}

#[test]
fn an_image_keeps_what_it_says_and_its_layers_become_one() {
    let cx = Cx::new();
    arm_root(&cx);
    cx.file(
        "config.json",
        r#"{"config":{"Entrypoint":["/usr/bin/three"],"Cmd":["a"],"Env":["A=1"],"User":"7","Labels":{"own":"label"},"ExposedPorts":{"80/tcp":{}}}}"#,
    );
    let import = [
        "image",
        "import",
        "root",
        "oci:images:arm",
        "--platform",
        "linux/arm/v5",
        "--config",
        "config.json",
    ];
    cx.run(import).success();
    let bundle = [
        "bundle",
        "--rootfs",
        "oci:images:arm",
        "-o",
        "docker-archive:a.tar",
        "--host",
        "linux/amd64",
        "--init",
    ];
    cx.run(bundle).success();
    let root = Root::of(&cx, "a.tar");
    let config = root.config();
    assert_eq!(config["Entrypoint"], json!(["/.polyarch/init", "/usr/bin/three"]));
    assert_eq!(
        (&config["Cmd"], &config["User"], &config["Env"]),
        (&json!(["a"]), &json!("7"), &json!(["A=1"]))
    );
    assert_eq!(
        (&config["Labels"]["own"], &config["Labels"]["io.polyarch.emulator.exec"]),
        (&json!("label"), &json!("stub"))
    );
    assert!(root.run(&cx, &["/.polyarch/init", "/usr/bin/three", "a"]).success().ends_with("[a]\n"));
    let manifest: Value = serde_json::from_slice(&root.read(".polyarch/manifest.json")).unwrap();
    assert!(manifest["image"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(manifest["programs"].as_array().unwrap().len(), 8);
    // The same again is the same, for an ordinary user too.
    let mut again = cx.as_nobody(env!("CARGO_BIN_EXE_polyarch"));
    fs::create_dir(cx.path("b")).unwrap();
    mode(&cx.path("b"), 0o777);
    ran(cx.command("/bin/chmod").args(["-R", "a+rX", "images"])).success();
    again
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .args(bundle.map(|word| if word.ends_with("a.tar") { "docker-archive:b/a.tar" } else { word }));
    ran(&mut again).success();
    assert!(fs::read(cx.path("a.tar")).unwrap() == fs::read(cx.path("b/a.tar")).unwrap());
}

/// What must work in a Debian of another machine, each in a shell of its own.
const DEBIAN: &[(&str, &str)] = &[
    ("uname -m", "MACHINE"),
    ("bash -c 'echo ${BASH_VERSION%%.*}; for i in 1 2 3; do /bin/echo -n $i; done'", "5\n123"),
    ("perl -e 'print join(q(,), map { `echo $_` =~ s/\\n//r } 1..3)'", "1,2,3"),
    ("apt-get --version | head -c 3; apt-cache policy | head -c 7", "aptPackage"),
    (
        "dpkg -i /test.deb 2>&1 | tail -n 1; cat /made; dpkg-query -W -f '${Status}' polyarch-test",
        "Setting up polyarch-test (1) ...\nconfigured\ninstall ok installed",
    ),
    (
        "printf 'all: a b\\n\\t@echo done\\na b:\\n\\t@echo $@; sleep 0\\n' >/m; make -s -j2 -f /m | sort | tr '\\n' ' '",
        "a b done",
    ),
    ("/chain/three arg", "one /chain/two /chain/three arg"),
    ("seq 20 | xargs -P 4 -n 1 sh -c 'echo $0' | sort -n | tail -n 1", "20"),
    ("seq 100000 | sort -rn | head -n 1 | tr -d '\\n' | md5sum | cut -c1-8", "14ee22ea"),
    (
        "sh -c 'trap \"echo caught; exit 3\" TERM; (sleep 0.1; kill $$) & while :; do sleep 0.05; done'; echo $?",
        "caught\n3",
    ),
    ("env -i /usr/bin/env | wc -l", "0"),
    ("find /usr/bin -name perl -exec test -x {} ';' -print", "/usr/bin/perl"),
];

#[test]
#[ignore = "needs roots that take minutes to make; scripts/test makes them and runs it"]
fn debian_of_another_machine_runs_as_an_image_of_this_one() {
    assert!(rustix::process::geteuid().is_root(), "owners of files need root");
    // Nobody registers a handler of this machine meanwhile.
    let _turn = crate::support::handlers::host_stays();
    let roots = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("roots");
    for (arch, machine) in [("mipsel", "mips"), ("arm64", "aarch64")] {
        let cx = Cx::new();
        let tar = roots.join(format!("{arch}.tar"));
        assert!(tar.exists(), "`{}` is not there: scripts/debian-roots {arch}", tar.display());
        fs::create_dir(cx.path("root")).unwrap();
        ran(cx.command("/bin/tar").args(["-C", "root", "--exclude=./dev/*", "-xpf"]).arg(&tar)).success();
        ran(cx.command("/usr/bin/dpkg-deb").arg("-x").arg(deb("bookworm", arch, "make")).arg("root"))
            .success();
        let package = "mkdir -p p/DEBIAN p/usr/share/t && printf 'Package: polyarch-test\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@example.org>\\n\
            Description: x\\n' >p/DEBIAN/control && printf '#!/bin/sh\\nset -e\\necho configured >/made\\n' >p/DEBIAN/postinst && \
            chmod 755 p/DEBIAN/postinst && dpkg-deb --root-owner-group -b p root/test.deb >/dev/null && mkdir root/chain && \
            printf '#!/bin/sh\\necho one \"$@\"\\n' >root/chain/one && printf '#!/chain/one\\n' >root/chain/two && \
            printf '#!/chain/two\\n' >root/chain/three && chmod 755 root/chain/*";
        ran(cx.command("/bin/sh").args(["-c", package])).success();
        cx.run(["bundle", "--rootfs", "root", "-o", "docker-archive:a.tar", "--host", "linux/amd64"])
            .success();
        let root = Root::of(&cx, "a.tar");
        // Without its stub nothing runs, so it is no handler of this machine that makes the rest run.
        let bare = ran(&mut root.command_of_root(&cx, &["/bin/sh", "-c", "exec /bin/.true.guest"]));
        assert!(bare.stderr.contains("Exec format error"), "{}", bare.stderr);
        for (script, expected) in DEBIAN {
            let seen = ran(&mut root.command_of_root(&cx, &["/bin/sh", "-c", script]));
            let expected = expected.replace("MACHINE", machine);
            assert_eq!(seen.stdout.trim_end(), expected, "{arch}: {script}: {}", seen.stderr);
        }
    }
}
