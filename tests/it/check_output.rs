//! `check`: what is printed and written of real findings, and what options, policy files and baselines make of them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde_json::Value;

use crate::check_report::{hold_against_schema, python};
use crate::support::cc::CROSS;
use crate::support::oci::{Img, layout};
use crate::support::{Cx, ran};

/// A static program for one of [`CROSS`].
pub(crate) fn program(name: &str) -> Vec<u8> {
    let cross = CROSS.iter().find(|cross| cross.name == name).unwrap();
    fs::read(cross.programs().remove(0).1).unwrap()
}

/// An image for arm64 with amd64's programs in its third layer, and one of which the index says another platform.
fn wrong_image(cx: &Cx) -> String {
    let image = Img::new("linux/arm64").file("/bin/app", program("arm64"), 0o755);
    let image = image.layer("RUN apk add curl").file("/etc/x", "x", 0o644);
    let image = image.layer("COPY tools /opt/tools");
    let image = ["a", "b", "c"]
        .iter()
        .fold(image, |image, name| image.file(&format!("/opt/tools/{name}"), program("amd64"), 0o755));
    layout(cx, "image", &[image.listed("linux/arm/v7")], &[])
}

/// A folder of programs that are for amd64, all but one.
fn dist(cx: &Cx) {
    cx.file("dist/good", program("arm64"));
    cx.file("dist/bad", program("amd64"));
    cx.file("dist/worse", program("mips"));
}

#[test]
fn text_is_by_rule_with_what_to_do_and_short_when_nothing_is_wrong() {
    let cx = Cx::new();
    let image = wrong_image(&cx);
    let wrong = cx.run(["check", "--all-platforms", &image]);
    assert_eq!(wrong.status, 1, "{}", wrong.stderr);
    insta::assert_snapshot!(wrong.stdout, @r"
    error: platform-mismatch: index entry, config and the platform that is asked for agree
      the index lists the image as linux/arm/v7, and its config says linux/arm64
      to do: make the index anew from the images (`polyarch index create` takes the platforms from their configs)

    error: machine (3 times): programs are for the target's machine and operating system
      `/opt/tools/a` is for linux/amd64, not for linux/arm64 (layer 3)
      `/opt/tools/b` is for linux/amd64, not for linux/arm64 (layer 3)
      `/opt/tools/c` is for linux/amd64, not for linux/arm64 (layer 3)
      to do: build or fetch it for linux/arm64; the instruction that brought it is `COPY tools /opt/tools`

    unknown: isa: `/bin/app` does not declare its ISA level, so that nobody can tell whether it is one that the target has

    4 errors, 1 unknown in 5 files, 4 of them ELF, for linux/arm64
    ");
    dist(&cx);
    let right = cx.run(["check", "dist/good", "-t", "linux/arm64", "--severity", "isa=off"]).success();
    insta::assert_snapshot!(right, @"nothing found in 1 file, 1 of them ELF, for linux/arm64");
    // Quiet is what fails, and nothing else.
    let quiet = cx.run(["-q", "check", "dist", "-t", "linux/arm64"]);
    insta::assert_snapshot!(quiet.stdout, @r"
    error: machine (2 times): programs are for the target's machine and operating system
      `dist/bad` is for linux/amd64, not for linux/arm64
      `dist/worse` is for linux/mips, not for linux/arm64
      to do: build it for linux/arm64
    ");
    let quiet = cx.run(["-q", "check", "dist/good", "-t", "linux/arm64"]);
    assert_eq!((quiet.status, quiet.stdout.as_str(), quiet.stderr.as_str()), (0, "", ""));
    // Wordy is all that is known.
    let wordy = cx.run(["-v", "check", "dist", "-t", "linux/arm64"]);
    insta::assert_snapshot!(wordy.stdout, @r"
    error: machine (2 times): programs are for the target's machine and operating system
      `dist/bad` is for linux/amd64, not for linux/arm64
        target    linux/arm64
        expected  AARCH64 64-bit little-endian
        found     X86_64 64-bit little-endian
      `dist/worse` is for linux/mips, not for linux/arm64
        target    linux/arm64
        expected  AARCH64 64-bit little-endian
        found     MIPS 32-bit big-endian
      to do: build it for linux/arm64

    unknown: isa: programs need no ISA level and no CPU feature that the target's CPU does not have
      `dist/good` does not declare its ISA level, so that nobody can tell whether it is one that the target has
        target    linux/arm64
        expected  armv8-a
      to do: nothing, where their compiler's flags are known; `--strict` makes it an error

    2 errors, 1 unknown in 3 files, 3 of them ELF, for linux/arm64
    ");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let cx = Cx::new();
    dist(&cx);
    let colours = |text: &str| text.contains('\x1b');
    let args = ["check", "dist", "-t", "linux/arm64", "-o", "text=report.txt"];
    assert!(!colours(&cx.run(args).stdout));
    let on_terminal = |variable: &str| {
        let line = format!("{variable} {} {}", env!("CARGO_BIN_EXE_polyarch"), args.join(" "));
        let mut script = cx.command("script");
        script.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").stdin(std::process::Stdio::null());
        ran(&mut script).stdout
    };
    assert!(colours(&on_terminal("")), "{}", on_terminal(""));
    assert!(!colours(&fs::read_to_string(cx.path("report.txt")).unwrap()));
    assert!(!colours(&on_terminal("NO_COLOR=1")), "{}", on_terminal("NO_COLOR=1"));
}

#[test]
fn all_forms_are_written_at_once_and_are_what_their_readers_take() {
    let cx = Cx::new();
    let image = wrong_image(&cx);
    dist(&cx);
    let forms =
        ["json=r.json", "sarif=r.sarif", "junit=r.xml", "github=r.txt", "gitlab=q.json", "text=r.log"];
    let mut command = cx.polyarch();
    command.args(["check", "-t", "linux/arm64", &image, "dist"]);
    for form in forms {
        command.args(["--output", form]);
    }
    let text = ran(&mut command);
    assert_eq!(text.status, 1, "{}", text.stderr);
    let json: Value = serde_json::from_slice(&fs::read(cx.path("r.json")).unwrap()).unwrap();
    let count = json["findings"].as_array().unwrap().len();
    assert!(count >= 4, "{json}");
    hold_against_schema(&cx, &cx.path("r.sarif"));
    let script = "import json, sys, xml.etree.ElementTree as T\n\
                  from junitparser import JUnitXml\n\
                  xml = JUnitXml.fromfile(sys.argv[2])\n\
                  print(json.dumps([len(json.load(open(sys.argv[1]))['runs'][0]['results']), xml.failures, \
                  len(list(T.parse(sys.argv[2]).getroot().iter('failure'))), len(json.load(open(sys.argv[3])))]))";
    let counts = python(&cx, script, &[&cx.path("r.sarif"), &cx.path("r.xml"), &cx.path("q.json")]);
    let errors = json["summary"]["errors"].as_u64().unwrap();
    assert_eq!(counts, serde_json::json!([count, errors, errors, count]));
    assert_eq!(fs::read_to_string(cx.path("r.txt")).unwrap().matches("::error ").count() as u64, errors);
    assert_eq!(fs::read_to_string(cx.path("r.log")).unwrap(), text.stdout);
    // Paths of folders are those of the repository; whether they were given from its root or from `/`.
    let absolute = cx.path("dist");
    let args = [
        OsStr::new("check"),
        OsStr::new("-tlinux/arm64"),
        absolute.as_os_str(),
        OsStr::new("--format=gitlab"),
    ];
    let issues: Value = serde_json::from_str(&cx.run(args).stdout).unwrap();
    let paths: Vec<&str> =
        issues.as_array().unwrap().iter().filter_map(|issue| issue["location"]["path"].as_str()).collect();
    assert!(paths.contains(&"dist/bad"), "{paths:?}");
    let files: Vec<String> = fs::read_dir(cx.path("."))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!files.iter().any(|name| name.starts_with(".tmp")), "{files:?}");
}

#[test]
fn reports_go_where_they_are_wanted_and_nowhere_else() {
    let cx = Cx::new();
    dist(&cx);
    let check = |args: &[&str]| cx.run(["check", "dist", "-t", "linux/arm64"].iter().chain(args));
    // Standard output by its name, although it is a file here: nothing of it is overwritten.
    let out = fs::File::create(cx.path("out")).unwrap();
    let status = cx
        .polyarch()
        .args(["check", "dist", "-t", "linux/arm64", "-o", "json=/dev/stdout", "-o", "gitlab=-"])
        .stdout(out)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    let text = fs::read_to_string(cx.path("out")).unwrap();
    assert!(
        text.starts_with("{\n  \"input\": \"dist\"")
            && text.contains("\n}\n[\n")
            && text.contains("error: machine"),
        "{text}"
    );
    // A link is followed and stays one.
    cx.file("old.json", "x".repeat(100_000));
    std::os::unix::fs::symlink("old.json", cx.path("link.json")).unwrap();
    assert_eq!(check(&["-o", "json=link.json"]).status, 1);
    assert!(cx.path("link.json").is_symlink());
    serde_json::from_slice::<Value>(&fs::read(cx.path("old.json")).unwrap()).unwrap();
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(cx.path("old.json")).unwrap());
    assert_eq!(mode & 0o777, 0o644);
    for (args, expected) in [
        (&["-o", "json=nowhere/x"][..], "writing the report `nowhere/x`"),
        (&["-o", "yaml=x"], "there is no format `yaml`, only text, json, sarif, junit, github, gitlab"),
        (&["-o", "json"], "it is written FORMAT=FILE"),
        (&["-o", "json="], "it is written FORMAT=FILE"),
        (&["--format", "xml"], "invalid value 'xml'"),
    ] {
        let told = check(args).failure(2);
        assert!(told.contains(expected), "{told}");
        assert!(!told.contains(".tmp"), "{told}");
    }
    // Whoever reads only the beginning does not change the verdict.
    let line = format!(
        "{} check dist -t linux/arm64 --format sarif | true; echo ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_polyarch")
    );
    assert_eq!(ran(cx.command("bash").args(["-c", &line])).stdout, "1\n");
    let ended = check(&["-o", "json=/dev/full"]).failure(2);
    assert!(ended.contains("writing the report `/dev/full`"), "{ended}");
}

#[test]
fn severities_decide_what_fails() {
    let cx = Cx::new();
    dist(&cx);
    for (args, status) in [
        (&["dist/good"][..], 0),
        (&["dist/good", "--strict"], 1),
        (&["dist/good", "--strict", "--severity", "isa=off"], 0),
        (&["dist/good", "--severity", "isa=error"], 0),
        (&["dist/good", "--fail-on", "note"], 0),
        (&["dist/bad"], 1),
        (&["dist/bad", "--severity", "machine=warning"], 0),
        (&["dist/bad", "--severity", "machine=warning", "--fail-on", "warning"], 1),
        (&["dist/bad", "--severity", "machine=note", "--fail-on", "warning"], 0),
        (&["dist/bad", "--severity", "machine=note", "--fail-on", "note"], 1),
        (&["dist/bad", "--severity", "machine=off"], 0),
        (&["dist/bad", "--severity", "machine=off", "--severity", "machine=on"], 1),
    ] {
        let ran = cx.run(["check", "-t", "linux/arm64"].iter().chain(args));
        assert_eq!(ran.status, status, "{args:?}: {}{}", ran.stdout, ran.stderr);
    }
    for (args, expected) in [
        (["--severity", "machin=off"], "there is no rule `machin`; did you mean `machine`?"),
        (["--severity", "machine=bad"], "`bad` is no severity"),
        (["--severity", "machine"], "it is written RULE=LEVEL"),
        (["--fail-on", "unknown"], "what is unknown fails with `--strict`"),
    ] {
        let told = cx.run(["check", "dist"].iter().chain(&args)).failure(2);
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_policy_file_is_found_and_options_are_above_it() {
    let cx = Cx::new();
    dist(&cx);
    let policy = "[check]\ntargets = ['linux/arm64']\nfail-on = 'warning'\n\
                  [[check.allow]]\nrule = 'machine'\npath = 'dist/bad'\nreason = 'a helper for the build machine'\n\
                  [[check.allow]]\nrule = 'machine'\npath = 'worse'\nreason = 'until the port is done'\nexpires = 2999-12-31\n\
                  [[check.allow]]\nrule = 'shebang'\nreason = 'nothing'\n";
    cx.file("polyarch.toml", policy);
    let text = cx.run(["check", "dist"]).success();
    insta::assert_snapshot!(text, @r"
    note: allowance-unused: every allowance of the policy file allows something that is found
      polyarch.toml:13: the allowance of `shebang` allows nothing that was found
      to do: remove the allowance

    unknown: isa: `dist/good` does not declare its ISA level, so that nobody can tell whether it is one that the target has

    1 note, 1 unknown in 3 files, 3 of them ELF, for linux/arm64; 2 allowed by the policy
    ");
    assert_eq!(cx.run(["check", "dist", "--fail-on", "note"]).status, 1);
    let other = cx.run(["check", "dist", "-t", "linux/amd64", "--format", "json"]);
    let other: Value = serde_json::from_str(&other.stdout).unwrap();
    let paths: Vec<&str> =
        other["findings"].as_array().unwrap().iter().filter_map(|finding| finding["path"].as_str()).collect();
    // What has no target is allowed for all of them.
    assert_eq!(paths, ["dist/good", "polyarch.toml", "polyarch.toml"]);
    assert_eq!(other["summary"]["allowed"], 1);
    let none = cx.run(["check", "dist", "--no-policy"]).failure(2);
    assert!(none.contains("target"), "{none}");
    // An allowance that has ended.
    let past = cx.file("ci/past.toml", policy.replace("2999-12-31", "2020-02-29"));
    let past = ran(cx.polyarch().args(["check", "dist", "--policy"]).arg(past));
    assert_eq!(past.status, 1);
    assert!(past.stdout.contains("dist/worse"), "{}", past.stdout);
    assert!(past.stdout.contains("warning: allowance-expired"), "{}", past.stdout);
    assert!(past.stdout.contains("past.toml:8: the allowance of `machine` in `worse`"), "{}", past.stdout);
    assert!(past.stdout.contains("ended on 2020-02-29"), "{}", past.stdout);
    // One that is wrong.
    cx.file("polyarch.toml", "[check]\ntargts = ['linux/arm64']\n[[check.allow]]\nrule = 'machine'\n");
    let wrong = cx.run(["check", "dist", "-t", "linux/arm64"]).failure(2);
    insta::assert_snapshot!(wrong, @r"
    error: the policy file `polyarch.toml` is not right:
      polyarch.toml:2:1: `[check]` has no key `targts`; did you mean `targets`?
      polyarch.toml:3:1: an allowance needs a `reason`
    hint: docs/check.md has all keys of a policy file
    ");
    let absent = cx.run(["check", "dist", "--policy", "nothing.toml"]).failure(2);
    assert!(absent.contains("reading the policy file `nothing.toml`"), "{absent}");
}

#[test]
fn the_example_of_a_policy_is_one() {
    let cx = Cx::new();
    dist(&cx);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/examples/polyarch.toml");
    fs::copy(example, cx.path("polyarch.toml")).unwrap();
    cx.run(["check", "dist", "--write-baseline"]).success();
    cx.run(["check", "dist"]).success();
    assert!(cx.path("polyarch-baseline.json").exists());
}

#[test]
fn a_project_starts_green_with_a_baseline_and_fails_on_what_is_new() {
    let cx = Cx::new();
    dist(&cx);
    let check = |args: &[&str]| {
        cx.run(["check", "dist", "-t", "linux/arm64", "--baseline", "known.json"].iter().chain(args))
    };
    let absent = check(&[]).failure(2);
    assert!(
        absent.contains("there is no baseline `known.json`") && absent.contains("--write-baseline"),
        "{absent}"
    );
    let written = check(&["--write-baseline"]).success();
    insta::assert_snapshot!(written, @"nothing found in 3 files, 3 of them ELF, for linux/arm64; 3 known to the baseline");
    let known = fs::read_to_string(cx.path("known.json")).unwrap();
    insta::assert_snapshot!(known, @r#"
    {
      "version": 1,
      "findings": [
        {
          "rule": "isa",
          "path": null,
          "target": "linux/arm64",
          "platform": null,
          "message": "`dist/good` does not declare its ISA level, so that nobody can tell whether it is one that the target has",
          "fingerprint": "19631f3960d45b135b1e06959697b03a"
        },
        {
          "rule": "machine",
          "path": "dist/bad",
          "target": "linux/arm64",
          "platform": null,
          "message": "`dist/bad` is for linux/amd64, not for linux/arm64",
          "fingerprint": "820e80a6815f3b92374547099092b8f9"
        },
        {
          "rule": "machine",
          "path": "dist/worse",
          "target": "linux/arm64",
          "platform": null,
          "message": "`dist/worse` is for linux/mips, not for linux/arm64",
          "fingerprint": "0c03777e26374f293184ad6d1c56ccee"
        }
      ]
    }
    "#);
    check(&["--strict"]).success();
    cx.file("dist/new", program("amd64"));
    fs::write(cx.path("dist/worse"), program("arm64")).unwrap();
    let later = check(&[]);
    assert_eq!(later.status, 1);
    insta::assert_snapshot!(later.stdout, @r"
    error: machine: programs are for the target's machine and operating system
      `dist/new` is for linux/amd64, not for linux/arm64
      to do: build it for linux/arm64

    note: baseline-gone: what the baseline has is still found
      known.json: `machine` of `dist/worse` is found no more
      to do: write the baseline anew with `--write-baseline`

    1 error, 1 note in 4 files, 4 of them ELF, for linux/arm64; 2 known to the baseline
    ");
    assert_eq!(
        fs::read_to_string(cx.path("known.json")).unwrap(),
        known,
        "it is only written when that is asked for"
    );
    let told = cx.run(["check", "dist", "-t", "linux/arm64", "--write-baseline"]).failure(2);
    assert!(told.contains("`--write-baseline` has no file to write"), "{told}");
}

#[test]
fn a_rule_is_explained() {
    let cx = Cx::new();
    let page = cx.run(["check", "--explain", "shebang"]).success();
    insta::assert_snapshot!(page, @r#"
    shebang: the interpreter of a script is there and can be executed

    What it holds
      The interpreter that an executable script names is in the image, can be executed, and its line
      does not end as Windows ends lines.

    Why it matters
      `exec /entrypoint.sh: no such file or directory` although it is there, `bad interpreter: No such
      file or directory`, `env: 'bash\r': No such file or directory`.

    To mend it
      Install the interpreter, write `#!/bin/sh` where a POSIX shell is enough, or `sed -i 's/\r$//'`;
      `.gitattributes` with `*.sh text eol=lf` keeps it so.

    When to allow it
      Examples and documentation that nobody runs.

    Severity
      warning: it fails with `--fail-on warning`

    In polyarch.toml
      [[check.allow]]
      rule = "shebang"
      path = "PATTERN"
      reason = "WHY"
    "#);
    for rule in polyarch::check::Rule::ALL {
        let page = cx.run(["check", "--explain", rule.as_str()]).success();
        assert!(page.starts_with(&format!("{rule}: ")), "{page}");
        assert!(page.lines().all(|line| line.chars().count() <= 100), "{page}");
    }
    let all = cx.run(["check", "--explain", "all"]).success();
    assert_eq!(all.lines().count(), polyarch::check::Rule::ALL.len() + 1);
    let wrong = cx.run(["check", "--explain", "needed-mising"]).failure(2);
    assert!(wrong.contains("there is no rule `needed-mising`; did you mean `needed-missing`?"), "{wrong}");
    assert!(cx.run(["check"]).failure(2).contains("<INPUT>"));
}

#[test]
fn names_cannot_take_over_a_terminal_or_a_log() {
    let cx = Cx::new();
    let names: [&[u8]; 5] =
        [b"a\nb", b"::error file=x::owned", b"\x1b[2J\x1b]0;t\x07", b"##[error]x", b"\xff\xfe"];
    for name in names {
        fs::create_dir_all(cx.path("dist")).unwrap();
        fs::write(cx.path(Path::new("dist").join(OsStr::from_bytes(name))), program("amd64")).unwrap();
    }
    let forms = ["text", "json", "sarif", "junit", "github", "gitlab"];
    for form in forms {
        let mut command = cx.polyarch();
        command.args(["check", "dist", "-t", "linux/arm64", "--format", form]).env("CLICOLOR_FORCE", "1");
        let ran = ran(&mut command);
        assert_eq!(ran.status, 1);
        let painted = ran.stdout.replace("\x1b[0m", "").replace("\x1b[1m", "");
        let painted = painted.replace("\x1b[31m", "").replace("\x1b[36m", "").replace("\x1b[33m", "");
        assert!(!painted.contains(['\x1b', '\x07']), "{form}: {}", ran.stdout);
        let forged = ran.stdout.lines().filter(|line| line.starts_with("::error file=x")).count();
        assert_eq!(forged, 0, "{form}: {}", ran.stdout);
        let is_command = |line: &str| line.starts_with("::");
        assert!(
            !ran.stdout.lines().any(|line| line.contains("##[") && !is_command(line) && form == "github")
        );
    }
    hold_against_schema(&cx, &{
        cx.run(["check", "dist", "-t", "linux/arm64", "-o", "sarif=x.sarif"]);
        cx.path("x.sarif")
    });
}

/// Five thousand findings are written in every form in seconds and in little memory, and text shows ten of a rule.
#[test]
fn many_findings_are_no_burden() {
    let cx = Cx::new();
    let bad = cx.file("bad", program("amd64"));
    for folder in 0..5 {
        let folder = cx.path(format!("dist/{folder}"));
        fs::create_dir_all(&folder).unwrap();
        for name in 0..1000 {
            fs::hard_link(&bad, folder.join(format!("program-{name}"))).unwrap();
        }
    }
    let mut command = cx.command("time");
    command.args(["-f", "%M", env!("CARGO_BIN_EXE_polyarch"), "check", "dist", "-t", "linux/arm64"]);
    for form in ["json=r.json", "sarif=r.sarif", "junit=r.xml", "github=r.txt", "gitlab=q.json"] {
        command.args(["-o", form]);
    }
    let ran = ran(&mut command);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert!(ran.stdout.contains("machine (5000 times)"), "{}", ran.stdout);
    assert!(ran.stdout.contains("and 4990 more, which `-v` shows"), "{}", ran.stdout);
    assert!(ran.stdout.lines().count() < 20, "{}", ran.stdout);
    let memory: u64 = ran.stderr.lines().rev().find_map(|line| line.parse().ok()).unwrap();
    assert!(memory < 96 << 10, "{memory} KiB");
    let json: Value = serde_json::from_slice(&fs::read(cx.path("r.json")).unwrap()).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().len(), 5_000);
    let annotations = fs::read_to_string(cx.path("r.txt")).unwrap();
    assert_eq!(annotations.matches("::error ").count(), 10);
}
