//! `polyarch emulator prune`.

use std::io::Write as _;
use std::path::Path;

use indicatif::HumanBytes;
use serde::Serialize;

use super::pins;
use crate::cli::exit::ExitStatus;
use crate::cli::format::{self, Format};
use crate::cli::printer::Printer;
use crate::cli::table::shown;
use crate::emulator::{self, Pruned};

/// Remove from the cache emulators that are damaged or that no pin names, and what was left behind
///
/// Package files that are not pinned and package indexes older than a day go too. It waits for processes that fetch.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Remove all emulators, packages and indexes
    #[arg(long)]
    all: bool,

    /// Only tell what would be removed
    #[arg(long)]
    dry_run: bool,

    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The output for programs.
#[derive(Serialize)]
struct Report<'a> {
    dry_run: bool,
    /// Bytes, of all together.
    size: u64,
    pruned: &'a [Pruned],
}

impl Args {
    pub(super) fn execute(self, cache: &Path, printer: Printer) -> anyhow::Result<ExitStatus> {
        let pruned = emulator::prune(cache, &pins()?, self.all, self.dry_run, &printer)?;
        let size = pruned.iter().map(|pruned| pruned.size).sum();
        let mut out = printer.stdout();
        match self.format {
            Format::Json => {
                format::json(&mut out, &Report { dry_run: self.dry_run, size, pruned: &pruned })?;
            }
            Format::Text => {
                for Pruned { path, size, reason, .. } in &pruned {
                    writeln!(out, "{}  {reason}, {}", shown(path), HumanBytes(*size))?;
                }
                let done = if self.dry_run { "would be removed" } else { "removed" };
                writeln!(out, "{} {done}", HumanBytes(size))?;
            }
        }
        out.flush()?;
        Ok(ExitStatus::Success)
    }
}
