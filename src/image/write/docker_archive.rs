//! Writing archives that `docker load`, podman, skopeo and RouterOS take.
//!
//! Plain ustar headers without `./`, owner 0, time 0; for each layer `DIFFID/` and `DIFFID/layer.tar`, uncompressed; then the
//! config and `manifest.json`. Readers on small devices know no more than this.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use oci_spec::image::{Descriptor, ImageManifest};
use serde_json::json;
use tar::EntryType;

use super::super::{Abilities, Blob, Destination, Raw, digest_of, parse};
use super::ImageError;
use super::spool::Spool;
use super::stream::stream;
use super::tar_file::{BLOCK, header, member};
use crate::layer::Digest;
use crate::target::Platform;

/// An archive of one image, with a name of its own when it is complete.
#[derive(Debug)]
pub(in crate::image) struct DockerArchiveWriter {
    path: PathBuf,
    name: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    spool: Option<Spool>,
    layers: HashMap<Digest, u64>,
    config: Option<(Digest, Vec<u8>)>,
}

impl DockerArchiveWriter {
    /// Begins the archive.
    pub(in crate::image) fn create(path: &Path, name: Option<&str>) -> Result<Self, ImageError> {
        let failed = |source| ImageError::File { doing: "writing", path: path.into(), source };
        let spool = Spool::new(super::folder_of(path)).map_err(failed)?;
        let state = State { spool: Some(spool), layers: HashMap::new(), config: None };
        Ok(Self { path: path.into(), name: name.map(str::to_owned), state: Mutex::new(state) })
    }

    fn failed(&self) -> impl Fn(io::Error) -> ImageError + use<> {
        let path = self.path.clone();
        move |source| ImageError::File { doing: "writing", path: path.clone(), source }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn missing(&self) -> ImageError {
        (self.failed())(io::Error::other("the archive is complete already"))
    }
}

impl Destination for DockerArchiveWriter {
    fn abilities(&self) -> Abilities {
        Abilities { plain_single: true, oci_preferred: false }
    }

    fn has_blob(&self, entry: &Descriptor) -> Result<bool, ImageError> {
        Ok(self.state().layers.contains_key(&digest_of(entry, "manifest")?))
    }

    fn put_blob(&self, content: &mut dyn Read, expected: Option<&Descriptor>) -> Result<Blob, ImageError> {
        let failed = self.failed();
        let mut state = self.state();
        let State { spool, layers, .. } = &mut *state;
        let file = &mut spool.as_mut().ok_or_else(|| self.missing())?.file;
        let start = file.stream_position().map_err(&failed)?;
        // The names hold the digest, which is known only when the content is written: leave room.
        file.seek(SeekFrom::Start(start + 2 * BLOCK)).map_err(&failed)?;
        let written = stream(content, file, &self.path, expected);
        let keep = written.as_ref().ok().filter(|blob| !layers.contains_key(&blob.digest));
        close_layer(file, start, keep).map_err(&failed)?;
        let blob = written?;
        layers.insert(blob.digest, blob.size);
        Ok(blob)
    }

    fn put_config(&self, content: &[u8], _entry: &Descriptor) -> Result<(), ImageError> {
        self.state().config = Some((Digest::of(content), content.to_vec()));
        Ok(())
    }

    fn put_manifest(&self, _manifest: &Raw, _platform: Option<&Platform>) -> Result<(), ImageError> {
        Ok(())
    }

    fn finish(&self, top: &Raw, _platform: Option<&Platform>) -> Result<Digest, ImageError> {
        let failed = self.failed();
        let manifest: ImageManifest = parse(&top.bytes, "manifest")?;
        let mut state = self.state();
        let mut layers = Vec::new();
        for (at, layer) in manifest.layers().iter().enumerate() {
            let digest = digest_of(layer, "manifest")?;
            if !state.layers.contains_key(&digest) {
                let reason = "it was not written".into();
                return Err(ImageError::Invalid { part: format!("layer {}", at + 1), reason });
            }
            layers.push(format!("{}/layer.tar", digest.hex()));
        }
        let (digest, config) = state.config.take().ok_or_else(|| self.missing())?;
        let config_name = format!("{}.json", digest.hex());
        let tags: Vec<&String> = self.name.iter().collect();
        let manifest = json!([{ "Config": config_name, "RepoTags": tags, "Layers": layers }]).to_string();
        let mut spool = state.spool.take().ok_or_else(|| self.missing())?;
        let out = &mut spool.file;
        member(out, &config_name, &config).map_err(&failed)?;
        member(out, "manifest.json", manifest.as_bytes()).map_err(&failed)?;
        out.write_all(&[0; 2 * BLOCK as usize]).map_err(&failed)?;
        out.sync_data().map_err(&failed)?;
        spool.keep(&self.path).map_err(&failed)?;
        Ok(digest)
    }
}

/// Fills in the headers before a layer's content and ends it. One that is not to be kept goes again.
fn close_layer(file: &mut File, start: u64, layer: Option<&Blob>) -> io::Result<()> {
    let Some(layer) = layer else {
        file.set_len(start)?;
        file.seek(SeekFrom::Start(start))?;
        return Ok(());
    };
    let end = start + 2 * BLOCK + layer.size.next_multiple_of(BLOCK);
    file.set_len(end)?;
    file.seek(SeekFrom::Start(start))?;
    let hex = layer.digest.hex();
    file.write_all(header(&format!("{hex}/"), EntryType::Directory, 0o755, 0)?.as_bytes())?;
    file.write_all(header(&format!("{hex}/layer.tar"), EntryType::Regular, 0o644, layer.size)?.as_bytes())?;
    file.seek(SeekFrom::Start(end))?;
    Ok(())
}
