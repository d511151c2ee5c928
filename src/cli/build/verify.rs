//! `check` at the end of a build.

use std::ffi::OsStr;
use std::path::Path;

use super::super::printer::{ERROR, HINT, Printer, WARNING, line};
use super::super::report::Told;
use super::super::table::shown;
use crate::build::Built;
use crate::check::{Check, Options, Severity, Which};
use crate::image::Access;
use crate::layer::LayerMemory;

/// What comes of what `check` finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Verify {
    /// Errors fail the build
    Error,
    /// All is told, and nothing fails
    Warn,
    /// Nothing is checked
    Off,
}

/// Checks what was built against what its config says; images that were checked before and passed are not read again.
pub(super) fn verify(
    built: &Built,
    name: &str,
    how: Verify,
    (cache, access): (&Path, &Access),
    printer: Printer,
) -> anyhow::Result<()> {
    let passed =
        cache.join("build/verified").join(format!("{}-{}", built.digest().hex(), env!("CARGO_PKG_VERSION")));
    if how == Verify::Off || passed.exists() {
        return Ok(());
    }
    let memory = LayerMemory::new(cache.join("check"));
    let check = Check {
        targets: &[],
        fits: None,
        memory: Some(&memory),
        which: Which::All,
        as_root: false,
        options: Options { base: true, ..Options::default() },
        access,
        progress: &crate::progress::Silent,
    };
    let report = check.run_source(OsStr::new(name), built)?;
    let told = report.findings.iter().filter(|finding| finding.severity >= Severity::Warning);
    let (mut errors, mut count) = (0, 0);
    for finding in told {
        count += 1;
        let is_error = finding.severity == Severity::Error;
        errors += usize::from(is_error);
        let style = if is_error && how == Verify::Error { ERROR } else { WARNING };
        let platform = finding.platform.as_deref().unwrap_or_default();
        let path = finding.path.as_ref().map(|path| format!(" `{}`", shown(path)));
        let path = path.unwrap_or_default();
        let message = shown(&finding.message);
        line(format_args!(
            "{style}{}{style:#}: {platform}{path}: {message} ({})",
            finding.severity, finding.rule
        ));
        line(format_args!("{HINT}hint{HINT:#}: {}", shown(&finding.help)));
    }
    if errors > 0 && how == Verify::Error {
        let errors = if errors == 1 { "an error".to_owned() } else { format!("{errors} errors") };
        return Err(Told::new(
            format!("what was built does not pass `check`: {errors}"),
            "`--verify=warn` writes the image all the same",
        )
        .into());
    }
    if count == 0 {
        // That it is not remembered costs time and nothing else.
        let folder = passed.parent().unwrap_or(cache);
        let _ = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&passed, ""));
    }
    let _ = printer;
    Ok(())
}
