//! `image`: the store, used by many processes at once, some of which are killed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::image::{blobs, copy, facts, list, make, skopeo};
use crate::support::probe::names;
use crate::support::{Cx, ran};

const STORE: &str = "home/.local/share/polyarch/store";

fn listed(cx: &Cx) -> Vec<String> {
    list(cx).iter().map(|image| image["name"].as_str().unwrap().to_owned()).collect()
}

fn start(cx: &Cx, args: &[&str]) -> Child {
    cx.polyarch().args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn images_are_listed_removed_and_pruned() {
    let cx = Cx::new();
    assert!(list(&cx).is_empty());
    assert!(cx.run(["image", "prune"]).success().starts_with("0 B freed"));
    let digest = make(&cx, "oci:a:t", "linux/arm/v7", 2, 10_000);
    make(&cx, "oci:b:t", "linux/mips", 1, 10_000);
    copy(&cx, &["oci:a:t", "one"]);
    copy(&cx, &["oci:b:t", "registry.example/two:2"]);
    copy(&cx, &["one", "three"]);
    let names_now = ["localhost/one:latest", "localhost/three:latest", "registry.example/two:2"];
    assert_eq!(listed(&cx), names_now);
    let one = &list(&cx)[0];
    let size: u64 = blobs(&cx.path("a")).iter().map(|blob| blob.metadata().unwrap().len()).sum();
    assert_eq!(
        *one,
        json!({
            "name": "localhost/one:latest", "digest": digest, "id": digest[7..19], "platforms": ["linux/arm/v7"],
            "created": "2023-11-14T22:13:20Z", "size": size, "problem": null,
        })
    );
    let text = cx.run(["image", "list"]).success();
    assert!(text.lines().nth(1).unwrap().starts_with("localhost/one:latest    linux/arm/v7  "), "{text}");
    assert!(text.contains("years ago"), "{text}");

    let shown = facts(&cx, "one");
    assert_eq!(shown["digest"], digest);
    assert_eq!(shown["images"][0]["config"]["config"]["Labels"]["a"], "2");
    assert_eq!(shown["images"][0]["size"], size);
    let text = cx.run(["image", "inspect", "one"]).success();
    assert!(text.contains(r#"command     ["/x"]"#) && text.contains("layer 2"), "{text}");
    let err = cx.run(["image", "inspect", "--platform", "linux/386", "one"]).failure(2);
    assert!(err.contains("nothing for linux/386") && err.contains("`linux/arm/v7`"), "{err}");

    // All or none.
    let err = cx.run(["image", "remove", "one", "four"]).failure(2);
    assert!(err.contains("no image called `localhost/four:latest`") && err.contains("hint: it has"), "{err}");
    assert_eq!(listed(&cx), names_now);
    assert_eq!(
        cx.run(["image", "remove", "one", "registry.example/two:2"]).success(),
        "localhost/one:latest\nregistry.example/two:2\n"
    );
    assert_eq!(listed(&cx), ["localhost/three:latest"]);
    fs::write(cx.path(STORE).join("blobs/sha256/.polyarch-left"), "12345").unwrap();
    let before = blobs(&cx.path(STORE)).len();
    assert!(cx.run(["image", "prune"]).success().contains("3 blobs, 1 leftovers"));
    assert_eq!(blobs(&cx.path(STORE)).len(), before - 4);
    assert_eq!(copy(&cx, &["three", "oci:c:t"]), digest);
    assert_eq!(names(&cx.path(STORE)), ["blobs", "index.json", "oci-layout"]);
    skopeo(&cx, &["copy", &format!("oci:{}:localhost/three:latest", cx.path(STORE).display()), "oci:d:t"]);
}

#[test]
fn the_store_is_where_the_environment_says() {
    let cx = Cx::new();
    make(&cx, "oci:a:t", "linux/amd64", 1, 1000);
    for (variable, folder) in [("POLYARCH_DATA_DIR", "x"), ("XDG_DATA_HOME", "y/polyarch/store")] {
        let value = cx.path(&folder[..1]);
        ran(cx.polyarch().env(variable, &value).args(["copy", "oci:a:t", "one"])).success();
        assert!(cx.path(folder).join("index.json").exists(), "{variable}");
    }
    assert!(list(&cx).is_empty());
    let err = ran(cx.polyarch().env_remove("HOME").args(["image", "list"])).failure(2);
    assert!(err.contains("no folder for the store") && err.contains("`POLYARCH_DATA_DIR`"), "{err}");
    ran(cx.polyarch().env_remove("HOME").args(["copy", "oci:a:t", "oci:b:t"])).success();
    // A docker name is found as docker knows it.
    copy(&cx, &["oci:a:t", "docker.io/library/busybox:1"]);
    assert_eq!(facts(&cx, "busybox:1")["images"].as_array().unwrap().len(), 1);
    assert!(cx.run(["image", "remove", "busybox:1"]).success().contains("docker.io/library/busybox:1"));
}

#[test]
fn damage_is_told_and_hides_nothing_else() {
    let cx = Cx::new();
    make(&cx, "oci:a:t", "linux/amd64", 2, 10_000);
    make(&cx, "oci:b:t", "linux/arm64", 2, 10_001);
    copy(&cx, &["oci:a:t", "one"]);
    let first = blobs(&cx.path(STORE));
    copy(&cx, &["oci:b:t", "two"]);
    for blob in blobs(&cx.path(STORE)).iter().filter(|blob| !first.contains(blob)) {
        let good = fs::read(blob).unwrap();
        fs::remove_file(blob).unwrap();
        let images = list(&cx);
        assert_eq!(images[0]["problem"], Value::Null);
        assert_ne!(images[1]["problem"], Value::Null, "{}", blob.display());
        assert!(cx.run(["image", "list"]).success().contains("damaged: "));
        copy(&cx, &["one", "oci:out:t"]);
        fs::write(blob, good).unwrap();
    }
    // What cannot be read may need anything: nothing is pruned.
    let manifest = cx.path(STORE).join("blobs/sha256").join(&list(&cx)[1]["digest"].as_str().unwrap()[7..]);
    let good = fs::read(&manifest).unwrap();
    fs::write(&manifest, vec![b'x'; good.len()]).unwrap();
    let before = blobs(&cx.path(STORE));
    cx.run(["image", "remove", "one"]).success();
    cx.run(["image", "prune"]).failure(2);
    assert_eq!(blobs(&cx.path(STORE)), before);
}

#[test]
fn many_copy_and_prune_at_once() {
    let cx = Cx::new();
    for at in 0..4 {
        make(&cx, &format!("oci:a{at}:t"), "linux/amd64", 3, 300_000 + at * 8);
    }
    let mut running: Vec<Child> = (0..12)
        .map(|at| {
            start(
                &cx,
                &["copy", "--compression", "zstd", &format!("oci:a{}:t", at % 4), &format!("image-{at}")],
            )
        })
        .collect();
    let mut rounds = 0;
    while rounds < 6 || running.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        cx.run(["image", "prune"]).success();
        assert!(list(&cx).iter().all(|image| image["problem"].is_null()));
        rounds += 1;
    }
    for child in running {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    assert_eq!(list(&cx).len(), 12);
    for at in 0..12 {
        copy(&cx, &[&format!("image-{at}"), "docker-archive:out.tar"]);
    }
    // Removed by many at once, each its own.
    let running: Vec<Child> =
        (0..12).map(|at| start(&cx, &["image", "remove", &format!("image-{at}")])).collect();
    for child in running {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    assert!(list(&cx).is_empty());
    cx.run(["image", "prune"]).success();
    assert!(blobs(&cx.path(STORE)).is_empty());
}

#[test]
fn a_kill_at_any_moment_leaves_what_was_there() {
    let cx = Cx::new();
    make(&cx, "oci:a:t", "linux/amd64", 6, 2_000_000);
    make(&cx, "oci:b:t", "linux/arm64", 1, 10_000);
    let there = copy(&cx, &["oci:b:t", "there"]);
    let args = ["copy", "--compression", "zstd", "oci:a:t", "new"];
    let begin = Instant::now();
    let expected = copy(&cx, &args[1..]);
    let whole = begin.elapsed();
    cx.run(["image", "remove", "new"]).success();
    cx.run(["image", "prune"]).success();
    let kills: u32 = std::env::var("KILLS").map_or(10, |text| text.parse().unwrap());
    let mut killed = 0;
    for at in 0..kills {
        let mut child = start(&cx, &args);
        std::thread::sleep(whole * (at * 100 / kills + 3) / 100);
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        let images = list(&cx);
        assert!(images.iter().all(|image| image["problem"].is_null()), "{images:?}");
        assert!(listed(&cx).contains(&"localhost/there:latest".to_owned()));
        assert_eq!(copy(&cx, &["there", "oci:c:t"]), there);
        // No half-written file is left, nor the name of one.
        let left = names(&cx.path(STORE).join("blobs/sha256"));
        assert!(left.iter().all(|name| name.len() == 64), "{left:?}");
        if at % 3 == 0 {
            cx.run(["image", "prune"]).success();
        }
        assert_eq!(copy(&cx, &args[1..]), expected);
        assert_eq!(copy(&cx, &["new", "oci:d:t"]), expected);
        cx.run(["image", "remove", "new"]).success();
        cx.run(["image", "prune"]).success();
    }
    assert!(killed >= kills / 2, "only {killed} of the copies were killed before their end");
    // The same for archives: the old one or the new one, and no other file.
    copy(&cx, &["there", "docker-archive:x.tar"]);
    let before = fs::read(cx.path("x.tar")).unwrap();
    for at in 0..4_u32 {
        let mut child = start(&cx, &["copy", "oci:a:t", "docker-archive:x.tar"]);
        std::thread::sleep(Duration::from_millis(u64::from(at) * 20));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            copy(&cx, &["there", "docker-archive:x.tar"]);
        } else {
            assert!(fs::read(cx.path("x.tar")).unwrap() == before);
        }
    }
    assert_eq!(names(&cx.path("")), ["a", "b", "c", "d", "home", "x.tar"]);
}

#[test]
fn root_file_systems_become_images() {
    let cx = Cx::new();
    let long = format!("long/{}/{}", "n".repeat(120), "m".repeat(120));
    cx.file("root/etc/hostname", "here");
    cx.file("root/bin/sh", "#!");
    cx.file(&format!("root/{long}"), "deep");
    fs::set_permissions(cx.path("root/bin/sh"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(cx.path("root/etc/hostname"), cx.path("root/etc/other")).unwrap();
    symlink("../bin/sh", cx.path("root/etc/link")).unwrap();
    symlink("x".repeat(150), cx.path("root/etc/long-link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, cx.path("root/pipe"), rustix::fs::Mode::from_raw_mode(0o644))
        .unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(cx.path("root/bin/sh"), "user.note", b"a\nb\0c", flags).unwrap();
    rustix::fs::setxattr(cx.path("root/etc"), "user.folder", b"yes", flags).unwrap();
    let import = |args: &[&str]| {
        let out = ran(cx.polyarch().args(["-q", "image", "import", "--platform", "linux/mips"]).args(args))
            .success();
        out.trim_end().rsplit_once(' ').unwrap().1.to_owned()
    };
    let digest = import(&["root", "dir"]);
    assert_eq!(digest, import(&["root", "oci:o:t"]));
    let image = &facts(&cx, "dir")["images"][0];
    assert_eq!(image["platform"], "linux/mips");
    assert_eq!(image["config"]["config"]["Cmd"], json!(["/bin/sh"]));
    // What the layer holds, as GNU tar sees it.
    import(&["root", "docker-archive:d.tar:x"]);
    ran(cx.command("tar").args(["-xf", "d.tar"])).success();
    let id = image["layers"][0]["diff_id"].as_str().unwrap()[7..].to_owned();
    let seen = ran(cx.command("tar").args(["--numeric-owner", "-tvf", &format!("{id}/layer.tar")])).success();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines.len(), 11, "{seen}");
    assert!(lines[1].starts_with("-rwsr-xr-x 0/0"), "{seen}");
    assert!(seen.contains("hrw") && seen.contains(" etc/other link to etc/hostname"), "{seen}");
    assert!(
        seen.contains(" etc/link -> ../bin/sh") && seen.contains(&long) && seen.contains(&"x".repeat(150)),
        "{seen}"
    );
    assert!(seen.contains("prw"), "{seen}");
    fs::create_dir(cx.path("unpacked")).unwrap();
    let layer = format!("{id}/layer.tar");
    ran(cx.command("tar").args(["--xattrs", "--xattrs-include=user.*", "-xf", &layer, "-C", "unpacked"]))
        .success();
    let attribute = |path: &str, name: &str| {
        let mut value = Vec::with_capacity(64);
        rustix::fs::getxattr(cx.path(path), name, rustix::buffer::spare_capacity(&mut value)).unwrap();
        value
    };
    assert_eq!(attribute("unpacked/bin/sh", "user.note"), b"a\nb\0c");
    assert_eq!(attribute("unpacked/etc", "user.folder"), b"yes");
    fs::remove_dir_all(cx.path("unpacked")).unwrap();
    skopeo(&cx, &["copy", "docker-archive:d.tar", "oci:check:t"]);

    // Tar files in every compression hold the same; those that images know stay byte by byte.
    ran(cx.command("tar").args(["-C", "root", "-cf", "r.tar", "."])).success();
    ran(cx.command("gzip").args(["-kn", "r.tar"])).success();
    ran(cx.command("xz").args(["-k", "r.tar"])).success();
    ran(cx.command("zstd").args(["-q", "r.tar"])).success();
    let sum = |name: &str| format!("sha256:{}", &ran(cx.command("sha256sum").arg(name)).success()[..64]);
    for (file, kept) in [("r.tar", false), ("r.tar.gz", true), ("r.tar.xz", false), ("r.tar.zst", true)] {
        let name = format!("localhost/{}:1", file.replace('.', "-"));
        import(&[file, &name]);
        let layer = facts(&cx, &name)["images"][0]["layers"][0].clone();
        assert_eq!(layer["diff_id"], sum("r.tar"), "{file}");
        assert_eq!(layer["digest"] == sum(file), kept, "{file}");
        copy(&cx, &[&name, &format!("docker-archive:{file}.out.tar:x")]);
        skopeo(&cx, &["copy", &format!("docker-archive:{file}.out.tar"), "oci:check:u"]);
    }
    // A config of one's own.
    cx.file(
        "config.json",
        r#"{"architecture":"amd64","variant":"v3","author":"me","config":{"Entrypoint":["/init"]}}"#,
    );
    import(&["--config", "config.json", "root", "own"]);
    let config = &facts(&cx, "own")["images"][0]["config"];
    assert_eq!((&config["architecture"], &config["author"]), (&json!("mips"), &json!("me")));
    assert_eq!((&config["config"], config.get("variant")), (&json!({ "Entrypoint": ["/init"] }), None));

    let count = list(&cx).len();
    cx.file("text", "no tar file at all, and long enough to be looked at".repeat(100));
    cx.file("half.tar", &fs::read(cx.path("r.tar")).unwrap()[..3000]);
    cx.file("half.tar.gz", &fs::read(cx.path("r.tar.gz")).unwrap()[..300]);
    cx.file("bad.json", "[]");
    for (args, words) in [
        (vec!["text", "x"], "reading `text`"),
        (vec!["half.tar", "x"], "reading `half.tar`"),
        (vec!["half.tar.gz", "x"], "reading `half.tar.gz`"),
        (vec!["missing", "x"], "reading `missing`"),
        (vec!["root", "x", "--config", "bad.json"], "config is not right"),
        (vec!["root", "x", "--config", "missing"], "reading `missing`"),
    ] {
        let err =
            ran(cx.polyarch().args(["image", "import", "--platform", "linux/mips"]).args(&args)).failure(2);
        assert!(err.contains(words), "{args:?}: {err}");
    }
    assert_eq!(list(&cx).len(), count);
}
