//! `copy` and `index`: images between all transports, held against skopeo, with every digest the same where nothing changes.

use std::fs;
use std::path::Path;

use polyarch::layer::Digest;
use serde_json::{Value, json};

use crate::support::image::{blobs, copy, facts, list, make, skopeo};
use crate::support::probe::names;
use crate::support::{Cx, ran};

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn config_digest(cx: &Cx, reference: &str) -> Value {
    facts(cx, reference)["images"][0]["config_digest"].clone()
}

/// The digests of the layers' contents, which every copy of an image shares.
fn diff_ids(facts: &Value) -> Vec<Value> {
    facts["images"][0]["layers"].as_array().unwrap().iter().map(|layer| layer["diff_id"].clone()).collect()
}

/// Puts a blob into the layout in `folder`.
fn put(folder: &Path, bytes: &[u8]) -> String {
    let digest = Digest::of(bytes);
    fs::write(folder.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    digest.to_string()
}

#[test]
fn round_trips_keep_every_digest() {
    let cx = Cx::new();
    let digest = make(&cx, "oci:a:t", "linux/amd64", 3, 50_000);
    let config = config_digest(&cx, "oci:a:t");
    for (source, destination) in [
        ("oci:a:t", "hello"),
        ("hello", "oci-archive:b.tar:u"),
        ("oci-archive:b.tar:u", "oci:c:v"),
        ("b.tar", "oci:d"),
        ("oci:d", "registry.example/name:1"),
        ("registry.example/name:1", "oci:e:v"),
        ("./e", "again"),
    ] {
        assert_eq!(copy(&cx, &["--preserve-digests", source, destination]), digest, "{source} {destination}");
    }
    assert_eq!(names(&cx.path("a/blobs/sha256")), names(&cx.path("e/blobs/sha256")));
    // An archive of docker's has no manifest; the config, and so the id, stays.
    assert_eq!(copy(&cx, &["hello", "docker-archive:f.tar:name:1"]), config);
    assert_eq!(copy(&cx, &["f.tar", "docker-archive:g.tar:name:1"]), config);
    assert!(fs::read(cx.path("f.tar")).unwrap() == fs::read(cx.path("g.tar")).unwrap());
    copy(&cx, &["f.tar", "oci:h:t"]);
    assert_eq!(config_digest(&cx, "oci:h:t"), config);
    assert_eq!(diff_ids(&facts(&cx, "oci:h:t")), diff_ids(&facts(&cx, "oci:a:t")));
    // Archives are the same bytes each time.
    copy(&cx, &["hello", "oci-archive:i.tar:u"]);
    assert!(fs::read(cx.path("b.tar")).unwrap() == fs::read(cx.path("i.tar")).unwrap());
    assert_eq!(names(&cx.path("")), ["a", "b.tar", "c", "d", "e", "f.tar", "g.tar", "h", "home", "i.tar"]);
}

#[test]
fn skopeo_reads_what_is_written_and_writes_what_is_read() {
    let cx = Cx::new();
    let digest = make(&cx, "oci:a:t", "linux/amd64", 3, 50_000);
    let ids = diff_ids(&facts(&cx, "oci:a:t"));
    copy(&cx, &["oci:a:t", "oci-archive:b.tar:u"]);
    copy(&cx, &["oci:a:t", "docker-archive:c.tar:name:1"]);
    for (reference, digest) in
        [("oci:a:t", Some(&digest)), ("oci-archive:b.tar:u", Some(&digest)), ("docker-archive:c.tar", None)]
    {
        let seen: Value = serde_json::from_str(&skopeo(&cx, &["inspect", reference])).unwrap();
        if let Some(digest) = digest {
            assert_eq!(seen["Digest"], **digest, "{reference}");
        }
        // skopeo checks every blob that it copies, and what it holds where it has to decompress it.
        for (at, way) in
            ["oci:out:x", "docker-archive:out.tar:x:1", "oci-archive:out-oci.tar:x"].iter().enumerate()
        {
            let _ = fs::remove_file(cx.path("out.tar"));
            skopeo(&cx, &["copy", reference, way]);
            let back = format!("oci:back-{at}:t");
            copy(&cx, &[way, &back]);
            // skopeo writes configs anew where the family changes.
            assert_eq!(diff_ids(&facts(&cx, &back)), ids, "{reference} {way}");
        }
    }
}

#[test]
fn layers_are_compressed_anew_and_hold_the_same() {
    let cx = Cx::new();
    let digest = make(&cx, "oci:a:t", "linux/arm/v7", 5, 200_000);
    let ids = diff_ids(&facts(&cx, "oci:a:t"));
    for (how, kind) in [("zstd", "tar+zstd"), ("none", "tar"), ("gzip", "tar+gzip")] {
        let first = copy(&cx, &["--compression", how, "oci:a:t", &format!("oci:{how}:t")]);
        let again = copy(&cx, &["--compression", how, "oci:a:t", &format!("oci:{how}-2:t")]);
        assert_eq!(first, again);
        assert_eq!(first == digest, how == "gzip", "what is gzip'd already stays");
        let facts = facts(&cx, &format!("oci:{how}:t"));
        assert_eq!(diff_ids(&facts), ids);
        assert_eq!(facts["images"][0]["platform"], "linux/arm/v7");
        for layer in facts["images"][0]["layers"].as_array().unwrap() {
            assert_eq!(layer["media_type"], format!("application/vnd.oci.image.layer.v1.{kind}"));
        }
        // What is held is what the config says: skopeo checks it, but for zstd, which it does not decompress.
        copy(&cx, &[&format!("oci:{how}:t"), &format!("docker-archive:{how}.tar:a:b")]);
        skopeo(&cx, &["copy", &format!("docker-archive:{how}.tar"), &format!("oci:{how}-3:t")]);
    }
    assert_eq!(copy(&cx, &["--compression", "gzip", "oci:none:t", "oci:back:t"]), digest);
    let small = copy(&cx, &["--compression", "zstd", "--compression-level", "19", "oci:a:t", "oci:19:t"]);
    assert_ne!(small, copy(&cx, &["--compression", "zstd", "oci:a:t", "oci:3:t"]));
    for args in [
        ["--compression", "gzip", "--compression-level", "10"],
        ["--compression", "zstd", "--compression-level", "0"],
    ] {
        let err = ran(cx.polyarch().arg("copy").args(args).args(["oci:a:t", "oci:x:t"])).failure(2);
        assert!(err.contains("hint: give a level from"), "{err}");
    }
    let err =
        cx.run(["copy", "--preserve-digests", "--compression", "zstd", "oci:a:t", "oci:x:t"]).failure(2);
    assert!(err.contains("digests cannot be preserved") && !cx.path("x/index.json").exists(), "{err}");
    let err = cx.run(["copy", "--preserve-digests", "oci:a:t", "docker-archive:x.tar"]).failure(2);
    assert!(err.contains("holds no manifests") && !cx.path("x.tar").exists(), "{err}");
}

#[test]
fn both_families_of_manifests_are_read_and_written() {
    let cx = Cx::new();
    let digest = make(&cx, "oci:a:t", "linux/amd64", 2, 20_000);
    let docker = copy(&cx, &["--format", "docker", "oci:a:t", "docker"]);
    assert_ne!(docker, digest);
    let image = &facts(&cx, "docker")["images"][0];
    assert_eq!(image["media_type"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(image["layers"][0]["media_type"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
    // The store keeps what it gets; a layout of OCI's gets OCI's.
    assert_eq!(copy(&cx, &["docker", "docker-2"]), docker);
    assert_eq!(copy(&cx, &["docker", "oci:b:t"]), digest);
    assert_eq!(copy(&cx, &["--preserve-digests", "docker", "oci:c:t"]), docker);
    assert_eq!(copy(&cx, &["--format", "oci", "docker", "back"]), digest);
    let err = cx.run(["copy", "--format", "docker", "--compression", "zstd", "oci:a:t", "x"]).failure(2);
    assert!(err.contains("tar+zstd`") && err.contains("hint: leave `--format docker` out"), "{err}");
    // skopeo's form of the same.
    skopeo(&cx, &["copy", "--format", "v2s2", "oci:a:t", "dir:d"]);
    let theirs = json_of(&cx.path("d/manifest.json"));
    let ours: Value = {
        let path = cx.path("home/.local/share/polyarch/store/blobs/sha256").join(&docker[7..]);
        json_of(&path)
    };
    assert_eq!(theirs["layers"], ours["layers"]);
    assert_eq!(theirs["mediaType"], ours["mediaType"]);
    assert_eq!(theirs["config"]["mediaType"], ours["config"]["mediaType"]);
}

#[test]
fn archives_of_both_kinds_at_once_are_read_as_either() {
    let cx = Cx::new();
    let digest = make(&cx, "oci:a:t", "linux/amd64", 2, 20_000);
    // As docker's newer engines save: an OCI layout, and docker's list beside it.
    let manifest = json_of(&cx.path("a/blobs/sha256").join(&digest[7..]));
    let path = |entry: &Value| format!("blobs/sha256/{}", &entry["digest"].as_str().unwrap()[7..]);
    let layers: Vec<String> = manifest["layers"].as_array().unwrap().iter().map(path).collect();
    let list = json!([{ "Config": path(&manifest["config"]), "RepoTags": ["name:1"], "Layers": layers }]);
    cx.file("a/manifest.json", list.to_string());
    ran(cx.command("tar").args(["-C", "a", "-cf", "both.tar", "."])).success();
    ran(cx.command("gzip").args(["-k", "both.tar"])).success();
    assert_eq!(copy(&cx, &["oci-archive:both.tar", "one"]), digest);
    assert_eq!(copy(&cx, &["both.tar", "two"]), digest);
    assert_eq!(copy(&cx, &["both.tar.gz", "three"]), digest);
    copy(&cx, &["docker-archive:both.tar:name:1", "four"]);
    assert_eq!(config_digest(&cx, "four"), config_digest(&cx, "one"));
    assert_eq!(diff_ids(&facts(&cx, "four")), diff_ids(&facts(&cx, "one")));
    copy(&cx, &["docker-archive:both.tar", "docker-archive:plain.tar:x"]);
    skopeo(&cx, &["copy", "docker-archive:plain.tar", "oci:check:t"]);
}

#[test]
fn every_damaged_blob_is_noticed_and_nothing_arrives() {
    let cx = Cx::new();
    make(&cx, "oci:a:t", "linux/amd64", 3, 20_000);
    let list_before = list(&cx);
    assert!(list_before.is_empty());
    for blob in blobs(&cx.path("a")) {
        let good = fs::read(&blob).unwrap();
        // A byte that JSON and tar do not mind.
        let mut bad = good.clone();
        let at = bad.len() / 2;
        bad[at] ^= 1;
        fs::write(&blob, &bad).unwrap();
        for args in [
            vec!["oci:a:t", "oci:b:t"],
            vec!["oci:a:t", "stored"],
            vec!["oci:a:t", "docker-archive:c.tar:x"],
            vec!["oci:a:t", "oci-archive:d.tar:x"],
            vec!["--compression", "zstd", "oci:a:t", "oci:b:t"],
            vec!["--all", "oci:a:t", "oci:b:t"],
        ] {
            // What is there from before would not be copied again.
            let _ = fs::remove_dir_all(cx.path("b"));
            let _ = fs::remove_dir_all(cx.path("home/.local"));
            let err = ran(cx.polyarch().arg("copy").args(&args)).failure(2);
            // Where a layer is decompressed, the decompressor may be the first to see it.
            assert!(err.contains("digest") || err.contains("reading the image's layer"), "{args:?}: {err}");
            assert!(err.contains("hint: the image is damaged"), "{args:?}: {err}");
            let there = names(&cx.path(""));
            assert!(
                there.iter().all(|name| ["a", "b", "home"].contains(&name.as_str())),
                "{args:?}: {there:?}"
            );
            assert!(!cx.path("b/index.json").exists(), "{args:?}");
            assert!(list(&cx).is_empty());
            // What had arrived whole before the damage was seen would not be read again.
            let _ = fs::remove_dir_all(cx.path("b"));
            cx.run(["image", "prune"]).success();
        }
        // Too short, too long, not there.
        for bytes in [&good[..good.len() - 1], &[&good[..], b"\n"].concat()] {
            fs::write(&blob, bytes).unwrap();
            cx.run(["copy", "oci:a:t", "stored"]).failure(2);
        }
        fs::remove_file(&blob).unwrap();
        cx.run(["copy", "oci:a:t", "stored"]).failure(2);
        fs::write(&blob, &good).unwrap();
    }
    copy(&cx, &["oci:a:t", "stored"]);
    // What is at the destination and of the wrong length is no reason to copy less.
    let store = cx.path("home/.local/share/polyarch/store");
    for blob in blobs(&store) {
        fs::write(&blob, "x").unwrap();
    }
    copy(&cx, &["oci:a:t", "stored"]);
    copy(&cx, &["stored", "oci:e:t"]);
}

#[test]
fn indexes_take_platforms_from_configs() {
    let cx = Cx::new();
    let amd64 = make(&cx, "oci:a:t", "linux/amd64", 2, 10_000);
    let arm = make(&cx, "oci:b:t", "linux/arm/v7", 2, 10_000);
    let arm64 = make(&cx, "oci:c:t", "linux/arm64/v8", 2, 10_000);
    let run = |args: &[&str]| ran(cx.polyarch().args(["-q", "index", "create"]).args(args));
    let out = run(&["oci:m:all", "oci:b:t", "oci:a:t", "oci:c:t"]).success();
    let digest = out.trim_end().rsplit_once(' ').unwrap().1.to_owned();
    // One nested index under the tag.
    let outer = json_of(&cx.path("m/index.json"));
    assert_eq!(outer["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(outer["manifests"][0]["digest"], digest);
    let inner = json_of(&cx.path("m/blobs/sha256").join(&digest[7..]));
    let listed: Vec<_> = inner["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (&entry["platform"], &entry["digest"]))
        .collect();
    assert_eq!(
        listed,
        [
            (&json!({ "architecture": "amd64", "os": "linux" }), &json!(amd64)),
            (&json!({ "architecture": "arm", "os": "linux", "variant": "v7" }), &json!(arm)),
            (&json!({ "architecture": "arm64", "os": "linux" }), &json!(arm64)),
        ]
    );
    skopeo(&cx, &["copy", "--all", "oci:m:all", "oci:n:all"]);
    let raw = skopeo(&cx, &["inspect", "--raw", "oci:n:all"]);
    assert_eq!(serde_json::from_str::<Value>(&raw).unwrap()["manifests"].as_array().unwrap().len(), 3);
    // An index among the images counts as its images; the order does not matter.
    run(&["oci:o:two", "oci:a:t", "oci:c:t"]).success();
    assert!(run(&["oci:p:all", "oci:o:two", "oci:b:t"]).success().contains(&digest));
    let err = run(&["oci:q:all", "oci:o:two", "oci:a:t"]).failure(2);
    assert!(err.contains("`oci:o:two` and `oci:a:t` are both for linux/amd64"), "{err}");
    assert!(!cx.path("q/index.json").exists());
    assert!(run(&["docker-archive:x.tar", "oci:a:t"]).failure(2).contains("no index"));

    // One of several, all, and what is not there.
    assert_eq!(copy(&cx, &["--platform", "linux/arm/v7", "oci:m:all", "arm"]), arm);
    assert_eq!(
        copy(&cx, &["--platform", "linux/arm64", "oci:m:all", "docker-archive:arm64.tar"]),
        config_digest(&cx, "oci:c:t")
    );
    assert_eq!(copy(&cx, &["--all", "--preserve-digests", "oci:m:all", "all"]), digest);
    assert_eq!(copy(&cx, &["--all", "all", "oci-archive:all.tar:x"]), digest);
    assert_eq!(copy(&cx, &["--all", "all.tar", "oci:r:x"]), digest);
    for args in [["oci:m:all", "x"], ["arm", "x"]] {
        let err = ran(cx.polyarch().args(["copy", "--platform", "linux/s390x"]).args(args)).failure(2);
        assert!(err.contains("nothing for linux/s390x") && err.contains("`linux/arm/v7`"), "{err}");
    }
    let err = cx.run(["copy", "--all", "all", "docker-archive:x.tar"]).failure(2);
    assert!(err.contains("of 3 platforms") && err.contains("--platform"), "{err}");
    let docker = copy(&cx, &["--all", "--format", "docker", "all", "docker"]);
    assert_ne!(docker, digest);
    assert_eq!(facts(&cx, "docker")["images"].as_array().unwrap().len(), 3);
    assert_eq!(copy(&cx, &["--all", "docker", "oci:s:x"]), digest);
}

#[test]
fn attestations_go_along_and_are_never_an_image() {
    let cx = Cx::new();
    let image = make(&cx, "oci:a:t", "linux/amd64", 1, 10_000);
    let folder = cx.path("a");
    let statement = put(&folder, br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#);
    let config = put(&folder, br#"{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:0000000000000000000000000000000000000000000000000000000000000000"]}}"#);
    let size = |digest: &str| folder.join("blobs/sha256").join(&digest[7..]).metadata().unwrap().len();
    let attestation = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size(&config) },
        "layers": [{ "mediaType": "application/vnd.in-toto+json", "digest": statement, "size": size(&statement) }],
    });
    let attestation = put(&folder, attestation.to_string().as_bytes());
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
            { "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": attestation, "size": size(&attestation),
              "platform": { "os": "unknown", "architecture": "unknown" },
              "annotations": { "vnd.docker.reference.digest": image, "vnd.docker.reference.type": "attestation-manifest" } },
            { "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image, "size": size(&image),
              "platform": { "os": "linux", "architecture": "amd64" } },
        ],
    });
    let index = put(&folder, index.to_string().as_bytes());
    let outer = json!({ "schemaVersion": 2, "manifests": [
        { "mediaType": "application/vnd.oci.image.index.v1+json", "digest": index, "size": size(&index),
          "annotations": { "org.opencontainers.image.ref.name": "all" } } ] });
    cx.file("a/index.json", outer.to_string());

    assert_eq!(copy(&cx, &["oci:a:all", "one"]), image);
    assert_eq!(copy(&cx, &["--all", "oci:a:all", "all"]), index);
    assert_eq!(copy(&cx, &["--all", "oci:a", "docker-archive:one.tar"]), config_digest(&cx, "one"));
    let seen = facts(&cx, "all");
    assert_eq!((seen["images"].as_array().unwrap().len(), &seen["others"]), (1, &json!(1)));
    assert_eq!(list(&cx)[0]["platforms"], json!(["linux/amd64"]));
    // Where the image changes, what is said of it says so of what it became.
    let changed = copy(&cx, &["--all", "--compression", "zstd", "all", "oci:z:t"]);
    let inner = json_of(&cx.path("z/blobs/sha256").join(&changed[7..]));
    assert_eq!(inner["manifests"][0]["digest"], attestation);
    assert_eq!(
        inner["manifests"][0]["annotations"]["vnd.docker.reference.digest"],
        inner["manifests"][1]["digest"]
    );
    assert_ne!(inner["manifests"][1]["digest"], image);
}

#[test]
fn what_cannot_be_copied_is_refused() {
    let cx = Cx::new();
    let digest = make(&cx, "oci:a:t", "linux/amd64", 1, 1000);
    let manifest = cx.path("a/blobs/sha256").join(&digest[7..]);
    let good = json_of(&manifest);
    let with = |tag: &str, change: &dyn Fn(&mut Value)| {
        let mut manifest = good.clone();
        change(&mut manifest);
        let bytes = manifest.to_string();
        let digest = put(&cx.path("a"), bytes.as_bytes());
        let mut index = json_of(&cx.path("a/index.json"));
        index["manifests"].as_array_mut().unwrap().push(json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": bytes.len(),
            "annotations": { "org.opencontainers.image.ref.name": tag } }));
        cx.file("a/index.json", index.to_string());
    };
    with("foreign", &|manifest| manifest["layers"][0]["urls"] = json!(["https://packages.example/layer"]));
    // CVE-2021-41190: one text that is both a manifest and an index.
    with("both", &|manifest| manifest["manifests"] = json!([]));
    with("neither", &|manifest| manifest["layers"] = Value::Null);
    with("first", &|manifest| manifest["schemaVersion"] = json!(1));
    with("sha512", &|manifest| {
        manifest["layers"][0]["digest"] = json!(format!("sha512:{}", "0".repeat(128)));
    });
    with("path", &|manifest| manifest["layers"][0]["digest"] = json!("sha256:../../../../etc/passwd"));
    with("more", &|manifest| {
        let layer = manifest["layers"][0].clone();
        manifest["layers"].as_array_mut().unwrap().push(layer);
    });
    for (args, words) in [
        (vec!["oci:a:foreign", "x"], "foreign layer"),
        (vec!["oci:a:both", "x"], "neither a manifest nor an index"),
        (vec!["oci:a:neither", "x"], "not right"),
        (vec!["oci:a:first", "x"], "first schema"),
        (vec!["oci:a:sha512", "x"], "no digest of the form"),
        (vec!["oci:a:path", "x"], "not right"),
        (vec!["--compression", "zstd", "oci:a:more", "x"], "1 layers where the manifest has 2"),
        (vec!["oci:a:none", "x"], "hint: it has: `t`"),
        (vec!["oci:a", "x"], "none was chosen"),
        (vec!["missing", "x"], "no image called `localhost/missing:latest`"),
        (vec!["./missing", "x"], "no such file or folder"),
        (vec!["./home", "x"], "neither an OCI image layout nor a docker archive"),
        // Nobody listens there.
        (vec!["docker://127.0.0.1:9/a", "x"], "127.0.0.1:9"),
        (vec!["oci:a:t", "UPPER"], "no image name"),
        (vec!["oci:a:t", "docker-archive:missing/x.tar"], "writing `missing/x.tar`"),
    ] {
        let err = ran(cx.polyarch().arg("copy").args(&args)).failure(2);
        assert!(err.contains(words), "{args:?}: {err}");
        assert!(list(&cx).is_empty(), "{args:?}");
    }
}

#[test]
fn an_ordinary_user_copies_and_runs_from_the_store() {
    let cx = Cx::new();
    make(&cx, "oci:a:t", "linux/amd64", 2, 1000);
    let program = env!("CARGO_BIN_EXE_polyarch");
    // The program may lie where that user may not go.
    fs::copy(program, cx.path("polyarch")).unwrap();
    let run = |args: &[&str]| ran(cx.as_nobody(cx.path("polyarch")).args(args));
    run(&["copy", "oci:a:t", "mine"]).success();
    assert!(run(&["image", "list"]).success().contains("localhost/mine:latest  linux/amd64"));
    run(&["copy", "mine", "docker-archive:home/x.tar"]).success();
    assert!(run(&["image", "prune"]).success().starts_with("0 B freed"));
    let err = run(&["run", "mine"]).failure(127);
    assert!(err.contains("`/x`"), "{err}");
}

#[test]
fn layers_become_one() {
    let cx = Cx::new();
    make(&cx, "oci:a:t", "linux/arm/v7", 3, 20_000);
    let squashed = copy(&cx, &["--squash", "oci:a:t", "oci:b:t"]);
    assert_eq!(copy(&cx, &["--squash", "oci:a:t", "oci:c:t"]), squashed);
    let seen = facts(&cx, "oci:b:t");
    assert_eq!(seen["images"][0]["layers"].as_array().unwrap().len(), 1);
    assert_eq!(seen["images"][0]["config"]["history"].as_array().unwrap().len(), 1);
    assert_eq!(seen["images"][0]["config"]["config"], facts(&cx, "oci:a:t")["images"][0]["config"]["config"]);
    copy(&cx, &["oci:b:t", "docker-archive:b.tar"]);
    let layer = format!("{}/layer.tar", &diff_ids(&seen)[0].as_str().unwrap()[7..]);
    ran(cx.command("tar").args(["-xf", "b.tar"])).success();
    let listing = |layer: &str| ran(cx.command("tar").args(["-tf", layer])).success();
    let mut names: Vec<String> = listing(&layer).lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["file-0", "file-1", "file-2", "who"]);
    assert_eq!(ran(cx.command("tar").args(["-xOf", &layer, "who"])).success(), "linux/arm/v7 2");
    skopeo(&cx, &["copy", "docker-archive:b.tar", "oci:check:t"]);
    copy(&cx, &["--squash", "--compression", "zstd", "oci:a:t", "oci:z:t"]);
    assert_eq!(diff_ids(&facts(&cx, "oci:z:t")), diff_ids(&seen));
    let err = cx.run(["copy", "--squash", "--preserve-digests", "oci:a:t", "oci:x:t"]).failure(2);
    assert!(err.contains("digests cannot be preserved"), "{err}");
}

#[test]
fn routeros_gets_an_archive_that_it_reads() {
    let cx = Cx::new();
    make(&cx, "oci:a:t", "linux/arm/v7", 3, 20_000);
    make(&cx, "oci:b:t", "linux/arm64", 1, 20_000);
    let digest = copy(&cx, &["--profile", "routeros", "oci:a:t", "docker-archive:r.tar:name:1"]);
    assert_eq!(copy(&cx, &["--profile", "routeros", "oci:a:t", "docker-archive:s.tar:name:1"]), digest);
    let bytes = fs::read(cx.path("r.tar")).unwrap();
    assert!(bytes == fs::read(cx.path("s.tar")).unwrap());
    ran(cx.command("tar").args(["-xf", "r.tar"])).success();
    let id = diff_ids(&facts(&cx, "r.tar"))[0].as_str().unwrap()[7..].to_owned();
    let listed = ran(cx.command("tar").args(["-tf", "r.tar"])).success();
    let config = format!("{}.json", &digest[7..]);
    assert_eq!(
        listed.lines().collect::<Vec<_>>(),
        [&format!("{id}/"), &format!("{id}/layer.tar"), &config, "manifest.json"]
    );
    assert_eq!(
        json_of(&cx.path("manifest.json")),
        json!([{ "Config": config, "RepoTags": ["name:1"], "Layers": [format!("{id}/layer.tar")] }])
    );
    // Both the archive and its layer: ustar, and no header of another kind.
    for tar in [bytes, fs::read(cx.path(format!("{id}/layer.tar"))).unwrap()] {
        for entry in tar::Archive::new(tar.as_slice()).entries().unwrap().raw(true) {
            let entry = entry.unwrap();
            let header = entry.header();
            assert!(matches!(header.entry_type(), tar::EntryType::Regular | tar::EntryType::Directory));
            assert!(header.as_ustar().is_some() && !header.path_bytes().starts_with(b"."));
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        }
    }
    skopeo(&cx, &["copy", "docker-archive:r.tar", "oci:check:t"]);

    // A program is named where the image names none.
    cx.file("root/bin/sh", "#!");
    let import = ["image", "import", "root", "mute", "--platform", "linux/arm/v5", "--config", "mute.json"];
    cx.file("mute.json", r#"{"config":{}}"#);
    cx.run(import).success();
    copy(&cx, &["--profile", "routeros", "mute", "docker-archive:m.tar"]);
    let image = &facts(&cx, "m.tar")["images"][0];
    assert_eq!(
        (&image["config"]["config"]["Cmd"], &image["platform"]),
        (&json!(["/bin/sh"]), &json!("linux/arm/v5"))
    );

    // What does not go into such an archive.
    cx.file(&format!("root/{}", "n".repeat(101)), "");
    cx.run(["image", "import", "root", "long", "--platform", "linux/arm/v7"]).success();
    let err = cx.run(["copy", "--profile", "routeros", "long", "docker-archive:x.tar"]).failure(2);
    assert!(err.contains("cannot hold") && err.contains(&"n".repeat(101)), "{err}");
    cx.run(["index", "create", "two", "oci:a:t", "oci:b:t"]).success();
    let err = cx.run(["copy", "--profile", "routeros", "two", "docker-archive:x.tar"]).failure(2);
    assert!(err.contains("of 2 platforms") && err.contains("`linux/arm/v7`"), "{err}");
    let err = cx.run(["copy", "--profile", "routeros", "long", "oci:x:t"]).failure(2);
    assert!(err.contains("hint: write to `docker-archive:FILE`"), "{err}");
    assert!(!cx.path("x.tar").exists());
    let chosen =
        ["--platform", "linux/arm/v7", "--profile", "routeros", "two", "docker-archive:t.tar:name:1"];
    assert_eq!(copy(&cx, &chosen), digest);
}
