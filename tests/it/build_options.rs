//! `build`: what its options do to the image, to where it goes, and to the steps.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::thread;

use serde_json::Value;

use crate::build::{assert_clean, build, config, context, listed};
use crate::support::cc::{Cc, compile};
use crate::support::container::{NATIVE, granted, unprivileged, without_emulator};
use crate::support::image::facts;
use crate::support::{Cx, ran};

/// Talks with others: `tcp PORT` says so and waits for the end there, `agent` reads what the agent of ssh says.
pub(crate) const TALK: &str = r#"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int count, char **words) {
    char said[256] = "";
    int which;
    if (!strcmp(words[1], "tcp")) {
        struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(atoi(words[2])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        which = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(which, (void *) &at, sizeof at)) return perror("connect"), 1;
    } else {
        struct sockaddr_un at = { .sun_family = AF_UNIX };
        strcpy(at.sun_path, getenv("SSH_AUTH_SOCK"));
        which = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(which, (void *) &at, sizeof at)) return perror(at.sun_path), 1;
    }
    while (read(which, said, sizeof said - 1) > 0) fputs(said, stdout);
    return 0;
}
"#;

/// The blob of a digest in an OCI layout, as JSON.
fn blob(cx: &Cx, layout: &str, digest: &Value) -> Value {
    let digest = digest.as_str().unwrap().trim_start_matches("sha256:");
    serde_json::from_slice(&fs::read(cx.path(layout).join("blobs/sha256").join(digest)).unwrap()).unwrap()
}

#[test]
fn an_image_goes_to_every_place_that_is_asked_for() {
    let cx = Cx::new();
    context(
        &cx,
        "RUN [\"/tool\", \"mkdir\", \"/d\", \"write\", \"/d/x\", \"1\"]\nRUN [\"/tool\", \"rm\", \"/d/x\", \"write\", \"/d/y\", \"2\"]\n",
    );
    let words = ["--label", "a=b", "--label", "empty", "--annotation", "note=here", "--iidfile", "id"];
    let places =
        ["-t", "one", "-t", "two:3", "-o", "oci:layout:t", "-o", "docker-archive:saved.tar", "-o", "files"];
    let out = build(&cx, &[&words[..], &places[..]].concat()).success();
    let digest = fs::read_to_string(cx.path("id")).unwrap();
    assert_eq!(out, format!("localhost/one:latest {digest}\nlocalhost/two:3 {digest}\n"));
    for image in ["one", "two:3", "oci:layout:t", "docker-archive:saved.tar"] {
        let config = config(&cx, image);
        assert_eq!(config["config"]["Labels"]["a"], "b", "{image}: {config}");
        assert_eq!(config["config"]["Labels"]["empty"], "", "{image}: {config}");
    }
    let index: Value = serde_json::from_slice(&fs::read(cx.path("layout/index.json")).unwrap()).unwrap();
    let manifest = blob(&cx, "layout", &index["manifests"][0]["digest"]);
    assert_eq!(manifest["annotations"]["note"], "here", "{manifest}");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 3);
    assert_eq!(fs::read_to_string(cx.path("files/d/y")).unwrap(), "2");
    assert!(!cx.path("files/d/x").exists() && cx.path("files/tool").is_file());

    // One layer of all, without what was removed on the way.
    build(&cx, &["--squash", "-t", "whole"]).success();
    assert_eq!(facts(&cx, "whole")["images"][0]["layers"].as_array().unwrap().len(), 1);
    let mut names: Vec<String> =
        listed(&cx, "whole", 0).iter().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
    names.sort_unstable();
    assert_eq!(names, ["d/", "d/y", "tool"]);

    // Several platforms: an index with the annotation, a folder for each.
    let out = build(
        &cx,
        &["--platform", "linux/amd64,linux/arm/v5", "--verify=off", "--target", "base", "-o", "oci:both"],
    );
    assert_eq!(out.status, 2, "{}", out.stderr);
    assert!(out.stderr.contains("`base`"), "{}", out.stderr);
    cx.file("ctx/Containerfile", "FROM scratch AS base\nCOPY tool /tool\nFROM base\nRUN [\"/none\"]\n");
    let words = ["--target", "base", "--verify=warn", "--annotation", "note=all"];
    let platforms = ["--platform", "linux/amd64,linux/arm/v5", "-o", "oci:both", "-o", "apart"];
    build(&cx, &[&words[..], &platforms[..]].concat()).success();
    let index: Value = serde_json::from_slice(&fs::read(cx.path("both/index.json")).unwrap()).unwrap();
    let inner = blob(&cx, "both", &index["manifests"][0]["digest"]);
    assert_eq!(inner["annotations"]["note"], "all", "{inner}");
    assert_eq!(inner["manifests"].as_array().unwrap().len(), 2);
    assert!(cx.path("apart/linux_amd64/tool").is_file() && cx.path("apart/linux_arm_v5/tool").is_file());
    assert_clean(&cx);
}

#[test]
fn what_a_name_means_is_said_by_a_context() {
    let cx = Cx::new();
    context(&cx, "");
    build(&cx, &["-t", "first"]).success();
    cx.file("other/file", "of another folder\n");
    cx.file(
        "ctx/Containerfile",
        "FROM base\nCOPY --from=other file /\nRUN --mount=from=other,target=/m [\"/tool\", \"cat\", \"/m/file\"]\nCOPY --from=named /tool /again\n",
    );
    let words = ["--build-context", "other=other", "--build-context", "base=docker-image://first"];
    let out = build(
        &cx,
        &[&words[..], &["--build-context", "named=docker-image://localhost/first:latest", "-t", "made"]]
            .concat(),
    );
    assert!(out.stderr.contains("| of another folder\n"), "{}", out.stderr);
    out.success();
    assert_eq!(cx.run(["run", "made", "/again", "cat", "/file"]).success(), "of another folder\n");
    // A file that has changed there is copied anew.
    cx.file("other/file", "changed\n");
    build(&cx, &[&words[..], &["--build-context", "named=docker-image://first", "-t", "made"]].concat())
        .success();
    assert_eq!(cx.run(["run", "made", "/again", "cat", "/file"]).success(), "changed\n");
    // A context takes the place of a stage of its name.
    cx.file(
        "ctx/Containerfile",
        "FROM scratch AS other\nCOPY tool /file\nFROM base\nCOPY --from=other file /\n\
         RUN --mount=from=other,target=/m [\"/tool\", \"cat\", \"/m/file\", \"cat\", \"/file\"]\n",
    );
    let out = build(&cx, &words);
    assert_eq!(out.stderr.matches("changed\n").count(), 2, "{}", out.stderr);
    out.success();
    let out =
        build(&cx, &["--build-context", "other=nowhere", "--build-context", "base=docker-image://first"]);
    assert_eq!(out.status, 2);
    assert!(out.stderr.contains("nowhere"), "{}", out.stderr);
}

#[test]
fn steps_have_the_limits_names_and_networks_that_are_given() {
    for user in [Cx::polyarch, unprivileged] {
        let cx = Cx::new();
        context(
            &cx,
            "RUN [\"/tool\", \"cat\", \"/proc/self/limits\", \"cat\", \"/etc/hosts\", \"cat\", \"/proc/net/dev\"]\n",
        );
        let given =
            ["--ulimit", "nofile=123:456", "--add-host", "far.example:192.0.2.7", "--network", "none"];
        let out = ran(user(&cx).arg("build").args(given).arg("ctx"));
        let limits = out.stderr.lines().find(|line| line.contains("Max open files")).unwrap();
        let limits: Vec<&str> = limits.split_whitespace().rev().take(3).collect();
        assert_eq!(limits, ["files", "456", "123"], "{}", out.stderr);
        assert!(out.stderr.lines().any(|line| line.ends_with("| 192.0.2.7\tfar.example")), "{}", out.stderr);
        let devices: Vec<&str> = out
            .stderr
            .lines()
            .filter_map(|line| line.split("| ").nth(1)?.split_once(':'))
            .map(|(name, _)| name.trim())
            .filter(|name| !name.is_empty() && !name.contains(' '))
            .collect();
        assert!(
            devices.contains(&"lo") && !devices.iter().any(|name| name.starts_with("eth")),
            "{devices:?}"
        );
        out.success();
        // What a step reaches and is called by decides over what it does: it is no hit without them.
        let out = ran(user(&cx).args(["build", "ctx"]));
        assert!(!out.stderr.contains("RUN [\"/tool\", \"cat\", \"/proc/self/limits\"]  (cached)"));
        assert!(!out.stderr.contains("far.example"), "{}", out.stderr);
        out.success();
        for (wrong, word) in [
            (["--ulimit", "nofile=x"], "nofile"),
            (["--memory", "lots"], "lots"),
            (["--cpus", "none"], "none"),
            (["--add-host", "far"], "far"),
            (["--network", "pasta"], "pasta"),
        ] {
            let err = ran(user(&cx).arg("build").args(wrong).arg("ctx")).failure(2);
            assert!(err.contains(word), "{wrong:?}: {err}");
        }
        assert_clean(&cx);
    }
}

#[test]
fn foreign_steps_have_the_emulator_and_the_cpu_that_are_asked_for() {
    let cx = Cx::new();
    let program = compile(&Cc {
        triple: "mips-linux-gnu",
        flags: &["-static", "-O1"],
        source: "#include <stdio.h>\nint main(void) { volatile double a = 1.5; printf(\"%f\\n\", a * 2); return 0; }",
    });
    fs::create_dir(cx.path("ctx")).unwrap();
    fs::copy(program, cx.path("ctx/prog")).unwrap();
    cx.file("ctx/Containerfile", "FROM scratch\nCOPY prog /\nRUN [\"/prog\"]\n");
    let out = build(&cx, &["--platform", "linux/mips"]);
    assert!(out.stderr.contains("| 3.000000\n"), "{}", out.stderr);
    out.success();
    // Debian's library has floating point in hardware, which that board has not.
    for words in [&["--platform", "linux/mips", "--cpu", "24Kc"][..], &["--platform", "routeros/mipsbe"]] {
        let out = build(&cx, words);
        assert_eq!(out.status, 2, "{words:?}: {}", out.stderr);
        for part in [
            "Containerfile:3:1",
            "by signal 4",
            "hint: a program was ended by an instruction that the CPU model `24Kc`",
        ] {
            assert!(out.stderr.contains(part), "{part}: {}", out.stderr);
        }
    }
    for wrong in ["routeros/mipsx", "windows/amd64", "linux/nothing/at/all"] {
        let err = build(&cx, &["--platform", wrong]).failure(2);
        assert!(err.contains(wrong), "{err}");
    }
    let err = build(&cx, &["--platform", "routeros/mipsb"]).failure(2);
    assert!(err.contains("did you mean `routeros/mipsbe`?"), "{err}");
    let err = build(&cx, &["--platform", "linux/mips", "--cpu", "no-such-cpu"]).failure(2);
    assert!(err.contains("no-such-cpu"), "{err}");
    let err = build(&cx, &["--platform", "linux/mips", "--emulator", "ctx/prog", "--no-cache"]).failure(2);
    assert!(err.contains("ctx/prog"), "{err}");
    let emulator = cx.run(["-q", "emulator", "fetch", "--guest", "mips"]).success();
    fs::copy(emulator.trim(), cx.path("own-qemu")).unwrap();
    let out = build(&cx, &["--platform", "linux/mips", "--emulator", "own-qemu", "--no-cache", "-v"]);
    assert!(out.stderr.contains("| 3.000000\n"), "{}", out.stderr);
    out.success();
    for way in ["private", "trace"] {
        let out = build(&cx, &["--platform", "linux/mips", "--emulation", way, "--no-cache"]);
        assert!(out.stderr.contains("| 3.000000\n"), "{way}: {}", out.stderr);
        out.success();
    }
    assert_clean(&cx);
}

#[test]
fn a_missing_emulator_is_fetched_unless_nothing_may_be() {
    let cx = Cx::new();
    let source = "#include <stdio.h>\nint main(void) { puts(\"ran\"); return 0; }";
    let program = compile(&Cc { triple: "mips-linux-gnu", flags: &["-static", "-O1"], source });
    fs::create_dir(cx.path("ctx")).unwrap();
    fs::copy(program, cx.path("ctx/prog")).unwrap();
    cx.file("ctx/Containerfile", "FROM scratch\nCOPY prog /\nRUN [\"/prog\"]\n");
    let cache = cx.path("cache");
    fs::create_dir(&cache).unwrap();
    let run = |options: &[&str]| {
        let mut command = without_emulator(&cx);
        command.arg("build").args(options).args(["--platform", "linux/mips", "--no-cache", "ctx"]);
        ran(command.env("POLYARCH_CACHE_DIR", &cache))
    };
    let err = run(&["--pull=never"]).failure(2);
    assert!(err.contains("emulator") && err.contains("mips") && err.contains("Containerfile:3:1"), "{err}");
    // What was fetched is kept from one run of the tests to the next.
    let kept = crate::support::deb::fixtures().join("cache/emulators");
    fs::create_dir_all(&kept).unwrap();
    fs::remove_dir_all(cache.join("emulators")).unwrap_or_default();
    symlink(&kept, cache.join("emulators")).unwrap();
    let out = run(&[]);
    assert!(out.stderr.contains("| ran\n"), "{}", out.stderr);
    out.success();
}

#[test]
fn an_agent_is_there_for_the_step_that_asks_for_it_alone() {
    for user in [Cx::polyarch, granted] {
        let cx = Cx::new();
        context(
            &cx,
            "COPY talk /\nRUN --mount=type=ssh [\"/talk\", \"agent\"]\nRUN --mount=type=ssh,id=two,target=/agent [\"/talk\", \"agent\"]\nRUN [\"/tool\", \"env\", \"SSH_AUTH_SOCK\"]\n",
        );
        let talk = compile(&Cc { triple: NATIVE, flags: &["-static", "-O1"], source: TALK });
        fs::copy(talk, cx.path("ctx/talk")).unwrap();
        let mut serving = Vec::new();
        fs::create_dir(cx.path("sockets")).unwrap();
        for (name, says) in [("sockets/one", "the first"), ("sockets/two", "the second")] {
            let listener = UnixListener::bind(cx.path(name)).unwrap();
            ran(cx.command("chmod").args(["666", name])).success();
            serving.push(thread::spawn(move || {
                listener.accept().unwrap().0.write_all(format!("{says} agent\n").as_bytes()).unwrap();
            }));
        }
        let out = ran(user(&cx)
            .args(["build", "--ssh", "default", "--ssh", "two=sockets/two", "-t", "talked", "ctx"])
            .env("SSH_AUTH_SOCK", cx.path("sockets/one")));
        for part in ["| the first agent\n", "| the second agent\n", "| unset\n"] {
            assert!(out.stderr.contains(part), "{part}: {}", out.stderr);
        }
        out.success();
        for one in serving {
            one.join().unwrap();
        }
        // Whoever gives none is told so.
        let out = ran(user(&cx).args(["build", "--no-cache", "ctx"]).env_remove("SSH_AUTH_SOCK"));
        assert_eq!(out.status, 2, "{}", out.stderr);
        let err =
            ran(user(&cx).args(["build", "--ssh", "default", "ctx"]).env_remove("SSH_AUTH_SOCK")).failure(2);
        assert!(err.contains("SSH_AUTH_SOCK"), "{err}");
        assert_clean(&cx);
    }
}

#[test]
fn no_other_process_sees_a_secret() {
    let cx = Cx::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    context(
        &cx,
        &format!(
            "COPY talk /\nRUN --mount=type=secret,id=s,target=/s --mount=type=secret,id=v,env=V [\"/talk\", \"tcp\", \"{port}\"]\n"
        ),
    );
    let talk = compile(&Cc { triple: NATIVE, flags: &["-static", "-O1"], source: TALK });
    fs::copy(talk, cx.path("ctx/talk")).unwrap();
    cx.file("one", "hush-hush-of-a-file\n");
    cx.file("two", "hush-hush-of-a-variable");
    let secrets = ["--secret", "id=s,src=one", "--secret", "id=v,src=two"];
    let mut child =
        cx.polyarch().arg("build").args(secrets).arg("ctx").stderr(Stdio::piped()).spawn().unwrap();
    let (mut step, _) = listener.accept().unwrap();
    let mut with = Vec::new();
    for process in fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()) {
        for name in ["cmdline", "environ"] {
            // Processes come and go.
            let text = fs::read(process.join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            if text.contains("hush-hush-of-a-file") || (name == "cmdline" && text.contains("hush-hush")) {
                with.push(format!("{} {name}: {text}", process.display()));
            }
            // The variable is the step's own.
            if name == "environ" && text.contains("hush-hush-of-a-variable") {
                let program = fs::read(process.join("cmdline")).unwrap_or_default();
                if !program.starts_with(b"/talk") {
                    with.push(format!("{} {name}: {text}", process.display()));
                }
            }
        }
    }
    step.write_all(b"done\n").unwrap();
    drop(step);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    assert!(said.contains("| done\n"), "{said}");
    assert_eq!(with, Vec::<String>::new());
    assert_clean(&cx);
}

#[test]
fn triggers_of_a_base_are_done_in_the_next_stage() {
    let cx = Cx::new();
    context(
        &cx,
        "ARG ADDED=none\nONBUILD ARG ADDED=some\nONBUILD ENV FROM_TRIGGER=$ADDED\nONBUILD COPY data /data\n\
         ONBUILD RUN [\"/tool\", \"env\", \"FROM_TRIGGER\", \"mkdir\", \"/triggered\"]\nONBUILD WORKDIR /triggered\n",
    );
    cx.file("ctx/data", "data\n");
    build(&cx, &["-t", "base"]).success();
    assert_eq!(config(&cx, "base")["config"]["OnBuild"].as_array().unwrap().len(), 5);
    cx.file(
        "ctx/Containerfile",
        "FROM base AS first\nRUN [\"/tool\", \"pwd\"]\nFROM first\nRUN [\"/tool\", \"cat\", \"/data\"]\n",
    );
    let out = build(&cx, &["--build-arg", "ADDED=given", "-t", "made"]);
    for part in ["| given\n", "| /triggered\n", "| data\n"] {
        assert_eq!(out.stderr.matches(part).count(), 1, "{part}: {}", out.stderr);
    }
    out.success();
    assert!(config(&cx, "made")["config"]["OnBuild"].is_null());
    // One that fails is told of, with its text.
    fs::remove_file(cx.path("ctx/data")).unwrap();
    let err = build(&cx, &[]).failure(2);
    assert!(err.contains("`data`") && err.contains("COPY data /data"), "{err}");
}

#[test]
fn a_copy_serves_where_no_overlay_is_to_be_had() {
    let cx = Cx::new();
    // An overlay's upper layer cannot be on another overlay.
    let folder = cx.path("").display().to_string();
    let setup = format!(
        "mkdir {folder}/layers && mount -t tmpfs none {folder}/layers && mkdir {folder}/layers/l {folder}/layers/u {folder}/layers/w && \
         chown 65534:65534 {folder}/layers/u && mount -t overlay -o lowerdir={folder}/layers/l,upperdir={folder}/layers/u,workdir={folder}/layers/w none {folder}/home &&"
    );
    context(
        &cx,
        "RUN [\"/tool\", \"mkdir\", \"/d\", \"mkdir\", \"/d/deep\", \"write\", \"/d/deep/z\", \"5\", \"write\", \"/d/x\", \"1\", \"write\", \"/d/y\", \"2\"]\n\
         RUN [\"/tool\", \"write\", \"/d/deep/z\", \"4\"]\nRUN [\"/tool\", \"rm\", \"/d/x\", \"write\", \"/d/y\", \"changed\", \"write\", \"/z\", \"3\"]\nCOPY Containerfile /d/\n",
    );
    let words = ["--timestamp", "1600000000", "-o", &format!("oci:{folder}/made"), "ctx"];
    let out = ran(cx.granted(&setup).args(["-v", "build"]).args(words));
    assert!(out.stderr.contains("copied"), "{}", out.stderr);
    let digest = out.success();
    let by_copy = "oci:made";
    let plain = build(&cx, &["--timestamp", "1600000000", "-o", "oci:plain"]);
    for layer in 0..5 {
        let names = |image| {
            fs::remove_dir_all(cx.path(format!("out-{layer}"))).unwrap_or_default();
            listed(&cx, image, layer)
        };
        assert_eq!(names(by_copy), names("oci:plain"), "layer {layer}");
    }
    assert_eq!(plain.success(), digest);
}

#[test]
fn variables_that_nobody_set_are_told_once() {
    let cx = Cx::new();
    context(
        &cx,
        "ARG NONE\nENV SET=1\nARG WITH=2\nWORKDIR /d/$SET/$WITH/$NONE$http_proxy${ELSE:-x}\nWORKDIR /e/$TARGETARCH\n\
         ENV OTHER=$WIHT\nLABEL a=${UNKNOWN}\nRUN [\"/tool\", \"env\", \"$SHELLS\"]\n",
    );
    let out = build(&cx, &["--platform", "linux/amd64,linux/386", "--verify=off"]);
    let mut told: Vec<&str> = out.stderr.lines().filter(|line| line.contains("(UndefinedVar)")).collect();
    told.sort_unstable();
    assert_eq!(told.len(), 3, "{}", out.stderr);
    for (line, parts) in told.iter().zip([
        [":7:9: ", "the variable `TARGETARCH` is not set; `ARG TARGETARCH` in this stage"],
        [":8:11: ", "the variable `WIHT` is not set; did you mean `WITH`?"],
        [":9:9: ", "the variable `UNKNOWN` is not set ("],
    ]) {
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?}: {line}");
    }
    out.success();
}
