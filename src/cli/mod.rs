//! The command line: one file a verb, each with its arguments, its call and its output.
//!
//! Nothing imports this room. It alone prints, reads the environment and knows exit statuses.

mod binfmt;
mod build;
mod bundle;
mod cache;
mod check;
mod copy;
mod dirs;
mod doctor;
mod emulator;
mod exit;
mod format;
mod image;
mod index;
mod inspect;
mod matrix;
mod printer;
mod registry;
mod report;
mod rootfs;
mod routeros;
mod run;
mod table;
mod target;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};

use exit::ExitStatus;
use printer::{Printer, Verbosity};

/// Build, inspect, bundle and run programs and images for any CPU architecture, without a daemon and without root.
#[derive(Debug, Parser)]
#[command(name = "polyarch", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,

    /// Say also what was chosen and why
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inspect(inspect::Args),
    Check(check::Args),
    // Boxed, since they have many more options than the others.
    Build(Box<build::Args>),
    Bundle(Box<bundle::Args>),
    Run(Box<run::Args>),
    Copy(copy::Args),
    Image(image::Args),
    Index(index::Args),
    Matrix(matrix::Args),
    Cache(cache::Args),
    Emulator(emulator::Args),
    Binfmt(binfmt::Args),
    Target(target::Args),
    Doctor(doctor::Args),
    Rootfs(rootfs::Args),
    Routeros(routeros::Args),
}

impl Command {
    fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        match self {
            Self::Inspect(args) => args.execute(printer),
            Self::Check(args) => args.execute(printer),
            Self::Target(args) => args.execute(printer),
            Self::Emulator(args) => args.execute(printer),
            Self::Binfmt(args) => args.execute(printer),
            Self::Build(args) => args.execute(printer),
            Self::Bundle(args) => args.execute(printer),
            Self::Run(args) => args.execute(printer),
            Self::Copy(args) => args.execute(printer),
            Self::Image(args) => args.execute(printer),
            Self::Index(args) => args.execute(printer),
            Self::Matrix(args) => args.execute(printer),
            Self::Cache(args) => args.execute(printer),
            Self::Doctor(args) => args.execute(printer),
            Self::Rootfs(args) => args.execute(printer),
            Self::Routeros(args) => args.execute(printer),
        }
    }

    /// What a failure of this verb exits with.
    fn failure_status(&self) -> u8 {
        match self {
            Self::Run(_) => exit::RUN_FAILURE,
            Self::Binfmt(args) if args.runs_a_program() => exit::RUN_FAILURE,
            _ => exit::FAILURE,
        }
    }
}

/// The time that made things carry, in seconds since 1970: `SOURCE_DATE_EPOCH`, else 0, for nothing that is
/// made depends on when it is made.
fn epoch() -> Result<u64, report::Told> {
    source_date().map(Option::unwrap_or_default)
}

/// `SOURCE_DATE_EPOCH`, where it is set, in seconds since 1970.
fn source_date() -> Result<Option<u64>, report::Told> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Err(std::env::VarError::NotPresent) => Ok(None),
        Ok(text) if text.is_empty() => Ok(None),
        value => {
            value.ok().and_then(|text| text.parse().ok()).filter(|time| *time < 1 << 33).map(Some).ok_or_else(
                || {
                    report::Told::new(
                        "`SOURCE_DATE_EPOCH` is no number of seconds since 1970",
                        "see https://reproducible-builds.org/specs/source-date-epoch/",
                    )
                },
            )
        }
    }
}

/// Runs the program with `args`, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // Started anew by itself, as a process of a container.
    if let Some(status) = crate::sandbox::enter(&args) {
        return status;
    }
    if let Some(status) = crate::build::enter(&args) {
        return status;
    }
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(err) => {
            // Printing help or a usage error can only fail where nobody listens.
            let _ = err.print();
            return if err.use_stderr() { exit::usage_status(&args) } else { ExitCode::SUCCESS };
        }
    };
    let printer = Printer::new(match (cli.quiet, cli.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, 0) => Verbosity::Normal,
        (false, _) => Verbosity::Verbose,
    });
    let failure = cli.command.failure_status();
    match cli.command.execute(printer) {
        Ok(status) => status.into(),
        Err(err) => report::report(&err, failure),
    }
}
