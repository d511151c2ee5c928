//! `binfmt export`: handlers as files for others.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;

use super::super::exit::ExitStatus;
use super::super::printer::Printer;
use super::super::report::Told;
use super::register::{Naming, flags};
use super::{Selection, tell_what_is_not_carried};
use crate::binfmt::{Flags, Form, Rule, export};
use crate::target::Platform;

/// Write handlers as files for other machines, tools and clusters
///
/// Nothing is registered here and no emulator is looked for: the files name it by --interpreter, where it is to be on the other
/// machine.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,

    /// What to write
    #[arg(long, value_enum)]
    format: ExportFormat,

    /// Write files into this folder instead of standard output
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Where the emulators are; {guest} is QEMU's name of the guest
    #[arg(long, value_name = "PATTERN", default_value = "/usr/bin/qemu-{guest}-static")]
    interpreter: String,

    /// Flags of the kernel
    #[arg(long, default_value = "FP", value_parser = flags)]
    flags: Flags,

    /// Platform of the machines, whose own programs no handler may take [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    host: Option<Platform>,

    #[command(flatten)]
    naming: Naming,

    /// For kubernetes: an image with a shell, mount, and the emulators at their paths
    #[arg(long, value_name = "IMAGE", required_if_eq("format", "kubernetes"))]
    image: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// Files for /etc/binfmt.d, which systemd-binfmt and OpenRC read
    #[value(name = "binfmt.d")]
    BinfmtD,
    /// Files for `update-binfmts --import` of Debian's binfmt-support
    UpdateBinfmts,
    /// Files whose bytes are to be written to /proc/sys/fs/binfmt_misc/register, one write each
    Proc,
    /// A DaemonSet whose privileged pods register the handlers on each node, and remove them when they end
    Kubernetes,
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let host = self.host.clone().unwrap_or_else(Platform::host);
        let guests = self.selection.guests(&host)?;
        tell_what_is_not_carried(&self.selection.targets, printer);
        if guests.len() > 1 && !self.interpreter.contains("{guest}") {
            return Err(Told::new(
                "several guests would have one emulator: `--interpreter` has no `{guest}` in it",
                "as in `--interpreter '/usr/bin/qemu-{guest}'`",
            )
            .into());
        }
        let rules = guests
            .iter()
            .map(|guest| {
                let interpreter = self.interpreter.replace("{guest}", &guest.name);
                Rule::for_guest(guest, self.naming.name(guest), interpreter, self.flags)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let form = match self.format {
            ExportFormat::BinfmtD => Form::BinfmtD,
            ExportFormat::UpdateBinfmts => Form::UpdateBinfmts,
            ExportFormat::Proc => Form::Proc,
            ExportFormat::Kubernetes => Form::Kubernetes { image: self.image.unwrap_or_default(), host },
        };
        // A file of binfmt-support does not tell its name, so two of them cannot follow each other.
        if self.output.is_none() && rules.len() > 1 && form == Form::UpdateBinfmts {
            return Err(Told::new(
                "several files for `update-binfmts` do not fit into one",
                "give a folder with `-o DIR`, and import all of it: `update-binfmts --importdir DIR --import`",
            )
            .into());
        }
        let files = export(&form, &rules)?;
        match &self.output {
            None => {
                let mut out = printer.stdout();
                let written = files.iter().try_for_each(|file| {
                    out.write_all(&file.content)?;
                    if file.content.ends_with(b"\n") { Ok(()) } else { out.write_all(b"\n") }
                });
                written.and_then(|()| out.flush()).context("writing to standard output")?;
            }
            Some(folder) => {
                let write = |path: &std::path::Path| format!("writing `{}`", path.display());
                fs::create_dir_all(folder).with_context(|| write(folder))?;
                for file in files {
                    let path = folder.join(&file.name);
                    fs::write(&path, &file.content).with_context(|| write(&path))?;
                    printer.verbose(format_args!("wrote `{}`", path.display()));
                }
            }
        }
        Ok(ExitStatus::Success)
    }
}
