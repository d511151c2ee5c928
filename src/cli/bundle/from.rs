//! Where a bundle's files come from.

use std::path::Path;

use crate::bundle::{Extras, Gatherer, Origin};
use crate::cli::emulator::archive::Archive;
use crate::cli::printer::Printer;
use crate::cli::registry::RegistryArgs;
use crate::cli::report::Told;
use crate::debian::{Deb, Release};
use crate::image::{Image, ImageRef};
use crate::target::{Catalogue, Platform, Target};

/// Suites whose packages still change.
const UNRELEASED: &[&str] = &["sid", "forky"];
/// What stands before the name of a Debian package.
const PACKAGE: &str = "deb:";

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What goes in")]
pub(super) struct Source {
    /// Where the programs, and what they load, are: an image, a root file system (a folder), Debian packages (`deb:NAME`, with all they depend on,
    /// or files `NAME.deb`). Packages may be several
    #[arg(long, value_name = "IMAGE|FOLDER|PACKAGE")]
    from: Vec<String>,

    /// Which platform of the image that `--from` or `--rootfs` names, or of Debian's packages [default: that of `--target`]
    #[arg(long, value_name = "PLATFORM")]
    pub(super) platform: Option<String>,

    /// The suite of Debian's packages [default: the newest stable one that has the architecture]
    #[arg(long)]
    suite: Option<String>,

    /// Another file, or a folder with all in it, and where it goes: from what `--from` names if it is there, else from this machine
    #[arg(long, value_name = "PATH[:DEST]")]
    include: Vec<String>,

    /// An image of the host, to which all is added [default: nothing]
    #[arg(long, value_name = "IMAGE", value_parser = ImageRef::find)]
    pub(super) base: Option<ImageRef>,

    /// Add the certificates of authorities
    #[arg(long)]
    certificates: bool,

    /// Add a time zone, such as `Europe/Riga`
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,

    /// Add `/etc/passwd` and `/etc/group`, with root, nobody, and the numeric user of `--user`
    #[arg(long)]
    passwd: bool,
}

/// The one platform that is looked for in an image.
pub(super) fn platform(given: Option<&str>, target: Option<&Target>) -> anyhow::Result<Platform> {
    Ok(match (given, target) {
        (Some(given), _) => Catalogue::builtin().target(given)?.platform.clone(),
        (None, Some(target)) => target.platform.clone(),
        (None, None) => Platform::host(),
    })
}

impl Source {
    /// The image that `--from` names, if it names one.
    pub(super) fn image(
        &self,
        target: Option<&Target>,
        registry: &RegistryArgs,
    ) -> anyhow::Result<Option<Image>> {
        let [from] = self.from.as_slice() else { return Ok(None) };
        if is_package(from) || is_root(from) {
            return Ok(None);
        }
        let reference = ImageRef::find(from)?;
        let platform = platform(self.platform.as_deref(), target)?;
        Ok(Some(Image::open(&reference, &platform, &registry.access([&reference])?)?))
    }

    /// What `--from` names.
    pub(super) fn origin<'a>(
        &self,
        image: Option<&'a Image>,
        target: Option<&Target>,
        archive: &Archive,
        spool: &Path,
        printer: Printer,
    ) -> anyhow::Result<Option<Origin<'a>>> {
        if let Some(image) = image {
            return Ok(Some(Origin::image(image, spool)?));
        }
        match self.from.as_slice() {
            [] => Ok(None),
            [folder] if is_root(folder) => Ok(Some(Origin::folder(Path::new(folder))?)),
            packages if packages.iter().all(|package| is_package(package)) => {
                Ok(Some(self.packages(target, archive, spool, printer)?))
            }
            _ => Err(Told::new(
                "`--from` takes one image or folder, or Debian packages",
                "take the rest with `--include`",
            )
            .into()),
        }
    }

    /// Debian's packages, with what they depend on.
    fn packages(
        &self,
        target: Option<&Target>,
        archive: &Archive,
        spool: &Path,
        printer: Printer,
    ) -> anyhow::Result<Origin<'static>> {
        let (mut debs, mut told) = (Vec::new(), Vec::new());
        let names: Vec<&str> = self.from.iter().filter_map(|from| from.strip_prefix(PACKAGE)).collect();
        if !names.is_empty() {
            let target = match (&self.platform, target) {
                (Some(platform), _) => Catalogue::builtin().target(platform)?,
                (None, Some(target)) => target,
                (None, None) => {
                    let message = "which architecture of Debian's packages is wanted is not said";
                    return Err(Told::new(message, "give `--target` or `--platform`").into());
                }
            };
            let none = || {
                Told::new(
                    format!("Debian has no packages for `{}`", target.name),
                    "take the programs from an image or a root file system",
                )
            };
            let debian = target.debian.as_ref().ok_or_else(none)?;
            let stable = debian.suites.iter().find(|suite| !UNRELEASED.contains(&suite.as_str()));
            let suite = self.suite.as_ref().or(stable).or(debian.suites.first()).ok_or_else(none)?;
            let (mirror, keyring) = (archive.open(printer)?, archive.keyring()?);
            let release = Release::fetch(&mirror, suite, &keyring)?;
            let folder = spool.join("debian");
            let indexes = folder.join("indexes");
            let index = release.index(&mirror, "main", &debian.architecture, &indexes, &printer)?;
            // It brings the links between `/lib` and `/usr/lib` that every installed system has.
            let mut wanted = vec!["base-files"];
            wanted.extend(&names);
            let mut packages = index.closure(&wanted)?;
            packages.sort_by_key(|package| (package.name != "base-files", package.name.clone()));
            for package in &packages {
                let file = mirror.fetch(package, &folder.join("packages"), &printer)?;
                debs.push(Deb::open(&file)?);
                if names.contains(&package.name.as_str()) {
                    told.push(format!("{} {} ({})", package.name, package.version, package.architecture));
                }
            }
        }
        for file in self.from.iter().filter(|from| !from.starts_with(PACKAGE)) {
            let deb = Deb::open(Path::new(file))?;
            let package = deb.package()?;
            told.push(format!("{} {} ({})", package.name, package.version, package.architecture));
            debs.push(deb);
        }
        Ok(Origin::packages(debs, format!("Debian {}", told.join(", ")), spool)?)
    }

    /// Adds what is asked for besides programs.
    pub(super) fn gather(&self, gatherer: &mut Gatherer<'_>, user: Option<&str>) -> anyhow::Result<()> {
        for include in &self.include {
            // A path with a colon in it is one that is there.
            let (path, dest) = match include.rsplit_once(':') {
                Some((path, dest)) if dest.starts_with('/') => (path, Some(dest)),
                _ => (include.as_str(), None),
            };
            gatherer.include(path, dest)?;
        }
        let mut extras =
            Extras { certificates: self.certificates, timezone: self.timezone.clone(), ..Extras::default() };
        if self.passwd {
            let (uid, gid) = user.map_or(("0", None), |user| {
                user.split_once(':').map_or((user, None), |(uid, gid)| (uid, Some(gid)))
            });
            let number = |text: &str| {
                text.parse::<u32>().map_err(|_| {
                    let hint = "with `--passwd`, give `--user` as numbers";
                    Told::new(format!("`{text}` is no number of a user or group"), hint)
                })
            };
            let uid = number(uid)?;
            extras.passwd = Some((uid, gid.map_or(Ok(uid), number)?));
        }
        Ok(extras.gather(gatherer)?)
    }
}

fn is_package(from: &str) -> bool {
    from.starts_with(PACKAGE)
        || (Path::new(from).extension().is_some_and(|ending| ending == "deb") && Path::new(from).is_file())
}

/// A folder is a root file system, unless it is a layout of images.
pub(super) fn is_root(from: &str) -> bool {
    let path = Path::new(from);
    path.is_dir() && !path.join("oci-layout").is_file()
}
