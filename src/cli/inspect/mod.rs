//! `polyarch inspect`: what every program of some inputs is.

mod json;
mod text;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args as ClapArgs;

use super::exit::ExitStatus;
use super::format::Format;
use super::printer::Printer;
use super::report;
use crate::tree::{self, Content, Record, TreeError};

/// Tell on which machine programs really run, from their headers, attributes and notes
///
/// Reads files, directories (recursively) and tar archives (plain, gzip, zstd, xz), or `-` for a stream. One file shows
/// all facts and where each stands; several are listed by architecture. Values are explained in docs/inspect.md.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Exit status: 0 done; 2 an input could not be opened or is no program (the others are done all the same)"
)]
pub(super) struct Args {
    /// Files, directories or tar archives; `-` for standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut records: Vec<Record> = Vec::new();
        let mut status = ExitStatus::Success;
        for input in &self.inputs {
            match tree::identify(input, threads) {
                Ok(found) => {
                    // An input that is itself the thing that cannot be read was inspected for nothing.
                    let is_bad = |record: &Record| {
                        record.path == input.as_os_str() && matches!(record.content, Content::Error { .. })
                    };
                    for record in found.iter().filter(|record| is_bad(record)) {
                        status = ExitStatus::Failure;
                        if let Content::Error { message } = &record.content {
                            report::print(&record.path, message);
                        }
                    }
                    records.extend(found);
                }
                Err(err) => {
                    status = ExitStatus::Failure;
                    // The row names the input already.
                    let message = match &err {
                        TreeError::Open { source, .. } => format!("it cannot be opened: {source}"),
                        TreeError::Special { what, .. } => format!("it is a {what}, which is not read"),
                        err => report::one_line(err),
                    };
                    report::print(input.as_os_str(), &message);
                    report::print_hints(&err);
                    records.push(Record { path: input.into(), content: Content::Error { message } });
                }
            }
        }
        let mut out = printer.stdout();
        match self.format {
            Format::Text => {
                text::print(&mut out, &self.inputs, &records).context("writing to standard output")?;
            }
            Format::Json => json::print(&mut out, &records).context("writing to standard output")?,
        }
        out.flush().context("writing to standard output")?;
        Ok(status)
    }
}
