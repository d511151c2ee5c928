//! Layers, as hostile as they come: whatever they hold, nothing outside of the root file system changes.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use polyarch::layer::{
    Compression, Content, Digest, LayerError, LayerFile, LayerWriter, Limits, Skipped, Unpacker,
};
use tar::{EntryType, Header};

use crate::support::Cx;
use crate::support::probe::names;

/// A tar stream of which nothing was checked while it was made.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn entry(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        // The writer's own functions would refuse what is hostile.
        let bytes = header.as_mut_bytes();
        bytes[..name.len().min(100)].copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
        bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name, "", content.as_bytes())
    }

    fn folder(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    fn hard(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn unpack(root: &Path, layers: &[Vec<u8>]) -> Result<Skipped, LayerError> {
    unpack_within(root, layers, Limits::default())
}

fn unpack_within(root: &Path, layers: &[Vec<u8>], limits: Limits) -> Result<Skipped, LayerError> {
    fs::create_dir_all(root).unwrap();
    let mut unpacker = Unpacker::new(root, limits)?;
    for layer in layers {
        unpacker.apply(layer.as_slice(), None, &|| false)?;
    }
    unpacker.finish()
}

/// A test's folder with things outside of the root that must stay as they are.
fn with_outside() -> Cx {
    let cx = Cx::new();
    cx.file("outside/secret", "secret");
    fs::set_permissions(cx.path("outside/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    cx
}

#[track_caller]
fn assert_untouched(cx: &Cx) {
    assert_eq!(names(&cx.path("outside")), ["secret"]);
    assert_eq!(fs::read_to_string(cx.path("outside/secret")).unwrap(), "secret");
    let meta = fs::metadata(cx.path("outside/secret")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.nlink()), (0o600, 1));
    let left: Vec<String> = names(&cx.path("")).into_iter().filter(|name| name != "home").collect();
    assert!(left.iter().all(|name| ["outside", "root"].contains(&name.as_str())), "{left:?}");
}

#[test]
fn nothing_gets_outside() {
    // Links lead to the outside by every way that there is.
    let up = "../".repeat(12);
    for (trick, make) in [
        (
            "dot dot",
            Box::new(|_: &str| Tar::default().file("../outside/new", "x").end())
                as Box<dyn Fn(&str) -> Vec<u8>>,
        ),
        ("dot dot within", Box::new(|_| Tar::default().folder("a").file("a/../../outside/new", "x").end())),
        ("dot dot folder", Box::new(|_| Tar::default().folder("../outside/new").end())),
        ("absolute", Box::new(|outside| Tar::default().file(&format!("{outside}/new"), "x").end())),
        ("through a link", Box::new(|outside| Tar::default().link("a", outside).file("a/new", "x").end())),
        (
            "over a file through a link",
            Box::new(|outside| Tar::default().link("a", outside).file("a/secret", "x").end()),
        ),
        (
            "through a relative link",
            Box::new(|_| Tar::default().link("a", "../outside").file("a/new", "x").end()),
        ),
        (
            "through two links",
            Box::new(|outside| {
                Tar::default().link("a", outside).link("b", "a").folder("b").file("b/new", "x").end()
            }),
        ),
        (
            "onto a link",
            Box::new(|outside| Tar::default().link("a", &format!("{outside}/secret")).file("a", "x").end()),
        ),
        (
            "hard link to the outside",
            Box::new(|outside| Tar::default().hard("a", &format!("{outside}/secret")).file("a", "x").end()),
        ),
        ("hard link by dot dot", Box::new(|_| Tar::default().hard("a", "../outside/secret").end())),
        (
            "hard link through a link",
            Box::new(|outside| Tar::default().link("d", outside).hard("a", "d/secret").file("a", "x").end()),
        ),
        (
            "hard link to a link, then written",
            Box::new(|outside| {
                Tar::default().link("d", &format!("{outside}/secret")).hard("a", "d").file("a", "x").end()
            }),
        ),
        ("whiteout by dot dot", Box::new(|_| Tar::default().file("../outside/.wh.secret", "").end())),
        (
            "whiteout through a link",
            Box::new(|outside| Tar::default().link("a", outside).file("a/.wh.secret", "").end()),
        ),
        (
            "opaque through a link",
            Box::new(|outside| Tar::default().link("a", outside).file("a/.wh..wh..opq", "").end()),
        ),
        ("whiteout of the parent", Box::new(|_| Tar::default().file(".wh...", "").end())),
        ("whiteout of itself", Box::new(|_| Tar::default().file(".wh..", "").end())),
        ("whiteout of nothing", Box::new(|_| Tar::default().file(".wh.", "").end())),
        ("mode through a link", Box::new(|outside| Tar::default().link("a", outside).folder("a").end())),
        (
            "procfs",
            Box::new(|_| {
                Tar::default().link("a", "/proc/self/root").file("a/tmp/polyarch-test-escape", "x").end()
            }),
        ),
        (
            "a folder in place of a link",
            Box::new(|outside| {
                Tar::default().link("a", outside).folder("a").file("a/new", "x").folder("a/").end()
            }),
        ),
    ] {
        let cx = with_outside();
        let outside = cx.path("outside");
        let layer = make(outside.to_str().unwrap());
        // Refused or contained: both are right.
        let _ = unpack(&cx.path("root"), std::slice::from_ref(&layer));
        assert_untouched(&cx);
        // The same on two layers, the links being there before.
        let _ = unpack(&cx.path("root"), &[layer.clone(), layer]);
        assert_untouched(&cx);
        assert!(!Path::new("/tmp/polyarch-test-escape").exists(), "{trick}");
    }
    let cx = with_outside();
    let deep =
        Tar::default().link("a", &format!("{up}{}", cx.path("outside").display())).file("a/new", "x").end();
    let _ = unpack(&cx.path("root"), &[deep]);
    assert_untouched(&cx);
}

#[test]
fn names_that_are_none_are_refused() {
    for layer in [
        Tar::default().file("../x", "").end(),
        Tar::default().file("a/../../x", "").end(),
        Tar::default().hard("a", "../x").end(),
        Tar::default().file(".wh...", "").end(),
    ] {
        let cx = with_outside();
        let err = unpack(&cx.path("root"), &[layer]).unwrap_err();
        assert!(matches!(err, LayerError::Name { .. }), "{err}");
    }
    let cx = with_outside();
    let missing = unpack(&cx.path("root"), &[Tar::default().hard("a", "b").end()]).unwrap_err();
    assert!(matches!(missing, LayerError::HardLink { .. }), "{missing}");
    let itself = Tar::default().file("a", "x").hard("a", "a").end();
    assert!(matches!(unpack(&cx.path("root"), &[itself]), Err(LayerError::HardLink { .. })));
}

#[test]
fn an_ordinary_layer_is_unpacked_as_it_is() {
    let cx = with_outside();
    let root = cx.path("root");
    let long = format!("{}/file", ["directory-with-a-long-name"; 8].join("/"));
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |kind, name: &str, mode, content: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_mtime(1_500_000_000);
        builder.append_data(&mut header, name, content).unwrap();
    };
    add(EntryType::Directory, "closed", 0o555, b"");
    add(EntryType::Regular, "closed/inner", 0o4755, b"inner");
    add(EntryType::Directory, "sticky", 0o1777, b"");
    add(EntryType::Regular, &long, 0o644, b"long");
    add(EntryType::Regular, "without/a/folder", 0o600, b"x");
    let layer = builder.into_inner().unwrap();
    for (form, packed) in [("plain", layer.clone()), ("gzip", gzip(&layer)), ("zstd", zstd(&layer))] {
        let _ = fs::remove_dir_all(&root);
        unpack(&root, &[packed]).unwrap();
        assert_eq!(fs::read(root.join("closed/inner")).unwrap(), b"inner", "{form}");
        let meta = fs::metadata(root.join("closed/inner")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o4755, 1_500_000_000), "{form}");
        assert_eq!(meta.uid(), rustix::process::geteuid().as_raw());
        let closed = fs::metadata(root.join("closed")).unwrap();
        assert_eq!((closed.mode() & 0o7777, closed.mtime()), (0o555, 1_500_000_000), "{form}");
        assert_eq!(fs::metadata(root.join("sticky")).unwrap().mode() & 0o7777, 0o1777, "{form}");
        assert_eq!(fs::read(root.join(&long)).unwrap(), b"long", "{form}");
        assert_eq!(fs::read(root.join("without/a/folder")).unwrap(), b"x", "{form}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[test]
fn later_layers_change_and_remove_what_earlier_ones_put_there() {
    let cx = with_outside();
    let root = cx.path("root");
    let lower = Tar::default()
        .folder("d")
        .file("d/gone", "1")
        .file("d/kept", "1")
        .file("d/changed", "1")
        .folder("o")
        .file("o/lower", "1")
        .folder("o/both")
        .file("o/both/lower", "1")
        .file("file", "1")
        .folder("folder/inner")
        .link("link", "d")
        .end();
    let upper = Tar::default()
        .file("d/.wh.gone", "")
        .file("d/changed", "2")
        .folder("o")
        // The order of entries says nothing: both stay.
        .file("o/first", "2")
        .file("o/.wh..wh..opq", "")
        .file("o/both/upper", "2")
        .file("o/last", "2")
        .folder("file")
        .file("folder", "2")
        .file("link/through", "2")
        .file(".wh.never-there", "")
        .file("no/such/.wh.folder", "")
        .file("d/.wh..wh.plnk", "")
        .end();
    unpack(&root, &[lower, upper]).unwrap();
    assert_eq!(names(&root.join("d")), ["changed", "kept", "through"]);
    assert_eq!(fs::read_to_string(root.join("d/changed")).unwrap(), "2");
    assert_eq!(names(&root.join("o")), ["both", "first", "last"]);
    assert_eq!(names(&root.join("o/both")), ["upper"]);
    assert!(root.join("file").is_dir() && root.join("folder").is_file());
    assert_eq!(names(&root), ["d", "file", "folder", "link", "o"]);
}

#[test]
fn hard_links_reach_over_layers() {
    let cx = with_outside();
    let root = cx.path("root");
    let layers =
        [Tar::default().file("d/a", "1").end(), Tar::default().hard("b", "./d/a").hard("/c", "/d/a").end()];
    unpack(&root, &layers).unwrap();
    assert_eq!(fs::metadata(root.join("b")).unwrap().nlink(), 3);
    assert_eq!(fs::read_to_string(root.join("c")).unwrap(), "1");
}

#[test]
fn devices_are_left_out_and_fifos_made() {
    let cx = with_outside();
    let layer = Tar::default()
        .entry(EntryType::Char, "null", "", b"")
        .entry(EntryType::Block, "disk", "", b"")
        .entry(EntryType::Fifo, "fifo", "", b"")
        .end();
    let skipped = unpack(&cx.path("root"), &[layer]).unwrap();
    assert_eq!(skipped.devices, 2);
    assert_eq!(names(&cx.path("root")), ["fifo"]);
}

#[test]
fn limits_hold() {
    let cx = with_outside();
    let root = cx.path("root");
    let many = (0..100).fold(Tar::default(), |tar, number| tar.file(&format!("f{number}"), "")).end();
    let limits = Limits { entries: 50, bytes: 1 << 20 };
    let err = unpack_within(&root, &[many], limits).unwrap_err();
    assert!(matches!(err, LayerError::Limit { what: "entries", limit: 50 }), "{err}");

    let zeros = gzip(&Tar::default().entry(EntryType::Regular, "zeros", "", &vec![0; 8 << 20]).end());
    assert!(zeros.len() < 100_000);
    let err = unpack_within(&root, &[zeros], limits).unwrap_err();
    assert!(matches!(err, LayerError::Limit { what: "bytes", .. }), "{err}");
    assert!(fs::metadata(root.join("zeros")).unwrap().len() <= 1 << 20);

    // Zeros after the end mark count too.
    let mut tail = Tar::default().end();
    tail.resize(8 << 20, 0);
    let err = unpack_within(&root, &[gzip(&tail)], limits).unwrap_err();
    assert!(matches!(err, LayerError::Limit { what: "bytes", .. }), "{err}");
}

#[test]
fn extension_records_do_not_fill_the_memory() {
    let cx = with_outside();
    // A name of 64 MiB, which a reader would keep in memory.
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader]
    {
        let layer =
            Tar::default().entry(kind, "././@LongLink", "", &vec![b'x'; 64 << 20]).file("a", "").end();
        let err = unpack(&cx.path("root"), &[gzip(&layer)]);
        if kind == EntryType::XGlobalHeader {
            // It is passed over as if it were content.
            continue;
        }
        let err = err.unwrap_err();
        assert!(matches!(err, LayerError::Read { .. }), "{kind:?} {err}");
    }
    let long = Tar::default().entry(EntryType::GNULongName, "l", "", &vec![b'x'; 5000]).file("a", "").end();
    let err = unpack(&cx.path("root"), &[long]).unwrap_err();
    assert!(matches!(err, LayerError::Name { .. }), "{err}");
}

#[test]
fn damaged_layers_are_errors() {
    let cx = with_outside();
    let whole = Tar::default().file("a", &"x".repeat(3000)).end();
    for (what, layer) in [
        ("cut", whole[..1500].to_vec()),
        ("gzip cut", gzip(&whole)[..30].to_vec()),
        ("no tar", vec![b'x'; 4096]),
        ("zstd cut", zstd(&whole)[..20].to_vec()),
    ] {
        let err = unpack(&cx.path("root"), &[layer]).unwrap_err();
        assert!(matches!(err, LayerError::Read { .. }), "{what}: {err}");
    }
    let mut unpacker = Unpacker::new(&cx.path("root"), Limits::default()).unwrap();
    let other = Digest::of(b"other");
    let err = unpacker.apply(whole.as_slice(), Some(&other), &|| false).unwrap_err();
    assert!(matches!(err, LayerError::DiffId { .. }), "{err}");
    let mut unpacker = Unpacker::new(&cx.path("root"), Limits::default()).unwrap();
    unpacker.apply(whole.as_slice(), Some(&Digest::of(&whole)), &|| false).unwrap();
    let err = unpacker.apply(whole.as_slice(), None, &|| true).unwrap_err();
    assert!(matches!(err, LayerError::Stopped), "{err}");
}

#[test]
fn a_written_layer_depends_on_its_content_alone() {
    let cx = with_outside();
    let source = cx.file("outside/copied", "copied");
    let file = |path: &str, mode, content| LayerFile { path: path.into(), mode, content };
    let mut files = vec![
        file("z", 0o755, Content::Folder),
        file("z/copy", 0o4755, Content::Copy(source.clone())),
        file("a", 0o600, Content::Bytes(b"bytes".to_vec())),
        file("link", 0o777, Content::Link("z/copy".into())),
    ];
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let write = |files: &[LayerFile]| LayerWriter::new(77, compression).write(files, Vec::new()).unwrap();
        let (first, told) = write(&files);
        files.reverse();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&source, "copied").unwrap();
        let (second, _) = write(&files);
        assert_eq!(first, second);
        assert_eq!((told.digest, told.size), (Digest::of(&first), first.len() as u64));
        let mut unpacker = Unpacker::new(
            &{
                let root = cx.path("root");
                let _ = fs::remove_dir_all(&root);
                fs::create_dir(&root).unwrap();
                root
            },
            Limits::default(),
        )
        .unwrap();
        unpacker.apply(first.as_slice(), Some(&told.diff_id), &|| false).unwrap();
        unpacker.finish().unwrap();
        let meta = fs::metadata(cx.path("root/z/copy")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.mtime(), meta.len()), (0o4755, 77, 6));
        assert_eq!(fs::read_link(cx.path("root/link")).unwrap(), Path::new("z/copy"));
        if compression == Compression::Gzip {
            // Flags and time: neither a name nor a time is there.
            assert_eq!(first[3..8], [0; 5]);
        }
    }
    let too_long = [file(&"x".repeat(300), 0o644, Content::Folder)];
    assert!(LayerWriter::new(0, Compression::None).write(&too_long, Vec::new()).is_err());
    symlink("x", cx.path("outside/dangling")).unwrap();
    let gone = [file("gone", 0o644, Content::Copy(cx.path("outside/dangling")))];
    let err = LayerWriter::new(0, Compression::None).write(&gone, Vec::new()).unwrap_err();
    assert!(err.to_string().contains("`gone`"), "{err}");
}
