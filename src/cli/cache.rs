//! `cache`: what builds keep.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::HumanBytes;
use serde::Serialize;

use super::dirs;
use super::exit::ExitStatus;
use super::format::{self, Format};
use super::printer::Printer;
use crate::build::{Cache, Pruning, Removed};
use crate::sandbox::{Ids, remove_files};

/// The build cache
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Remove steps that builds have made and no build uses now: all of them, unless options say which
    Prune {
        /// Only what was not used for so long: a number of seconds, or one with `m`, `h` or `d`
        #[arg(long, value_name = "TIME", value_parser = duration)]
        older_than: Option<Duration>,

        /// Only as much as is over this size, what was not used for the longest time first: bytes, or a number with `k`, `m` or `g`
        #[arg(long, value_name = "SIZE", value_parser = size)]
        keep: Option<u64>,

        /// The folders of `RUN --mount=type=cache`, too
        #[arg(long)]
        mounts: bool,

        /// Only tell what would be removed
        #[arg(long)]
        dry_run: bool,

        /// How to print
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
}

/// The output for programs.
#[derive(Serialize)]
struct Report {
    dry_run: bool,
    #[serde(flatten)]
    removed: Removed,
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let Action::Prune { older_than, keep, mounts, dry_run, format } = self.action;
        let cache = Cache::open(&dirs::cache()?)?;
        let (ids, _) = Ids::of_caller();
        let pruning = Pruning { older_than, keep, mounts, dry_run };
        let removed = cache.prune(&pruning, &|path| remove_files(path, &ids))?;
        let mut out = printer.stdout();
        match format {
            Format::Json => format::json(&mut out, &Report { dry_run, removed }),
            Format::Text => {
                let done = if dry_run { "would be removed" } else { "removed" };
                let Removed { layers, mounts, size, in_use, kept, .. } = removed;
                let folders =
                    if mounts > 0 { format!(" and {mounts} folders of mounts") } else { String::new() };
                let used =
                    if in_use > 0 { format!(", {in_use} of them used by builds") } else { String::new() };
                let (size, kept) = (HumanBytes(size), HumanBytes(kept));
                let all = if layers == 1 { "layer" } else { "layers" };
                writeln!(out, "{layers} {all}{folders} of {size} {done}; {kept} stay{used}")
            }
        }
        .and_then(|()| out.flush())
        .context("writing to standard output")?;
        Ok(ExitStatus::Success)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let scales = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let (digits, scale) = scales
        .iter()
        .find_map(|(unit, scale)| text.strip_suffix(unit).map(|digits| (digits, *scale)))
        .unwrap_or((text, 1));
    let seconds = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
    seconds.map(Duration::from_secs).ok_or_else(|| "a time is written as `90`, `15m`, `12h` or `7d`".into())
}

fn size(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let plain = lower.trim_end_matches("ib").trim_end_matches('b');
    let scales = [("k", 1_u64 << 10), ("m", 1 << 20), ("g", 1 << 30), ("t", 1 << 40)];
    let (digits, scale) = scales
        .iter()
        .find_map(|(unit, scale)| plain.strip_suffix(unit).map(|digits| (digits, *scale)))
        .unwrap_or((plain, 1));
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
    bytes.ok_or_else(|| "a size is written as `1000`, `500m` or `20g`".into())
}
