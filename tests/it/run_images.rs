//! `run`: which files are run. Folders, platforms, and images that come from a registry.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::support::probe::names;
use crate::support::registry::Registry;
use crate::support::tarball::{Entry, Tarball};
use crate::support::tool::{NATIVE, import, import_as, tool};
use crate::support::{Cx, ran};

const MIPS: &str = "mips-linux-gnu";

/// A folder `name` with the program as `/tool`, and `/file`.
fn folder(cx: &Cx, name: &str, triple: &'static str) -> PathBuf {
    let program = cx.file(&format!("{name}/tool"), tool(triple));
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    cx.file(&format!("{name}/file"), "content");
    cx.path(name)
}

fn files(text: &str) -> Tarball {
    let program = Entry { content: tool(NATIVE), ..Entry::new(b'0', "tool") };
    Tarball::default().with(&program).file("file", text)
}

#[test]
fn a_folder_is_a_root_file_system_that_stays_as_it_is() {
    let cx = Cx::new();
    let changes = ["/tool", "rm", "/file", "mkdir", "/new", "stat", "/file"];
    let said = "rm: ok\nmkdir: ok\n/file: No such file or directory\n";
    for (triple, name) in [(NATIVE, "own"), (MIPS, "foreign")] {
        let root = folder(&cx, name, triple);
        let before = names(&root);
        // As an option, and in the place of the image.
        let path = root.to_str().unwrap();
        for args in [&["run", "--rootfs", path][..], &["run", path], &["run", &format!("./{name}")]] {
            let out = cx.run([args, &changes].concat());
            assert_eq!((out.stderr.as_str(), out.stdout.as_str()), ("", said), "{args:?}");
            assert_eq!(names(&root), before, "{args:?}");
        }
    }
    // What is asked for is changed, and what the run needed in it stays: where it is mounted.
    let root = folder(&cx, "written", NATIVE);
    let out = cx.run([&["run", "--rootfs", &format!("{}:rw", root.display())][..], &changes].concat());
    assert_eq!(out.success(), said);
    assert_eq!(names(&root), ["dev", "etc", "new", "proc", "sys", "tool"]);
    assert_eq!(names(&cx.path("home/.cache/polyarch/run")), ["lock"]);
}

#[test]
fn a_folder_that_cannot_serve_says_why() {
    let cx = Cx::new();
    fs::create_dir(cx.path("empty")).unwrap();
    for (args, words) in [
        (&["--rootfs", "missing"][..], &["opening the root file system `missing`"][..]),
        (&["--rootfs", "empty"], &["does not show which platform", "hint: give it with `--platform`"]),
        (&["--rootfs", "config"], &["is no folder", "hint:"]),
        (&["--rootfs", "empty", "--platform", "nowhere"], &["`nowhere` is no platform"]),
    ] {
        cx.file("config", "");
        let err = cx.run([&["run"][..], args].concat()).failure(125);
        for words in words {
            assert!(err.contains(words), "{args:?}: {err}");
        }
    }
    let err = cx.run(["run", "--rootfs", "empty", "--platform", "linux/amd64"]).failure(127);
    assert!(err.contains("the program `/bin/sh` was not found"), "{err}");
    assert_eq!(names(&cx.path("empty")), [] as [&str; 0]);
}

#[test]
fn nothing_is_written_to_a_root_that_is_read_only() {
    let cx = Cx::new();
    let image = import(&cx, "plain", "linux/amd64", files("content"));
    let words =
        ["write", "/file", "mkdir", "/new", "rm", "/tool", "write", "/memory/x", "write", "/dev/shm/x"];
    let out = cx.run(
        [&["run", "--read-only", "--tmpfs", "/memory", "-w", "/made/here", &image][..], &words].concat(),
    );
    let read_only = "Read-only file system";
    let expected = format!("write: {read_only}\nmkdir: {read_only}\nrm: {read_only}\nwrite: ok\nwrite: ok\n");
    assert_eq!(out.success(), expected);
    let root = folder(&cx, "own", NATIVE);
    let direct = format!("{}:rw", root.display());
    let out = cx.run(["run", "--read-only", "--rootfs", &direct, "/tool", "write", "/file"]);
    assert_eq!(out.success(), format!("write: {read_only}\n"));
}

#[test]
fn the_platform_decides_which_image_of_an_index_runs() {
    let cx = Cx::new();
    for (name, platform, triple) in [
        ("own", "linux/amd64", NATIVE),
        ("mips", "linux/mips", MIPS),
        ("arm", "linux/arm/v7", "arm-linux-gnueabihf"),
    ] {
        let program = Entry { content: tool(triple), ..Entry::new(b'0', "tool") };
        import_as(&cx, name, platform, Tarball::default().with(&program).file("which", name));
    }
    cx.run(["index", "create", "all", "own", "mips", "arm"]).success();
    cx.run(["index", "create", "foreign", "mips", "arm"]).success();
    let run = |args: &[&str]| cx.run([&["run"], args, &["cat", "/which"]].concat());
    for (args, which) in [
        (&["all"][..], "own"),
        (&["--platform", "linux/mips", "all"], "mips"),
        // Targets and other names of the same platform.
        (&["--platform", "routeros/mipsbe", "all"], "mips"),
        (&["--platform", "linux/armhf", "all"], "arm"),
        (&["--platform", "linux/arm/v7", "foreign"], "arm"),
        // The only one there is.
        (&["mips"], "mips"),
    ] {
        assert_eq!(run(args).success(), format!("{which}\n"), "{args:?}");
    }
    let never = |args: &[&str]| run(&[&["--pull", "never"], args].concat());
    for (args, present) in [
        (&["foreign"][..], "`linux/arm/v7`, `linux/mips`"),
        (&["--platform", "linux/s390x", "all"], "`linux/amd64`, `linux/arm/v7`, `linux/mips`"),
        // Asked for by name, the only one is not enough.
        (&["--platform", "linux/amd64", "mips"], "`linux/mips`"),
    ] {
        let err = never(args).failure(125);
        assert!(err.contains(present), "{args:?}: {err}");
    }
    let err = run(&["--platform", "linux/nonsense/", "all"]).failure(125);
    assert!(err.contains("is no platform"), "{err}");
}

#[test]
fn images_of_a_registry_are_fetched_when_they_should_be() {
    let cx = Cx::new();
    let registry = Registry::new(&cx, "registry", "");
    let name = format!("{}/some/image:t", registry.host);
    let publish = |text: &str| {
        import_as(&cx, &format!("docker://{name}"), "linux/amd64", files(text));
    };
    publish("first");
    let run = |pull: &str, name: &str| cx.run(["run", "--pull", pull, name, "cat", "/file"]);
    let err = run("never", &name).failure(125);
    assert!(err.contains("has no image called"), "{err}");
    // A bare name and one with its transport are one.
    assert_eq!(run("missing", &name).success(), "first\n");
    let listed = crate::support::image::list(&cx);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["name"], name.as_str());
    publish("second");
    assert_eq!(run("missing", &name).success(), "first\n");
    assert_eq!(run("never", &format!("docker://{name}")).success(), "first\n");
    assert_eq!(run("newer", &name).success(), "second\n");
    publish("third");
    assert_eq!(run("always", &format!("docker://{name}")).success(), "third\n");
    // It is there, for another platform.
    let other = ["run", "--platform", "linux/mips", &name];
    let err = cx.run(other).failure(125);
    assert!(err.contains("linux/mips") && err.contains("linux/amd64"), "{err}");

    drop(registry);
    assert_eq!(run("missing", &name).success(), "third\n");
    let out = run("newer", &name);
    assert!(out.stderr.contains("warning: the image of the store serves"), "{}", out.stderr);
    assert_eq!(out.success(), "third\n");
    let err = run("always", &name).failure(125);
    assert!(err.contains(&format!("fetching the image `{name}`")), "{err}");
    assert_eq!(names(&cx.path("home/.cache/polyarch/run")), ["lock"]);
}

#[test]
fn short_names_are_those_of_registries_conf() {
    let cx = Cx::new();
    let registry = Registry::new(&cx, "registry", "");
    import_as(&cx, &format!("docker://{}/tool:1", registry.host), "linux/amd64", files("from there"));
    let conf = format!("unqualified-search-registries = [\"{}\"]\n", registry.host);
    let conf = cx.file("registries.conf", conf);
    let run = |args: &[&str]| {
        let mut command = cx.polyarch();
        command.env("CONTAINERS_REGISTRIES_CONF", &conf).arg("run").args(args).args(["cat", "/file"]);
        ran(&mut command)
    };
    assert_eq!(run(&["tool:1"]).success(), "from there\n");
    // What is called so here comes first.
    import_as(&cx, "tool:1", "linux/amd64", files("from here"));
    assert_eq!(run(&["tool:1"]).success(), "from here\n");
    cx.run(["image", "remove", "tool:1"]).success();
    drop(registry);
    assert_eq!(run(&["tool:1"]).success(), "from there\n");
    // A name of this machine is asked for nowhere.
    let err = run(&["localhost/other"]).failure(125);
    assert!(err.contains("has no image called `localhost/other:latest`"), "{err}");
}

/// Programs that are built without large-file calls, over folders whose positions need 64 bits on ext4.
#[test]
fn guests_of_32_bits_read_the_folders_of_images_and_of_root_file_systems() {
    let cx = Cx::new();
    for (triple, platform, emulator) in [
        ("arm-linux-gnueabi", "linux/arm/v6", "qemu-arm-static"),
        (MIPS, "linux/mips", "qemu-mips-static"),
        ("powerpc-linux-gnu", "linux/ppc", "qemu-ppc-static"),
    ] {
        let name = emulator.split('-').nth(1).unwrap();
        let program = Entry { content: tool(triple), ..Entry::new(b'0', "tool") };
        let mut tar = Tarball::default().with(&program).folder("empty");
        for at in 0..3000 {
            tar = tar.file(format!("many/files/{at:04}"), "");
        }
        let image = import(&cx, name, platform, tar);
        let words = [
            "ls",
            "/many/files",
            "ls",
            "/many",
            "ls",
            "/empty",
            "mkdir",
            "/many/new",
            "write",
            "/many/new/x",
        ];
        let changed = ["rm", "/many/files/0000", "ls", "/many/files", "ls", "/many"];
        let expected = "3000 names\n1 names\n0 names\nmkdir: ok\nwrite: ok\nrm: ok\n2999 names\n2 names\n";
        let out = cx.run([&["run", &image][..], &words, &changed].concat());
        assert_eq!(out.stdout, expected, "{name}: {}", out.stderr);

        // The same files in a folder of this machine, where the problem is seen without us.
        let root = folder(&cx, &format!("root-{name}"), triple);
        for at in 0..3000 {
            cx.file(&format!("root-{name}/many/files/{at:04}"), "");
        }
        fs::create_dir(root.join("empty")).unwrap();
        let is_long = polyarch::sandbox::has_long_positions(&root.join("many/files")).unwrap();
        let files = root.join("many/files");
        let outside = ran(cx.command(emulator).arg(root.join("tool")).arg("ls").arg(&files)).success();
        assert_eq!(outside.contains("Value too large"), is_long, "{name}: {outside}");
        let out =
            cx.run([&["run", "--rootfs", root.to_str().unwrap(), "/tool"][..], &words, &changed].concat());
        assert_eq!(out.stdout, expected, "{name}: {}", out.stderr);
        assert_eq!(names(&files).len(), 3000);
    }
    assert_eq!(names(&cx.path("home/.cache/polyarch/run")), ["lock"]);
}
