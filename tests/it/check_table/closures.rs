//! Loaders, libraries, their versions and their float ABIs.

use super::{
    ARM64, Case, Made, arm64, bytes, calling, hold, hosted, image, libraries, library, linked, plugin,
    versioned, with_libc,
};
use crate::support::oci::Img;
use serde_json::json;
use std::path::PathBuf;

#[test]
fn loaders_and_libraries() {
    let app = || hosted(ARM64.1, &[]);
    let good = || arm64().program("/bin/app", app());
    let lib = |flags: &[&str]| {
        library(ARM64.1, "libfoo.so.1", "int foo(void) { return 1; }\n", &[&["-nostdlib"], flags].concat())
    };
    let foo = |flags: &[&str]| linked(ARM64.1, &lib(&[]), flags);
    let with_foo =
        |at: &str, flags: &[&str]| image(arm64().program("/bin/app", foo(flags)).program(at, lib(&[])));
    let amd64 =
        || library("x86_64-linux-gnu", "libfoo.so.1", "int foo(void) { return 1; }\n", &["-nostdlib"]);
    let i386 = || library("i686-linux-gnu", "libfoo.so.1", "int foo(void) { return 1; }\n", &["-nostdlib"]);
    let lib64 =
        || library("x86_64-linux-gnu", "libfoo.so.1", "int foo(void) { return 1; }\n", &["-nostdlib"]);
    let on_amd64 = |library: PathBuf| {
        let amd64 = with_libc("linux/amd64", "x86_64-linux-gnu", "/lib64/ld-linux-x86-64.so.2");
        image(
            amd64
                .program("/bin/app", linked("x86_64-linux-gnu", &lib64(), &[]))
                .program("/lib/libfoo.so.1", library),
        )
    };
    hold(vec![
        Case {
            name: "the loader deleted by a whiteout",
            thread: "docker/cli PR#7158",
            args: &[],
            wrong: image(good().layer("RUN rm").whiteout(ARM64.2)),
            right: image(good().layer("RUN rm").file("/etc/x", "", 0o644).layer("RUN rm").whiteout("/etc/x")),
            expected: ("interpreter-missing", Some("/bin/app"), "error"),
        },
        Case {
            name: "the loader's link leads nowhere",
            thread: "opencontainers/runc#3237",
            args: &[],
            wrong: image(
                Img::new(ARM64.0)
                    .program("/lib/libc.so.6", libraries(ARM64.1).join("libc.so.6"))
                    .link(ARM64.2, "/usr/lib/ld-linux-aarch64.so.1")
                    .program("/bin/app", app()),
            ),
            right: image(
                Img::new(ARM64.0)
                    .program("/lib/libc.so.6", libraries(ARM64.1).join("libc.so.6"))
                    .link(ARM64.2, "/usr/lib/ld-linux-aarch64.so.1")
                    .program(
                        "/usr/lib/ld-linux-aarch64.so.1",
                        libraries(ARM64.1).join("ld-linux-aarch64.so.1"),
                    )
                    .program("/bin/app", app()),
            ),
            expected: ("interpreter-missing", Some("/bin/app"), "error"),
        },
        Case {
            name: "a program linked dynamically in an image from scratch",
            thread: "multiarch/crossbuild#66",
            args: &[],
            wrong: image(Img::new(ARM64.0).program("/bin/app", app())),
            right: image(Img::new(ARM64.0).program("/bin/app", hosted(ARM64.1, &["-static"]))),
            expected: ("linkage", Some("/bin/app"), "error"),
        },
        Case {
            name: "a program called static that is not",
            thread: "",
            args: &[],
            wrong: image(good().program("/bin/tool-static", app())),
            right: image(good().program("/bin/tool-static", hosted(ARM64.1, &["-static"]))),
            expected: ("linkage", Some("/bin/tool-static"), "warning"),
        },
        Case {
            name: "a dynamic program where all are to be static",
            thread: "",
            args: &["--target", "linux/arm64", "--static"],
            wrong: Made::File(app()),
            right: Made::File(hosted(ARM64.1, &["-static"])),
            expected: ("linkage", Some("wrong"), "error"),
        },
        Case {
            name: "the loader of another architecture",
            thread: "",
            args: &[],
            wrong: image(
                Img::new(ARM64.0)
                    .program("/lib/libc.so.6", libraries(ARM64.1).join("libc.so.6"))
                    .program(ARM64.2, "/lib64/ld-linux-x86-64.so.2")
                    .program("/bin/app", app()),
            ),
            right: image(good()),
            expected: ("interpreter-mismatch", Some("/bin/app"), "error"),
        },
        Case {
            name: "a loader that nobody may execute",
            thread: "",
            args: &[],
            wrong: image(good().file(
                ARM64.2,
                bytes(&libraries(ARM64.1).join("ld-linux-aarch64.so.1")),
                0o644,
            )),
            right: image(good()),
            expected: ("interpreter-mismatch", Some("/bin/app"), "error"),
        },
        Case {
            name: "a library that is missing",
            thread: "docker-library/official-images#21977",
            args: &[],
            wrong: image(arm64().program("/bin/app", foo(&[]))),
            right: with_foo("/lib/libfoo.so.1", &[]),
            expected: ("needed-missing", Some("/bin/app"), "error"),
        },
        Case {
            name: "a library in a folder that the loader does not search",
            thread: "",
            args: &[],
            wrong: with_foo("/usr/local/lib/libfoo.so.1", &[]),
            right: with_foo("/usr/local/lib/libfoo.so.1", &["-Wl,--enable-new-dtags,-rpath,/usr/local/lib"]),
            expected: ("needed-missing", Some("/bin/app"), "error"),
        },
        Case {
            name: "a run path beside a program that was moved",
            thread: "",
            args: &[],
            wrong: image(
                arm64()
                    .runs("Entrypoint", json!(["/opt/app/bin/app"]))
                    .program("/opt/app/bin/app", foo(&["-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib"]))
                    .program("/opt/app/lib/libfoo.so.1", lib(&[])),
            ),
            right: image(
                arm64()
                    .runs("Entrypoint", json!(["/opt/app/bin/app"]))
                    .program("/opt/app/bin/app", foo(&["-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib"]))
                    .program("/opt/app/lib/libfoo.so.1", lib(&[])),
            ),
            expected: ("needed-missing", Some("/opt/app/bin/app"), "error"),
        },
        Case {
            name: "ldconfig was not run",
            thread: "",
            args: &[],
            wrong: image(
                arm64()
                    .file("/etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n", 0o644)
                    .file("/etc/ld.so.conf.d/foo.conf", "/opt/foo\n", 0o644)
                    .program("/bin/app", foo(&[]))
                    .program("/opt/foo/libfoo.so.1", lib(&[])),
            ),
            right: image(
                arm64()
                    .runs("Env", json!(["LD_LIBRARY_PATH=/opt/foo"]))
                    .program("/bin/app", foo(&[]))
                    .program("/opt/foo/libfoo.so.1", lib(&[])),
            ),
            expected: ("needed-missing", Some("/bin/app"), "error"),
        },
        Case {
            name: "a plug-in's library is missing",
            thread: "",
            args: &[],
            wrong: image(good().program("/usr/lib/plugins/plugin.so", plugin(&lib(&[])))),
            right: image(
                good()
                    .program("/usr/lib/plugins/plugin.so", plugin(&lib(&[])))
                    .program("/lib/libfoo.so.1", lib(&[])),
            ),
            expected: ("needed-missing", Some("/usr/lib/plugins/plugin.so"), "warning"),
        },
        Case {
            name: "a library of the wrong class",
            thread: "moby/buildkit#3080",
            args: &[],
            wrong: on_amd64(i386()),
            right: on_amd64(lib64()),
            expected: ("needed-mismatch", Some("/bin/app"), "error"),
        },
        Case {
            name: "a library of another architecture",
            thread: "projectcalico/calico PR#13203",
            args: &[],
            wrong: image(arm64().program("/bin/app", foo(&[])).program("/lib/libfoo.so.1", amd64())),
            right: with_foo("/lib/libfoo.so.1", &[]),
            expected: ("needed-mismatch", Some("/bin/app"), "error"),
        },
        Case {
            name: "a library that is Git LFS's pointer",
            thread: "",
            args: &[],
            wrong: image(arm64().program("/bin/app", foo(&[])).file(
                "/lib/libfoo.so.1",
                "version https://git-lfs.github.com/spec/v1\n",
                0o644,
            )),
            right: with_foo("/lib/libfoo.so.1", &[]),
            expected: ("needed-mismatch", Some("/bin/app"), "error"),
        },
        Case {
            name: "a library without the version that is needed",
            thread: "",
            args: &[],
            wrong: image(
                arm64().program("/bin/app", calling()).program("/lib/libfoo.so.1", versioned(&["FOO_1.0"])),
            ),
            right: image(
                arm64()
                    .program("/bin/app", calling())
                    .program("/lib/libfoo.so.1", versioned(&["FOO_1.0", "FOO_1.2"])),
            ),
            expected: ("symbol-version", Some("/bin/app"), "error"),
        },
    ]);
}
