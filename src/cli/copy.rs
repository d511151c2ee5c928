//! `copy`: an image goes from one place to another.

use std::io::Write as _;

use super::exit::ExitStatus;
use super::printer::Printer;
use super::registry::RegistryArgs;
use super::report::Told;
use crate::image::{self, CopyOptions, Format, ImageRef, Squash, Which};
use crate::layer::Compression;
use crate::target::Platform;

/// Copy an image between the store, registries, folders and archives
///
/// Bytes stay as they are, and digests with them, wherever nothing is asked for that changes them; all digests are verified on
/// the way. What the destination has is not copied again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The image: a name of the store, `docker://NAME`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`, or the
    /// path of such a folder or file
    #[arg(value_parser = ImageRef::find)]
    source: ImageRef,

    /// Where it goes, named alike
    #[arg(value_parser = ImageRef::find)]
    destination: ImageRef,

    /// Of several images, copy the one for this platform [default: this machine's, or the only one]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,

    /// Copy the images of all platforms, and the index
    #[arg(long, conflicts_with = "platform")]
    all: bool,

    /// Compress layers so
    #[arg(long, value_name = "HOW")]
    compression: Option<How>,

    /// The compressor's level: 0 to 9 for gzip, 1 to 22 for zstd
    #[arg(long, value_name = "N", requires = "compression")]
    compression_level: Option<i32>,

    /// The media types' family [default: the source's; OCI's in OCI layouts]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Family>,

    /// Make one layer of all
    #[arg(long)]
    squash: bool,

    /// Write what a device reads: `routeros` is one plain layer of ustar headers and owner 0, in a docker archive
    #[arg(long, value_name = "PROFILE", conflicts_with_all = ["all", "compression", "format"])]
    profile: Option<Profile>,

    /// Fail where a digest would change
    #[arg(long)]
    preserve_digests: bool,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum How {
    Gzip,
    Zstd,
    None,
}

/// A family of media types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Family {
    Oci,
    Docker,
}

/// What a device reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Profile {
    #[value(name = "routeros")]
    RouterOs,
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let which = match self.platform {
            Some(platform) => Which::Exactly(platform),
            None if self.all => Which::All,
            None => Which::Best(Platform::host()),
        };
        let mut options = CopyOptions::new(which, &printer);
        options.compression = self.compression.map(|how| match how {
            How::Gzip => Compression::Gzip,
            How::Zstd => Compression::Zstd,
            How::None => Compression::None,
        });
        options.level = level(self.compression, self.compression_level)?;
        options.format = self.format.map(|family| match family {
            Family::Oci => Format::Oci,
            Family::Docker => Format::Docker,
        });
        options.squash = match self.profile {
            Some(Profile::RouterOs) => Some(Squash::RouterOs),
            None => self.squash.then_some(Squash::Whole),
        };
        options.preserve_digests = self.preserve_digests;
        let access = self.registry.access([&self.source, &self.destination])?;
        let source = access.source(&self.source)?;
        let destination = access.destination_from(&self.destination, &self.source)?;
        let digest = image::copy(source.as_ref(), destination.as_ref(), &options)?;
        let mut out = printer.stdout();
        writeln!(out, "{} {digest}", self.destination)?;
        out.flush()?;
        Ok(ExitStatus::Success)
    }
}

fn level(how: Option<How>, level: Option<i32>) -> Result<Option<i32>, Told> {
    let range = match how {
        Some(How::Gzip) => 0..=9,
        Some(How::Zstd) => 1..=22,
        Some(How::None) | None => return Ok(None),
    };
    match level {
        Some(level) if !range.contains(&level) => Err(Told::new(
            format!("there is no compression level {level}"),
            format!("give a level from {} to {}", range.start(), range.end()),
        )),
        level => Ok(level),
    }
}
