//! Images that are wrong in one way each: `check` finds that, and nothing else, and nothing at all in a corrected twin.
//!
//! Programs are compiled for the case by real cross compilers. Cases of public threads name them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::support::cc::{CROSS, Cc, compile};
use super::support::oci::{Img, layout, sha256};
use super::support::tarball::Tarball;
use super::support::{Cx, ran};

/// One case.
struct Case {
    name: &'static str,
    /// The public thread that it is from; empty for none.
    thread: &'static str,
    args: &'static [&'static str],
    wrong: Made,
    right: Made,
    /// Rule, path and severity of the only finding.
    expected: (&'static str, Option<&'static str>, &'static str),
}

/// What a case is about.
enum Made {
    Image(Img),
    /// Several images in an index, and further entries.
    Index(Vec<Img>, Vec<Value>),
    /// A root file system: paths, contents and modes.
    Root(Vec<(&'static str, Vec<u8>, u32)>),
    /// One file.
    File(PathBuf),
    /// A docker archive: its members.
    Archive(Vec<(String, Vec<u8>)>),
}

impl Made {
    fn write(&self, cx: &Cx, name: &str) -> String {
        match self {
            Self::Image(image) => layout(cx, name, std::slice::from_ref(image), &[]),
            Self::Index(images, others) => layout(cx, name, images, others),
            Self::Root(files) => {
                for (path, content, mode) in files {
                    let file = cx.file(&format!("{name}/{path}"), content);
                    fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(*mode)).unwrap();
                }
                name.to_owned()
            }
            Self::File(path) => {
                fs::copy(path, cx.path(name)).unwrap();
                name.to_owned()
            }
            Self::Archive(members) => {
                let tar =
                    members.iter().fold(Tarball::default(), |tar, (path, content)| tar.file(path, content));
                cx.file(&format!("{name}.tar"), tar.end());
                format!("docker-archive:{name}.tar")
            }
        }
    }
}

/// Rule, path, severity and message of a finding.
type Found = (String, Option<String>, String, String);

/// What is found in `input`, but for facts that nobody declares: rule, path, severity, message.
#[track_caller]
fn findings(cx: &Cx, input: &str, args: &[&str]) -> (i32, Vec<Found>) {
    let ran = ran(cx.polyarch().args(["check", "--format", "json", input]).args(args));
    assert!(ran.status < 2, "{input}: {}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let findings = report["findings"].as_array().unwrap().iter();
    let told = findings.filter(|finding| finding["severity"] != "unknown").map(|finding| {
        let field = |key: &str| text(&finding[key]);
        for key in ["help", "input"] {
            assert!(field(key).is_some_and(|text| !text.is_empty()), "{key}: {finding}");
        }
        (field("rule").unwrap(), field("path"), field("severity").unwrap(), field("message").unwrap())
    });
    (ran.status, told.collect())
}

/// Runs the cases, and tells all that are wrong at once.
#[track_caller]
fn hold(cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for case in cases {
        let cx = Cx::new();
        let name = if case.thread.is_empty() {
            case.name.into()
        } else {
            format!("{} ({})", case.name, case.thread)
        };
        let (status, found) = findings(&cx, &case.wrong.write(&cx, "wrong"), case.args);
        let (rule, path, severity) = case.expected;
        let is_right = matches!(
            found.as_slice(),
            [(a, b, c, _)] if (a.as_str(), b.as_deref(), c.as_str()) == (rule, path, severity)
        );
        if !is_right {
            wrong.push(format!("{name}: expected {:?}, found {found:#?}", case.expected));
        }
        if status != i32::from(severity == "error") {
            wrong.push(format!("{name}: exit status {status}"));
        }
        let (status, found) = findings(&cx, &case.right.write(&cx, "right"), case.args);
        if status != 0 || !found.is_empty() {
            wrong.push(format!("{name}, corrected: {status}, {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A static program without a libc, for one of [`CROSS`].
#[track_caller]
fn freestanding(name: &str) -> PathBuf {
    let cross = CROSS.iter().find(|cross| cross.name == name).unwrap_or_else(|| panic!("no {name}"));
    cross.programs().remove(0).1
}

const MAIN: &str = "int main(void) { return 0; }\n";

/// A program of the C library, compiled with `flags`.
#[track_caller]
fn hosted(triple: &str, flags: &[&str]) -> PathBuf {
    compile(&Cc { triple, flags, source: MAIN })
}

/// Where Debian has the libraries of a cross compiler.
fn libraries(triple: &str) -> PathBuf {
    match triple {
        "x86_64-linux-gnu" => "/lib/x86_64-linux-gnu".into(),
        triple => PathBuf::from(format!("/usr/{triple}/lib")),
    }
}

/// An image with the C library of `triple`, whose loader programs name as `loader`.
#[track_caller]
fn with_libc(platform: &str, triple: &str, loader: &str) -> Img {
    let from = libraries(triple);
    let name = Path::new(loader).file_name().unwrap();
    Img::new(platform).program(loader, from.join(name)).program("/lib/libc.so.6", from.join("libc.so.6"))
}

const ARM64: (&str, &str, &str) = ("linux/arm64", "aarch64-linux-gnu", "/lib/ld-linux-aarch64.so.1");

fn arm64() -> Img {
    with_libc(ARM64.0, ARM64.1, ARM64.2)
}

/// A library called `soname`, with `source` and `flags`.
#[track_caller]
fn library(triple: &str, soname: &str, source: &str, flags: &[&str]) -> PathBuf {
    let soname = format!("-Wl,-soname,{soname}");
    let flags: Vec<&str> = ["-shared", "-fPIC", &soname].into_iter().chain(flags.iter().copied()).collect();
    compile(&Cc { triple, flags: &flags, source })
}

/// A program that needs `library`, which it finds there when it is linked.
#[track_caller]
fn linked(triple: &str, library: &Path, flags: &[&str]) -> PathBuf {
    let library = library.to_str().unwrap();
    let flags: Vec<&str> = ["-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined", library]
        .into_iter()
        .chain(flags.iter().copied())
        .collect();
    compile(&Cc { triple, flags: &flags, source: MAIN })
}

fn image(image: Img) -> Made {
    Made::Image(image)
}

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

/// A soft-float program without a libc.
#[track_caller]
fn soft(triple: &str) -> PathBuf {
    compile(&Cc {
        triple,
        flags: &["-static", "-no-pie", "-msoft-float", "-nostdlib", "-ffreestanding"],
        source: super::support::cc::FREESTANDING,
    })
}

fn root(files: Vec<(&'static str, Vec<u8>, u32)>) -> Made {
    Made::Root(files)
}

fn bytes(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

/// A program for `triple` with `flags`, without a libc.
#[track_caller]
fn bare(triple: &str, flags: &[&str]) -> PathBuf {
    let flags: Vec<&str> =
        ["-static", "-no-pie", "-nostdlib", "-ffreestanding"].iter().chain(flags).copied().collect();
    compile(&Cc { triple, flags: &flags, source: super::support::cc::FREESTANDING })
}

/// A Go program.
#[track_caller]
fn go(settings: &[(&str, &str)]) -> PathBuf {
    let key: Vec<String> = settings.iter().map(|(key, value)| format!("{key}-{value}")).collect();
    let key = key.join("-");
    let file = super::support::deb::fixtures().join(format!("check-go-{key}"));
    if !file.exists() {
        let work = tempfile::tempdir_in(super::support::deb::fixtures()).unwrap();
        fs::write(work.path().join("main.go"), "package main\n\nfunc main() { println(\"hello\") }\n")
            .unwrap();
        let made = work.path().join("made");
        let cx = Cx::new();
        let mut command = cx.command("/usr/lib/go-1.19/bin/go");
        command.args(["build", "-o"]).arg(&made).arg("main.go").current_dir(work.path());
        command.env("GOCACHE", super::support::deb::fixtures().join("go-cache"));
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

/// An armel program with a library that has `flags`, in an image for arm/v7.
#[track_caller]
fn mixed_floats(flags: &[&str]) -> Made {
    let flags = [&["-nostdlib"], flags].concat();
    let source = "double twice(double x) { return x + x; }\nvoid __aeabi_dadd(void) {}\n";
    let soft = library("arm-linux-gnueabi", "libtwice.so.1", source, &["-nostdlib", "-mfloat-abi=soft"]);
    let triple =
        if flags.contains(&"-mfloat-abi=hard") { "arm-linux-gnueabihf" } else { "arm-linux-gnueabi" };
    image(
        with_libc("linux/arm/v7", "arm-linux-gnueabi", "/lib/ld-linux.so.3")
            .program("/bin/app", linked("arm-linux-gnueabi", &soft, &[]))
            .program("/lib/libtwice.so.1", library(triple, "libtwice.so.1", source, &flags)),
    )
}

/// An arm64 program whose ABI note asks for that kernel.
#[track_caller]
fn noted(major: u32, minor: u32) -> PathBuf {
    let source = format!(
        "{}__asm__(\".section .note.ABI-tag,\\\"a\\\"\\n.long 4,16,1\\n.asciz \\\"GNU\\\"\\n.long 0,{major},{minor},0\\n.text\");\n",
        super::support::cc::FREESTANDING
    );
    compile(&Cc {
        triple: "aarch64-linux-gnu",
        flags: &["-static", "-no-pie", "-nostdlib", "-ffreestanding"],
        source: &source,
    })
}

/// A program with other bytes at an offset.
#[track_caller]
fn edited(name: &str, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = fs::read(freestanding(name)).unwrap();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

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

/// A library that needs `library`, and that no program needs.
#[track_caller]
fn plugin(needed: &Path) -> PathBuf {
    let needed = needed.to_str().unwrap();
    library(ARM64.1, "plugin.so", "int x;\n", &["-nostdlib", "-Wl,--no-as-needed", needed])
}

/// A library that has `foo` in those versions, the last being the default.
#[track_caller]
fn versioned(versions: &[&str]) -> PathBuf {
    let script = super::support::deb::fixtures().join(format!("check-{}.map", versions.join("-")));
    let text = versions.iter().map(|version| format!("{version} {{ }};")).collect::<Vec<_>>().join("\n");
    fs::create_dir_all(script.parent().unwrap()).unwrap();
    fs::write(&script, text).unwrap();
    let mut source = String::new();
    for (at, version) in versions.iter().enumerate() {
        let mark = if at + 1 == versions.len() { "@@" } else { "@" };
        writeln!(source, "int foo{at}(void) {{ return {at}; }}").unwrap();
        writeln!(source, "__asm__(\".symver foo{at}, foo{mark}{version}\");").unwrap();
    }
    let script = format!("-Wl,--version-script={}", script.display());
    library(ARM64.1, "libfoo.so.1", &source, &["-nostdlib", &script])
}

/// A program that calls `foo` in its newest version.
#[track_caller]
fn calling() -> PathBuf {
    let library = versioned(&["FOO_1.0", "FOO_1.2"]);
    let flags = [library.to_str().unwrap()];
    let source = "int foo(void);\nint main(void) { return foo(); }\n";
    // The library has to follow what needs it.
    compile(&Cc { triple: ARM64.1, flags: &["-Wl,--no-as-needed", flags[0]], source })
}

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
    hold(vec![
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

/// The members of a docker archive of `images`, whose layers `change` may compress.
fn archive(images: &[Img], change: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let mut members = Vec::new();
    let mut manifest = Vec::new();
    for image in images {
        let config = image.config();
        let name = format!("{}.json", sha256(&config));
        let mut layers = Vec::new();
        for layer in image.layers() {
            let path = format!("{}/layer.tar", sha256(&layer));
            members.push((path.clone(), change(layer)));
            layers.push(path);
        }
        manifest.push(json!({ "Config": name, "RepoTags": null, "Layers": layers }));
        members.push((name, config));
    }
    members.push(("manifest.json".into(), serde_json::to_vec(&manifest).unwrap()));
    members
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn archives_for_routeros() {
    let app = || Img::new(ARM64.0).program("/bin/app", freestanding("arm64"));
    let plain = |image: Img| Made::Archive(archive(&[image], |layer| layer));
    let good = || plain(app());
    let mut hybrid = archive(&[app()], |layer| layer);
    hybrid.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    let attestation = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{}", "0".repeat(64)), "size": 2,
        "platform": { "os": "unknown", "architecture": "unknown" },
    });
    let args: &[&str] = &["--profile", "routeros", "--target", "routeros/arm64"];
    hold(vec![
        Case {
            name: "compressed layers",
            thread: "Fluent-networks/tailscale-mikrotik#24",
            args,
            wrong: Made::Archive(archive(&[app()], |layer| gzip(&layer))),
            right: good(),
            expected: ("archive-layout", None, "error"),
        },
        Case {
            name: "an OCI layout beside manifest.json",
            thread: "catesin/AmneziaWG-MikroTik#9",
            args,
            wrong: Made::Archive(hybrid),
            right: good(),
            expected: ("archive-layout", None, "error"),
        },
        Case {
            name: "a layout with attestations, which is no file",
            thread: "kzeedev/MTWireGuard#13",
            args,
            wrong: Made::Index(vec![app()], vec![attestation]),
            right: good(),
            expected: ("archive-layout", None, "error"),
        },
        Case {
            name: "pax records in a layer",
            thread: "moby#45416",
            args,
            wrong: plain(app().pax("/etc/x")),
            right: plain(app().file("/etc/x", "x", 0o644)),
            expected: ("archive-layout", None, "warning"),
        },
        Case {
            name: "no command",
            thread: "",
            args,
            wrong: plain(app().runs("Entrypoint", Value::Null)),
            right: good(),
            expected: ("entrypoint", None, "error"),
        },
        Case {
            name: "larger than the flash of one board",
            thread: "",
            args: &["--profile", "routeros", "--target", "routeros/arm"],
            wrong: plain(Img::new("linux/arm/v7").program("/bin/app", freestanding("armhf")).file(
                "/data",
                vec![0; 17 << 20],
                0o644,
            )),
            right: plain(Img::new("linux/arm/v7").program("/bin/app", freestanding("armhf")).file(
                "/data",
                vec![0; 1 << 20],
                0o644,
            )),
            expected: ("size", None, "warning"),
        },
        Case {
            name: "larger than the room that there is",
            thread: "",
            args: &["--flash", "2"],
            wrong: plain(app().file("/data", vec![0; 3 << 20], 0o644)),
            right: plain(app().file("/data", vec![0; 1 << 20], 0o644)),
            expected: ("size", None, "error"),
        },
    ]);
    // Where there is no container package, nothing in the image mends it.
    let cx = Cx::new();
    let mips = Img::new("linux/mipsle").program("/bin/app", soft("mipsel-linux-gnu"));
    let input = plain(mips).write(&cx, "mmips");
    let (status, found) = findings(&cx, &input, &["--profile", "routeros", "--target", "routeros/mmips"]);
    let rules: Vec<&str> = found.iter().map(|(rule, ..)| rule.as_str()).collect();
    assert_eq!((status, rules), (1, vec!["platform-mismatch"]), "{found:#?}");
}

#[test]
fn the_rules_of_the_docs_are_those_of_the_program() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/check.md")).unwrap();
    let listed: Vec<String> =
        text.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let rules = polyarch::check::Rule::ALL;
    let expected: Vec<String> =
        rules.iter().map(|rule| format!("| `{rule}` | {} | {} |", rule.severity(), rule.summary())).collect();
    assert_eq!(listed, expected);
}
