//! `run`: what is mounted in a container, and where it is not; who runs in it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use crate::support::container::{BACKENDS, NATIVE, config, file, granted, image, unprivileged};
use crate::support::probe::{GUESTS, bundle, names, probe};
use crate::support::{Cx, ran};
use polyarch::layer::{Content, LayerFile};

/// What the probe says to `words` with these options of `run`.
fn said(cx: &Cx, image: &str, options: &[&str], words: &[&str]) -> String {
    let all = [&["run"], options, &[image], words].concat();
    cx.run(all).success()
}

#[test]
fn files_and_folders_are_mounted_as_wanted() {
    let cx = Cx::new();
    cx.file("here/text", "from outside\n");
    symlink("here", cx.path("link")).unwrap();
    for (triple, _, guest) in GUESTS.iter().take(2) {
        let image = bundle(&cx, triple, &format!("probe-{guest}"));
        for backend in BACKENDS {
            let said =
                |options: &[&str], words: &[&str]| said(&cx, &image, &[*backend, options].concat(), words);
            assert_eq!(said(&["-v", "./here:/a/b/c"], &["cat", "/a/b/c/text"]), "from outside\n");
            assert_eq!(said(&["-v", "./link:/a"], &["cat", "/a/text"]), "from outside\n");
            assert_eq!(said(&["-v", "./here/text:/etc/t"], &["cat", "/etc/t"]), "from outside\n");
            let mount = "type=bind,src=here,dst=/a";
            assert_eq!(said(&["--mount", mount], &["cat", "/a/text"]), "from outside\n");

            // What is written is there outside, and the caller's.
            let name = format!("new-{guest}");
            assert_eq!(said(&["-v", "./here:/a"], &["write", &format!("/a/{name}")]), "written\n");
            assert!(cx.path("here").join(&name).exists());
            for options in [["-v", "./here:/a:ro"], ["--mount", "type=bind,src=here,dst=/a,readonly"]] {
                let out = cx.run([&["run"], *backend, &options[..], &[&image, "write", "/a/not"]].concat());
                assert_eq!((out.status, out.stdout.as_str()), (5, "write: Read-only file system\n"));
            }
            // One volume in another, given in the wrong order.
            let options = ["-v", "./here:/x/y/z", "--tmpfs", "/x"];
            assert_eq!(said(&options, &["cat", "/x/y/z/text"]), "from outside\n");
        }
    }
    assert!(!cx.path("here/not").exists());
}

#[test]
fn a_missing_folder_is_made_by_v_and_refused_by_mount() {
    let cx = Cx::new();
    let image = bundle(&cx, NATIVE, "probe");
    let out = cx.run(["run", "-v", "./made/here:/a", &image, "write", "/a/x"]);
    assert!(out.stderr.contains("made the folder") && out.stderr.contains("made/here"), "{}", out.stderr);
    assert!(cx.path("made/here/x").exists());
    let err = cx.run(["run", "--mount", "type=bind,src=none,dst=/a", &image]).failure(125);
    assert!(err.contains("none`, which is to be mounted") && err.contains("make it first"), "{err}");
    assert!(!cx.path("none").exists());
}

#[test]
fn volumes_have_neither_setuid_programs_nor_what_is_beneath_unwritable() {
    let cx = Cx::new();
    fs::create_dir(cx.path("here")).unwrap();
    let image = bundle(&cx, NATIVE, "probe");
    let table = said(
        &cx,
        &image,
        &["-v", "./here:/a", "-v", "/dev:/host-dev:ro", "--tmpfs", "/t:size=1m,mode=700", "-v", "/own"],
        &["cat", "/proc/self/mountinfo"],
    );
    let options = |point: &str| {
        let line = table.lines().find(|line| line.split(' ').nth(4) == Some(point));
        line.unwrap_or_else(|| panic!("{point}: {table}")).to_owned()
    };
    assert!(options("/a").contains("nosuid,nodev"), "{table}");
    assert!(options("/t").contains("nosuid,nodev,noexec") && options("/t").contains("size=1024k,mode=700"));
    assert!(options("/own").contains(" rw,"));
    // Whatever is mounted beneath the host's `/dev` is as read-only as it is.
    let beneath: Vec<&str> =
        table.lines().filter(|line| line.split(' ').nth(4).unwrap().starts_with("/host-dev")).collect();
    assert!(beneath.len() > 1, "{table}");
    assert!(beneath.iter().all(|line| line.split(' ').nth(5).unwrap().starts_with("ro,")), "{beneath:?}");
}

#[test]
fn an_images_volumes_end_with_the_container() {
    let cx = Cx::new();
    let program = probe(&cx, NATIVE, "probe");
    let files = || {
        vec![
            file("probe", Content::Copy(program.clone())),
            file("data", Content::Folder),
            file("data/x", Content::Bytes(b"from the image\n".to_vec())),
        ]
    };
    let volumes = r#"{"Cmd":["/probe"],"Volumes":{"/data":{},"/more":{},"bad":{}}}"#;
    let reference = image(&cx, &config("amd64", volumes), files());
    assert_eq!(said(&cx, &reference, &[], &["/probe", "cat", "/data/x"]), "from the image\n");
    assert_eq!(said(&cx, &reference, &[], &["/probe", "write", "/more/y"]), "written\n");
    assert_eq!(cx.run(["run", &reference, "/probe", "cat", "/more/y"]).status, 4);
    // The caller's is in its place.
    cx.file("here/x", "from outside\n");
    assert_eq!(
        said(&cx, &reference, &["-v", "./here:/data"], &["/probe", "cat", "/data/x"]),
        "from outside\n"
    );
}

#[test]
fn no_link_of_the_image_leads_a_volume_out_of_it() {
    let cx = Cx::new();
    let program = probe(&cx, NATIVE, "probe");
    let outside = cx.path("outside");
    fs::create_dir(&outside).unwrap();
    cx.file("here/text", "mine\n");
    let link = |name: &str, to: &str| file(name, Content::Link(to.into()));
    let files = vec![
        file("probe", Content::Copy(program)),
        link("absolute", outside.to_str().unwrap()),
        link("up", "../../../../../../../.."),
        link("magic", "/proc/self/fd/3"),
        link("processes", "/proc"),
        file("folder", Content::Folder),
        file("file", Content::Bytes(Vec::new())),
    ];
    let reference = image(&cx, &config("amd64", r#"{"Cmd":["/probe"]}"#), files);
    // Inside, the root's parent is the root.
    assert_eq!(said(&cx, &reference, &["-v", "./here:/up/a"], &["/probe", "cat", "/a/text"]), "mine\n");
    for (target, words) in [
        ("/absolute", "leads from there to nothing"),
        ("/absolute/x", "leads from there to nothing"),
        ("/magic/x", ""),
        ("/proc/self", "container's `/proc`"),
        ("/processes/sys", "container's `/proc`"),
        ("/file", "a folder is mounted on a folder"),
    ] {
        let err = cx.run(["run", "-v", &format!("./here:{target}"), &reference]).failure(125);
        assert!(err.contains("mounting `") && err.contains(&format!("at `{target}`")), "{target}: {err}");
        assert!(err.contains(words), "{target}: {err}");
    }
    let err = cx.run(["run", "-v", "./here/text:/folder", &reference]).failure(125);
    assert!(err.contains("a file on a file"), "{err}");
    assert_eq!(names(&outside), Vec::<String>::new());
    assert_eq!(names(&cx.path("home/.cache/polyarch/run")), ["lock"]);
}

#[test]
fn what_cannot_be_understood_says_so() {
    let cx = Cx::new();
    let image = bundle(&cx, NATIVE, "probe");
    for (options, words) in [
        (["-v", "data:/data"], "`data` is a named volume"),
        (["-v", "./a:b"], "`b` is no absolute path"),
        (["-v", "./a:/b:what"], "`what` is no option"),
        (["-v", "./a:/b:shared"], "rprivate"),
        (["-v", "./a:/.."], "the root itself"),
        (["--mount", "type=bind,src=a"], "no `dst=TARGET`"),
        (["--mount", "type=image,src=a,dst=/b"], "`type=image`"),
        (["--tmpfs", "/t:x"], "`x` is no option"),
    ] {
        let err = cx.run([&["run"], &options[..], &[&image]].concat()).failure(125);
        assert!(err.contains(words) && err.contains("hint: "), "{options:?}: {err}");
    }
    let err = cx.run(["run", "-v", "./x:/a", "--tmpfs", "/a/", &image]).failure(125);
    assert!(err.contains("mounted there too"), "{err}");
    assert!(!cx.path("a").exists() && !cx.path("x").exists());
}

#[test]
fn an_ordinary_user_mounts_what_it_may_see() {
    let cx = Cx::new();
    let image = bundle(&cx, NATIVE, "probe");
    for (path, mode) in [("open", 0o777), ("closed", 0o700)] {
        cx.file(&format!("{path}/text"), "text\n");
        fs::set_permissions(cx.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(cx.path("images"), fs::Permissions::from_mode(0o755)).unwrap();
    let open = cx.path("open");
    let volume = format!("{}:/a", open.display());
    let run = |options: &[&str], words: &[&str]| {
        ran(unprivileged(&cx).arg("run").args(options).arg(&image).args(words))
    };
    assert_eq!(run(&["-v", &volume], &["write", "/a/new"]).success(), "written\n");
    assert!(Path::new(&open).join("new").exists());
    assert_eq!(run(&["-v", &format!("{volume}:ro")], &["write", "/a/not"]).status, 5);
    if rustix::process::geteuid().is_root() {
        let volume = format!("{}:/a", cx.path("closed").display());
        assert_eq!(run(&["-v", &volume], &["cat", "/a/text"]).status, 4);
    }
}

#[test]
fn a_program_is_the_user_that_is_wanted() {
    let cx = Cx::new();
    let text = |path: &str, text: &str| file(path, Content::Bytes(text.as_bytes().to_vec()));
    let shared = cx.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    let volume = format!("{}:/shared", shared.display());
    for (triple, architecture) in [(NATIVE, "amd64"), ("mips-linux-gnu", "mips")] {
        let program = probe(&cx, triple, "probe");
        let setuid =
            LayerFile { path: "setuid".into(), mode: 0o4755, content: Content::Copy(program.clone()) };
        let files = vec![
            file("probe", Content::Copy(program)),
            setuid,
            file("etc", Content::Folder),
            text("etc/passwd", "root:x:0:0::/root:/bin/sh\nanna:x:1000:100::/home/anna:/bin/sh\n"),
            text("etc/group", "root:x:0:\nusers:x:100:\naudio:x:29:anna\nvideo:x:44:\n"),
        ];
        let users = r#"{"Cmd":["/probe"],"User":"anna"}"#;
        let reference = image(&cx, &config(architecture, users), files);
        let commands: [fn(&Cx) -> std::process::Command; 2] = [Cx::polyarch, granted];
        let cases =
            BACKENDS.iter().flat_map(|backend| commands.iter().enumerate().map(move |case| (backend, case)));
        for (backend, (index, command)) in cases {
            if !rustix::process::geteuid().is_root() {
                continue;
            }
            let run = |options: &[&str], words: &[&str]| {
                ran(command(&cx).arg("run").args(*backend).args(options).arg(&reference).args(words))
            };
            let said = |options: &[&str], words: &[&str]| run(options, words).success();
            let status = |options: &[&str]| said(options, &["/probe", "cat", "/proc/self/status"]);
            let value = |status: &str, key: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
                line.split_whitespace().collect::<Vec<_>>().join(" ")
            };
            let own = status(&[]);
            assert_eq!(value(&own, "Uid"), "1000 1000 1000 1000");
            assert_eq!(value(&own, "Gid"), "100 100 100 100");
            assert_eq!(value(&own, "Groups"), "29 100");
            assert_eq!(value(&own, "CapEff"), "0000000000000000");
            assert_eq!(value(&own, "CapPrm"), "0000000000000000");
            assert_eq!(value(&own, "CapBnd"), "00000000a80425fb");
            let more = status(&["-u", "1234:44", "--group-add", "audio", "--group-add", "7"]);
            assert_eq!(value(&more, "Uid"), "1234 1234 1234 1234");
            assert_eq!(value(&more, "Groups"), "7 29 44");
            assert_eq!(value(&status(&["-u", "0"]), "CapEff"), "00000000a80425fb");
            assert!(said(&[], &["/probe", "env"]).contains("HOME=/home/anna\n"));
            assert!(said(&["-u", "5"], &["/probe", "env"]).contains("HOME=/\n"));
            // Its own files, its own standard output, and nobody else's.
            if index == 0 {
                // For the other user the pipe is root's, of whom its namespace knows nothing.
                assert_eq!(said(&[], &["/probe", "write", "/dev/stdout"]), "written\n");
            }
            assert_eq!(run(&[], &["/probe", "write", "/etc/passwd"]).status, 5);
            let name = format!("{architecture}-{index}-{}", backend.len());
            assert_eq!(said(&["-v", &volume], &["/probe", "write", &format!("/shared/{name}")]), "written\n");
            let owner = fs::metadata(shared.join(&name)).unwrap().uid();
            assert_eq!(owner, if index == 0 { 1000 } else { 200_999 });
            // A setuid program does what it is for, unless that is forbidden; foreign ones have no such right from their handler.
            let rights =
                |options: &[&str]| value(&said(options, &["/setuid", "cat", "/proc/self/status"]), "Uid");
            let effective = if triple == NATIVE { "1000 0 0 0" } else { "1000 1000 1000 1000" };
            assert_eq!(rights(&[]), effective);
            assert_eq!(rights(&["--security-opt", "no-new-privileges"]), "1000 1000 1000 1000");
        }
    }
    assert_eq!(names(&cx.path("home/.cache/polyarch/run")), ["lock"]);
    let err = ran(granted(&cx).args(["run", "-u", "99999"]).arg(bundle(&cx, NATIVE, "probe"))).failure(125);
    assert!(err.contains("cannot run as `99999`"), "{err}");
}

#[test]
fn the_user_is_found_in_the_images_files() {
    let cx = Cx::new();
    let program = probe(&cx, NATIVE, "probe");
    let passwd = "root:x:0:0:root:/somewhere:/bin/sh\nanna:x:1000:100:Anna:/home/anna:/bin/sh\n";
    let files = |passwd: Content, group: Content| {
        vec![
            file("probe", Content::Copy(program.clone())),
            file("etc", Content::Folder),
            file("etc/passwd", passwd),
            file("etc/group", group),
        ]
    };
    let text = |text: &str| Content::Bytes(text.as_bytes().to_vec());
    let reference =
        image(&cx, &config("amd64", r#"{"Cmd":["/probe"]}"#), files(text(passwd), text("users:x:100:\n")));
    for name in ["", "0", "root", "root:root", "0:0"] {
        let status = if name == "root:root" { 125 } else { 0 };
        let out = cx.run(["run", "-u", name, &reference, "/probe", "env"]);
        assert_eq!(out.status, status, "{name}: {}", out.stderr);
        assert!(status != 0 || out.stdout.contains("HOME=/somewhere\n"), "{name}: {}", out.stdout);
    }
    for (options, words) in [
        (["-u", "carl"], "no user `carl`"),
        (["-u", "anna:staff"], "no group `staff`"),
        (["--group-add", "staff"], "no group `staff`"),
        (["-u", "4294967295"], "no user `4294967295`"),
    ] {
        let err = cx.run([&["run"], &options[..], &[&reference]].concat()).failure(125);
        assert!(err.contains(words) && err.contains("hint: give a number"), "{options:?}: {err}");
    }
    // With one id there is root and nobody else.
    cx.as_nobody("true");
    let err = ran(unprivileged(&cx).args(["run", "-u", "anna", &reference])).failure(125);
    assert!(err.contains("cannot run as `anna`") && err.contains("/etc/subuid"), "{err}");

    // Neither a link out of the image nor a file without end does harm.
    let secret = cx.file("secret", "root:x:0:0::/leaked:/bin/sh\n");
    for hostile in [secret.to_str().unwrap(), "/dev/zero", "/proc/self/fd/0", "/dev/stdin"] {
        let files = files(Content::Link(hostile.into()), text(""));
        let reference = image(&cx, &config("amd64", r#"{"Cmd":["/probe"]}"#), files);
        let out = cx.run(["run", &reference, "/probe", "env"]).success();
        assert!(out.contains("HOME=/root\n"), "{hostile}: {out}");
    }
}
