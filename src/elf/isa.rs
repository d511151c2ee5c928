//! Which ISA level includes which.

use std::collections::BTreeSet;
use std::fmt;

/// Each level with those that it includes directly. MIPS release 6 took instructions away, and ARM's
/// profiles are apart, so this is no ladder.
const INCLUDES: &[(&str, &[&str])] = &[
    ("i386", &[]),
    ("i486", &["i386"]),
    ("i586", &["i486"]),
    ("i686", &["i586"]),
    ("pentium4", &["i686"]),
    ("x86-64", &[]),
    ("x86-64-v2", &["x86-64"]),
    ("x86-64-v3", &["x86-64-v2"]),
    ("x86-64-v4", &["x86-64-v3"]),
    ("armv4", &[]),
    ("armv4t", &["armv4"]),
    ("armv5t", &["armv4t"]),
    ("armv5te", &["armv5t"]),
    ("armv5tej", &["armv5te"]),
    ("armv6", &["armv5tej"]),
    ("armv6k", &["armv6"]),
    ("armv6kz", &["armv6k"]),
    ("armv6t2", &["armv6"]),
    ("armv6-m", &[]),
    ("armv6s-m", &["armv6-m"]),
    ("armv7", &["armv6-m", "armv6t2"]),
    ("armv7-m", &["armv7"]),
    ("armv7e-m", &["armv7-m"]),
    ("armv7-r", &["armv7", "armv6k"]),
    ("armv7-a", &["armv7", "armv6kz"]),
    ("armv8-m.base", &["armv6s-m"]),
    ("armv8-m.main", &["armv8-m.base", "armv7-m"]),
    ("armv8.1-m.main", &["armv8-m.main"]),
    ("armv8-r", &["armv7-r"]),
    ("armv8-a", &["armv7-a"]),
    ("armv8.1-a", &["armv8-a"]),
    ("armv8.2-a", &["armv8.1-a"]),
    ("armv8.3-a", &["armv8.2-a"]),
    ("armv8.4-a", &["armv8.3-a"]),
    ("armv8.5-a", &["armv8.4-a"]),
    ("armv8.6-a", &["armv8.5-a"]),
    ("armv8.7-a", &["armv8.6-a"]),
    ("armv8.8-a", &["armv8.7-a"]),
    ("armv8.9-a", &["armv8.8-a"]),
    ("armv9-a", &["armv8.5-a"]),
    ("armv9.1-a", &["armv9-a", "armv8.6-a"]),
    ("armv9.2-a", &["armv9.1-a", "armv8.7-a"]),
    ("armv9.3-a", &["armv9.2-a", "armv8.8-a"]),
    ("armv9.4-a", &["armv9.3-a", "armv8.9-a"]),
    ("armv9.5-a", &["armv9.4-a"]),
    ("mips1", &[]),
    ("mips2", &["mips1"]),
    ("mips3", &["mips2"]),
    ("mips4", &["mips3"]),
    ("mips5", &["mips4"]),
    ("mips32", &["mips2"]),
    ("mips32r2", &["mips32"]),
    ("mips32r3", &["mips32r2"]),
    ("mips32r5", &["mips32r3"]),
    ("mips32r6", &[]),
    ("mips64", &["mips5", "mips32"]),
    ("mips64r2", &["mips64", "mips32r2"]),
    ("mips64r3", &["mips64r2", "mips32r3"]),
    ("mips64r5", &["mips64r3", "mips32r5"]),
    ("mips64r6", &["mips32r6"]),
    ("power8", &[]),
    ("power9", &["power8"]),
    ("power10", &["power9"]),
    ("power11", &["power10"]),
    ("v8", &[]),
    ("v8plus", &["v8"]),
    ("v8plusa", &["v8plus"]),
    ("v8plusb", &["v8plusa"]),
    ("v9", &["v8plus"]),
    ("v9a", &["v9", "v8plusa"]),
    ("v9b", &["v9a", "v8plusb"]),
    ("sh1", &[]),
    ("sh2", &["sh1"]),
    ("sh2e", &["sh2"]),
    // What both branches of the family execute.
    ("sh2a-nofpu-or-sh3-nommu", &["sh2"]),
    ("sh2a-nofpu-or-sh4-nommu-nofpu", &["sh2a-nofpu-or-sh3-nommu"]),
    ("sh2a-or-sh3e", &["sh2a-nofpu-or-sh3-nommu", "sh2e"]),
    ("sh2a-or-sh4", &["sh2a-or-sh3e", "sh2a-nofpu-or-sh4-nommu-nofpu"]),
    ("sh2a-nofpu", &["sh2a-nofpu-or-sh4-nommu-nofpu"]),
    ("sh2a", &["sh2a-nofpu", "sh2a-or-sh4"]),
    ("sh-dsp", &["sh2"]),
    ("sh3-nommu", &["sh2a-nofpu-or-sh3-nommu"]),
    ("sh3", &["sh3-nommu"]),
    ("sh3-dsp", &["sh3", "sh-dsp"]),
    ("sh3e", &["sh3", "sh2a-or-sh3e"]),
    ("sh4-nommu-nofpu", &["sh3-nommu", "sh2a-nofpu-or-sh4-nommu-nofpu"]),
    ("sh4-nofpu", &["sh4-nommu-nofpu", "sh3"]),
    ("sh4", &["sh4-nofpu", "sh3e", "sh2a-or-sh4"]),
    ("sh4a-nofpu", &["sh4-nofpu"]),
    ("sh4a", &["sh4a-nofpu", "sh4"]),
    ("sh4al-dsp", &["sh4a-nofpu", "sh3-dsp"]),
    ("pa1.0", &[]),
    ("pa1.1", &["pa1.0"]),
    ("pa2.0", &["pa1.1"]),
    ("m68000", &[]),
    // The target's: programs for it do not say more than that they are no ColdFire's.
    ("m68040", &["m68000"]),
    ("cpu32", &["m68000"]),
    ("fido", &["cpu32"]),
    ("isa-a-nodiv", &[]),
    ("isa-a", &["isa-a-nodiv"]),
    ("isa-a-plus", &["isa-a"]),
    ("isa-b-nousp", &["isa-a"]),
    ("isa-b", &["isa-b-nousp"]),
    ("isa-c-nodiv", &["isa-a-nodiv"]),
    ("isa-c", &["isa-c-nodiv", "isa-a"]),
    ("hexagonv2", &[]),
    ("hexagonv3", &["hexagonv2"]),
    ("hexagonv4", &["hexagonv3"]),
    ("hexagonv5", &["hexagonv4"]),
    ("hexagonv55", &["hexagonv5"]),
    ("hexagonv60", &["hexagonv55"]),
    ("hexagonv61", &["hexagonv60"]),
    ("hexagonv62", &["hexagonv61"]),
    ("hexagonv65", &["hexagonv62"]),
    ("hexagonv66", &["hexagonv65"]),
    ("hexagonv67", &["hexagonv66"]),
    ("hexagonv68", &["hexagonv67"]),
    ("hexagonv69", &["hexagonv68"]),
    ("hexagonv71", &["hexagonv69"]),
    ("hexagonv73", &["hexagonv71"]),
];

/// The names of all levels but RISC-V's, which are made of extensions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    INCLUDES.iter().map(|(name, _)| *name)
}

/// Whether a machine of level `has` executes code of level `needs`; `None` where a name is unknown.
pub(super) fn includes(has: &str, needs: &str) -> Option<bool> {
    if let (Some(has), Some(needs)) = (RiscV::parse(has), RiscV::parse(needs)) {
        return Some(has.includes(&needs));
    }
    let direct = |name: &str| INCLUDES.iter().find(|(known, _)| *known == name).map(|(_, direct)| *direct);
    direct(needs)?;
    let mut open = vec![(has, direct(has)?)];
    while let Some((name, includes)) = open.pop() {
        if name == needs {
            return Some(true);
        }
        open.extend(includes.iter().filter_map(|name| direct(name).map(|direct| (*name, direct))));
    }
    Some(false)
}

/// A RISC-V ISA: the width of its registers and its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RiscV {
    bits: u32,
    extensions: BTreeSet<String>,
}

/// Single-letter extensions in the order in which the specification writes them.
const ORDER: &str = "iemafdqlcbkjtpvh";
/// What `g` stands for.
const GENERAL: &[&str] = &["i", "m", "a", "f", "d"];
/// Extensions that others imply, so that naming them tells nothing: (implied, by which).
const IMPLIED: &[(&str, &str)] = &[
    ("zicsr", "f"),
    ("zifencei", "i"),
    ("zmmul", "m"),
    ("zaamo", "a"),
    ("zalrsc", "a"),
    ("zca", "c"),
    ("zcd", "c"),
    ("zcf", "c"),
    ("zve32x", "v"),
    ("zve32f", "v"),
    ("zve64x", "v"),
    ("zve64f", "v"),
    ("zve64d", "v"),
    ("zvl32b", "v"),
    ("zvl64b", "v"),
    ("zvl128b", "v"),
    ("zba", "b"),
    ("zbb", "b"),
    ("zbs", "b"),
];
/// Application profiles (RISC-V Profiles), as far as code can need them.
const PROFILES: &[(&str, &str)] = &[
    ("rva20u64", "rv64gc"),
    ("rva22u64", "rv64gc_zba_zbb_zbs_zfhmin_zkt"),
    ("rva23u64", "rv64gcv_zba_zbb_zbs_zfhmin_zkt_zcb_zfa_zicond_zvbb_zvfhmin"),
];

impl RiscV {
    /// Reads `rv64gc`, `rv64i2p1_m2p0_zba1p0` and the profiles' names.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = PROFILES.iter().find(|(name, _)| *name == text).map_or(text, |(_, isa)| isa);
        let digits = text.strip_prefix("rv")?;
        let end = digits.find(|character: char| !character.is_ascii_digit())?;
        let bits = digits[..end].parse().ok().filter(|bits| matches!(bits, 32 | 64 | 128))?;
        let mut extensions = BTreeSet::new();
        for part in digits[end..].split('_').filter(|part| !part.is_empty()) {
            if part.starts_with(['z', 's', 'x']) {
                extensions.insert(without_version(part).to_owned());
                continue;
            }
            let mut rest = part;
            while let Some(letter) = rest.chars().next() {
                rest = &rest[letter.len_utf8()..];
                // A long name may follow the letters without an underscore.
                if matches!(letter, 'z' | 's' | 'x') {
                    extensions.insert(format!("{letter}{}", without_version(rest)));
                    break;
                }
                if letter == 'g' {
                    extensions.extend(GENERAL.iter().map(|&name| name.to_owned()));
                } else if ORDER.contains(letter) {
                    extensions.insert(letter.to_string());
                } else {
                    return None;
                }
                rest = version_end(rest);
            }
        }
        (!extensions.is_empty()).then(|| Self { bits, extensions }.reduced())
    }

    fn reduced(mut self) -> Self {
        for (implied, by) in IMPLIED {
            if self.extensions.contains(*by) {
                self.extensions.remove(*implied);
            }
        }
        self
    }

    fn includes(&self, other: &Self) -> bool {
        let has = |name: &String| {
            self.extensions.contains(name)
                || IMPLIED.iter().any(|(implied, by)| implied == name && self.extensions.contains(*by))
                // The bit-manipulation extension is nothing but its three parts.
                || (name == "b" && ["zba", "zbb", "zbs"].iter().all(|part| self.extensions.contains(*part)))
        };
        self.bits == other.bits && other.extensions.iter().all(has)
    }
}

/// `2p1` at the start of `text` left out.
fn version_end(text: &str) -> &str {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let major = digits(text);
    if major == 0 {
        return text;
    }
    let rest = &text[major..];
    match rest.strip_prefix('p').map(|minor| (minor, digits(minor))) {
        Some((minor, count)) if count > 0 => &minor[count..],
        _ => rest,
    }
}

/// `zba1p0` without its version.
fn without_version(name: &str) -> &str {
    let major = name.trim_end_matches(|character: char| character.is_ascii_digit());
    let Some(before) = major
        .strip_suffix('p')
        .filter(|before| major.len() < name.len() && before.ends_with(|c: char| c.is_ascii_digit()))
    else {
        return name;
    };
    before.trim_end_matches(|character: char| character.is_ascii_digit())
}

impl fmt::Display for RiscV {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rv{}", self.bits)?;
        let is_general = GENERAL.iter().all(|name| self.extensions.contains(*name));
        if is_general {
            write!(f, "g")?;
        }
        for letter in ORDER.chars().map(String::from) {
            if self.extensions.contains(&letter) && !(is_general && GENERAL.contains(&letter.as_str())) {
                write!(f, "{letter}")?;
            }
        }
        for name in self.extensions.iter().filter(|name| name.len() > 1) {
            write!(f, "_{name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_include_those_below_them() {
        assert_eq!(includes("armv7-a", "armv5te"), Some(true));
        assert_eq!(includes("armv6kz", "armv7-a"), Some(false));
        assert_eq!(includes("armv6kz", "armv6t2"), Some(false));
        assert_eq!(includes("mips32r2", "mips1"), Some(true));
        assert_eq!(includes("mips32r6", "mips32r2"), Some(false));
        assert_eq!(includes("mips64r2", "mips32r2"), Some(true));
        assert_eq!(includes("x86-64-v2", "x86-64-v3"), Some(false));
        assert_eq!(includes("x86-64", "nonsense"), None);
    }

    #[test]
    fn every_level_that_is_included_is_known() {
        for (name, direct) in INCLUDES {
            for included in *direct {
                assert_eq!(includes(name, included), Some(true), "{name} {included}");
            }
        }
    }

    #[test]
    fn riscv_names_are_read_and_written_as_people_do() {
        let name = |text| RiscV::parse(text).map(|isa| isa.to_string());
        assert_eq!(name("rv64i2p1_m2p0_a2p1_f2p2_d2p2_c2p0_zicsr2p0_zifencei2p0").as_deref(), Some("rv64gc"));
        assert_eq!(name("rv64imafdc").as_deref(), Some("rv64gc"));
        assert_eq!(name("rv64i2p0_m2p0_a2p0_f2p0_d2p0_c2p0").as_deref(), Some("rv64gc"));
        assert_eq!(name("rv32imac").as_deref(), Some("rv32imac"));
        assert_eq!(name("rv64gcv1p0_zba1p0_zvl128b1p0").as_deref(), Some("rv64gcv_zba"));
        assert_eq!(name("rv32e1p9").as_deref(), Some("rv32e"));
        for nonsense in ["", "rv", "rv64", "rv65i", "rv64y", "x86-64", "rv64é"] {
            assert_eq!(name(nonsense), None, "{nonsense}");
        }
        assert_eq!(includes("rv64gc", "rv64imac"), Some(true));
        assert_eq!(includes("rv64gc", "rv64gc_zba"), Some(false));
        assert_eq!(includes("rva22u64", "rv64gcb"), Some(true));
        assert_eq!(includes("rv64gc", "rv32imac"), Some(false));
    }
}
