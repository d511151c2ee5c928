//! Reading archives as `docker save`, podman and skopeo write them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tar::EntryType;

use super::model::{Source, diff_ids};
use super::{Image, ImageError, JSON_LIMIT, LayerInfo, parse};
use crate::layer::Digest;
use crate::layer::metered::{Meter, Metered};

/// How many entries an archive may have. One of an image has a few for each layer.
const ENTRIES: usize = 100_000;

/// How many links may lead from a name to its file.
const LINKS: usize = 8;

/// One image in `manifest.json`. Source: moby, `image/spec/spec.md`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// A name in the archive.
#[derive(Debug)]
enum Member {
    File {
        offset: u64,
        size: u64,
    },
    /// Older docker writes a layer that it wrote already as a link.
    Link(String),
}

#[derive(Debug)]
struct Archive {
    path: PathBuf,
    file: File,
    members: HashMap<String, Member>,
    layers: Vec<String>,
}

pub(super) fn open(path: &Path, name: Option<&str>) -> Result<Image, ImageError> {
    let failed = |source| ImageError::File { doing: "reading", path: path.into(), source };
    let file = plain(File::open(path).map_err(failed)?).map_err(failed)?;
    let members = members(&file).map_err(failed)?;
    let mut archive = Archive { path: path.into(), file, members, layers: Vec::new() };
    let entries: Vec<Entry> = parse(&archive.small("manifest.json")?, "manifest")?;
    let entry = pick(&entries, path, name)?;
    let bytes = archive.small(&entry.config)?;
    let digest = Digest::of(&bytes);
    // The file's name is its digest, in every writer's form: `HEX.json`, `HEX`, `blobs/sha256/HEX`.
    let named = entry.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    if let Ok(expected) = format!("sha256:{named}").parse::<Digest>()
        && expected != digest
    {
        return Err(ImageError::Digest { part: "config".into(), expected, found: digest });
    }
    let config = parse(&bytes, "config")?;
    let ids = diff_ids(&config, entry.layers.len())?;
    let sizes = entry.layers.iter().map(|layer| archive.find(layer).map(|(_, size)| size));
    let layers = sizes
        .zip(ids)
        .map(|(size, diff_id)| Ok(LayerInfo { diff_id, size: size? }))
        .collect::<Result<_, ImageError>>()?;
    archive.layers.clone_from(&entry.layers);
    Ok(Image { digest, config, layers, source: Box::new(archive) })
}

/// The file itself, or what it holds where it is compressed.
fn plain(mut file: File) -> io::Result<File> {
    let mut magic = [0; 4];
    let is_tar = file.read_at(&mut magic, 0)? < 4
        || !(magic.starts_with(&[0x1f, 0x8b]) || magic == [0x28, 0xb5, 0x2f, 0xfd]);
    if is_tar {
        return Ok(file);
    }
    let mut unpacked = tempfile::tempfile()?;
    io::copy(&mut crate::layer::decompressed(&mut file)?, &mut unpacked)?;
    unpacked.rewind()?;
    Ok(unpacked)
}

fn members(file: &File) -> io::Result<HashMap<String, Member>> {
    let length = file.metadata()?.len();
    let meter = Meter::new(u64::MAX);
    let mut archive = tar::Archive::new(Metered { inner: file, meter: meter.clone() });
    let mut members = HashMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        if members.len() >= ENTRIES {
            return Err(io::Error::other("the archive has too many entries"));
        }
        let name = normal(&String::from_utf8_lossy(&entry.path_bytes()));
        let member = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let (offset, size) = (entry.raw_file_position(), entry.size());
                if offset.checked_add(size).is_none_or(|end| end > length) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Member::File { offset, size }
            }
            EntryType::Symlink | EntryType::Link => {
                let target =
                    String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned();
                let is_symbolic = entry.header().entry_type() == EntryType::Symlink;
                let base = name.rsplit_once('/').map(|(folder, _)| folder).filter(|_| is_symbolic);
                Member::Link(base.map_or_else(|| normal(&target), |base| normal(&format!("{base}/{target}"))))
            }
            _ => continue,
        };
        members.insert(name, member);
        meter.expect_records();
    }
    Ok(members)
}

/// `path` without `.`, empty parts, and `..` with what it undoes.
fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The image called `name`, or the only one.
fn pick<'a>(entries: &'a [Entry], path: &Path, name: Option<&str>) -> Result<&'a Entry, ImageError> {
    let tags = |entry: &'a Entry| entry.repo_tags.iter().flatten();
    let present = || entries.iter().flat_map(tags).cloned().collect::<Vec<_>>();
    match (name, entries) {
        (Some(name), _) => {
            let wanted = familiar(name);
            let found = entries.iter().find(|entry| tags(entry).any(|tag| familiar(tag) == wanted));
            found.ok_or_else(|| ImageError::NoSuchName {
                path: path.into(),
                name: name.into(),
                present: present(),
            })
        }
        (None, [entry]) => Ok(entry),
        (None, []) => {
            Err(ImageError::Invalid { part: "manifest".into(), reason: "it lists no image".into() })
        }
        (None, _) => {
            Err(ImageError::Ambiguous { path: path.into(), count: entries.len(), present: present() })
        }
    }
}

/// A name as docker shows it, without the registry that it assumes.
fn familiar(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

impl Archive {
    /// Where the content of `name` is.
    fn find(&self, name: &str) -> Result<(u64, u64), ImageError> {
        let mut at = normal(name);
        for _ in 0..LINKS {
            match self.members.get(&at) {
                Some(Member::File { offset, size }) => return Ok((*offset, *size)),
                Some(Member::Link(target)) => at.clone_from(target),
                None => break,
            }
        }
        Err(ImageError::Invalid { part: "archive".into(), reason: format!("it has no file `{name}`") })
    }

    /// The content of a small file.
    fn small(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let (offset, size) = self.find(name)?;
        if size > JSON_LIMIT {
            let reason = format!("its {size} bytes are more than the {JSON_LIMIT} that are read");
            return Err(ImageError::Invalid { part: format!("`{name}`"), reason });
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, offset).map_err(|source| ImageError::File {
            doing: "reading",
            path: self.path.clone(),
            source,
        })?;
        Ok(bytes)
    }
}

impl Source for Archive {
    fn layer(&self, index: usize) -> Result<Box<dyn Read + '_>, ImageError> {
        let name = self.layers.get(index).map_or("", String::as_str);
        let (offset, left) = self.find(name)?;
        Ok(Box::new(Section { file: &self.file, offset, left }))
    }
}

/// A part of a file.
struct Section<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..length], self.offset)?;
        if count == 0 && length > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
