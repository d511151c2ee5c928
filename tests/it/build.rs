//! `build`: Containerfiles become images, steps run, and what was done is not done again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::cc::{Cc, compile};
use crate::support::container::{NATIVE, granted, unprivileged};
use crate::support::image::facts;
use crate::support::{Cx, Ran, ran};

/// Says for which machine it was made, and writes it down.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <sys/utsname.h>
int main(int count, char **words) {
    struct utsname name;
    uname(&name);
    printf("%s %s\n", words[count - 1], name.machine);
    FILE *file = fopen("/machine", "w");
    if (file) { fprintf(file, "%s\n", name.machine); fclose(file); }
    return !file;
}
"#;

/// A little of what a shell does, for images that have none: `mkdir`, `rm`, `mv`, `ln`, `write PATH TEXT`, `cat PATH`, `fail`.
const TOOL: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int count, char **words) {
    for (int at = 1; at < count; at++) {
        char *word = words[at];
        if (!strcmp(word, "mkdir")) { if (mkdir(words[++at], 0755)) return perror(words[at]), 1; }
        else if (!strcmp(word, "rm")) { if (unlink(words[++at]) && rmdir(words[at])) return perror(words[at]), 1; }
        else if (!strcmp(word, "mv")) { char *from = words[++at]; if (rename(from, words[++at])) return perror(from), 1; }
        else if (!strcmp(word, "ln")) { char *to = words[++at]; if (symlink(to, words[++at])) return perror(to), 1; }
        else if (!strcmp(word, "write")) {
            FILE *file = fopen(words[++at], "w");
            if (!file) return perror(words[at]), 1;
            fputs(words[++at], file);
            fclose(file);
        } else if (!strcmp(word, "cat")) {
            FILE *file = fopen(words[++at], "r");
            if (!file) return perror(words[at]), 1;
            for (int it; (it = getc(file)) != EOF;) putchar(it);
            fclose(file);
        } else if (!strcmp(word, "env")) { char *value = getenv(words[++at]); puts(value ? value : "unset"); }
        else if (!strcmp(word, "id")) printf("%d %d\n", getuid(), getgid());
        else if (!strcmp(word, "pwd")) { char path[4096]; puts(getcwd(path, sizeof path)); }
        else if (!strcmp(word, "fail")) { puts("this is why"); return 7; }
    }
}
"#;

/// A context with `/tool` for this machine and a Containerfile of these instructions behind `FROM scratch`.
pub(crate) fn context(cx: &Cx, text: &str) -> PathBuf {
    let tool = compile(&Cc { triple: NATIVE, flags: &["-static", "-O1"], source: TOOL });
    fs::create_dir_all(cx.path("ctx")).unwrap();
    fs::copy(tool, cx.path("ctx/tool")).unwrap();
    cx.file("ctx/Containerfile", format!("FROM scratch\nCOPY tool /tool\n{text}"));
    cx.path("ctx")
}

pub(crate) fn build(cx: &Cx, words: &[&str]) -> Ran {
    ran(cx.polyarch().arg("build").args(words).arg("ctx"))
}

/// What of the image's layers there is: names, in order, with what tar says of them.
pub(crate) fn listed(cx: &Cx, image: &str, layer: usize) -> Vec<String> {
    let folder = cx.path(format!("out-{layer}"));
    let name = format!("oci:{}", folder.display());
    cx.run(["-q", "copy", image, &name]).success();
    let facts = facts(cx, &name);
    let digest = facts["images"][0]["layers"][layer]["digest"].as_str().unwrap();
    let blob = folder.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
    let listed = ran(cx.command("tar").args(["--numeric-owner", "-tvzf"]).arg(blob)).success();
    let short = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut short = vec![words[0], words[1]];
        short.extend(&words[5..]);
        short.join(" ")
    };
    listed.lines().map(short).collect()
}

pub(crate) fn config(cx: &Cx, image: &str) -> Value {
    facts(cx, image)["images"][0]["config"].clone()
}

/// Nothing of a run is left.
#[track_caller]
pub(crate) fn assert_clean(cx: &Cx) {
    for folder in ["home/.cache/polyarch/run", "nobody/.cache/polyarch/run"] {
        let Ok(entries) = fs::read_dir(cx.path(folder)) else { continue };
        let left: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name()).filter(|name| name != "lock").collect();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
}

/// (Platform, prefix of the cross compiler, what `uname -m` says.)
const ALL: &[(&str, &str, &str)] = &[
    ("linux/amd64", NATIVE, "x86_64"),
    ("linux/arm/v7", "arm-linux-gnueabihf", "armv7l"),
    ("linux/arm64", "aarch64-linux-gnu", "aarch64"),
    ("linux/mips", "mips-linux-gnu", "mips"),
    ("linux/s390x", "s390x-linux-gnu", "s390x"),
];

#[test]
fn one_file_makes_an_index_of_many_platforms_that_all_run() {
    let cx = Cx::new();
    for (platform, triple, _) in ALL {
        let made = compile(&Cc { triple, flags: &["-static", "-O1"], source: PROGRAM });
        let name = cx.path(format!("ctx/{}", platform.replace('/', "-")));
        fs::create_dir_all(name.parent().unwrap()).unwrap();
        fs::copy(made, name).unwrap();
    }
    cx.file(
        "ctx/Containerfile",
        "FROM --platform=$BUILDPLATFORM scratch AS programs\nCOPY linux-* /\nFROM scratch\nARG TARGETOS TARGETARCH TARGETVARIANT\n\
         COPY --from=programs /$TARGETOS-$TARGETARCH${TARGETVARIANT:+-$TARGETVARIANT} /prog\nRUN [\"/prog\", \"built\"]\nCMD [\"/prog\", \"run\"]\n",
    );
    let platforms: Vec<&str> = ALL.iter().map(|(platform, ..)| *platform).collect();
    let platforms = platforms.join(",");
    let words = ["--platform", &platforms, "-t", "many"];
    let first = build(&cx, &words);
    let said = first.stderr.clone();
    let digest = first.success();
    for (platform, _, machine) in ALL {
        assert!(said.contains(&format!("| built {machine}\n")), "{platform}: {said}");
        let out = cx.run(["run", "--platform", platform, "many"]);
        assert_eq!(out.success(), format!("run {machine}\n"));
    }
    let facts = facts(&cx, "many");
    assert_eq!(facts["images"].as_array().unwrap().len(), ALL.len());
    let again = build(&cx, &words);
    assert!(again.stderr.lines().all(|line| line.ends_with("(cached)")), "{}", again.stderr);
    assert_eq!(again.success(), digest);
    assert_clean(&cx);
}

#[test]
fn steps_change_files_and_layers_hold_the_changes_alone() {
    for user in [Cx::polyarch, unprivileged, granted] {
        let cx = Cx::new();
        context(
            &cx,
            "RUN [\"/tool\", \"mkdir\", \"/a\", \"write\", \"/a/x\", \"1\", \"write\", \"/a/y\", \"2\"]\n\
             RUN [\"/tool\", \"rm\", \"/a/x\", \"write\", \"/a/z\", \"3\", \"cat\", \"/a/y\"]\n\
             RUN [\"/tool\"]\nENTRYPOINT [\"/tool\"]\nCMD [\"cat\", \"/a/y\", \"cat\", \"/a/z\"]\n",
        );
        ran(user(&cx).args(["build", "-t", "oci:nobody/image", "ctx"])).success();
        assert_eq!(listed(&cx, "oci:nobody/image", 0), ["-rwxr-xr-x 0/0 tool"]);
        assert_eq!(
            listed(&cx, "oci:nobody/image", 1),
            ["drwxr-xr-x 0/0 a", "-rw-r--r-- 0/0 a/x", "-rw-r--r-- 0/0 a/y"]
        );
        assert_eq!(
            listed(&cx, "oci:nobody/image", 2),
            ["drwxr-xr-x 0/0 a", "-rw-r--r-- 0/0 a/.wh.x", "-rw-r--r-- 0/0 a/z"]
        );
        // The last one changed nothing, and where something was mounted nothing is left.
        let facts = facts(&cx, "oci:nobody/image");
        assert_eq!(facts["images"][0]["layers"].as_array().unwrap().len(), 3);
        let config = config(&cx, "oci:nobody/image");
        let history = config["history"].as_array().unwrap();
        let empty: Vec<bool> = history.iter().map(|line| line["empty_layer"] == true).collect();
        assert_eq!(empty, [false, false, false, true, true, true]);
        assert_eq!(ran(user(&cx).args(["run", "oci:nobody/image"])).success(), "23");
        assert_clean(&cx);
    }
}

#[test]
fn copies_go_where_dockers_reference_says() {
    let cx = Cx::new();
    cx.file("ctx/d/one", "1");
    cx.file("ctx/d/sub/two", "2");
    cx.file("ctx/three.txt", "3");
    std::os::unix::fs::symlink("three.txt", cx.path("ctx/link")).unwrap();
    fs::set_permissions(cx.path("ctx/d/sub/two"), fs::Permissions::from_mode(0o600)).unwrap();
    cx.file(
        "ctx/Containerfile",
        "FROM scratch AS s\nCOPY --chown=7:8 d /deep/er\nCOPY --chmod=u=rwX,go= three.txt /m\n\
         FROM scratch\nWORKDIR /w\nCOPY three.txt .\nCOPY link l\nCOPY d/* all/\nCOPY --from=s /deep /\nCOPY --from=0 /m /deep/er/sub/m\n\
         COPY <<EOF /here\nhello ${X:-there}\nEOF\nCOPY --parents d/./sub/two /p/\nCOPY --exclude=one d /e\n",
    );
    build(&cx, &["-t", "oci:image"]).success();
    let layer = |at| listed(&cx, "oci:image", at);
    assert_eq!(layer(0), ["drwxr-xr-x 0/0 w"]);
    assert_eq!(layer(1), ["drwxr-xr-x 0/0 w", "-rw-r--r-- 0/0 w/three.txt"]);
    assert_eq!(layer(2), ["drwxr-xr-x 0/0 w", "-rw-r--r-- 0/0 w/l"]);
    let all =
        ["drwxr-xr-x 0/0 w", "drwxr-xr-x 0/0 w/all", "-rw-r--r-- 0/0 w/all/one", "-rw------- 0/0 w/all/two"];
    assert_eq!(layer(3), all);
    assert_eq!(
        layer(4),
        ["drwxr-xr-x 7/8 er", "-rw-r--r-- 7/8 er/one", "drwxr-xr-x 7/8 er/sub", "-rw------- 7/8 er/sub/two"]
    );
    assert_eq!(layer(5).last().unwrap(), "-rw------- 0/0 deep/er/sub/m");
    assert_eq!(layer(6), ["-rw-r--r-- 0/0 here"]);
    assert_eq!(layer(7), ["drwxr-xr-x 0/0 p", "drwxr-xr-x 0/0 p/sub", "-rw------- 0/0 p/sub/two"]);
    assert_eq!(layer(8), ["drwxr-xr-x 0/0 e", "drwxr-xr-x 0/0 e/sub", "-rw------- 0/0 e/sub/two"]);
    ran(cx.polyarch().args(["build", "-o", "files", "ctx"])).success();
    assert_eq!(fs::read_to_string(cx.path("files/here")).unwrap(), "hello there\n");
    assert_eq!(fs::read_to_string(cx.path("files/w/l")).unwrap(), "3");
}

#[test]
fn only_what_has_changed_is_done_again() {
    let cx = Cx::new();
    context(
        &cx,
        "ARG WHO=a\nRUN [\"/tool\", \"write\", \"/one\", \"1\"]\nCOPY data /data\nRUN [\"/tool\", \"cat\", \"/data\", \"env\", \"WHO\"]\nLABEL x=y\n",
    );
    cx.file("ctx/data", "first\n");
    let done = |words: &[&str]| {
        let out = build(&cx, words);
        let lines: Vec<bool> = out
            .stderr
            .lines()
            .filter(|line| !line.contains(" | "))
            .map(|line| !line.ends_with("(cached)"))
            .collect();
        (lines, out.stderr.clone(), out.success())
    };
    assert_eq!(done(&[]).0, [true; 4]);
    assert_eq!(done(&[]).0, [false; 4]);
    // A file's time says nothing, its content does.
    cx.file("ctx/data", "first\n");
    assert_eq!(done(&[]).0, [false; 4]);
    cx.file("ctx/data", "second\n");
    let (steps, said, _) = done(&[]);
    assert_eq!(steps, [false, false, true, true]);
    assert!(said.contains("| second\n") && said.contains("| a\n"), "{said}");
    assert_eq!(done(&["--build-arg", "WHO=b"]).0, [false, true, true, true]);
    assert_eq!(done(&["--no-cache"]).0, [true; 4]);
    assert_eq!(done(&[]).0, [false; 4]);
    cx.run(["image", "prune"]).success();
    assert_eq!(done(&[]).0, [false; 4], "the store's pruning is not the cache's");
}

#[test]
fn what_runs_has_its_user_folder_variables_and_mounts() {
    let cx = Cx::new();
    context(
        &cx,
        "ENV A=1 B=\"two words\"\nUSER 5:6\nWORKDIR /own\nRUN [\"/tool\", \"id\", \"pwd\", \"env\", \"B\", \"env\", \"http_proxy\"]\nUSER 0\n\
         RUN --mount=target=/ctx --mount=type=cache,target=/c --mount=type=tmpfs,target=/t [\"/tool\", \"cat\", \"/ctx/data\", \"write\", \"/c/n\", \"kept\", \"write\", \"/t/n\", \"x\"]\n\
         RUN --mount=type=cache,target=/other,id=/c --network=none [\"/tool\", \"cat\", \"/other/n\"]\n\
         RUN --mount=type=secret,id=s,target=/run/it --mount=type=secret,id=v,env=V [\"/tool\", \"cat\", \"/run/it\", \"env\", \"V\"]\n",
    );
    cx.file("ctx/data", "of the context\n");
    cx.file("ctx/.dockerignore", "secret\n");
    cx.file("secret", "hush-hush-1\n");
    let out = ran(granted(&cx)
        .args([
            "build",
            "--build-arg",
            "http_proxy=http://proxy.example",
            "--secret",
            "id=s,src=secret",
            "--secret",
            "id=v,env=HUSH",
        ])
        .args(["-t", "oci:nobody/image", "ctx"])
        .env("HUSH", "hush-hush-2"));
    for part in [
        "| 5 6\n",
        "| /own\n",
        "| two words\n",
        "| http://proxy.example\n",
        "| of the context\n",
        "| kept",
        "hush-hush-1",
        "hush-hush-2",
    ] {
        assert!(out.stderr.contains(part), "{part}: {}", out.stderr);
    }
    out.success();
    let facts = facts(&cx, "oci:nobody/image");
    assert_eq!(facts["images"][0]["layers"].as_array().unwrap().len(), 2, "mounts leave nothing");
    assert_eq!(listed(&cx, "oci:nobody/image", 1), ["drwxr-xr-x 5/6 own"]);
    // No secret stays anywhere: neither plain nor compressed.
    let script = "grep -rl hush-hush- nobody || find nobody -type f -exec sh -c 'zcat -f \"$1\" 2>/dev/null | grep -q hush-hush-' sh {} \\; -print";
    assert_eq!(ran(cx.command("sh").args(["-c", script])).stdout, "");
    assert_clean(&cx);
}

#[test]
fn what_fails_is_told_with_its_place() {
    let cx = Cx::new();
    let told = |text: &str, parts: &[&str]| {
        context(&cx, text);
        let out = build(&cx, &[]);
        assert_eq!(out.status, 2, "{text}: {}", out.stderr);
        for part in parts {
            assert!(out.stderr.contains(part), "{text}: {part}: {}", out.stderr);
        }
        assert_clean(&cx);
    };
    told(
        "RUN [\"/tool\", \"fail\"]\n",
        &[
            "  this is why\n",
            "ctx/Containerfile:3:1\n  3 | RUN [\"/tool\", \"fail\"]\n      ^\n",
            "error: the command ended with status 7\n",
        ],
    );
    told("RUN [\"/none\"]\n", &["ctx/Containerfile:3:1", "`/none`"]);
    told("COPY none /x\n", &["ctx/Containerfile:3:1", "none"]);
    told("COPY --from=missing-stage-or-image.invalid/x /x /y\n", &["missing-stage-or-image.invalid/x"]);
    told("COPY --chown=nobody tool /x\n", &["there is no user `nobody`", "3:1"]);
    told("COPY tool tool /x\n", &["is no folder"]);
    told("COPI tool /x\n", &["3:1", "did you mean `COPY`?"]);
    told("COPY tool /d/\nCOPY Containerfile /d\nCOPY ctx /tool/x\n", &["Containerfile"]);
    told(
        "RUN --mount=type=secret,id=gone,required=true [\"/tool\"]\n",
        &["the secret `gone` is not given", "--secret id=gone"],
    );
}

#[test]
fn the_same_everywhere_with_a_timestamp() {
    let text = "RUN [\"/tool\", \"mkdir\", \"/d\", \"write\", \"/d/x\", \"1\"]\nCOPY tool /again\n";
    let digest = |user: fn(&Cx) -> Command| {
        let cx = Cx::new();
        context(&cx, text);
        let out = ran(user(&cx).args(["-q", "build", "--timestamp", "1600000000", "ctx"]));
        let again = ran(user(&cx).args(["-q", "build", "--timestamp", "1600000000", "--no-cache", "ctx"]));
        let digest = out.success();
        assert_eq!(again.success(), digest);
        digest
    };
    let one = digest(Cx::polyarch);
    assert_eq!(one, digest(unprivileged));
    assert_eq!(one, digest(granted));
}

#[test]
fn two_builds_at_once_share_their_steps() {
    let cx = Cx::new();
    context(&cx, "RUN [\"/tool\", \"write\", \"/x\", \"1\"]\nRUN [\"/tool\", \"cat\", \"/x\"]\n");
    let start = || {
        let mut command = cx.polyarch();
        command.args(["build", "ctx"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let builds: Vec<_> = (0..4).map(|_| start()).collect();
    let ended: Vec<_> = builds.into_iter().map(|build| build.wait_with_output().unwrap()).collect();
    let first = String::from_utf8_lossy(&ended[0].stdout).into_owned();
    assert!(first.starts_with("sha256:"), "{}", String::from_utf8_lossy(&ended[0].stderr));
    let mut made = 0;
    for out in ended {
        assert_eq!(String::from_utf8_lossy(&out.stdout), first);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        made += said
            .lines()
            .filter(|line| line.starts_with("[3/3]") && !line.ends_with("(cached)") && !line.contains('|'))
            .count();
    }
    assert_eq!(made, 1, "one of them did the step");
    assert_clean(&cx);
}

#[test]
fn a_build_that_is_killed_leaves_nothing_wrong() {
    let cx = Cx::new();
    let steps: Vec<String> =
        (0..6).map(|at| format!("RUN [\"/tool\", \"write\", \"/f{at}\", \"{at}\"]\n")).collect();
    let steps = steps.concat();
    context(&cx, &steps);
    for round in 0..8_u32 {
        let mut child = cx.polyarch();
        let mut child =
            child.args(["build", "ctx"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // Killed when it has begun so many steps, wherever it is then.
        let stderr = child.stderr.take().unwrap();
        for line in std::io::BufRead::lines(std::io::BufReader::new(stderr)).take(1 + round as usize) {
            let _ = line;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    build(&cx, &["-t", "killed"]).success();
    let one = build(&cx, &["--timestamp", "1600000000"]).success();
    let other = Cx::new();
    context(&other, &steps);
    assert_eq!(one, build(&other, &["--timestamp", "1600000000"]).success());
    ran(cx.polyarch().args(["build", "-o", "files", "ctx"])).success();
    for at in 0..6 {
        assert_eq!(fs::read_to_string(cx.path(format!("files/f{at}"))).unwrap(), at.to_string());
    }
    // What was half done is gone.
    let layers = fs::read_dir(cx.path("home/.cache/polyarch/build/layers")).unwrap();
    for layer in layers {
        let path = layer.unwrap().path();
        assert!(path.join("layer.json").is_file(), "{}", path.display());
    }
    assert_clean(&cx);
}

#[test]
fn a_containerfile_comes_from_standard_input_and_so_does_a_context() {
    let cx = Cx::new();
    context(&cx, "");
    let text = fs::read(cx.path("ctx/Containerfile")).unwrap();
    let feed = |words: &[&str], input: &[u8]| {
        let file = cx.file("input", input);
        ran(cx.polyarch().args(["-q", "build"]).args(words).stdin(fs::File::open(file).unwrap()))
    };
    let one = feed(&["-f", "-", "ctx"], &text).success();
    let tar = ran(cx.command("tar").args(["-C", "ctx", "-cf", "ctx.tar", "."]));
    tar.success();
    assert_eq!(feed(&["-"], &fs::read(cx.path("ctx.tar")).unwrap()).success(), one);
    feed(&["-"], b"FROM scratch\nLABEL a=b\n").success();
    assert_eq!(feed(&["-"], b"FROM scratch\nCOPY x /\n").status, 2);
    assert_clean(&cx);
}

/// Debian's root for arm64, which `scripts/debian-roots` makes.
#[test]
fn a_foreign_debian_is_built_on() {
    let cx = Cx::new();
    let tar = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/roots/arm64.tar");
    assert!(tar.is_file(), "`{}` is missing: scripts/debian-roots arm64", tar.display());
    ran(cx.polyarch().args(["-q", "image", "import"]).arg(&tar).args([
        "debian",
        "--platform",
        "linux/arm64",
    ]))
    .success();
    cx.file(
        "ctx/Containerfile",
        "FROM debian\nARG WHO=world\nRUN echo \"hello $WHO from $(uname -m)\" >/greeting && useradd -m anna\nUSER anna\nWORKDIR /home/anna\n\
         RUN id -un >who && ln -s who link && ln who hard && chmod 600 who\nRUN <<EOF\n#!/usr/bin/perl\nprint \"perl $0\\n\";\nEOF\nUSER 0\n\
         RUN rm -r /home/anna /etc/issue && cat /greeting\nCMD [\"cat\", \"/greeting\"]\n",
    );
    let out = build(&cx, &["--platform", "linux/arm64", "--build-arg", "WHO=you", "-t", "made"]);
    for part in ["| perl /dev/pipes/EOF\n", "| hello you from aarch64\n"] {
        assert!(out.stderr.contains(part), "{part}: {}", out.stderr);
    }
    out.success();
    assert_eq!(cx.run(["run", "made"]).success(), "hello you from aarch64\n");
    let files = listed(&cx, "made", 2);
    assert!(files.contains(&"-rw------- 1000/1000 home/anna/hard".to_owned()), "{files:?}");
    assert_eq!(cx.run(["run", "made", "ls", "/home", "/etc/issue"]).status, 2);
}

#[test]
fn what_was_built_is_checked_at_the_end() {
    let cx = Cx::new();
    let foreign = compile(&Cc { triple: "aarch64-linux-gnu", flags: &["-static", "-O1"], source: PROGRAM });
    context(&cx, "COPY foreign /foreign\n");
    fs::copy(foreign, cx.path("ctx/foreign")).unwrap();
    let out = build(&cx, &["-t", "wrong"]);
    assert_eq!(out.status, 2, "{}", out.stderr);
    for part in ["`/foreign`", "--verify=warn"] {
        assert!(out.stderr.contains(part), "{part}: {}", out.stderr);
    }
    assert_eq!(cx.run(["image", "inspect", "wrong"]).status, 2, "nothing has the name");
    let warned = build(&cx, &["-t", "wrong", "--verify=warn"]);
    assert!(warned.stderr.contains("`/foreign`"), "{}", warned.stderr);
    warned.success();
    let off = build(&cx, &["-t", "wrong", "--verify=off"]);
    assert!(!off.stderr.contains("`/foreign`"), "{}", off.stderr);
    off.success();
    // Data alone passes, without a command.
    cx.file("ctx/Containerfile", "FROM scratch\nCOPY Containerfile /\n");
    build(&cx, &["-t", "data"]).success();
    build(&cx, &["-t", "data"]).success();
}

#[test]
fn a_shell_is_started_where_a_command_failed() {
    let cx = Cx::new();
    // A stand-in for a shell: it shows what the step wrote before it failed.
    context(
        &cx,
        "RUN [\"/tool\", \"mkdir\", \"/bin\"]\nCOPY tool /bin/tool\nSHELL [\"/bin/tool\", \"pwd\"]\nRUN [\"/tool\", \"write\", \"/wrote\", \"x\", \"fail\"]\n",
    );
    let out = build(&cx, &["--debug-shell"]);
    assert_eq!(out.status, 2, "{}", out.stderr);
    assert!(out.stderr.contains("this is a shell in its container"), "{}", out.stderr);
    assert!(out.stderr.contains("the command ended with status 7"), "{}", out.stderr);
    assert_clean(&cx);
}
