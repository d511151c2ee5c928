//! `routeros script`: in the words of each version, held against goldens and a reader of the grammar that knows which
//! version has what.

use std::fs;
use std::path::Path;

use crate::support::Cx;
use crate::support::probe::probe;
use crate::support::rsc::parse;

/// The bands in which scripts differ, by a version of each.
const BANDS: &[(&str, u32)] = &[
    ("7.15", 15),
    ("7.18", 18),
    ("7.19", 19),
    ("7.20", 20),
    ("7.21.1", 21),
    ("7.22", 22),
    ("7.23", 23),
    ("7.24", 24),
];

const ALL: &[&str] = &[
    "--name",
    "probe",
    "--disk",
    "disk1",
    "--mount",
    "disk1/data:/data",
    "--mount",
    "disk1/a b:/b",
    "-e",
    "QUOTED=a \"b\" $c? é",
];

/// An image for x86 routers, in the layout `images`.
fn image(cx: &Cx, words: &[&str]) {
    probe(cx, "mips-linux-gnu", "probe");
    let mut args = vec!["bundle", "probe", "--host", "routeros/x86", "-o", "oci:images:x86", "-e", "A=1"];
    args.extend(words);
    cx.run(args).success();
}

#[test]
fn a_script_is_right_in_every_version() {
    let cx = Cx::new();
    image(&cx, &["--", "uname"]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/routeros");
    for (version, minor) in BANDS {
        let mut args = vec!["routeros", "script", "oci:images:x86", "--version", version];
        args.extend(ALL);
        args.extend(["--target", "routeros/x86"]);
        let script = cx.run(args).success();
        let golden = folder.join(format!("{version}.rsc"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&golden, &script).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(
            script,
            expected,
            "{}: look at what changed, then run with UPDATE_GOLDEN=1",
            golden.display()
        );
        let commands = parse(&script, *minor).unwrap_or_else(|err| panic!("{version}: {err}"));
        let container = commands.iter().find(|command| command.menu == "/container").unwrap();
        assert_eq!(container.get("entrypoint"), Some("/bin/probe"));
        assert_eq!(container.get("cmd"), Some("uname"));
        assert_eq!(container.get("logging"), Some("yes"));
        assert_eq!(container.get("root-dir"), Some("disk1/probe"));
        let values: Vec<&str> = commands.iter().filter_map(|command| command.get("value")).collect();
        assert_eq!(values, ["1", "a \"b\" $c? é"]);
        assert!(script.lines().all(|line| line.starts_with('#') || line.is_ascii()));
    }
    // A script of one band is refused by the grammar of another.
    for (version, minor) in [("7.15", 20), ("7.20", 15), ("7.20", 21), ("7.21.1", 20), ("7.19", 18)] {
        let script = fs::read_to_string(folder.join(format!("{version}.rsc"))).unwrap();
        assert!(parse(&script, minor).is_err(), "{version} is taken by 7.{minor}");
    }
    for wrong in [
        "/container/add file=x nonsense=1",
        "/container/add file=x restart-policy=always",
        "/container/add entrypoint=\"a b\"",
        "/container/add file=$x",
        "/container/add file=\"x",
        "/container/add file=a file=b",
        "/no/menu/add name=x",
        "/container/remove file=x",
        ":if ([:len [/container/find where interface=a]] = 0) do={ /container/add interface=b }",
    ] {
        assert!(parse(wrong, 15).is_err(), "{wrong}");
    }
}

#[test]
fn what_a_device_cannot_do_is_refused_with_what_to_do() {
    let cx = Cx::new();
    image(&cx, &[]);
    let script = |image: &str, args: &[&str]| cx.run([&["routeros", "script", image], args].concat());
    for (args, words) in [
        (vec!["--device", "hAP lite", "--version", "7.20"], "no containers on smips devices"),
        (vec!["--device", "RBM33G", "--version", "7.20"], "RouterOS 7.24 has a package of its own"),
        (
            vec!["--device", "RB5009", "--version", "7.20"],
            "the image is for linux/amd64, and the device runs linux/arm64",
        ),
        (vec!["--device", "toaster", "--version", "7.20"], "no RouterOS device called `toaster`"),
        (vec!["--target", "linux/amd64", "--version", "7.20"], "is no RouterOS target"),
        (vec!["--target", "routeros/x86", "--version", "6.49"], "is no version of RouterOS with containers"),
        (vec!["--target", "routeros/x86", "--version", "7.22", "--memory", "64M"], "it came with 7.23"),
        (vec!["--target", "routeros/x86", "--version", "7.23", "--privileged"], "it came with 7.24"),
        (
            vec!["--target", "routeros/x86", "--version", "7.22", "--name", "a;b"],
            "`a;b` is no name of a container",
        ),
        (vec!["--target", "routeros/x86", "--version", "7.22", "--mount", "x"], "`x` is no mount"),
        (vec!["--target", "routeros/x86", "--version", "7.22", "--address", "x"], "`x` is no address"),
        (vec!["--target", "routeros/x86", "--version", "7.22", "--remote"], "is in no registry"),
    ] {
        let err = script("oci:images:x86", &args).failure(2);
        assert!(err.contains(words), "{args:?}: {err}");
    }
    // Several words: one name for all of them, where the bundle has it.
    image(&cx, &["--", "args", "a b"]);
    let out = script("oci:images:x86", &["--target", "routeros/x86", "--version", "7.15"]).success();
    let commands = parse(&out, 15).unwrap();
    let container = commands.iter().find(|command| command.menu == "/container").unwrap();
    assert_eq!((container.get("entrypoint"), container.get("cmd")), (Some("/.polyarch/start"), None));
    // Else the image's own, where the device takes that.
    cx.run(["bundle", "probe", "-o", "oci:images:own", "--", "args", "a b"]).success();
    let own = ["--target", "routeros/x86", "--version"];
    let out = script("oci:images:own", &[&own[..], &["7.21", "--tmpfs", "32M"]].concat()).success();
    assert!(!out.contains("entrypoint=") && out.contains("tmpfs-max-size=32M"), "{out}");
    parse(&out, 21).unwrap();
    let err = script("oci:images:own", &[&own[..], &["7.22"]].concat()).failure(2);
    assert!(
        err.contains("1 words of entry point and 2 of command") && err.contains("--host routeros/"),
        "{err}"
    );
}
