//! The records for people: all facts of a single file, or tables by architecture.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::cli::printer::{ERROR, HEADING, WARNING};
use crate::cli::table::{self, shown};
use crate::elf::{Evidence, Identity, Source};
use crate::target::Endianness;
use crate::tree::{Content, Record};

pub(super) fn print(out: &mut impl Write, inputs: &[PathBuf], records: &[Record]) -> io::Result<()> {
    if let ([input], [record]) = (inputs, records)
        && (record.path == input.as_os_str())
    {
        return single(out, record);
    }
    let mut elf: BTreeMap<String, Vec<(&Record, &Identity)>> = BTreeMap::new();
    let mut scripts = Vec::new();
    let mut foreign = Vec::new();
    let mut errors = Vec::new();
    for record in records {
        match &record.content {
            Content::Elf(identity) => {
                elf.entry(architecture(identity)).or_default().push((record, identity));
            }
            Content::Script(script) => {
                let argument = script.argument.clone().unwrap_or_default();
                scripts.push(vec![shown(&record.path), shown(&script.interpreter), shown(&argument)]);
            }
            Content::MachO(architectures) => {
                foreign.push(vec![shown(&record.path), "Mach-O".into(), architectures.join(", ")]);
            }
            Content::Pe(machine) => foreign.push(vec![shown(&record.path), "PE".into(), machine.clone()]),
            // Of an input itself this was told on standard error.
            Content::Error { .. } if inputs.iter().any(|input| record.path == input.as_os_str()) => {}
            Content::Error { message } => errors.push((shown(&record.path), shown(message))),
        }
    }
    let mut counts = Vec::new();
    let programs: usize = elf.values().map(Vec::len).sum();
    if programs > 0 {
        let architectures = count(elf.len(), "architecture", "architectures");
        counts.push(format!("{} of {architectures}", count(programs, "ELF file", "ELF files")));
    }
    for (name, files) in &elf {
        let rows: Vec<Vec<String>> = files
            .iter()
            .map(|(record, identity)| {
                let or_dash = |value: &Option<String>| value.as_deref().map_or("-".into(), shown);
                vec![
                    shown(&record.path),
                    identity.kind.to_string(),
                    identity.linkage.unwrap_or("-").into(),
                    or_dash(&identity.isa),
                    or_dash(&identity.float_abi),
                    or_dash(&identity.interpreter),
                ]
            })
            .collect();
        section(out, name, rows.len())?;
        table::print(out, "  ", &["PATH", "TYPE", "LINKAGE", "ISA", "FLOAT", "INTERPRETER"], &rows)?;
        for (record, identity) in files {
            for problem in &identity.problems {
                writeln!(out, "  {WARNING}problem{WARNING:#}: {}: {}", shown(&record.path), shown(problem))?;
            }
        }
        writeln!(out)?;
    }
    if !scripts.is_empty() {
        section(out, "Scripts", scripts.len())?;
        table::print(out, "  ", &["PATH", "INTERPRETER", "ARGUMENT"], &scripts)?;
        writeln!(out)?;
        counts.push(count(scripts.len(), "script", "scripts"));
    }
    if !foreign.is_empty() {
        section(out, "Other formats", foreign.len())?;
        table::print(out, "  ", &["PATH", "FORMAT", "MACHINE"], &foreign)?;
        writeln!(out)?;
        counts.push(count(foreign.len(), "file of another format", "files of other formats"));
    }
    if !errors.is_empty() {
        section(out, "Not readable", errors.len())?;
        for (path, message) in &errors {
            writeln!(out, "  {ERROR}error{ERROR:#}: {path}: {message}")?;
        }
        writeln!(out)?;
        counts.push(count(errors.len(), "error", "errors"));
    }
    if counts.is_empty() {
        if records.is_empty() {
            counts.push("no programs".into());
        } else {
            return Ok(());
        }
    }
    writeln!(out, "{}", counts.join(", "))
}

fn count(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn section(out: &mut impl Write, name: &str, count: usize) -> io::Result<()> {
    writeln!(out, "{HEADING}{name}{HEADING:#} ({count})")
}

/// `MIPS 32-bit big-endian o32`.
fn architecture(identity: &Identity) -> String {
    let mut name = format!("{} {}-bit {}", machine(identity), identity.class, order(identity.endianness));
    if let Some(abi) = &identity.abi {
        // Writing to a string cannot fail.
        let _ = write!(name, " {abi}");
    }
    name
}

fn machine(identity: &Identity) -> String {
    identity.machine.map_or_else(|| format!("machine {}", identity.machine_id), str::to_owned)
}

fn order(endianness: Endianness) -> &'static str {
    match endianness {
        Endianness::Little => "little-endian",
        Endianness::Big => "big-endian",
    }
}

fn single(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let path = shown(&record.path);
    match &record.content {
        Content::Elf(identity) => {
            writeln!(out, "{HEADING}{path}{HEADING:#}")?;
            facts(out, identity)
        }
        Content::Script(script) => {
            writeln!(out, "{HEADING}{path}{HEADING:#}")?;
            let argument = script.argument.as_deref().unwrap_or("-");
            let rows = [("kind", "script"), ("interpreter", &script.interpreter), ("argument", argument)];
            rows.iter().try_for_each(|(key, value)| writeln!(out, "  {key:<13} {}", shown(value)))
        }
        Content::MachO(architectures) => {
            writeln!(out, "{path}: Mach-O (macOS), {}", architectures.join(", "))
        }
        Content::Pe(machine) => writeln!(out, "{path}: PE (Windows or UEFI), {machine}"),
        // Told on standard error.
        Content::Error { .. } => Ok(()),
    }
}

/// Every fact of one ELF file, with its evidence.
fn facts(out: &mut impl Write, identity: &Identity) -> io::Result<()> {
    let machine_id = identity.machine_id;
    let list = |values: &[String]| if values.is_empty() { "none".to_owned() } else { values.join(", ") };
    let toolchain = &identity.toolchain;
    let or = |value: &Option<String>| value.clone();
    let go = toolchain.go.as_ref().map(|go| {
        let settings = go.settings.iter().filter(|(key, _)| key.starts_with("GO") || *key == "CGO_ENABLED");
        let settings: Vec<String> = settings.map(|(key, value)| format!("{key}={value}")).collect();
        format!("{} {}", go.version.as_deref().unwrap_or("(version unknown)"), settings.join(" "))
            .trim()
            .to_owned()
    });
    let rust = toolchain.rust.as_ref().map(|rust| {
        let version =
            rust.version.clone().or_else(|| rust.commit.as_ref().map(|commit| format!("commit {commit}")));
        version.unwrap_or_else(|| "(version unknown)".into())
    });
    let named = |name: &str, detail: Option<&String>| {
        Some(detail.map_or_else(|| name.to_owned(), |detail| format!("{name} {detail}")))
    };
    let library = match toolchain {
        toolchain if toolchain.glibc.is_some() => {
            let needs = toolchain.glibc.as_ref().and_then(|glibc| glibc.needs.as_ref());
            named("glibc", needs.map(|needs| format!("{needs} or newer")).as_ref())
        }
        toolchain if toolchain.musl.is_some() => {
            named("musl", toolchain.musl.as_ref().and_then(|musl| musl.architecture.as_ref()))
        }
        toolchain => toolchain
            .bionic
            .as_ref()
            .and_then(|bionic| named("bionic", bionic.api.map(|api| format!("API level {api}")).as_ref())),
    };
    let library_evidence = ["toolchain.glibc", "toolchain.musl", "toolchain.bionic"]
        .iter()
        .find(|key| identity.evidence.contains_key(**key))
        .copied()
        .unwrap_or_default();
    let platform = &identity.platform;
    let platform_text = platform.architecture.as_ref().map(|architecture| {
        let os = platform.os.as_deref().unwrap_or("unknown");
        let variant = platform.variant.as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
        format!("{os}/{architecture}{variant}")
    });
    let rows: Vec<(&str, Option<String>, &str)> = vec![
        ("kind", Some("elf".into()), ""),
        ("machine", Some(format!("{} ({machine_id})", machine(identity))), ""),
        ("class", Some(format!("{}-bit", identity.class)), ""),
        ("endianness", Some(order(identity.endianness).into()), ""),
        ("type", Some(identity.kind.to_string()), ""),
        ("OS ABI", Some(format!("{}, version {}", identity.os_abi, identity.abi_version)), ""),
        ("flags", Some(format!("{:#x}", identity.flags)), ""),
        ("ABI", or(&identity.abi), "abi"),
        ("ISA", or(&identity.isa), "isa"),
        ("float ABI", or(&identity.float_abi), "float_abi"),
        ("features", (!identity.features.is_empty()).then(|| identity.features.join(", ")), "features"),
        ("linkage", identity.linkage.map(str::to_owned), "linkage"),
        ("interpreter", or(&identity.interpreter), ""),
        ("needed", identity.needed.as_ref().map(|needed| list(needed)), ""),
        ("soname", or(&identity.soname), ""),
        ("rpath", or(&identity.rpath), ""),
        ("runpath", or(&identity.runpath), ""),
        ("C library", library, library_evidence),
        ("kernel", identity.kernel.as_ref().map(|kernel| format!("Linux {kernel} or newer")), "kernel"),
        ("Go", go, "toolchain.go"),
        ("Rust", rust, "toolchain.rust"),
        ("compilers", toolchain.compilers.as_ref().map(|compilers| list(compilers)), ""),
        ("platform", platform_text, "platform.architecture"),
        ("alignment", identity.alignment.map(|alignment| format!("{alignment:#x}")), ""),
        (
            "targets",
            Some(if identity.targets.is_empty() { "none".into() } else { identity.targets.join(", ") }),
            "",
        ),
    ];
    for (key, value, evidence) in rows {
        let Some(value) = value else { continue };
        write!(out, "  {key:<13} {}", shown(&value))?;
        if let Some(Evidence { source, from }) = identity.evidence.get(evidence) {
            let source = match source {
                Source::Declared => "declared by",
                Source::Inferred => "inferred from",
            };
            write!(out, "  ({source} {})", shown(from))?;
        }
        writeln!(out)?;
    }
    for problem in &identity.problems {
        writeln!(out, "  {WARNING}problem{WARNING:#}       {}", shown(problem))?;
    }
    Ok(())
}
