//! The options about what is demanded and what is allowed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;

use super::super::printer::Printer;
use super::output::write_file;
use crate::check::{Allowing, Baseline, Day, Level, Policy, Report, Rule, Severity, UnknownRule};
use crate::image::rfc3339;

/// The policy file that is taken where none is named.
const FILE: &str = "polyarch.toml";

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What fails")]
pub(super) struct PolicyArgs {
    /// The policy file [default: polyarch.toml in the working directory, if there is one]
    #[arg(long, value_name = "FILE", conflicts_with = "no_policy")]
    policy: Option<PathBuf>,

    /// Take no policy file
    #[arg(long)]
    no_policy: bool,

    /// Change a rule's severity: error, warning, note, off or on (may be repeated)
    #[arg(long, value_name = "RULE=LEVEL", value_parser = severity)]
    severity: Vec<(Rule, Level)>,

    /// The least severity that makes the exit status 1: error, warning or note [default: error]
    #[arg(long, value_name = "SEVERITY", value_parser = fail_on)]
    fail_on: Option<Severity>,

    /// Make errors of what is unknown
    #[arg(long)]
    strict: bool,

    /// Tell only of what is not in this file of known findings
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// Write what is found into the baseline, so that it is known from now on
    #[arg(long)]
    write_baseline: bool,
}

fn severity(text: &str) -> Result<(Rule, Level), String> {
    let (rule, level) = text.split_once('=').ok_or("it is written RULE=LEVEL, such as `size=off`")?;
    let rule = rule.parse().map_err(|err: UnknownRule| match err.hint() {
        Some(hint) => format!("{err}; {hint}"),
        None => err.to_string(),
    })?;
    let level: Level = level.parse().map_err(|err| format!("{err}"))?;
    Ok((rule, level))
}

fn fail_on(text: &str) -> Result<Severity, String> {
    let severity = text.parse().ok().filter(|severity| *severity != Severity::Unknown);
    severity
        .ok_or_else(|| "it is `error`, `warning` or `note`; what is unknown fails with `--strict`".to_owned())
}

/// What the options and the policy file decide together.
#[derive(Debug)]
pub(super) struct Decided {
    /// The file's, with what the options change.
    pub(super) policy: Policy,
    /// The least severity that fails.
    pub(super) fail_on: Severity,
    strict: bool,
    baseline: Option<PathBuf>,
    write_baseline: bool,
}

impl PolicyArgs {
    /// Reads the policy file and puts the options above it.
    pub(super) fn decide(&self, printer: Printer) -> anyhow::Result<Decided> {
        let mut policy = match &self.policy {
            Some(path) => Policy::read(path)?,
            None if !self.no_policy && Path::new(FILE).exists() => {
                printer.verbose(format_args!("policy file: {FILE}"));
                Policy::read(Path::new(FILE))?
            }
            None => Policy::default(),
        };
        for (rule, level) in &self.severity {
            policy.set(*rule, *level);
        }
        let baseline = self.baseline.clone().or_else(|| policy.baseline.clone());
        if self.write_baseline && baseline.is_none() {
            return Err(super::super::report::Told::new(
                "`--write-baseline` has no file to write",
                "name it with `--baseline FILE`, or as `baseline` in the policy file",
            )
            .into());
        }
        Ok(Decided {
            fail_on: self.fail_on.or(policy.fail_on).unwrap_or(Severity::Error),
            strict: self.strict || policy.strict,
            baseline,
            write_baseline: self.write_baseline,
            policy,
        })
    }
}

impl Decided {
    /// Takes what is allowed and what is known out of `report`, and puts in what is to be said of policy and baseline.
    pub(super) fn settle(&self, report: &mut Report) -> anyhow::Result<()> {
        self.allow(report);
        let Some(path) = &self.baseline else { return Ok(()) };
        let baseline = if self.write_baseline {
            let baseline = Baseline::of(path, report);
            write_file(path, |out| std::io::Write::write_all(out, baseline.to_json().as_bytes()))
                .with_context(|| format!("writing the baseline `{}`", path.display()))?;
            baseline
        } else {
            Baseline::read(path)?
        };
        baseline.apply(report, &self.policy);
        Ok(())
    }
}

impl Allowing for Decided {
    /// Makes errors of what is unknown too, where that is asked for.
    fn allow(&self, report: &mut Report) {
        self.policy.apply(report, today());
        if self.strict {
            report.make_strict();
        }
    }
}

/// The day, in UTC.
fn today() -> Day {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let text = rfc3339(seconds);
    let mut parts = text[..10].split('-');
    let mut next = || parts.next().unwrap_or_default();
    (next().parse().unwrap_or(u16::MAX), next().parse().unwrap_or(1), next().parse().unwrap_or(1))
}
