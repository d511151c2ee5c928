//! Archives made to do harm: whatever they hold, nothing outside of the root changes, and memory and time are bounded.
//!
//! The table is made of tricks and variants; where a trick is known from a program that fell for it, its advisory or thread is named.

use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use polyarch::layer::{LayerError, LayerStream, Limits, MergeOptions, Owners, Unpacker, merge};

use crate::support::Cx;
use crate::support::tarball::{Entry, Tarball, record, snapshot};

/// What must come of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// An error.
    Refused,
    /// It is unpacked, all of it beneath the root.
    Contained,
    /// Either.
    Either,
}

use End::{Contained, Either, Refused};

struct Trick {
    name: String,
    /// The advisory or thread that it is known from.
    known: &'static str,
    end: End,
    layers: Vec<Vec<u8>>,
}

const LIMITS: Limits = Limits { entries: 4_000, bytes: 64 << 20 };

#[derive(Default)]
struct Table(Vec<Trick>);

impl Table {
    fn add(&mut self, name: impl Into<String>, known: &'static str, end: End, layers: Vec<Vec<u8>>) {
        self.0.push(Trick { name: name.into(), known, end, layers });
    }

    fn one(&mut self, name: impl Into<String>, known: &'static str, end: End, tarball: Tarball) {
        self.add(name, known, end, vec![tarball.end()]);
    }
}

/// Names that lead out of a folder, or that are none.
fn names(table: &mut Table, outside: &str) {
    let long = format!("{}/x", "n".repeat(300));
    let deep = "d/".repeat(1000) + "x";
    let names: Vec<(&str, &str, End, Vec<u8>)> = vec![
        ("dot dot", "CVE-2007-4559 (Python tarfile)", Refused, b"../outside/new".to_vec()),
        ("dot dot, last", "CVE-2001-1267 (GNU tar)", Refused, b"a/..".to_vec()),
        ("dot dot alone", "", Refused, b"..".to_vec()),
        ("dot dot in the middle", "CVE-2016-6321 (GNU tar)", Refused, b"a/../../outside/new".to_vec()),
        ("dot dot after a slash", "CVE-2002-0399 (GNU tar)", Refused, b"/../outside/new".to_vec()),
        ("dot dot that stays inside", "", Refused, b"a/../new".to_vec()),
        ("dot dot after slashes", "", Refused, b"a//..//..//outside/new".to_vec()),
        ("dot and dot dot", "", Refused, b"./.././outside/new".to_vec()),
        ("absolute", "", Contained, format!("{outside}/new").into_bytes()),
        (
            "absolute after more slashes",
            "CVE-2021-32804 (node-tar)",
            Contained,
            format!("///{outside}/new").into_bytes(),
        ),
        ("backslashes", "CVE-2021-37701 (node-tar)", Contained, b"..\\outside\\new".to_vec()),
        ("a drive", "", Contained, b"C:../outside/new".to_vec()),
        ("newline", "", Contained, b"a\n../outside/new\nb".to_vec().replacen(b"../", b"...")),
        ("escape sequences", "CVE-2016-8687 (libarchive)", Contained, b"\x1b[2J\xc3\xff\x9b31m".to_vec()),
        ("no UTF-8", "", Contained, b"\xff\xfe\xc0\xaf\xc0\xaf".to_vec()),
        ("too long a part", "", Refused, long.into_bytes()),
        ("1000 folders deep", "CVE-2024-28863 (node-tar)", Refused, deep.into_bytes()),
    ];
    for (what, known, end, name) in &names {
        for (kind, link) in [(b'0', ""), (b'5', ""), (b'2', "x"), (b'6', ""), (b'3', "")] {
            let entry = |name: &[u8]| Entry { link: link.into(), ..Entry::new(kind, name) };
            let kind = char::from(kind);
            if name.len() <= 100 {
                table.one(
                    format!("name {what}, kind {kind}"),
                    known,
                    *end,
                    Tarball::default().with(&entry(name)),
                );
            }
            if kind == '0' || kind == '5' {
                let pax = Tarball::default().pax(&[("path", name)]).with(&entry(b"harmless"));
                table.one(format!("pax name {what}, kind {kind}"), known, *end, pax);
                let gnu =
                    Tarball::default().extension(b'L', [name, &b"\0"[..]].concat()).with(&entry(b"harmless"));
                table.one(format!("GNU name {what}, kind {kind}"), known, *end, gnu);
            }
        }
        // As a hard link's target it leads to nothing inside, and to nothing outside either.
        let hard = Tarball::default().pax(&[("linkpath", name)]).hard("hard", "x").file("hard", "changed");
        table.one(format!("hard link to {what}"), "CVE-2026-42497 (Archive::Tar)", Refused, hard);
    }
    let nul = Tarball::default().pax(&[("path", b"a\0b")]).file("x", "");
    table.one("pax name with NUL", "", Refused, nul);
    let nul = Tarball::default().extension(b'L', b"a\0../b\0").file("x", "");
    table.one("GNU name with NUL", "", Refused, nul);
    let nul = Tarball::default().pax(&[("linkpath", b"a\0b")]).symlink("x", "y");
    table.one("link target with NUL", "", Refused, nul);
    table.one("link to nothing", "", Refused, Tarball::default().symlink("x", ""));
    for (what, name) in
        [("parent", ".wh..."), ("itself", ".wh.."), ("nothing", ".wh."), ("nested", "a/.wh...")]
    {
        table.one(format!("whiteout of {what}"), "", Refused, Tarball::default().file(name, ""));
    }
}

trait Replacen {
    fn replacen(self, from: &[u8], to: &[u8]) -> Self;
}

impl Replacen for Vec<u8> {
    fn replacen(self, from: &[u8], to: &[u8]) -> Self {
        let at = self.windows(from.len()).position(|window| window == from).unwrap();
        [&self[..at], to, &self[at + from.len()..]].concat()
    }
}

/// Links that lead outside, and what is done through them, in the same layer and in a later one.
fn links(table: &mut Table, outside: &str) {
    let up = format!("{}{outside}", "../".repeat(20));
    let plants: Vec<(&str, &str, Tarball)> = vec![
        ("an absolute link", "CVE-2014-6407 (Docker)", Tarball::default().symlink("l", outside)),
        ("a relative link", "CVE-2026-42496 (Archive::Tar)", Tarball::default().symlink("l", "../outside")),
        ("a link far up", "CVE-2015-8860 (node-tar)", Tarball::default().symlink("l", up)),
        (
            "a chain of links",
            "CVE-2026-26960 (node-tar)",
            Tarball::default()
                .symlink("a/b/c/up", "../..")
                .symlink("a/b/escape", "c/up/../..")
                .symlink("l", "a/b/escape/../outside"),
        ),
        (
            "links through links",
            "CVE-2025-4517 (Python tarfile)",
            Tarball::default()
                .symlink("s1", ".")
                .symlink("s2", "s1/..")
                .symlink("l", format!("s2/../..{outside}")),
        ),
        ("a link of a process", "", Tarball::default().symlink("l", format!("/proc/self/root{outside}"))),
        (
            "a folder that became a link",
            "CVE-2021-32803 (node-tar)",
            Tarball::default().folder("l").file("l/x", "").symlink("l", outside),
        ),
        (
            "a hard link to a link",
            "CVE-2026-24842 (node-tar)",
            Tarball::default().symlink("first", outside).hard("l", "first"),
        ),
    ];
    let attribute = record("SCHILY.xattr.user.x", b"y");
    let actions: Vec<(&str, &str, Tarball)> = vec![
        ("a new file", "CVE-2025-4138 (Python tarfile)", Tarball::default().file("l/new", "x")),
        ("an old file", "CVE-2002-1216 (GNU tar)", Tarball::default().file("l/secret", "x")),
        ("the link as a file", "CVE-2026-39246 (decompress)", Tarball::default().file("l", "x")),
        ("a new folder", "", Tarball::default().folder("l/new").file("l/new/x", "")),
        (
            "the link as a folder",
            "CVE-2026-33056 (tar-rs)",
            Tarball::default().with(&Entry { mode: 0o777, ..Entry::new(b'5', "l") }),
        ),
        (
            "the link as a folder, with a dot",
            "RUSTSEC-2026-0113 (astral-tokio-tar)",
            Tarball::default().with(&Entry { mode: 0o777, ..Entry::new(b'5', "l/.") }),
        ),
        (
            "an old folder's mode",
            "CVE-2025-4330 (Python tarfile)",
            Tarball::default().with(&Entry { mode: 0, ..Entry::new(b'5', "l/folder") }),
        ),
        (
            "an old file's links",
            "CVE-2026-23745 (node-tar)",
            Tarball::default().hard("hard", "l/secret").file("hard", "x"),
        ),
        ("a link where a file is", "", Tarball::default().symlink("l/secret", "x")),
        ("a whiteout", "", Tarball::default().file("l/.wh.secret", "")),
        ("an opaque mark", "", Tarball::default().file("l/.wh..wh..opq", "")),
        ("a fifo", "", Tarball::default().with(&Entry::new(b'6', "l/secret"))),
        (
            "a setuid file",
            "",
            Tarball::default().with(&Entry { mode: 0o6777, owner: (0, 0), ..Entry::new(b'0', "l/secret") }),
        ),
        (
            "attributes of a folder",
            "CVE-2021-23177 (libarchive)",
            Tarball::default()
                .with(&Entry { content: attribute, ..Entry::new(b'x', "x") })
                .with(&Entry::new(b'5', "l/folder")),
        ),
        ("a device, then opened", "", Tarball::default().with(&Entry::new(b'3', "l/new")).file("l/new", "x")),
    ];
    for (plant, plant_known, first) in &plants {
        for (action, action_known, second) in &actions {
            let known = if action_known.is_empty() { plant_known } else { action_known };
            let name = format!("{plant}, then {action}");
            let both = Tarball([first.0.clone(), second.0.clone()].concat());
            table.one(format!("{name}, in one layer"), known, Either, both);
            let layers = vec![first.clone().end(), second.clone().end()];
            table.add(format!("{name}, in two layers"), plant_known, Either, layers);
        }
    }
    let loops = Tarball::default().symlink("a", "b").symlink("b", "a").file("a/x", "");
    table.one("a loop of links", "", Refused, loops);
    let chain =
        (0..60).fold(Tarball::default(), |tar, n| tar.symlink(format!("s{n}"), format!("s{}", n + 1)));
    table.one("a chain of 60 links", "", Either, chain.folder("s60").file("s0/x", ""));
    table.one("a link to itself", "", Refused, Tarball::default().symlink("a", "a").file("a/x", ""));
    table.one("a hard link to itself", "", Refused, Tarball::default().file("a", "x").hard("a", "a"));
    table.one("a hard link to a folder", "", Refused, Tarball::default().folder("a").hard("b", "a"));
    table.one("a hard link to the root", "", Refused, Tarball::default().hard("b", "."));
    table.one(
        "a hard link to what comes later",
        "",
        Refused,
        Tarball::default().hard("b", "a").file("a", ""),
    );
    let data = Tarball::default().file("a", "1").with(&Entry {
        link: b"a".to_vec(),
        content: b"content of a hard link".to_vec(),
        ..Entry::new(b'1', "b")
    });
    table.one("a hard link with content", "CVE-2016-5418 (libarchive)", Refused, data);
    let root = Tarball::default().symlink(".", outside).file("x", "");
    table.one("the root as a link", "CVE-2021-29136 (umoci)", Contained, root);
    for (what, mode) in [("closed", 0), ("sticky and setgid", 0o7777)] {
        let dot = Tarball::default().with(&Entry { mode, ..Entry::new(b'5', "./") }).file("x", "");
        table.one(format!("the root {what}"), "", Contained, dot);
    }
    let names = Tarball::default().with(&Entry {
        content: format!("Symlink {outside} to l\n").into_bytes(),
        ..Entry::new(b'N', "././@MaNgLeD.NaMeS")
    });
    table.one("GNU names in a table", "CVE-2006-6097 (GNU tar)", Contained, names.file("l/new", "x"));
    let case =
        Tarball::default().folder("FOO").symlink("foo", outside).file("FOO/new", "x").file("foo/new", "x");
    table.one("names that differ in case", "CVE-2021-37701 (node-tar)", Either, case);
    for kind in *b"346" {
        let special =
            Tarball::default().with(&Entry::new(kind, "special")).file("special", "x").hard("b", "special");
        table.one(format!("kind {} that is opened", char::from(kind)), "", Contained, special);
    }
}

/// Headers and records that lie.
fn lies(table: &mut Table) {
    let file = |content: &[u8]| Entry { content: content.to_vec(), ..Entry::new(b'0', "file") };
    for (what, known, at, bytes) in [
        ("size in letters", "", 124, &b"zzzzzzzzzzz"[..]),
        ("size below zero", "", 124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"),
        ("size beyond 64 bits", "", 124, b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("size of 8 EiB", "", 124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
        ("size of 8 GiB", "", 124, b"77777777777\0"),
        ("owner below zero", "", 108, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("owner of no change", "", 108, b"\x80\0\0\0\xff\xff\xff\xff"),
        ("owner beyond 32 bits", "", 116, b"\x80\0\0\x01\0\0\0\0"),
        ("mode in letters", "", 100, b"rwxrwxrwx"),
    ] {
        let tar = Tarball::default().edited(&file(b"content"), |header| {
            header[at..at + bytes.len()].copy_from_slice(bytes);
        });
        table.one(what, known, Refused, tar);
    }
    let spaces = Tarball::default().edited(&file(b""), |header| header[136..148].fill(b' '));
    table.one("a time of spaces", "CVE-2022-48303 (GNU tar)", Contained, spaces);
    let time = Tarball::default().edited(&file(b""), |header| header[136..148].fill(0xff));
    table.one("a time before 1970", "", Contained, time);

    for (what, known, records) in [
        ("length 0", "CVE-2019-20907 (Python tarfile)", &b"0 path=x\n"[..]),
        ("length too long", "", b"99 path=x\n"),
        ("length too short", "RUSTSEC-2025-0111 (tokio-tar)", b"5 path=x\n"),
        ("length below zero", "", b"-10 path=x\n"),
        ("length beyond 64 bits", "", b"99999999999999999999999 path=x\n"),
        ("no length", "CVE-2019-9923 (GNU tar)", b"path=x\n"),
        ("no key", "", b"5 =x\n"),
        ("no value", "", b"8 path\n\n"),
        ("no end", "", b"10 path=xx"),
        ("a size below zero", "", b"11 size=-1\n"),
        ("a size in letters", "", b"10 size=x\n"),
        ("an owner in letters", "", b"9 uid=x\n"),
        ("a time in letters", "", b"11 mtime=x\n"),
        ("an attribute without a name", "CVE-2023-39804 (GNU tar)", b"18 SCHILY.xattr.=x\n"),
        ("a sparse map out of order", "", b"23 GNU.sparse.map=5,1,0,1\n"),
        ("a sparse map beyond the end", "", b"28 GNU.sparse.map=0,18446744073709551615\n"),
        ("a sparse length without an offset", "CVE-2019-9923 (GNU tar)", b"25 GNU.sparse.numbytes=1\n"),
        ("a sparse size in letters", "", b"21 GNU.sparse.size=x\n"),
    ] {
        let tar = Tarball::default().with(&Entry { content: records.to_vec(), ..Entry::new(b'x', "x") });
        table.one(format!("pax: {what}"), known, Refused, tar.with(&file(b"content")));
    }
    // The size in the records counts: what looks like a header in the content is content.
    let inner = Tarball::default().file("smuggled", "x").0;
    let smuggling = Tarball::default().pax(&[("size", inner.len().to_string().as_bytes())]).with(&Entry {
        size: Some(0),
        content: inner.clone(),
        ..Entry::new(b'0', "outer")
    });
    table.one("a size of 0 and another in pax", "CVE-2025-62518 (tokio-tar)", Contained, smuggling);
    let other = Tarball::default()
        .pax(&[("size", b"0")])
        .with(&Entry { content: inner, ..Entry::new(b'0', "outer") });
    table.one("a size and 0 in pax", "CVE-2026-33055 (tar-rs)", Contained, other);
    let global = Tarball::default().with(&Entry {
        content: [record("path", b"../outside/new"), record("size", b"99999")].concat(),
        ..Entry::new(b'g', "pax_global_header")
    });
    table.one("a global header with a path and a size", "", Contained, global.with(&file(b"content")));

    let large = vec![b'x'; 2 << 20];
    for kind in *b"xLK" {
        let tar = Tarball::default().extension(kind, &large).with(&file(b""));
        let known = if kind == b'x' { "CVE-2022-2879 (Go archive/tar)" } else { "golang/go#54853" };
        table.one(format!("an extension {} of 2 MiB", char::from(kind)), known, Refused, tar);
        let lie = Tarball::default().with(&Entry { size: Some(0o77_777_777_777), ..Entry::new(kind, "x") });
        let known = "python/cpython#151498";
        table.one(format!("an extension {} that says 8 GiB", char::from(kind)), known, Refused, lie);
        let alone = Tarball::default().extension(kind, record("path", b"x"));
        table.one(format!("an extension {} alone", char::from(kind)), "", Refused, alone);
        let twice =
            Tarball::default().extension(kind, record("path", b"x")).extension(kind, record("path", b"y"));
        table.one(format!("an extension {} twice", char::from(kind)), "", Refused, twice.with(&file(b"")));
    }
    let map = [b"1000000000\n".to_vec(), vec![b'0'; 501]].concat();
    let pax_sparse =
        |records: &[(&str, &[u8])], content: &[u8]| Tarball::default().pax(records).with(&file(content));
    let v1: &[(&str, &[u8])] =
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"100")];
    table.one("a sparse map of a billion", "CVE-2025-58183 (Go archive/tar)", Refused, pax_sparse(v1, &map));
    table.one("a sparse map in letters", "", Refused, pax_sparse(v1, &[b'x'; 512]));
    table.one("a sparse map without an end", "", Refused, pax_sparse(v1, &[b'9'; 512]));
    let short = [b"1\n0\n100\n".to_vec(), vec![0; 504]].concat();
    table.one("a sparse file without its data", "", Refused, pax_sparse(v1, &short));
    let escaping: Vec<(&str, &[u8])> = [v1, &[("GNU.sparse.name", b"../outside/new")]].concat();
    table.one("a sparse file's own name", "", Refused, pax_sparse(&escaping, &short));
    let vast = [("GNU.sparse.size", &b"9223372036854775807"[..]), ("GNU.sparse.numblocks", b"0")];
    table.one("a sparse file of 8 EiB", "", Refused, pax_sparse(&vast, b""));
    for (what, end, fields) in [
        ("of 8 EiB", Refused, vec![(483, &b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"[..])]),
        ("of 48 MiB", Contained, vec![(483, b"00300000000\0")]),
        ("below zero", Refused, vec![(483, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")]),
        (
            "with a map beyond its end",
            Refused,
            vec![(386, b"00000000010\x0000000000010\0"), (483, b"00000000010\0")],
        ),
        ("with a map that goes on", Either, vec![(482, b"\x01"), (483, b"00000000010\0")]),
    ] {
        let tar = Tarball::default().edited(&Entry::new(b'S', "sparse"), |header| {
            for (at, bytes) in fields {
                header[at..at + bytes.len()].copy_from_slice(bytes);
            }
        });
        table.one(format!("an old sparse file {what}"), "", end, tar);
    }
    let mut wrong = Tarball::default().file("x", "").end();
    wrong[148..155].copy_from_slice(b"000000\0");
    table.add("a checksum that lies", "", Refused, vec![wrong]);
    let mut wrong = Tarball::default().file("x", "").end();
    wrong[0] ^= 1;
    table.add("a name changed after the sum", "", Refused, vec![wrong]);
}

/// Streams that break off, go on, or are more than they seem.
fn streams(table: &mut Table) {
    let whole = Tarball::default()
        .pax(&[("path", b"long")])
        .file("x", [b'x'; 700])
        .extension(b'L', "name\0")
        .folder("y")
        .file("z", [b'z'; 100])
        .end();
    for at in [1, 100, 511, 513, 600, 1024, 1500, 2100, 2559, 2600, 3100, 3600, 4200, 4700] {
        // A cut after an entry's last block is an end, as GNU tar's own -i and Go have it.
        let is_edge = at % 512 == 0;
        let end = if is_edge { Either } else { Refused };
        table.add(format!("cut at {at}"), "CVE-2026-11972 (Python tarfile)", end, vec![whole[..at].to_vec()]);
    }
    for (form, packed) in [("gzip", gzip(&whole)), ("zstd", zstd(&whole))] {
        for part in [2, 3, 10] {
            let cut = packed[..packed.len() - packed.len() / part].to_vec();
            table.add(format!("{form} without a {part}th"), "", Refused, vec![cut]);
        }
        let mut flipped = packed.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x55;
        table.add(format!("{form} damaged"), "", Either, vec![flipped]);
        let garbage = [packed.clone(), b"garbage that is no stream".repeat(30)].concat();
        table.add(format!("{form} with garbage behind"), "", Either, vec![garbage]);
        let half = whole.len() / 2 / 512 * 512;
        let pack: fn(&[u8]) -> Vec<u8> = if form == "gzip" { gzip } else { zstd };
        let joined = [pack(&whole[..half]), pack(&whole[half..])].concat();
        table.add(format!("{form} in two members"), "", Contained, vec![joined]);
    }
    let more = [whole.clone(), Tarball::default().file("../outside/new", "").end()].concat();
    table.add("an archive behind the end", "", Contained, vec![more]);
    table.add("no archive", "", Refused, vec![b"x".repeat(4096)]);
    table.add("nothing at all", "", Contained, vec![Vec::new()]);
    let zeros = Tarball::default().file("zeros", vec![0; 80 << 20]).end();
    table.add("80 MiB of zeros in gzip", "CVE-2017-14992 (Docker)", Refused, vec![gzip(&zeros)]);
    table.add("80 MiB of zeros in zstd", "CVE-2017-14992 (Docker)", Refused, vec![zstd(&zeros)]);
    let tail = [Tarball::default().file("x", "").end(), vec![0; 80 << 20]].concat();
    table.add("80 MiB of zeros behind the end", "CVE-2017-14992 (Docker)", Refused, vec![gzip(&tail)]);
    let many = (0..4_001).fold(Tarball::default(), |tar, n| tar.file(format!("{n}"), "")).end();
    table.add("too many entries", "", Refused, vec![gzip(&many)]);
    let halves = vec![gzip(&many[..2_000 * 512]), gzip(&many[2_000 * 512..])];
    table.add("too many entries in two layers", "", Refused, halves);
    let globals = (0..4_001).fold(Tarball::default(), |tar, _| tar.with(&Entry::new(b'g', "g"))).end();
    table.add("global headers without end", "", Refused, vec![gzip(&globals)]);
    let same = (0..200)
        .fold(Tarball::default(), |tar, n| tar.file("x", format!("{n}")).folder("x").symlink("x", "y"));
    table.one("one name 600 times", "", Contained, same);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn table(outside: &str) -> Vec<Trick> {
    let mut table = Table::default();
    names(&mut table, outside);
    links(&mut table, outside);
    lies(&mut table);
    streams(&mut table);
    table.0
}

fn unpack(root: &Path, layers: &[Vec<u8>], owners: Owners) -> Result<(), LayerError> {
    let mut unpacker = Unpacker::new(root, LIMITS)?.with_owners(owners);
    for layer in layers {
        unpacker.apply(layer.as_slice(), None, &|| false)?;
    }
    unpacker.finish().map(|_| ())
}

fn merged(layers: &[Vec<u8>]) -> Result<Vec<u8>, LayerError> {
    let streams: Vec<LayerStream<'_>> = layers
        .iter()
        .map(|layer| LayerStream::new(|| Ok(Box::new(layer.as_slice()) as Box<dyn Read + Send>), None))
        .collect();
    let mut out = Vec::new();
    merge(&streams, &MergeOptions { limits: LIMITS, ..MergeOptions::default() }, &mut out)?;
    Ok(out)
}

/// Goes through the whole table.
fn run_all() {
    let cx = Cx::new();
    let outside = cx.path("outside");
    cx.file("outside/secret", "secret");
    cx.file("outside/folder/inner", "inner");
    fs::set_permissions(cx.path("outside/secret"), fs::Permissions::from_mode(0o640)).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for path in ["outside/secret", "outside/folder/inner", "outside/folder", "outside"] {
        fs::File::open(cx.path(path)).unwrap().set_modified(old).unwrap();
    }
    let before = snapshot(&outside);
    let beside = crate::support::probe::names(&cx.path(""));
    let mut modes = vec![Owners::Caller];
    if rustix::process::geteuid().is_root() {
        modes.push(Owners::Kept);
    }
    let tricks = table(outside.to_str().unwrap());
    for Trick { name, end, layers, .. } in &tricks {
        let begin = Instant::now();
        let check = |how: &str, result: Result<(), LayerError>| {
            let error = result.err();
            assert!(
                *end == Either || (*end == Refused) == error.is_some(),
                "{name}, {how}: must be {end:?}, gave {error:?}"
            );
            if let Some(error) = error {
                // One line that a terminal shows as it is.
                assert!(error.to_string().chars().all(|shown| !shown.is_control()), "{name}: {error:?}");
            }
            assert_eq!(snapshot(&outside), before, "{name}, {how}");
        };
        for owners in &modes {
            let root = cx.path("root");
            fs::create_dir(&root).unwrap();
            check(&format!("{owners:?}"), unpack(&root, layers, *owners));
            // What a closed folder holds goes too.
            let mut remove = cx.command("sh");
            remove.args(["-c", "chmod -R u+rwx root && rm -rf root"]).status().unwrap();
        }
        match merged(layers) {
            // Only what is found when files are made differs.
            Err(err) => assert!(*end != Contained, "{name}, merged: {err:?}"),
            Ok(merged) => {
                assert!(*end != Refused, "{name}, merged");
                let root = cx.path("root");
                fs::create_dir(&root).unwrap();
                check("merged", unpack(&root, &[merged], Owners::Caller));
                let mut remove = cx.command("sh");
                remove.args(["-c", "chmod -R u+rwx root && rm -rf root"]).status().unwrap();
            }
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{name} took {:?}", begin.elapsed());
        assert_eq!(crate::support::probe::names(&cx.path("")), beside, "{name}");
    }
}

#[test]
fn every_archive_is_refused_or_contained() {
    run_all();
    if std::env::var_os("POLYARCH_TEST_PEAK").is_some() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        // The table itself, and the archives that are made for it, are most of it.
        assert!(kib < 512 << 10, "{kib} KiB");
    }
}

#[test]
fn an_ordinary_user_unpacks_them_as_safely() {
    let cx = Cx::new();
    // Where the tests are built may be closed to other users.
    fs::copy(std::env::current_exe().unwrap(), cx.path("it")).unwrap();
    let mut command = cx.as_nobody(cx.path("it"));
    command.args(["--exact", "hostile::every_archive_is_refused_or_contained"]);
    command.env("TMPDIR", cx.path("home")).env("POLYARCH_TEST_PEAK", "1");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn the_table_is_as_long_as_it_says() {
    let tricks = table("/outside");
    let mut known: Vec<&str> =
        tricks.iter().map(|trick| trick.known).filter(|known| !known.is_empty()).collect();
    known.sort_unstable();
    known.dedup();
    assert!(tricks.len() >= 200, "{}", tricks.len());
    assert!(known.len() >= 30, "{}: {known:?}", known.len());
    let mut names: Vec<&str> = tricks.iter().map(|trick| trick.name.as_str()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
}
