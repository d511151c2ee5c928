//! `run`: the root file system. Owners, the cache of unpacked images, what is written above it, and what stays of it: nothing.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::probe::names;
use crate::support::tarball::{Entry, Tarball};
use crate::support::tool::{NATIVE, import, owned, tool};
use crate::support::{Cx, Ran, ran};

fn image(cx: &Cx) -> String {
    let tar = Tarball::default()
        .with(&Entry { content: tool(NATIVE), ..Entry::new(b'0', "tool") })
        .with(&Entry { mode: 0o750, owner: (33, 42), ..Entry::new(b'5', "var/") })
        .with(&owned(b"var/mail", 0o2640, (0, 8)))
        .with(&owned(b"var/other", 0o600, (1000, 2000)))
        .with(&owned(b"plain", 0o644, (0, 0)));
    import(cx, "owned", "linux/amd64", tar)
}

fn run(mut command: Command, image: &str, words: &[&str]) -> Ran {
    ran(command.args(["run", image]).args(words))
}

/// One without granted ids.
fn single(cx: &Cx) -> Command {
    cx.as_nobody(env!("CARGO_BIN_EXE_polyarch"))
}

fn snapshots(cx: &Cx) -> Vec<PathBuf> {
    let folder = cx.path("home/.cache/polyarch/snapshots");
    names(&folder).into_iter().map(|name| folder.join(name)).collect()
}

/// Nothing but the lock is left of runs.
#[track_caller]
fn assert_clean(cx: &Cx) {
    assert_eq!(names(&cx.path("home/.cache/polyarch/run")), ["lock"]);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(cx.path("").to_str().unwrap()), "{mounts}");
}

const OWNERS: &[&str] = &["stat", "/var", "stat", "/var/mail", "stat", "/var/other", "stat", "/plain"];

#[test]
fn owners_are_the_images_where_ids_are_granted() {
    let cx = Cx::new();
    let image = image(&cx);
    let expected = "/var 33:42 750\n/var/mail 0:8 2640\n/var/other 1000:2000 600\n/plain 0:0 644\n";
    let out = run(cx.granted(""), &image, OWNERS);
    assert_eq!(out.stderr, "");
    assert_eq!(out.success(), expected);
    let [snapshot] = snapshots(&cx).try_into().unwrap();
    let there = fs::metadata(snapshot.join("root/var/other")).unwrap();
    assert_eq!((there.uid(), there.gid()), (200_999, 201_999));
    // Who is root has all ids, and another snapshot of its own.
    assert_eq!(run(cx.polyarch(), &image, OWNERS).success(), expected);
    assert_eq!(snapshots(&cx).len(), 2);
    assert_clean(&cx);
}

#[test]
fn without_granted_ids_all_files_are_roots_and_a_note_says_so() {
    let cx = Cx::new();
    let image = image(&cx);
    let expected = "/var 0:0 750\n/var/mail 0:0 2640\n/var/other 0:0 600\n/plain 0:0 644\n";
    for _ in 0..2 {
        let out = run(single(&cx), &image, OWNERS);
        for part in
            ["one user", "3 files", "`/etc/subuid` grants no ids to `nobody`", "APT::Sandbox", "doctor"]
        {
            assert!(out.stderr.contains(part), "{part}: {}", out.stderr);
        }
        assert_eq!(out.success(), expected);
    }
    // An image that loses nothing needs no note.
    let tar = Tarball::default().with(&Entry { content: tool(NATIVE), ..Entry::new(b'0', "tool") });
    let plain = import(&cx, "plain", "linux/amd64", tar);
    let out = run(single(&cx), &plain, &["stat", "/tool"]);
    assert_eq!((out.status, out.stdout.as_str(), out.stderr.as_str()), (0, "/tool 0:0 755\n", ""));
    assert_clean(&cx);
}

#[test]
fn ids_that_are_refused_are_done_without() {
    let cx = Cx::new();
    let image = image(&cx);
    // newuidmap without its rights, as where the user may not gain any.
    let setup = "mount -t tmpfs -o mode=755 none /mnt && cp /usr/bin/newuidmap /mnt/plain && mount --bind /mnt/plain /usr/bin/newuidmap &&";
    let out = run(cx.granted(setup), &image, OWNERS);
    assert!(out.stderr.contains("newuidmap") && out.stderr.contains("one user"), "{}", out.stderr);
    assert!(out.success().contains("/var/other 0:0 600\n"));
    // It is not there at all: no file is what is no plain file.
    let out = run(cx.granted("mount --bind /dev/null /usr/bin/newgidmap &&"), &image, OWNERS);
    assert!(out.stderr.contains("`newgidmap` is not installed"), "{}", out.stderr);
    out.success();
    assert_clean(&cx);
}

#[test]
fn an_image_is_unpacked_once_and_no_run_changes_it() {
    let cx = Cx::new();
    let image = image(&cx);
    let words = [
        &["rm", "/plain", "write", "/var/other", "chown", "/var", "mkdir", "/new", "write", "/new/file"][..],
        &["stat", "/plain", "cat", "/var/other", "stat", "/var", "stat", "/new/file", "sync", "/new"],
    ]
    .concat();
    let changed = "rm: ok\nwrite: ok\nchown: ok\nmkdir: ok\nwrite: ok\n\
        /plain: No such file or directory\ncontentmore\n/var 7:9 750\n/new/file 0:0 600\nsync: ok\n";
    for _ in 0..2 {
        assert_eq!(run(cx.granted(""), &image, &words).success(), changed);
    }
    // The layers are not even read: they are gone.
    let blobs = crate::support::image::blobs(&cx.path("images"));
    let layer = blobs.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    fs::remove_file(layer).unwrap();
    assert_eq!(run(cx.granted(""), &image, &words).success(), changed);
    assert_clean(&cx);
    // They are missed where they are needed: by one with other ids.
    let err = run(single(&cx), &image, &["stat", "/"]).failure(125);
    assert!(err.contains("layer 1"), "{err}");
    assert_eq!(snapshots(&cx).len(), 1, "nothing is left of the one that failed");
}

#[test]
fn runs_that_begin_together_unpack_once() {
    let cx = Cx::new();
    let image = image(&cx);
    let children: Vec<Child> = (0..6)
        .map(|_| {
            let mut command = cx.granted("");
            command.args(["run", &image, "stat", "/var/mail", "rm", "/plain"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "/var/mail 0:8 2640\nrm: ok\n", "{stderr}");
        assert!(output.status.success(), "{stderr}");
    }
    assert_eq!(snapshots(&cx).len(), 1);
    assert_clean(&cx);
}

/// Starts a container that waits, and gives it once it does.
fn waiting(mut command: Command, image: &str, words: &[&str]) -> Child {
    command.args(["run", image]).args(words).args(["wait", "-"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));
    child
}

#[test]
fn pruning_takes_what_no_run_uses() {
    let cx = Cx::new();
    let image = image(&cx);
    let prune = || ran(cx.granted("").args(["image", "prune"])).success();
    let mut child = waiting(cx.granted(""), &image, &["chown", "/var"]);
    assert!(prune().contains(" 0 unpacked images"));
    assert_eq!(snapshots(&cx).len(), 1);
    // What a killed run wrote belongs to the container's users, and goes with the next one, or by pruning.
    child.kill().unwrap();
    child.wait().unwrap();
    let left = || names(&cx.path("home/.cache/polyarch/run"));
    assert_eq!(left().len(), 2, "{:?}", left());
    assert!(prune().contains(" 1 unpacked images"));
    assert_eq!(snapshots(&cx), [] as [PathBuf; 0]);
    assert_clean(&cx);
    let mut child = waiting(cx.granted(""), &image, &["chown", "/var"]);
    child.kill().unwrap();
    child.wait().unwrap();
    run(cx.granted(""), &image, &["stat", "/"]).success();
    assert_clean(&cx);
}

#[test]
fn a_copy_serves_where_no_overlay_is_to_be_had() {
    let cx = Cx::new();
    let image = image(&cx);
    // An overlay's upper layer cannot be on another overlay.
    let folder = cx.path("").display().to_string();
    let setup = format!(
        "mkdir {folder}/layers && mount -t tmpfs none {folder}/layers && mkdir {folder}/layers/l {folder}/layers/u {folder}/layers/w && \
         chown 65534:65534 {folder}/layers/u && mount -t overlay -o lowerdir={folder}/layers/l,upperdir={folder}/layers/u,workdir={folder}/layers/w none {folder}/home &&"
    );
    let words = [OWNERS, &["rm", "/plain", "write", "/var/other", "cat", "/var/other"]].concat();
    let out = ran(cx.granted(&setup).args(["-v", "run", &image]).args(words));
    assert!(out.stderr.contains("copied") && out.stderr.contains("overlay"), "{}", out.stderr);
    let expected = "/var 33:42 750\n/var/mail 0:8 2640\n/var/other 1000:2000 600\n/plain 0:0 644\nrm: ok\nwrite: ok\ncontentmore\n";
    assert_eq!(out.success(), expected);
}

#[test]
fn an_owner_beyond_the_granted_ids_is_an_error_that_says_so() {
    let cx = Cx::new();
    let tar = Tarball::default().with(&owned(b"far", 0o644, (70_000, 0)));
    let image = import(&cx, "far", "linux/amd64", tar);
    let err = run(cx.granted(""), &image, &[]).failure(125);
    assert!(err.contains("`far` belongs to 70000:0") && err.contains("hint: grant more ids"), "{err}");
    assert_eq!(snapshots(&cx), [] as [PathBuf; 0]);
    assert_clean(&cx);
}

#[test]
fn a_kill_while_unpacking_leaves_nothing_that_counts() {
    let cx = Cx::new();
    let mut tar = Tarball::default().with(&Entry { content: tool(NATIVE), ..Entry::new(b'0', "tool") });
    for at in 0..2000 {
        let name = format!("many/{at}");
        tar =
            tar.with(&Entry { owner: (5, 5), content: name.clone().into_bytes(), ..Entry::new(b'0', name) });
    }
    let image = import(&cx, "many", "linux/amd64", tar);
    let folder = cx.path("home/.cache/polyarch/snapshots");
    for count in [1, 400, 1500] {
        let mut child =
            cx.granted("").args(["run", &image, "ls", "/many"]).stdout(Stdio::piped()).spawn().unwrap();
        // When some files are there, and not all.
        loop {
            let made =
                names(&folder).first().map_or(0, |name| names(&folder.join(name).join("root/many")).len());
            if made >= count {
                break;
            }
            assert!(child.try_wait().unwrap().is_none(), "it was not killed in time");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let [snapshot] = snapshots(&cx).try_into().unwrap();
        assert!(!snapshot.join("snapshot.json").exists());
    }
    assert_eq!(run(cx.granted(""), &image, &["ls", "/many"]).success(), "2000 names\n");
    assert_eq!(snapshots(&cx).len(), 1);
    assert_clean(&cx);
}

#[test]
fn a_full_disk_is_an_error_and_nothing_is_left_on_it() {
    let cx = Cx::new();
    let tar = Tarball::default()
        .with(&Entry { content: tool(NATIVE), ..Entry::new(b'0', "tool") })
        .file("large", vec![7; 6 << 20]);
    let image = import(&cx, "large", "linux/amd64", tar);
    let home = cx.path("home").display().to_string();
    let script = format!(
        "mount -t tmpfs -o size=4m,mode=777 none {home}; setpriv --reuid=65534 --regid=65534 --clear-groups -- \"$@\"; echo $?; \
         find {home} -path '*/.known' -prune -o \\( -name root -o -name skeleton -o -size +1 \\) -print"
    );
    cx.granted("");
    let mut command = cx.command("unshare");
    command.args(["-m", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_polyarch"), "run", &image]);
    let out = ran(&mut command);
    for part in ["error: unpacking layer 1", "`large`", "No space left", "hint: make room"] {
        assert!(out.stderr.contains(part), "{part}: {}", out.stderr);
    }
    assert_eq!(out.success(), "125\n");
}

#[test]
fn an_image_that_cannot_be_read_is_an_error_and_nothing_is_left_of_it() {
    let cx = Cx::new();
    let image = image(&cx);
    let blobs = crate::support::image::blobs(&cx.path("images"));
    let layer = blobs.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let whole = fs::read(layer).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    for (content, words) in [(&whole[..whole.len() / 3], "layer 1"), (&damaged[..], "layer 1")] {
        fs::write(layer, content).unwrap();
        let err = run(cx.granted(""), &image, &[]).failure(125);
        assert!(err.contains(words) && err.contains("caused by"), "{err}");
        assert_eq!(snapshots(&cx), [] as [PathBuf; 0]);
        assert_clean(&cx);
    }
    fs::write(layer, whole).unwrap();
    run(cx.granted(""), &image, &["stat", "/"]).success();
}

#[test]
fn without_user_namespaces_the_error_says_which_switch_it_is() {
    let cx = Cx::new();
    let image = image(&cx);
    run(cx.polyarch(), &image, &["stat", "/"]).success();
    // The limit holds in this namespace and those beneath it.
    let script = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"";
    let mut command = cx.command("unshare");
    command.args(["-Ur", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_polyarch")]);
    let err = run(command, &image, &["stat", "/"]).failure(125);
    assert!(err.contains("no user namespace is to be had"), "{err}");
    assert!(err.contains("sysctl user.max_user_namespaces"), "{err}");
    assert_eq!(err.matches("error:").count(), 1, "{err}");
    assert_eq!(names(&cx.path("home/.cache/polyarch/run")), ["lock"]);
}
