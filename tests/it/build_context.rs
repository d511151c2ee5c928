//! What contexts give: matches of patterns, ignore files, links, archives.

use std::ffi::OsStr;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use polyarch::build::context::{Context, ContextError, Input, Why, ignore_file, is_archive, unpack};
use polyarch::build::{Kind, Match};
use polyarch::containerfile::Ignore;
use tempfile::TempDir;

/// A folder with these files, each of its own name as content.
fn folder(files: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    folder
}

fn context(folder: &TempDir, ignore: &str) -> Context {
    Context::open(folder.path(), Ignore::parse(ignore).unwrap()).unwrap()
}

/// Each match as `PATH: ENTRY ENTRY…`, folders with a slash, links with their target.
fn shown(matches: &[Match]) -> Vec<String> {
    let entry = |entry: &polyarch::build::Entry| {
        let path = entry.path.to_string_lossy();
        match &entry.kind {
            Kind::Folder => format!("{path}/"),
            Kind::File { .. } => path.into_owned(),
            Kind::Link { target } => format!("{path}->{}", target.to_string_lossy()),
            Kind::Again { path: first } => format!("{path}={}", first.to_string_lossy()),
        }
    };
    let one = |it: &Match| {
        let entries: Vec<String> = it.entries.iter().map(entry).collect();
        format!("{}: {}", it.path.to_string_lossy(), entries.join(" "))
    };
    matches.iter().map(one).collect()
}

fn taken(context: &Context, pattern: &str) -> Vec<String> {
    shown(&context.take(pattern, &Ignore::default()).unwrap_or_else(|err| panic!("{pattern}: {err}")))
}

fn why(context: &Context, pattern: &str) -> Why {
    match context.take(pattern, &Ignore::default()) {
        Err(ContextError::Missing { why, .. }) => why,
        other => panic!("{pattern}: {other:?}"),
    }
}

#[test]
fn patterns_match_as_docker_has_it() {
    let folder = folder(&["a.txt", "b.txt", "arr[0].txt", "d/a.txt", "d/e/c.md", "f/a.txt", "x/y"]);
    let context = context(&folder, "");
    for (pattern, expected) in [
        ("a.txt", &["a.txt: "][..]),
        ("/./d/../a.txt", &["a.txt: "]),
        ("../../a.txt", &["a.txt: "]),
        ("d", &["d: / a.txt e/ e/c.md"]),
        ("d/", &["d: / a.txt e/ e/c.md"]),
        ("*.txt", &["a.txt: ", "arr[0].txt: ", "b.txt: "]),
        ("?.txt", &["a.txt: ", "b.txt: "]),
        ("[^a].txt", &["b.txt: "]),
        ("arr[[]0].txt", &["arr[0].txt: "]),
        ("*/a.txt", &["d/a.txt: ", "f/a.txt: "]),
        ("d/*", &["d/a.txt: ", "d/e: / c.md"]),
        ("none*", &[]),
        ("none/*", &[]),
        ("x/y/*", &[]),
        ("", &[": / a.txt arr[0].txt b.txt d/ d/a.txt d/e/ d/e/c.md f/ f/a.txt x/ x/y"]),
    ] {
        assert_eq!(taken(&context, pattern), expected, "{pattern}");
    }
    assert_eq!(why(&context, "a.tx"), Why::Similar { name: "a.txt".into() });
    assert_eq!(why(&context, "entirely/else"), Why::Unknown);
    assert_eq!(why(&context, "a.txt/b"), Why::Unknown);
    assert!(matches!(context.take("[", &Ignore::default()), Err(ContextError::Pattern(_))));
}

#[test]
fn links_are_followed_to_sources_and_never_out() {
    let folder = folder(&["in/file", "in/deep/file"]);
    let at = |name: &str| folder.path().join(name);
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("secret"), "s").unwrap();
    symlink("in/file", at("to-file")).unwrap();
    symlink("/in", at("to-folder")).unwrap();
    symlink("../../../in", at("far-up")).unwrap();
    symlink(outside.path(), at("out")).unwrap();
    symlink("/etc/passwd", at("passwd")).unwrap();
    symlink("round", at("round")).unwrap();
    symlink("../file", at("in/deep/back")).unwrap();
    let context = context(&folder, "");
    assert_eq!(taken(&context, "to-file"), ["to-file: "]);
    let entry = &context.take("to-file", &Ignore::default()).unwrap()[0].entries[0];
    assert_eq!(entry.file, at("in/file").as_os_str());
    let inner = "/ deep/ deep/back->../file deep/file file";
    assert_eq!(taken(&context, "to-folder"), [format!("to-folder: {inner}")]);
    assert_eq!(taken(&context, "far-up"), [format!("far-up: {inner}")]);
    assert_eq!(
        taken(&context, "to-folder/deep/../file"),
        ["to-folder/deep/../file: "].map(|it| it.replace("deep/../", ""))
    );
    for out in ["out/secret", "passwd"] {
        assert!(matches!(why(&context, out), Why::LedOut { .. }), "{out}");
    }
    assert!(matches!(context.take("round", &Ignore::default()), Err(ContextError::Read { .. })));
    // What is only copied along stays a link.
    assert!(taken(&context, "/").concat().contains("passwd->/etc/passwd"));
}

#[test]
fn what_is_ignored_is_not_there() {
    let folder =
        folder(&["a.md", "keep/a.md", "keep/b", "node_modules/x/y", "src/a", "src/gen/b", "src/gen/keep"]);
    symlink("node_modules/x", folder.path().join("link")).unwrap();
    let ignored = context(&folder, "**/*.md\n!keep/a.md\nnode_modules\nsrc/gen\n!src/gen/keep\n");
    let all = [": / keep/ keep/a.md keep/b link->node_modules/x src/ src/a src/gen/ src/gen/keep"];
    assert_eq!(taken(&ignored, "."), all);
    assert_eq!(why(&ignored, "a.md"), Why::Ignored);
    assert_eq!(taken(&ignored, "src/gen"), ["src/gen: / keep"]);
    assert_eq!(taken(&ignored, "*.md"), [""; 0]);
    // Nothing takes anything out of it here, so that it is not entered at all.
    let closed = context(&folder, "node_modules\n");
    assert_eq!(why(&closed, "link/y"), Why::Ignored);
    let but = Ignore::of(["*.md", "gen", "!gen/keep"]).unwrap();
    let plain = context(&folder, "");
    let but = |pattern: &str| shown(&plain.take(pattern, &but).unwrap());
    assert_eq!(but("src"), ["src: / a gen/ gen/keep"]);
    assert_eq!(but("a.md"), [""; 0]);
    assert_eq!(but("keep/*"), ["keep/b: "]);
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    let folder = folder(&["a/b/c/d/foo", "a/b/c/d/e/bay", "a/b2/c/d/e/bar", "a/b/c2/d/e/baz", "other"]);
    let context = context(&folder, "");
    let taken = |pattern: &str| shown(&context.take_with_parents(pattern, &Ignore::default()).unwrap());
    for (pattern, expected) in [
        ("a/b/c/d/foo", &[": / a/ a/b/ a/b/c/ a/b/c/d/ a/b/c/d/foo"][..]),
        ("./a/b/c/d/.", &[": / a/ a/b/ a/b/c/ a/b/c/d/ a/b/c/d/e/ a/b/c/d/e/bay a/b/c/d/foo"]),
        ("a/b/./c/d", &["a/b: / c/ c/d/ c/d/e/ c/d/e/bay c/d/foo"]),
        ("a/./b/./c", &["a: / b/ b/c/ b/c/d/ b/c/d/e/ b/c/d/e/bay b/c/d/foo"]),
        ("a/b*/./c/**/e", &["a/b: / c/ c/d/ c/d/e/ c/d/e/bay", "a/b2: / c/ c/d/ c/d/e/ c/d/e/bar"]),
        ("a/*/c2", &[": / a/ a/b/ a/b/c2/ a/b/c2/d/ a/b/c2/d/e/ a/b/c2/d/e/baz"]),
        ("o*", &[": / other"]),
        ("none*", &[": /"]),
    ] {
        assert_eq!(taken(pattern), expected, "{pattern}");
    }
    assert!(matches!(
        context.take_with_parents("a/none", &Ignore::default()),
        Err(ContextError::Missing { .. })
    ));
    let but = Ignore::of(["a/b/c/d/e"]).unwrap();
    let but = shown(&context.take_with_parents("a/b/c", &but).unwrap());
    assert_eq!(but, [": / a/ a/b/ a/b/c/ a/b/c/d/ a/b/c/d/foo"]);
}

#[test]
fn the_digest_is_of_what_is_copied() {
    let files = folder(&["f/a", "f/b"]);
    let digest = || context(&files, "").take("f", &Ignore::default()).unwrap()[0].digest();
    let first = digest();
    let at = |name: &str| files.path().join(name);
    assert!(Command::new("touch").args(["-d", "2001-01-01"]).arg(at("f/a")).status().unwrap().success());
    assert_eq!(first, digest());
    fs::write(at("f/a"), "x").unwrap();
    let content = digest();
    fs::set_permissions(at("f/a"), fs::Permissions::from_mode(0o4755)).unwrap();
    let mode = digest();
    rustix::fs::setxattr(at("f/a"), "user.x", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    let attribute = digest();
    fs::remove_file(at("f/b")).unwrap();
    let gone = digest();
    fs::hard_link(at("f/a"), at("f/b")).unwrap();
    let linked = digest();
    let all = [first, content, mode, attribute, gone, linked];
    for (number, one) in all.iter().enumerate() {
        assert!(!all[..number].contains(one), "{number}");
    }
    assert_eq!(taken(&context(&files, ""), "f"), ["f: / a b=a"]);
    let unread = context(&files, "").without_digests().take("f/a", &Ignore::default()).unwrap();
    assert!(matches!(&unread[0].entries[0].kind, Kind::File { size: 1, digest } if digest.is_empty()));
}

#[test]
fn the_files_own_ignore_file_comes_first() {
    let folder = folder(&["x"]);
    let at = |name: &str| folder.path().join(name);
    let open = || context(&folder, "");
    assert!(ignore_file(None, &open()).unwrap().is_empty());
    fs::write(at(".dockerignore"), "x\n").unwrap();
    assert!(ignore_file(Some(&at("Containerfile")), &open()).unwrap().is_ignored("x"));
    fs::write(at("Containerfile.dockerignore"), "y\n").unwrap();
    let own = ignore_file(Some(&at("Containerfile")), &open()).unwrap();
    assert!(own.is_ignored("y") && !own.is_ignored("x"));
    fs::write(at(".dockerignore"), "a\n[b\n").unwrap();
    let err = ignore_file(None, &open()).unwrap_err();
    assert!(matches!(&err, ContextError::Ignore { line: 2, .. }), "{err}");
    fs::write(at(".dockerignore"), vec![b'#'; 2 << 20]).unwrap();
    assert!(matches!(ignore_file(None, &open()), Err(ContextError::TooMuch { .. })));
}

fn tar(folder: &Path, flags: &[&str]) -> Vec<u8> {
    let out =
        Command::new("tar").args(flags).args(["-c", "-f", "-", "-C"]).arg(folder).arg(".").output().unwrap();
    assert!(out.status.success());
    out.stdout
}

#[test]
fn a_context_may_be_an_archive() {
    let folder = folder(&["Containerfile", "d/a"]);
    for flags in [&[][..], &["-z"], &["-J"], &["-j"], &["--zstd"]] {
        let bytes = tar(folder.path(), flags);
        assert_eq!(Input::of(&mut Cursor::new(&bytes)).unwrap(), Input::Archive, "{flags:?}");
        assert!(is_archive(Cursor::new(&bytes)));
        let there = TempDir::new().unwrap();
        unpack(Cursor::new(bytes), there.path()).unwrap();
        assert_eq!(taken(&context(&there, ""), "d"), ["d: / a"]);
    }
    assert_eq!(Input::of(&mut Cursor::new(b"FROM scratch\n")).unwrap(), Input::Containerfile);
    for other in [&b""[..], b"x", &[0x1f, 0x8b], &[0; 2048], b"\xfd7zXZ\0"] {
        assert!(!is_archive(Cursor::new(other)), "{other:?}");
    }
    let err = unpack(Cursor::new(b"\x1f\x8bnothing"), TempDir::new().unwrap().path()).unwrap_err();
    assert!(matches!(err, ContextError::Unpack { .. }));
}

#[test]
fn pipes_and_unreadable_names_do_no_harm() {
    let folder = folder(&["a"]);
    let at = |name: &str| folder.path().join(name);
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    fs::write(at("").join(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff")), "").unwrap();
    let matches = context(&folder, "").take("/", &Ignore::default()).unwrap();
    assert_eq!(matches[0].entries.len(), 3);
    assert_eq!(taken(&context(&folder, ""), "pipe"), [""; 0]);
}
