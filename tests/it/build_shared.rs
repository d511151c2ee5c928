//! Steps that machines share, and the worked example of `ci/` for Kubernetes: several workers, which share nothing but a registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::cc::{Cc, compile};
use crate::support::container::NATIVE;
use crate::support::registry::Registry;
use crate::support::{Cx, ran};

/// Says which machine it is for, to a file.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <sys/utsname.h>
int main(void) {
    struct utsname name;
    uname(&name);
    FILE *file = fopen("/machine", "w");
    fprintf(file, "%s\n", name.machine);
    return fclose(file);
}
"#;

/// A context with a program for each platform, and a Containerfile with a step that runs it.
fn context(cx: &Cx) -> PathBuf {
    for (platform, triple) in
        [("linux/amd64", NATIVE), ("linux/arm64", "aarch64-linux-gnu"), ("linux/mipsle", "mipsel-linux-gnu")]
    {
        let program = compile(&Cc { triple, flags: &["-static", "-O1"], source: PROGRAM });
        let place = cx.path(format!("ctx/{platform}"));
        fs::create_dir_all(&place).unwrap();
        fs::copy(program, place.join("prog")).unwrap();
    }
    cx.file(
        "ctx/Containerfile",
        "FROM scratch\nARG TARGETPLATFORM\nCOPY $TARGETPLATFORM/prog /prog\nRUN [\"/prog\"]\nCMD [\"/prog\"]\n",
    );
    cx.path("ctx")
}

/// A machine: the program with a home of its own.
fn machine(cx: &Cx, name: &str) -> Command {
    let home = cx.path(name);
    fs::create_dir_all(&home).unwrap();
    let mut command = cx.polyarch();
    command.env("HOME", &home);
    command
}

#[test]
fn steps_of_one_machine_serve_another() {
    let cx = Cx::new();
    context(&cx);
    let registry = Registry::new(&cx, "registry", "");
    for (number, place) in
        [format!("docker://{}/app/cache", registry.host), "oci:shared".to_owned()].iter().enumerate()
    {
        let build = |machine_name: &str, words: &[&str]| {
            let mut command = machine(&cx, &format!("{machine_name}-{number}"));
            ran(command.args(["build", "--timestamp", "1000"]).args(words).arg("ctx"))
        };
        let first = build("one", &["--cache-to", place]);
        let digest = first.stdout.clone();
        assert!(!first.stderr.contains("(cached)"), "{}", first.stderr);
        first.success();
        let other = build("two", &["--cache-from", place]);
        assert_eq!(other.stderr.matches("(cached)").count(), 2, "{}", other.stderr);
        assert_eq!(other.success(), digest);
        // What is there is not brought there again, and what is new goes on from what was taken.
        let again = build("two", &["--cache-to", place]);
        assert!(again.status == 0 && !again.stderr.contains("were not brought"), "{}", again.stderr);
        let file = fs::read_to_string(cx.path("ctx/Containerfile")).unwrap();
        cx.file("ctx/Containerfile", format!("{file}COPY Containerfile /more\n"));
        let more = build("three", &["--cache-from", place]);
        assert_eq!(more.stderr.matches("(cached)").count(), 2, "{}", more.stderr);
        more.success();
        cx.file("ctx/Containerfile", file);
    }
    // A cache that cannot be reached is no failure, nor is one that is not there yet.
    for place in ["docker://127.0.0.1:1/app/cache", "oci:not-there"] {
        let mut command = machine(&cx, &format!("lonely-{}", place.len()));
        let alone = ran(command.args(["build", "--cache-from", place]).arg("ctx"));
        assert_eq!(
            alone.stderr.contains("steps were not taken"),
            place.starts_with("docker"),
            "{}",
            alone.stderr
        );
        alone.success();
    }
    let wrong =
        ran(machine(&cx, "wrong").args(["build", "--cache-from", "docker-archive:x", "ctx"])).failure(2);
    assert!(wrong.contains("--cache-from"), "{wrong}");
}

#[test]
fn what_a_shared_place_holds_is_not_believed() {
    let cx = Cx::new();
    context(&cx);
    let build = |name: &str, words: &[&str]| {
        ran(machine(&cx, name).args(["build", "--timestamp", "1000"]).args(words).arg("ctx"))
    };
    let digest = build("one", &["--cache-to", "oci:shared"]).success();
    // Each blob in turn is another than its digest says.
    let blobs: Vec<PathBuf> =
        fs::read_dir(cx.path("shared/blobs/sha256")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(blobs.len() >= 6, "{blobs:?}");
    for (number, blob) in blobs.iter().enumerate() {
        let good = fs::read(blob).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 0x20;
        fs::write(blob, bad).unwrap();
        let other = build(&format!("other-{number}"), &["--cache-from", "oci:shared"]);
        assert_eq!(other.success(), digest, "{}", blob.display());
        fs::write(blob, good).unwrap();
    }
}

#[test]
fn the_example_for_kubernetes_works_with_three_workers() {
    let cx = Cx::new();
    let folder = context(&cx);
    let registry = Registry::new(&cx, "registry", "");
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/examples/build-kubernetes.yml");
    let text = ran(cx.command("python3").args(["-c", script]).arg(example)).success();
    let documents: Vec<Value> = serde_json::from_str(&text).unwrap();
    let (config, build, join) = (&documents[0]["data"], &documents[1]["spec"], &documents[2]["spec"]);
    let count = config["PLATFORMS"].as_str().unwrap().split(',').count();
    assert_eq!(
        (build["completionMode"].as_str(), build["completions"].as_u64()),
        (Some("Indexed"), Some(count as u64))
    );
    // A pod: the container's command, with the variables of the map, and polyarch on PATH.
    let bin = cx.path("bin");
    fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_polyarch"), bin.join("polyarch")).unwrap();
    let pod = |job: &Value, name: &str, index: usize| -> Child {
        let container = &job["template"]["spec"]["containers"][0];
        let words = |key: &str| -> Vec<String> {
            container[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        let (command, args) = (words("command"), words("args"));
        let args: Vec<String> =
            args.iter().map(|arg| arg.replace("/context", folder.to_str().unwrap())).collect();
        let home = cx.path(format!("pod-{name}-{index}"));
        fs::create_dir_all(&home).unwrap();
        let mut process = cx.command(&command[0]);
        for (key, value) in config.as_object().unwrap() {
            let value = value.as_str().unwrap().replace("registry.example", &registry.host);
            process.env(key, value);
        }
        let path = format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", bin.display());
        process.args(&command[1..]).args(args).env("PATH", path).env("HOME", home);
        process.env("JOB_COMPLETION_INDEX", index.to_string()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process.spawn().unwrap()
    };
    // The join of what is not there yet fails, and says what is missing.
    let early = pod(join, "early", 0).wait_with_output().unwrap();
    assert!(!early.status.success());
    let workers: Vec<Child> = (0..count).map(|index| pod(build, "build", index)).collect();
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let joined = pod(join, "join", 0).wait_with_output().unwrap();
    assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
    let image = format!("docker://{}/app:latest", registry.host);
    for (platform, machine) in
        [("linux/amd64", "x86_64"), ("linux/arm64", "aarch64"), ("linux/mipsle", "mips")]
    {
        let copied = format!("oci:copied-{}", platform.replace('/', "-"));
        cx.run(["-q", "copy", "--platform", platform, &image, &copied]).success();
        cx.run(["-q", "copy", &copied, &format!("docker-archive:{}.tar", &copied[4..])]).success();
        let tar = cx.path(format!("{}.tar", &copied[4..]));
        let names = ran(cx.command("tar").arg("-tf").arg(&tar)).success();
        let mut found = String::new();
        for name in names.lines().filter(|name| name.strip_suffix(".tar").is_some()) {
            let script =
                format!("tar -xOf {} {name} | tar -xOf - machine 2>/dev/null || true", tar.display());
            found.push_str(&ran(cx.command("sh").args(["-c", &script])).success());
        }
        assert_eq!(found.trim(), machine, "{platform}");
        cx.run(["check", "--target", platform, &copied]).success();
    }
    // A further run of the pods, on new machines, does nothing but take steps.
    let again = pod(build, "again", 1).wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&again.stderr).matches("(cached)").count(), 2, "{again:?}");
}
