//! A root that was made becomes an image or a folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::json;

use super::{Config, Kept, RootfsError};
use crate::image::{Access, History, ImageRef, NewImage, ReferenceError, rfc3339};
use crate::layer::{Digest, Skipped};
use crate::sandbox::{Ids, Signals, remove_trees, unpack_tree};
use crate::target::Platform;

/// Where a root goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// An image.
    Image(ImageRef),
    /// A folder, which is made.
    Folder(PathBuf),
}

impl FromStr for Output {
    type Err = ReferenceError;

    /// What looks like a path is a folder, but for that of an image layout.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let path = Path::new(text);
        let is_folder = text.starts_with(['/', '.']) || text.ends_with('/') || path.is_dir();
        if is_folder && !path.join("oci-layout").is_file() {
            return Ok(Self::Folder(path.into()));
        }
        ImageRef::find(text).map(Self::Image)
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(image) => image.fmt(f),
            Self::Folder(path) => path.display().fmt(f),
        }
    }
}

/// A root that was made, and what is to be said of it.
#[derive(Debug)]
pub struct Made {
    /// Its files.
    pub kept: Kept,
    /// Whether the cache had it.
    pub is_old: bool,
    /// The platform of its programs.
    pub platform: Platform,
    /// What its image starts.
    pub config: Config,
    /// What it was made from.
    pub labels: BTreeMap<String, String>,
    /// Its time, in seconds since 1970.
    pub time: u64,
}

impl Made {
    /// Writes it as an image.
    ///
    /// # Errors
    /// [`RootfsError::Image`]; what was there under that name is as before then.
    pub fn image(&self, image: &ImageRef, access: &Access) -> Result<Digest, RootfsError> {
        let failed = |source| RootfsError::Image { image: image.to_string(), source: Box::new(source) };
        let created = rfc3339(self.time);
        let mut config = json!({
            "created": created,
            "os": self.platform.os,
            "architecture": self.platform.architecture,
            "config": { "Labels": self.labels },
            "rootfs": { "type": "layers", "diff_ids": [] },
        });
        if let Some(variant) = &self.platform.variant {
            config["variant"] = json!(variant);
        }
        if !self.config.cmd.is_empty() {
            config["config"]["Cmd"] = json!(self.config.cmd);
        }
        if !self.config.env.is_empty() {
            config["config"]["Env"] = json!(self.config.env);
        }
        let json = |source| crate::image::ImageError::Json { part: "config".into(), source };
        let history = json!({ "created": created, "created_by": "polyarch rootfs build" });
        let history: History = serde_json::from_value(history).map_err(json).map_err(failed)?;
        let config = serde_json::from_value(config).map_err(json).map_err(failed)?;
        let new = NewImage { config, layers: vec![(&self.kept, history)] };
        crate::image::write(&new, image, access).map(|written| written.digest).map_err(failed)
    }

    /// Unpacks it to the folder `path`, which appears when it is whole. Its files belong to `ids`. Tells what could not be had.
    ///
    /// # Errors
    /// [`RootfsError`]; nothing is left then.
    pub fn folder(&self, path: &Path, ids: &Ids, signals: &Signals) -> Result<Skipped, RootfsError> {
        let failed = |source| RootfsError::File { doing: "writing", path: path.into(), source };
        match fs::read_dir(path) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(RootfsError::NotEmpty { path: path.into() });
                }
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(failed(err)),
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(failed)?;
        let mode = |mode| <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(mode);
        let new = tempfile::Builder::new()
            .prefix(".polyarch-")
            .permissions(mode(0o755))
            .tempdir_in(parent)
            .map_err(failed)?
            .keep();
        let unpack = || {
            let file = self.kept.open().map_err(failed)?;
            let mut layer = BufReader::with_capacity(1 << 17, file);
            let skipped = unpack_tree(&new, ids, &mut layer, signals)
                .map_err(|source| RootfsError::Unpack { source: Box::new(source) })?;
            // Over an empty folder it takes the place.
            fs::rename(&new, path).map_err(failed)?;
            Ok(skipped)
        };
        let result = unpack();
        if result.is_err() {
            let _ = remove_trees(&[new], ids);
        }
        result
    }
}
