//! `polyarch rootfs`: base roots, made from recipes.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;

use super::build::show::{How, Shower};
use super::emulator::archive::{self, Archive};
use super::exit::ExitStatus;
use super::format::{self, Format};
use super::printer::{Printer, Verbosity};
use super::registry::RegistryArgs;
use super::report::Told;
use super::run::Way;
use super::{dirs, source_date, table};
use crate::debian::SNAPSHOTS;
use crate::emulator::{self, Options};
use crate::image::Pull;
use crate::progress::Progress as _;
use crate::rootfs::debian::{self, Request, Sources};
use crate::rootfs::{Kind, Made, Output, Recipe, containerfile, recipes, tarball};
use crate::sandbox::{Ids, SandboxError, Signals};
use crate::target::{Catalogue, Platform, Target};

/// Base root file systems: Debian for every machine that Debian knows
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the recipes, and the machines that each is for
    List {
        /// How to write them
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Make a root file system, as an image or a folder
    ///
    /// Packages come from a signed archive, are unpacked here, and configured by their own scripts in a sandbox, which runs them through an
    /// emulator where they are for another machine. The same root is made once: what it was made from decides.
    Build(Box<BuildArgs>),
}

#[derive(Debug, clap::Args)]
struct BuildArgs {
    /// A recipe's name, or the path of a recipe file (`./my-root.toml`)
    recipe: String,

    /// The machine that it is for: a target's name, or a file [default: this machine]
    #[arg(long, value_name = "TARGET", conflicts_with = "platform")]
    target: Option<String>,

    /// The same by its platform, such as `linux/arm/v7`
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,

    /// The image to write (a name of the store, `docker://NAME`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`),
    /// or the path of a folder to make
    #[arg(short, long, value_name = "IMAGE|DIR")]
    output: Output,

    /// The suite [default: the newest released one that has the machine's architecture]
    #[arg(long)]
    suite: Option<String>,

    /// Which packages: of Debian `essential`, `minbase` (what is required, and apt) or `build` (with compilers); of a router `small` or `base`
    /// [default: the recipe's]
    #[arg(long)]
    variant: Option<String>,

    /// Packages in addition
    #[arg(long, value_name = "PACKAGE", value_delimiter = ',')]
    include: Vec<String>,

    /// The archive's components [default: the recipe's]
    #[arg(long = "component", value_name = "COMPONENT", value_delimiter = ',')]
    components: Vec<String>,

    /// Take the packages that FILE lists; write it where it is missing
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,

    /// What apt in the root is told: a mirror's URL, `mirror` for the one that the packages come from, or `none`
    #[arg(long, value_name = "URL", default_value = "mirror")]
    sources: String,

    /// The tar file, in place of the recipe's: an address or a path
    #[arg(long, value_name = "URL|FILE", help_heading = "Tar files")]
    url: Option<String>,

    /// Its SHA-256 digest, in place of the recipe's
    #[arg(long, value_name = "DIGEST", help_heading = "Tar files")]
    sha256: Option<String>,

    /// Make it, even where it was made before
    #[arg(long)]
    no_cache: bool,

    /// Run the packages' scripts with this static qemu-user program
    #[arg(long, value_name = "PATH")]
    emulator: Option<PathBuf>,

    /// How the packages' programs reach their emulator [default: the first of these that can be had]
    #[arg(long, value_enum, value_name = "WAY")]
    emulation: Option<Way>,

    #[command(flatten)]
    archive: Archive,

    #[command(flatten)]
    registry: RegistryArgs,
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        match self.verb {
            Verb::List { format } => {
                let mut out = printer.stdout();
                list(&mut out, format).and_then(|()| out.flush()).context("writing to standard output")?;
                Ok(ExitStatus::Success)
            }
            Verb::Build(args) => args.execute(printer),
        }
    }
}

/// The targets that a recipe makes roots for, and of what.
fn targets(recipe: &Recipe) -> Vec<(&'static Target, Option<String>)> {
    let suite = |target: &Target| recipe.debian.as_ref()?.suite_for(target).map(str::to_owned);
    let all = Catalogue::builtin().targets().iter();
    match recipe.kind {
        Kind::Tarball => {
            let own = |target: &Target| recipe.tarball_for(target).map(|_| None);
            all.filter_map(|target| own(target).map(|suite| (target, suite))).collect()
        }
        Kind::Containerfile => {
            all.filter(|target| recipe.machine_for(target).is_some()).map(|target| (target, None)).collect()
        }
        Kind::Debian => all.filter_map(|target| suite(target).map(|suite| (target, Some(suite)))).collect(),
    }
}

/// The variants of a recipe; `None` where there can be none.
fn variants(recipe: &Recipe) -> Option<Vec<&str>> {
    let packages = || Some(recipe.debian.as_ref()?.variants.keys().map(String::as_str).collect());
    let stages = || Some(recipe.containerfile.as_ref()?.variants.iter().map(String::as_str).collect());
    packages().or_else(stages)
}

fn list(out: &mut impl Write, format: Format) -> io::Result<()> {
    if format == Format::Json {
        let recipes: Vec<_> = recipes()
            .iter()
            .map(|recipe| {
                let targets = targets(recipe);
                let targets =
                    targets.iter().map(|(target, suite)| json!({"target": target.name, "suite": suite}));
                json!({
                    "name": recipe.name,
                    "description": recipe.description,
                    "kind": recipe.kind,
                    "variants": variants(recipe),
                    "targets": targets.collect::<Vec<_>>(),
                })
            })
            .collect();
        return format::json(out, &recipes);
    }
    for recipe in recipes() {
        writeln!(out, "{}  {}", recipe.name, recipe.description)?;
        let rows: Vec<Vec<String>> = targets(recipe)
            .into_iter()
            .map(|(target, suite)| {
                vec![target.name.clone(), target.platform.to_string(), suite.unwrap_or_else(|| "-".into())]
            })
            .collect();
        table::print(out, "  ", &["TARGET", "PLATFORM", "SUITE"], &rows)?;
    }
    Ok(())
}

/// Refuses options that a recipe has no use for.
fn refuse(recipe: &str, what: &str, given: &[(&str, bool)]) -> Result<(), Told> {
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => {
            let message = format!("the recipe `{recipe}` {what}, which has no use for `{option}`");
            Err(Told::new(message, format!("leave `{option}` out")))
        }
        None => Ok(()),
    }
}

impl BuildArgs {
    fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let recipe = Recipe::resolve(&self.recipe)?;
        let catalogue = Catalogue::builtin();
        let target = match (&self.target, &self.platform) {
            (Some(target), _) => catalogue.resolve(target)?,
            (None, Some(platform)) => catalogue.target(platform)?.clone(),
            (None, None) => catalogue.target(&Platform::host().to_string())?.clone(),
        };
        let signals = Signals::catch().map_err(|source| SandboxError::Start { source })?;
        let made = match recipe.kind {
            Kind::Tarball => self.tarball(&recipe, &target, printer)?,
            _ => self.packages(&recipe, &target, &signals, printer)?,
        };
        if made.is_old {
            printer.note("it was made before, and is in the cache");
        }
        let mut out = printer.stdout();
        match &self.output {
            Output::Image(image) => {
                let digest = made.image(image, &self.registry.access([image])?)?;
                writeln!(out, "{image} {digest}")
            }
            Output::Folder(path) => {
                let (ids, shortage) = Ids::of_caller();
                let skipped = made.folder(path, &ids, &signals)?;
                if skipped.owners > 0 {
                    let reason = shortage.map(|shortage| shortage.0).unwrap_or_default();
                    printer.warn(&format!("{} files of other users are yours: {reason}", skipped.owners));
                }
                if skipped.devices > 0 {
                    printer.warn(&format!(
                        "{} device nodes were left out, which only root can make",
                        skipped.devices
                    ));
                }
                writeln!(out, "{}", path.display())
            }
        }
        .and_then(|()| out.flush())
        .context("writing to standard output")?;
        Ok(ExitStatus::Success)
    }

    /// A root that is a tar file.
    fn tarball(&self, recipe: &Recipe, target: &Target, printer: Printer) -> anyhow::Result<Made> {
        let given = [
            ("--suite", self.suite.is_some()),
            ("--variant", self.variant.is_some()),
            ("--include", !self.include.is_empty()),
            ("--component", !self.components.is_empty()),
            ("--lock", self.lock.is_some()),
        ];
        refuse(&recipe.name, "is a tar file", &given)?;
        let access = self.registry.pulling()?;
        Ok(tarball::build(
            &tarball::Request {
                recipe,
                target,
                url: self.url.as_deref(),
                sha256: self.sha256.as_deref(),
                options: &access.registries,
                time: super::epoch()?,
                anew: self.no_cache,
                cache: &dirs::cache()?,
            },
            &printer,
        )?)
    }

    /// A root of packages, or one that stages make of them.
    fn packages(
        &self,
        recipe: &Recipe,
        target: &Target,
        signals: &Signals,
        printer: Printer,
    ) -> anyhow::Result<Made> {
        if self.url.is_some() || self.sha256.is_some() {
            let message = format!("the recipe `{}` is no tar file", recipe.name);
            return Err(Told::new(message, "leave `--url` and `--sha256` out").into());
        }
        if recipe.kind == Kind::Containerfile {
            let given = [
                ("--suite", self.suite.is_some()),
                ("--include", !self.include.is_empty()),
                ("--component", !self.components.is_empty()),
                ("--lock", self.lock.is_some()),
                ("--sources", self.sources != "mirror"),
            ];
            refuse(&recipe.name, "is made by stages", &given)?;
        }
        let catalogue = Catalogue::builtin();
        let cache = dirs::cache()?;
        let search: Vec<PathBuf> = emulator::SEARCH.iter().map(PathBuf::from).collect();
        let is_native = catalogue
            .target(&Platform::host().to_string())
            .is_ok_and(|own| own.runs_natively(&target.qemu.guest));
        // Stages ask for one where a step of theirs is foreign.
        let is_needed = !is_native && recipe.kind != Kind::Containerfile;
        if is_needed && self.emulator.is_none() {
            let guest = catalogue.guest(&target.qemu.guest)?;
            let options = Options { given: None, cache: &cache, search: &search };
            super::emulator::find_or_fetch(guest, &Platform::host(), options, printer)?;
        }
        let sources = match self.sources.as_str() {
            "mirror" => Sources::Mirror,
            "none" => Sources::None,
            address if address.contains("://") => Sources::Other(address.into()),
            _ => {
                let hint = "give `mirror`, `none`, or a URL as `http://HOST/debian`";
                return Err(
                    Told::new(format!("`--sources` is `{}`, which is no URL", self.sources), hint).into()
                );
            }
        };
        let (mirror, keyring) = (self.archive.open(printer)?, self.archive.keyring()?);
        let snapshots = if self.archive.is_given() { None } else { Some(archive::open(Some(SNAPSHOTS))?) };
        let request = Request {
            recipe,
            target,
            suite: self.suite.as_deref(),
            variant: self.variant.as_deref(),
            include: &self.include,
            components: &self.components,
            mirror: &mirror,
            snapshots: snapshots.as_ref(),
            keyring: &keyring,
            lock: self.lock.as_deref(),
            sources,
            time: source_date()?,
            anew: self.no_cache,
            emulator: self.emulator.clone(),
            search: &search,
            emulation: self.emulation.map(Way::emulation).transpose()?,
            cache: &cache,
        };
        if recipe.kind != Kind::Containerfile {
            return Ok(debian::build(&request, signals, &printer)?);
        }
        let access = self.registry.pulling()?;
        let how = if printer.is(Verbosity::Verbose) { How::Auto } else { How::Quiet };
        let (cache_from, cache_to) = (&[], &[]);
        let shower =
            Shower { printer, input: None, how, pull: Pull::Missing, access: &access, cache_from, cache_to };
        Ok(containerfile::build(
            &containerfile::Request { of: request, surroundings: &shower },
            signals,
            &printer,
        )?)
    }
}
