//! What a stage has come to.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use super::cache::Layer;
use super::{Cache, Settings};
use crate::image::{Image, ImageError, LayerInfo};
use crate::layer::Digest;
use crate::progress::Progress;
use crate::sandbox::{Ids, Layers, Root, SandboxError, Signals, Snapshot, Snapshots, wants_short};
use crate::target::Platform;

/// A stage, from its first step to its end.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    pub(super) platform: Platform,
    pub(super) settings: Settings,
    pub(super) author: Option<String>,
    pub(super) files: Files,
    /// What decides over all of it.
    pub(super) key: Digest,
    /// What was done since the image that it begins with.
    pub(super) history: Vec<Event>,
    /// When the last layer was made, if one was.
    pub(super) created: Option<u64>,
    /// Its arguments, which stages that begin with it have too.
    pub(super) declared: Vec<(String, Option<String>)>,
}

/// A line of an image's history.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) created_by: String,
    pub(super) created: Option<u64>,
    pub(super) layer: Option<Arc<Layer>>,
}

/// A stage's files.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) base: Option<Arc<Base>>,
    pub(super) layers: Vec<Arc<Layer>>,
    pub(super) platform: Platform,
}

/// The image that a stage begins with.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) image: Image,
    /// All of its config, as JSON.
    pub(super) config: Map<String, Value>,
    /// Its files, once somebody wants them.
    snapshot: Mutex<Option<Arc<Snapshot>>>,
}

/// A root file system, and what keeps it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) lowers: Vec<PathBuf>,
    pub(super) has_skeleton: bool,
    _snapshot: Option<Arc<Snapshot>>,
    _layers: Vec<Arc<Layer>>,
}

/// What it takes to have files on this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) cache: &'a Cache,
    pub(super) snapshots: &'a Snapshots,
    pub(super) ids: &'a Ids,
    /// A digest of the ids.
    pub(super) ids_text: &'a str,
    pub(super) signals: &'a Signals,
    pub(super) progress: &'a dyn Progress,
}

impl Base {
    pub(super) fn new(image: Image) -> Result<Self, ImageError> {
        let config = serde_json::from_slice(image.raw_config())
            .map_err(|source| ImageError::Json { part: "config".into(), source })?;
        Ok(Self { image, config, snapshot: Mutex::default() })
    }

    fn snapshot(&self, place: &Place<'_>) -> Result<Arc<Snapshot>, SandboxError> {
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = &*snapshot {
            return Ok(Arc::clone(there));
        }
        let new = Arc::new(place.snapshots.of(&self.image, place.ids, place.signals, place.progress)?);
        *snapshot = Some(Arc::clone(&new));
        Ok(new)
    }
}

impl Held {
    /// It, with its writes kept in `kept`.
    pub(super) fn root(&self, kept: Option<PathBuf>) -> Root {
        Root { lowers: self.lowers.clone(), has_skeleton: self.has_skeleton, kept, ..Root::default() }
    }
}

impl Files {
    /// No files at all.
    pub(super) fn none(platform: &Platform) -> Self {
        Self { base: None, layers: Vec::new(), platform: platform.clone() }
    }

    /// The layers that hold anything.
    pub(super) fn full_layers(&self) -> impl Iterator<Item = &Arc<Layer>> {
        self.layers.iter().filter(|layer| layer.info().is_some())
    }

    /// All of it on this machine.
    pub(super) fn held(&self, place: &Place<'_>) -> Result<Held, SandboxError> {
        // Layers that came from elsewhere are unpacked with all that is beneath them.
        let unpacked = self.layers.iter().rposition(|layer| layer.files(place.ids_text).is_none());
        let first = unpacked.map_or(0, |at| at + 1);
        let above = self.layers.get(first..).unwrap_or_default();
        let mut lowers = Vec::new();
        let mut skeletons = Vec::new();
        let mut is_whole = false;
        for layer in above.iter().rev() {
            let Some((files, whole)) = layer.files(place.ids_text) else { continue };
            lowers.push(files);
            skeletons.extend(layer.skeleton());
            if whole {
                is_whole = true;
                break;
            }
        }
        let snapshot = if is_whole {
            None
        } else if first > 0 {
            let part = Part { files: self, count: first };
            Some(Arc::new(place.snapshots.of(&part, place.ids, place.signals, place.progress)?))
        } else {
            self.base.as_ref().map(|base| base.snapshot(place)).transpose()?
        };
        let mut has_skeleton = !is_whole && !skeletons.is_empty();
        if let Some(snapshot) = &snapshot {
            has_skeleton |= snapshot.has_skeleton;
            lowers.extend(snapshot.lowers());
        } else if !is_whole {
            lowers.push(place.cache.empty());
        }
        if !is_whole && wants_short(&self.platform) {
            lowers.extend(skeletons);
        }
        Ok(Held { lowers, has_skeleton, _snapshot: snapshot, _layers: self.layers.clone() })
    }
}

/// The lowest layers of a stage's files.
struct Part<'a> {
    files: &'a Files,
    count: usize,
}

impl Part<'_> {
    fn above(&self) -> &[Arc<Layer>] {
        self.files.layers.get(..self.count).unwrap_or_default()
    }
}

impl Layers for Part<'_> {
    fn layers(&self) -> Vec<LayerInfo> {
        let base = self.files.base.iter().flat_map(|base| base.image.layers().iter().cloned());
        let own = self.above().iter().filter_map(|layer| layer.waited());
        base.chain(own.map(|info| LayerInfo { diff_id: info.diff_id(), size: info.size })).collect()
    }

    fn platform(&self) -> Platform {
        self.files.platform.clone()
    }

    fn open(&self, at: usize) -> Result<Box<dyn io::Read + Send + '_>, ImageError> {
        let base = self.files.base.as_ref().map_or(0, |base| base.image.layers().len());
        if let (Some(base), true) = (&self.files.base, at < base) {
            return base.image.layer(at);
        }
        let full: Vec<&Arc<Layer>> = self.above().iter().filter(|layer| layer.waited().is_some()).collect();
        let missing =
            || ImageError::Invalid { part: format!("layer {}", at + 1), reason: "there is none".into() };
        let path = full.get(at - base).ok_or_else(missing)?.blob();
        let file = std::fs::File::open(&path);
        let file = file.map_err(|source| ImageError::File { doing: "reading", path, source })?;
        Ok(Box::new(file))
    }
}
