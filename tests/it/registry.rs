//! Registries: a real one on loopback, and one with faults.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use polyarch::image::registry::{Credentials, Login, Name, Options, Registries, RegistryError, Remote, Tls};
use polyarch::image::{Destination as _, ImageError, Raw, Source as _, descriptor};
use polyarch::layer::Digest;
use serde_json::json;

use crate::support::registry::{Asked, Fake, Registry, Told, certificates};
use crate::support::{Cx, ran};

const PASSWORD: &str = "hunter2-swordfish";

fn options() -> Options {
    Options { pause: Duration::from_millis(10), patience: Duration::from_secs(20), ..Options::default() }
}

fn with_login(user: &str, password: &str) -> Options {
    let given = Login::parse(&format!("{user}:{password}"));
    Options { credentials: Credentials { given, files: Vec::new() }, ..options() }
}

fn name(host: &str, rest: &str) -> Name {
    format!("{host}/{rest}").parse().unwrap()
}

/// Bytes that do not repeat, so that what comes twice or is missing shows.
fn content(size: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(&mut next).take(size).collect()
}

/// What is written: a config and layers, in a manifest.
fn write(remote: &Remote, layers: &[Vec<u8>]) -> Result<Raw, ImageError> {
    let config = br#"{"architecture":"arm64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let config_entry = descriptor(
        "application/vnd.oci.image.config.v1+json".into(),
        config.len() as u64,
        &Digest::of(config),
    );
    remote.put_config(config, &config_entry)?;
    let mut entries = Vec::new();
    for layer in layers {
        let entry = descriptor(
            "application/vnd.oci.image.layer.v1.tar".into(),
            layer.len() as u64,
            &Digest::of(layer),
        );
        if !remote.has_blob(&entry)? {
            let blob = remote.put_blob(&mut layer.as_slice(), Some(&entry))?;
            assert_eq!((blob.digest, blob.size), (Digest::of(layer), layer.len() as u64));
        }
        assert!(remote.has_blob(&entry)?);
        entries.push(entry);
    }
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config_entry, "layers": entries});
    let raw = Raw::new(serde_json::to_vec(&manifest).unwrap(), None).unwrap();
    assert_eq!(remote.finish(&raw, None)?, raw.digest);
    Ok(raw)
}

/// The layers of the image, read to their ends.
fn read(remote: &Remote) -> Result<Vec<Vec<u8>>, ImageError> {
    let top = remote.top()?;
    let manifest: oci_spec::image::ImageManifest = serde_json::from_slice(&top.bytes).unwrap();
    let layer = |entry| {
        let mut bytes = Vec::new();
        let mut reader = remote.blob(entry)?;
        reader.read_to_end(&mut bytes).map_err(|source| ImageError::Blob { part: "layer".into(), source })?;
        Ok(bytes)
    };
    manifest.layers().iter().map(layer).collect()
}

fn registry_error(err: ImageError) -> RegistryError {
    match err {
        ImageError::Registry { source } => *source,
        err => panic!("{err:?}"),
    }
}

#[test]
fn an_image_is_pushed_found_mounted_pulled_and_deleted() {
    let cx = Cx::new();
    let registry = Registry::new(&cx, "plain", "");
    // More than two parts, exactly one, less than one, and nothing.
    let layers = [content(9_500_000), content(4 << 20), content(1000), Vec::new()];
    let first = name(&registry.host, "team/first:v1");
    let raw = write(&Remote::writing(&first, &options()).unwrap(), &layers).unwrap();
    assert_eq!(read(&Remote::reading(&first, &options()).unwrap()).unwrap(), layers);
    let by_digest = name(&registry.host, &format!("team/first@{}", raw.digest));
    assert_eq!(Remote::reading(&by_digest, &options()).unwrap().top().unwrap(), raw);

    // Another repository takes the blobs over without their content.
    let entry = descriptor("x".into(), layers[0].len() as u64, &Digest::of(&layers[0]));
    let second = name(&registry.host, "second");
    assert!(!Remote::writing(&second, &options()).unwrap().has_blob(&entry).unwrap());
    let mounting = Remote::writing(&second, &options()).unwrap().mounting_from(&first);
    assert!(mounting.has_blob(&entry).unwrap());
    assert!(Remote::writing(&second, &options()).unwrap().has_blob(&entry).unwrap());

    let remote = Remote::writing(&first, &options()).unwrap();
    assert_eq!(remote.delete().unwrap(), raw.digest);
    let err = registry_error(Remote::reading(&first, &options()).unwrap().top().unwrap_err());
    assert!(matches!(err, RegistryError::NotFound { .. }), "{err:?}");
    assert!(err.to_string().contains("MANIFEST_UNKNOWN"), "{err}");
}

#[test]
fn what_is_sent_must_be_what_it_is_called() {
    let cx = Cx::new();
    let registry = Registry::new(&cx, "plain", "");
    let remote = Remote::writing(&name(&registry.host, "a"), &options()).unwrap();
    for size in [100, 9 << 20] {
        let mut bytes = content(size);
        let entry = descriptor("x".into(), size as u64, &Digest::of(&bytes));
        *bytes.last_mut().unwrap() ^= 1;
        let err = registry_error(remote.put_blob(&mut bytes.as_slice(), Some(&entry)).unwrap_err());
        assert!(matches!(err, RegistryError::Digest { .. }), "{err:?}");
        bytes.pop();
        let err = registry_error(remote.put_blob(&mut bytes.as_slice(), Some(&entry)).unwrap_err());
        assert!(matches!(err, RegistryError::Size { .. }), "{err:?}");
        assert!(!remote.has_blob(&entry).unwrap());
    }
}

#[test]
fn skopeo_and_we_read_each_other() {
    let cx = Cx::new();
    let registry = Registry::new(&cx, "plain", "");
    let layer = {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(5);
        header.set_mode(0o644);
        tar.append_data(&mut header, "hello", &b"world"[..]).unwrap();
        tar.into_inner().unwrap()
    };
    let ours = name(&registry.host, "ours:1");
    let config = json!({"architecture": "arm64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]}});
    let config = serde_json::to_vec(&config).unwrap();
    let remote = Remote::writing(&ours, &options()).unwrap();
    let config_entry = descriptor(
        "application/vnd.oci.image.config.v1+json".into(),
        config.len() as u64,
        &Digest::of(&config),
    );
    let entry =
        descriptor("application/vnd.oci.image.layer.v1.tar".into(), layer.len() as u64, &Digest::of(&layer));
    remote.put_config(&config, &config_entry).unwrap();
    remote.put_blob(&mut layer.as_slice(), Some(&entry)).unwrap();
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config_entry, "layers": [entry]});
    let raw = Raw::new(serde_json::to_vec(&manifest).unwrap(), None).unwrap();
    remote.finish(&raw, None).unwrap();

    let skopeo = |args: &[&str]| {
        let mut command = cx.command("skopeo");
        command.args(["--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"]);
        ran(command.args(args)).success()
    };
    skopeo(&["--dest-oci-accept-uncompressed-layers", &format!("docker://{ours}"), "oci:out:x"]);
    let hex = Digest::of(&layer).hex();
    assert_eq!(std::fs::read(cx.path(format!("out/blobs/sha256/{hex}"))).unwrap(), layer);
    // And back, as docker's family of manifests.
    let theirs = name(&registry.host, "theirs:1");
    skopeo(&["--format", "v2s2", "oci:out:x", &format!("docker://{theirs}")]);
    let remote = Remote::reading(&theirs, &options()).unwrap();
    let top = remote.top().unwrap();
    assert_eq!(top.media_type.to_string(), "application/vnd.docker.distribution.manifest.v2+json");
    let read = read(&remote).unwrap();
    assert_eq!(read, [layer]);
}

#[test]
fn only_the_right_password_opens() {
    let cx = Cx::new();
    let users = ran(cx.command("htpasswd").args(["-Bbn", "alice", PASSWORD])).success();
    let users = cx.file("htpasswd", users);
    let auth = format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", users.display());
    let registry = Registry::new(&cx, "auth", &auth);
    let image = name(&registry.host, "a:1");
    let layers = [content(5_000_000)];
    let attempt = |options: &Options| write(&Remote::writing(&image, options).unwrap(), &layers).map(drop);
    let refused = |options: &Options, expected: bool| {
        let err = registry_error(attempt(options).unwrap_err());
        assert!(matches!(err, RegistryError::Unauthorized { known, .. } if known == expected), "{err:?}");
        assert!(!format!("{err} {err:?} {:?} {options:?}", err.hint()).contains("swordfish"), "{err:?}");
    };
    refused(&options(), false);
    refused(&with_login("alice", "not-swordfish"), true);
    attempt(&with_login("alice", PASSWORD)).unwrap();

    // The same from a file, and from a helper that a file names.
    let encoded = "YWxpY2U6aHVudGVyMi1zd29yZGZpc2g=";
    let file = cx.file("auth.json", json!({"auths": {&registry.host: {"auth": encoded}}}).to_string());
    let from = |file: &Path| Options {
        credentials: Credentials { given: None, files: vec![cx.path("missing.json"), file.into()] },
        ..options()
    };
    let remote = Remote::reading(&image, &from(&file)).unwrap();
    assert_eq!(read(&remote).unwrap(), layers);
    assert!(!format!("{remote:?}").contains("swordfish") && !format!("{remote:?}").contains(encoded));
    let file = cx.file("helped.json", json!({"credHelpers": {&registry.host: "no/such"}}).to_string());
    let err = Remote::reading(&image, &from(&file)).unwrap_err();
    assert!(matches!(err, RegistryError::Helper { .. }), "{err:?}");
}

#[test]
fn a_private_root_is_trusted_when_named() {
    let cx = Cx::new();
    let dir = cx.path("certs");
    certificates(&cx, &dir);
    let shown = |file: &str| dir.join(file).display().to_string();
    let tls = format!("  tls: {{certificate: {}, key: {}}}\n", shown("server.crt"), shown("server.key"));
    let registry = Registry::new(&cx, "tls", &tls);
    let image = name(&registry.host, "a:1");
    let with = |tls: Tls| Options { tls, tries: 2, ..options() };
    let roots: PathBuf = cx.path("roots");
    std::fs::create_dir(&roots).unwrap();
    std::fs::copy(dir.join("root.crt"), roots.join("root.crt")).unwrap();
    let layers = [content(100_000)];

    let trusting = with(Tls { folder: Some(roots.clone()), ..Tls::default() });
    write(&Remote::writing(&image, &trusting).unwrap(), &layers).unwrap();
    for tls in [
        Tls { roots: Some(dir.join("root.crt")), verify: Some(true), ..Tls::default() },
        Tls { verify: Some(false), ..Tls::default() },
    ] {
        assert_eq!(read(&Remote::reading(&image, &with(tls)).unwrap()).unwrap(), layers);
    }
    let err = registry_error(Remote::reading(&image, &with(Tls::default())).unwrap().top().unwrap_err());
    assert!(matches!(err, RegistryError::Transport { .. }), "{err:?}");
    assert!(err.hint().is_some_and(|hint| hint.contains("--cert-dir")), "{err:?}");
    let by_name = name(&registry.host.replace("127.0.0.1", "localhost"), "a:1");
    assert_eq!(read(&Remote::reading(&by_name, &trusting).unwrap()).unwrap(), layers);
}

/// The manifest of one layer, and the layer.
fn image_of(layer: &[u8]) -> (Vec<u8>, Digest) {
    let config = descriptor("application/vnd.oci.image.config.v1+json".into(), 2, &Digest::of(b"{}"));
    let digest = Digest::of(layer);
    let entry = descriptor("application/vnd.oci.image.layer.v1.tar".into(), layer.len() as u64, &digest);
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [entry]});
    (serde_json::to_vec(&manifest).unwrap(), digest)
}

/// A registry of one image whose blob is answered by `blob`; everything else is right.
fn serving(layer: &[u8], blob: impl Fn(&Asked, usize) -> Option<Told> + Send + Sync + 'static) -> Fake {
    let (manifest, _) = image_of(layer);
    Fake::new(move |asked, number| match asked.path.as_str() {
        "/v2/a/manifests/latest" => Some(Told::new(200, manifest.clone())),
        path if path.contains("/blobs/") => blob(asked, number),
        _ => Some(Told::new(404, "")),
    })
}

fn pull(fake: &Fake) -> Result<Vec<u8>, ImageError> {
    let options = Options { tries: 3, ..options() };
    read(&Remote::reading(&name(&fake.host, "a"), &options).unwrap()).map(|mut layers| layers.remove(0))
}

#[test]
fn what_passes_is_tried_again() {
    let layer = content(1000);
    let shared = layer.clone();
    let fake = serving(&layer, move |_, number| {
        Some(match number {
            0 => Told::new(503, "busy"),
            1 => Told::new(429, "slow down").with("Retry-After", "1"),
            _ => Told::new(200, shared.clone()),
        })
    });
    let start = Instant::now();
    assert_eq!(pull(&fake).unwrap(), layer);
    assert!(start.elapsed() >= Duration::from_secs(1), "`Retry-After` was not minded");

    let fake = serving(&layer, |_, _| Some(Told::new(503, "busy")));
    let err = registry_error(pull(&fake).unwrap_err());
    assert!(matches!(err, RegistryError::Status { status: 503, .. }), "{err:?}");
    assert!(err.to_string().ends_with("503: busy"), "{err}");
    assert_eq!(fake.asked("/blobs/").len(), 3);
    // What does not pass is not.
    let fake = serving(&layer, |_, _| Some(Told::new(410, "")));
    pull(&fake).unwrap_err();
    assert_eq!(fake.asked("/blobs/").len(), 1);
}

fn part(asked: &Asked) -> usize {
    let range =
        asked.header("range").map(|range| range.strip_prefix("bytes=").unwrap().trim_end_matches('-'));
    range.map_or(0, |range| range.parse().unwrap())
}

#[test]
fn a_broken_transfer_goes_on_where_it_was() {
    let layer = content(300_000);
    for knows_parts in [true, false] {
        let shared = layer.clone();
        let fake = serving(&layer, move |asked, number| {
            let from = if knows_parts { part(asked) } else { 0 };
            let body = shared[from..].to_vec();
            let told = if from == 0 {
                Told::new(200, body)
            } else {
                let range = format!("bytes {from}-{}/{}", shared.len() - 1, shared.len());
                Told::new(206, body).with("Content-Range", range)
            };
            Some(if number < 2 { told.cut(100_000 * (number + 1)) } else { told })
        });
        assert_eq!(pull(&fake).unwrap(), layer, "{knows_parts}");
        let asked = fake.asked("/blobs/");
        assert_eq!(asked.len(), if knows_parts { 2 } else { 3 }, "{asked:?}");
        assert_eq!(part(&asked[1]), 100_000);
    }
}

#[test]
fn what_is_not_the_blob_is_refused() {
    let layer = content(1000);
    let other = layer.iter().map(|byte| byte ^ 1).collect();
    for wrong in [other, layer[1..].to_vec(), [layer.as_slice(), &[0]].concat()] {
        let fake = serving(&layer, move |_, _| Some(Told::new(200, wrong.clone())));
        pull(&fake).unwrap_err();
        assert_eq!(fake.asked("/blobs/").len(), 1);
    }
    // A manifest that is another than the digest says.
    let (manifest, _) = image_of(&layer);
    let fake = Fake::new(move |_, _| Some(Told::new(200, manifest.clone())));
    let wanted = name(&fake.host, &format!("a@{}", Digest::of(b"")));
    let err = registry_error(Remote::reading(&wanted, &options()).unwrap().top().unwrap_err());
    assert!(matches!(err, RegistryError::Digest { .. }), "{err:?}");
}

#[test]
fn tokens_are_had_with_scopes_and_kept_from_other_hosts() {
    let layer = content(2000);
    let (manifest, digest) = image_of(&layer);
    let bytes = layer.clone();
    let store = Fake::new(move |_, _| Some(Told::new(200, bytes.clone())));
    let elsewhere = format!("http://{}/signed/blob?signature=topsecret", store.host);
    let fake = Fake::new(move |asked, _| {
        let host = asked.header("host").unwrap();
        if asked.path.starts_with("/token") {
            let right = asked.header("authorization") == Some("Basic YWxpY2U6aHVudGVyMi1zd29yZGZpc2g=");
            return Some(if right {
                Told::new(200, r#"{"token":"tok-tok-tok","expires_in":300}"#)
            } else {
                // A server that shows what it was sent.
                Told::new(401, format!("no: {:?}", asked.headers))
            });
        }
        if asked.header("authorization") != Some("Bearer tok-tok-tok") {
            let challenge = format!(r#"Bearer realm="http://{host}/token",service="the registry""#);
            return Some(Told::new(401, "").with("WWW-Authenticate", challenge));
        }
        Some(match asked.path.as_str() {
            "/v2/a/manifests/latest" => Told::new(200, manifest.clone()),
            path if path.contains("/blobs/") && asked.method == "GET" => {
                Told::new(307, "").with("Location", &elsewhere)
            }
            _ => Told::new(403, r#"{"errors":[{"code":"DENIED","message":"not tok-tok-tok"}]}"#),
        })
    });
    let image = name(&fake.host, "a");
    let login = with_login("alice", PASSWORD);
    let remote = Remote::reading(&image, &login).unwrap();
    assert_eq!(read(&remote).unwrap(), [layer]);
    let tokens = fake.asked("/token");
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert_eq!(tokens[0].path, "/token?service=the%20registry&scope=repository:a:pull");
    let sent = store.asked("/signed/blob");
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].header("authorization"), None);

    // To write, and to take over from another repository, other rights are asked for.
    let other = name(&fake.host, "b");
    let remote = Remote::writing(&image, &login).unwrap().mounting_from(&other);
    let err = remote.has_blob(&descriptor("x".into(), 1, &digest)).unwrap_err();
    let scope = "scope=repository:a:pull%2Cpush&scope=repository:b:pull";
    assert!(
        fake.asked("/token").iter().any(|asked| asked.path.ends_with(scope)),
        "{:?}",
        fake.asked("/token")
    );
    // Nothing that was said shows a secret, not even when the server does.
    let wrong = Remote::reading(&image, &with_login("alice", "swordfish-of-another")).unwrap();
    let refused = wrong.top().unwrap_err();
    let put = remote.put_blob(&mut &b"x"[..], None).unwrap_err();
    for err in [err, refused, put] {
        let text = format!("{err} {err:?} {:?} {remote:?} {wrong:?}", err.hint());
        for secret in ["swordfish", "tok-tok-tok", "YWxpY2U6", "topsecret"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
}

#[test]
fn a_broken_upload_goes_on_where_it_was() {
    // It takes uploads as the specification says, and breaks the first part off after it has taken some of it.
    let layer = content(10 << 20);
    let got = std::sync::Arc::new(std::sync::Mutex::new((Vec::new(), 0)));
    let shared = std::sync::Arc::clone(&got);
    let fake = Fake::new(move |asked, _| {
        let (bytes, parts) = &mut *shared.lock().unwrap();
        let range = |bytes: &Vec<u8>| format!("0-{}", bytes.len().saturating_sub(1));
        match asked.method.as_str() {
            "POST" => Some(Told::new(202, "").with("Location", "/v2/a/blobs/uploads/1?state=0")),
            "PATCH" => {
                let start =
                    asked.header("content-range").unwrap().split('-').next().unwrap().parse::<usize>();
                if start.unwrap() != bytes.len() {
                    return Some(Told::new(416, ""));
                }
                *parts += 1;
                if *parts == 2 {
                    bytes.extend(&asked.body[..1_000_000]);
                    return None;
                }
                bytes.extend(&asked.body);
                let location = format!("/v2/a/blobs/uploads/1?state={parts}");
                Some(Told::new(202, "").with("Location", location).with("Range", range(bytes)))
            }
            "PUT" => Some(Told::new(if asked.path.contains("&digest=sha256:") { 201 } else { 400 }, "")),
            "GET" if asked.path.contains("/uploads/") => Some(Told::new(204, "").with("Range", range(bytes))),
            _ => Some(Told::new(200, "")),
        }
    });
    let remote = Remote::writing(&name(&fake.host, "a"), &options()).unwrap();
    let blob = remote.put_blob(&mut layer.as_slice(), None).unwrap();
    assert_eq!(blob.digest, Digest::of(&layer));
    assert_eq!(Digest::of(&got.lock().unwrap().0), blob.digest);
}

#[test]
fn mirrors_are_asked_first_and_blocks_are_minded() {
    let cx = Cx::new();
    let layer = content(500);
    let shared = layer.clone();
    let fake = serving(&layer, move |_, _| Some(Told::new(200, shared.clone())));
    let broken = Fake::new(|_, _| Some(Told::new(404, "")));
    let text = format!(
        "[[registry]]\nprefix = \"r.example\"\nlocation = \"{host}\"\n[[registry.mirror]]\nlocation = \"{}\"\n\
         [[registry]]\nprefix = \"r.example/bad\"\nblocked = true\n",
        broken.host,
        host = fake.host
    );
    let file = cx.file("registries.conf", text);
    let registries = Registries::read(&[cx.path("missing"), file], &[cx.path("no-folder")]).unwrap();
    let options = Options { registries, ..options() };
    let remote = Remote::reading(&name("r.example", "a"), &options).unwrap();
    assert_eq!(read(&remote).unwrap(), [layer]);
    assert_eq!(broken.asked("/v2/a/manifests/latest").len(), 1);
    let err = Remote::reading(&name("r.example", "bad/x"), &options).unwrap_err();
    assert!(matches!(err, RegistryError::Blocked { .. }), "{err:?}");
}

#[test]
fn the_program_copies_to_from_and_between_registries() {
    let cx = Cx::new();
    let users = ran(cx.command("htpasswd").args(["-Bbn", "alice", PASSWORD])).success();
    let users = cx.file("htpasswd", users);
    let auth = format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", users.display());
    let registry = Registry::new(&cx, "auth", &auth);
    let root = cx.path("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("large"), content(6_000_000)).unwrap();
    cx.run(["image", "import", "root", "oci:first:1", "--platform", "linux/arm64"]).success();
    let docker = |rest: &str| format!("docker://{}/{rest}", registry.host);

    let err = cx.run(["copy", "oci:first:1", &docker("a:1")]).failure(2);
    assert!(err.contains("does not let us in") && err.contains("podman login"), "{err}");
    let wrong = format!("alice:not-{PASSWORD}");
    let err = cx.run(["copy", "oci:first:1", &docker("a:1"), "--creds", &wrong]).failure(2);
    assert!(!err.contains("swordfish"), "{err}");
    let err = cx.run(["copy", "oci:first:1", &docker("a:1"), "--creds", PASSWORD]).failure(2);
    assert!(!err.contains("swordfish"), "{err}");

    let login = format!("alice:{PASSWORD}");
    let pushed = cx.run(["copy", "oci:first:1", &docker("a:1"), "--creds", &login]).success();
    // The others find the password in docker's file.
    let encoded = "YWxpY2U6aHVudGVyMi1zd29yZGZpc2g=";
    cx.file("home/.docker/config.json", json!({"auths": {&registry.host: {"auth": encoded}}}).to_string());
    cx.run(["copy", &docker("a:1"), &docker("b:2")]).success();
    let pulled = cx.run(["copy", "--platform", "linux/arm64", &docker("b:2"), "oci:second:1"]).success();
    let digest = |line: &str| line.trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(digest(&pushed), digest(&pulled));
    let shown = cx.run(["image", "inspect", &docker("b:2")]).success();
    assert!(shown.contains("arm64"), "{shown}");
    let err = cx.run(["copy", &docker("missing"), "oci:third:1"]).failure(2);
    assert!(err.contains("is not there"), "{err}");
}
