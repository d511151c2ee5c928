//! Images of one layer, made of all of an image's layers.

use std::io::{self, Write};

use oci_spec::image::{Descriptor, ImageManifest};
use serde_json::{Map, Value, json};

use super::copy::{Config, Copier};
use super::json::canonical;
use super::model::refuse_foreign;
use super::write::{both, media_type, piped};
use super::{ImageError, Raw, descriptor, parse};
use crate::layer::{
    Compression, Compressor, Digest, Ids, LayerError, LayerStream, MergeOptions, TarFormat, Written, merge,
};
use crate::target::Platform;

/// What the one layer is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Squash {
    /// All that the layers hold.
    Whole,
    /// What MikroTik's RouterOS reads: ustar headers and nothing else, owner 0, no extended attributes; and a config that says
    /// what to run.
    RouterOs,
}

impl Squash {
    fn options(self) -> MergeOptions {
        match self {
            Self::Whole => MergeOptions::default(),
            Self::RouterOs => MergeOptions {
                format: TarFormat::PureUstar,
                ids: Ids::Zero,
                attributes: false,
                ..MergeOptions::default()
            },
        }
    }
}

impl Copier<'_> {
    /// Copies an image with one layer in place of its own, but for its manifest.
    pub(super) fn squashed(
        &self,
        raw: &Raw,
        manifest: &ImageManifest,
        config: &[u8],
        parsed: &Config,
        squash: Squash,
    ) -> Result<(Raw, Option<Platform>), ImageError> {
        self.refuse_change(raw)?;
        let written = self.merged(manifest.layers(), parsed, squash)?;
        let mut config: Map<String, Value> = parse(config, "config")?;
        let mut history = json!({ "created_by": "polyarch copy --squash" });
        if let (Some(created), Some(history)) = (config.get("created"), history.as_object_mut()) {
            history.insert("created".into(), created.clone());
        }
        config.insert("history".into(), json!([history]));
        config
            .insert("rootfs".into(), json!({ "type": "layers", "diff_ids": [written.diff_id.to_string()] }));
        if squash == Squash::RouterOs {
            self.explicit_command(&mut config)?;
        }
        let json = |source| ImageError::Json { part: "config".into(), source };
        let config = canonical(&config).map_err(json)?;
        let entry =
            descriptor(manifest.config().media_type().clone(), config.len() as u64, &Digest::of(&config));
        self.destination.put_config(&config, &entry)?;

        let mut new: Value = parse(&raw.bytes, "manifest")?;
        let layer = descriptor(media_type(written.compression), written.size, &written.digest);
        if let Value::Object(new) = &mut new {
            new.insert("config".into(), serde_json::to_value(&entry).map_err(json)?);
            new.insert("layers".into(), serde_json::to_value([&layer]).map_err(json)?);
        }
        self.family(raw).apply(&mut new, &[layer])?;
        Ok((super::copy::written(&new)?, parsed.platform()))
    }

    fn merged(&self, layers: &[Descriptor], parsed: &Config, squash: Squash) -> Result<Written, ImageError> {
        let ids = parsed.diff_ids(layers.len())?;
        for (at, layer) in layers.iter().enumerate() {
            refuse_foreign(layer, &format!("layer {}", at + 1))?;
        }
        let streams: Vec<LayerStream<'_>> = layers
            .iter()
            .zip(ids)
            .map(|(layer, id)| {
                let open = || self.source.blob(layer).map_err(io::Error::other);
                LayerStream::new(open, Some(id))
            })
            .collect();
        let single = self.destination.abilities().plain_single;
        let compression = match self.options.compression {
            _ if single => Compression::None,
            Some(compression) => compression,
            None => Compression::Gzip,
        };
        let level = self.options.level.and_then(|level| u32::try_from(level).ok());
        let count = layers.len();
        let label = if count == 1 { "merging 1 layer".into() } else { format!("merging {count} layers") };
        let task = self.options.progress.begin(&label, None);
        let (written, put) = piped(
            |out| {
                let out = Advancing { out, task: task.as_ref() };
                let mut compressor = Compressor::new(out, compression, level)?;
                merge(&streams, &squash.options(), &mut compressor)?;
                compressor.finish().map(|(_, written)| written)
            },
            |mut content| self.destination.put_blob(&mut content, None),
        );
        both(written, put, 1).map(|(written, _)| written).map_err(|err| match err {
            ImageError::Layer { source: source @ LayerError::Unfit { .. }, .. } => {
                ImageError::Unfit { source }
            }
            other => other,
        })
    }

    /// RouterOS from 7.22 on starts nothing that does not say what.
    fn explicit_command(&self, config: &mut Map<String, Value>) -> Result<(), ImageError> {
        let process = config.entry("config").or_insert_with(|| json!({}));
        if process.is_null() {
            *process = json!({});
        }
        let Value::Object(process) = process else {
            let reason = "its `config` is no object".into();
            return Err(ImageError::Invalid { part: "config".into(), reason });
        };
        let says = |key| process.get(key).and_then(Value::as_array).is_some_and(|words| !words.is_empty());
        if !says("Entrypoint") && !says("Cmd") {
            process.insert("Cmd".into(), json!(["/bin/sh"]));
            self.options.progress.note("the image names no program; it gets `/bin/sh`");
        }
        Ok(())
    }
}

/// Tells how far writing is.
struct Advancing<'a> {
    out: &'a mut dyn Write,
    task: &'a dyn crate::progress::Task,
}

impl Write for Advancing<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.out.write(buffer)?;
        self.task.advance(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
