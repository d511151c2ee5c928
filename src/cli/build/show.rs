//! What is shown while a build goes on.

use super::super::emulator::find_or_fetch;
use super::super::printer::{HEADING, Printer, Verbosity, line};
use super::input::Input;
use crate::build::{Shared, Surroundings};
use crate::containerfile::Warning;
use crate::emulator::{self, Emulator, EmulatorError, Options as EmulatorOptions};
use crate::image::registry::Options;
use crate::image::{self, Access, Image, ImageError, Pull};
use crate::progress::Progress;
use crate::target::{Guest, Platform};

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum How {
    /// Steps and what they say
    Auto,
    /// The same
    Plain,
    /// Errors only
    Quiet,
}

/// Shows what a build does, and finds its images.
#[derive(Debug)]
pub(in crate::cli) struct Shower<'a> {
    pub(in crate::cli) printer: Printer,
    /// Where the file came from, if anybody wrote it.
    pub(in crate::cli) input: Option<&'a Input>,
    pub(in crate::cli) how: How,
    pub(in crate::cli) pull: Pull,
    pub(in crate::cli) access: &'a Access,
    /// `--cache-from` and `--cache-to`.
    pub(in crate::cli) cache_from: &'a [String],
    pub(in crate::cli) cache_to: &'a [String],
}

impl Shower<'_> {
    fn shared(&self, places: &[String]) -> Vec<Shared> {
        // They were understood before.
        places.iter().filter_map(|text| Shared::new(text, self.access.clone()).ok()).collect()
    }

    fn is_quiet(&self) -> bool {
        self.how == How::Quiet || self.printer.is(Verbosity::Quiet)
    }
}

impl Surroundings for Shower<'_> {
    fn image(&self, name: &str, platform: &Platform) -> Result<Image, ImageError> {
        image::Wanted::image(name, platform, self.pull, self.access, &self.printer)
    }

    fn emulator(
        &self,
        guest: &'static Guest,
        options: &EmulatorOptions<'_>,
    ) -> Result<Emulator, EmulatorError> {
        if self.pull == Pull::Never {
            return emulator::find(guest, &Platform::host(), options);
        }
        // Several steps may want the same at once: it is fetched once, and found by the others.
        find_or_fetch(guest, &Platform::host(), options.clone(), self.printer).map_err(|err| {
            err.downcast().unwrap_or_else(|err| {
                self.printer.warn(&format!("{err:#}"));
                EmulatorError::NotFound {
                    guest: guest.name.clone(),
                    host: Box::new(Platform::host()),
                    rejected: Vec::new(),
                }
            })
        })
    }

    fn remotes(&self) -> Options {
        self.access.registries.clone()
    }

    fn cache_from(&self) -> Vec<Shared> {
        self.shared(self.cache_from)
    }

    fn cache_to(&self) -> Vec<Shared> {
        self.shared(self.cache_to)
    }

    fn lint(&self, warning: &Warning) {
        if let Some(input) = self.input {
            input.warn(warning, self.printer);
        }
    }

    fn progress(&self) -> &dyn Progress {
        &self.printer
    }

    fn step(&self, label: &str, text: &str, cached: bool) {
        if self.is_quiet() {
            return;
        }
        let text: String = text.chars().take(200).collect();
        let cached = if cached { " (cached)" } else { "" };
        line(format_args!("{HEADING}{label}{HEADING:#} {text}{cached}"));
    }

    fn output(&self, label: &str, said: &str) {
        if !self.is_quiet() {
            line(format_args!("{label} | {said}"));
        }
    }
}
