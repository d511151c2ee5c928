//! Which targets inputs fit: the answer to `--target all`.

use std::io::Write as _;

use anyhow::Context as _;

use super::super::exit::ExitStatus;
use super::super::format;
use super::super::printer::Printer;
use super::super::table::{self, shown};
use crate::check::Report;

/// Writes the answer. It was found that something does not fit where an input fits nothing at all.
pub(super) fn write(report: &Report, is_json: bool, printer: Printer) -> anyhow::Result<ExitStatus> {
    let mut out = printer.stdout();
    let mut write = || {
        if is_json {
            format::json(&mut out, report)
        } else {
            // What fits is what was asked for.
            let mut fits: Vec<_> = report.fits.iter().collect();
            fits.sort_by_key(|fit| !fit.fits);
            let rows: Vec<Vec<String>> = fits
                .into_iter()
                .map(|fit| {
                    let why = fit.why.as_deref().map(shown).unwrap_or_default();
                    let fits = match fit.errors {
                        _ if fit.fits => "fits".into(),
                        1 => "1 error".into(),
                        errors => format!("{errors} errors"),
                    };
                    vec![shown(&fit.input), fit.target.clone(), fits, why]
                })
                .collect();
            table::print(&mut out, "", &["INPUT", "TARGET", "VERDICT", "FIRST ERROR"], &rows)
        }
    };
    write().and_then(|()| out.flush()).context("writing to standard output")?;
    let fits = |name: &std::ffi::OsString| report.fits.iter().any(|fit| fit.fits && fit.input == *name);
    let all = report.inputs.iter().all(|input| fits(&input.name));
    Ok(if all { ExitStatus::Success } else { ExitStatus::Found })
}
