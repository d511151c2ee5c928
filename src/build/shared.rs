//! Steps that many machines share: each is an image of one layer, or of none, whose tag is the step's key, in a repository of a registry or in an
//! OCI layout.
//!
//! Nothing is ever changed there, so that any number of builds may write and read at once. What is read is held against its digests; that a
//! key's layer is what the step makes is for whoever may write there to say.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Mutex;

use oci_spec::image::{Descriptor, ImageManifest, MediaType};
use serde_json::{Value, json};

use super::BuildError;
use super::cache::{Cache, Info, Layer, Record};
use crate::image::registry::Name;
use crate::image::{
    Access, ImageError, ImageRef, Raw, ReferenceError, RegistryError, descriptor, digest_of, parse_rfc3339,
    rfc3339, small_blob,
};
use crate::layer::{Digest, DigestWriter, decompressed};

/// The largest layer that is taken, in bytes.
const SIZE_LIMIT: u64 = 64 << 30;

/// Says of an image that it is a step, and in which form.
const FORM: &str = "1";
const LABEL: &str = "org.polyarch.step";

/// A place of shared steps.
#[derive(Debug)]
pub struct Shared {
    place: Place,
    access: Access,
    /// Why it is not asked any more.
    failure: Mutex<Option<String>>,
}

#[derive(Debug, Clone)]
enum Place {
    Registry(Name),
    Layout(PathBuf),
}

impl Shared {
    /// What `text` names: `docker://HOST/REPOSITORY`, `oci:DIR`, or docker's `type=registry,ref=…` and `type=local,src=…`.
    ///
    /// # Errors
    /// [`ReferenceError`] where it is none of these.
    pub fn new(text: &str, access: Access) -> Result<Self, ReferenceError> {
        let invalid =
            |reason: &str| ReferenceError::Invalid { reference: text.into(), reason: reason.into() };
        let reference = if text.starts_with("type=") {
            let field = |name: &str| {
                let fields = text.split(',').filter_map(|field| field.split_once('='));
                fields.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back()
            };
            match field("type") {
                Some("registry") => {
                    let name = field("ref").ok_or_else(|| invalid("it has no `ref`"))?;
                    format!("docker://{name}")
                }
                Some("local") => {
                    let folder =
                        field("src").or(field("dest")).ok_or_else(|| invalid("it has no `src` or `dest`"))?;
                    format!("oci:{folder}")
                }
                _ => return Err(invalid("its type is neither `registry` nor `local`")),
            }
        } else {
            text.to_owned()
        };
        let place = match reference.parse::<ImageRef>()? {
            ImageRef::Docker { name } => Place::Registry(Name { tag: None, digest: None, ..name }),
            ImageRef::Oci { dir, tag: None } => Place::Layout(dir),
            _ => return Err(invalid("shared steps are in `docker://HOST/REPOSITORY` or in `oci:DIR`")),
        };
        Ok(Self { place, access, failure: Mutex::default() })
    }

    /// Why it was given up, if it was.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().ok().and_then(|failure| failure.clone())
    }

    fn step(&self, key: &Digest) -> ImageRef {
        match &self.place {
            Place::Registry(name) => ImageRef::Docker { name: Name { tag: Some(key.hex()), ..name.clone() } },
            Place::Layout(dir) => ImageRef::Oci { dir: dir.clone(), tag: Some(key.hex()) },
        }
    }

    /// What the step of `key` made, brought into `cache`. A place that cannot be asked, or that holds what it should not, is given
    /// up, and the step is made.
    pub(super) fn fetch(
        &self,
        key: &Digest,
        cache: &Cache,
    ) -> Result<Option<(Record, Option<Layer>)>, BuildError> {
        if self.failure().is_some() {
            return Ok(None);
        }
        match self.fetched(key, cache) {
            Err(Stop::Image(err)) if is_missing(&err) => Ok(None),
            Err(Stop::Image(err)) => {
                if let Ok(mut failure) = self.failure.lock() {
                    *failure = Some(told(&err));
                }
                Ok(None)
            }
            Err(Stop::Cache(err)) => Err(err),
            Ok(found) => Ok(Some(found)),
        }
    }

    fn fetched(&self, key: &Digest, cache: &Cache) -> Result<(Record, Option<Layer>), Stop> {
        let invalid = |reason: &str| ImageError::Invalid { part: "step".into(), reason: reason.into() };
        let source = self.access.source(&self.step(key))?;
        let json = |source| ImageError::Json { part: "step".into(), source };
        let manifest: ImageManifest = serde_json::from_slice(&source.top()?.bytes).map_err(json)?;
        let config = small_blob(source.as_ref(), manifest.config(), "config")?;
        let config: Value = serde_json::from_slice(&config).map_err(json)?;
        if config.pointer("/config/Labels").and_then(|labels| labels.get(LABEL)) != Some(&json!(FORM)) {
            return Err(invalid("it is an image of another kind").into());
        }
        let created =
            config.get("created").and_then(Value::as_str).and_then(parse_rfc3339).unwrap_or_default();
        let entry = match manifest.layers().as_slice() {
            [] => return Ok((Record { layer: None, created }, None)),
            [entry] if *entry.media_type() == MediaType::ImageLayerGzip => entry,
            _ => return Err(invalid("it has not one gzip'd layer").into()),
        };
        let diff_id = config.pointer("/rootfs/diff_ids/0").and_then(Value::as_str);
        let diff_id = diff_id.and_then(|text| text.parse::<Digest>().ok());
        let diff_id = diff_id.ok_or_else(|| invalid("its layer has no digest"))?;
        if entry.size() > SIZE_LIMIT {
            return Err(invalid("its layer is too large").into());
        }
        let digest = digest_of(entry, "step")?;
        let layer = cache.begin().map_err(Stop::Cache)?;
        let path = layer.blob();
        let write = |source| Stop::Cache(BuildError::Cache { path: path.clone(), source });
        let mut file = File::create(&path).map_err(write)?;
        let mut content = source.blob(entry)?;
        let blob = |source| ImageError::Blob { part: "step".into(), source };
        let mut buffer = vec![0; 1 << 17];
        loop {
            let count = content.read(&mut buffer).map_err(blob)?;
            if count == 0 {
                break;
            }
            file.write_all(buffer.get(..count).unwrap_or_default()).map_err(write)?;
        }
        drop(content);
        // Whoever runs what is in it is promised that it is this.
        let mut out = DigestWriter::new(io::sink());
        let mut plain = decompressed(File::open(&path).map_err(write)?).map_err(blob)?;
        io::copy(&mut plain, &mut out).map_err(blob)?;
        let found = out.finish().1;
        if found != diff_id {
            return Err(ImageError::Digest { part: "step".into(), expected: diff_id, found }.into());
        }
        let info = Info {
            diff_id: diff_id.to_string(),
            digest: digest.to_string(),
            size: entry.size(),
            ids: String::new(),
        };
        layer.finish(Some(info)).map_err(Stop::Cache)?;
        Ok((Record { layer: Some(layer.id.clone()), created }, Some(layer)))
    }

    /// Brings there what the step of `key` made, unless it is there already; tells whether it was not.
    pub(super) fn store(
        &self,
        key: &Digest,
        layer: Option<&Layer>,
        created: u64,
    ) -> Result<bool, ImageError> {
        let reference = self.step(key);
        match self.access.source(&reference).and_then(|source| source.top()) {
            Ok(_) => return Ok(false),
            Err(err) if is_missing(&err) => {}
            Err(err) => return Err(err),
        }
        let destination = self.access.destination(&reference)?;
        let mut layers: Vec<Descriptor> = Vec::new();
        let mut diff_ids = Vec::new();
        if let Some(layer) = layer
            && let Some(info) = layer.waited()
        {
            let digest = info.digest.parse::<Digest>();
            let digest = digest
                .map_err(|err| ImageError::Invalid { part: "layer".into(), reason: err.to_string() })?;
            let entry = descriptor(MediaType::ImageLayerGzip, info.size, &digest);
            if !destination.has_blob(&entry)? {
                let path = layer.blob();
                let failed = |source| ImageError::File { doing: "reading", path: path.clone(), source };
                let mut file = File::open(&path).map_err(failed)?;
                destination.put_blob(&mut file, Some(&entry))?;
            }
            layers.push(entry);
            diff_ids.push(info.diff_id.clone());
        }
        let time = rfc3339(created);
        // It is for no machine, lest it be taken for an image that runs.
        let config = json!({
            "created": time, "architecture": "unknown", "os": "unknown", "config": { "Labels": { LABEL: FORM } },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": [{ "created": time, "created_by": "polyarch build", "empty_layer": layers.is_empty() }],
        });
        let config = config.to_string().into_bytes();
        let entry = descriptor(MediaType::ImageConfig, config.len() as u64, &Digest::of(&config));
        destination.put_config(&config, &entry)?;
        let manifest = json!({ "schemaVersion": 2, "mediaType": MediaType::ImageManifest, "config": entry, "layers": layers });
        destination.finish(&Raw::new(manifest.to_string().into_bytes(), None)?, None)?;
        Ok(true)
    }
}

/// Why a step cannot be brought here.
enum Stop {
    /// It cannot be had.
    Image(ImageError),
    /// It cannot be kept.
    Cache(BuildError),
}

impl From<ImageError> for Stop {
    fn from(err: ImageError) -> Self {
        Self::Image(err)
    }
}

/// Whether there is nothing of that name, and all is well.
fn is_missing(err: &ImageError) -> bool {
    match err {
        ImageError::NoSuchName { .. } => true,
        ImageError::Registry { source } => matches!(**source, RegistryError::NotFound { .. }),
        ImageError::File { source, .. } => source.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// An error and its causes, on one line.
pub(super) fn told(err: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(err.source(), |err| err.source());
    causes.fold(err.to_string(), |text, cause| format!("{text}: {cause}"))
}
