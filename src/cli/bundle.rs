//! `bundle`: a program and its emulator become an image.

use std::io::Write as _;
use std::path::PathBuf;

use super::exit::ExitStatus;
use super::printer::Printer;
use super::registry::RegistryArgs;
use super::report::Told;
use super::{dirs, epoch};
use crate::bundle::{Bundle, Program};
use crate::emulator::{self, Options};
use crate::image::ImageRef;
use crate::target::{Catalogue, Platform};

/// Put a program and the emulator it needs into an image
///
/// The image runs wherever images for the host's platform run: its entry point starts the program
/// through the emulator. Where the host runs the program itself, no emulator goes in.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The program, statically linked
    program: PathBuf,

    /// The platform that is to run the image [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    host: Option<String>,

    /// Show the program the CPU of this target (a name from `target list`, or a file)
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,

    /// The image to write: a name of the store, `docker://NAME`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]` or `docker-archive:FILE[:NAME]`
    #[arg(short, long, value_name = "IMAGE", value_parser = ImageRef::find)]
    output: ImageRef,

    #[command(flatten)]
    registry: RegistryArgs,

    /// A static qemu-user program for the host, to be used in place of one that is found
    #[arg(long, value_name = "PATH")]
    emulator: Option<PathBuf>,

    /// An environment variable of the program
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = super::run::variable)]
    env: Vec<(String, String)>,

    /// The program's working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// Arguments that the program gets when the image is run without any
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let catalogue = Catalogue::builtin();
        let host = match &self.host {
            Some(host) => catalogue.target(host)?,
            None => catalogue.target(&Platform::host().to_string())?,
        };
        let target = self.target.as_deref().map(|target| catalogue.resolve(target)).transpose()?;
        let mut bundle = Bundle {
            program: Program::read(&self.program)?,
            host: host.clone(),
            emulator: None,
            target,
            args: self.arguments,
            env: self.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            workdir: self.workdir,
            time: epoch()?,
        };
        if bundle.is_emulated() {
            let cache = dirs::cache()?;
            let search: Vec<PathBuf> = emulator::SEARCH.iter().map(PathBuf::from).collect();
            let options = Options { given: self.emulator, cache: &cache, search: &search };
            let (guest, host) = (bundle.program.guest(), &bundle.host.platform);
            bundle.emulator = Some(super::emulator::find_or_fetch(guest, host, options, printer)?);
        } else if self.emulator.is_some() {
            return Err(Told::new(
                format!("{} runs `{}` itself, without an emulator", host.name, self.program.display()),
                "leave `--emulator` out",
            )
            .into());
        }
        let written = bundle.write(&self.output, &self.registry.access([&self.output])?)?;
        let mut out = printer.stdout();
        writeln!(out, "{} {}", self.output, written.digest)?;
        out.flush()?;
        Ok(ExitStatus::Success)
    }
}
