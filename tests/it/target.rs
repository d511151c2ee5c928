//! The catalogue, and the `target` verbs.

use std::fs;
use std::path::Path;

use polyarch::target::{Catalogue, Platform, machine};
use serde_json::Value;

use crate::support::Cx;

/// What the catalogue must hold: (target, guest).
const WANTED: &[(&str, &str)] = &[
    ("linux/386", "i386"),
    ("linux/alpha", "alpha"),
    ("linux/amd64", "x86_64"),
    ("linux/arm/v5", "arm"),
    ("linux/arm/v6", "arm"),
    ("linux/arm/v7", "arm"),
    ("linux/arm64", "aarch64"),
    ("linux/arm64be", "aarch64_be"),
    ("linux/armeb", "armeb"),
    ("linux/hexagon", "hexagon"),
    ("linux/hppa", "hppa"),
    ("linux/loong64", "loongarch64"),
    ("linux/m68k", "m68k"),
    ("linux/microblaze", "microblaze"),
    ("linux/microblazeel", "microblazeel"),
    ("linux/mips", "mips"),
    ("linux/mips64", "mips64"),
    ("linux/mips64le", "mips64el"),
    ("linux/mipsle", "mipsel"),
    ("linux/mipsn32", "mipsn32"),
    ("linux/mipsn32le", "mipsn32el"),
    ("linux/or1k", "or1k"),
    ("linux/ppc", "ppc"),
    ("linux/ppc64", "ppc64"),
    ("linux/ppc64le", "ppc64le"),
    ("linux/riscv32", "riscv32"),
    ("linux/riscv64", "riscv64"),
    ("linux/s390x", "s390x"),
    ("linux/sh4", "sh4"),
    ("linux/sparc", "sparc"),
    ("linux/sparc32plus", "sparc32plus"),
    ("linux/sparc64", "sparc64"),
    ("linux/xtensa", "xtensa"),
    ("linux/xtensaeb", "xtensaeb"),
    ("routeros/arm", "arm"),
    ("routeros/arm-en7562ct", "arm"),
    ("routeros/arm64", "aarch64"),
    ("routeros/mipsbe", "mips"),
    ("routeros/mmips", "mipsel"),
    ("routeros/ppc", "ppc"),
    ("routeros/smips", "mips"),
    ("routeros/tile", "tilegx"),
    ("routeros/x86", "x86_64"),
];

#[test]
fn the_catalogue_holds_every_guest_and_routeros() {
    let found: Vec<(&str, &str)> = Catalogue::builtin()
        .targets()
        .iter()
        .map(|target| (target.name.as_str(), target.qemu.guest.as_str()))
        .collect();
    assert_eq!(found, WANTED);
}

#[test]
fn each_file_is_named_after_its_target_and_each_guest_has_one_rule() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets");
    let mut rules: Vec<String> = Vec::new();
    for (name, guest) in WANTED {
        let file = folder.join(format!("{}.toml", name.replace('/', "-")));
        let text = fs::read_to_string(&file).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
        assert!(text.contains(&format!("name = \"{name}\"\n")), "{}", file.display());
        if text.contains("\n[binfmt]\n") {
            rules.push((*guest).to_owned());
        }
    }
    rules.sort();
    let guests: Vec<&str> = Catalogue::builtin().guests().iter().map(|guest| guest.name.as_str()).collect();
    assert_eq!(rules, guests);
    let files = fs::read_dir(folder).unwrap().filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        // The pins of emulators are no target.
        path.extension().is_some_and(|extension| extension == "toml") && !path.ends_with("emulators.toml")
    });
    assert_eq!(files.count(), WANTED.len());
}

#[test]
fn a_profile_and_its_rule_agree() {
    for target in Catalogue::builtin().targets() {
        let rule = target.binfmt.as_ref().unwrap();
        let class = [0, 32, 64][usize::from(rule.magic[4])];
        let big = rule.magic[5] == 2;
        let half = [rule.magic[18], rule.magic[19]];
        let number = if big { u16::from_be_bytes(half) } else { u16::from_le_bytes(half) };
        assert_eq!(class, target.elf.class, "{}", target.name);
        assert_eq!(big, format!("{:?}", target.elf.endianness) == "Big", "{}", target.name);
        assert_eq!(Some(number), machine::id(&target.elf.machines[0]), "{}", target.name);
        assert_eq!(rule.mask[18..20], [0xff, 0xff], "{}", target.name);
        let in_routeros = target.name.starts_with("routeros/");
        assert_eq!(target.routeros.is_some(), in_routeros, "{}", target.name);
        if !in_routeros {
            assert_eq!(target.platform.to_string(), target.name);
        }
        // RouterOS's notes say how sure they are.
        for note in target.routeros.iter().flat_map(|routeros| &routeros.notes) {
            let mark = note.split(':').next().unwrap();
            assert!(
                ["confirmed", "reported", "inferred", "unknown"].contains(&mark),
                "{}: {note}",
                target.name
            );
        }
    }
}

#[test]
fn guests_are_known_by_oci_name_qemu_name_and_target_name() {
    let catalogue = Catalogue::builtin();
    for (name, guest) in [
        ("386", "i386"),
        ("i386", "i386"),
        ("linux/386", "i386"),
        ("amd64", "x86_64"),
        ("x86_64", "x86_64"),
        ("arm", "arm"),
        ("arm/v5", "arm"),
        ("linux/arm/v7", "arm"),
        ("arm64", "aarch64"),
        ("linux/arm64/v8", "aarch64"),
        ("mipsle", "mipsel"),
        ("mipsel", "mipsel"),
        ("ppc64le", "ppc64le"),
        ("loong64", "loongarch64"),
        ("routeros/mmips", "mipsel"),
        ("routeros/tile", "tilegx"),
    ] {
        assert_eq!(catalogue.guest(name).unwrap().name, guest, "{name}");
    }
    for (target, guest) in WANTED {
        assert_eq!(catalogue.guest(target).unwrap().name, *guest);
        assert_eq!(catalogue.guest(guest).unwrap().name, *guest);
    }
    let wrong = catalogue.guest("mipsell").unwrap_err();
    assert!(wrong.hint().unwrap().contains("`mipsel`"), "{:?}", wrong.hint());
}

#[test]
fn list_prints_a_row_a_target() {
    let cx = Cx::new();
    let text = cx.run(["target", "list"]).success();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + WANTED.len(), "{text}");
    let words = |line: &str| line.split_whitespace().take(5).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(lines[0]), ["NAME", "PLATFORM", "GUEST", "CPU", "DEBIAN"]);
    for ((name, guest), line) in WANTED.iter().zip(&lines[1..]) {
        let words = words(line);
        assert_eq!((words[0].as_str(), words[2].as_str()), (*name, *guest));
        assert_eq!(*line, line.trim_end());
    }
    let mips = lines.iter().find(|line| line.starts_with("routeros/mipsbe")).unwrap();
    assert_eq!(words(mips), ["routeros/mipsbe", "linux/mips", "mips", "24Kc", "mips"]);
    // All columns begin where their headings do.
    let at = lines[0].find("DESCRIPTION").unwrap();
    assert!(lines.iter().all(|line| line.as_bytes()[at - 1] == b' ' && line.as_bytes()[at] != b' '));
}

#[test]
fn list_prints_json() {
    let cx = Cx::new();
    let list: Vec<Value> =
        serde_json::from_str(&cx.run(["target", "list", "--format", "json"]).success()).unwrap();
    let names: Vec<&str> = list.iter().map(|target| target["name"].as_str().unwrap()).collect();
    assert_eq!(names, WANTED.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let v5 = list.iter().find(|target| target["name"] == "linux/arm/v5").unwrap();
    assert_eq!(v5["platform"]["variant"], "v5");
    assert_eq!(v5["elf"]["float_abi"], serde_json::json!(["soft"]));
    assert_eq!(v5["qemu"]["guest"], "arm");
    assert_eq!(v5["debian"]["architecture"], "armel");
    assert!(v5["binfmt"]["magic"].as_str().unwrap().starts_with("7f454c460101"));
    assert!(v5["routeros"].is_null());
}

#[test]
fn show_finds_a_target_by_each_of_its_names() {
    let cx = Cx::new();
    let text = cx.run(["target", "show", "linux/arm64"]).success();
    for line in [
        "linux/arm64  64-bit ARM",
        "  machine       AARCH64",
        "  page size     65536 bytes",
        "  guest         aarch64",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    for name in ["arm64", "linux/arm64/v8", "linux/aarch64", "aarch64"] {
        assert_eq!(cx.run(["target", "show", name]).success(), text, "{name}");
    }
    let tile = cx.run(["target", "show", "routeros/tile"]).success();
    assert!(tile.contains("  until         5.2\n") && tile.contains("  containers    no\n"), "{tile}");
    let json: Value =
        serde_json::from_str(&cx.run(["target", "show", "routeros/x86", "--format", "json"]).success())
            .unwrap();
    assert_eq!(json["routeros"]["containers"], true);
}

#[test]
fn a_target_survives_its_own_toml() {
    let cx = Cx::new();
    let catalogue = Catalogue::builtin();
    for target in catalogue.targets() {
        let file = cx.file("copy.toml", target.to_toml());
        assert_eq!(&catalogue.resolve(file.to_str().unwrap()).unwrap(), target);
    }
    let text = cx.run(["target", "show", "--format", "toml", "routeros/mmips"]).success();
    cx.file("my-board.toml", text.replace("routeros/mmips", "my/board").replace("24KEc", "34Kf"));
    let shown = cx.run(["target", "show", "./my-board.toml"]).success();
    assert!(shown.starts_with("my/board  "), "{shown}");
    assert!(shown.contains("  cpu           34Kf\n"), "{shown}");
    // A file without a rule takes its guest's.
    let without: String = text.split("[binfmt]").next().unwrap().into();
    cx.file("without.toml", without);
    let target = catalogue.resolve(cx.path("without.toml").to_str().unwrap()).unwrap();
    assert_eq!(target.binfmt, catalogue.target("linux/mipsle").unwrap().binfmt);
}

#[test]
fn a_file_that_is_not_right_says_where_and_why() {
    let cx = Cx::new();
    let right = Catalogue::builtin().target("linux/mips").unwrap().to_toml();
    let edited = |from: &str, to: &str| {
        assert!(right.contains(from), "{from:?} is not in\n{right}");
        right.replacen(from, to, 1)
    };
    let unheard = right.split("\n[binfmt]").next().unwrap().replace("guest = \"mips\"", "guest = \"z80\"");
    for (name, text, reason) in [
        ("unknown-key", edited("page-size", "pagesize"), "unknown field `pagesize`"),
        ("no-guest", edited("guest = \"mips\"\n", ""), "missing field `guest`"),
        ("no-toml", edited("[elf]", "[elf"), "TOML parse error at line 5"),
        (
            "hex",
            edited("magic = \"7f45", "magic = \"7g45"),
            "`magic` is not made of pairs of hexadecimal digits",
        ),
        ("odd-hex", edited("mask = \"ff", "mask = \"f"), "`mask` is not made of pairs of hexadecimal digits"),
        ("lengths", edited("mask = \"ff", "mask = \""), "`magic` has 40 bytes and `mask` 39"),
        ("no-elf", edited("magic = \"7f", "magic = \"7e"), "`magic` does not begin with ELF's own"),
        ("class", edited("class = 32", "class = 16"), "`elf.class` is 16, which is neither 32 nor 64"),
        ("class-kind", edited("class = 32", "class = \"32\""), "invalid type: string \"32\", expected u8"),
        ("order", edited("\"big\"", "\"middle\""), "unknown variant `middle`"),
        ("machine", edited("\"MIPS\"", "\"MIPZ\""), "`elf.machine` holds `MIPZ`"),
        ("page", edited("65536", "5000"), "`elf.page-size` is 5000"),
        ("abi", edited("\"o32\"", "\"o23\""), "`elf.abi` holds `o23`, which is none of `eabi5`"),
        ("float", edited("float-abi = []", "float-abi = [\"sotf\"]"), "`elf.float-abi` holds `sotf`"),
        ("platform", edited("platform = \"linux/mips\"", "platform = \"mips\""), "`platform` is `mips`"),
        ("guest", edited("guest = \"mips\"", "guest = \"../mips\""), "`qemu.guest` is `../mips`"),
        (
            "no-rule",
            unheard,
            "`qemu.guest` is `z80`, which the catalogue does not have, and there is no `[binfmt]`",
        ),
        ("long", "#".repeat(2 << 20), "it is longer than 1048576 bytes"),
    ] {
        cx.file(&format!("{name}.toml"), text);
        let ran = cx.run(["target", "show", &format!("./{name}.toml")]);
        assert_eq!(ran.stdout, "", "{name}");
        let stderr = ran.failure(2);
        assert!(stderr.starts_with("error: the target file `./"), "{name}: {stderr}");
        assert!(stderr.contains(reason), "{name}: {reason}\n{stderr}");
        assert!(
            stderr.contains("hint: `polyarch target show --format toml linux/arm64`"),
            "{name}: {stderr}"
        );
    }
}

#[test]
fn names_that_are_not_there_are_told_with_the_nearest() {
    let cx = Cx::new();
    let stderr = cx.run(["target", "show", "routeros/mipsb"]).failure(2);
    assert_eq!(
        stderr,
        "error: no target is called `routeros/mipsb`\nhint: did you mean `routeros/mipsbe`? `polyarch target list` shows all\n"
    );
    let stderr = cx.run(["target", "show", "qqq"]).failure(2);
    assert!(stderr.contains("no target is called `qqq`") && stderr.contains("./my-board.toml"), "{stderr}");
    let stderr = cx.run(["target", "show", "./absent.toml"]).failure(2);
    assert!(stderr.contains("reading the target file `./absent.toml`"), "{stderr}");
    assert!(stderr.contains("  caused by: No such file or directory"), "{stderr}");
    cx.file("folder.toml/x", "");
    cx.run(["target", "show", "folder.toml"]).failure(2);
    cx.file("bytes.toml", b"\xff\xfe");
    cx.run(["target", "show", "bytes.toml"]).failure(2);
    cx.run(["target", "show"]).failure(2);
    cx.run(["target", "list", "--format", "yaml"]).failure(2);
}

#[test]
fn every_platform_of_the_catalogue_is_written_as_registries_write_it() {
    for target in Catalogue::builtin().targets() {
        let platform: Platform = target.platform.to_string().parse().unwrap();
        assert_eq!(platform, target.platform);
    }
}

#[test]
fn excluded_families_are_of_features_that_there_are() {
    use polyarch::elf::values::FEATURES;
    let names: Vec<&str> = FEATURES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    for target in Catalogue::builtin().targets() {
        for family in &target.elf.excludes {
            assert!(
                names.iter().any(|name| name.starts_with(family.as_str())),
                "{}: `{family}`",
                target.name
            );
        }
    }
}
