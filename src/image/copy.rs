//! Copying images: bytes stay as they are wherever nothing has to change.

use std::collections::HashMap;
use std::sync::Mutex;

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;
use serde_json::{Value, json};

use super::choose::{self, DEPTH, is_attestation, resolve, too_deep};
use super::layers::{Change, copy_layers};
use super::media::Family;
use super::squash::Squash;
use super::{Destination, ImageError, Raw, Source, digest_of, parse, small_blob};
use crate::layer::{Compression, Digest};
use crate::progress::Progress;
use crate::target::Platform;

/// Which of an index's images are copied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Which {
    /// The one for this platform, or the only one.
    Best(Platform),
    /// The one for this platform, and no other.
    Exactly(Platform),
    /// All, and the index.
    All,
}

/// The family of a manifest's media types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// The OCI image specification's.
    Oci,
    /// docker's version 2, schema 2.
    Docker,
}

/// How an image is copied.
#[derive(Debug, Clone)]
pub struct CopyOptions<'a> {
    /// Which of several images.
    pub which: Which,
    /// How layers are to be compressed; as they are, without.
    pub compression: Option<Compression>,
    /// The compressor's level; its usual one, without.
    pub level: Option<i32>,
    /// The family of media types; without, the source's or the one that the destination is known for.
    pub format: Option<Format>,
    /// Whether all layers become one.
    pub squash: Option<Squash>,
    /// Whether it is an error where a digest would change.
    pub preserve_digests: bool,
    /// Is told what goes on.
    pub progress: &'a dyn Progress,
}

impl<'a> CopyOptions<'a> {
    /// Copies `which` of an image as it is.
    #[must_use]
    pub fn new(which: Which, progress: &'a dyn Progress) -> Self {
        Self {
            which,
            compression: None,
            level: None,
            format: None,
            squash: None,
            preserve_digests: false,
            progress,
        }
    }
}

/// What copying needs to know of a config. Everything else in it is somebody else's, and stays as it is.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
    rootfs: Option<RootFs>,
    /// When the image was created (RFC 3339).
    pub(super) created: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

impl Config {
    pub(super) fn platform(&self) -> Option<Platform> {
        let platform = Platform {
            os: self.os.clone()?,
            architecture: self.architecture.clone()?,
            variant: self.variant.clone().filter(|variant| !variant.is_empty()),
        };
        Some(platform.normalized())
    }

    /// The digests of what `count` layers hold.
    pub(super) fn diff_ids(&self, count: usize) -> Result<Vec<Digest>, ImageError> {
        let invalid = |reason| ImageError::Invalid { part: "config".into(), reason };
        let ids = self.rootfs.as_ref().map(|rootfs| rootfs.diff_ids.as_slice()).unwrap_or_default();
        if ids.len() != count {
            return Err(invalid(format!("it has {} layers where the manifest has {count}", ids.len())));
        }
        ids.iter().map(|id| id.parse().map_err(|err| invalid(format!("{err}")))).collect()
    }
}

/// Copies what `source` names to `destination`. Gives the digest by which the destination knows it.
///
/// # Errors
/// [`ImageError`]; then nothing is to be seen at the destination.
pub fn copy(
    source: &dyn Source,
    destination: &dyn Destination,
    options: &CopyOptions<'_>,
) -> Result<Digest, ImageError> {
    let work = Copier::new(source, destination, options);
    let mut raw = source.top()?;
    let single = destination.abilities().plain_single;
    if single && options.preserve_digests {
        return Err(ImageError::Preserve { reason: "a docker archive holds no manifests".into() });
    }
    if options.squash == Some(Squash::RouterOs) && !single {
        return Err(ImageError::NeedsDockerArchive);
    }
    match &options.which {
        // Which device it is for is not for this machine to say.
        Which::Best(_) if options.squash == Some(Squash::RouterOs) => raw = only_image(source, raw)?,
        Which::Best(platform) | Which::Exactly(platform) => raw = resolve(source, raw, platform)?,
        Which::All if single => raw = only_image(source, raw)?,
        Which::All => {}
    }
    let (copied, platform) = if raw.is_index() {
        (work.index(&raw, DEPTH)?, None)
    } else {
        let (copied, platform) = work.image(&raw)?;
        if let Which::Exactly(wanted) = &options.which
            && platform.as_ref() != Some(wanted)
        {
            return Err(ImageError::Platform {
                wanted: wanted.to_string(),
                present: platform.iter().map(ToString::to_string).collect(),
            });
        }
        (copied, platform)
    };
    destination.finish(&copied, platform.as_ref())
}

/// The only image that `raw` leads to.
fn only_image(source: &dyn Source, mut raw: Raw) -> Result<Raw, ImageError> {
    for _ in 0..DEPTH {
        if !raw.is_index() {
            return Ok(raw);
        }
        let index: ImageIndex = parse(&raw.bytes, "index")?;
        let images: Vec<&Descriptor> =
            index.manifests().iter().filter(|entry| !is_attestation(entry)).collect();
        match images.as_slice() {
            [image] => raw = source.manifest(image)?,
            images => {
                return Err(ImageError::Several {
                    platforms: images
                        .iter()
                        .filter_map(|entry| choose::platform(entry))
                        .map(|platform| platform.to_string())
                        .collect(),
                });
            }
        }
    }
    Err(too_deep())
}

/// One copy that goes on.
pub(super) struct Copier<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) destination: &'a dyn Destination,
    pub(super) options: &'a CopyOptions<'a>,
    /// Layers that were changed, by the digest that they had: images of one index share some.
    pub(super) copied: Mutex<HashMap<(Digest, Change), Descriptor>>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        source: &'a dyn Source,
        destination: &'a dyn Destination,
        options: &'a CopyOptions<'a>,
    ) -> Self {
        Self { source, destination, options, copied: Mutex::default() }
    }

    /// Copies what `raw` names, but for itself. Gives it as it is at the destination, and its platform.
    pub(super) fn image(&self, raw: &Raw) -> Result<(Raw, Option<Platform>), ImageError> {
        let manifest: ImageManifest = parse(&raw.bytes, "manifest")?;
        let config = small_blob(self.source, manifest.config(), "config")?;
        let parsed = is_config(manifest.config()).then(|| parse::<Config>(&config, "config")).transpose()?;
        // BuildKit's attestations have a config of an image's type.
        let parsed = parsed.filter(|config| config.os.as_deref() != Some("unknown"));
        let platform = parsed.as_ref().and_then(Config::platform);
        if let (Which::Exactly(wanted), Some(platform)) = (&self.options.which, &platform)
            && platform != wanted
        {
            return Err(ImageError::Platform {
                wanted: wanted.to_string(),
                present: vec![platform.to_string()],
            });
        }
        if let (Some(squash), Some(parsed)) = (self.options.squash, &parsed) {
            return self.squashed(raw, &manifest, &config, parsed, squash);
        }
        let single = self.destination.abilities().plain_single;
        let family = self.family(raw);
        let mut new: Value = parse(&raw.bytes, "manifest")?;
        let changed = match &parsed {
            // Attestations and other artifacts hold no file systems.
            None if single => {
                let reason = "it is of no image, and a docker archive holds nothing else".into();
                return Err(ImageError::Invalid { part: "config".into(), reason });
            }
            None => {
                copy_layers(self, manifest.layers(), None, Change::None)?;
                false
            }
            Some(parsed) => {
                let change = match self.options.compression {
                    _ if single => Change::To { compression: Compression::None, level: None },
                    Some(compression) => Change::To { compression, level: self.options.level },
                    None => Change::None,
                };
                let ids = match change {
                    Change::None => None,
                    Change::To { .. } => Some(parsed.diff_ids(manifest.layers().len())?),
                };
                let layers = copy_layers(self, manifest.layers(), ids.as_deref(), change)?;
                family.apply(&mut new, &layers)?
            }
        };
        self.destination.put_config(&config, manifest.config())?;
        if !changed {
            return Ok((raw.clone(), platform));
        }
        self.refuse_change(raw)?;
        Ok((written(&new)?, platform))
    }

    /// Copies all that an index names, but for itself.
    fn index(&self, raw: &Raw, depth: usize) -> Result<Raw, ImageError> {
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        let index: ImageIndex = parse(&raw.bytes, "index")?;
        let mut new: Value = parse(&raw.bytes, "index")?;
        // Attestations name the image that they are of; it comes first, and may have another digest then.
        let mut digests: HashMap<String, String> = HashMap::new();
        let mut changed = false;
        let mut order: Vec<(usize, &Descriptor)> = index.manifests().iter().enumerate().collect();
        order.sort_by_key(|(_, entry)| is_attestation(entry));
        for (at, entry) in order {
            let inner = self.source.manifest(entry)?;
            let (copied, platform) =
                if inner.is_index() { (self.index(&inner, depth)?, None) } else { self.image(&inner)? };
            self.destination.put_manifest(&copied, choose::platform(entry).or(platform).as_ref())?;
            let listed = new.get_mut("manifests").and_then(|all| all.get_mut(at));
            let Some(Value::Object(listed)) = listed else { continue };
            if copied.digest != inner.digest {
                changed = true;
                digests.insert(inner.digest.to_string(), copied.digest.to_string());
                listed.insert("digest".into(), json!(copied.digest.to_string()));
                listed.insert("size".into(), json!(copied.bytes.len()));
                listed.insert("mediaType".into(), json!(copied.media_type));
            }
            let subject = listed.get_mut("annotations").and_then(|all| all.get_mut(ATTESTED));
            if let Some(subject) = subject
                && let Some(now) = subject.as_str().and_then(|before| digests.get(before))
            {
                *subject = json!(now);
                changed = true;
            }
        }
        let kind = self.family(raw).index();
        if raw.media_type != kind {
            changed = true;
            if let Value::Object(new) = &mut new {
                new.insert("mediaType".into(), json!(kind));
            }
        }
        if !changed {
            return Ok(raw.clone());
        }
        self.refuse_change(raw)?;
        written(&new)
    }

    /// The family that `raw` is to be of.
    pub(super) fn family(&self, raw: &Raw) -> Family {
        let own = Family::of(&raw.media_type);
        match self.options.format {
            Some(Format::Oci) => Family::Oci,
            Some(Format::Docker) => Family::Docker,
            None if self.options.preserve_digests => own,
            None if self.options.compression == Some(Compression::Zstd) => Family::Oci,
            None if self.destination.abilities().oci_preferred => Family::Oci,
            None => own,
        }
    }

    pub(super) fn refuse_change(&self, raw: &Raw) -> Result<(), ImageError> {
        if self.options.preserve_digests {
            let reason = format!("what is {} would be changed", raw.digest);
            return Err(ImageError::Preserve { reason });
        }
        Ok(())
    }
}

/// The annotation by which an attestation names the image that it is of. Source: BuildKit, `docs/attestations`.
const ATTESTED: &str = "vnd.docker.reference.digest";

/// Whether `entry` is of an image's config, and no artifact's.
fn is_config(entry: &Descriptor) -> bool {
    *entry.media_type() == MediaType::ImageConfig
        || entry.media_type().as_ref() == super::media::DOCKER_CONFIG
}

pub(super) fn written(value: &Value) -> Result<Raw, ImageError> {
    let bytes =
        serde_json::to_vec(value).map_err(|source| ImageError::Json { part: "manifest".into(), source })?;
    Raw::new(bytes, None)
}

/// The digest of `entry`, for a layer's key.
pub(super) fn key(entry: &Descriptor) -> Result<Digest, ImageError> {
    digest_of(entry, "manifest")
}
