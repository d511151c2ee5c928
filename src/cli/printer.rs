//! Where output goes: data to standard output, everything else to standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::progress::{Progress, Task};

/// How much is said on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verbosity {
    /// Errors only.
    Quiet,
    /// Progress and warnings.
    Normal,
    /// Also which way was chosen and why.
    Verbose,
}

/// Passed to every verb; the only way for it to say anything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Printer {
    verbosity: Verbosity,
}

/// Bold, for headings.
pub(super) const HEADING: Style = Style::new().bold();
/// Errors.
pub(super) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// Warnings.
pub(super) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// Hints, and paths in them.
pub(super) const HINT: Style = AnsiColor::Cyan.on_default().bold();

impl Printer {
    /// A printer that says as much as `verbosity` asks.
    pub(super) fn new(verbosity: Verbosity) -> Self {
        Self { verbosity }
    }

    /// Whether this much is said, and no more or less.
    pub(super) fn is(self, verbosity: Verbosity) -> bool {
        self.verbosity == verbosity
    }

    /// Standard output, buffered; colours are dropped where they are not wanted (`NO_COLOR`, no terminal).
    #[expect(
        clippy::unused_self,
        reason = "a verb has no other way to print than the printer that it is given"
    )]
    pub(super) fn stdout(self) -> io::BufWriter<anstream::AutoStream<io::StdoutLock<'static>>> {
        io::BufWriter::with_capacity(1 << 16, anstream::AutoStream::auto(io::stdout().lock()))
    }

    /// A line for `-v` on standard error.
    pub(super) fn verbose(self, message: impl Display) {
        if self.verbosity >= Verbosity::Verbose {
            line(message);
        }
    }
}

/// Writes one line to standard error. That it may fail (closed, full) cannot be told to anyone.
pub(super) fn line(message: impl Display) {
    let _ = writeln!(anstream::stderr().lock(), "{message}");
}

impl Progress for Printer {
    fn begin(&self, label: &str, total: Option<u64>) -> Box<dyn Task> {
        if self.verbosity == Verbosity::Quiet {
            return Box::new(crate::progress::Silent);
        }
        if !io::stderr().is_terminal() {
            line(label);
            return Box::new(crate::progress::Silent);
        }
        let bar = match total {
            Some(total) => ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden())
                .with_style(style(
                    "{msg} {bar:24.cyan/dim} {bytes:>10} of {total_bytes} {bytes_per_sec:>12}",
                )),
            None => ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
                .with_style(style("{spinner} {msg} {bytes}")),
        };
        let bar = BARS.add(bar);
        bar.set_message(label.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Box::new(Bar(bar))
    }

    fn note(&self, message: &str) {
        self.verbose(message);
    }

    fn warn(&self, message: &str) {
        if self.verbosity > Verbosity::Quiet {
            line(format_args!("{WARNING}warning{WARNING:#}: {message}"));
        }
    }
}

/// Work that goes on at the same time has a line each.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[derive(Debug)]
struct Bar(ProgressBar);

impl Task for Bar {
    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
