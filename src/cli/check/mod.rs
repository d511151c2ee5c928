//! `polyarch check`: whether images and programs run where they are meant to.

mod explain;
mod fits;
mod keep;
mod output;
mod policy;
mod text;

use std::ffi::OsString;
use std::io::Write as _;

use anyhow::Context as _;

use super::dirs;
use super::exit::ExitStatus;
use super::printer::Printer;
use super::registry::RegistryArgs;
use super::report::{Told, is_broken_pipe};
use crate::check::{Check, Options, Report, Which};
use crate::image::ImageRef;
use crate::target::{Catalogue, Platform, Target};

/// Fail when an image or a program will not run where it is meant to
///
/// Index, config and every binary are held against each other and against the target: machine, ISA level, float ABI,
/// loaders, libraries and their symbol versions, scripts, entry point. Without `--target` an image's own claim is held.
/// Rules are listed in docs/check.md.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 nothing that fails was found; 1 something was: an error, or what `--fail-on` names; 2 an input could not be \
                  checked, or wrong usage"
)]
pub(super) struct Args {
    /// Images (a name of the store, `docker://NAME`, `oci:DIR[:TAG]`, `oci-archive:FILE`, `docker-archive:FILE`), root file
    /// systems in folders or archives, programs, or folders of them
    #[arg(required_unless_present = "explain", value_name = "INPUT")]
    inputs: Vec<OsString>,

    /// What it is meant for: a target's name, a file of your own, or `all` to be told which targets it fits (may be repeated,
    /// or separated by commas)
    #[arg(short, long, value_name = "TARGET", value_delimiter = ',')]
    target: Vec<String>,

    /// What else it has to satisfy
    #[arg(long, value_enum)]
    profile: Option<Profile>,

    /// Of an index, the image for this platform [default: this machine's, or the only one]
    #[arg(long, value_name = "PLATFORM", conflicts_with = "all_platforms")]
    platform: Option<Platform>,

    /// Of an index, every image, each against its own claim
    #[arg(long)]
    all_platforms: bool,

    /// Take folders and plain archives for root file systems, whatever is in them
    #[arg(long)]
    root: bool,

    /// All programs have to be static
    #[arg(long = "static")]
    all_static: bool,

    /// The programs will run under qemu-user: hold also what that cannot do
    #[arg(long)]
    emulated: bool,

    /// The oldest kernel that it has to run on, such as 5.10 [default: the target's, where it is known]
    #[arg(long, value_name = "VERSION", value_parser = kernel)]
    kernel: Option<String>,

    /// How much room the unpacked image has, in MiB
    #[arg(long, value_name = "MIB")]
    flash: Option<u32>,

    /// Tell what a rule holds, why, and how to mend what breaks it; `all` lists the rules
    #[arg(long, value_name = "RULE", value_parser = explain::topic, conflicts_with = "inputs")]
    explain: Option<explain::Topic>,

    #[command(flatten)]
    keep: keep::KeepArgs,

    #[command(flatten)]
    policy: policy::PolicyArgs,

    #[command(flatten)]
    output: output::OutputArgs,

    #[command(flatten, next_help_heading = "Registries")]
    registry: RegistryArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Profile {
    /// MikroTik RouterOS's `/container`: the archive's layout, a command, the flash's size
    #[value(name = "routeros")]
    RouterOs,
}

/// What `--target` is given to be told of all targets.
const ALL: &str = "all";

fn kernel(text: &str) -> Result<String, String> {
    let is_version = text.split('.').count() >= 2 && text.split('.').all(|part| part.parse::<u32>().is_ok());
    if is_version { Ok(text.into()) } else { Err("it is written MAJOR.MINOR[.PATCH], such as `5.10`".into()) }
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        if let Some(topic) = self.explain {
            let mut out = printer.stdout();
            explain::print(&mut out, topic)
                .and_then(|()| out.flush())
                .context("writing to standard output")?;
            return Ok(ExitStatus::Success);
        }
        let decided = self.policy.decide(printer)?;
        let mut report = self.collect(&decided, printer)?;
        if !report.fits.is_empty() {
            return fits::write(&report, self.output.is_json(), printer);
        }
        decided.settle(&mut report)?;
        match self.output.write(&report, &decided, printer) {
            // Whoever reads only the beginning, as `head`, takes nothing away from the verdict.
            Err(err) if err.chain().any(is_broken_pipe) => {}
            written => written?,
        }
        Ok(if report.fails(decided.fail_on) { ExitStatus::Found } else { ExitStatus::Success })
    }

    /// Everything that is found, before anybody decides what of it counts.
    fn collect(&self, decided: &policy::Decided, printer: Printer) -> anyhow::Result<Report> {
        let catalogue = Catalogue::builtin();
        // What the command line says is instead of what the policy says.
        let names = if self.target.is_empty() { &decided.policy.targets } else { &self.target };
        let fits = names.iter().any(|name| name == ALL);
        if fits && names.len() > 1 {
            let message = "`--target all` stands alone: it tells of every target";
            return Err(Told::new(message, "leave the others out, or `all`").into());
        }
        let targets: Vec<Target> = if fits {
            catalogue.targets().to_vec()
        } else {
            names.iter().map(|name| catalogue.resolve(name)).collect::<Result<_, _>>()?
        };
        let is_routeros =
            self.profile == Some(Profile::RouterOs) || decided.policy.profile.as_deref() == Some("routeros");
        let references: Vec<ImageRef> =
            self.inputs.iter().filter_map(|input| ImageRef::find(&input.to_string_lossy()).ok()).collect();
        let access =
            if references.is_empty() { dirs::access() } else { self.registry.access(&references)? };
        let memory = self.keep.memory();
        let check = Check {
            targets: &targets,
            fits: if fits { Some(decided) } else { None },
            memory: memory.as_ref(),
            which: match &self.platform {
                _ if self.all_platforms => Which::All,
                Some(platform) => Which::Best(platform.clone()),
                None => Which::Best(Platform::host()),
            },
            as_root: self.root,
            options: Options {
                routeros: is_routeros,
                base: false,
                all_static: self.all_static || decided.policy.all_static,
                emulated: self.emulated,
                kernel: self.kernel.clone(),
                flash: self.flash.map(|mib| u64::from(mib) << 20),
            },
            access: &access,
            progress: &printer,
        };
        let has_targets = !targets.is_empty() && !fits;
        let inputs = self.keep.inputs(&self.inputs, &check.which, has_targets, &access, printer)?;
        Ok(check.run(&inputs)?)
    }
}
