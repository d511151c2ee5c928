//! `polyarch target`: the catalogue.

use std::io::{self, Write};

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};

use super::exit::ExitStatus;
use super::format::{self, Format};
use super::printer::{HEADING, Printer};
use super::table;
use crate::target::{Catalogue, Endianness, Target};

/// The machines that programs and images are meant for
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List all targets
    List {
        /// How to write them
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Show one target
    Show {
        /// A target's name or platform, or the path of a target file (`./my-board.toml`)
        #[arg(value_name = "NAME|FILE")]
        target: String,
        /// How to write it
        #[arg(long, value_enum, default_value_t = ShowFormat::Text)]
        format: ShowFormat,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ShowFormat {
    /// Lines for people
    Text,
    /// JSON, whose keys are only ever added to
    Json,
    /// A target file, to be changed and given back by its path
    Toml,
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let mut out = printer.stdout();
        match &self.verb {
            Verb::List { format } => list(&mut out, *format),
            Verb::Show { target, format } => {
                let target = Catalogue::builtin().resolve(target)?;
                match format {
                    ShowFormat::Text => show(&mut out, &target),
                    ShowFormat::Json => format::json(&mut out, &target),
                    ShowFormat::Toml => out.write_all(target.to_toml().as_bytes()),
                }
            }
        }
        .and_then(|()| out.flush())
        .context("writing to standard output")?;
        Ok(ExitStatus::Success)
    }
}

fn list(out: &mut impl Write, format: Format) -> io::Result<()> {
    let targets = Catalogue::builtin().targets();
    if format == Format::Json {
        return format::json(out, &targets);
    }
    let rows: Vec<Vec<String>> = targets
        .iter()
        .map(|target| {
            vec![
                target.name.clone(),
                target.platform.to_string(),
                target.qemu.guest.clone(),
                target.qemu.cpu.clone().unwrap_or("-".into()),
                target.debian.as_ref().map_or("-".into(), |debian| debian.architecture.clone()),
                target.description.clone(),
            ]
        })
        .collect();
    table::print(out, "", &["NAME", "PLATFORM", "GUEST", "CPU", "DEBIAN", "DESCRIPTION"], &rows)
}

fn show(out: &mut impl Write, target: &Target) -> io::Result<()> {
    writeln!(out, "{HEADING}{}{HEADING:#}  {}", target.name, target.description)?;
    let mut section = Section { out };
    let Target { platform, elf, qemu, .. } = target;
    section.line("platform", platform)?;

    section.head("elf")?;
    section.line("machine", elf.machines.join(", "))?;
    section.line("class", elf.class)?;
    section.line(
        "endianness",
        match elf.endianness {
            Endianness::Little => "little",
            Endianness::Big => "big",
        },
    )?;
    section.list("abi", &elf.abi)?;
    section.maybe("isa, at most", elf.isa.as_deref())?;
    section.list("float abi", &elf.float_abi)?;
    section.list("without", &elf.excludes)?;
    section.line("page size", format_args!("{} bytes", elf.page_size))?;

    section.head("qemu")?;
    section.line("guest", &qemu.guest)?;
    section.maybe("cpu", qemu.cpu.as_deref())?;
    section.maybe("until", qemu.until.as_deref())?;
    section.line("uname -m", &qemu.uname)?;

    if let Some(binfmt) = &target.binfmt {
        section.head("binfmt")?;
        for (key, bytes) in [("magic", &binfmt.magic), ("mask", &binfmt.mask)] {
            let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            section.line(key, pairs.join(" "))?;
        }
    }
    if let Some(debian) = &target.debian {
        section.head("debian")?;
        section.line("architecture", &debian.architecture)?;
        section.line("triple", &debian.triple)?;
        section.line(
            "suites",
            if debian.suites.is_empty() { "none".into() } else { debian.suites.join(", ") },
        )?;
    }
    if let Some(routeros) = &target.routeros {
        section.head("routeros")?;
        section.line("architecture", &routeros.architecture)?;
        section.line("containers", if routeros.containers { "yes" } else { "no" })?;
        section.line("kernel", &routeros.kernel)?;
        for device in &routeros.devices {
            section.line("device", device)?;
        }
        for note in &routeros.notes {
            section.line("note", note)?;
        }
    }
    Ok(())
}

/// Lines of a key and its value.
struct Section<'a, W> {
    out: &'a mut W,
}

impl<W: Write> Section<'_, W> {
    fn head(&mut self, name: &str) -> io::Result<()> {
        writeln!(self.out, "\n{HEADING}{name}{HEADING:#}")
    }

    fn line(&mut self, key: &str, value: impl std::fmt::Display) -> io::Result<()> {
        writeln!(self.out, "  {key:<14}{value}")
    }

    /// `any` where the list is empty: it limits nothing.
    fn list(&mut self, key: &str, values: &[String]) -> io::Result<()> {
        match (values, key) {
            ([], "without") => Ok(()),
            ([], _) => self.line(key, "any"),
            _ => self.line(key, values.join(", ")),
        }
    }

    fn maybe(&mut self, key: &str, value: Option<&str>) -> io::Result<()> {
        value.map_or(Ok(()), |value| self.line(key, value))
    }
}
