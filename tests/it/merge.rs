//! Merged layers are what all of them make when they are unpacked one after the other.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use polyarch::layer::{
    Digest, Ids, LayerError, LayerStream, Limits, MergeOptions, Owners, TarFormat, Times, Unpacker, merge,
};
use proptest::prelude::*;

use crate::support::Cx;
use crate::support::tarball::{Entry, Seen, Tarball, snapshot};

fn merged(layers: &[Vec<u8>], options: &MergeOptions) -> Result<Vec<u8>, LayerError> {
    let streams: Vec<LayerStream<'_>> = layers
        .iter()
        .map(|layer| {
            let open = move || Ok(Box::new(layer.as_slice()) as Box<dyn Read + Send>);
            let is_plain = !layer.starts_with(&[0x1f, 0x8b]);
            LayerStream::new(open, is_plain.then(|| Digest::of(layer)))
        })
        .collect();
    let mut out = Vec::new();
    let written = merge(&streams, options, &mut out)?;
    assert_eq!((written.digest, written.size), (Digest::of(&out), out.len() as u64));
    Ok(out)
}

fn unpacked(root: &Path, layers: &[Vec<u8>]) -> Result<BTreeMap<Vec<u8>, Seen>, LayerError> {
    let _ = fs::remove_dir_all(root);
    fs::create_dir(root).unwrap();
    let owners = if rustix::process::geteuid().is_root() { Owners::Kept } else { Owners::Caller };
    let mut unpacker = Unpacker::new(root, Limits::default())?.with_owners(owners);
    for layer in layers {
        unpacker.apply(layer.as_slice(), None, &|| false)?;
    }
    unpacker.finish()?;
    Ok(snapshot(root))
}

/// Compares both ways; `None` where both fail.
#[track_caller]
fn assert_equal(cx: &Cx, layers: &[Vec<u8>]) -> Option<Vec<u8>> {
    let one_by_one = unpacked(&cx.path("root"), layers);
    let merged = merged(layers, &MergeOptions::default());
    match (one_by_one, merged) {
        (Ok(one_by_one), Ok(merged)) => {
            let at_once = unpacked(&cx.path("root"), std::slice::from_ref(&merged)).unwrap();
            assert_eq!(one_by_one, at_once);
            Some(merged)
        }
        (Err(_), Err(_)) => None,
        (one_by_one, merged) => {
            panic!("one by one: {:?}, merged: {:?}", one_by_one.err(), merged.err());
        }
    }
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
}

#[test]
fn whiteouts_links_and_folders() {
    let cx = Cx::new();
    let lower = Tarball::default()
        .folder("d")
        .file("d/gone", "1")
        .file("d/kept", "1")
        .folder("o")
        .file("o/lower", "1")
        .folder("o/both")
        .file("o/both/lower", "1")
        .file("file", "1")
        .folder("folder/inner")
        .symlink("link", "d")
        .file("long-name-of-a-file", "content")
        .hard("twin", "long-name-of-a-file")
        .end();
    let upper = Tarball::default()
        .file("d/.wh.gone", "")
        .with(&Entry { mode: 0o700, time: 77, owner: (5, 6), ..Entry::new(b'5', "d") })
        .file("o/first", "2")
        .file("o/.wh..wh..opq", "")
        .file("o/both/upper", "2")
        .folder("file")
        .file("folder", "2")
        .file("link/through", "2")
        .file(".wh.long-name-of-a-file", "")
        .with(&Entry { mode: 0o6711, ..Entry::new(b'0', "rights") })
        .with(&Entry::new(b'6', "fifo"))
        .hard("third", "twin")
        .end();
    let merged = assert_equal(&cx, &[lower, upper]).unwrap();
    assert_eq!(fs::read_to_string(cx.path("root/twin")).unwrap(), "content");
    assert!(cx.path("root/d/through").exists() && !cx.path("root/o/lower").exists());
    let names = names(&merged);
    let at = |name: &str| names.iter().position(|known| known == name).unwrap_or_else(|| panic!("{names:?}"));
    assert!(at("d/") < at("d/kept") && at("d/") < at("d/through") && at("o/both/") < at("o/both/upper"));
    assert!(at("twin") < at("third"));
    assert_eq!(names.iter().filter(|name| name.contains(".wh.")).count(), 0);
}

#[test]
fn names_and_numbers_that_ustar_cannot_hold() {
    let cx = Cx::new();
    let long = format!("{}/file", ["a-folder-with-quite-a-long-name"; 12].join("/"));
    let layer = Tarball::default()
        .pax(&[("path", long.as_bytes()), ("mtime", b"1400000000.25"), ("uid", b"3000000")])
        .file("x", "content")
        .pax(&[("linkpath", long.as_bytes())])
        .symlink("link", "x")
        .pax(&[("linkpath", long.as_bytes())])
        .hard("hard", "x")
        .with(&Entry { name: b"not-utf8-\xff\xfe\nnewline".to_vec(), ..Entry::new(b'0', "") })
        .end();
    let merged_once = assert_equal(&cx, std::slice::from_ref(&layer)).unwrap();
    assert_eq!(merged_once, assert_equal(&cx, std::slice::from_ref(&merged_once)).unwrap());

    let pure = MergeOptions { format: TarFormat::PureUstar, ..MergeOptions::default() };
    let layers = [layer, Tarball::default().file("fine", "").end()];
    let err = merged(&layers, &pure).unwrap_err();
    let LayerError::Unfit { files } = &err else { panic!("{err}") };
    // The folders on the way to the file are too long too, from a depth on.
    assert!(files.iter().any(|file| file.path == long), "{err}");
    assert!(files.iter().any(|file| file.path == "link" && file.reason.contains("100")), "{err}");
    assert!(files.iter().any(|file| file.path == "hard" && file.reason.contains("owner")), "{err}");
    let upper =
        [Tarball::default().file(".wh.a-folder-with-quite-a-long-name", "").file(".wh.link", "").end()];
    let fits = MergeOptions { ids: Ids::Zero, ..pure };
    let archive = merged(&[&layers[..], &upper].concat(), &fits).unwrap();
    for block in archive.chunks(512).filter(|block| &block[257..262] == b"ustar") {
        assert!(matches!(block[156], b'0'..=b'6'), "{}", block[156]);
        assert_eq!((&block[108..116], &block[257..265]), (&b"0000000\0"[..], &b"ustar\x0000"[..]));
    }
    assert!(names(&archive).iter().all(|name| !name.starts_with("./")));
}

#[test]
fn times_and_attributes_are_kept_or_not() {
    let layer = Tarball::default()
        .pax(&[("SCHILY.xattr.user.test", b"value\n\0x"), ("mtime", b"1600000000.5")])
        .file("a", "")
        .with(&Entry { time: 5, ..Entry::new(b'0', "b") })
        .end();
    let layers = [layer];
    let at = |options: &MergeOptions| {
        let archive = merged(&layers, options).unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        archive.entries().unwrap().map(|entry| entry.unwrap().header().mtime().unwrap()).collect::<Vec<_>>()
    };
    let default = MergeOptions::default();
    assert_eq!(at(&default), [1_600_000_000, 5]);
    assert_eq!(at(&MergeOptions { times: Times::Clamped(100), ..default }), [100, 5]);
    assert_eq!(at(&MergeOptions { times: Times::Set(7), ..default }), [7, 7]);
    let has = |options: &MergeOptions| {
        let archive = merged(&layers, options).unwrap();
        archive.windows(31).any(|bytes| bytes == b"SCHILY.xattr.user.test=value\n\0x")
    };
    assert!(has(&default) && !has(&MergeOptions { attributes: false, ..default }));
    let pure = MergeOptions { format: TarFormat::PureUstar, ..default };
    assert!(matches!(merged(&layers, &pure), Err(LayerError::Unfit { .. })));
    assert!(merged(&layers, &MergeOptions { attributes: false, ..pure }).is_ok());
}

#[test]
fn layers_that_change_meanwhile_are_noticed() {
    let first = Tarball::default().file("a", "1").end();
    let second = Tarball::default().file("a", "2").end();
    let reads = std::cell::Cell::new(0);
    let open = || {
        reads.set(reads.get() + 1);
        let layer = if reads.get() == 1 { &first } else { &second };
        Ok(Box::new(layer.as_slice()) as Box<dyn Read + Send>)
    };
    let layers = [LayerStream::new(open, Some(Digest::of(&first)))];
    let err = merge(&layers, &MergeOptions::default(), Vec::new()).unwrap_err();
    assert!(matches!(err, LayerError::DiffId { .. }), "{err}");
}

/// A name of few parts, so that entries meet.
fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|parts| parts.join("/"))
}

fn target() -> impl Strategy<Value = String> {
    (prop::sample::select(vec!["", "/", "../", "./", "../../"]), name())
        .prop_map(|(up, name)| format!("{up}{name}"))
}

fn entry() -> impl Strategy<Value = Entry> {
    let kinds = prop::sample::select(b"000555221wo6".to_vec());
    (kinds, name(), target(), 0_u32..0o1000, 0_u64..1000).prop_map(|(kind, name, target, mode, time)| {
        let entry = Entry { mode: mode | 0o700, time, owner: (mode, 7), ..Entry::new(kind, &name) };
        let (folder, last) = name.rsplit_once('/').unwrap_or((".", &name));
        match kind {
            b'0' => Entry { content: format!("{name} {time}").into_bytes(), ..entry },
            b'2' => Entry { link: target.into_bytes(), ..entry },
            b'1' => Entry { link: target.replace("../", "").into_bytes(), ..entry },
            b'w' => Entry::new(b'0', format!("{folder}/.wh.{last}")),
            b'o' => Entry::new(b'0', format!("{folder}/.wh..wh..opq")),
            _ => entry,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_unpacking(stack in prop::collection::vec(prop::collection::vec(entry(), 0..12), 1..5)) {
        let cx = Cx::new();
        let layers: Vec<Vec<u8>> = stack
            .iter()
            .map(|entries| entries.iter().fold(Tarball::default(), Tarball::with).end())
            .collect();
        assert_equal(&cx, &layers);
    }
}
