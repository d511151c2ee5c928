//! Containerfiles that cannot be built: each ends with its place and with status 2, soon, and leaves nothing behind.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::container::unprivileged;
use crate::support::{Cx, ran};

/// What is wrong, the file, where it is told (`LINE:COLUMN`), and a part of what is told.
const BAD: &[(&str, &str, &str, &str)] = &[
    ("unknown instruction", "FROM scratch\nCOPPY a /a\n", "2:1", "did you mean `COPY`?"),
    ("unknown flag", "FROM scratch\nCOPY --form=x a /a\n", "2:6", "did you mean `--from`?"),
    ("unknown flag of RUN", "FROM scratch\nRUN --mont=x true\n", "2:5", "did you mean `--mount`?"),
    ("nothing at all", "", "1:1", "no instructions"),
    ("comments alone", "# nothing\n\n", "1:1", "no instructions"),
    ("no FROM", "RUN true\n", "1:1", "the first instruction must be `FROM`"),
    ("ARG alone", "ARG A\n", "1:1", "no `FROM`"),
    ("FROM without an image", "FROM\n", "1:5", "needs an argument"),
    ("an empty base", "ARG B\nFROM $B\n", "2:6", "is empty"),
    ("two words after AS", "FROM scratch AS a b\n", "1:", ""),
    (
        "a stage of a number that is not there",
        "FROM scratch\nCOPY --from=3 a /a\n",
        "2:6",
        "no stage of the number 3",
    ),
    (
        "a stage that comes later",
        "FROM scratch AS a\nCOPY --from=b a /a\nFROM scratch AS b\nCOPY --from=a a /a\n",
        "2:6",
        "comes later",
    ),
    ("itself", "FROM scratch AS a\nCOPY --from=a a /a\n", "2:6", "cannot copy from itself"),
    (
        "stages in a circle",
        "FROM scratch AS a\nCOPY --from=c a /a\nFROM a AS b\nCOPY a /b\nFROM b AS c\nCOPY a /c\n",
        "2:6",
        "comes later",
    ),
    (
        "a mount of a later stage",
        "FROM scratch\nRUN --mount=type=bind,from=b,target=/m [\"x\"]\nFROM scratch AS b\nFROM 0\nCOPY a /a\n",
        "",
        "",
    ),
    ("a missing file", "FROM scratch\nCOPY none /a\n", "2:1", "`none` is not there"),
    ("a file of nearly that name", "FROM scratch\nCOPY fil /a\n", "2:1", "did you mean `file`?"),
    ("a folder of a file", "FROM scratch\nCOPY file/in /a\n", "2:1", "is not there"),
    ("out by a link", "FROM scratch\nCOPY out/passwd /a\n", "2:1", "leads out of the context"),
    ("out by a link to a file", "FROM scratch\nCOPY passwd /a\n", "2:1", "leads out of the context"),
    ("out by dots", "FROM scratch\nCOPY ../../../../etc/passwd /a\n", "2:1", "is not there"),
    ("links in a circle", "FROM scratch\nCOPY round /a\n", "2:1", "round"),
    ("what is ignored", "FROM scratch\nCOPY ignored /a\n", "2:1", "the ignore file leaves it out"),
    ("a pattern that is none", "FROM scratch\nCOPY [ /a\n", "2:1", "no pattern"),
    ("an exclusion that is none", "FROM scratch\nCOPY --exclude=[ file /a\n", "2:", "no pattern"),
    ("several into a file", "FROM scratch\nCOPY file ignored /a\n", "2:1", "is no folder"),
    ("no destination", "FROM scratch\nCOPY file\n", "2:6", "needs a source and a destination"),
    ("a mode that is none", "FROM scratch\nCOPY --chmod=999 file /a\n", "2:1", "999"),
    ("an owner that is not there", "FROM scratch\nCOPY --chown=nobody-here file /a\n", "2:1", "nobody-here"),
    ("an address for COPY", "FROM scratch\nCOPY http://127.0.0.1:1/x /a\n", "2:1", "`ADD` does"),
    ("a server that is not there", "FROM scratch\nADD http://127.0.0.1:1/x /a\n", "2:1", "127.0.0.1:1"),
    ("a checksum of a file", "FROM scratch\nADD --checksum=sha256:00 file /a\n", "2:1", "is fetched"),
    ("a here-document without its end", "FROM scratch\nCOPY <<EOF /a\nline\n", "2:", "EOF"),
    ("a quote without its end", "FROM scratch\nENV A=\"b\n", "2:", "no end"),
    ("a variable without its end", "FROM scratch\nENV A=${B\n", "2:", "no `}`"),
    ("a modifier that is none", "FROM scratch\nENV A=${B!c}\n", "2:", "no modifier"),
    ("a variable that must be set", "FROM scratch\nENV A=${B:?say which}\n", "2:", "say which"),
    ("JSON in ONBUILD of ONBUILD", "FROM scratch\nONBUILD ONBUILD RUN x\n", "2:", "ONBUILD"),
    ("FROM in ONBUILD", "FROM scratch\nONBUILD FROM x\n", "2:", ""),
    ("SHELL that is no list", "FROM scratch\nSHELL /bin/sh\n", "2:", "JSON"),
    ("a port that is none", "FROM scratch\nEXPOSE many\n", "2:", "no port"),
    ("a signal that is none", "FROM scratch\nSTOPSIGNAL SIGNONE\n", "2:", "no signal"),
    ("a time that is none", "FROM scratch\nHEALTHCHECK --interval=soon CMD x\n", "2:", "soon"),
    ("rights that cannot be had", "FROM scratch\nRUN --security=insecure [\"x\"]\n", "2:", "cannot be had"),
    ("a network that is none", "FROM scratch\nRUN --network=mine [\"x\"]\n", "2:", "no network"),
    (
        "a mount that is none",
        "FROM scratch\nRUN --mount=type=bnd,target=/x [\"x\"]\n",
        "2:",
        "did you mean `bind`?",
    ),
    (
        "a secret that is not given",
        "FROM scratch\nCOPY file /file\nRUN --mount=type=secret,id=key,required [\"x\"]\n",
        "3:",
        "key",
    ),
    ("a program that is not there", "FROM scratch\nCOPY file /file\nRUN [\"/none\"]\n", "3:1", "/none"),
    ("no shell", "FROM scratch\nCOPY file /file\nRUN echo x\n", "3:1", "/bin/sh"),
    ("an escape that is none", "# escape=x\nFROM scratch\n", "1:", ""),
    ("a stage's name that is none", "FROM scratch AS 1a\n", "1:", ""),
    ("a platform that is none", "FROM --platform=linux/arm/v7/x/y scratch\nCOPY file /f\n", "1:", ""),
];

fn context(folder: &Path) {
    fs::create_dir_all(folder.join("ctx")).unwrap();
    let at = |name: &str| folder.join("ctx").join(name);
    for name in ["file", "ignored", "a"] {
        fs::write(at(name), name).unwrap();
    }
    fs::write(at(".dockerignore"), "ignored\n").unwrap();
    symlink("/etc", at("out")).unwrap();
    symlink("/etc/passwd", at("passwd")).unwrap();
    symlink("round", at("round")).unwrap();
}

/// What is in the folders of runs and of unfinished layers.
#[track_caller]
fn assert_nothing_left(cx: &Cx) {
    let cache = cx.path("nobody/.cache/polyarch");
    let cache = if cache.exists() { cache } else { cx.path("home/.cache/polyarch") };
    for folder in ["run", "build/layers"] {
        let Ok(entries) = fs::read_dir(cache.join(folder)) else { continue };
        for entry in entries.map(Result::unwrap) {
            let is_whole = entry.path().join("layer.json").exists();
            assert!(entry.file_name() == "lock" || is_whole, "{} is left", entry.path().display());
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(cx.path("").to_str().unwrap()), "a mount is left");
}

fn failed(cx: &Cx, file: &[u8]) -> String {
    fs::write(cx.path("ctx/Containerfile"), file).unwrap();
    let mut command = unprivileged(cx);
    let start = Instant::now();
    let said = ran(command.arg("build").arg("ctx")).failure(2);
    assert!(start.elapsed() < Duration::from_mins(1), "{said}");
    said
}

#[test]
fn each_is_told_with_its_place() {
    let cx = Cx::new();
    context(&cx.path(""));
    let mut wrong = Vec::new();
    for (what, file, at, part) in BAD {
        if at.is_empty() {
            continue;
        }
        let said = failed(&cx, file.as_bytes());
        let line = format!("Containerfile:{at}");
        if !said.contains(&line) || !said.contains(part) || said.contains("panicked") {
            wrong.push(format!("{what}: wanted `{line}` and `{part}`:\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_nothing_left(&cx);
}

#[test]
fn what_is_huge_or_no_text_ends_soon() {
    let cx = Cx::new();
    context(&cx.path(""));
    let endless = [b"FROM scratch\nCOPY <<EOF /a\n".as_slice(), &b"line of text\n".repeat(1 << 20)].concat();
    let deep = format!("FROM scratch\nENV A={}{}\n", "${B:-".repeat(100_000), "}".repeat(100_000));
    for (what, file, part) in [
        ("huge", b"FROM scratch\n".repeat(1 << 20), "Containerfile"),
        ("one line", [b"FROM scratch\nRUN ".as_slice(), &vec![b'x'; 16 << 20]].concat(), "Containerfile"),
        ("an endless here-document", endless, "Containerfile"),
        ("zeros", vec![0; 100_000], "Containerfile"),
        ("a program", fs::read("/bin/true").unwrap(), "Containerfile"),
        ("no UTF-8", b"FROM scratch\nENV A=\xff\xfe\n".to_vec(), "Containerfile"),
        ("variables in variables", deep.into_bytes(), "nested too deeply"),
    ] {
        let said = failed(&cx, &file);
        assert!(said.contains(part) && !said.contains("panicked"), "{what}: {said}");
        assert!(said.len() < 4000, "{what}: {} bytes are said", said.len());
    }
    assert_nothing_left(&cx);
}

#[test]
fn an_archives_containerfile_is_in_the_archive() {
    let cx = Cx::new();
    fs::create_dir(cx.path("ctx")).unwrap();
    let file = cx.path("ctx/Containerfile");
    let no_file = "no file of the archive";
    for (make, part) in [
        ("ln -s /etc/passwd ctx/Containerfile", no_file),
        ("mkfifo ctx/Containerfile", "there is no `Containerfile`"),
        ("ln -s ../../lock ctx/Containerfile", no_file),
    ] {
        let _ = fs::remove_file(&file);
        ran(cx.command("sh").args(["-c", make])).success();
        ran(cx.command("tar").args(["-C", "ctx", "-cf", "ctx.tar", "."])).success();
        let mut command = unprivileged(&cx);
        command.args(["build", "-"]).stdin(fs::File::open(cx.path("ctx.tar")).unwrap());
        let said = ran(&mut command).failure(2);
        assert!(said.contains(part), "{make}: {said}");
        assert_nothing_left(&cx);
    }
}
