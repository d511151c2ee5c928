//! Platforms, machines, levels of instruction sets and float ABIs.

use super::{
    ARM64, Case, Made, arm64, bytes, edited, freestanding, hold, hosted, image, library, mixed_floats, noted,
    root, soft,
};
use crate::support::cc::{Cc, compile};
use crate::support::oci::Img;
use crate::support::{Cx, ran};
use serde_json::json;
use std::fs;
use std::path::PathBuf;

#[test]
fn platforms() {
    let app = |platform: &str, program: &str| Img::new(platform).program("/bin/app", freestanding(program));
    let unknown = |kind: &str| {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{}", "0".repeat(64)), "size": 2,
            "platform": { "os": kind, "architecture": kind },
        })
    };
    hold(vec![
        Case {
            name: "index entry arm64 whose config says amd64",
            thread: "moby/buildkit#5677",
            args: &["--all-platforms"],
            wrong: Made::Index(
                vec![app("linux/amd64", "amd64"), app("linux/amd64", "amd64").listed("linux/arm64")],
                vec![unknown("unknown")],
            ),
            right: Made::Index(
                vec![app("linux/amd64", "amd64"), app("linux/arm64", "arm64")],
                vec![unknown("unknown")],
            ),
            expected: ("platform-mismatch", None, "error"),
        },
        Case {
            name: "config amd64 of an image whose files and index entry are arm64",
            thread: "podman#10468",
            args: &[],
            wrong: image(app("linux/amd64", "arm64").listed("linux/arm64")),
            right: image(app("linux/arm64", "arm64")),
            expected: ("platform-mismatch", None, "error"),
        },
        Case {
            name: "a config without a platform",
            thread: "",
            args: &[],
            wrong: image(app("", "arm64").listed("linux/arm64")),
            right: image(app("linux/arm64", "arm64")),
            expected: ("platform-mismatch", None, "error"),
        },
        Case {
            name: "the base of another architecture, asked for by a target",
            thread: "buildah#4742",
            args: &["--target", "linux/arm64"],
            wrong: image(app("linux/amd64", "arm64")),
            right: image(app("linux/arm64", "arm64")),
            expected: ("platform-mismatch", None, "error"),
        },
        Case {
            name: "an index without the target",
            thread: "alireza0/s-ui#1107",
            args: &["--target", "routeros/arm-en7562ct"],
            wrong: Made::Index(vec![app("linux/arm/v7", "armhf"), app("linux/arm64", "arm64")], vec![]),
            right: Made::Index(vec![app("linux/arm/v5", "armel"), app("linux/arm64", "arm64")], vec![]),
            expected: ("platform-mismatch", None, "error"),
        },
        Case {
            name: "the variant lost",
            thread: "docker/buildx#1389",
            args: &["--target", "linux/arm/v7"],
            wrong: image(app("linux/arm", "armhf")),
            right: image(app("linux/arm/v7", "armhf")),
            expected: ("variant", None, "warning"),
        },
        Case {
            name: "listed as v6, and v7 by its config",
            thread: "buildah#6185",
            args: &["--target", "linux/arm/v7"],
            wrong: image(app("linux/arm/v7", "armhf").listed("linux/arm/v6")),
            right: image(app("linux/arm/v7", "armhf").listed("linux/arm/v7")),
            expected: ("variant", None, "error"),
        },
    ]);
}

/// A program for `triple` with `flags`, without a libc.
#[track_caller]
fn bare(triple: &str, flags: &[&str]) -> PathBuf {
    let flags: Vec<&str> =
        ["-static", "-no-pie", "-nostdlib", "-ffreestanding"].iter().chain(flags).copied().collect();
    compile(&Cc { triple, flags: &flags, source: crate::support::cc::FREESTANDING })
}

/// A Go program.
#[track_caller]
pub(crate) fn go(settings: &[(&str, &str)]) -> PathBuf {
    let key: Vec<String> = settings.iter().map(|(key, value)| format!("{key}-{value}")).collect();
    let key = key.join("-");
    let file = crate::support::deb::fixtures().join(format!("check-go-{key}"));
    if !file.exists() {
        let work = tempfile::tempdir_in(crate::support::deb::fixtures()).unwrap();
        fs::write(work.path().join("main.go"), "package main\n\nfunc main() { println(\"hello\") }\n")
            .unwrap();
        let made = work.path().join("made");
        let cx = Cx::new();
        let mut command = cx.command("/usr/lib/go-1.19/bin/go");
        command.args(["build", "-o"]).arg(&made).arg("main.go").current_dir(work.path());
        command.env("GOCACHE", crate::support::deb::fixtures().join("go-cache"));
        command.envs(settings.iter().copied()).env("CGO_ENABLED", "0").env("GOOS", "linux");
        ran(&mut command).success();
        fs::rename(&made, &file).unwrap();
    }
    file
}

#[test]
fn machines() {
    let app = |platform: &str, program: &str| Img::new(platform).program("/bin/app", freestanding(program));
    let third = |program: &str| {
        app("linux/arm64", "arm64")
            .layer("RUN make")
            .file("/etc/x", "x", 0o644)
            .layer("COPY helper")
            .program("/bin/helper", freestanding(program))
    };
    let file = |name: &str| Made::File(freestanding(name));
    hold(vec![
        Case {
            name: "an amd64 program in an arm64 image's third layer",
            thread: "projectcalico/calico#13183",
            args: &[],
            wrong: image(third("amd64")),
            right: image(third("arm64")),
            expected: ("machine", Some("/bin/helper"), "error"),
        },
        Case {
            name: "the entry point of another architecture",
            thread: "openwrt/docker#112",
            args: &[],
            wrong: image(app("linux/mips", "armel")),
            right: image(app("linux/mips", "mips")),
            expected: ("machine", Some("/bin/app"), "error"),
        },
        Case {
            name: "an amd64 binary in the arm64 image of a release",
            thread: "artyomsv/marauder#74",
            args: &["--target", "linux/arm64"],
            wrong: image(app("linux/arm64", "arm64").program("/usr/local/bin/tool", freestanding("amd64"))),
            right: image(app("linux/arm64", "arm64").program("/usr/local/bin/tool", freestanding("arm64"))),
            expected: ("machine", Some("/usr/local/bin/tool"), "error"),
        },
        Case {
            name: "a library of another architecture that nothing is linked to",
            thread: "osixia/container-keepalived#68",
            args: &[],
            wrong: image(arm64().program("/bin/app", hosted(ARM64.1, &[])).program(
                "/usr/lib/plugin.so",
                library("x86_64-linux-gnu", "plugin.so", "int x;", &["-nostdlib"]),
            )),
            right: image(
                arm64()
                    .program("/bin/app", hosted(ARM64.1, &[]))
                    .program("/usr/lib/plugin.so", library(ARM64.1, "plugin.so", "int x;", &["-nostdlib"])),
            ),
            expected: ("machine", Some("/usr/lib/plugin.so"), "error"),
        },
        Case {
            name: "x32 code in an amd64 image",
            thread: "",
            args: &[],
            wrong: image(app("linux/amd64", "amd64").program("/bin/tool", freestanding("x32"))),
            right: image(app("linux/amd64", "amd64").program("/bin/tool", freestanding("amd64"))),
            expected: ("class", Some("/bin/tool"), "error"),
        },
        Case {
            name: "32-bit RISC-V in a 64-bit image",
            thread: "",
            args: &[],
            wrong: image(app("linux/riscv64", "riscv32")),
            right: image(app("linux/riscv64", "riscv64")),
            expected: ("class", Some("/bin/app"), "error"),
        },
        Case {
            name: "little-endian for big-endian",
            thread: "tonistiigi/binfmt#255",
            args: &["--target", "linux/mips"],
            wrong: image(app("linux/mips", "mipsel")),
            right: image(app("linux/mips", "mips")),
            expected: ("endianness", Some("/bin/app"), "error"),
        },
        Case {
            name: "a big-endian program for mmips",
            thread: "moby/buildkit#1959",
            args: &["--target", "routeros/mmips"],
            wrong: Made::File(soft("mips-linux-gnu")),
            right: Made::File(soft("mipsel-linux-gnu")),
            expected: ("endianness", Some("wrong"), "error"),
        },
        Case {
            name: "n32 code in an o32 image",
            thread: "tonistiigi/binfmt#280",
            args: &[],
            wrong: image(app("linux/mips", "mipsn32")),
            right: image(app("linux/mips", "mips")),
            expected: ("variant", Some("/bin/app"), "error"),
        },
        Case {
            name: "a file alone for another target",
            thread: "dockcross#120",
            args: &["--target", "linux/ppc"],
            wrong: file("ppc64-elfv1"),
            right: file("powerpc"),
            expected: ("machine", Some("wrong"), "error"),
        },
        Case {
            name: "a damaged program",
            thread: "",
            args: &[],
            wrong: image(app("linux/arm64", "arm64").file("/bin/tool", b"\x7fELF\x09", 0o755)),
            right: image(app("linux/arm64", "arm64").program("/bin/tool", freestanding("arm64"))),
            expected: ("machine", Some("/bin/tool"), "error"),
        },
        Case {
            name: "a root file system of two architectures",
            thread: "moby#40859",
            args: &[],
            wrong: root(vec![
                ("bin/a", bytes(&freestanding("arm64")), 0o755),
                ("bin/b", bytes(&freestanding("arm64")), 0o755),
                ("bin/c", bytes(&freestanding("s390x")), 0o755),
            ]),
            right: root(vec![
                ("bin/a", bytes(&freestanding("arm64")), 0o755),
                ("bin/b", bytes(&freestanding("arm64")), 0o755),
                ("bin/c", bytes(&freestanding("arm64")), 0o755),
            ]),
            expected: ("mixed-architectures", Some("/bin/c"), "warning"),
        },
        Case {
            name: "a 32-bit program beside amd64",
            thread: "",
            args: &[],
            wrong: image(app("linux/amd64", "amd64").program("/bin/old", freestanding("i386"))),
            right: image(app("linux/amd64", "amd64").program("/bin/old", freestanding("amd64"))),
            expected: ("mixed-architectures", Some("/bin/old"), "warning"),
        },
    ]);
}

/// An arm/v6 image with a library that has code for NEON besides.
#[track_caller]
fn with_neon(source: &str) -> Made {
    let neon = "__asm__(\".arch armv7-a\\n.fpu neon\\nunused: vadd.i32 q0, q0, q0\\nbx lr\");\n";
    let flags = ["-nostdlib", "-marm", "-march=armv6", "-mfloat-abi=soft"];
    let library = library("arm-linux-gnueabi", "plugin.so", &format!("{source}\n{neon}"), &flags);
    image(
        Img::new("linux/arm/v6")
            .program("/bin/app", freestanding("armel"))
            .program("/usr/lib/plugin.so", library),
    )
}

#[test]
fn levels() {
    let with = |platform: &str, program: PathBuf| image(Img::new(platform).program("/bin/app", program));
    let amd64 = |flags: &[&str]| bare("x86_64-linux-gnu", &[flags, &["-mneeded"]].concat());
    hold(vec![
        Case {
            name: "an armhf program under arm/v5",
            thread: "SecOps-7/MikroDash#45",
            args: &["--target", "routeros/arm-en7562ct"],
            wrong: with("linux/arm/v5", bare("arm-linux-gnueabihf", &[])),
            right: with("linux/arm/v5", bare("arm-linux-gnueabi", &[])),
            expected: ("isa", Some("/bin/app"), "error"),
        },
        Case {
            name: "NEON in a library that does not ask for it",
            thread: "",
            args: &["--target", "linux/arm/v6"],
            wrong: with_neon("int x;"),
            right: with_neon(
                "unsigned long getauxval(unsigned long);\nlong x(void) { return getauxval(16); }",
            ),
            expected: ("isa", Some("/usr/lib/plugin.so"), "error"),
        },
        Case {
            name: "ARMv7 code in an arm/v6 image",
            thread: "netbirdio/netbird#3847",
            args: &[],
            wrong: with("linux/arm/v6", bare("arm-linux-gnueabihf", &["-march=armv7-a+fp"])),
            right: with(
                "linux/arm/v6",
                bare("arm-linux-gnueabi", &["-march=armv6kz+fp", "-mfloat-abi=softfp"]),
            ),
            expected: ("isa", Some("/bin/app"), "error"),
        },
        Case {
            name: "Go's GOARM=7 in an arm/v6 image",
            thread: "alireza0/s-ui#1107",
            args: &[],
            wrong: with("linux/arm/v6", go(&[("GOARCH", "arm"), ("GOARM", "7")])),
            right: with("linux/arm/v6", go(&[("GOARCH", "arm"), ("GOARM", "6")])),
            expected: ("isa", Some("/bin/app"), "error"),
        },
        Case {
            name: "Go's GOARM=6 for a board without FPU",
            thread: "Doridian/wsvpn#23",
            args: &["--target", "routeros/arm-en7562ct"],
            wrong: Made::File(go(&[("GOARCH", "arm"), ("GOARM", "6")])),
            right: Made::File(go(&[("GOARCH", "arm"), ("GOARM", "5")])),
            expected: ("isa", Some("wrong"), "error"),
        },
        Case {
            name: "x86-64-v3 in an amd64 image",
            thread: "",
            args: &[],
            wrong: with("linux/amd64", amd64(&["-march=x86-64-v3"])),
            right: with("linux/amd64", amd64(&["-march=x86-64"])),
            expected: ("isa", Some("/bin/app"), "error"),
        },
        Case {
            name: "Go's GOAMD64=v3 in an amd64 image",
            thread: "",
            args: &[],
            wrong: with("linux/amd64", go(&[("GOARCH", "amd64"), ("GOAMD64", "v3")])),
            right: with("linux/amd64", go(&[("GOARCH", "amd64"), ("GOAMD64", "v1")])),
            expected: ("isa", Some("/bin/app"), "error"),
        },
        Case {
            name: "MIPS release 6 on release 2",
            thread: "",
            args: &[],
            wrong: image(Img::new("linux/mips").file("/bin/app", edited("mipsr6", 8, &[0]), 0o755)),
            right: with("linux/mips", freestanding("mips")),
            expected: ("isa", Some("/bin/app"), "error"),
        },
        Case {
            name: "NaN 2008 on a core of before",
            thread: "AOSC PR#4453",
            args: &[],
            wrong: with("linux/mipsle", bare("mipsel-linux-gnu", &["-mnan=2008"])),
            right: with("linux/mipsle", bare("mipsel-linux-gnu", &["-mnan=legacy"])),
            expected: ("isa", Some("/bin/app"), "error"),
        },
        Case {
            name: "vector instructions in a riscv64 image",
            thread: "",
            args: &[],
            wrong: with("linux/riscv64", bare("riscv64-linux-gnu", &["-march=rv64gc_zba"])),
            right: with("linux/riscv64", bare("riscv64-linux-gnu", &["-march=rv64gc"])),
            expected: ("isa", Some("/bin/app"), "error"),
        },
        Case {
            name: "hard-float MIPS for routeros/mipsbe",
            thread: "libjpeg-turbo PR#408",
            args: &["--target", "routeros/mipsbe"],
            wrong: with("linux/mips", freestanding("mips")),
            right: with("linux/mips", soft("mips-linux-gnu")),
            expected: ("float-abi", Some("/bin/app"), "error"),
        },
        Case {
            name: "Go's GOMIPS=hardfloat for mmips",
            thread: "",
            args: &["--target", "routeros/mmips"],
            wrong: Made::File(go(&[("GOARCH", "mipsle"), ("GOMIPS", "hardfloat")])),
            right: Made::File(go(&[("GOARCH", "mipsle"), ("GOMIPS", "softfloat")])),
            expected: ("float-abi", Some("wrong"), "error"),
        },
        Case {
            name: "VFP instructions, passed softly, for a board without FPU",
            thread: "",
            args: &["--target", "routeros/arm-en7562ct"],
            wrong: with(
                "linux/arm/v5",
                bare("arm-linux-gnueabi", &["-march=armv5te+fp", "-mfloat-abi=softfp"]),
            ),
            right: with("linux/arm/v5", bare("arm-linux-gnueabi", &["-march=armv5te"])),
            expected: ("float-abi", Some("/bin/app"), "error"),
        },
        Case {
            name: "a soft-float program with a hard-float library",
            thread: "",
            args: &["--target", "linux/arm/v7"],
            wrong: mixed_floats(&["-march=armv7-a+fp", "-mfloat-abi=hard"]),
            right: mixed_floats(&["-mfloat-abi=soft"]),
            expected: ("float-abi", Some("/bin/app"), "error"),
        },
        Case {
            name: "a program for newer kernels than RouterOS's",
            thread: "",
            args: &["--target", "routeros/arm64"],
            wrong: with("linux/arm64", noted(6, 1)),
            right: with("linux/arm64", noted(3, 7)),
            expected: ("kernel", Some("/bin/app"), "error"),
        },
        Case {
            name: "a C library that wants a newer kernel than is asked for",
            thread: "",
            args: &["--kernel", "3.0"],
            wrong: with("linux/arm64", noted(3, 7)),
            right: with("linux/arm64", noted(2, 6)),
            expected: ("kernel", Some("/bin/app"), "error"),
        },
        Case {
            name: "segments for 4 KiB pages",
            thread: "",
            args: &[],
            wrong: with("linux/arm64", bare("aarch64-linux-gnu", &["-Wl,-z,max-page-size=4096"])),
            right: with("linux/arm64", bare("aarch64-linux-gnu", &["-Wl,-z,max-page-size=65536"])),
            expected: ("page-size", Some("/bin/app"), "warning"),
        },
        Case {
            name: "an AppImage's padding",
            thread: "AppImage/AppImageKit#965",
            args: &[],
            wrong: image(Img::new("linux/arm64").file("/bin/app", edited("arm64", 8, b"AI\x02"), 0o755)),
            right: image(Img::new("linux/arm64").file("/bin/app", edited("arm64", 8, b"\0\0\0"), 0o755)),
            expected: ("binfmt-quirk", Some("/bin/app"), "warning"),
        },
        Case {
            name: "OpenWrt's ABI version",
            thread: "openwrt/docker PR#113",
            args: &[],
            wrong: image(Img::new("linux/mips").file("/bin/app", edited("mips", 8, &[1]), 0o755)),
            right: image(Img::new("linux/mips").file("/bin/app", edited("mips", 8, &[0]), 0o755)),
            expected: ("binfmt-quirk", Some("/bin/app"), "warning"),
        },
    ]);
}
