//! `matrix`: the platforms of a build, for systems that build each in a job of its own.

use std::io::Write as _;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;

use super::exit::ExitStatus;
use super::format;
use super::printer::Printer;
use super::report::Told;
use crate::target::{Catalogue, Platform};

/// Print the platforms of a build, one a job, in the form that a CI system reads
///
/// Each job builds one platform and pushes it by its digest; `index create` joins the images.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Platforms or targets, separated by commas; `all` is every platform of Linux that the catalogue has
    #[arg(long, value_name = "P,…", required = true, value_delimiter = ',')]
    platform: Vec<String>,

    /// How to write them
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,

    /// Only the platform of this number, from 0: a Kubernetes job's `$JOB_COMPLETION_INDEX`
    #[arg(long, value_name = "N")]
    index: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One platform a line
    Text,
    /// A list, whose objects' keys are only ever added to
    Json,
    /// One line for `strategy.matrix` of GitHub Actions
    Github,
    /// A pipeline for GitLab, a job a platform, each of which `extends: .build`
    Gitlab,
}

/// One job.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Job {
    platform: String,
    os: String,
    architecture: String,
    variant: Option<String>,
    /// The platform as a word of names of jobs, tags and files.
    name: String,
    /// The target of the catalogue that was asked for, or that the platform is.
    target: Option<String>,
    /// What Debian calls the architecture.
    debian: Option<String>,
    /// Whether this machine runs its programs by an emulator.
    emulated: bool,
}

impl Job {
    fn new(platform: &Platform, given: &str) -> Self {
        let catalogue = Catalogue::builtin();
        let target = catalogue.target(given).ok().or_else(|| catalogue.target(&platform.to_string()).ok());
        let host = catalogue.target(&Platform::host().to_string()).ok();
        let is_native =
            target.is_some_and(|target| host.is_some_and(|host| host.runs_natively(&target.qemu.guest)));
        Self {
            platform: platform.to_string(),
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            name: platform.to_string().replace('/', "-"),
            target: target.map(|target| target.name.clone()),
            debian: target
                .and_then(|target| target.debian.as_ref().map(|debian| debian.architecture.clone())),
            emulated: !is_native,
        }
    }
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let mut jobs = jobs(&self.platform)?;
        if let Some(index) = self.index {
            let count = jobs.len();
            if index >= count {
                let message = format!("there is no platform of the number {index}");
                let hint = format!(
                    "there are {count}, from 0: a job that has an index wants `completions: {count}`"
                );
                return Err(Told::new(&message, &hint).into());
            }
            jobs = jobs.into_iter().skip(index).take(1).collect();
        }
        let mut out = printer.stdout();
        match self.format {
            Form::Text => jobs.iter().try_for_each(|job| writeln!(out, "{}", job.platform)),
            Form::Json => format::json(&mut out, &jobs),
            Form::Github => writeln!(out, "{}", json!({ "include": jobs })),
            Form::Gitlab => {
                let jobs = jobs.iter().map(|job| {
                    let variables = json!({ "PLATFORM": job.platform, "PLATFORM_NAME": job.name });
                    (format!("build:{}", job.name), json!({ "extends": ".build", "variables": variables }))
                });
                format::json(&mut out, &jobs.collect::<serde_json::Map<_, _>>())
            }
        }
        .and_then(|()| out.flush())
        .context("writing to standard output")?;
        Ok(ExitStatus::Success)
    }
}

/// The jobs of these platforms, in their order, each once.
fn jobs(given: &[String]) -> anyhow::Result<Vec<Job>> {
    let catalogue = Catalogue::builtin();
    let mut jobs: Vec<Job> = Vec::new();
    let mut add = |job: Job| {
        if jobs.iter().all(|known| known.platform != job.platform) {
            jobs.push(job);
        }
    };
    for given in given.iter().map(|given| given.trim()) {
        if given == "all" {
            for target in catalogue.targets().iter().filter(|target| target.routeros.is_none()) {
                add(Job::new(&target.platform, &target.name));
            }
            continue;
        }
        let platform = &catalogue.target(given)?.platform;
        add(Job::new(platform, given));
    }
    Ok(jobs)
}
