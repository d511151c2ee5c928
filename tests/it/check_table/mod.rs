//! Images that are wrong in one way each: `check` finds that, and nothing else, and nothing at all in a corrected twin.
//!
//! Programs are compiled for the case by real cross compilers. Cases of public threads name them.

mod archives;
mod closures;
pub(crate) mod machines;
mod starts;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::cc::{CROSS, Cc, compile};
use crate::support::oci::{Img, layout};
use crate::support::tarball::Tarball;
use crate::support::{Cx, ran};

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
        crate::support::cc::FREESTANDING
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

/// A soft-float program without a libc.
#[track_caller]
fn soft(triple: &str) -> PathBuf {
    compile(&Cc {
        triple,
        flags: &["-static", "-no-pie", "-msoft-float", "-nostdlib", "-ffreestanding"],
        source: crate::support::cc::FREESTANDING,
    })
}

fn bytes(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
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
    let script = crate::support::deb::fixtures().join(format!("check-{}.map", versions.join("-")));
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

fn root(files: Vec<(&'static str, Vec<u8>, u32)>) -> Made {
    Made::Root(files)
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
