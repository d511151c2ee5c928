//! `index`: images of several platforms under one name.

use std::io::Write as _;

use super::exit::ExitStatus;
use super::printer::Printer;
use super::registry::RegistryArgs;
use crate::image::{ImageRef, create_index};

/// Join images of several platforms into one index
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Write an index of images, one a platform
    ///
    /// Each image's platform is what its config says. An index among the images counts as the images in it.
    Create {
        /// The index: a name of the store, `docker://NAME`, `oci:DIR[:TAG]` or `oci-archive:FILE[:TAG]`
        #[arg(value_parser = ImageRef::find)]
        name: ImageRef,

        /// The images
        #[arg(required = true, value_name = "IMAGE", value_parser = ImageRef::find)]
        images: Vec<ImageRef>,

        #[command(flatten)]
        registry: RegistryArgs,
    },
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let Action::Create { name, images, registry } = self.action;
        let access = registry.access(images.iter().chain([&name]))?;
        let mut sources = Vec::new();
        for image in images {
            sources.push((image.to_string(), access.source(&image)?));
        }
        let destination = access.destination(&name)?;
        let digest = create_index(&sources, destination.as_ref(), &printer)?;
        let mut out = printer.stdout();
        writeln!(out, "{name} {digest}")?;
        out.flush()?;
        Ok(ExitStatus::Success)
    }
}
