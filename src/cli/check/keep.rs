//! Keeping what is checked: images in the store, and what layers hold in the cache.

use std::ffi::OsString;

use anyhow::Context as _;

use super::super::dirs;
use super::super::printer::Printer;
use crate::check::Which;
use crate::image::{Access, CopyOptions, ImageRef, Which as Copied, copy};
use crate::layer::LayerMemory;

/// How what is read is kept.
#[derive(Debug, clap::Args)]
pub(super) struct KeepArgs {
    /// Put images of registries into the store, under their names
    #[arg(long)]
    keep: bool,

    /// Read every layer anew, also those that were checked before
    #[arg(long)]
    no_cache: bool,
}

impl KeepArgs {
    /// What layers that were read before hold.
    pub(super) fn memory(&self) -> Option<LayerMemory> {
        if self.no_cache {
            return None;
        }
        Some(LayerMemory::new(dirs::cache().ok()?.join("check")))
    }

    /// The inputs to check: with `--keep` those of registries are copied first, and checked from the store.
    pub(super) fn inputs(
        &self,
        inputs: &[OsString],
        which: &Which,
        has_targets: bool,
        access: &Access,
        printer: Printer,
    ) -> anyhow::Result<Vec<OsString>> {
        if !self.keep {
            return Ok(inputs.to_vec());
        }
        let kept = |input: &OsString| -> anyhow::Result<OsString> {
            let reference = input.to_str().and_then(|text| ImageRef::find(text).ok());
            let Some(reference @ ImageRef::Docker { .. }) = reference else { return Ok(input.clone()) };
            let name = reference.to_string();
            let name = name.trim_start_matches("docker://").to_owned();
            let stored = ImageRef::Store { name: name.clone() };
            let copied = match which {
                Which::Best(platform) if !has_targets => Copied::Best(platform.clone()),
                _ => Copied::All,
            };
            let source = access.source(&reference)?;
            let destination = access.destination(&stored)?;
            copy(source.as_ref(), destination.as_ref(), &CopyOptions::new(copied, &printer))
                .with_context(|| format!("keeping `{name}`"))?;
            Ok(name.into())
        };
        inputs.iter().map(kept).collect()
    }
}
