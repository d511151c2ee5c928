//! `check` on whole systems: registries, Debian's roots, what loaders and CPUs say to the same programs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use polyarch::target::Catalogue;
use serde_json::{Value, json};

use super::check_loaders::hold_settled;
use super::support::cc::{CROSS, Cc, compile};
use super::support::deb::{fixtures, mirror};
use super::support::oci::{Img, layout};
use super::support::registry::Registry;
use super::support::{Cx, Ran, ran};

pub(crate) fn check(cx: &Cx, args: &[&str]) -> Ran {
    ran(cx.polyarch().args(["-q", "check", "--format", "json"]).args(args))
}

#[track_caller]
pub(crate) fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|err| panic!("{err}: {ran:?}"))
}

/// Rule and path of findings of one severity.
fn found(report: &Value, severity: &str) -> Vec<(String, String)> {
    let findings = report["findings"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    findings
        .filter(|finding| finding["severity"] == severity)
        .map(|finding| (text(&finding["rule"]), text(&finding["path"])))
        .collect()
}

fn freestanding(name: &str) -> PathBuf {
    CROSS.iter().find(|cross| cross.name == name).unwrap().programs().remove(0).1
}

fn app(platform: &str, program: &str) -> Img {
    Img::new(platform).program("/bin/app", freestanding(program))
}

#[test]
fn images_of_registries_are_streamed_and_kept_only_where_that_is_asked_for() {
    let cx = Cx::new();
    let registry = Registry::new(&cx, "registry", "");
    let host = &registry.host;
    let good = app("linux/arm64", "arm64").layer("COPY helper").program("/bin/helper", freestanding("amd64"));
    let local = layout(&cx, "image", &[app("linux/amd64", "amd64"), good], &[]);
    let name = format!("docker://{host}/app:1");
    let copied = cx.polyarch().args(["-q", "copy", "--all", &local, &name]).output().unwrap();
    assert!(copied.status.success(), "{copied:?}");
    let ran = check(&cx, &[&name, "--all-platforms"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    let report = report(&ran);
    assert_eq!(found(&report, "error"), [("machine".to_owned(), "/bin/helper".to_owned())]);
    let finding = &report["findings"][0];
    assert_eq!(finding["layer"]["number"], 2);
    assert_eq!(finding["layer"]["created_by"], "COPY helper");
    assert_eq!((&finding["platform"], &finding["target"]), (&json!("linux/arm64"), &json!("linux/arm64")));
    assert_eq!(report["input"], json!(name));
    assert_eq!(report["targets"], json!(["linux/amd64", "linux/arm64"]));
    assert_eq!(report["inputs"][0]["platforms"], json!(["linux/amd64", "linux/arm64"]));
    let stored = || super::support::image::list(&cx);
    assert!(stored().is_empty(), "{:?}", stored());

    // The one that is asked for only, and the store has it afterwards.
    let ran = check(&cx, &[&name, "--platform", "linux/amd64", "--keep"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(stored().len(), 1);
    let ran = check(&cx, &[&name, "--target", "linux/arm64,linux/s390x"]);
    let rules: Vec<String> = found(&self::report(&ran), "error").into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(rules, ["platform-mismatch", "machine"]);
}

#[test]
fn layers_that_were_checked_are_known_by_their_digest() {
    let cx = Cx::new();
    let base =
        || Img::new("linux/arm64").program("/bin/app", freestanding("arm64")).file("/etc/x", "x", 0o644);
    let first = layout(&cx, "first", &[base().layer("COPY").program("/bin/odd", freestanding("s390x"))], &[]);
    let said = |args: &[&str]| {
        let ran = check(&cx, args);
        (ran.status, report(&ran))
    };
    let fresh = said(&[&first]);
    assert_eq!(found(&fresh.1, "error"), [("machine".to_owned(), "/bin/odd".to_owned())]);
    let cache = cx.path("home/.cache/polyarch/check");
    let known = || fs::read_dir(&cache).unwrap().count();
    assert_eq!(known(), 2);
    assert_eq!(said(&[&first]), fresh, "what is remembered is what was read");

    // With the base known, another image of it is read without it: its blob may be gone.
    let second = layout(&cx, "second", &[base().layer("COPY").whiteout("/bin/app")], &[]);
    let digest = super::support::oci::sha256(&base().layers()[0]);
    fs::write(cx.path("second/blobs/sha256").join(&digest), "damaged").unwrap();
    let (status, report) = said(&[&second]);
    assert_eq!(
        (status, found(&report, "error")),
        (1, vec![("entrypoint".to_owned(), "/bin/app".to_owned())])
    );
    let ran = check(&cx, &[&second, "--no-cache"]);
    assert_eq!(ran.status, 2, "{ran:?}");

    // What was cut short or changed is read anew.
    for entry in fs::read_dir(&cache).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        bytes.truncate(bytes.len() - 1);
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(said(&[&first]), fresh);
}

#[test]
fn a_damaged_layer_is_not_remembered() {
    let cx = Cx::new();
    let image = app("linux/arm64", "arm64");
    let name = layout(&cx, "image", std::slice::from_ref(&image), &[]);
    let blob = cx.path("image/blobs/sha256").join(super::support::oci::sha256(&image.layers()[0]));
    let mut bytes = fs::read(&blob).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&blob, bytes).unwrap();
    assert_eq!(check(&cx, &[&name]).status, 2);
    let kept = fs::read_dir(cx.path("home/.cache/polyarch/check")).map_or(0, Iterator::count);
    assert_eq!(kept, 0);
}

#[test]
fn which_targets_an_image_fits() {
    let cx = Cx::new();
    let image = layout(&cx, "image", &[app("linux/arm/v6", "armel")], &[]);
    let ran = check(&cx, &[&image, "--target", "all"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let report = report(&ran);
    let fits: Vec<&str> = report["fits"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|fit| fit["fits"] == true)
        .map(|fit| fit["target"].as_str().unwrap())
        .collect();
    assert_eq!(fits, ["linux/arm/v6", "linux/arm/v7", "routeros/arm"]);
    let file = freestanding("x32").display().to_string();
    assert_eq!(check(&cx, &[&file, "--target", "all"]).status, 1, "x32 fits nothing");
    // What a policy allows does not count.
    let allowed = "[check]\ntargets = ['all']\n[[check.allow]]\nrule = ['machine', 'class', 'endianness', 'platform-mismatch', \
                   'entrypoint']\ntarget = 'linux/s390x'\nreason = 'emulated there'\n";
    cx.file("polyarch.toml", allowed);
    let fits = self::report(&check(&cx, &[&image]))["fits"].clone();
    let fits = |name: &str| {
        fits.as_array().unwrap().iter().find(|fit| fit["target"] == name).unwrap()["fits"].clone()
    };
    assert_eq!(
        (fits("linux/s390x"), fits("linux/arm/v6"), fits("linux/arm64")),
        (true.into(), true.into(), false.into())
    );
    fs::remove_file(cx.path("polyarch.toml")).unwrap();
    let ran = check(&cx, &[&image, "--target", "all,linux/arm64"]);
    assert!(ran.failure(2).contains("stands alone"));
}

#[test]
fn a_policy_wants_static_programs() {
    let cx = Cx::new();
    let made =
        |flags| compile(&Cc { triple: "aarch64-linux-gnu", flags, source: "int main(void) { return 0; }" });
    cx.file("polyarch.toml", "[check]\ntargets = ['linux/arm64']\nstatic = true\n");
    for (program, expected) in [(made(&[]), vec!["linkage"]), (made(&["-static"]), vec![])] {
        let ran = check(&cx, &[program.to_str().unwrap()]);
        let rules: Vec<String> = found(&report(&ran), "error").into_iter().map(|(rule, _)| rule).collect();
        assert_eq!(
            (ran.status == 0, rules),
            (expected.is_empty(), expected.into_iter().map(str::to_owned).collect())
        );
    }
}

#[test]
fn what_cannot_be_checked_is_exit_status_two() {
    let cx = Cx::new();
    cx.file("dist/readme", "no program");
    let program = freestanding("arm64").display().to_string();
    for (args, part) in [
        (vec!["none"], "has no image"),
        (vec!["./none"], "none"),
        (vec!["oci:none"], "none"),
        (vec![program.as_str()], "nothing says what"),
        (vec!["dist", "--target", "linux/arm64"], "holds no program"),
        (vec![program.as_str(), "--target", "linux/none"], "no target is called"),
        (vec![program.as_str(), "--target", "linux/arm64", "--kernel", "new"], "MAJOR.MINOR"),
    ] {
        let ran = check(&cx, &args);
        let said = ran.failure(2);
        assert!(said.contains(part), "{args:?}: {said}");
    }
    // Several inputs are one report.
    let other = freestanding("s390x").display().to_string();
    let ran = check(&cx, &[&program, &other, "--target", "linux/arm64"]);
    let report = report(&ran);
    assert_eq!((ran.status, &report["input"]), (1, &Value::Null));
    assert_eq!(report["inputs"].as_array().unwrap().len(), 2);
    assert_eq!(found(&report, "error"), [("machine".to_owned(), other)]);
}

/// Debian's essential packages and apt for an architecture, unpacked and not configured, kept from run to run.
#[track_caller]
pub(crate) fn debian(suite: &str, architecture: &str) -> PathBuf {
    let folder = fixtures().join("roots");
    let root = folder.join(format!("{suite}-{architecture}"));
    fs::create_dir_all(&folder).unwrap();
    // One test makes it, and those that want it too wait.
    let lock = fs::File::open(&folder).unwrap();
    lock.lock().unwrap();
    if !root.exists() {
        let work = tempfile::tempdir_in(&folder).unwrap();
        let made = work.path().join("root");
        let cx = Cx::new();
        let mut command = cx.command("mmdebstrap");
        // A mirror may be behind the days for which its unstable release says that it is good.
        command.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
        for variable in ["http_proxy", "https_proxy", "no_proxy"] {
            if let Ok(value) = std::env::var(variable) {
                command.env(variable, value);
            }
        }
        command.args(["--quiet", "--variant=extract", "--include=?essential", "--include=apt"]);
        command.arg(format!("--architectures={architecture}")).arg(suite).arg(&made).arg(mirror().address());
        ran(&mut command).success();
        fs::rename(&made, &root).unwrap();
    }
    root
}

/// A root is right for its own platform, and all of its programs are wrong for those that run none of them.
#[track_caller]
fn hold_debian(suite: &str, architecture: &str, own: &str) {
    let cx = Cx::new();
    let root = debian(suite, architecture).display().to_string();
    let ran = check(&cx, &[&root, "--target", own]);
    let right = report(&ran);
    assert_eq!((ran.status, found(&right, "error")), (0, Vec::new()), "{architecture}");
    let elf = right["summary"]["elf"].as_u64().unwrap();
    assert!(elf > 300, "{architecture}: {elf}");

    let (settled, lacking) = hold_settled(Path::new(&root));
    assert!(settled > 300 && lacking < settled / 20, "{architecture}: {settled} {lacking}");

    let inspected = ran_inspect(&cx, &root);
    let used: Vec<&Value> =
        inspected.iter().filter(|row| row["kind"] == "elf" && !row["linkage"].is_null()).collect();
    for target in Catalogue::builtin().targets() {
        if target.debian.is_none() || target.routeros.is_some() {
            continue;
        }
        let ran = check(&cx, &[&root, "--target", &target.name]);
        let report = report(&ran);
        // What inspect says that a file fits is held by its own tests against readelf and qemu.
        let misfits: BTreeSet<&str> = used
            .iter()
            .filter(|row| !row["targets"].as_array().unwrap().iter().any(|name| *name == target.name))
            .map(|row| row["path"].as_str().unwrap())
            .collect();
        let told: BTreeSet<String> = found(&report, "error")
            .into_iter()
            .filter(|(rule, _)| {
                ["machine", "class", "endianness", "variant", "isa", "float-abi"].contains(&rule.as_str())
            })
            .map(|(_, path)| format!("{root}{path}"))
            .collect();
        let told: BTreeSet<&str> = told.iter().map(String::as_str).collect();
        // An amd64 machine runs i386 programs beside its own, and glibc chooses libraries by CPU itself.
        let runs_beside = found(&report, "warning").iter().any(|(rule, _)| rule == "mixed-architectures");
        if runs_beside {
            assert!(
                target.also_runs.iter().any(|name| name == "i386") && architecture == "i386",
                "{}",
                target.name
            );
            continue;
        }
        let missed: Vec<&&str> =
            misfits.difference(&told).filter(|path| !path.contains("glibc-hwcaps")).collect();
        assert!(missed.is_empty(), "{architecture} on {}: not told: {missed:?}", target.name);
        let wrong: Vec<&&str> = told.difference(&misfits).collect();
        assert!(wrong.is_empty(), "{architecture} on {}: told wrongly: {wrong:?}", target.name);
        assert_eq!(ran.status, i32::from(!misfits.is_empty()), "{architecture} on {}", target.name);
    }
}

pub(crate) fn ran_inspect(cx: &Cx, root: &str) -> Vec<Value> {
    let text = ran(cx.polyarch().args(["inspect", "--format", "json", root])).success();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn debian_s_roots_fit_their_own_platform_and_no_other() {
    hold_debian("bookworm", "amd64", "linux/amd64");
    hold_debian("bookworm", "arm64", "linux/arm64");
}

#[test]
#[ignore = "fetches nine more roots of Debian: scripts/test --all"]
fn all_of_debian_s_roots_fit_their_own_platform_and_no_other() {
    for (suite, architecture, own) in [
        ("bookworm", "armel", "linux/arm/v5"),
        ("bookworm", "armhf", "linux/arm/v7"),
        ("bookworm", "i386", "linux/386"),
        ("bookworm", "mips64el", "linux/mips64le"),
        ("bookworm", "mipsel", "linux/mipsle"),
        ("bookworm", "ppc64el", "linux/ppc64le"),
        ("bookworm", "s390x", "linux/s390x"),
        // What came later: by the names under which there is always one.
        ("stable", "riscv64", "linux/riscv64"),
        ("unstable", "loong64", "linux/loong64"),
    ] {
        hold_debian(suite, architecture, own);
    }
}

/// A program that ends with status 77 by itself, and executes `code` before.
#[track_caller]
fn executing(triple: &str, flags: &[&str], code: &str) -> PathBuf {
    let source = format!(
        r#"
void _start(void) {{
    {code}
#if defined(__x86_64__)
    __asm__ volatile("mov $60, %eax; mov $77, %edi; syscall");
#elif defined(__aarch64__)
    __asm__ volatile("mov x8, #93; mov x0, #77; svc #0");
#elif defined(__arm__)
    __asm__ volatile("mov r7, #1; mov r0, #77; svc #0");
#elif defined(__mips__)
    __asm__ volatile("li $2, 4001; li $4, 77; syscall");
#elif defined(__riscv)
    __asm__ volatile("li a7, 93; li a0, 77; ecall");
#elif defined(__powerpc__)
    __asm__ volatile("li 0, 1; li 3, 77; sc");
#endif
    for (;;) {{}}
}}
"#
    );
    let flags: Vec<&str> = ["-static", "-no-pie", "-nostdlib", "-ffreestanding", "-fno-stack-protector"]
        .iter()
        .chain(flags)
        .copied()
        .collect();
    compile(&Cc { triple, flags: &flags, source: &source })
}

const DOUBLE: &str = "volatile double x = 1.5; x = x * x;";
/// On MIPS a constant would be loaded through a register that nobody has set.
const MIPS_DOUBLE: &str = r#"__asm__ volatile("add.d $f0, $f0, $f0" ::: "$f0");"#;

#[test]
fn cpus_agree() {
    let arm =
        |flags: &[&str], code: &str| executing("arm-linux-gnueabi", &[flags, &["-marm"]].concat(), code);
    let mips = |flags: &[&str], code: &str| executing("mips-linux-gnu", flags, code);
    let mipsel = |flags: &[&str], code: &str| executing("mipsel-linux-gnu", flags, code);
    let amd64 =
        |flags: &[&str], code: &str| executing("x86_64-linux-gnu", &[flags, &["-mneeded"]].concat(), code);
    let movw = r#"__asm__ volatile("movw r3, #0x1234" ::: "r3");"#;
    let avx2 = r#"__asm__ volatile("vpaddd %%ymm0, %%ymm0, %%ymm0" ::: "xmm0");"#;
    let bitswap = r#"__asm__ volatile("bitswap $2, $3" ::: "$2");"#;
    let sh1add = r#"__asm__ volatile("sh1add a0, a1, a2" ::: "a0");"#;
    let nothing = "";
    let none = "__asm__ volatile(\"nop\");";
    // Target, program, and whether it is to run there.
    let cases = [
        ("routeros/arm-en7562ct", arm(&["-march=armv5te"], none), true),
        ("routeros/arm-en7562ct", arm(&["-march=armv5te+fp", "-mfloat-abi=softfp"], DOUBLE), false),
        ("routeros/arm-en7562ct", executing("arm-linux-gnueabihf", &["-marm"], DOUBLE), false),
        ("linux/arm/v6", arm(&["-march=armv6kz+fp", "-mfloat-abi=softfp"], DOUBLE), true),
        ("linux/arm/v6", arm(&["-march=armv7-a"], movw), false),
        ("routeros/mipsbe", mips(&["-msoft-float", "-march=mips32r2"], nothing), true),
        ("routeros/mipsbe", mips(&["-mhard-float", "-march=mips32r2"], MIPS_DOUBLE), false),
        ("routeros/mmips", mipsel(&["-msoft-float", "-march=mips32r2"], nothing), true),
        ("routeros/mmips", mipsel(&["-mhard-float", "-march=mips32r2"], MIPS_DOUBLE), false),
        ("linux/amd64", amd64(&["-march=x86-64"], DOUBLE), true),
        ("linux/amd64", amd64(&["-march=x86-64-v3"], avx2), false),
        ("linux/mips", executing("mipsisa32r6-linux-gnu", &[], bitswap), false),
        ("linux/riscv64", executing("riscv64-linux-gnu", &["-march=rv64gc"], none), true),
        ("linux/riscv64", executing("riscv64-linux-gnu", &["-march=rv64gc_zba"], sh1add), false),
    ];
    let cx = Cx::new();
    for (name, program, runs) in cases {
        let target = Catalogue::builtin().target(name).unwrap();
        let shown = program.display().to_string();
        let checked = check(&cx, &[&shown, "--target", name]);
        assert_eq!(checked.status, i32::from(!runs), "check {name} {shown}: {}", checked.stdout);
        let on = |cpu: Option<&str>| {
            let mut command = cx.command(format!("qemu-{}-static", target.qemu.guest));
            ran(command.args(cpu.into_iter().flat_map(|cpu| ["-cpu", cpu])).arg(&program))
        };
        // QEMU's own default has all that it can do, and these targets are the first level.
        let cpu = target.qemu.cpu.as_deref().or(match target.qemu.guest.as_str() {
            "x86_64" => Some("qemu64"),
            // It takes one by the program's own flags.
            "mips" => Some("24Kf"),
            "riscv64" => Some("rv64,zba=false,zbb=false,zbc=false,zbs=false"),
            _ => None,
        });
        // An illegal instruction is signal 4; a NaN mode that the CPU has not is refused before.
        let seen = on(cpu);
        let dies = seen.status == 132 || seen.stderr.contains("NaN mode not supported by CPU");
        assert_eq!((seen.status == 77, dies), (runs, !runs), "{name} {shown}: {seen:?}");
        // It is the CPU that is to blame.
        let most = match target.qemu.guest.as_str() {
            _ if shown.contains("mipsisa32r6") => "mips32r6-generic",
            "mips" | "mipsel" => "24Kf",
            "riscv64" => "rv64,zba=true",
            _ => "max",
        };
        assert_eq!(on(Some(most)).status, 77, "{name} {shown}");
    }
}

#[test]
fn cpus_agree_about_go_s_programs() {
    let cx = Cx::new();
    for (name, settings, runs) in [
        ("linux/amd64", [("GOARCH", "amd64"), ("GOAMD64", "v1")], true),
        ("linux/amd64", [("GOARCH", "amd64"), ("GOAMD64", "v3")], false),
        ("linux/arm/v6", [("GOARCH", "arm"), ("GOARM", "6")], true),
        ("linux/arm/v6", [("GOARCH", "arm"), ("GOARM", "7")], false),
        ("routeros/arm-en7562ct", [("GOARCH", "arm"), ("GOARM", "5")], true),
        ("routeros/arm-en7562ct", [("GOARCH", "arm"), ("GOARM", "6")], false),
        ("routeros/mmips", [("GOARCH", "mipsle"), ("GOMIPS", "softfloat")], true),
        ("routeros/mmips", [("GOARCH", "mipsle"), ("GOMIPS", "hardfloat")], false),
        ("routeros/mipsbe", [("GOARCH", "mips"), ("GOMIPS", "softfloat")], true),
        ("routeros/mipsbe", [("GOARCH", "mips"), ("GOMIPS", "hardfloat")], false),
    ] {
        let target = Catalogue::builtin().target(name).unwrap();
        let program = super::check_table::machines::go(&settings);
        let checked = check(&cx, &[program.to_str().unwrap(), "--target", name]);
        assert_eq!(checked.status, i32::from(!runs), "check {name} {settings:?}: {}", checked.stdout);
        let on = |cpu: &str| {
            let mut command = cx.command(format!("qemu-{}-static", target.qemu.guest));
            ran(command.args(["-cpu", cpu]).arg(&program))
        };
        // Go's own start looks for the CPU's level where it can, and ends with status 1.
        let seen = on(target.qemu.cpu.as_deref().unwrap_or("qemu64"));
        assert_eq!(
            (seen.status == 0, seen.stderr.contains("hello")),
            (runs, runs),
            "{name} {settings:?}: {seen:?}"
        );
        let most = if target.qemu.guest.starts_with("mips") { "24Kf" } else { "max" };
        assert_eq!(on(most).status, 0, "{name} {settings:?}");
    }
}
