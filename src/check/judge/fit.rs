//! Each ELF file by itself: machine, ABI, ISA level, float ABI, kernel, pages, header.

use super::{Arch, Doubt, Judge, Verdict, described};
use crate::check::subject::{File, What};
use crate::check::{InputKind, Rule, Severity};
use crate::elf::{Identity, Mismatch, beyond, fit};
use crate::target::{Endianness, Target};

/// The folder of glibc's libraries for better CPUs, of which the loader takes those that the CPU has.
const BY_CPU: &str = "glibc-hwcaps";

impl Judge<'_> {
    pub(super) fn files(&mut self) {
        for (number, file) in self.subject.files.iter().enumerate() {
            match &file.what {
                What::Elf(identity) => {
                    let arch = self.arch.get(&number).copied().unwrap_or(Arch::Own);
                    self.elf(file, identity, arch);
                }
                What::Damaged(problem) => self.damaged(file, problem),
                _ => {}
            }
        }
    }

    fn damaged(&mut self, file: &File, problem: &str) {
        let path = file.path.display();
        let message = format!("`{path}` is damaged, so that nothing runs or loads it: {problem}");
        let verdict = Verdict::new(Rule::Machine, message, "copy or build it again: it is not whole");
        self.of_file(file, if is_used(file, None) { verdict } else { verdict.severity(Severity::Warning) });
    }

    fn elf(&mut self, file: &File, identity: &Identity, arch: Arch) {
        // Objects, cores and separate debugging information are executed by nobody.
        if identity.linkage.is_none() {
            return;
        }
        self.quirks(file, identity);
        self.linkage(file, identity);
        let Some(target) = self.target else { return };
        match arch {
            Arch::Own => self.own(file, identity, target),
            Arch::Other if !self.is_served(identity) && !self.blamed.contains(&file.path) => {
                self.other(file, identity, target);
            }
            Arch::Other | Arch::Beside => {}
        }
    }

    /// A file for another machine.
    fn other(&mut self, file: &File, identity: &Identity, target: &Target) {
        let wrong = fit(identity, target);
        let rule = match wrong.first() {
            Some(Mismatch::Class) => Rule::Class,
            Some(Mismatch::Endianness) => Rule::Endianness,
            _ => Rule::Machine,
        };
        // What is no program and no library, and that no machine of the catalogue runs, is for some other processor on the board.
        let is_used = is_used(file, Some(identity));
        if !is_used && identity.targets.is_empty() {
            return;
        }
        let (found, path) = (described(identity), file.path.display());
        let message = match rule {
            Rule::Class => {
                format!("`{path}` has {} bits, and {} has {}", identity.class, target.name, target.elf.class)
            }
            Rule::Endianness => format!(
                "`{path}` is {}-endian ({found}), and {} is {}-endian",
                order(identity.endianness),
                target.name,
                order(target.elf.endianness)
            ),
            _ => format!("`{path}` is for {found}, not for {}", target.name),
        };
        let by = self.layer(file).and_then(|layer| layer.created_by.clone());
        let help = match (by, self.subject.kind) {
            (Some(by), _) => format!(
                "build or fetch it for {}; the instruction that brought it is `{}`",
                target.platform,
                shortened(&by)
            ),
            (None, InputKind::Files) => format!("build it for {}", target.platform),
            (None, _) => format!("build or fetch it for {}", target.platform),
        };
        let verdict = Verdict::new(rule, message, help).between(wanted(target), has(identity));
        let severity = if is_used { Severity::Error } else { Severity::Warning };
        self.of_file(file, verdict.severity(severity));
    }

    /// A file for the target's machine: what of it the target does not have.
    fn own(&mut self, file: &File, identity: &Identity, target: &Target) {
        let is_by_cpu = file.path.components().any(|part| part.as_os_str() == BY_CPU);
        let wrong: Vec<Mismatch> = if is_by_cpu { Vec::new() } else { fit(identity, target) };
        // One file is one finding: what is worst names the rule, and the rest is told with it.
        let rule = wrong.iter().map(|wrong| match wrong {
            Mismatch::Abi => Rule::Variant,
            Mismatch::Isa => Rule::Isa,
            Mismatch::FloatAbi => Rule::FloatAbi,
            Mismatch::Feature => Rule::Isa,
            _ => Rule::Machine,
        });
        let order = [Rule::Machine, Rule::Variant, Rule::Isa, Rule::FloatAbi];
        let level = wrong.contains(&Mismatch::Isa);
        let float = wrong.contains(&Mismatch::FloatAbi);
        let rule = rule.min_by_key(|rule| {
            // A feature that is floating point hardware is told as such.
            let rank = order.iter().position(|known| known == rule);
            (*rule == Rule::Isa && !level && float, rank)
        });
        if let Some(rule) = rule {
            let reasons: Vec<String> = wrong.iter().map(|wrong| wrong.describe(identity, target)).collect();
            let message =
                format!("`{}` does not fit {}: {}", file.path.display(), target.name, reasons.join("; "));
            let verdict = Verdict::new(rule, message, mend(rule, target));
            self.of_file(
                file,
                match rule {
                    Rule::Isa if level => {
                        verdict.between(or(target.elf.isa.as_ref()), or(identity.isa.as_ref()))
                    }
                    Rule::Isa => verdict.between(
                        format!("none of {}", target.elf.excludes.join(", ")),
                        identity.features.join(", "),
                    ),
                    Rule::FloatAbi => {
                        verdict.between(target.elf.float_abi.join(" or "), or(identity.float_abi.as_ref()))
                    }
                    _ => verdict.between(target.elf.abi.join(" or "), or(identity.abi.as_ref())),
                },
            );
        }
        if !is_by_cpu {
            for (rule, is_unknown) in [
                (Rule::Isa, target.elf.isa.is_some() && identity.isa.is_none()),
                (Rule::FloatAbi, !target.elf.float_abi.is_empty() && identity.float_abi.is_none()),
                (Rule::Variant, !target.elf.abi.is_empty() && identity.abi.is_none()),
            ] {
                if is_unknown {
                    self.doubt(rule, Doubt::Undeclared, &file.path);
                }
            }
            if wrong.is_empty() && !beyond(identity, target).is_empty() {
                self.doubt(Rule::Isa, Doubt::Chosen, &file.path);
            }
        }
        self.kernel(file, identity, target);
        self.pages(file, identity, target);
    }

    fn kernel(&mut self, file: &File, identity: &Identity, target: &Target) {
        let has = self.options.kernel.as_ref().or(target.routeros.as_ref().map(|routeros| &routeros.kernel));
        let (Some(has), Some(needs)) = (has, &identity.kernel) else { return };
        if numbers(needs) <= numbers(has) {
            return;
        }
        let message =
            format!("`{}` needs Linux {needs} or newer, and {} has {has}", file.path.display(), target.name);
        let help = "take a base whose C library is older, or musl, which accepts any kernel";
        self.of_file(file, Verdict::new(Rule::Kernel, message, help).between(has.clone(), needs.clone()));
    }

    fn pages(&mut self, file: &File, identity: &Identity, target: &Target) {
        let Some(alignment) = identity.alignment.filter(|alignment| *alignment > 1) else { return };
        let page = u64::from(target.elf.page_size);
        if alignment >= page {
            return;
        }
        let message = format!(
            "the segments of `{}` are aligned to {}, and kernels of {} may have pages of {}",
            file.path.display(),
            kib(alignment),
            target.name,
            kib(page)
        );
        let help = format!("link it with `-Wl,-z,max-page-size={page}`");
        self.of_file(file, Verdict::new(Rule::PageSize, message, help).between(kib(page), kib(alignment)));
    }

    /// What in the header keeps handlers from knowing the program.
    fn quirks(&mut self, file: &File, identity: &Identity) {
        let is_program = file.is_executable()
            && identity.soname.is_none()
            && matches!(identity.kind.as_ref(), "EXEC" | "DYN")
            && (identity.interpreter.is_some() || identity.linkage != Some("dynamic"));
        let Some(head) = file.head.filter(|_| is_program) else { return };
        let path = file.path.display();
        let padding = &head[9..16];
        let verdict = if padding.iter().any(|byte| *byte != 0) {
            let message = format!(
                "the padding of the ELF header of `{path}` is not zero, so that binfmt_misc handlers do not know it: \
                 `exec format error` under emulation"
            );
            let help = format!(
                "`dd if=/dev/zero bs=1 seek=9 count=7 conv=notrunc of={path}`, or extract it where it is an AppImage \
                 (`--appimage-extract`)"
            );
            let found = padding.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
            Verdict::new(Rule::BinfmtQuirk, message, help).between("zeros", found)
        } else if head[8] != 0 {
            let message = format!(
                "the ABI version in the ELF header of `{path}` is {}, which many binfmt_misc handlers do not match: \
                 `exec format error` under emulation",
                head[8]
            );
            let help =
                "register handlers whose masks leave the byte out: `polyarch binfmt register` has such";
            Verdict::new(Rule::BinfmtQuirk, message, help).between("0", head[8].to_string())
        } else {
            return;
        };
        self.of_file(file, verdict);
    }

    fn linkage(&mut self, file: &File, identity: &Identity) {
        let says_static = file.name().ends_with("-static") || file.name().ends_with(".static");
        let is_program = identity.interpreter.is_some() && file.is_executable() && identity.soname.is_none();
        if !is_program || !(says_static || self.options.all_static) {
            return;
        }
        let path = file.path.display();
        let message = if says_static {
            format!("`{path}` is called static and is linked dynamically")
        } else {
            format!("`{path}` is linked dynamically, and all programs are to be static")
        };
        let verdict = Verdict::new(Rule::Linkage, message, "link it with `-static`, or with `CGO_ENABLED=0`");
        let severity = if self.options.all_static { Severity::Error } else { Severity::Warning };
        self.of_file(file, verdict.severity(severity).between("static", "dynamic"));
    }
}

/// Whether anybody runs or loads it.
fn is_used(file: &File, identity: Option<&Identity>) -> bool {
    let is_library = identity
        .is_some_and(|identity| identity.soname.is_some() || identity.interpreter.is_some())
        || file.path.extension().is_some_and(|extension| extension == "so")
        || file.name().contains(".so.");
    file.is_executable() || is_library
}

fn mend(rule: Rule, target: &Target) -> String {
    let name = &target.platform;
    match rule {
        Rule::Isa => {
            let level = target.elf.isa.as_deref().unwrap_or("the target's level");
            format!("compile it for {level} (`-march`, `GOARM`, `GOAMD64`), or take the package for {name}")
        }
        Rule::FloatAbi => {
            format!("compile it, and what it loads, for the float ABI {}", target.elf.float_abi.join(" or "))
        }
        _ => format!("compile it for {name} with the ABI {}", target.elf.abi.join(" or ")),
    }
}

fn order(order: Endianness) -> &'static str {
    match order {
        Endianness::Little => "little",
        Endianness::Big => "big",
    }
}

/// What a target takes, in a few words.
fn wanted(target: &Target) -> String {
    let profile = &target.elf;
    format!("{} {}-bit {}-endian", profile.machines.join(" or "), profile.class, order(profile.endianness))
}

fn has(identity: &Identity) -> String {
    let machine = identity.machine.map_or_else(|| format!("machine {}", identity.machine_id), str::to_owned);
    let os = identity.platform.os.as_deref().filter(|os| *os != "linux");
    let os = os.map(|os| format!(" for {os}")).unwrap_or_default();
    format!("{machine} {}-bit {}-endian{os}", identity.class, order(identity.endianness))
}

fn or(value: Option<&String>) -> String {
    value.cloned().unwrap_or_else(|| "unknown".into())
}

fn numbers(version: &str) -> Vec<u64> {
    let mut numbers: Vec<u64> = version.split(['.', '-']).map_while(|part| part.parse().ok()).collect();
    numbers.resize(3, 0);
    numbers
}

fn kib(bytes: u64) -> String {
    if bytes.is_multiple_of(1024) { format!("{} KiB", bytes / 1024) } else { format!("{bytes} bytes") }
}

/// An instruction, cut to what a line holds.
pub(super) fn shortened(text: &str) -> String {
    let text = text.trim().trim_start_matches("/bin/sh -c #(nop) ").trim();
    if text.chars().count() <= 80 {
        return text.to_owned();
    }
    text.chars().take(79).chain(['…']).collect()
}
