//! `check`: reports in all their forms, policies and baselines.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use polyarch::check::formats::{self, Context};
use polyarch::check::{
    Baseline, Finding, Input, InputKind, Layer, Policy, PolicyError, Report, Rule, Severity,
};
use serde_json::Value;

use crate::support::{Cx, ran, schema};

/// Names as nobody gives them but who wants to be read wrongly.
fn hostile() -> Vec<OsString> {
    [
        &b"/a\nb"[..],
        b"/::error file=x::owned",
        b"/\r\n::add-mask::x",
        b"/100%25,title=x::y:z",
        b"/##[error]x",
        b"/\x1b[31mred\x1b]0;title\x07",
        b"/<failure message=\"x\">&amp;]]>",
        b"/\xff\xfe\x80",
        "/\u{202e}\u{fffe}\u{85}ü".as_bytes(),
        b"/ , ; \t \"'\\ ",
    ]
    .map(|name| OsString::from_vec(name.to_vec()))
    .into()
}

fn finding(rule: Rule, input: &str, path: impl Into<PathBuf>) -> Finding {
    Finding {
        rule,
        severity: rule.severity(),
        input: input.into(),
        platform: Some("linux/arm64".into()),
        path: Some(path.into()),
        line: None,
        layer: None,
        target: Some("linux/arm64".into()),
        message: "it is a program for amd64".into(),
        expected: Some("AArch64".into()),
        found: Some("X86-64".into()),
        help: "build it for arm64".into(),
    }
}

fn report(findings: Vec<Finding>) -> Report {
    let input = |name: &str, kind| Input { name: name.into(), kind, platforms: vec!["linux/arm64".into()] };
    let inputs = vec![
        input("oci:app:1", InputKind::Image),
        input("./dist", InputKind::Files),
        input("root", InputKind::Root),
        input("root.tar", InputKind::Root),
    ];
    Report::new(inputs, vec!["linux/arm64".into()], findings, (10, 4))
}

/// One finding of each severity, in each kind of input, with and without a path, and with each hostile name.
fn many() -> Report {
    let mut findings = vec![
        finding(Rule::Machine, "oci:app:1", "/usr/bin/x"),
        finding(Rule::Shebang, "./dist", "./dist/x"),
        finding(Rule::Machine, "root", "/bin/sh"),
        finding(Rule::Machine, "root.tar", "/bin/sh"),
    ];
    findings[0].layer = Some(Layer {
        number: 3,
        diff_id: format!("sha256:{}", "a".repeat(64)),
        created_by: Some("COPY x /usr/bin/x".into()),
    });
    let mut whole = finding(Rule::PlatformMismatch, "oci:app:1", "");
    whole.path = None;
    let mut note = finding(Rule::AllowanceUnused, "polyarch.toml", "polyarch.toml");
    (note.line, note.target, note.platform) = (Some(7), None, None);
    let mut unknown = finding(Rule::Isa, "oci:app:1", "/usr/bin/x");
    unknown.severity = Severity::Unknown;
    findings.extend([whole, note, unknown]);
    for name in hostile() {
        let mut bad = finding(Rule::Class, "oci:app:1", &name);
        bad.message = format!("it is a program: {}", name.to_string_lossy());
        bad.found = Some(name.to_string_lossy().into_owned());
        findings.push(bad);
        let mut path = OsString::from("./dist");
        path.push(&name);
        findings.push(finding(Rule::Shebang, "./dist", path));
    }
    report(findings)
}

fn written(
    write: impl FnOnce(&mut Vec<u8>, &Report, &Context<'_>) -> std::io::Result<()>,
    report: &Report,
) -> String {
    let policy = Policy::default();
    // Of the roots, `root` is a folder there, and `root.tar` is none.
    let base = tempfile::tempdir().unwrap();
    fs::create_dir(base.path().join("root")).unwrap();
    let context = Context { base: Some(base.path()), fail_on: Severity::Error, policy: &policy };
    let mut out = Vec::new();
    write(&mut out, report, &context).unwrap();
    String::from_utf8(out).unwrap()
}

/// Runs a Python script with `args`, and gives what it prints as JSON.
pub(crate) fn python(cx: &Cx, script: &str, args: &[&Path]) -> Value {
    let out = ran(cx.command("python3").arg("-c").arg(script).args(args)).success();
    serde_json::from_str(&out).unwrap_or_else(|err| panic!("{err}: {out}"))
}

#[track_caller]
pub(crate) fn hold_against_schema(cx: &Cx, sarif: &Path) {
    let script = "import json, sys, jsonschema\n\
                  schema, log = (json.load(open(path)) for path in sys.argv[1:])\n\
                  faults = jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker()).iter_errors(log)\n\
                  print(json.dumps([f'{list(fault.absolute_path)}: {fault.message}' for fault in faults]))";
    let faults = python(cx, script, &[&schema::sarif(), sarif]);
    assert_eq!(faults, Value::Array(Vec::new()));
}

#[test]
fn sarif_is_valid_by_the_published_schema_whatever_names_there_are() {
    let cx = Cx::new();
    let report = many();
    let path = cx.file("x.sarif", written(formats::sarif, &report));
    hold_against_schema(&cx, &path);
    let log: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), report.findings.len());
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        let artifact = &result["locations"][0]["physicalLocation"]["artifactLocation"];
        let uri = artifact["uri"].as_str().unwrap();
        let is_uri = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/%+@!".contains(&byte);
        assert!(!uri.is_empty() && uri.bytes().all(is_uri), "{uri}");
        if let Some(base) = artifact["uriBaseId"].as_str() {
            assert!(run["originalUriBaseIds"][base]["description"]["text"].is_string(), "{base}");
        }
    }
    // The bytes of a name can be had back.
    let decode = "import json, sys, urllib.parse\n\
                  log = json.load(open(sys.argv[1]))\n\
                  uris = [r['locations'][0]['physicalLocation']['artifactLocation']['uri'] for r in log['runs'][0]['results']]\n\
                  print(json.dumps([urllib.parse.unquote_to_bytes(u).hex() for u in uris]))";
    let names = python(&cx, decode, &[&path]);
    let names: Vec<&str> = names.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for name in hostile() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let bytes = name.into_vec();
        assert!(names.contains(&hex(&bytes[1..]).as_str()), "{bytes:?}");
        assert!(names.contains(&hex(&[b"dist", bytes.as_slice()].concat()).as_str()), "{bytes:?}");
    }
    // The schema can find faults at all.
    let mut broken = log.clone();
    broken["runs"][0]["results"][0]["level"] = "fatal".into();
    let broken = cx.file("broken.sarif", broken.to_string());
    let faults = std::panic::catch_unwind(|| hold_against_schema(&cx, &broken));
    assert!(faults.is_err());
}

#[test]
fn sarif_says_where_why_and_what_to_do() {
    let log: Value = serde_json::from_str(&written(formats::sarif, &many())).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    let of = |rule: &str, path: &str| {
        let place = |result: &&Value| {
            let uri = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
            result["ruleId"] == rule && uri == path
        };
        results.iter().find(place).unwrap_or_else(|| panic!("{rule} {path}")).clone()
    };
    let inside = of("machine", "usr/bin/x");
    insta::assert_snapshot!(serde_json::to_string_pretty(&inside).unwrap(), @r#"
    {
      "ruleId": "machine",
      "ruleIndex": 1,
      "kind": "fail",
      "level": "error",
      "message": {
        "text": "it is a program for amd64\nTo do: build it for arm64"
      },
      "locations": [
        {
          "physicalLocation": {
            "artifactLocation": {
              "uri": "usr/bin/x",
              "uriBaseId": "IMAGE0"
            },
            "region": {
              "startLine": 1
            }
          },
          "logicalLocations": [
            {
              "name": "layer 3",
              "fullyQualifiedName": "oci:app:1 linux/arm64 sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
              "kind": "layer"
            }
          ]
        }
      ],
      "partialFingerprints": {
        "polyarchFinding/v1": "4d7bc85b170eeacbcaa6c83766e615b3"
      },
      "properties": {
        "input": "oci:app:1",
        "platform": "linux/arm64",
        "target": "linux/arm64",
        "expected": "AArch64",
        "found": "X86-64",
        "layer": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "createdBy": "COPY x /usr/bin/x"
      }
    }
    "#);
    assert_eq!(of("machine", "root/bin/sh")["locations"][0].get("logicalLocations"), None);
    let archived = of("machine", "bin/sh");
    let base = &archived["locations"][0]["physicalLocation"]["artifactLocation"]["uriBaseId"];
    let bases = &log["runs"][0]["originalUriBaseIds"];
    assert_eq!(
        bases[base.as_str().unwrap()]["description"]["text"],
        "the root of the files in root.tar, linux/arm64"
    );
    assert_eq!(
        of("platform-mismatch", "oci%3Aapp%3A1")["locations"][0]["logicalLocations"][0]["kind"],
        "image"
    );
    let policy = of("allowance-unused", "polyarch.toml");
    assert_eq!(policy["locations"][0]["physicalLocation"]["region"]["startLine"], 7);
    assert_eq!((&policy["level"], &policy["kind"]), (&"note".into(), &"fail".into()));
    let unknown = of("isa", "usr/bin/x");
    assert_eq!((&unknown["level"], &unknown["kind"]), (&"none".into(), &"open".into()));
}

#[test]
fn junit_is_read_by_common_readers() {
    let cx = Cx::new();
    let report = many();
    let path = cx.file("x.xml", written(formats::junit, &report));
    let script = "import json, sys\n\
                  from xml.etree import ElementTree\n\
                  from junitparser import JUnitXml, Failure, Skipped\n\
                  root = ElementTree.parse(sys.argv[1]).getroot()\n\
                  xml = JUnitXml.fromfile(sys.argv[1])\n\
                  xml_counts = [xml.tests, xml.failures, xml.errors, xml.skipped]\n\
                  cases = [case for suite in xml for case in suite]\n\
                  failed = [case for case in cases if any(isinstance(r, Failure) for r in case.result)]\n\
                  counted = [len(cases), len(failed), 0, sum(any(isinstance(r, Skipped) for r in case.result) for case in cases)]\n\
                  suites = [[suite.name, suite.tests, len(list(suite)), suite.failures] for suite in xml]\n\
                  names = [[case.classname, case.name] for case in failed]\n\
                  texts = [e.text for e in root.iter('failure')]\n\
                  print(json.dumps(dict(said=xml_counts, counted=counted, suites=suites, names=names, texts=texts)))";
    let read = python(&cx, script, &[&path]);
    assert_eq!(read["said"], read["counted"]);
    assert_eq!(read["counted"][1], report.summary.errors);
    for suite in read["suites"].as_array().unwrap() {
        assert_eq!(suite[1], suite[2], "{suite}");
    }
    let suites: Vec<&str> =
        read["suites"].as_array().unwrap().iter().map(|suite| suite[0].as_str().unwrap()).collect();
    assert_eq!(suites, ["oci:app:1", "./dist", "root", "root.tar", "polyarch.toml"]);
    let names = read["names"].as_array().unwrap();
    assert!(names.contains(&serde_json::json!([
        "polyarch.machine",
        "oci:app:1 (linux/arm64)!/usr/bin/x (linux/arm64)"
    ])));
    assert!(names.iter().any(|name| name[1].as_str().unwrap().contains("<failure message=\"x\">&amp;]]>")));
    let texts = read["texts"].as_array().unwrap();
    assert!(texts.iter().any(|text| text.as_str().unwrap().contains("to do: build it for arm64")));
    assert!(texts.iter().any(|text| text.as_str().unwrap().contains("made by: COPY x /usr/bin/x")));
}

#[test]
fn junit_has_rules_that_nothing_breaks_and_those_that_are_off() {
    let mut policy = Policy::default();
    policy.set(Rule::Size, "off".parse().unwrap());
    let context = Context { base: None, fail_on: Severity::Warning, policy: &policy };
    let mut out = Vec::new();
    let mut report = report(vec![finding(Rule::Shebang, "root", "/bin/x")]);
    report.inputs.retain(|input| input.name == "root");
    formats::junit(&mut out, &report, &context).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains(r#"<failure type="warning" message="it is a program for amd64">"#), "{text}");
    assert!(text.contains(r#"<testcase classname="polyarch.machine" name="programs are for"#), "{text}");
    assert!(text.contains(r#"time="0"><skipped message="the rule is off"/></testcase>"#), "{text}");
}

/// A command's name, its properties and its data.
type Command = (String, Vec<(String, String)>, String);

/// GitHub's own rules of reading a line, as its runner has them: a command begins the line, or stands anywhere behind `##[`.
fn commands(text: &str) -> Vec<Command> {
    let undo = |text: &str| {
        let text = text.replace("%0D", "\r").replace("%0A", "\n");
        text.replace("%3A", ":").replace("%2C", ",").replace("%25", "%")
    };
    text.split(['\n', '\r'])
        .filter_map(|line| {
            let Some((head, data)) =
                line.trim_start().strip_prefix("::").and_then(|line| line.split_once("::"))
            else {
                assert!(!line.contains("##["), "an old command: {line}");
                return None;
            };
            let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
            let properties = properties.split(',').filter_map(|property| {
                let (key, value) = property.split_once('=')?;
                Some((key.to_owned(), undo(value)))
            });
            Some((name.to_owned(), properties.collect(), undo(data)))
        })
        .collect()
}

#[test]
fn annotations_cannot_be_forged_by_names() {
    let report = many();
    let text = written(formats::github, &report);
    let commands = commands(&text);
    let count = |name: &str| commands.iter().filter(|command| command.0 == name).count();
    // 14 errors and 11 warnings are more than GitHub shows of a kind.
    assert_eq!((report.summary.errors, report.summary.warnings), (14, 11));
    assert_eq!((count("error"), count("warning"), count("notice")), (10, 10, 2), "{text}");
    assert_eq!((count("group"), count("endgroup")), (1, 1));
    assert_eq!(commands.len(), 24, "{text}");
    for (_, properties, _) in commands.iter().filter(|command| !command.0.ends_with("group")) {
        let keys: Vec<&str> = properties.iter().map(|(key, _)| key.as_str()).collect();
        assert!(
            matches!(keys.as_slice(), ["title"] | ["file", "title"] | ["file", "line", "title"]),
            "{keys:?}"
        );
    }
    let policy = commands
        .iter()
        .find(|command| command.1.iter().any(|(_, value)| value == "allowance-unused"))
        .unwrap();
    assert_eq!(policy.1[..2], [("file".into(), "polyarch.toml".into()), ("line".into(), "7".into())]);
    assert!(commands.iter().any(|command| command.2 == "5 more are in the log of this step"), "{text}");
    // What is in an image is no file of the repository.
    let title = vec![("title".to_owned(), "machine (linux/arm64)".to_owned())];
    let inside = commands.iter().find(|command| command.1 == title).unwrap();
    assert!(
        inside.2.starts_with("oci:app:1 (linux/arm64): it is a program for amd64\nTo do: "),
        "{inside:?}"
    );
}

#[test]
fn a_name_in_an_annotation_is_told_as_it_is() {
    for name in hostile() {
        let mut path = OsString::from("./dist");
        path.push(&name);
        let text = written(formats::github, &report(vec![finding(Rule::Machine, "./dist", &path)]));
        assert_eq!(text.matches(['\n', '\r']).count(), 1, "{text:?}");
        let commands = commands(&text);
        // Of control characters ends of lines alone have a form.
        let shown = |character: char| match character {
            '\r' | '\n' => character.to_string(),
            control if control.is_control() => control.escape_default().to_string(),
            other => other.to_string(),
        };
        let expected = format!("dist{}", name.to_string_lossy().chars().map(shown).collect::<String>());
        assert_eq!(commands[0].1[0], ("file".to_owned(), expected), "{text:?}");
    }
}

#[test]
fn gitlab_gets_what_it_asks_for() {
    let cx = Cx::new();
    let report = many();
    let path = cx.file("x.json", written(formats::gitlab, &report));
    let issues = python(&cx, "import json, sys; print(json.dumps(json.load(open(sys.argv[1]))))", &[&path]);
    let issues = issues.as_array().unwrap();
    assert_eq!(issues.len(), report.findings.len());
    let mut fingerprints: Vec<&str> =
        issues.iter().map(|issue| issue["fingerprint"].as_str().unwrap()).collect();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), issues.len(), "fingerprints are unique");
    for issue in issues {
        assert!(
            ["info", "minor", "major", "critical", "blocker"].contains(&issue["severity"].as_str().unwrap())
        );
        assert!(issue["location"]["lines"]["begin"].as_u64().unwrap() >= 1);
        assert!(!issue["location"]["path"].as_str().unwrap().starts_with("./"), "{issue}");
        assert!(!issue["description"].as_str().unwrap().is_empty());
        assert!(issue["check_name"].as_str().unwrap().parse::<Rule>().is_ok());
    }
}

#[test]
fn json_has_the_bytes_of_names_that_are_no_text() {
    let json = |path: &[u8]| {
        let path = OsString::from_vec(path.to_vec());
        serde_json::to_value(finding(Rule::Machine, "oci:app:1", path)).unwrap()
    };
    let plain = json(b"/a\x1b");
    assert_eq!((&plain["path"], plain.get("path_hex")), (&"/a\u{1b}".into(), None));
    let odd = json(b"/a\xff");
    assert_eq!((&odd["path"], &odd["path_hex"]), (&"/a\u{fffd}".into(), &"2f61ff".into()));
    let keys: Vec<String> = plain.as_object().unwrap().keys().cloned().collect();
    insta::assert_snapshot!(keys.join(" "), @"rule severity input platform path line layer target message expected found help");
}

#[test]
fn fingerprints_outlive_order_digests_and_versions() {
    let first = finding(Rule::NeededMissing, "oci:app:1", "/usr/bin/x");
    let mut second = first.clone();
    second.input = "oci:app:2".into();
    second.severity = Severity::Warning;
    second.message = "said otherwise".into();
    second.layer = Some(Layer { number: 9, diff_id: "sha256:0".into(), created_by: None });
    assert_eq!(first.fingerprint(), second.fingerprint());
    assert_eq!(first.fingerprint().len(), 32);
    let change: [fn(&mut Finding); 6] = [
        |finding| finding.rule = Rule::NeededMismatch,
        |finding| finding.path = Some("/usr/bin/y".into()),
        |finding| finding.path = None,
        |finding| finding.target = None,
        |finding| finding.platform = Some("linux/arm/v7".into()),
        |finding| finding.found = Some("libz.so.1".into()),
    ];
    for change in change {
        let mut other = first.clone();
        change(&mut other);
        assert_ne!(first.fingerprint(), other.fingerprint(), "{other:?}");
    }
    let mut third = first.clone();
    third.expected = Some("GLIBC_2.34".into());
    let mut fourth = first.clone();
    fourth.expected = Some("GLIBC_2.36".into());
    assert_eq!(third.fingerprint(), fourth.fingerprint());
    // Levels are no versions that move on.
    let level =
        |found: &str| Finding { found: Some(found.into()), ..finding(Rule::Isa, "oci:app:1", "/usr/bin/x") };
    assert_ne!(level("x86-64-v2").fingerprint(), level("x86-64-v3").fingerprint());
    // An archive's reasons are all in one finding.
    let layout =
        |found: &str| Finding { found: Some(found.into()), ..finding(Rule::ArchiveLayout, "app.tar", "") };
    assert_ne!(layout("2 layers are compressed").fingerprint(), layout("it has no manifest").fingerprint());
    assert_eq!(
        layout("2 layers are compressed").fingerprint(),
        layout("3 layers are compressed").fingerprint()
    );
    let twice = report(vec![first.clone(), first.clone()]);
    assert_eq!(twice.fingerprints(), [first.fingerprint(), format!("{}:2", first.fingerprint())]);
}

/// The report after `policy`, a policy file's text, on the 25th of November 2026.
fn applied(policy: &str, findings: Vec<Finding>) -> Report {
    let policy = Policy::parse(Path::new("polyarch.toml"), policy).unwrap();
    let mut report = report(findings);
    policy.apply(&mut report, (2026, 11, 25));
    report
}

fn rules(report: &Report) -> Vec<(Rule, Severity)> {
    report.findings.iter().map(|finding| (finding.rule, finding.severity)).collect()
}

#[test]
fn a_policy_sets_severities_and_turns_rules_off() {
    let mut unknown = finding(Rule::Isa, "oci:app:1", "/a");
    unknown.severity = Severity::Unknown;
    let findings = vec![
        finding(Rule::Machine, "oci:app:1", "/a"),
        finding(Rule::Shebang, "oci:app:1", "/a"),
        finding(Rule::Size, "oci:app:1", "/a"),
        unknown,
    ];
    let policy = "[check.rules]\nmachine = 'note'\nshebang = 'error'\nsize = 'off'\nisa = 'error'\n";
    assert_eq!(
        rules(&applied(policy, findings)),
        [(Rule::Shebang, Severity::Error), (Rule::Machine, Severity::Note), (Rule::Isa, Severity::Unknown),]
    );
}

#[test]
fn an_allowance_holds_for_its_rule_path_and_target_until_its_day() {
    let here = || vec![finding(Rule::Machine, "oci:app:1", "/usr/lib/firmware/x.elf")];
    let allowance =
        |lines: &str| format!("[[check.allow]]\nrule = 'machine'\nreason = 'firmware'\n{lines}\n");
    for (lines, allowed) in [
        ("", true),
        ("path = 'usr/lib/firmware/'", true),
        ("path = ['nothing', '*.elf']", true),
        ("path = '*.elf'\ntarget = 'linux/arm64'", true),
        ("path = '*.elf'\ntarget = 'linux/*'", true),
        ("expires = 2026-11-25", true),
        ("expires = 2026-11-24", false),
        ("path = 'lib/firmware/'", false),
        ("target = ['linux/amd64', 'routeros/*']", false),
    ] {
        let report = applied(&allowance(lines), here());
        let is_found = report.findings.iter().any(|finding| finding.rule == Rule::Machine);
        assert_eq!(!is_found, allowed, "{lines}");
        assert_eq!(report.summary.allowed, usize::from(allowed), "{lines}");
    }
    let other = applied("[[check.allow]]\nrule = ['class', 'isa']\nreason = 'x'\n", here());
    assert_eq!(rules(&other), [(Rule::Machine, Severity::Error), (Rule::AllowanceUnused, Severity::Note)]);
    assert_eq!(other.findings[1].line, Some(1));
    // In a folder that is no root: as it is named, or from there on.
    for path in ["dist/bin/x", "/bin/x", "bin/", "x"] {
        let policy = format!("[[check.allow]]\nrule = 'machine'\nreason = 'x'\npath = '{path}'\n");
        let report = applied(&policy, vec![finding(Rule::Machine, "./dist", "./dist/bin/x")]);
        assert_eq!(rules(&report), [], "{path}");
    }
}

#[test]
fn an_allowance_that_is_over_says_so_and_allows_nothing() {
    let policy = "\n[[check.allow]]\nrule = 'machine'\nreason = 'until the port is done'\nexpires = 2026-01-31\n\
                  \n[[check.allow]]\nrule = 'class'\nreason = 'x'\nexpires = 2026-01-31\n";
    let report = applied(policy, vec![finding(Rule::Machine, "oci:app:1", "/a")]);
    assert_eq!(
        rules(&report),
        [
            (Rule::Machine, Severity::Error),
            (Rule::AllowanceExpired, Severity::Warning),
            (Rule::AllowanceExpired, Severity::Warning),
        ]
    );
    let texts: Vec<&str> = report.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert!(report.findings[0].help.ends_with("(of polyarch.toml:2:1 ended on 2026-01-31)"), "{report:?}");
    assert!(
        texts[1..].iter().any(|text| text.contains("`machine`") && text.contains("still there")),
        "{texts:?}"
    );
    assert!(
        texts[1..].iter().any(|text| text.contains("`class`") && text.contains("nothing needs it")),
        "{texts:?}"
    );
}

#[test]
fn an_allowance_for_what_was_not_looked_at_is_not_superfluous() {
    let policy = "[check.rules]\nsize = 'off'\n[[check.allow]]\nrule = 'machine'\nreason = 'x'\ntarget = 'routeros/mipsbe'\n\
                  [[check.allow]]\nrule = 'size'\nreason = 'x'\n";
    assert_eq!(rules(&applied(policy, Vec::new())), []);
}

#[test]
fn a_policy_file_that_is_wrong_is_told_with_all_places() {
    let fault = |text: &str| match Policy::parse(Path::new("ci/polyarch.toml"), text) {
        Err(err @ PolicyError::Faults { .. }) => err.to_string(),
        other => panic!("{text}: {other:?}"),
    };
    let text = "target = 'x'\n\
                [check]\n\
                targets = ['linux/amr64', 'linux/arm64']\n\
                fail-on = 'unknown'\n\
                failon = 'error'\n\
                profile = 'docker'\n\
                [check.rules]\n\
                machin = 'off'\n\
                size = 'fatal'\n\
                [[check.allow]]\n\
                rule = 'machine'\n\
                \x20 expries = 2026-01-01\n\
                [[check.allow]]\n\
                rule = ['shebnag', 'isa']\n\
                path = ['a[', '../x']\n\
                target = 'routeros/mipsb'\n\
                reason = ' '\n\
                expires = 2026-01-01T00:00:00Z\n\
                [[check.allow]]\n\
                reason = 'ü'\n";
    insta::assert_snapshot!(fault(text), @r"
    the policy file `ci/polyarch.toml` is not right:
      ci/polyarch.toml:1:1: a policy file has no key `target`, only `check`
      ci/polyarch.toml:3:12: no target is called `linux/amr64`; did you mean `linux/arm64`?
      ci/polyarch.toml:4:11: `fail-on` is `error`, `warning` or `note`, not `unknown`
      ci/polyarch.toml:5:1: `[check]` has no key `failon`; did you mean `fail-on`?
      ci/polyarch.toml:6:11: there is no profile `docker`, only `routeros`
      ci/polyarch.toml:8:10: there is no rule `machin`; did you mean `machine`?
      ci/polyarch.toml:9:8: `fatal` is no severity: it is `error`, `warning`, `note`, `off` or `on`
      ci/polyarch.toml:10:1: an allowance needs a `reason`
      ci/polyarch.toml:12:3: `[[check.allow]]` has no key `expries`; did you mean `expires`?
      ci/polyarch.toml:14:8: there is no rule `shebnag`; did you mean `shebang`?
      ci/polyarch.toml:15:8: `a[` is no pattern for a path: its `[` has no `]`
      ci/polyarch.toml:15:8: `../x` is no pattern for a path: `..` is not followed
      ci/polyarch.toml:16:10: no target is called `routeros/mipsb`; did you mean `routeros/mipsbe`?
      ci/polyarch.toml:17:10: `reason` is empty; say why this is allowed
      ci/polyarch.toml:18:11: `expires` is a day, such as 2027-01-31, the last on which this is allowed
      ci/polyarch.toml:19:1: an allowance needs the `rule` that may be broken
    ");
    for (text, expected) in [
        ("[check", ":1:"),
        ("[check]\nstrict = 'yes'\n", ":2:10: "),
        ("[check]\nallow = 3\n", ":2:9: "),
        ("[[check.allow]]\nrule = 'size'\nreason = 'x'\nexpires = '2027-01-01'\n", ":4:11: "),
        ("targets = []\n", ":1:1: `targets` belongs into the table `[check]`"),
        ("[chekc]\n", ":1:2: a policy file has no key `chekc`; did you mean `check`?"),
        ("check.allow = [{rule='size', reason='x', zzz=1}]", ":1:42: "),
    ] {
        let told = fault(text);
        assert!(told.contains(&format!("ci/polyarch.toml{expected}")), "{told}");
        assert!(!told.contains("$__"), "{told}");
    }
}

#[test]
fn a_policy_names_its_files_from_its_own_folder() {
    let text = "[check]\ntargets = ['all', './board.toml', '/x.toml', 'linux/arm64']\nbaseline = 'known.json'\nfail-on = 'note'\nstrict = true\n";
    let policy = Policy::parse(Path::new("ci/polyarch.toml"), text).unwrap();
    assert_eq!(policy.targets, ["all", "./ci/./board.toml", "/x.toml", "linux/arm64"]);
    assert_eq!(policy.baseline, Some("ci/known.json".into()));
    assert_eq!((policy.fail_on, policy.strict), (Some(Severity::Note), true));
}

#[test]
fn a_baseline_passes_over_what_is_known_and_tells_what_is_gone() {
    let cx = Cx::new();
    let policy = Policy::default();
    let old = report(vec![
        finding(Rule::Machine, "oci:app:1", "/usr/bin/x"),
        finding(Rule::Machine, "oci:app:1", "/usr/bin/x"),
        finding(Rule::Class, "oci:app:1", "/usr/bin/y"),
        finding(Rule::AllowanceUnused, "polyarch.toml", "polyarch.toml"),
    ]);
    let path = cx.path("known.json");
    let baseline = Baseline::of(&path, &old);
    assert_eq!(baseline.len(), 3, "what is said of the policy is not known");
    fs::write(&path, baseline.to_json()).unwrap();
    let read = Baseline::read(&path).unwrap();
    assert_eq!(read, baseline);

    let mut same = old.clone();
    same.findings.reverse();
    for finding in &mut same.findings {
        finding.layer = Some(Layer { number: 1, diff_id: "sha256:1".into(), created_by: None });
    }
    assert_eq!(Baseline::of(&path, &same).to_json(), baseline.to_json());
    read.apply(&mut same, &policy);
    assert_eq!(rules(&same), [(Rule::AllowanceUnused, Severity::Note)]);
    assert_eq!(same.summary.known, 3);

    let mut new = report(vec![
        finding(Rule::Machine, "oci:app:1", "/usr/bin/x"),
        finding(Rule::Machine, "oci:app:1", "/usr/bin/x"),
        finding(Rule::Machine, "oci:app:1", "/usr/bin/x"),
        finding(Rule::Isa, "oci:app:1", "/usr/bin/y"),
    ]);
    read.apply(&mut new, &policy);
    assert_eq!(
        rules(&new),
        [
            (Rule::Machine, Severity::Error),
            (Rule::Isa, Severity::Error),
            (Rule::BaselineGone, Severity::Note),
        ],
        "one more of the same is new"
    );
    assert_eq!(new.findings[2].message, "`class` of `/usr/bin/y` is found no more");

    // What was not looked at is not gone.
    let mut other = report(Vec::new());
    other.targets = vec!["linux/amd64".into()];
    for input in &mut other.inputs {
        input.platforms = vec!["linux/amd64".into()];
    }
    read.apply(&mut other, &policy);
    assert_eq!(rules(&other), []);
}

#[test]
fn a_baseline_that_is_none_is_refused() {
    let cx = Cx::new();
    for (text, expected) in [
        ("", "is not right"),
        ("[]", "is not right"),
        (r#"{"version": 2, "findings": 7}"#, "its version is 2"),
        (r#"{"version": 1}"#, "missing field `findings`"),
    ] {
        let path = cx.file("known.json", text);
        let err = Baseline::read(&path).unwrap_err();
        assert!(err.to_string().contains(expected), "{err}");
        assert!(err.hint().is_some());
    }
    let err = Baseline::read(&cx.path("nothing.json")).unwrap_err();
    assert!(matches!(err, PolicyError::NoBaseline { .. }), "{err}");
}

#[test]
fn every_rule_has_a_page() {
    for rule in Rule::ALL {
        let page = rule.explanation();
        for text in [page.holds, page.why, page.mend, page.allow, rule.summary()] {
            assert!(text.len() > 20 && !text.contains("  "), "{rule}: {text}");
        }
    }
}
