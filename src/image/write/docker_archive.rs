//! Writing archives that `docker load`, podman, skopeo and RouterOS take.
//!
//! Plain ustar headers without `./`, owner 0, time 0; for each layer `DIFFID/` and `DIFFID/layer.tar`, uncompressed; then the
//! config and `manifest.json`. Readers on small devices know no more than this.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;
use tar::{EntryType, Header};

use super::{ImageError, NewImage, WrittenImage, config_bytes};
use crate::layer::{Compression, Digest, Written};

/// The size of a tar block, and so of a header, in bytes.
const BLOCK: u64 = 512;

pub(super) fn write(
    image: &NewImage<'_>,
    path: &Path,
    name: Option<&str>,
) -> Result<WrittenImage, ImageError> {
    let failed = |source| ImageError::File { doing: "writing", path: path.into(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A name of its own until it is complete.
    let mut file = tempfile::Builder::new()
        .prefix(".polyarch-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(failed)?;

    let mut layers: Vec<Written> = Vec::new();
    for (at, (layer, _)) in image.layers.iter().enumerate() {
        let start = file.as_file_mut().stream_position().map_err(failed)?;
        // The names hold the digest, which is known only when the content is written: leave room.
        file.as_file_mut().seek(SeekFrom::Start(start + 2 * BLOCK)).map_err(failed)?;
        let mut out = BufWriter::with_capacity(1 << 16, file.as_file_mut());
        let written = layer
            .write(Compression::None, &mut out)
            .map_err(|source| ImageError::Layer { number: at + 1, source })?;
        out.flush().map_err(failed)?;
        drop(out);
        let repeated = layers.iter().any(|layer| layer.diff_id == written.diff_id);
        close_layer(file.as_file_mut(), start, &written, repeated).map_err(failed)?;
        layers.push(written);
    }

    let config = config_bytes(image, &layers)?;
    let digest = Digest::of(&config);
    let config_name = format!("{}.json", digest.hex());
    let paths: Vec<String> =
        layers.iter().map(|layer| format!("{}/layer.tar", layer.diff_id.hex())).collect();
    let tags: Vec<&str> = name.into_iter().collect();
    let manifest = json!([{ "Config": config_name, "RepoTags": tags, "Layers": paths }]).to_string();
    let out = file.as_file_mut();
    member(out, &config_name, &config).map_err(failed)?;
    member(out, "manifest.json", manifest.as_bytes()).map_err(failed)?;
    out.write_all(&[0; 2 * BLOCK as usize]).map_err(failed)?;
    out.sync_data().map_err(failed)?;
    file.persist(path).map_err(|err| failed(err.error))?;
    Ok(WrittenImage { digest })
}

/// Fills in the headers before a layer's content and ends it. One that was written before goes again.
fn close_layer(file: &mut File, start: u64, layer: &Written, repeated: bool) -> io::Result<()> {
    if repeated {
        file.set_len(start)?;
        file.seek(SeekFrom::Start(start))?;
        return Ok(());
    }
    let end = start + 2 * BLOCK + layer.size.next_multiple_of(BLOCK);
    file.set_len(end)?;
    file.seek(SeekFrom::Start(start))?;
    let hex = layer.diff_id.hex();
    file.write_all(header(&format!("{hex}/"), EntryType::Directory, 0o755, 0)?.as_bytes())?;
    file.write_all(header(&format!("{hex}/layer.tar"), EntryType::Regular, 0o644, layer.size)?.as_bytes())?;
    file.seek(SeekFrom::Start(end))?;
    Ok(())
}

/// Writes a small file.
fn member(file: &mut File, name: &str, content: &[u8]) -> io::Result<()> {
    file.write_all(header(name, EntryType::Regular, 0o644, content.len() as u64)?.as_bytes())?;
    file.write_all(content)?;
    let padding = content.len().next_multiple_of(BLOCK as usize) - content.len();
    file.write_all(&vec![0; padding])
}

fn header(name: &str, kind: EntryType, mode: u32, size: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(header)
}
