//! What compilers promise, as `inspect` reads it from what they make: each case is compiled here.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::cc::{Cc, FREESTANDING, compile};
use crate::support::deb::deb;
use crate::support::{Cx, ran};

fn inspect(path: &Path) -> Value {
    let ran = Cx::new().run(["inspect".as_ref(), "--format".as_ref(), "json".as_ref(), path.as_os_str()]);
    let mut rows: Vec<Value> = serde_json::from_str(&ran.success()).unwrap();
    assert_eq!(rows.len(), 1);
    let row = rows.remove(0);
    assert_eq!(row["problems"], Value::Array(Vec::new()), "{row:#?}");
    row
}

/// (compiler, flags, `abi`, `isa`, `float_abi`, features that must be there). `-` is null.
type Case = (
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

const CASES: &[Case] = &[
    ("arm-linux-gnueabi", &["-march=armv4t"], "eabi5", "armv4t", "soft", &[]),
    ("arm-linux-gnueabi", &["-march=armv5te"], "eabi5", "armv5te", "soft", &[]),
    ("arm-linux-gnueabi", &["-mcpu=arm926ej-s"], "eabi5", "armv5tej", "soft", &[]),
    ("arm-linux-gnueabi", &["-march=armv6", "-marm"], "eabi5", "armv6", "soft", &[]),
    (
        "arm-linux-gnueabi",
        &["-march=armv6+fp", "-mfloat-abi=softfp", "-marm"],
        "eabi5",
        "armv6",
        "softfp",
        &["vfpv2"],
    ),
    ("arm-linux-gnueabi", &["-mcpu=arm1176jzf-s", "-marm"], "eabi5", "armv6kz", "soft", &[]),
    ("arm-linux-gnueabihf", &["-march=armv6+fp", "-marm"], "eabi5", "armv6", "hard", &["vfpv2"]),
    ("arm-linux-gnueabihf", &[], "eabi5", "armv7-a", "hard", &["vfpv3-d16", "thumb2"]),
    ("arm-linux-gnueabihf", &["-mfpu=neon", "-marm"], "eabi5", "armv7-a", "hard", &["neon"]),
    ("arm-linux-gnueabihf", &["-march=armv8-a+simd"], "eabi5", "armv8-a", "hard", &["neon-armv8"]),
    ("arm-linux-gnueabihf", &["-march=armv7-r+fp.sp"], "eabi5", "armv7-r", "hard", &[]),
    ("arm-linux-gnueabi", &["-mbig-endian", "-mbe8", "-march=armv7-a"], "eabi5", "armv7-a", "soft", &[]),
    ("aarch64-linux-gnu", &["-mbranch-protection=standard"], "lp64", "-", "-", &["bti", "pac"]),
    (
        "x86-64-linux-gnu",
        &["-Wa,-mx86-used-note=yes", "-march=x86-64-v3", "-Wl,-z,x86-64-v3"],
        "lp64",
        "x86-64-v3",
        "-",
        &[],
    ),
    ("x86-64-linux-gnu", &["-Wl,-z,x86-64-v2"], "lp64", "x86-64-v2", "-", &[]),
    (
        "x86-64-linux-gnu",
        &["-fcf-protection=full", "-Wl,-z,ibt", "-Wl,-z,shstk"],
        "lp64",
        "-",
        "-",
        &["ibt", "shstk"],
    ),
    ("x86_64-linux-gnux32", &[], "x32", "-", "-", &[]),
    ("mips-linux-gnu", &[], "o32", "mips32r2", "hard", &["fpxx"]),
    ("mips-linux-gnu", &["-msoft-float"], "o32", "mips32r2", "soft", &[]),
    ("mips-linux-gnu", &["-mips1", "-mfp32"], "o32", "mips1", "hard", &[]),
    ("mips-linux-gnu", &["-mips32"], "o32", "mips32", "hard", &[]),
    (
        "mips-linux-gnu",
        &["-mips32r5", "-mfp64", "-mmsa", "-mnan=2008"],
        "o32",
        "mips32r5",
        "hard",
        &["msa", "nan2008", "fp64"],
    ),
    ("mipsel-linux-gnu", &["-mdsp"], "o32", "mips32r2", "hard", &["dsp"]),
    ("mipsel-linux-gnu", &["-mips16"], "o32", "mips32r2", "hard", &["mips16"]),
    ("mipsel-linux-gnu", &["-mmicromips"], "o32", "mips32r2", "hard", &["micromips"]),
    ("mipsisa32r6-linux-gnu", &[], "o32", "mips32r6", "hard", &["nan2008"]),
    ("mips64-linux-gnuabi64", &[], "n64", "mips64r2", "hard", &[]),
    ("mips64-linux-gnuabi64", &["-mabi=n32"], "n32", "mips64r2", "hard", &[]),
    ("mips64-linux-gnuabi64", &["-march=octeon2"], "n64", "mips64r2", "hard", &["octeon2"]),
    ("mipsisa64r6el-linux-gnuabi64", &[], "n64", "mips64r6", "hard", &["nan2008"]),
    ("powerpc-linux-gnu", &[], "-", "-", "hard", &[]),
    ("powerpc-linux-gnu", &["-msoft-float"], "-", "-", "soft", &[]),
    ("powerpc-linux-gnu", &["-mcpu=7450", "-maltivec", "-mabi=altivec"], "-", "-", "hard", &[]),
    ("powerpc64-linux-gnu", &[], "elfv1", "-", "hard", &[]),
    ("powerpc64-linux-gnu", &["-mabi=elfv2"], "elfv2", "-", "hard", &[]),
    ("powerpc64le-linux-gnu", &[], "elfv2", "-", "hard", &[]),
    ("riscv64-linux-gnu", &[], "lp64d", "rv64gc", "hard", &["rvc"]),
    ("riscv64-linux-gnu", &["-march=rv64imac", "-mabi=lp64"], "lp64", "rv64imac", "soft", &["rvc"]),
    ("riscv64-linux-gnu", &["-march=rv64imafd", "-mabi=lp64d"], "lp64d", "rv64g", "hard", &[]),
    ("riscv64-linux-gnu", &["-march=rv64gc_zba_zbb", "-mabi=lp64d"], "lp64d", "rv64gc_zba_zbb", "hard", &[]),
    ("riscv64-linux-gnu", &["-march=rv32imac", "-mabi=ilp32"], "ilp32", "rv32imac", "soft", &["rvc"]),
    ("riscv64-linux-gnu", &["-march=rv32e", "-mabi=ilp32e"], "ilp32e", "rv32e", "soft", &["rve"]),
    ("s390x-linux-gnu", &["-march=z13", "-mvx"], "-", "-", "-", &[]),
    ("sparc64-linux-gnu", &["-mcpu=v9"], "-", "v9", "-", &[]),
    ("sparc64-linux-gnu", &["-m32", "-mcpu=v8"], "-", "v8", "-", &[]),
    ("sh4-linux-gnu", &[], "-", "sh2a-or-sh4", "-", &[]),
    ("m68k-linux-gnu", &[], "-", "-", "-", &[]),
    ("m68k-linux-gnu", &["-mcpu=5475"], "-", "isa-b", "-", &[]),
    ("hppa-linux-gnu", &[], "-", "pa1.1", "-", &[]),
    ("alpha-linux-gnu", &[], "-", "-", "-", &[]),
];

/// Uses floating point and takes it as an argument, so that each compiler says what it does with it.
const FLOATING: &str = "double half(double x) { return x / 2; }\n";

#[test]
fn compilers_promises_are_read() {
    let mut wrong = Vec::new();
    for (triple, flags, abi, isa, float, features) in CASES {
        let source = format!("{FLOATING}{FREESTANDING}");
        let flags =
            [&["-nostdlib", "-static", "-O1", "-Wl,--unresolved-symbols=ignore-all"][..], flags].concat();
        let triple = if *triple == "x86-64-linux-gnu" { "x86_64-linux-gnu" } else { triple };
        let row = inspect(&compile(&Cc { triple, flags: &flags, source: &source }));
        for (key, expected) in [("abi", abi), ("isa", isa), ("float_abi", float)] {
            let found = row[key].as_str().unwrap_or("-");
            if found != *expected {
                wrong.push(format!("{triple} {flags:?}: {key} is {found}, expected {expected}"));
            }
            assert_eq!(
                found != "-",
                row["evidence"][key].is_object(),
                "{triple} {flags:?}: evidence of {key}"
            );
        }
        let found: Vec<&str> = row["features"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        for feature in *features {
            if !found.contains(feature) {
                wrong.push(format!("{triple} {flags:?}: {feature} is not in {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// GCC no longer compiles for SPE; its assembler still knows the instructions, and says that they were used.
#[test]
fn spe_is_read_from_the_apuinfo_record() {
    let source =
        format!("{FLOATING}{FREESTANDING}__asm__(\".machine e500\\n evxor 3,4,5\\n efdadd 3,4,5\");");
    let flags = ["-nostdlib", "-static", "-msoft-float", "-Wl,--unresolved-symbols=ignore-all", "-Wa,-mspe"];
    let row = inspect(&compile(&Cc { triple: "powerpc-linux-gnu", flags: &flags, source: &source }));
    assert_eq!(row["float_abi"], "spe", "{row:#?}");
    assert!(row["features"].to_string().contains("\"spe\""), "{row:#?}");
}

#[test]
fn objects_and_debugging_information_tell_as_programs_do() {
    let cc = |flags| Cc { triple: "mips-linux-gnu", flags, source: FLOATING };
    let object = inspect(&compile(&cc(&["-c", "-msoft-float"])));
    assert_eq!((&object["type"], &object["float_abi"]), (&"REL".into(), &"soft".into()));
    assert_eq!(object["linkage"], Value::Null);

    // What was split off keeps the segments' headers without their bytes.
    let cx = Cx::new();
    let library = compile(&cc(&["-shared", "-nostdlib", "-g", "-Wl,-soname,libhalf.so.1", "-fPIC"]));
    ran(cx.command("mips-linux-gnu-objcopy").arg("--only-keep-debug").arg(&library).arg("half.debug"))
        .success();
    let debug = inspect(&cx.path("half.debug"));
    assert_eq!((&debug["machine"], &debug["abi"]), (&"MIPS".into(), &"o32".into()));
    assert_eq!((&debug["linkage"], &debug["soname"]), (&Value::Null, &Value::Null));
    let library = inspect(&library);
    assert_eq!((&library["linkage"], &library["soname"]), (&"dynamic".into(), &"libhalf.so.1".into()));
}

#[test]
fn linkage_and_names_are_read() {
    const HELLO: &str = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n";
    let of = |triple, flags| inspect(&compile(&Cc { triple, flags, source: HELLO }));
    let dynamic = of("riscv64-linux-gnu", &["-Wl,-rpath,/opt/lib", "-Wl,--disable-new-dtags"]);
    assert_eq!(dynamic["linkage"], "dynamic");
    assert_eq!(dynamic["interpreter"], "/lib/ld-linux-riscv64-lp64d.so.1");
    assert_eq!(dynamic["needed"][0], "libc.so.6");
    assert_eq!((&dynamic["rpath"], &dynamic["runpath"]), (&"/opt/lib".into(), &Value::Null));
    assert_eq!(dynamic["glibc"], "2.34");
    assert_eq!(dynamic["kernel"], "4.15.0");
    assert_eq!(dynamic["toolchain"]["glibc"]["needs"], "2.34");
    let runpath = of("riscv64-linux-gnu", &["-Wl,-rpath,$ORIGIN/../lib", "-Wl,--enable-new-dtags"]);
    assert_eq!((&runpath["rpath"], &runpath["runpath"]), (&Value::Null, &"$ORIGIN/../lib".into()));

    let fixed = of("aarch64-linux-gnu", &["-static"]);
    assert_eq!(
        (&fixed["linkage"], &fixed["type"], &fixed["needed"]),
        (&"static".into(), &"EXEC".into(), &Value::Null)
    );
    assert!(fixed["toolchain"]["glibc"].is_object(), "{fixed:#?}");
    let pie = of("aarch64-linux-gnu", &["-static-pie"]);
    assert_eq!((&pie["linkage"], &pie["type"]), (&"static-pie".into(), &"DYN".into()));
}

#[test]
fn targets_are_those_that_the_program_fits() {
    let targets = |triple, flags: &'static [&'static str]| -> Vec<String> {
        let flags = [&["-nostdlib", "-static", "-Wl,--unresolved-symbols=ignore-all"][..], flags].concat();
        let source = format!("{FLOATING}{FREESTANDING}");
        let row = inspect(&compile(&Cc { triple, flags: &flags, source: &source }));
        row["targets"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        targets("arm-linux-gnueabi", &["-march=armv5te"]),
        ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "routeros/arm", "routeros/arm-en7562ct"]
    );
    assert_eq!(targets("arm-linux-gnueabihf", &["-march=armv7-a+fp"]), ["linux/arm/v7", "routeros/arm"]);
    let soft = targets("mips-linux-gnu", &["-msoft-float"]);
    assert_eq!(soft, ["linux/mips", "routeros/mipsbe", "routeros/smips"]);
    assert_eq!(targets("mips-linux-gnu", &[]), ["linux/mips"], "hard float is not for boards without an FPU");
    assert_eq!(targets("mipsel-linux-gnu", &["-msoft-float", "-mdsp"]), ["linux/mipsle", "routeros/mmips"]);
    assert!(targets("powerpc-linux-gnu", &["-msoft-float"]).contains(&"routeros/ppc".to_owned()));
    assert_eq!(targets("powerpc-linux-gnu", &[]), ["linux/ppc"]);
    assert_eq!(targets("aarch64-linux-gnu", &[]), ["linux/arm64", "routeros/arm64"]);
}

#[test]
fn marks_of_one_kind_of_cpu_keep_a_program_from_others() {
    let row = |triple, flags: &'static [&'static str], source: &str| {
        let flags = [&["-nostdlib", "-static", "-Wl,--unresolved-symbols=ignore-all"][..], flags].concat();
        inspect(&compile(&Cc { triple, flags: &flags, source: &format!("{FREESTANDING}{source}") }))
    };
    assert_eq!(row("mips64-linux-gnuabi64", &["-march=octeon2"], "")["targets"], Value::Array(Vec::new()));
    assert_eq!(row("m68k-linux-gnu", &["-mcpu=5475"], "")["targets"], Value::Array(Vec::new()));
    assert_eq!(row("m68k-linux-gnu", &[], "")["targets"][0], "linux/m68k");
    // VFP instructions behind a convention that needs none.
    let vfp = "__asm__(\".fpu vfpv2\\n .eabi_attribute 28, 3\\n fadds s0, s0, s1\");";
    let row_vfp = row("arm-linux-gnueabi", &["-march=armv5te"], vfp);
    assert_eq!(row_vfp["float_abi"], "any");
    assert!(!row_vfp["targets"].to_string().contains("linux/arm/v5"), "{row_vfp:#?}");
    // What every 64-bit CPU has, asked for by a 32-bit program.
    let baseline = row("i686-linux-gnu", &["-Wl,-z,x86-64-baseline"], "");
    assert_eq!(baseline["isa"], "pentium4");
    assert_eq!(baseline["targets"][0], "linux/386");
}

#[test]
fn sparcs_capabilities_are_those_that_readelf_names() {
    let source = format!("{FREESTANDING}__asm__(\"popc %o0, %o1\\n fzero %f0\");");
    let flags = ["-nostdlib", "-static", "-Wa,-Av9a"];
    let program = compile(&Cc { triple: "sparc64-linux-gnu", flags: &flags, source: &source });
    let text = ran(Command::new("readelf").arg("-A").arg(&program)).success();
    let named =
        text.lines().find_map(|line| line.trim().strip_prefix("Tag_GNU_Sparc_HWCAPS:")).unwrap().trim();
    let row = inspect(&program);
    let found: Vec<&str> = row["features"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for name in named.split(['|', ',']).map(str::trim).filter(|name| !name.is_empty()) {
        assert!(found.contains(&name), "readelf: {named}; inspect: {found:?}");
    }
    assert!(found.contains(&"vis") && found.contains(&"popc"), "{found:?}");
}

/// Where Debian's Go 1.19 is installed; `scripts/test` sees to it.
const GO: &str = "/usr/lib/go-1.19/bin/go";

fn go(cx: &Cx, environment: &[(&str, &str)], flags: &[&str]) -> Value {
    cx.file("main.go", "package main\nfunc main() { println(\"hello\") }\n");
    let mut command = cx.command(GO);
    command.args(["build", "-o", "prog"]).args(flags).arg("main.go");
    // The build cache is shared by the cases and by later runs.
    let cache = crate::support::deb::fixtures().join("go");
    command
        .env("GOCACHE", &cache)
        .env("GOFLAGS", "-buildvcs=false")
        .env("CGO_ENABLED", "0")
        .env("GO111MODULE", "off");
    ran(command.envs(environment.iter().copied())).success();
    inspect(&cx.path("prog"))
}

#[test]
fn go_programs_tell_by_their_build_information() {
    let cx = Cx::new();
    for (environment, isa, float, variant) in [
        (&[("GOARCH", "arm"), ("GOARM", "5")][..], "armv5te", "soft", "v5"),
        (&[("GOARCH", "arm"), ("GOARM", "7")], "armv7-a", "softfp", "v7"),
        (&[("GOARCH", "mips"), ("GOMIPS", "softfloat")], "mips32", "soft", "-"),
        (&[("GOARCH", "mipsle"), ("GOMIPS", "hardfloat")], "mips32", "hard", "-"),
        (&[("GOARCH", "386"), ("GO386", "softfloat")], "i586", "soft", "-"),
        (&[("GOARCH", "amd64"), ("GOAMD64", "v3")], "x86-64-v3", "-", "v3"),
    ] {
        // The linker strips symbols and section contents, and this stays.
        let row = go(&cx, environment, &["-ldflags=-s -w"]);
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        assert_eq!(text(&row["isa"]), isa, "{environment:?}: {row:#?}");
        assert_eq!(text(&row["float_abi"]), float, "{environment:?}");
        assert_eq!(text(&row["platform"]["variant"]), variant, "{environment:?}");
        assert_eq!(row["linkage"], "static");
        let version = row["toolchain"]["go"]["version"].as_str().unwrap();
        assert!(version.starts_with("go1.19"), "{version}");
        let (key, value) = environment[1];
        assert_eq!(row["toolchain"]["go"]["settings"][key], value);
        assert_eq!(row["platform"]["architecture"], environment[0].1);
    }
}

#[test]
fn go_is_recognised_by_its_note_alone() {
    let cx = Cx::new();
    go(&cx, &[("GOARCH", "ppc64le")], &[]);
    let mut bytes = std::fs::read(cx.path("prog")).unwrap();
    let at = bytes.windows(14).position(|window| window == b"\xff Go buildinf:").unwrap();
    bytes[at] = 0;
    let row = inspect(&cx.file("stripped", &bytes));
    assert!(row["toolchain"]["go"].is_object(), "{row:#?}");
    assert_eq!(row["toolchain"]["go"]["version"], Value::Null);
}

#[test]
fn a_text_that_speaks_of_musl_does_not_make_a_program_its() {
    let source = "#include <stdio.h>\nint main(void) { puts(\"musl libc (i386)\"); return 0; }\n";
    let row = inspect(&compile(&Cc { triple: "aarch64-linux-gnu", flags: &["-static"], source }));
    assert_eq!(row["toolchain"]["musl"], Value::Null);
    assert!(row["toolchain"]["glibc"].is_object());
}

#[test]
fn rust_and_musl_are_recognised() {
    let row = inspect(Path::new(env!("CARGO_BIN_EXE_polyarch")));
    assert!(row["toolchain"]["rust"].is_object(), "{row:#?}");
    assert!(row["toolchain"]["glibc"].is_object());

    let package = deb("bookworm", "mipsel", "musl");
    let cx = Cx::new();
    ran(cx.command("dpkg-deb").arg("-x").arg(package).arg("musl")).success();
    let rows: Vec<Value> =
        serde_json::from_str(&cx.run(["inspect", "--format", "json", "musl"]).success()).unwrap();
    let library = rows.iter().find(|row| row["kind"] == "elf").unwrap();
    assert!(library["toolchain"]["musl"].is_object(), "{library:#?}");
    assert_eq!(library["toolchain"]["glibc"], Value::Null);
    // A program of C alone is of neither.
    let row = inspect(Path::new("/bin/true"));
    assert_eq!((&row["toolchain"]["rust"], &row["toolchain"]["go"]), (&Value::Null, &Value::Null));
}

#[test]
fn androids_note_is_read() {
    const NOTE: &str = "
        __attribute__((section(\".note.android.ident\"), used, aligned(4)))
        static const struct { int n, d, t; char name[8]; int api; char ndk[64]; char build[64]; }
        note = { 8, 132, 1, \"Android\", 21, \"r25b\", \"8937393\" };
        void _start(void) { for (;;) {} }";
    let row = inspect(&compile(&Cc {
        triple: "aarch64-linux-gnu",
        flags: &["-nostdlib", "-static"],
        source: NOTE,
    }));
    assert_eq!(row["toolchain"]["bionic"]["api"], 21);
    assert_eq!(row["toolchain"]["bionic"]["ndk"], "r25b");
    assert_eq!(row["platform"]["os"], "linux");
}

/// Every value that the facts above had is one of those that are documented.
#[test]
fn documented_values_are_the_values() {
    use polyarch::elf::values;
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/inspect.md")).unwrap();
    let is_told = |value: &str| docs.contains(&format!("`{value}`"));
    let features = values::FEATURES.iter().flat_map(|(_, names)| names.iter().copied());
    let all = values::ABI
        .iter()
        .copied()
        .chain(values::FLOAT_ABI.iter().copied())
        .chain(values::LINKAGE.iter().copied())
        .chain(values::OS_ABI.iter().map(|(_, name)| *name))
        .chain(values::isa_levels())
        .chain(features);
    let missing: Vec<&str> = all.filter(|value| !is_told(value)).collect();
    assert!(missing.is_empty(), "docs/inspect.md does not list {missing:?}");

    let mut seen = 0;
    for folder in [
        "/usr/lib",
        "/usr/mips-linux-gnu",
        "/usr/arm-linux-gnueabi",
        "/usr/riscv64-linux-gnu",
        "/usr/powerpc-linux-gnu",
    ] {
        let ran = Cx::new().run(["inspect", "--format", "json", folder]);
        let rows: Vec<Value> = serde_json::from_str(&ran.success()).unwrap();
        for row in rows.iter().filter(|row| row["kind"] == "elf") {
            seen += 1;
            let is = |key: &str, known: &dyn Fn(&str) -> bool| {
                let value = &row[key];
                assert!(
                    value.is_null() || known(value.as_str().unwrap()),
                    "{key} is {value} in {}",
                    row["path"]
                );
            };
            is("abi", &|value| values::ABI.contains(&value));
            is("float_abi", &|value| values::FLOAT_ABI.contains(&value));
            is("linkage", &|value| values::LINKAGE.contains(&value));
            is("isa", &values::is_isa);
            for feature in row["features"].as_array().unwrap() {
                let known =
                    values::FEATURES.iter().any(|(_, names)| names.iter().any(|name| feature == name));
                assert!(known, "feature {feature} in {}", row["path"]);
            }
        }
    }
    assert!(seen > 500, "{seen}");
}
