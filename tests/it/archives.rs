//! Archives as other tools write them: what is unpacked equals what they were given.

use std::ffi::OsStr;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use polyarch::layer::{LayerStream, Limits, MergeOptions, Owners, Skipped, Unpacker, merge};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use crate::support::Cx;
use crate::support::tarball::snapshot;

/// A tree with one of each kind that all formats can hold.
fn source(cx: &Cx) {
    for folder in ["source/empty", "source/folder/inner", "source/sticky"] {
        fs::create_dir_all(cx.path(folder)).unwrap();
    }
    cx.file("source/file", "content");
    cx.file("source/folder/inner/block", [b'b'; 512]);
    cx.file("source/folder/setuid", "s");
    let long = format!("source/{}/{}", "a".repeat(60), "b".repeat(60));
    cx.file(&long, "of a split name");
    fs::write(cx.path("source").join(OsStr::from_bytes(b"not \xff utf8\n")), "bytes").unwrap();
    fs::hard_link(cx.path("source/file"), cx.path("source/twin")).unwrap();
    symlink("folder/../file", cx.path("source/link")).unwrap();
    symlink("/nowhere", cx.path("source/dangling")).unwrap();
    let fifo = cx.path("source/fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    // Its holes are larger than what tools take for one.
    let mut sparse = fs::File::create(cx.path("source/sparse")).unwrap();
    for at in 0..30 {
        sparse.seek(SeekFrom::Start(at * (1 << 20) + 4096)).unwrap();
        sparse.write_all(format!("piece {at}").as_bytes()).unwrap();
    }
    sparse.set_len(40 << 20).unwrap();
    drop(sparse);
    for (path, mode) in [("source/folder/setuid", 0o4755), ("source/sticky", 0o1777), ("source/file", 0o604)]
    {
        fs::set_permissions(cx.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    dated(&cx.path("source"), 1_400_000_000);
}

/// Gives all beneath `path`, and it itself, times of their own.
fn dated(path: &Path, time: i64) -> i64 {
    let mut time = time;
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            time = dated(&entry.unwrap().path(), time + 1);
        }
    }
    let at = Timespec { tv_sec: time, tv_nsec: 0 };
    let times = Timestamps { last_access: at, last_modification: at };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    time
}

fn unpacked(cx: &Cx, archive: &[u8]) -> Skipped {
    let root = cx.path("root");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir(&root).unwrap();
    let owners = if rustix::process::geteuid().is_root() { Owners::Kept } else { Owners::Caller };
    let mut unpacker = Unpacker::new(&root, Limits::default()).unwrap().with_owners(owners);
    unpacker.apply(archive, None, &|| false).unwrap();
    unpacker.finish().unwrap()
}

/// Compares what `command` writes to its output with the source, unpacked and merged.
#[track_caller]
fn compare(cx: &Cx, what: &str, program: &str, args: &[&str]) {
    let output = cx.command(program).current_dir(cx.path("source")).args(args).output().unwrap();
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    let expected = snapshot(&cx.path("source"));
    unpacked(cx, &output.stdout);
    let found = snapshot(&cx.path("root"));
    for (name, seen) in &expected {
        let name = String::from_utf8_lossy(name);
        assert_eq!(found.get(name.as_bytes()).or(Some(seen)), Some(seen), "{what}: {name}");
    }
    assert!(found == expected, "{what}");
    let layer = LayerStream::new(|| Ok(Box::new(output.stdout.as_slice())), None);
    let mut merged = Vec::new();
    merge(&[layer], &MergeOptions::default(), &mut merged).unwrap();
    unpacked(cx, &merged);
    assert!(snapshot(&cx.path("root")) == expected, "{what}, merged");
}

#[test]
fn gnu_tar_in_all_its_formats() {
    let cx = Cx::new();
    source(&cx);
    for format in ["ustar", "gnu", "oldgnu", "pax"] {
        compare(&cx, format, "tar", &["-c", "--format", format, "."]);
        compare(&cx, format, "tar", &["-cz", "--format", format, "--numeric-owner", "."]);
    }
    for (format, version) in
        [("gnu", "0.0"), ("oldgnu", "0.0"), ("pax", "0.0"), ("pax", "0.1"), ("pax", "1.0")]
    {
        let version = format!("--sparse-version={version}");
        compare(&cx, &version, "tar", &["-cS", "--format", format, &version, "."]);
        let sparse = fs::metadata(cx.path("root/sparse")).unwrap();
        assert_eq!(sparse.len(), 40 << 20);
        // Merging fills holes; unpacking keeps them.
        let archive = cx
            .command("tar")
            .current_dir(cx.path("source"))
            .args(["-cS", "--format", format, &version, "sparse"])
            .output()
            .unwrap();
        unpacked(&cx, &archive.stdout);
        let sparse = fs::metadata(cx.path("root/sparse")).unwrap();
        assert!(sparse.blocks() * 512 < 1 << 20, "{format} {version}: {} blocks", sparse.blocks());
        assert!(fs::read(cx.path("root/sparse")).unwrap() == fs::read(cx.path("source/sparse")).unwrap());
    }
    // The oldest format has neither long names nor fifos.
    fs::remove_dir_all(cx.path("source").join("a".repeat(60))).unwrap();
    fs::remove_file(cx.path("source/fifo")).unwrap();
    dated(&cx.path("source"), 1_300_000_000);
    compare(&cx, "v7", "tar", &["-c", "--format", "v7", "."]);
}

#[test]
fn bsdtar_busybox_and_python() {
    let cx = Cx::new();
    source(&cx);
    for format in ["ustar", "pax", "gnutar"] {
        compare(&cx, format, "bsdtar", &["-c", "--format", format, "--no-read-sparse", "-f", "-", "."]);
    }
    compare(&cx, "bsdtar's holes", "bsdtar", &["-c", "--format", "pax", "-f", "-", "."]);
    compare(&cx, "busybox", "busybox", &["tar", "-c", "-f", "-", "."]);
    for format in ["USTAR_FORMAT", "GNU_FORMAT", "PAX_FORMAT"] {
        let script = format!(
            "import sys, tarfile\n\
             t = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=tarfile.{format}, errors='surrogateescape')\n\
             t.add('.')\nt.close()"
        );
        compare(&cx, format, "/usr/bin/python3", &["-c", &script]);
    }
}

#[test]
fn names_beyond_ustar_and_times_beyond_seconds() {
    let cx = Cx::new();
    let long = format!("source/{}/{}", ["long-name"; 24].join("/"), "n".repeat(200));
    cx.file(&long, "x");
    symlink(&long, cx.path("source/link")).unwrap();
    fs::hard_link(cx.path(&long), cx.path("source/zz-hard")).unwrap();
    dated(&cx.path("source"), 1_400_000_000);
    for format in ["gnu", "pax"] {
        compare(&cx, format, "tar", &["-c", "--format", format, "."]);
    }
    for format in ["gnutar", "pax"] {
        compare(&cx, format, "bsdtar", &["-c", "--format", format, "-f", "-", "."]);
    }
    let nanos = SystemTime::UNIX_EPOCH + Duration::new(1_400_000_000, 123_456_789);
    fs::File::open(cx.path("source/zz-hard")).unwrap().set_modified(nanos).unwrap();
    compare(&cx, "nanoseconds", "tar", &["-c", "--format", "pax", "."]);
    let early = Timespec { tv_sec: -86_400, tv_nsec: 500_000_000 };
    let times = Timestamps { last_access: early, last_modification: early };
    rustix::fs::utimensat(CWD, cx.path("source/zz-hard"), &times, AtFlags::empty()).unwrap();
    compare(&cx, "before 1970", "tar", &["-c", "--format", "pax", "."]);
    dated(&cx.path("source"), -1_000_000);
    compare(&cx, "before 1970, in base 256", "tar", &["-c", "--format", "gnu", "."]);
}

#[test]
fn attributes_are_set_or_told() {
    let cx = Cx::new();
    let file = cx.file("source/file", "x");
    let value = b"a value\nof two lines \0 and a NUL";
    rustix::fs::setxattr(&file, "user.test", value, XattrFlags::empty()).unwrap();
    let archives = [
        ("tar", vec!["-c", "--format", "pax", "--xattrs", "."]),
        ("bsdtar", vec!["-c", "--format", "pax", "--xattrs", "-f", "-", "."]),
    ];
    for (program, args) in archives {
        let archive = cx.command(program).current_dir(cx.path("source")).args(args).output().unwrap().stdout;
        assert_eq!(unpacked(&cx, &archive).attributes, 0, "{program}");
        let mut found = [0_u8; 100];
        let len = rustix::fs::getxattr(cx.path("root/file"), "user.test", &mut found).unwrap();
        assert_eq!(&found[..len], value, "{program}");
    }
    // What speaks of rights is for the one who may give them.
    let capability = [[1, 0, 0, 3].as_slice(), &[0; 16], &1000_u32.to_le_bytes()].concat();
    let layer = crate::support::tarball::Tarball::default()
        .pax(&[("SCHILY.xattr.security.capability", &capability), ("SCHILY.xattr.trusted.x", b"y")])
        .file("file", "x")
        .end();
    assert_eq!(unpacked(&cx, &layer).attributes, 1);
    // Root without CAP_SETFCAP, as in many containers, may not either.
    let plain = [[1, 0, 0, 2].as_slice(), &[0; 16]].concat();
    let may = rustix::fs::setxattr(&file, "security.capability", &plain, XattrFlags::empty()).is_ok();
    let mut found = [0_u8; 100];
    let set = rustix::fs::getxattr(cx.path("root/file"), "security.capability", &mut found);
    assert_eq!(set.is_ok(), may && rustix::process::geteuid().is_root());
    if let Ok(len) = set {
        assert_eq!(&found[..len], plain);
    }
}

#[test]
fn devices_are_made_for_root_alone() {
    let cx = Cx::new();
    let device = |kind, numbers: [&[u8]; 2]| {
        let entry = crate::support::tarball::Entry {
            mode: 0o620,
            ..crate::support::tarball::Entry::new(kind, "device")
        };
        crate::support::tarball::Tarball::default()
            .edited(&entry, |header| {
                header[329..336].copy_from_slice(numbers[0]);
                header[337..344].copy_from_slice(numbers[1]);
            })
            .end()
    };
    let layer = device(b'3', [b"0000001", b"0000003"]);
    let skipped = unpacked(&cx, &layer).devices;
    if skipped == 0 {
        let meta = fs::symlink_metadata(cx.path("root/device")).unwrap();
        assert_eq!((meta.mode(), meta.rdev()), (0o020_620, rustix::fs::makedev(1, 3)));
    } else {
        assert!(!cx.path("root/device").exists());
    }
}
