//! Images of which every part may be wrong, written as OCI layouts and docker archives.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Cx;
use super::tarball::{Entry, Tarball};

/// An image, as it will be written.
#[derive(Debug, Clone)]
pub(crate) struct Img {
    /// The config's platform; empty for none.
    platform: String,
    /// The platform by which an index lists it; the config's, without.
    listed: Option<String>,
    layers: Vec<(Tarball, String)>,
    runs: Value,
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn platform(text: &str) -> Value {
    let mut parts = text.splitn(3, '/');
    let mut value = json!({});
    for key in ["os", "architecture", "variant"] {
        if let Some(part) = parts.next().filter(|part| !part.is_empty()) {
            value[key] = part.into();
        }
    }
    value
}

impl Img {
    /// An image for `platform` that runs `/bin/app`, with a first layer.
    pub(crate) fn new(platform: &str) -> Self {
        let image = Self {
            platform: platform.into(),
            listed: None,
            layers: Vec::new(),
            runs: json!({ "Entrypoint": ["/bin/app"] }),
        };
        image.layer("ADD base")
    }

    /// What follows is in a layer of its own.
    pub(crate) fn layer(mut self, created_by: &str) -> Self {
        self.layers.push((Tarball::default(), created_by.into()));
        self
    }

    fn last(mut self, change: impl FnOnce(Tarball) -> Tarball) -> Self {
        let (layer, _) = self.layers.last_mut().unwrap();
        *layer = change(std::mem::take(layer));
        self
    }

    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> Self {
        let content = content.as_ref().to_vec();
        self.last(|layer| {
            layer.with(&Entry { mode, content, ..Entry::new(b'0', path.trim_start_matches('/')) })
        })
    }

    /// A file with pax records before it.
    pub(crate) fn pax(self, path: &str) -> Self {
        self.last(|layer| layer.pax(&[("mtime", b"1.5")]).file(path.trim_start_matches('/'), "x"))
    }

    /// A file of this machine, which everyone may execute.
    #[track_caller]
    pub(crate) fn program(self, path: &str, from: impl AsRef<Path>) -> Self {
        let from = from.as_ref();
        let content = fs::read(from).unwrap_or_else(|err| panic!("`{}`: {err}", from.display()));
        self.file(path, content, 0o755)
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.last(|layer| layer.symlink(path.trim_start_matches('/'), target))
    }

    /// A file of a lower layer is gone.
    pub(crate) fn whiteout(self, path: &str) -> Self {
        let (folder, name) = path.trim_start_matches('/').rsplit_once('/').unwrap();
        self.file(&format!("{folder}/.wh.{name}"), "", 0o644)
    }

    /// A part of the config's `config`.
    pub(crate) fn runs(mut self, key: &str, value: Value) -> Self {
        self.runs[key] = value;
        self
    }

    pub(crate) fn listed(mut self, platform: &str) -> Self {
        self.listed = Some(platform.into());
        self
    }

    pub(crate) fn layers(&self) -> Vec<Vec<u8>> {
        self.layers.iter().map(|(layer, _)| layer.clone().end()).collect()
    }

    pub(crate) fn config(&self) -> Vec<u8> {
        let mut config = platform(&self.platform);
        config["created"] = "2023-11-14T22:13:20Z".into();
        config["config"] = self.runs.clone();
        let ids: Vec<String> =
            self.layers().iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
        config["rootfs"] = json!({ "type": "layers", "diff_ids": ids });
        let history = self.layers.iter().map(|(_, by)| json!({ "created_by": by }));
        config["history"] = history.collect();
        serde_json::to_vec(&config).unwrap()
    }

    /// Writes its blobs into an OCI layout, and gives what an index says of it.
    fn put(&self, layout: &Path) -> Value {
        let put = |bytes: &[u8], kind: &str| {
            let digest = sha256(bytes);
            fs::write(layout.join("blobs/sha256").join(&digest), bytes).unwrap();
            json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len() })
        };
        let layers = self.layers();
        let layers = layers.iter().map(|layer| put(layer, "application/vnd.oci.image.layer.v1.tar"));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "layers": layers.collect::<Vec<_>>(),
            "config": put(&self.config(), "application/vnd.oci.image.config.v1+json"),
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let mut entry = put(&manifest, "application/vnd.oci.image.manifest.v1+json");
        let listed = self.listed.as_ref().unwrap_or(&self.platform);
        if !listed.is_empty() {
            entry["platform"] = platform(listed);
        }
        entry
    }
}

/// Writes an OCI layout of `images`, and gives its reference. `others` are further entries of its index.
pub(crate) fn layout(cx: &Cx, name: &str, images: &[Img], others: &[Value]) -> String {
    let folder = cx.path(name);
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let mut entries: Vec<Value> = images.iter().map(|image| image.put(&folder)).collect();
    entries.extend_from_slice(others);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    });
    fs::write(folder.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    format!("oci:{name}")
}
