//! Reading OCI image layouts.

use std::io::Read;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use ocidir::prelude::*;
use ocidir::{OciDir, cap_std};

use super::choose::choose;
use super::model::{Source, diff_ids};
use super::verified::Verified;
use super::{Image, ImageError, JSON_LIMIT, LayerInfo, parse};
use crate::layer::Digest;
use crate::target::Platform;

/// How deep indexes may be nested.
const DEPTH: usize = 4;

/// The annotation that names an image in a layout.
const NAME: &str = "org.opencontainers.image.ref.name";

#[derive(Debug)]
struct Layout {
    path: PathBuf,
    dir: OciDir,
    layers: Vec<Descriptor>,
}

pub(super) fn open(path: &Path, tag: Option<&str>, platform: &Platform) -> Result<Image, ImageError> {
    let failed = |source| ImageError::File { doing: "reading", path: path.into(), source };
    let folder = cap_std::fs::Dir::open_ambient_dir(path, cap_std::ambient_authority()).map_err(failed)?;
    let dir = OciDir::open(folder).map_err(layout_error("reading", path))?;
    let mut layout = Layout { path: path.into(), dir, layers: Vec::new() };
    let index = layout.dir.read_index().map_err(layout_error("reading", path))?;
    let mut entry = top(&index, path, tag, platform)?.clone();
    for _ in 0..DEPTH {
        let bytes = layout.json(&entry, "manifest")?;
        let shape: serde_json::Value = parse(&bytes, "manifest")?;
        if shape.get("manifests").is_some() {
            let index: ImageIndex = parse(&bytes, "index")?;
            entry = choose(index.manifests(), platform)?.clone();
            continue;
        }
        let manifest: ImageManifest = parse(&bytes, "manifest")?;
        let config: ImageConfiguration = parse(&layout.json(manifest.config(), "config")?, "config")?;
        let ids = diff_ids(&config, manifest.layers().len())?;
        let layers = manifest.layers().iter().zip(ids);
        let layers = layers.map(|(layer, diff_id)| LayerInfo { diff_id, size: layer.size() }).collect();
        layout.layers.clone_from(manifest.layers());
        return Ok(Image { digest: Digest::of(&bytes), config, layers, source: Box::new(layout) });
    }
    Err(ImageError::Invalid {
        part: "index".into(),
        reason: format!("indexes are nested more than {DEPTH} deep"),
    })
}

/// The entry of the layout's index that `tag` names, or the only one.
fn top<'a>(
    index: &'a ImageIndex,
    path: &Path,
    tag: Option<&str>,
    platform: &Platform,
) -> Result<&'a Descriptor, ImageError> {
    let name = |entry: &Descriptor| {
        entry.annotations().as_ref().and_then(|annotations| annotations.get(NAME)).cloned()
    };
    let entries = index.manifests().as_slice();
    let present = || entries.iter().filter_map(name).collect::<Vec<_>>();
    if let Some(tag) = tag {
        return entries.iter().find(|entry| name(entry).as_deref() == Some(tag)).ok_or_else(|| {
            ImageError::NoSuchName { path: path.into(), name: tag.into(), present: present() }
        });
    }
    match entries {
        [] => Err(ImageError::Invalid { part: "index".into(), reason: "it is empty".into() }),
        // Without names the layout's own index may be the one of an image's platforms.
        _ if present().len() <= 1 => choose(entries, platform),
        _ => Err(ImageError::Ambiguous { path: path.into(), count: entries.len(), present: present() }),
    }
}

impl Layout {
    /// A small blob, verified.
    fn json(&self, entry: &Descriptor, part: &str) -> Result<Vec<u8>, ImageError> {
        if entry.size() > JSON_LIMIT {
            let reason = format!("{} bytes are more than the {JSON_LIMIT} that are read", entry.size());
            return Err(ImageError::Invalid { part: part.into(), reason });
        }
        let expected = digest(entry, part)?;
        let mut bytes = Vec::new();
        let file = self.dir.read_blob(entry).map_err(layout_error("reading", &self.path))?;
        file.take(JSON_LIMIT).read_to_end(&mut bytes).map_err(|source| ImageError::File {
            doing: "reading",
            path: self.path.join("blobs/sha256").join(expected.hex()),
            source,
        })?;
        let found = Digest::of(&bytes);
        if found == expected {
            Ok(bytes)
        } else {
            Err(ImageError::Digest { part: part.into(), expected, found })
        }
    }
}

impl Source for Layout {
    fn layer(&self, index: usize) -> Result<Box<dyn Read + '_>, ImageError> {
        let part = format!("layer {}", index + 1);
        let missing = || ImageError::Invalid { part: part.clone(), reason: "there is none".into() };
        let layer = self.layers.get(index).ok_or_else(missing)?;
        if layer.urls().as_ref().is_some_and(|urls| !urls.is_empty()) {
            let reason = "it is a foreign layer, whose content the image does not carry".into();
            return Err(ImageError::Invalid { part, reason });
        }
        let expected = digest(layer, &part)?;
        let file = self.dir.read_blob(layer).map_err(layout_error("reading", &self.path))?;
        Ok(Box::new(Verified::new(file, expected, layer.size())))
    }
}

fn digest(entry: &Descriptor, part: &str) -> Result<Digest, ImageError> {
    let invalid = |err| ImageError::Invalid { part: part.into(), reason: format!("{err}") };
    entry.digest().to_string().parse().map_err(invalid)
}

pub(super) fn layout_error(doing: &'static str, path: &Path) -> impl Fn(ocidir::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::Layout { doing, path: path.clone(), source: Box::new(source) }
}
