//! Holding one subject against one target.

mod closure;
mod emulate;
mod fit;
mod image;
mod start;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::subject::{File, Subject};
use super::{Finding, Layer, Rule, Severity};
use crate::elf::{Identity, Mismatch};
use crate::target::{Catalogue, Guest, Target};
use crate::tree::libraries::Memo;

/// What is held besides the target.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether what is held is for a RouterOS device.
    pub routeros: bool,
    /// Whether the image is a base for others, which need not say what it runs.
    pub base: bool,
    /// Whether all programs have to be static.
    pub all_static: bool,
    /// Whether the programs are run by qemu-user where they go.
    pub emulated: bool,
    /// The kernel that programs have to do with, as `major.minor[.patch]`; the target's, without.
    pub kernel: Option<String>,
    /// How much room the unpacked image has, in bytes; that of the target's boards, without.
    pub flash: Option<u64>,
}

/// Holds `subject` against `target`: without one, against itself only.
#[must_use]
pub fn judge(subject: &Subject<'_>, target: Option<&Target>, options: &Options) -> Vec<Finding> {
    let mut judge = Judge {
        subject,
        target,
        options,
        memo: subject.root.map(|root| Memo::new(root)),
        findings: Vec::new(),
        told: HashSet::new(),
        blamed: HashSet::new(),
        unknown: BTreeMap::new(),
        arch: HashMap::new(),
        loaders: HashSet::new(),
        served: Vec::new(),
    };
    judge.sort_files();
    judge.platform();
    judge.emulators();
    judge.stubs();
    judge.closures();
    judge.files();
    judge.mixed();
    judge.foreign_formats();
    judge.emulated();
    judge.scripts();
    judge.entrypoint();
    judge.size();
    judge.say_unknown();
    judge.findings
}

/// How a program's architecture stands to the target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arch {
    /// It is the target's own.
    Own,
    /// The target's machines run it beside their own.
    Beside,
    /// Another.
    Other,
}

/// Why a fact is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    /// The file does not declare it.
    Undeclared,
    /// The file has code beyond the target, and may choose at run time what of it it uses.
    Chosen,
}

struct Judge<'a> {
    subject: &'a Subject<'a>,
    target: Option<&'a Target>,
    options: &'a Options,
    memo: Option<Memo<'a>>,
    findings: Vec<Finding>,
    /// What was told already.
    told: HashSet<(Rule, PathBuf)>,
    /// Files whose architecture was told by another rule, which says more.
    blamed: HashSet<PathBuf>,
    /// Facts that nobody declares: how many files, and the first.
    unknown: BTreeMap<(Rule, Doubt), (usize, PathBuf)>,
    /// By the number of the file.
    arch: HashMap<usize, Arch>,
    /// Loaders that were found to serve programs of that kind.
    loaders: HashSet<(String, closure::Kin)>,
    /// Guests that an emulator in the image serves.
    served: Vec<String>,
}

/// A verdict, before it is put into its place.
struct Verdict {
    rule: Rule,
    severity: Severity,
    message: String,
    expected: Option<String>,
    found: Option<String>,
    help: String,
}

impl Verdict {
    fn new(rule: Rule, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            rule,
            severity: rule.severity(),
            message: message.into(),
            expected: None,
            found: None,
            help: help.into(),
        }
    }

    fn severity(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    fn between(self, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: Some(expected.into()), found: Some(found.into()), ..self }
    }
}

impl Judge<'_> {
    /// Of a file, once for each rule.
    fn of_file(&mut self, file: &File, verdict: Verdict) {
        if self.told.insert((verdict.rule, file.path.clone())) {
            let (path, layer) = (file.path.clone(), file.layer);
            self.add(Some(path), layer, verdict);
        }
    }

    /// Of what is at a path, once for each rule.
    fn at(&mut self, path: &Path, verdict: Verdict) {
        if self.told.insert((verdict.rule, path.to_owned())) {
            let file = self.file_at(path);
            let layer = file.and_then(|file| file.layer);
            self.add(Some(path.to_owned()), layer, verdict);
        }
    }

    /// Of the image itself.
    fn of_image(&mut self, verdict: Verdict) {
        self.add(None, None, verdict);
    }

    fn add(&mut self, path: Option<PathBuf>, layer: Option<usize>, verdict: Verdict) {
        let image = self.subject.image.as_ref();
        let layer = layer.and_then(|layer| image?.layers.get(layer)).cloned();
        let platform = image.and_then(|image| image.config.clone().or_else(|| image.listed.clone()));
        self.findings.push(Finding {
            rule: verdict.rule,
            severity: verdict.severity,
            input: self.subject.input.clone(),
            platform: platform.map(|platform| platform.normalized().to_string()),
            path,
            line: None,
            layer,
            target: self.target.map(|target| target.name.clone()),
            message: verdict.message,
            expected: verdict.expected,
            found: verdict.found,
            help: verdict.help,
        });
    }

    fn file_at(&self, path: &Path) -> Option<&File> {
        let files = &self.subject.files;
        files.binary_search_by(|file| file.path.as_path().cmp(path)).ok().and_then(|at| files.get(at))
    }

    fn layer(&self, file: &File) -> Option<&Layer> {
        self.subject.image.as_ref()?.layers.get(file.layer?)
    }

    /// Files are in the order of their paths: `file_at` counts on it.
    fn sort_files(&mut self) {
        debug_assert!(self.subject.files.is_sorted_by(|a, b| a.path <= b.path));
        for (number, file) in self.subject.files.iter().enumerate() {
            if let Some(identity) = file.elf() {
                self.arch.insert(number, self.arch_of(identity));
            }
        }
    }

    fn arch_of(&self, identity: &Identity) -> Arch {
        let Some(target) = self.target else { return Arch::Own };
        if !is_other(identity, target) {
            return Arch::Own;
        }
        let guest = guest_of(identity);
        if guest.is_some_and(|guest| target.also_runs.contains(&guest.name)) {
            Arch::Beside
        } else {
            Arch::Other
        }
    }

    fn say_unknown(&mut self) {
        for ((rule, doubt), (count, path)) in std::mem::take(&mut self.unknown) {
            let Some(target) = self.target else { continue };
            if doubt == Doubt::Chosen {
                self.say_chosen(target, rule, count, &path);
                continue;
            }
            let (what, wanted) = match rule {
                Rule::Isa => ("their ISA level", target.elf.isa.clone().unwrap_or_default()),
                Rule::FloatAbi => ("their float ABI", target.elf.float_abi.join(" or ")),
                _ => ("their ABI", target.elf.abi.join(" or ")),
            };
            let path = path.display();
            let files = if count == 1 {
                format!("`{path}` does not declare {}", what.replacen("their", "its", 1))
            } else {
                format!("{count} ELF files, `{path}` among them, do not declare {what}")
            };
            let message = format!("{files}, so that nobody can tell whether it is one that the target has");
            let help = "nothing, where their compiler's flags are known; `--strict` makes it an error";
            let verdict = Verdict::new(rule, message, help).severity(Severity::Unknown);
            self.of_image(Verdict { expected: Some(wanted), ..verdict });
        }
    }

    fn say_chosen(&mut self, target: &Target, rule: Rule, count: usize, path: &Path) {
        let path = path.display();
        let (files, them) = if count == 1 {
            (format!("the library `{path}` has code"), "asks which CPU it is on")
        } else {
            (format!("{count} libraries, `{path}` among them, have code"), "ask which CPU they are on")
        };
        let message = format!(
            "{files} that {} does not run, and {them}: nobody can tell whether that code is used only where it runs",
            target.name
        );
        let help = "nothing, where the library is known to choose by CPU; `--strict` makes it an error";
        self.of_image(Verdict::new(rule, message, help).severity(Severity::Unknown));
    }

    fn doubt(&mut self, rule: Rule, doubt: Doubt, path: &Path) {
        let entry = self.unknown.entry((rule, doubt)).or_insert_with(|| (0, path.to_owned()));
        entry.0 += 1;
    }
}

/// Whether `identity` is of another machine, class, byte order or system than the target.
fn is_other(identity: &Identity, target: &Target) -> bool {
    crate::elf::fit(identity, target).iter().any(|wrong| is_coarse(*wrong))
}

fn is_coarse(wrong: Mismatch) -> bool {
    matches!(wrong, Mismatch::Os | Mismatch::Machine | Mismatch::Class | Mismatch::Endianness)
}

/// The guest whose programs are like this one.
fn guest_of(identity: &Identity) -> Option<&'static Guest> {
    let catalogue = Catalogue::builtin();
    let alike = |target: &&Target| {
        !crate::elf::fit(identity, target).iter().any(|wrong| is_coarse(*wrong) || *wrong == Mismatch::Abi)
    };
    let target = catalogue.targets().iter().find(alike)?;
    catalogue.guests().iter().find(|guest| guest.name == target.qemu.guest)
}

/// `linux/arm64`, or what the header says.
fn described(identity: &Identity) -> String {
    match (&identity.platform.os, &identity.platform.architecture) {
        (os, Some(architecture)) => {
            let variant = identity.platform.variant.as_ref();
            let variant = variant.map(|variant| format!("/{variant}")).unwrap_or_default();
            format!("{}/{architecture}{variant}", os.as_deref().unwrap_or("linux"))
        }
        (_, None) => format!(
            "{} ({} bits)",
            identity.machine.map_or_else(|| format!("machine {}", identity.machine_id), str::to_owned),
            identity.class
        ),
    }
}

/// `12 files`, `1 file`.
fn count(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
