//! `inspect`: inputs of every form, good and bad.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::elf::Header;
use crate::support::{Cx, ran};

fn json(cx: &Cx, args: &[&str]) -> Vec<Value> {
    let ran = cx.run([&["inspect", "--format", "json"], args].concat());
    serde_json::from_str(&ran.stdout).unwrap_or_else(|err| panic!("{err}: {ran:?}"))
}

fn row<'a>(rows: &'a [Value], path: &str) -> &'a Value {
    rows.iter().find(|row| row["path"] == path).unwrap_or_else(|| panic!("no row `{path}` in {rows:#?}"))
}

/// The `message` of the only row, which is an error; and the program ends with `status`.
#[track_caller]
fn error(cx: &Cx, input: &str, status: i32) -> String {
    let ran = cx.run(["inspect", "--format", "json", input]);
    assert_eq!(ran.status, status, "{ran:?}");
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!(rows[0]["kind"], "error", "{rows:#?}");
    rows[0]["message"].as_str().unwrap().to_owned()
}

#[test]
fn all_keys_are_there_and_absent_facts_are_null() {
    let cx = Cx::new();
    cx.file("prog", Header::mips().bytes());
    let rows = json(&cx, &["prog"]);
    let keys: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    for key in [
        "path",
        "kind",
        "machine",
        "machine_id",
        "class",
        "endianness",
        "type",
        "os_abi",
        "abi_version",
        "flags",
        "abi",
        "isa",
        "float_abi",
        "linkage",
        "interpreter",
        "needed",
        "soname",
        "rpath",
        "runpath",
        "glibc",
        "kernel",
        "toolchain",
        "platform",
        "targets",
        "evidence",
    ] {
        assert!(keys.iter().any(|known| *known == key), "`{key}` is missing in {keys:?}");
    }
    for tool in ["glibc", "musl", "go", "rust", "bionic"] {
        assert_eq!(rows[0]["toolchain"].get(tool), Some(&Value::Null), "{tool}");
    }
    assert_eq!(rows[0]["machine"], "MIPS");
    assert_eq!(rows[0]["endianness"], "big");
    assert_eq!(rows[0]["abi"], "o32");
    assert_eq!(rows[0]["isa"], "mips32r2");
    assert_eq!(rows[0]["float_abi"], Value::Null);
    assert_eq!(rows[0]["platform"]["architecture"], "mips");
    assert_eq!(rows[0]["evidence"]["abi"]["source"], "declared");
}

#[test]
fn a_single_file_shows_all_facts_as_text() {
    let cx = Cx::new();
    cx.file("prog", Header::mips().bytes());
    let text = cx.run(["inspect", "prog"]).success();
    for expected in
        ["machine       MIPS (8)", "32-bit", "big-endian", "o32", "mips32r2", "linux/mips", "routeros/mipsbe"]
    {
        assert!(text.contains(expected), "`{expected}` is missing in\n{text}");
    }
}

#[test]
fn several_files_are_grouped_by_architecture() {
    let cx = Cx::new();
    cx.file("d/mips", Header::mips().bytes());
    cx.file("d/sub/arm64", Header::aarch64().bytes());
    cx.file("d/run.sh", "#!/bin/sh -e\necho\n");
    cx.file("d/readme.txt", "nothing to see");
    let text = cx.run(["inspect", "d"]).success();
    insta::assert_snapshot!(text, @"
    AARCH64 64-bit little-endian lp64 (1)
      PATH         TYPE  LINKAGE  ISA  FLOAT  INTERPRETER
      d/sub/arm64  EXEC  static   -    -      -

    MIPS 32-bit big-endian o32 (1)
      PATH    TYPE  LINKAGE  ISA       FLOAT  INTERPRETER
      d/mips  EXEC  static   mips32r2  -      -

    Scripts (1)
      PATH      INTERPRETER  ARGUMENT
      d/run.sh  /bin/sh      -e

    2 ELF files of 2 architectures, 1 script
    ");
}

#[test]
fn headers_that_lie_become_rows_that_say_so() {
    let cx = Cx::new();
    let good = Header::mips().bytes();
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("empty", vec![], "empty"),
        ("magic-only", good[..4].to_vec(), "cut short"),
        ("half", good[..30].to_vec(), "cut short"),
        ("class", patched(&good, 4, &[3]), "class is 3"),
        ("data", patched(&good, 5, &[9]), "byte order is 9"),
        ("swapped", patched(&good, 5, &[1]), "other order"),
        ("version", patched(&good, 6, &[7]), "version is 7"),
        ("text", b"just words\n".to_vec(), "no program"),
    ];
    for (name, bytes, expected) in cases {
        cx.file(name, bytes);
        // A file that was named itself and is no program is bad input.
        let message = error(&cx, name, 2);
        assert!(message.contains(expected), "{name}: {message}");
    }
    // In a directory, what is no program is passed over, and what is damaged is told without failing the rest.
    cx.file("tree/good", &good);
    for (name, bytes, _) in cases {
        cx.file(&format!("tree/{name}"), bytes);
    }
    let ran = cx.run(["inspect", "--format", "json", "tree"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(row(&rows, "tree/good")["kind"], "elf");
    assert_eq!(rows.iter().filter(|row| row["kind"] == "error").count(), 6, "{rows:#?}");
}

fn patched(bytes: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

/// Bytes to put at offsets.
type Patches = &'static [(usize, &'static [u8])];

#[test]
fn tables_that_lie_become_problems_of_the_row() {
    let cx = Cx::new();
    let good = Header::mips().bytes();
    // Offsets of the 32-bit header: phoff 28, shoff 32, phentsize 42, phnum 44, shentsize 46, shnum 48, shstrndx 50.
    let cases: &[(&str, Patches, &str)] = &[
        ("phoff", &[(28, &[0x7f, 0, 0, 0]), (42, &[0, 32, 0, 1])], "program header table"),
        ("shoff", &[(32, &[0x7f, 0, 0, 0]), (46, &[0, 40, 0, 1])], "section header table"),
        ("phentsize", &[(28, &[0, 0, 0, 52]), (42, &[0, 1, 0, 1])], "program header is said to have 1 bytes"),
        ("shentsize", &[(32, &[0, 0, 0, 52]), (46, &[0, 1, 0, 1])], "section header is said to have 1 bytes"),
        ("over-header", &[(28, &[0, 0, 0, 0]), (42, &[0, 32, 0, 1])], "overlaps the ELF header"),
        (
            "over-each-other",
            &[(28, &[0, 0, 0, 52]), (42, &[0, 32, 0, 1]), (32, &[0, 0, 0, 60]), (46, &[0, 40, 0, 1])],
            "overlaps the program header",
        ),
        ("shstrndx", &[(32, &[0, 0, 0, 52]), (46, &[0, 40, 0, 1, 0, 9])], "section names"),
    ];
    for (name, patches, expected) in cases {
        let mut bytes = good.clone();
        bytes.resize(256, 0);
        for (at, with) in *patches {
            bytes = patched(&bytes, *at, with);
        }
        cx.file(name, &bytes);
        let rows = json(&cx, &[name]);
        assert_eq!(rows[0]["kind"], "elf", "{name}: {rows:#?}");
        let problems = rows[0]["problems"].to_string();
        assert!(problems.contains(expected), "{name}: {problems}");
    }
}

#[test]
fn every_cut_of_a_real_program_is_survived() {
    let cx = Cx::new();
    let whole = std::fs::read("/bin/true").unwrap();
    for len in (0..whole.len()).step_by(whole.len() / 97) {
        cx.file(&format!("cuts/{len}"), &whole[..len]);
    }
    let rows = json(&cx, &["cuts"]);
    assert!(rows.len() > 90);
    for row in &rows {
        let told = row["kind"] == "error" || row["problems"].as_array().is_some_and(|list| !list.is_empty());
        assert!(told, "nothing is said of the damage: {row:#?}");
    }
}

#[test]
fn inputs_that_cannot_be_opened_fail_after_the_others_were_done() {
    let cx = Cx::new();
    cx.file("good", Header::mips().bytes());
    let ran = cx.run(["inspect", "--format", "json", "missing", "good"]);
    assert_eq!(ran.status, 2);
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(row(&rows, "good")["kind"], "elf");
    assert!(row(&rows, "missing")["message"].as_str().unwrap().contains("No such file"));
    // Where the rows go into a file, the reason is seen all the same, once, and before its hint.
    let text = cx.run(["inspect", "missing", "good", "good"]);
    assert_eq!(text.status, 2);
    assert!(text.stderr.starts_with("error: `missing`: it cannot be opened: No such file"), "{text:?}");
    assert!(!text.stdout.contains("missing"), "{text:?}");
}

#[test]
fn a_fifo_is_told_and_not_waited_for() {
    let cx = Cx::new();
    ran(cx.command("mkfifo").arg("pipe")).success();
    let ran = cx.run(["inspect", "--format", "json", "pipe"]);
    assert_eq!(ran.status, 2);
    assert!(ran.stdout.contains("fifo"), "{ran:?}");
    assert!(ran.stderr.contains("hint") && ran.stderr.contains("`-`"), "{ran:?}");
    // Within a directory it is passed over, as are sockets and devices.
    cx.file("d/good", Header::mips().bytes());
    std::fs::rename(cx.path("pipe"), cx.path("d/pipe")).unwrap();
    assert_eq!(json(&cx, &["d"]).len(), 1);
}

#[test]
fn loops_of_links_end() {
    let cx = Cx::new();
    cx.file("d/sub/good", Header::mips().bytes());
    std::os::unix::fs::symlink("..", cx.path("d/sub/up")).unwrap();
    std::os::unix::fs::symlink("self", cx.path("d/self")).unwrap();
    std::os::unix::fs::symlink("sub/good", cx.path("d/link")).unwrap();
    assert_eq!(json(&cx, &["d"]).len(), 1, "links beneath an input are not followed");
    // An input that is a link is what it leads to.
    assert_eq!(json(&cx, &["d/link"])[0]["kind"], "elf");
    let message = error(&cx, "d/self", 2);
    assert!(message.contains("symbolic links"), "{message}");
}

#[test]
fn unreadable_files_are_rows() {
    let cx = Cx::new();
    let secret = cx.file("d/secret", Header::mips().bytes());
    cx.file("d/good", Header::mips().bytes());
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000)).unwrap();
    std::fs::create_dir(cx.path("d/closed")).unwrap();
    std::fs::set_permissions(cx.path("d/closed"), std::fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = cx.as_nobody(env!("CARGO_BIN_EXE_polyarch"));
    let ran = ran(command.args(["inspect", "--format", "json", "d"]));
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap_or_else(|err| panic!("{err}: {ran:?}"));
    assert_eq!(row(&rows, "d/good")["kind"], "elf");
    for path in ["d/secret", "d/closed"] {
        assert!(row(&rows, path)["message"].as_str().unwrap().contains("Permission denied"), "{rows:#?}");
    }
    std::fs::set_permissions(cx.path("d/closed"), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn names_that_are_no_text_or_would_rewrite_the_screen_are_shown_safely() {
    let cx = Cx::new();
    let name = OsStr::from_bytes(b"d/bad\xff\x1b[2Jname");
    std::fs::create_dir(cx.path("d")).unwrap();
    std::fs::write(cx.path(name), Header::mips().bytes()).unwrap();
    let rows = json(&cx, &["d"]);
    assert_eq!(rows[0]["path_hex"], "642f626164ff1b5b324a6e616d65");
    let text = cx.run(["inspect", "d"]).success();
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn scripts_and_foreign_formats_are_named() {
    let cx = Cx::new();
    cx.file("d/a.sh", "#! /usr/bin/env  -S python3 -u\n");
    cx.file("d/dos.sh", "#!/bin/sh\r\n");
    let mut pe = vec![0; 0x46];
    pe[..2].copy_from_slice(b"MZ");
    pe[0x3c] = 0x40;
    pe[0x40..].copy_from_slice(b"PE\0\0\x64\xaa");
    cx.file("d/a.exe", &pe);
    cx.file("d/mac", b"\xcf\xfa\xed\xfe\x07\0\0\x01\x03\0\0\0rest");
    cx.file("d/Class.class", b"\xca\xfe\xba\xbe\0\0\0\x41rest of it");
    let rows = json(&cx, &["d"]);
    assert_eq!(row(&rows, "d/a.sh")["interpreter"], "/usr/bin/env");
    assert_eq!(row(&rows, "d/a.sh")["argument"], "-S python3 -u");
    assert_eq!(row(&rows, "d/dos.sh")["interpreter"], "/bin/sh\r");
    assert_eq!(row(&rows, "d/a.exe")["machine"], "ARM64");
    assert_eq!(row(&rows, "d/mac")["architectures"][0], "x86_64");
    assert_eq!(rows.len(), 4, "a Java class is none of these");
}

/// Makes `name` of the folder `from` with GNU tar and, for the compressed ones, the usual programs.
fn tar(cx: &Cx, name: &str, from: &str, options: &[&str]) {
    ran(cx.command("tar").args(["-cf", name, "-C", from]).args(options).arg(".")).success();
}

#[test]
fn archives_give_what_the_directory_gives() {
    let cx = Cx::new();
    cx.file("d/mips", Header::mips().bytes());
    // Longer than a header's name field, and short enough for ustar to split.
    cx.file(&format!("d/{0}/{0}/arm64", "long".repeat(20)), Header::aarch64().bytes());
    cx.file("d/run.sh", "#!/bin/sh\n");
    cx.file("d/text", "words");
    // A program with a hole behind its first block, and something at its end.
    let holey = std::fs::File::create(cx.path("d/holey")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&holey, &Header::mips().bytes(), 0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&holey, b"end", 3 << 20).unwrap();
    std::fs::copy("/bin/true", cx.path("d/true")).unwrap();
    std::fs::hard_link(cx.path("d/true"), cx.path("d/zz-true")).unwrap();
    let strip = |rows: Vec<Value>, prefix: &str| -> Vec<Value> {
        rows.into_iter()
            .map(|mut row| {
                let path = row["path"].as_str().unwrap().strip_prefix(prefix).unwrap().to_owned();
                row["path"] = path.into();
                row
            })
            .collect()
    };
    let expected = strip(json(&cx, &["d"]), "d/");
    assert_eq!(expected.len(), 6);
    for (name, options) in [
        ("gnu.tar", &["--format=gnu"][..]),
        ("pax.tar", &["--format=pax"]),
        ("sparse.tar", &["--format=pax", "--sparse"]),
        ("sparse-0.0.tar", &["--format=pax", "--sparse-version=0.0"]),
        ("sparse-0.1.tar", &["--format=pax", "--sparse-version=0.1"]),
        ("old-sparse.tar", &["--format=gnu", "--sparse"]),
        ("ustar.tar", &["--format=ustar"]),
        ("a.tar.gz", &["-z"]),
        ("a.tar.zst", &["--zstd"]),
        ("a.tar.xz", &["-J"]),
    ] {
        tar(&cx, name, "d", options);
        let is_sparse = name.contains("sparse");
        let len = std::fs::metadata(cx.path(name)).unwrap().len();
        assert_eq!(is_sparse || name.contains(".tar."), len < 3 << 20, "{name} has {len} bytes");
        assert_eq!(strip(json(&cx, &[name]), &format!("{name}!/")), expected, "{name}");
        // The same as a stream.
        let mut child = cx
            .polyarch()
            .args(["inspect", "--format", "json", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let bytes = std::fs::read(cx.path(name)).unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(strip(rows, "-!/"), expected, "{name} from standard input");
    }
}

#[test]
fn a_program_on_standard_input_is_inspected() {
    let cx = Cx::new();
    let program = std::fs::File::open("/bin/true").unwrap();
    let ran = ran(cx.polyarch().args(["inspect", "--format", "json", "-"]).stdin(program));
    let rows: Vec<Value> = serde_json::from_str(&ran.success()).unwrap();
    assert_eq!(rows[0]["kind"], "elf");
    assert_eq!(rows[0]["problems"], Value::Array(vec![]));
}

#[test]
fn damaged_archives_tell_what_came_before_the_damage() {
    let cx = Cx::new();
    cx.file("d/a-mips", Header::mips().bytes());
    std::fs::copy("/bin/bash", cx.path("d/z-bash")).unwrap();
    for (name, options) in [("a.tar", &[][..]), ("a.tar.gz", &["-z"]), ("a.tar.zst", &["--zstd"])] {
        ran(cx.command("tar").args(["-cf", name, "--sort=name", "-C", "d"]).args(options).arg(".")).success();
        let bytes = std::fs::read(cx.path(name)).unwrap();
        cx.file(name, &bytes[..bytes.len() / 2]);
        let ran = cx.run(["inspect", "--format", "json", name]);
        let rows: Vec<Value> =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|err| panic!("{err}: {ran:?}"));
        assert_eq!(row(&rows, &format!("{name}!/a-mips"))["kind"], "elf", "{name}");
        assert!(rows.iter().any(|row| row["kind"] == "error"), "{name}: {rows:#?}");
    }
    // Compressed, and no archive.
    let status = Command::new("gzip").arg(cx.file("words", "no tar")).status().unwrap();
    assert!(status.success());
    assert!(error(&cx, "words.gz", 2).contains("no tar archive"));
}

#[test]
fn a_member_larger_than_memory_allows_is_read_from_a_temporary_file() {
    let cx = Cx::new();
    let mut bytes = std::fs::read("/bin/true").unwrap();
    bytes.resize(100 << 20, 0);
    cx.file("d/large", &bytes);
    tar(&cx, "a.tar.gz", "d", &["-z"]);
    let ran = ran(cx.command("/usr/bin/time").args([
        "-f",
        "%M",
        env!("CARGO_BIN_EXE_polyarch"),
        "inspect",
        "--format",
        "json",
        "a.tar.gz",
    ]));
    let kib: u64 = ran.stderr.trim().parse().unwrap_or_else(|_| panic!("{ran:?}"));
    assert!(kib < 64 << 10, "{kib} KiB");
    let rows: Vec<Value> = serde_json::from_str(&ran.success()).unwrap();
    assert_eq!(rows[0]["linkage"], "dynamic");
    assert_eq!(rows[0]["problems"], Value::Array(vec![]));
}

#[test]
fn a_file_that_vanishes_does_not_stop_the_rest() {
    let cx = Cx::new();
    for index in 0..2000 {
        cx.file(&format!("d/{index}"), Header::mips().bytes());
    }
    let folder = cx.path("d");
    let remover = std::thread::spawn(move || {
        for index in (0..2000).rev() {
            std::fs::remove_file(folder.join(index.to_string())).unwrap();
        }
    });
    for _ in 0..10 {
        let ran = cx.run(["inspect", "--format", "json", "d"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
        for row in rows.iter().filter(|row| row["kind"] == "error") {
            assert!(row["message"].as_str().unwrap().contains("No such file"), "{row:#?}");
        }
    }
    remover.join().unwrap();
}

#[test]
fn output_into_a_closed_pipe_is_no_failure() {
    let cx = Cx::new();
    let program = env!("CARGO_BIN_EXE_polyarch");
    let script =
        format!("{program} inspect --format json /usr/lib | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}");
    let printed = ran(cx.command("bash").args(["-c", &script]));
    assert_eq!((printed.stdout.trim(), printed.stderr.as_str()), ("0", ""));
}

#[test]
fn a_long_path_does_not_break_the_table() {
    let cx = Cx::new();
    // Longer than any file system's paths; a pax header can hold it.
    let script = "import tarfile, io, sys
with tarfile.open('long.tar', 'w', format=tarfile.PAX_FORMAT) as tar:
    for name in ['x' * 70000, 'short']:
        data = open('prog', 'rb').read()
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
";
    cx.file("prog", Header::mips().bytes());
    ran(cx.command("python3").args(["-c", script])).success();
    let text = cx.run(["inspect", "long.tar"]).success();
    assert!(
        text.lines().any(|line| line.len() < 300 && line.contains("long.tar!/short")),
        "columns have a widest"
    );
}

#[test]
fn records_that_claim_gigabytes_are_not_kept() {
    let cx = Cx::new();
    // A GNU long name of 300 MiB of zeros, which is a few hundred KiB compressed.
    let script = "import tarfile, gzip
info = tarfile.TarInfo('././@LongLink')
info.type = tarfile.GNUTYPE_LONGNAME
info.size = 300 << 20
with gzip.open('bomb.tar.gz', 'wb', compresslevel=1) as out:
    out.write(info.tobuf(tarfile.GNU_FORMAT))
    for _ in range(300):
        out.write(b'a' * (1 << 20))
";
    ran(cx.command("python3").args(["-c", script])).success();
    let program = env!("CARGO_BIN_EXE_polyarch");
    let ran = ran(cx.command("/usr/bin/time").args([
        "-f",
        "%M",
        program,
        "inspect",
        "--format",
        "json",
        "bomb.tar.gz",
    ]));
    let kib: u64 = ran.stderr.lines().last().unwrap().trim().parse().unwrap_or_else(|_| panic!("{ran:?}"));
    assert!(kib < 64 << 10, "{kib} KiB");
    assert!(ran.stdout.contains("records are too large"), "{ran:?}");
}

#[test]
fn a_checksum_behind_the_last_member_counts() {
    let cx = Cx::new();
    cx.file("d/mips", Header::mips().bytes());
    tar(&cx, "a.tar.gz", "d", &["-z"]);
    let mut bytes = std::fs::read(cx.path("a.tar.gz")).unwrap();
    let crc = bytes.len() - 8;
    bytes[crc] ^= 1;
    cx.file("a.tar.gz", &bytes);
    let ran = cx.run(["inspect", "--format", "json", "a.tar.gz"]);
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(ran.stdout.contains("the archive is damaged"), "{ran:?}");
}

#[test]
fn trees_deeper_than_any_path_are_read() {
    let cx = Cx::new();
    cx.file("prog", Header::mips().bytes());
    let script = "mkdir deep && cd deep && for i in $(seq 60); do mkdir -p $0 && cd -P $0 || exit; done; cp ../prog . 2>/dev/null || cp \"$1\" .";
    let name = "n".repeat(100);
    let prog = cx.path("prog");
    ran(cx.command("bash").args(["-c", script, &name]).arg(prog)).success();
    let rows = json(&cx, &["deep"]);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["kind"], "elf", "{rows:#?}");
    // The tests' own clean-up goes by paths.
    ran(cx.command("rm").args(["-rf", "deep"])).success();
}

#[test]
fn a_path_with_a_delete_character_is_exact_in_json() {
    let cx = Cx::new();
    cx.file("d/a\x7fb\u{9b}c", Header::mips().bytes());
    let ran = cx.run(["inspect", "--format", "json", "d"]);
    assert!(ran.stdout.contains("d/a\\u007fb\\u009bc"), "{ran:?}");
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(rows[0]["path"], "d/a\x7fb\u{9b}c");
}

/// An ELF file that makes a reader work: all names of its dynamic section lead to one long string.
#[test]
fn names_that_multiply_are_bounded() {
    let cx = Cx::new();
    let script = "import struct
n, text = 20000, b'a' * 60000 + b'\\0'
phoff, dyn = 64, 64 + 2 * 56
size = dyn + (n + 3) * 16 + len(text)
strtab = dyn + (n + 3) * 16
head = b'\\x7fELF\\x02\\x01\\x01' + b'\\0' * 9 + struct.pack('<HHIQQQIHHHHHH', 3, 62, 1, 0, phoff, 0, 0, 64, 56, 2, 64, 0, 0)
load = struct.pack('<IIQQQQQQ', 1, 5, 0, 0, 0, size, size, 4096)
dynamic = struct.pack('<IIQQQQQQ', 2, 6, dyn, dyn, dyn, (n + 3) * 16, (n + 3) * 16, 8)
entries = struct.pack('<QQ', 5, strtab) + struct.pack('<QQ', 10, len(text)) + struct.pack('<QQ', 1, 0) * n + struct.pack('<QQ', 0, 0)
open('many', 'wb').write(head + load + dynamic + entries + text)
";
    ran(cx.command("python3").args(["-c", script])).success();
    let ran = cx.run(["inspect", "--format", "json", "many"]);
    assert!(ran.stdout.len() < 4 << 20, "{} bytes", ran.stdout.len());
    assert!(ran.stdout.contains("too many to be true"));
}
