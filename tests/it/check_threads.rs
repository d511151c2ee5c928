//! `check` on images as public threads tell of them, by other eyes than those that wrote the rules: pairs of which one is wrong.

use serde_json::{Value, json};

use crate::check_output::program;
use crate::support::Cx;
use crate::support::oci::{Img, layout};

/// An image for arm64 with a shell.
fn shell() -> Img {
    Img::new("linux/arm64").file("/bin/busybox", program("arm64"), 0o755).link("/bin/sh", "busybox")
}

fn runs(image: Img, words: &[&str]) -> Img {
    image.runs("Entrypoint", json!(words))
}

/// What is found, but for facts that nobody declares: rule, path and severity.
fn found(image: &Img) -> Vec<(String, Option<String>, String)> {
    let cx = Cx::new();
    let input = layout(&cx, "image", std::slice::from_ref(image), &[]);
    let ran = cx.run(["check", "--format", "json", "--severity", "isa=off", &input]);
    let report: Value =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|err| panic!("{err}: {}", ran.stderr));
    let text = |finding: &Value, key: &str| finding[key].as_str().map(str::to_owned);
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| {
            (text(finding, "rule").unwrap(), text(finding, "path"), text(finding, "severity").unwrap())
        })
        .collect()
}

#[test]
fn starts_as_users_meet_them() {
    let script = |text: &str| runs(shell().file("/e.sh", text, 0o755), &["/e.sh"]);
    let with_env = || shell().link("/usr/bin/env", "../../bin/busybox");
    let cases = [
        // `exec format error` of a script that has lost its first line: moby#40859.
        ("no line for the kernel", script("echo hi\n"), script("#!/bin/sh\necho hi\n"), "entrypoint"),
        (
            "links in a circle",
            runs(shell().link("/a", "b").link("/b", "a"), &["/a"]),
            runs(shell().link("/a", "b").link("/b", "bin/sh"), &["/a"]),
            "entrypoint",
        ),
        (
            // A user without an entry in /etc/passwd is in group 0, and so is the file: the group's bits count for it.
            "a program that its user may not execute",
            runs(shell().file("/app", program("arm64"), 0o701), &["/app"]).runs("User", json!("1000")),
            runs(shell().file("/app", program("arm64"), 0o750), &["/app"]).runs("User", json!("1000")),
            "entrypoint",
        ),
        (
            "a name that begins at another folder",
            runs(shell().file("/srv/app", program("arm64"), 0o755), &["./app"]),
            runs(shell().file("/srv/app", program("arm64"), 0o755), &["./app"])
                .runs("WorkingDir", json!("/srv")),
            "entrypoint",
        ),
        (
            "env is not there",
            runs(shell().file("/e", "#!/usr/bin/env -S sh -u\n", 0o755), &["/e"]),
            runs(with_env().file("/e", "#!/usr/bin/env -S sh -u\n", 0o755), &["/e"]),
            "shebang",
        ),
        (
            "a line end of Windows behind an argument",
            script("#!/bin/sh -e\r\n"),
            script("#!/bin/sh -e\n"),
            "shebang",
        ),
    ];
    let mut wrong = Vec::new();
    for (name, bad, good, rule) in cases {
        let is = found(&bad);
        if !matches!(is.as_slice(), [(found, _, severity)] if found == rule && severity == "error") {
            wrong.push(format!("{name}: expected `{rule}`, found {is:?}"));
        }
        let is = found(&good);
        if !is.is_empty() {
            wrong.push(format!("{name}, corrected: {is:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
