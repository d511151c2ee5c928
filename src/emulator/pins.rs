//! Which package file an emulator is taken from: pinned by version and digest, per host and suite.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::{EmulatorError, PinFault};
use crate::debian::{Package, Sha256};

/// `targets/emulators.toml`.
const BUILTIN: &str = include_str!("../../targets/emulators.toml");

/// What such a file begins with where we write it.
const HEAD: &str = "\
# The package files that emulators are taken from. Written by `polyarch emulator update`, which has read them in indexes
# that Debian's archive keys have signed. `file` is the path on a mirror; `time` that of a dated snapshot that has it.
";

/// The largest file of pins that is read, in bytes; ours has 30 kB.
const LIMIT: u64 = 4 << 20;

/// One package file with emulators for one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The host, by Debian's name of the architecture.
    pub architecture: String,
    /// The suite whose signed index named the file.
    pub suite: String,
    /// The package's name.
    pub name: String,
    /// Its Debian version.
    pub version: String,
    /// The file, from a mirror's root.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest, in hexadecimal digits.
    pub sha256: String,
    /// A time at which the archive had the file, as the dated archive writes it: `20261101T000000Z`.
    pub time: String,
    /// The guests whose emulators are in it, by QEMU's names.
    pub guests: Vec<String>,
}

/// A set of pins, one for each host and suite.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// In no particular order.
    #[serde(default, rename = "package")]
    pub packages: Vec<Pin>,
}

impl Pins {
    /// Those that are part of the program.
    ///
    /// # Panics
    /// Never: a test holds the file.
    #[must_use]
    pub fn builtin() -> &'static Self {
        static PINS: LazyLock<Pins> =
            LazyLock::new(|| toml::from_str(BUILTIN).expect("a test holds `targets/emulators.toml`"));
        &PINS
    }

    /// Those of the program, and instead of them those of the file at `path`, if there is one.
    ///
    /// # Errors
    /// [`EmulatorError::Pins`] where it is not right.
    pub fn with(path: &Path) -> Result<Self, EmulatorError> {
        let mut pins = Self::builtin().clone();
        for pin in Self::read(path)?.unwrap_or_default().packages {
            pins.put(pin);
        }
        Ok(pins)
    }

    /// Those of a file; `None` where there is none.
    ///
    /// # Errors
    /// [`EmulatorError::Pins`] where it is not right.
    pub fn read(path: &Path) -> Result<Option<Self>, EmulatorError> {
        let failed = |source| EmulatorError::Read { path: path.into(), source };
        let wrong = |fault| EmulatorError::Pins { path: path.into(), fault };
        let mut text = String::new();
        match File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_string(&mut text)) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(source)),
            Ok(size) if size as u64 > LIMIT => return Err(wrong(PinFault::Size { limit: LIMIT })),
            Ok(_) => {}
        }
        let pins: Self = toml::from_str(&text).map_err(|source| wrong(PinFault::Form(Box::new(source))))?;
        for (index, pin) in pins.packages.iter().enumerate() {
            let of = || (pin.architecture.clone(), pin.suite.clone());
            if let Err(field) = pin.check() {
                let (architecture, suite) = of();
                return Err(wrong(PinFault::Field { architecture, suite, field }));
            }
            if pins.packages[..index].iter().any(|other| other.is_for(&pin.architecture, &pin.suite)) {
                let (architecture, suite) = of();
                return Err(wrong(PinFault::Twice { architecture, suite }));
            }
        }
        Ok(Some(pins))
    }

    /// The pin for a host and a suite.
    #[must_use]
    pub fn get(&self, architecture: &str, suite: &str) -> Option<&Pin> {
        self.packages.iter().find(|pin| pin.is_for(architecture, suite))
    }

    /// Takes `pin` in, in place of that for the same host and suite.
    pub fn put(&mut self, pin: Pin) {
        match self.packages.iter_mut().find(|old| old.is_for(&pin.architecture, &pin.suite)) {
            Some(old) => *old = pin,
            None => self.packages.push(pin),
        }
    }

    /// The pins as a file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut sorted = self.packages.clone();
        sorted.sort_by(|a, b| (&a.architecture, &a.suite).cmp(&(&b.architecture, &b.suite)));
        // Strings, numbers and lists of strings can always be written.
        let text = toml::to_string(&Self { packages: sorted }).unwrap_or_default();
        format!("{HEAD}\n{text}")
    }
}

impl Pin {
    fn is_for(&self, architecture: &str, suite: &str) -> bool {
        self.architecture == architecture && self.suite == suite
    }

    /// Which of the fields is not right.
    fn check(&self) -> Result<(), &'static str> {
        let is_word = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._+:~".contains(&byte))
        };
        let shape: String = self.time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        let is_path = self.file.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !self.file.contains(|c: char| c.is_control() || matches!(c, '\\' | '?' | '#'));
        let checks = [
            ("architecture", is_word(&self.architecture)),
            ("suite", is_word(&self.suite)),
            ("name", is_word(&self.name)),
            ("version", is_word(&self.version)),
            ("file", is_path),
            ("sha256", self.sha256.parse::<Sha256>().is_ok()),
            ("time", shape == "00000000T000000Z"),
            ("guests", self.guests.iter().all(|guest| is_word(guest))),
        ];
        checks.into_iter().find(|(_, is_right)| !is_right).map_or(Ok(()), |(field, _)| Err(field))
    }

    /// The package that it names; `None` where its digest is none, which reading it refuses.
    pub(super) fn package(&self) -> Option<Package> {
        let digest = self.sha256.parse().ok()?;
        Some(Package::new(&self.name, &self.version, &self.architecture, &self.file, self.size, digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Catalogue;

    #[test]
    fn the_programs_own_pins_are_right_and_cover_every_host() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), BUILTIN).unwrap();
        let pins = Pins::read(file.path()).unwrap().unwrap();
        assert_eq!(&pins, Pins::builtin());
        // As `update` writes it.
        assert_eq!(pins.to_toml(), BUILTIN);
        for target in Catalogue::builtin().targets() {
            let Some(debian) = &target.debian else { continue };
            let of_host: Vec<&Pin> =
                pins.packages.iter().filter(|pin| pin.architecture == debian.architecture).collect();
            assert!(debian.suites.is_empty() || !of_host.is_empty(), "no pin for {}", debian.architecture);
            for pin in of_host {
                assert!(debian.suites.contains(&pin.suite), "{pin:?}");
                assert!(pin.file.starts_with("pool/main/q/qemu/qemu-user"), "{pin:?}");
                assert!(pin.guests.len() > 10 && pin.guests.is_sorted(), "{pin:?}");
            }
        }
    }

    #[test]
    fn a_pin_that_is_not_right_is_refused() {
        let pin = "[[package]]\narchitecture = \"armhf\"\nsuite = \"s\"\nname = \"n\"\nversion = \"1:1\"\n\
                   file = \"pool/n.deb\"\nsize = 1\ntime = \"20260711T101637Z\"\nguests = [\"mips\"]\n\
                   sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n";
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            Pins::read(file.path()).map_err(|err| err.to_string())
        };
        assert_eq!(read(pin).unwrap().unwrap().packages.len(), 1);
        for (from, to, what) in [
            ("pool/n.deb", "pool/../n.deb", "`file`"),
            ("pool/n.deb", "/pool/n.deb", "`file`"),
            ("000000\"", "00000x\"", "`sha256`"),
            ("T101637", " 101637", "`time`"),
            ("\"s\"", "\"a/b\"", "`suite`"),
            ("[\"mips\"]", "[\"../mips\"]", "`guests`"),
            ("size = 1", "size = -1", "size"),
            ("size = 1", "size = 1\nurl = \"x\"", "url"),
        ] {
            let err = read(&pin.replacen(from, to, 1)).unwrap_err();
            assert!(err.contains(what), "{to}: {err}");
        }
        assert!(read(&format!("{pin}{pin}")).unwrap_err().contains("two pins"));
        assert_eq!(Pins::read(Path::new("/nonexistent/pins")).unwrap(), None);
    }
}
