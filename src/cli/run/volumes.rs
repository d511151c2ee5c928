//! `run`: what is mounted in the container.

use std::env;

use super::Printer;
use crate::image::ImageConfiguration;
use crate::progress::Progress as _;
use crate::sandbox::{SandboxError, Volume};

/// Options of `run`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Volumes")]
pub(super) struct VolumeArgs {
    /// Mount a folder or file of this machine, a missing folder being made; without SOURCE, a folder that ends with the container. OPTIONS
    /// is `ro` for one that cannot be written
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:OPTIONS]")]
    volume: Vec<String>,

    /// The same in words: `type=bind,src=SOURCE,dst=TARGET[,readonly]`, or `type=tmpfs,dst=TARGET[,tmpfs-size=SIZE]`
    #[arg(long, value_name = "KEY=VALUE,…")]
    mount: Vec<String>,

    /// Mount an empty file system in memory, on which no programs run unless OPTIONS has `exec`
    #[arg(long, value_name = "TARGET[:OPTIONS]")]
    tmpfs: Vec<String>,
}

impl VolumeArgs {
    /// The volumes of a container of that image, their sources there.
    pub(super) fn prepare(
        &self,
        config: &ImageConfiguration,
        printer: Printer,
    ) -> anyhow::Result<Vec<Volume>> {
        let given = self.volume.iter().map(|text| Volume::parse(text));
        let given = given.chain(self.mount.iter().map(|text| Volume::parse_mount(text)));
        let given = given.chain(self.tmpfs.iter().map(|text| Volume::parse_tmpfs(text)));
        let mut volumes = given.collect::<Result<Vec<_>, _>>()?;
        Volume::check_targets(&volumes)?;
        Volume::add_of_image(&mut volumes, config);
        let cwd = env::current_dir().map_err(|source| SandboxError::Start { source })?;
        for volume in &mut volumes {
            if let Some(made) = volume.prepare(&cwd)? {
                printer.warn(&format!("made the folder `{}`, which was missing", made.to_string_lossy()));
            }
        }
        Ok(volumes)
    }
}
