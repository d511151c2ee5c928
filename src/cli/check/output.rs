//! The options about how and where a report is written.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use clap::ValueEnum;

use super::super::format;
use super::super::printer::Printer;
use super::policy::Decided;
use super::text;
use crate::check::Report;
use crate::check::formats::{self, Context};

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// For people
    Text,
    /// JSON, whose keys are only ever added to
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit's XML
    Junit,
    /// Annotations of GitHub's workflow log
    Github,
    /// GitLab's code quality report
    Gitlab,
}

/// A form and the file for it.
#[derive(Clone, Debug)]
struct Output {
    form: Form,
    path: PathBuf,
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (form, path) = text
            .split_once('=')
            .filter(|(_, path)| !path.is_empty())
            .ok_or("it is written FORMAT=FILE, such as `sarif=results.sarif`")?;
        let names = || Form::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let form = Form::from_str(form, false).map_err(|_| {
            let names: Vec<String> = names().map(|name| name.get_name().to_owned()).collect();
            format!("there is no format `{form}`, only {}", names.join(", "))
        })?;
        Ok(Self { form, path: path.into() })
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,

    /// Write a report into a file, too (may be repeated)
    #[arg(short, long, value_name = "FORMAT=FILE")]
    output: Vec<Output>,
}

impl OutputArgs {
    /// Whether JSON is what is printed.
    pub(super) fn is_json(&self) -> bool {
        self.format == Form::Json
    }

    /// Writes `report` to its files, and then to standard output.
    pub(super) fn write(&self, report: &Report, decided: &Decided, printer: Printer) -> anyhow::Result<()> {
        // Where it is gone, paths are told as they were given.
        let base = std::env::current_dir().ok();
        let context = Context { base: base.as_deref(), fail_on: decided.fail_on, policy: &decided.policy };
        for Output { form, path } in &self.output {
            let how = text::How { cut: None, failing_only: false, ..text::How::of(printer, decided.fail_on) };
            write_file(path, |out| {
                // Colours are for terminals; only text has any.
                if *form == Form::Text {
                    let mut plain = anstream::StripStream::new(Vec::new());
                    text::print(&mut plain, report, how)?;
                    return out.write_all(&plain.into_inner());
                }
                write(out, *form, report, &context, how)
            })
            .with_context(|| format!("writing the report `{}`", path.display()))?;
        }
        let mut out = printer.stdout();
        write(&mut out, self.format, report, &context, text::How::of(printer, decided.fail_on))
            .and_then(|()| out.flush())
            .context("writing to standard output")
    }
}

fn write(
    mut out: &mut dyn Write,
    form: Form,
    report: &Report,
    context: &Context<'_>,
    how: text::How,
) -> io::Result<()> {
    match form {
        Form::Text => text::print(&mut out, report, how),
        Form::Json => format::json(&mut out, report),
        Form::Sarif => formats::sarif(&mut out, report, context),
        Form::Junit => formats::junit(&mut out, report, context),
        Form::Github => formats::github(&mut out, report, context),
        Form::Gitlab => formats::gitlab(&mut out, report, context),
    }
}

/// Has `write` fill the file at `path`, which is there whole or not at all. What is no file, as a fifo, is written to as it is, and so
/// is what a link leads to.
pub(super) fn write_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let fill = |out: &mut dyn Write| {
        let mut out = BufWriter::new(out);
        write(&mut out)?;
        out.flush()
    };
    // Opened anew, a file that the shell has opened for us would be overwritten from its beginning.
    match path.to_str() {
        Some("-" | "/dev/stdout") => return fill(&mut io::stdout().lock()),
        Some("/dev/stderr") => return fill(&mut io::stderr().lock()),
        _ => {}
    }
    if let Ok(metadata) = fs::symlink_metadata(path)
        && !metadata.is_file()
    {
        let is_file =
            fs::metadata(path)?.is_file() && !path.starts_with("/dev") && !path.starts_with("/proc");
        return fill(&mut fs::OpenOptions::new().write(true).truncate(is_file).append(!is_file).open(path)?);
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The error names a file that nobody knows; its cause does not.
    let made = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o666)).tempfile_in(folder);
    let mut temporary = made.map_err(|err| {
        let cause = err.get_ref().and_then(|err| err.source()).map(ToString::to_string);
        cause.map_or(err.kind().into(), |cause| io::Error::new(err.kind(), cause))
    })?;
    fill(temporary.as_file_mut())?;
    temporary.persist(path).map(|_| ()).map_err(|err| err.error)
}
