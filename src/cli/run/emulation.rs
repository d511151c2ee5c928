//! `run`: how foreign programs run.

use std::path::PathBuf;

use crate::sandbox::Emulation;

/// Options of `run`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Emulation")]
pub(super) struct EmulationArgs {
    /// Run foreign programs with this static qemu-user program
    #[arg(long, value_name = "PATH")]
    pub(super) emulator: Option<PathBuf>,

    /// How foreign programs reach their emulators [default: the first of these that can be had]
    #[arg(long, value_enum, value_name = "WAY")]
    emulation: Option<Way>,
}

/// The values of `--emulation`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Way {
    /// By handlers in a binfmt_misc of the container's own, which Linux has from 6.7 on
    Private,
    /// By the host's handlers, which must have the flag `F`, and with the host's emulators
    Host,
    /// By tracing what is executed, on every Linux from 4.8 on
    Trace,
}

impl EmulationArgs {
    pub(super) fn way(&self) -> Option<Emulation> {
        self.emulation.map(|way| match way {
            Way::Private => Emulation::Private,
            Way::Host => Emulation::Host,
            Way::Trace => Emulation::Trace,
        })
    }
}
