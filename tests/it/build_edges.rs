//! `build`: what lies at the edges of the language, and what a step or a context may do to harm.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;

use crate::build::{assert_clean, build, config, context, listed};
use crate::build_options::TALK;
use crate::support::cc::{Cc, compile};
use crate::support::container::{NATIVE, granted, unprivileged};
use crate::support::{Cx, ran};

#[test]
fn a_step_removes_nothing_outside_of_what_it_wrote() {
    for user in [Cx::polyarch, granted] {
        let cx = Cx::new();
        let victim = cx.path("victim");
        fs::create_dir_all(victim.join("folder")).unwrap();
        for name in ["y", "hosts", "hostname", "resolv.conf"] {
            cx.file(&format!("victim/{name}"), "");
        }
        ran(cx.command("chmod").args(["-R", "777", "victim"])).success();
        let place = victim.display();
        context(
            &cx,
            &format!(
                "RUN --mount=type=tmpfs,target=/x/y [\"/tool\", \"mv\", \"/x\", \"/z\", \"ln\", \"{place}\", \"/x\"]\n\
                 RUN --mount=type=tmpfs,target=/w/folder [\"/tool\", \"mv\", \"/w\", \"/v\", \"ln\", \"{place}\", \"/w\"]\n\
                 RUN [\"/tool\", \"mv\", \"/etc\", \"/etc2\", \"ln\", \"{place}\", \"/etc\"]\n"
            ),
        );
        ran(user(&cx).args(["-q", "build", "--verify=off", "ctx"])).success();
        for name in ["y", "hosts", "hostname", "resolv.conf", "folder"] {
            assert!(victim.join(name).exists(), "{name}");
        }
        assert_clean(&cx);
    }
}

#[test]
fn what_the_cache_has_is_what_its_key_says() {
    let cx = Cx::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    context(&cx, "");
    let talk = compile(&Cc { triple: NATIVE, flags: &["-static", "-O1"], source: TALK });
    fs::copy(talk, cx.path("ctx/talk")).unwrap();
    cx.file("ctx/t", "one\n");
    cx.file(
        "ctx/Containerfile",
        format!("FROM scratch AS slow\nCOPY talk /\nRUN [\"/talk\", \"tcp\", \"{port}\"]\nFROM scratch AS fast\nCOPY tool t /\nFROM fast\nCOPY --from=slow /talk /\n"),
    );
    let mut child =
        cx.polyarch().args(["build", "--jobs", "1", "ctx"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let (mut step, _) = listener.accept().unwrap();
    // That step has the only place. The other one has read its files by the time it is shown.
    let mut line = String::new();
    while !line.contains("COPY tool t") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0);
    }
    cx.file("ctx/t", "two\n");
    step.write_all(b"done\n").unwrap();
    drop(step);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    // It may have been copied before.
    if !child.wait().unwrap().success() {
        assert!(rest.contains("it has changed since the build began to read it; build again"), "{rest}");
    }
    cx.file("ctx/t", "one\n");
    drop(listener);
    build(&cx, &["--target", "fast", "-t", "fast"]).success();
    assert_eq!(cx.run(["run", "fast", "/tool", "cat", "/t"]).success(), "one\n");
    assert_clean(&cx);
}

#[test]
fn files_that_lost_their_owners_are_no_hits_where_owners_are_kept() {
    assert!(rustix::process::geteuid().is_root(), "ids are granted by root");
    let cx = Cx::new();
    context(&cx, "COPY --chown=5:6 tool /own\n");
    for (user, image, owner) in [
        (unprivileged as fn(&Cx) -> _, "oci:nobody/single", "0/0"),
        (granted, "oci:nobody/many", "5/6"),
        (unprivileged, "oci:nobody/again", "0/0"),
    ] {
        ran(user(&cx).args(["-q", "build", "-o", image, "ctx"])).success();
        fs::remove_dir_all(cx.path("out-1")).unwrap_or_default();
        let own = listed(&cx, image, 1);
        assert_eq!(own.len(), 1);
        assert!(own[0].contains(owner), "{image}: {own:?}");
    }
}

#[test]
fn an_archives_ignore_file_is_in_the_archive() {
    let cx = Cx::new();
    context(&cx, "");
    cx.file("secret", "[a-secret\n");
    let made = |script: &str| {
        ran(cx
            .command("sh")
            .args(["-c", &format!("cd ctx && rm -f *ignore && {script} && tar -cf ../ctx.tar .")]))
        .success();
        let input = fs::File::open(cx.path("ctx.tar")).unwrap();
        ran(cx.polyarch().args(["-q", "build", "-"]).stdin(input))
    };
    let err = made("mkfifo Containerfile.dockerignore").failure(2);
    assert!(err.contains("Containerfile.dockerignore`: it is no file of the archive"), "{err}");
    let err = made(&format!("ln -s {} Containerfile.dockerignore", cx.path("secret").display())).failure(2);
    assert!(!err.contains("a-secret") && err.contains("Containerfile.dockerignore"), "{err}");
    made("echo x >Containerfile.dockerignore").success();
    assert_clean(&cx);
}

#[test]
fn a_cache_begins_with_what_it_is_told_to_and_may_be_mounted_twice() {
    let cx = Cx::new();
    context(
        &cx,
        "RUN [\"/tool\", \"mkdir\", \"/s\", \"write\", \"/s/x\", \"begins\"]\nFROM scratch\nCOPY tool /\n\
         RUN --mount=type=cache,target=/c,from=0,source=/s [\"/tool\", \"cat\", \"/c/x\"]\n\
         RUN --mount=type=cache,id=a,target=/x,sharing=locked --mount=type=cache,id=a,target=/y [\"/tool\", \"write\", \"/x/f\", \"twice\", \"cat\", \"/y/f\"]\n",
    );
    let out = build(&cx, &[]);
    for part in ["| begins\n", "| twice\n"] {
        assert!(out.stderr.contains(part), "{part}: {}", out.stderr);
    }
    out.success();
    // One that was being made when its build was killed is made anew.
    let mounts = cx.path("home/.cache/polyarch/build/mounts");
    for folder in
        fs::read_dir(&mounts).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        fs::remove_file(folder.join("x")).unwrap_or_default();
        fs::rename(&folder, folder.with_extension("new")).unwrap();
    }
    let out = build(&cx, &["--no-cache"]);
    assert!(out.stderr.contains("| begins\n"), "{}", out.stderr);
    out.success();
    let begun = fs::read_dir(&mounts)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|it| it == "new"));
    assert_eq!(begun.count(), 0);
    assert_clean(&cx);
}

#[test]
fn arguments_and_triggers_go_on_to_the_stages_upon() {
    let cx = Cx::new();
    context(&cx, "");
    cx.file(
        "ctx/Containerfile",
        "FROM scratch AS data\nCOPY tool /data\nFROM scratch AS base\nCOPY tool /\nARG X=1\nARG Y=2\nARG Y\nEXPOSE 127.0.0.1:8080:80/TCP 9000\n\
         ONBUILD COPY --from=data /data /data\nONBUILD COPY <<EOF /text\nhello $X\nEOF\nFROM base\nRUN [\"/data\", \"env\", \"X\", \"env\", \"Y\", \"cat\", \"/text\"]\n",
    );
    let out = build(&cx, &["-t", "made"]);
    assert!(out.stderr.contains("| 1\n") && out.stderr.contains("| 2\n"), "{}", out.stderr);
    assert!(out.stderr.contains("| hello 1\n"), "{}", out.stderr);
    out.success();
    let ports = config(&cx, "made")["config"]["ExposedPorts"].clone();
    assert_eq!(ports, serde_json::json!({ "80/tcp": {}, "9000/tcp": {} }));
    // The same from an image.
    build(&cx, &["--target", "base", "-t", "base"]).success();
    cx.file("ctx/Containerfile", "FROM scratch AS data\nCOPY tool /data\nFROM base\n");
    let err = build(&cx, &[]).failure(2);
    assert!(err.contains("Containerfile:3:1") && err.contains("reads the stage `data`"), "{err}");
    cx.file(
        "ctx/Containerfile",
        "FROM scratch AS data\nCOPY tool /data\nFROM base\nCOPY --from=data /data /again\n",
    );
    build(&cx, &[]).success();
    assert_clean(&cx);
}

#[test]
fn small_files_do_not_make_large_builds() {
    let cx = Cx::new();
    context(&cx, "");
    let mut stages = vec!["FROM scratch AS s0".to_owned()];
    stages.extend((1..20_000).map(|at| format!("FROM s{} AS s{at}", at - 1)));
    let stages = stages.join("\n");
    cx.file("ctx/Containerfile", stages);
    let err = build(&cx, &[]).failure(2);
    assert!(err.contains("Containerfile:251:1") && err.contains("more than 250 stages"), "{err}");
    let large = format!("FROM scratch\nENV B={}\n{}", "b".repeat(900 << 10), "ENV C=$B$B$B$B\n".repeat(60));
    cx.file("ctx/Containerfile", large);
    let err = build(&cx, &[]).failure(2);
    assert!(err.contains("become larger than 8 MiB"), "{err}");
}
