//! `bundle`: programs and the emulators that they need become an image.

mod from;
mod settings;
mod whole;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::emulator::archive::{self, Archive};
use super::exit::ExitStatus;
use super::printer::Printer;
use super::registry::RegistryArgs;
use super::report::Told;
use super::{dirs, epoch};
use crate::bundle::{Bundle, Equipment, Gatherer, Origin, shell};
use crate::debian::SNAPSHOTS;
use crate::emulator::{self, Emulator, Options};
use crate::image::{Image, ImageRef};
use crate::target::{Catalogue, Guest, Platform, Target};

/// Put programs, what they load, and the emulators they need into an image
///
/// The image runs wherever images for the host's platform run, without handlers: under each program's name stands a stub, which
/// starts it through the emulator, whoever executes it. Where the host runs a program itself, neither goes in. `--rootfs` turns a whole
/// foreign image into one for the host.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Programs: paths or names within what `--from` names, else files of this machine, which come into `/bin`. The image starts the first
    #[arg(required_unless_present_any = ["rootfs", "idle"])]
    programs: Vec<String>,

    /// Turn this whole image or root file system (a folder) into one for the host
    #[arg(long, value_name = "IMAGE|FOLDER", conflicts_with_all = ["programs", "from", "include", "base", "certificates", "timezone", "passwd"])]
    rootfs: Option<String>,

    /// The platform, or target, that is to run the image [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    host: Option<String>,

    /// Show the programs the CPU of this target (a name from `target list`, or a file)
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,

    /// The image to write: a name of the store, `docker://NAME`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]` or `docker-archive:FILE[:NAME]`
    #[arg(short, long, value_name = "IMAGE", value_parser = ImageRef::find)]
    output: ImageRef,

    /// A static qemu-user program for the host, to be used in place of one that is found
    #[arg(long, value_name = "PATH")]
    emulator: Option<PathBuf>,

    #[command(flatten)]
    source: from::Source,

    #[command(flatten)]
    settings: settings::Start,

    #[command(flatten)]
    registry: RegistryArgs,

    #[command(flatten)]
    archive: Archive,

    /// Arguments that the program gets when the image is run without any
    #[arg(last = true, value_name = "ARGS", conflicts_with = "cmd")]
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
        let mut equipment = Equipment::new(host.clone(), target);
        equipment.keep = self.settings.keep();
        if self.settings.shell {
            let cache = dirs::cache()?;
            let (mirror, snapshots) = (self.archive.open(printer)?, archive::open(Some(SNAPSHOTS))?);
            equipment.keep.shell = Some(shell(host, &cache, &mirror, &snapshots, &printer)?);
        }
        if let Some(rootfs) = &self.rootfs {
            return self.whole(rootfs, equipment, printer);
        }
        self.programs(equipment, printer)
    }

    /// A bundle of programs.
    fn programs(self, mut equipment: Equipment, printer: Printer) -> anyhow::Result<ExitStatus> {
        let spool = spool()?;
        let settings = self.settings.settings(&self.arguments);
        let image = self.source.image(equipment.target.as_ref(), &self.registry)?;
        let from =
            self.source.origin(image.as_ref(), equipment.target.as_ref(), &self.archive, &spool, printer)?;
        let here = Origin::folder(Path::new("/"))?;
        let target = equipment.target.clone();
        let mut taker = Gatherer::new(&here, from.as_ref(), target.as_ref());
        for program in &self.programs {
            taker.program(program)?;
        }
        self.source.gather(&mut taker, settings.user.as_deref())?;
        let gathered = taker.finish()?;
        let foreign = gathered.foreign(&equipment.host);
        if foreign.is_empty() && self.emulator.is_some() {
            return Err(self.needless(&equipment.host));
        }
        for guest in foreign {
            equipment.emulators.push(self.emulator(guest, &equipment.host, printer)?);
        }
        let base = match &self.source.base {
            Some(base) => {
                let access = self.registry.access([base])?;
                Some((Image::open(base, &equipment.host.platform, &access)?, spool))
            }
            None => None,
        };
        let base = base.as_ref().map(|(image, spool)| (image, spool.clone()));
        let bundle = Bundle { gathered, equipment, settings, base, time: epoch()? };
        let written = bundle.write(&self.output, &self.registry.access([&self.output])?)?;
        self.told(&written.digest, printer)
    }

    fn told(&self, digest: &crate::layer::Digest, printer: Printer) -> anyhow::Result<ExitStatus> {
        let mut out = printer.stdout();
        writeln!(out, "{} {digest}", self.output)?;
        out.flush()?;
        Ok(ExitStatus::Success)
    }

    /// The emulator for `guest`: the one that was given, one that is there, or Debian's.
    fn emulator(&self, guest: &'static Guest, host: &Target, printer: Printer) -> anyhow::Result<Emulator> {
        let cache = dirs::cache()?;
        let search: Vec<PathBuf> = emulator::SEARCH.iter().map(PathBuf::from).collect();
        let options = Options { given: self.emulator.clone(), cache: &cache, search: &search };
        super::emulator::find_or_fetch(guest, &host.platform, options, printer)
    }

    fn needless(&self, host: &Target) -> anyhow::Error {
        let what = self.programs.first().map_or("the image", String::as_str);
        Told::new(
            format!("{} runs `{what}` itself, without an emulator", host.name),
            "leave `--emulator` out",
        )
        .into()
    }
}

/// A folder for files that have no names.
fn spool() -> anyhow::Result<PathBuf> {
    let cache = dirs::cache()?;
    std::fs::create_dir_all(&cache).map_err(|err| {
        anyhow::Error::new(err).context(format!("making the cache's folder `{}`", cache.display()))
    })?;
    Ok(cache)
}
