//! What index, config and files say of each other, and how large it all is.

use super::{Arch, Judge, Verdict, count, described};
use crate::check::{Rule, Severity};
use crate::target::{Catalogue, Platform};

impl Judge<'_> {
    /// Whether index entry, config and target agree.
    pub(super) fn platform(&mut self) {
        let Some(image) = &self.subject.image else { return };
        let (listed, config) = (image.listed.clone(), image.config.clone());
        let Some(config) = config else {
            let message =
                "the image's config names no operating system and architecture, so that engines guess";
            let help = "make the config anew: `architecture` and `os` are required in it";
            let found = listed.map_or_else(|| "nothing".into(), |listed| format!("{listed} in the index"));
            return self.of_image(
                Verdict::new(Rule::PlatformMismatch, message, help).between("os/architecture", found),
            );
        };
        let normal = config.clone().normalized();
        let listed = listed.filter(|listed| listed.clone().normalized() != normal);
        // Where index and config differ, that is told, and not once more that one of them is not the target.
        let is_told = listed.is_some();
        if let Some(listed) = listed {
            let files = self.files_are_for();
            let only_variant = listed.os == config.os && listed.architecture == config.architecture;
            let rule = if only_variant { Rule::Variant } else { Rule::PlatformMismatch };
            let message =
                format!("the index lists the image as {listed}, and its config says {config}{files}");
            let help = "make the index anew from the images (`polyarch index create` takes the platforms from their configs)";
            self.of_image(Verdict::new(rule, message, help).between(listed.to_string(), config.to_string()));
        } else if config.variant.is_none() && needs_variant(&config) {
            let message = format!(
                "the config says {config} without a variant, which engines take for {normal}: which of them the programs are for \
                 is lost"
            );
            let help = "build it with `--platform` and the variant, such as `linux/arm/v6`";
            let verdict = Verdict::new(Rule::Variant, message, help).severity(Severity::Warning);
            self.of_image(verdict.between(format!("{config}/VARIANT"), config.to_string()));
        }
        let Some(target) = self.target else { return };
        let wanted = &target.platform;
        if self.options.routeros && target.routeros.as_ref().is_some_and(|routeros| !routeros.containers) {
            let message = format!("RouterOS has no container package for the boards of {}", target.name);
            let help = "choose a board whose architecture has one: `polyarch target list` tells";
            self.of_image(Verdict::new(Rule::PlatformMismatch, message, help));
        }
        if *wanted == normal || is_told {
            return;
        }
        let only_variant = wanted.os == normal.os && wanted.architecture == normal.architecture;
        // A lower variant runs on a higher one.
        if only_variant && runs_on(&normal, wanted) {
            return;
        }
        let rule = if only_variant { Rule::Variant } else { Rule::PlatformMismatch };
        let message = format!("the image's config says {config}, and {} takes {wanted}", target.name);
        let help = format!("build the image for {wanted}");
        self.of_image(Verdict::new(rule, message, help).between(wanted.to_string(), config.to_string()));
    }

    /// `, and its 12 ELF files are for linux/amd64`, where all are for one platform.
    fn files_are_for(&self) -> String {
        let mut platforms: Vec<String> = Vec::new();
        let mut files = 0;
        for identity in self.subject.files.iter().filter_map(|file| file.elf()) {
            if identity.linkage.is_some() {
                files += 1;
                let architecture =
                    identity.platform.architecture.clone().unwrap_or_else(|| described(identity));
                if !platforms.contains(&architecture) {
                    platforms.push(architecture);
                }
            }
        }
        match platforms.as_slice() {
            [one] => format!(
                "; its {} for {one}",
                if files == 1 { "ELF file is".into() } else { format!("{files} ELF files are") }
            ),
            _ => String::new(),
        }
    }

    /// Programs of several architectures.
    pub(super) fn mixed(&mut self) {
        let files = &self.subject.files;
        let used = files.iter().enumerate().filter_map(|(number, file)| {
            let identity = file.elf().filter(|identity| identity.linkage.is_some())?;
            Some((
                number,
                file,
                identity.platform.architecture.clone().unwrap_or_else(|| described(identity)),
            ))
        });
        // By architecture: the number of files, and the first of them.
        let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
        for (number, file, architecture) in used {
            let counts = match self.target {
                // What is for another machine was told of by itself.
                Some(_) => self.arch.get(&number) == Some(&Arch::Beside),
                None => self.subject.root.is_some(),
            };
            if !counts || self.blamed.contains(&file.path) {
                continue;
            }
            match groups.iter_mut().find(|(known, _)| *known == architecture) {
                Some((_, numbers)) => numbers.push(number),
                None => groups.push((architecture, vec![number])),
            }
        }
        groups.sort_by_key(|(_, numbers)| std::cmp::Reverse(numbers.len()));
        let base = match self.target {
            Some(target) => target.platform.architecture.clone(),
            None if groups.len() > 1 => groups.remove(0).0,
            None => return,
        };
        for (architecture, numbers) in groups {
            let Some(first) = numbers.first().and_then(|number| files.get(*number)) else { continue };
            let mut layers: Vec<usize> = numbers
                .iter()
                .filter_map(|number| files.get(*number)?.layer)
                .map(|layer| layer + 1)
                .collect();
            layers.sort_unstable();
            layers.dedup();
            let from = match layers.as_slice() {
                [] => String::new(),
                [layer] => format!(", from layer {layer}"),
                layers => {
                    let layers: Vec<String> = layers.iter().map(ToString::to_string).collect();
                    format!(", from layers {}", layers.join(", "))
                }
            };
            let which = match numbers.len() {
                1 => format!("`{}` is", first.path.display()),
                more => format!(
                    "{}, `{}` among them, are",
                    count(more, "ELF file", "ELF files"),
                    first.path.display()
                ),
            };
            let message = format!("{which} for {architecture} in a root file system for {base}{from}");
            let help = match self.target {
                Some(_) => format!(
                    "leave {architecture} programs out, or make sure that the kernels have the interface for them and the image \
                     their libraries"
                ),
                None => "give `--target`, and each file is held against it".to_owned(),
            };
            let verdict =
                Verdict::new(Rule::MixedArchitectures, message, help).between(base.clone(), architecture);
            self.of_file(first, verdict);
        }
    }

    /// Whether the unpacked image has room.
    pub(super) fn size(&mut self) {
        if self.subject.root.is_none() || !(self.options.routeros || self.options.flash.is_some()) {
            return;
        }
        let size = self.subject.files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size));
        let help = "take a smaller base, or give the container a root directory on a USB disk or a tmpfs";
        if let Some(flash) = self.options.flash {
            if size > flash {
                let message =
                    format!("the unpacked image has {}, and there is room for {}", mib(size), mib(flash));
                self.of_image(Verdict::new(Rule::Size, message, help).between(mib(flash), mib(size)));
            }
            return;
        }
        let Some(boards) = self.target.and_then(|target| Some(&target.routeros.as_ref()?.flash)) else {
            return;
        };
        let small: Vec<_> = boards.iter().filter(|board| size > u64::from(board.mib) << 20).collect();
        let Some(largest) = small.iter().map(|board| board.mib).max() else { return };
        let names: Vec<String> =
            small.iter().map(|board| format!("{} ({} MiB)", board.board, board.mib)).collect();
        let is_all = small.len() == boards.len();
        let message = format!(
            "the unpacked image has {}, more than all the flash of {}{}; RouterOS itself needs some of that",
            mib(size),
            names.join(", "),
            if is_all { ", which are all boards of this target that are known" } else { "" }
        );
        let verdict = Verdict::new(Rule::Size, message, help).between(format!("{largest} MiB"), mib(size));
        let severity = if is_all { Severity::Error } else { Severity::Warning };
        self.of_image(verdict.severity(severity));
    }
}

/// Whether the architecture's targets differ in their variants.
fn needs_variant(platform: &Platform) -> bool {
    let targets = Catalogue::builtin().targets().iter();
    let alike = targets.filter(|target| {
        target.platform.os == platform.os && target.platform.architecture == platform.architecture
    });
    let mut variants: Vec<_> = alike.map(|target| target.platform.variant.clone()).collect();
    variants.sort();
    variants.dedup();
    variants.len() > 1
}

/// Whether what is for `lower` runs on machines for `higher`, which differ in their variant only: by the ISA levels of both.
fn runs_on(lower: &Platform, higher: &Platform) -> bool {
    let number = |platform: &Platform| -> Option<u32> {
        match &platform.variant {
            None => Some(0),
            Some(variant) => variant.strip_prefix('v')?.parse().ok(),
        }
    };
    number(lower).zip(number(higher)).is_some_and(|(lower, higher)| lower <= higher)
}

fn mib(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
