//! `polyarch doctor`: what this machine can do, and why something does not start.

mod machine;
mod thing;

use std::ffi::OsString;

use super::dirs;
use super::exit::ExitStatus;
use super::format::Format;
use super::printer::Printer;
use super::registry::RegistryArgs;
use crate::doctor::Places;

pub(super) use thing::why;

/// Tell what this machine can do for foreign programs, or why an image or a program does not start
///
/// Without arguments, every check is really tried: namespaces, handlers, file systems; for each lack there is the command that
/// mends it, to be run as root unless it begins with `polyarch` or `export`. With an image, a root file system or a program,
/// what stands in the way of starting it is explained. Checks, reasons and JSON are listed in docs/doctor.md.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 all that `run` and `build` need is there, or nothing is known against starting the thing; \
                  1 something is lacking or in the way; 2 failure"
)]
pub(super) struct Args {
    /// An image, the folder of a root file system, or a program of this machine: a path, or a name on `PATH`
    #[arg(value_name = "IMAGE|PROGRAM")]
    thing: Option<OsString>,

    /// The program in it, in place of the image's own [default for a folder: /bin/sh]
    #[arg(value_name = "PROGRAM", requires = "thing")]
    program: Option<String>,

    /// Show the mending commands of all distributions, not of this one only
    #[arg(long)]
    all_distributions: bool,

    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    #[command(flatten)]
    registry: RegistryArgs,
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        match &self.thing {
            None => machine::examine(self.format, self.all_distributions, printer),
            Some(thing) => {
                thing::explain(thing, self.program.as_deref(), &self.registry, self.format, printer)
            }
        }
    }
}

fn places() -> anyhow::Result<Places> {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    Ok(Places {
        cache: dirs::cache()?,
        store: dirs::store(),
        search: std::env::var("PATH").unwrap_or_default(),
        user: own_name().or(user),
    })
}

/// The user's name by `/etc/passwd`: `USER` may be another's, after `su`.
fn own_name() -> Option<String> {
    let number = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').nth(2) == Some(&number))?;
    line.split(':').next().map(str::to_owned)
}
