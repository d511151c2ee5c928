//! Scripts, commands, and programs of other systems and machines.

use super::{ARM64, Case, bytes, freestanding, hold, image};
use crate::support::oci::Img;
use serde_json::{Value, json};

#[test]
fn starts_and_scripts() {
    let app = |platform: &str| Img::new(platform).program("/bin/app", freestanding("arm64"));
    let shell = |script: &str, mode: u32| {
        Img::new(ARM64.0)
            .program("/bin/sh", freestanding("arm64"))
            .file("/entrypoint.sh", script, mode)
            .runs("Entrypoint", json!(["/entrypoint.sh"]))
    };
    let named = |name: &str| image(app(ARM64.0).runs("Entrypoint", json!([name])));
    hold(vec![
        Case {
            name: "an entry point that is not on PATH",
            thread: "",
            args: &[],
            wrong: named("tool"),
            right: named("app"),
            expected: ("entrypoint", None, "error"),
        },
        Case {
            name: "an entry point that is not there",
            thread: "",
            args: &[],
            wrong: named("/usr/bin/app"),
            right: named("/bin/app"),
            expected: ("entrypoint", Some("/usr"), "error"),
        },
        Case {
            name: "an entry point that nobody may execute",
            thread: "",
            args: &[],
            wrong: image(shell("#!/bin/sh\n", 0o644)),
            right: image(shell("#!/bin/sh\n", 0o755)),
            expected: ("entrypoint", Some("/entrypoint.sh"), "error"),
        },
        Case {
            name: "a user that the image does not know",
            thread: "",
            args: &[],
            wrong: image(app(ARM64.0).runs("User", json!("web"))),
            right: image(app(ARM64.0).runs("User", json!("web")).file(
                "/etc/passwd",
                "web:x:1000:1000::/:/bin/sh\n",
                0o644,
            )),
            expected: ("entrypoint", Some("/etc/passwd"), "error"),
        },
        Case {
            name: "nothing to run",
            thread: "",
            args: &[],
            wrong: image(app(ARM64.0).runs("Entrypoint", Value::Null)),
            right: image(app(ARM64.0).runs("Entrypoint", Value::Null).runs("Cmd", json!(["/bin/app"]))),
            expected: ("entrypoint", None, "warning"),
        },
        Case {
            name: "an entry point of no kind",
            thread: "docker/cli PR#7158",
            args: &[],
            wrong: image(shell("echo hello\n", 0o755)),
            right: image(shell("#!/bin/sh\necho hello\n", 0o755)),
            expected: ("entrypoint", Some("/entrypoint.sh"), "error"),
        },
        Case {
            name: "an entry point with Windows's line ends",
            thread: "",
            args: &[],
            wrong: image(shell("#!/bin/sh\r\necho hello\r\n", 0o755)),
            right: image(shell("#!/bin/sh\necho hello\n", 0o755)),
            expected: ("shebang", Some("/entrypoint.sh"), "error"),
        },
        Case {
            name: "an entry point for a shell that is not there",
            thread: "",
            args: &[],
            wrong: image(shell("#!/bin/bash\n", 0o755)),
            right: image(shell("#!/bin/sh\n", 0o755)),
            expected: ("shebang", Some("/entrypoint.sh"), "error"),
        },
        Case {
            name: "a script for an interpreter that nobody may execute",
            thread: "",
            args: &[],
            wrong: image(app(ARM64.0).file("/bin/lua", bytes(&freestanding("arm64")), 0o644).file(
                "/bin/x",
                "#!/bin/lua\n",
                0o755,
            )),
            right: image(app(ARM64.0).file("/bin/lua", bytes(&freestanding("arm64")), 0o755).file(
                "/bin/x",
                "#!/bin/lua\n",
                0o755,
            )),
            expected: ("shebang", Some("/bin/x"), "warning"),
        },
        Case {
            name: "a script for a name that env does not find",
            thread: "",
            args: &[],
            wrong: image(app(ARM64.0).program("/usr/bin/env", freestanding("arm64")).file(
                "/bin/x",
                "#!/usr/bin/env python3\n",
                0o755,
            )),
            right: image(app(ARM64.0).program("/usr/bin/env", freestanding("arm64")).file(
                "/bin/x",
                "#!/usr/bin/env app\n",
                0o755,
            )),
            expected: ("shebang", Some("/bin/x"), "warning"),
        },
        Case {
            name: "a macOS add-on in node_modules",
            thread: "",
            args: &[],
            wrong: image(app(ARM64.0).file("/app/node_modules/x/x.node", MACHO, 0o644)),
            right: image(app(ARM64.0).file("/app/node_modules/x/x.data", MACHO, 0o644)),
            expected: ("foreign-format", Some("/app/node_modules/x/x.node"), "warning"),
        },
        Case {
            name: "a Windows program",
            thread: "",
            args: &[],
            wrong: image(app(ARM64.0).file("/bin/tool.exe", pe(), 0o755)),
            right: image(app(ARM64.0).file("/bin/tool.exe", pe(), 0o644)),
            expected: ("foreign-format", Some("/bin/tool.exe"), "warning"),
        },
        Case {
            name: "an entry point for macOS",
            thread: "",
            args: &[],
            wrong: image(app(ARM64.0).file("/bin/mac", MACHO, 0o755).runs("Entrypoint", json!(["/bin/mac"]))),
            right: image(app(ARM64.0)),
            expected: ("foreign-format", Some("/bin/mac"), "error"),
        },
    ]);
}

/// The start of a thin Mach-O file for arm64.
const MACHO: &[u8] = b"\xcf\xfa\xed\xfe\x0c\0\0\x01\0\0\0\0\x02\0\0\0";

/// The start of a PE file for x86-64, whose header lies where linkers put it.
fn pe() -> Vec<u8> {
    let mut file = vec![0; 0x140];
    file[..2].copy_from_slice(b"MZ");
    file[0x3c..0x3e].copy_from_slice(&0x118_u16.to_le_bytes());
    file[0x118..0x11e].copy_from_slice(b"PE\0\0\x64\x86");
    file
}

#[test]
fn foreign_programs() {
    let emulated = |emulator: &str, mode: u32| {
        Img::new(ARM64.0)
            .runs("Entrypoint", json!(["/.polyarch/qemu-mips", "/bin/app"]))
            .file("/.polyarch/qemu-mips", bytes(&freestanding(emulator)), mode)
            .program("/bin/app", freestanding("mips"))
    };
    let good = || emulated("arm64", 0o755);
    // As `bundle` makes it: the host's stub under the name, the program beside it.
    let bundled = |name: &str| {
        Img::new(ARM64.0)
            .runs("Labels", json!({ "io.polyarch.manifest": "/.polyarch/manifest.json" }))
            .runs("Entrypoint", json!([format!("/bin/{name}")]))
            .file("/.polyarch/qemu-mips", bytes(&freestanding("arm64")), 0o755)
            .program(&format!("/bin/{name}"), freestanding("arm64"))
            .program(&format!("/bin/.{name}.guest"), freestanding("mips"))
    };
    hold(vec![
        Case {
            name: "a program that was put into a bundle",
            thread: "",
            args: &[],
            wrong: image(bundled("app").program("/bin/later", freestanding("mips"))),
            right: image(bundled("app").program("/bin/.later.guest1", freestanding("mips"))),
            expected: ("emulator", Some("/bin/later"), "warning"),
        },
        Case {
            name: "a program of a bundle that executes itself by /proc",
            thread: "",
            args: &[],
            wrong: image(bundled("runc")),
            right: image(bundled("app")),
            expected: ("emulator", Some("/bin/.runc.guest"), "warning"),
        },
        Case {
            name: "nftables in a bundle",
            thread: "",
            args: &[],
            wrong: image(bundled("nft")),
            right: image(bundled("ip")),
            expected: ("unsupported-under-emulation", Some("/bin/.nft.guest"), "warning"),
        },
        Case {
            name: "an emulator for another host",
            thread: "tonistiigi/binfmt PR#349",
            args: &[],
            wrong: image(emulated("amd64", 0o755)),
            right: image(good()),
            expected: ("emulator", Some("/.polyarch/qemu-mips"), "error"),
        },
        Case {
            name: "an emulator that is handed what its programs execute",
            thread: "moby/buildkit#2873",
            args: &[],
            wrong: image(good().program("/bin/other", freestanding("mips"))),
            right: image(
                good()
                    .program("/bin/other", freestanding("mips"))
                    .runs("Labels", json!({ "io.polyarch.emulator.exec": "direct" })),
            ),
            expected: ("emulator", Some("/.polyarch/qemu-mips"), "warning"),
        },
        Case {
            name: "a foreign program that no emulator there serves",
            thread: "",
            args: &[],
            wrong: image(good().program("/bin/other", freestanding("s390x"))),
            right: image(good().program("/bin/other", freestanding("arm64"))),
            expected: ("machine", Some("/bin/other"), "error"),
        },
        Case {
            name: "a foreign program that is setuid",
            thread: "podman#20443",
            args: &[],
            wrong: image(good().file("/bin/app", bytes(&freestanding("mips")), 0o4755)),
            right: image(good()),
            expected: ("setuid-foreign", Some("/bin/app"), "warning"),
        },
        Case {
            name: "nftables under emulation",
            thread: "",
            args: &["--emulated"],
            wrong: image(
                Img::new(ARM64.0)
                    .program("/bin/app", freestanding("arm64"))
                    .program("/usr/sbin/nft", freestanding("arm64")),
            ),
            right: image(
                Img::new(ARM64.0)
                    .program("/bin/app", freestanding("arm64"))
                    .program("/usr/sbin/ip", freestanding("arm64")),
            ),
            expected: ("unsupported-under-emulation", Some("/usr/sbin/nft"), "warning"),
        },
    ]);
}
