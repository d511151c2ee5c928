//! Debian's archive: the real one, and one of our own that misbehaves.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use polyarch::debian::{Deb, DebianError, Keyring, Mirror, Release, SignatureFault};
use polyarch::progress::Silent;

use crate::support::archive::Archive;
use crate::support::deb::{deb, index, mirror};
use crate::support::http::{Fault, Server};
use crate::support::{Cx, ran};

#[test]
fn the_index_names_real_packages_of_two_architectures() {
    for architecture in ["amd64", "arm64"] {
        let index = index("bookworm", architecture);
        let package = index.find("hostname").unwrap();
        assert_eq!(package.architecture, architecture);
        assert!(package.filename.starts_with("pool/main/h/hostname/hostname_"), "{package:?}");
        assert!(package.field("Depends").unwrap_or(package.field("Pre-Depends").unwrap()).contains("libc6"));
        let count =
            index.packages().unwrap().map(|package| package.unwrap().size).filter(|size| *size > 0).count();
        assert!(count > 50_000, "{count} packages");
    }
}

#[test]
fn a_machine_without_keys_verifies_debians_archive_by_those_of_the_program() {
    let cx = Cx::new();
    let keys = Keyring::host(&cx.path("no-root"));
    for suite in ["bookworm", "trixie"] {
        let release = Release::fetch(&mirror(), suite, &keys).unwrap();
        let known = Release::fetch(&mirror(), suite, &Keyring::host(Path::new("/"))).unwrap();
        assert_eq!(release.signers, known.signers, "{suite}");
    }
}

#[test]
fn a_file_of_a_package_is_what_dpkg_takes_out_of_it() {
    let cx = Cx::new();
    // A package packed with xz, of a suite and an architecture each.
    for (suite, architecture) in [("bookworm", "arm64"), ("trixie", "riscv64")] {
        let path = deb(suite, architecture, "hostname");
        let mut ours = Vec::new();
        let name = if suite == "bookworm" { "bin/hostname" } else { "usr/bin/hostname" };
        Deb::open(&path).unwrap().extract(name, &mut ours, 1 << 20).unwrap();
        let tar = cx.path("data.tar");
        let dpkg = cx
            .command("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(&path)
            .stdout(std::fs::File::create(&tar).unwrap())
            .status();
        assert!(dpkg.unwrap().success());
        let taken = cx.path("taken");
        std::fs::create_dir_all(&taken).unwrap();
        ran(cx.command("tar").arg("-xf").arg(&tar).arg("-C").arg(&taken).arg(format!("./{name}"))).success();
        assert!(ours.starts_with(b"\x7fELF"));
        assert_eq!(ours, std::fs::read(taken.join(name)).unwrap());
    }
}

/// An archive with one package, `tool`, of 100 kB that cannot be packed, and its path there.
fn archive(cx: &Cx) -> (Archive<'_>, String) {
    let mut archive = Archive::new(cx, "archive");
    let mut noise = vec![0; 100_000];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    let files = [("usr/bin/tool", noise.as_slice(), 0o755)];
    let path = archive.package("tool", "1:1.0+x-1~y", "arm64", "", &files);
    archive.publish("bookworm", "arm64");
    (archive, path)
}

/// All the way from the signature to the package's file, which is then in the test's `debs`.
fn fetch(cx: &Cx, archive: &Archive<'_>, mirror: &Mirror) -> Result<PathBuf, DebianError> {
    let release = Release::fetch(mirror, "bookworm", &archive.keys())?;
    let index = release.index(mirror, "main", "arm64", &cx.path("indexes"), &Silent)?;
    mirror.fetch(&index.find("tool")?, &cx.path("debs"), &Silent)
}

/// The names in the folder.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_folder_and_a_server_give_the_same_file() {
    let cx = Cx::new();
    let (archive, path) = archive(&cx);
    let server = Server::new(archive.folder());
    for address in [
        archive.folder().to_str().unwrap(),
        &format!("file://{}", archive.folder().display()),
        &server.url(""),
    ] {
        let file = fetch(&cx, &archive, &archive.mirror(address)).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(archive.path(&path)).unwrap(), "{address}");
        std::fs::remove_file(file).unwrap();
    }
    // The epoch stands in the file's name as `%3a`, and in the URL as itself.
    assert_eq!(server.requests(&path.replace('%', "%25")).len(), 1, "{server:?}");
}

#[test]
fn armoured_keys_and_a_detached_signature_do_too() {
    let cx = Cx::new();
    let (archive, _) = archive(&cx);
    std::fs::remove_file(archive.path("dists/bookworm/InRelease")).unwrap();
    let mirror = archive.mirror(archive.folder().to_str().unwrap());
    let keys = Keyring::of([archive.keyring().with_extension("asc")]);
    let release = Release::fetch(&mirror, "bookworm", &keys).unwrap();
    assert_eq!(
        (release.suite.as_str(), release.architectures.as_slice()),
        ("oldstable", ["arm64".to_owned()].as_slice())
    );
    assert_eq!(release.signers.len(), 1);
    // The suite's other name is that of the same list.
    std::fs::rename(archive.path("dists/bookworm"), archive.path("dists/oldstable")).unwrap();
    assert!(Release::fetch(&mirror, "oldstable", &keys).is_ok());
    assert!(matches!(Release::fetch(&mirror, "bookworm", &keys), Err(DebianError::NoSuite { .. })));
}

#[test]
fn a_signature_that_does_not_hold_is_refused() {
    let cx = Cx::new();
    let (archive, _) = archive(&cx);
    let other = Archive::new(&cx, "other");
    let mirror = archive.mirror(archive.folder().to_str().unwrap());
    let fault = |keys: &Keyring| match Release::fetch(&mirror, "bookworm", keys) {
        Err(DebianError::Signature { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    assert!(matches!(fault(&other.keys()), SignatureFault::UnknownKeys { .. }));
    // A machine without keys has Debian's own, which are not this archive's.
    assert!(matches!(fault(&Keyring::host(&cx.path("no-root"))), SignatureFault::UnknownKeys { .. }));
    let none = Release::fetch(&mirror, "bookworm", &Keyring::of([]));
    assert!(matches!(none, Err(DebianError::NoKeyring)), "{none:?}");
    let path = archive.path("dists/bookworm/InRelease");
    let signed = std::fs::read_to_string(&path).unwrap();
    for (text, is_bad) in [
        (signed.replace("Suite: oldstable", "Suite: newstable"), true),
        (format!("Suite: x\n{signed}"), false),
        (format!("{signed}\nSHA256:\n"), false),
        (signed[..signed.len() / 2].to_owned(), false),
        (std::fs::read_to_string(archive.path("dists/bookworm/Release")).unwrap(), false),
        (String::new(), false),
    ] {
        std::fs::write(&path, &text).unwrap();
        match fault(&archive.keys()) {
            SignatureFault::Bad { .. } => assert!(is_bad, "{text}"),
            SignatureFault::Malformed => assert!(!is_bad, "{text}"),
            other => panic!("{other:?}: {text}"),
        }
    }
    // The two signatures of one file are not those of another.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(archive.path("dists/bookworm/Release"), "Suite: bookworm\n").unwrap();
    assert!(matches!(fault(&archive.keys()), SignatureFault::Bad { .. }));
}

#[test]
fn a_list_that_expired_or_is_another_suites_is_refused() {
    let cx = Cx::new();
    let (mut archive, _) = archive(&cx);
    let mirror = archive.mirror(archive.folder().to_str().unwrap());
    archive.fields = "Valid-Until: Sat, 18 Jul 2020 10:16:37 UTC\n".into();
    archive.publish("bookworm", "arm64");
    let err = Release::fetch(&mirror, "bookworm", &archive.keys()).unwrap_err();
    assert!(err.to_string().ends_with("was valid until Sat, 18 Jul 2020 10:16:37 UTC only"), "{err}");
    archive.fields = "Valid-Until: Sat, 18 Jul 2099 10:16:37 UTC\n".into();
    archive.publish("bookworm", "arm64");
    Release::fetch(&mirror, "bookworm", &archive.keys()).unwrap();
    std::fs::rename(archive.path("dists/bookworm"), archive.path("dists/trixie")).unwrap();
    let err = Release::fetch(&mirror, "trixie", &archive.keys()).unwrap_err();
    assert!(
        err.to_string().contains("expected the suite `trixie` but found `oldstable`, `bookworm`"),
        "{err}"
    );
    for name in ["../dists/trixie", "", "trixie/..", "/etc"] {
        assert!(matches!(Release::fetch(&mirror, name, &archive.keys()), Err(DebianError::NoSuite { .. })));
    }
}

#[test]
fn what_the_signed_list_does_not_name_is_not_taken() {
    let cx = Cx::new();
    let (archive, path) = archive(&cx);
    let server = Server::new(archive.folder());
    let mirror = archive.mirror(&server.url(""));
    let index = archive.path("dists/bookworm/main/binary-arm64/Packages.xz");
    for (file, folder) in [(&index, "indexes"), (&archive.path(&path), "debs")] {
        let right = std::fs::read(file).unwrap();
        let mut changed = right.clone();
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(file, &changed).unwrap();
        assert!(matches!(fetch(&cx, &archive, &mirror), Err(DebianError::Digest { .. })), "{folder}");
        assert!(names(&cx.path(folder)).is_empty(), "{folder}");
        for length in [right.len() - 1, right.len() + 1] {
            changed.resize(length, 0);
            std::fs::write(file, &changed).unwrap();
            assert!(matches!(fetch(&cx, &archive, &mirror), Err(DebianError::Size { .. })), "{folder}");
            assert!(names(&cx.path(folder)).is_empty(), "{folder}");
        }
        std::fs::remove_file(file).unwrap();
        assert!(
            matches!(fetch(&cx, &archive, &mirror), Err(DebianError::Status { status: 404, .. })),
            "{folder}"
        );
        assert!(names(&cx.path(folder)).is_empty(), "{folder}");
        std::fs::write(file, &right).unwrap();
    }
    // What is in the cache is verified too, and mended.
    let file = fetch(&cx, &archive, &mirror).unwrap();
    let right = std::fs::read(&file).unwrap();
    std::fs::write(&file, vec![0; right.len()]).unwrap();
    assert_eq!(std::fs::read(fetch(&cx, &archive, &mirror).unwrap()).unwrap(), right);
}

#[test]
fn a_transfer_that_breaks_off_is_gone_on_with() {
    let cx = Cx::new();
    let (archive, path) = archive(&cx);
    let server = Server::new(archive.folder());
    let mirror = archive.mirror(&server.url(""));
    let escaped = path.replace('%', "%25");
    // Within one call: it ends after the tries that are needed.
    server.fail(&escaped, [Fault::Truncate(40_000), Fault::Status(503), Fault::Hang(10_000)]);
    let file = fetch(&cx, &archive, &mirror).unwrap();
    let ranges: Vec<_> = server.requests(&escaped).into_iter().map(|request| request.range).collect();
    let range = |from: &str| Some(format!("bytes={from}-"));
    assert_eq!(ranges, [None, range("40000"), range("40000"), range("50000")]);
    assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(archive.path(&path)).unwrap());
    // From one call to the next.
    std::fs::remove_file(&file).unwrap();
    server.fail(&escaped, [Fault::Truncate(20_000), Fault::Refuse, Fault::Refuse, Fault::Refuse]);
    let err = fetch(&cx, &archive, &mirror).unwrap_err();
    assert!(matches!(err, DebianError::Transfer { .. }), "{err:?}");
    assert!(!file.exists());
    fetch(&cx, &archive, &mirror).unwrap();
    assert_eq!(server.requests(&escaped).last().unwrap().range, range("20000"));
    // What was left behind may be rubbish, as long as it should be, or longer.
    let partial = PathBuf::from(format!("{}.partial", file.display()));
    for length in [1000, 100_000, 1_000_000] {
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&partial, vec![0; length]).unwrap();
        fetch(&cx, &archive, &mirror).unwrap();
        assert!(!partial.exists());
    }
    assert_eq!(names(&cx.path("debs")).len(), 1);
}

#[test]
fn a_server_that_refuses_or_is_silent_is_told_of() {
    let cx = Cx::new();
    let (archive, path) = archive(&cx);
    let server = Server::new(archive.folder());
    let mirror = archive.mirror(&server.url(""));
    let release = "dists/bookworm/InRelease";
    server.fail(release, [Fault::Status(403)]);
    let err = fetch(&cx, &archive, &mirror).unwrap_err();
    assert!(err.to_string().starts_with("the server answered 403 for `http://127.0.0.1:"), "{err}");
    assert!(err.hint().unwrap().contains("--mirror"));
    server.fail(release, [Fault::Status(500); 4]);
    assert!(matches!(fetch(&cx, &archive, &mirror), Err(DebianError::Status { status: 500, .. })));
    let begun = std::time::Instant::now();
    server.fail(&path.replace('%', "%25"), [Fault::Hang(0); 4]);
    let err = fetch(&cx, &archive, &mirror).unwrap_err();
    assert!(matches!(err, DebianError::Receive { .. }), "{err:?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    let nobody = archive.mirror("http://127.0.0.1:1/debian");
    assert!(matches!(fetch(&cx, &archive, &nobody), Err(DebianError::Transfer { .. })));
}

#[test]
fn packages_that_are_not_there_and_files_outside_the_mirror_are_refused() {
    let cx = Cx::new();
    let (mut archive, path) = archive(&cx);
    let mirror = archive.mirror(archive.folder().to_str().unwrap());
    let release = Release::fetch(&mirror, "bookworm", &archive.keys()).unwrap();
    let err = release.index(&mirror, "main", "vax", &cx.path("indexes"), &Silent).unwrap_err();
    assert_eq!(err.to_string(), "the suite `bookworm` has no packages of `main` for `vax`");
    assert_eq!(err.hint().unwrap(), "it has arm64");
    let index = release.index(&mirror, "main", "arm64", &cx.path("indexes"), &Silent).unwrap();
    let err = index.find("none").unwrap_err();
    assert_eq!(err.to_string(), "the suite `bookworm` has no package `none` for `arm64`");
    let right = archive.index().clone();
    for outside in ["../../etc/passwd", "/etc/passwd", "pool/../../x", "pool//x", "pool/x?y", "./x"] {
        *archive.index() = right.replace(&path, outside);
        archive.publish("bookworm", "arm64");
        let err = fetch(&cx, &archive, &mirror).unwrap_err();
        assert!(matches!(err, DebianError::FileName { .. }), "{outside}: {err:?}");
    }
    for (from, to) in
        [("Size: ", "Size: -"), ("SHA256: ", "SHA256: x"), ("Filename: ", "Nofile: "), ("Version: ", "V: ")]
    {
        *archive.index() = right.replace(from, to);
        archive.publish("bookworm", "arm64");
        assert!(matches!(fetch(&cx, &archive, &mirror), Err(DebianError::Index { .. })), "{from}");
    }
}
