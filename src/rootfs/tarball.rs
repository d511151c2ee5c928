//! Roots that others have made: a tar file by its address and digest becomes a layer.
//!
//! The file is not unpacked here: owners, device nodes and attributes are the layer's as they are the file's, whoever makes it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::names::{Entry, Names, Place};
use super::{Kept, Made, Recipe, RootfsError, Tarball};
use crate::build::context;
use crate::image::registry::Options;
use crate::layer::{Digest, DigestReader};
use crate::progress::Progress;
use crate::target::Target;

/// Changes with everything that makes other layers of the same file.
const FORMAT: u32 = 1;
/// How many files there may be, and how much they may hold together, in bytes.
const ENTRIES: u64 = 10_000_000;
const BYTES: u64 = 128 << 30;

/// What is to be made.
#[derive(Debug)]
pub struct Request<'a> {
    /// The recipe, of the kind `tarball`.
    pub recipe: &'a Recipe,
    /// The machine that it is for.
    pub target: &'a Target,
    /// The tar file, in place of the recipe's: an address or a path.
    pub url: Option<&'a str>,
    /// Its digest, in place of the recipe's.
    pub sha256: Option<&'a str>,
    /// How servers are reached.
    pub options: &'a Options,
    /// The image's time, in seconds since 1970.
    pub time: u64,
    /// Make it even where the cache has it.
    pub anew: bool,
    /// The program's cache folder.
    pub cache: &'a Path,
}

/// Makes the root, or finds it in the cache.
///
/// # Errors
/// [`RootfsError`]; then nothing is left.
pub fn build(request: &Request<'_>, progress: &dyn Progress) -> Result<Made, RootfsError> {
    let own = request.recipe.tarball_for(request.target);
    let none = || RootfsError::NoTarget {
        recipe: request.recipe.name.clone(),
        target: request.target.name.clone(),
        reason: "it names no file for it; give one with `--url`".into(),
    };
    let url = request.url.or(own.map(|own| own.url.as_str())).ok_or_else(none)?;
    // The recipe's digest is that of the recipe's file.
    let listed = own.filter(|own| own.url == url).and_then(|own| own.sha256.as_deref());
    let no_digest = || RootfsError::NoDigest { url: url.into() };
    let hex = request.sha256.or(listed).ok_or_else(no_digest)?;
    let hex = hex.strip_prefix("sha256:").unwrap_or(hex).to_ascii_lowercase();
    let wrong = |_| RootfsError::WrongDigest { text: hex.clone() };
    let digest: Digest = format!("sha256:{hex}").parse().map_err(wrong)?;
    let usual = Tarball::default();
    let how = own.unwrap_or(&usual);
    let key = format!("polyarch rootfs tarball {FORMAT}\n{digest}\n{}\n{}", how.strip, how.merge_usr);
    let key = Digest::of(key.as_bytes());
    let kept = if request.anew { None } else { Kept::find(request.cache, &key) };
    let is_old = kept.is_some();
    let kept = if let Some(kept) = kept {
        kept
    } else {
        let file = file(request, url, &digest, progress)?;
        let task = progress.begin("packing the root file system", None);
        let kept = Kept::keep(request.cache, &key, |out| {
            let from = File::open(&file).map_err(|source| read(&file, source))?;
            convert(&file, from, how, out)
        });
        drop(task);
        kept?
    };
    let labels =
        [("recipe", request.recipe.name.clone()), ("url", shown(url)), ("digest", digest.to_string())];
    let labels = labels.into_iter().map(|(name, value)| (format!("io.polyarch.rootfs.{name}"), value));
    Ok(Made {
        kept,
        is_old,
        platform: request.target.platform.clone(),
        config: request.recipe.config.clone(),
        labels: labels.collect::<BTreeMap<_, _>>(),
        time: request.time,
    })
}

/// An address without what is for its server alone.
fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let rest = rest.split(['?', '#']).next().unwrap_or_default();
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            format!("{scheme}://{}/{path}", host.rsplit('@').next().unwrap_or(host))
        }
        // A path of this machine is nothing to an image.
        None => Path::new(url).file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

fn read(path: &Path, source: io::Error) -> RootfsError {
    RootfsError::File { doing: "reading", path: path.into(), source }
}

/// The tar file, whose digest is right: a file of this machine as it is, others in the cache by their digests.
fn file(
    request: &Request<'_>,
    url: &str,
    digest: &Digest,
    progress: &dyn Progress,
) -> Result<PathBuf, RootfsError> {
    let verify = |path: &Path| -> Result<Digest, RootfsError> {
        let mut from = DigestReader::new(File::open(path).map_err(|source| read(path, source))?);
        io::copy(&mut from, &mut io::sink()).map_err(|source| read(path, source))?;
        Ok(from.digest())
    };
    if !url.contains("://") {
        let path = PathBuf::from(url);
        let found = verify(&path)?;
        return if found == *digest { Ok(path) } else { Err(other(url, *digest, found)) };
    }
    let folder = request.cache.join("tarballs");
    let path = folder.join(digest.hex());
    if path.is_file() && verify(&path)? == *digest {
        return Ok(path);
    }
    let failed = |source| RootfsError::File { doing: "writing", path: folder.clone(), source };
    fs::create_dir_all(&folder).map_err(failed)?;
    let new = tempfile::Builder::new().prefix("new-").tempdir_in(&folder).map_err(failed)?;
    context::fetch(url, None, new.path(), request.options, progress)
        .map_err(|source| RootfsError::Tarball { source: Box::new(source) })?;
    let fetched = new.path().join("fetched");
    let found = verify(&fetched)?;
    if found != *digest {
        return Err(other(url, *digest, found));
    }
    fs::rename(&fetched, &path).map_err(failed)?;
    Ok(path)
}

fn other(url: &str, expected: Digest, found: Digest) -> RootfsError {
    RootfsError::OtherFile { url: shown(url), expected, found }
}

/// Writes the tar file `from`, plain or compressed, as a layer.
fn convert(path: &Path, from: impl Read, how: &Tarball, out: &mut dyn Write) -> Result<(), RootfsError> {
    let read = |source| read(path, source);
    let wrong = |reason: String| RootfsError::NotRoot { path: path.into(), reason };
    let written = |source| RootfsError::File { doing: "writing", path: "the layer".into(), source };
    let plain = context::plain(BufReader::with_capacity(1 << 17, from)).map_err(read)?;
    let mut archive = tar::Archive::new(plain.take(BYTES));
    let mut builder = tar::Builder::new(out);
    let mut names = Names::default();
    let mut count = 0;
    if how.merge_usr {
        for name in ["bin", "lib", "sbin"] {
            merge(&mut builder, &mut names, name.as_bytes()).map_err(written)?;
        }
    }
    for entry in archive.entries().map_err(read)? {
        let mut entry = entry.map_err(read)?;
        count += 1;
        if count > ENTRIES {
            return Err(wrong(format!("it holds more than {ENTRIES} files")));
        }
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            continue;
        }
        let path = entry.path_bytes().into_owned();
        let Some(path) = stripped(&path, how.strip) else { continue };
        let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
        let first = path.split(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
        if how.merge_usr && Names::is_merged(&first) {
            merge(&mut builder, &mut names, &first).map_err(written)?;
        }
        let what = match kind {
            EntryType::Directory => Entry::Folder,
            EntryType::Symlink => Entry::Link(&link),
            _ => Entry::File,
        };
        // A file that comes twice is the later one, as with tar.
        let path = match names.place(&path, what, 0, true) {
            Place::At(path) => path,
            Place::Stays if kind.is_dir() && !how.merge_usr => path,
            Place::Stays => continue,
            Place::Taken { .. } | Place::Nowhere => {
                return Err(wrong(format!("`{}` is no name of a file", String::from_utf8_lossy(&path))));
            }
        };
        let mut header = entry.header().clone();
        let records: Vec<(String, Vec<u8>)> = match entry.pax_extensions().map_err(read)? {
            Some(records) => records
                .filter_map(Result::ok)
                .filter_map(|record| Some((record.key().ok()?.to_owned(), record.value_bytes().to_vec())))
                .filter(|(key, _)| key.starts_with("SCHILY.xattr."))
                .collect(),
            None => Vec::new(),
        };
        builder
            .append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), value.as_slice())))
            .map_err(written)?;
        let name = as_path(&path);
        if kind.is_symlink() || kind.is_hard_link() {
            let target = if kind.is_hard_link() {
                stripped(&link, how.strip)
                    .and_then(|link| names.resolve(&link))
                    .ok_or_else(|| wrong(format!("`{}` links to nothing", String::from_utf8_lossy(&path))))?
            } else {
                link
            };
            header.set_size(0);
            builder.append_link(&mut header, name, as_path(&target)).map_err(written)?;
        } else {
            let size = entry.size();
            header.set_size(if kind.is_dir() { 0 } else { size });
            if matches!(kind, EntryType::GNUSparse) {
                header.set_entry_type(EntryType::Regular);
            }
            builder.append_data(&mut header, name, &mut entry).map_err(written)?;
        }
    }
    if !["usr", "bin", "etc"].iter().any(|name| names.has(name)) {
        return Err(wrong(
            "it has neither `/usr` nor `/bin` nor `/etc`; does the recipe's `strip` take too much away?"
                .into(),
        ));
    }
    let out = builder.into_inner().map_err(written)?;
    out.flush().map_err(written)
}

/// Makes the folder of `/usr` that a folder at the top is a link to.
fn merge(builder: &mut tar::Builder<&mut dyn Write>, names: &mut Names, name: &[u8]) -> io::Result<()> {
    if !names.merge(name) {
        return Ok(());
    }
    let target = [b"usr/", name].concat();
    let header = |kind, mode| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        header
    };
    builder.append_data(&mut header(EntryType::Directory, 0o755), as_path(&target), io::empty())?;
    builder.append_link(&mut header(EntryType::Symlink, 0o777), as_path(name), as_path(&target))
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}

/// The name without its first `strip` parts; `None` where nothing is left of it.
fn stripped(path: &[u8], strip: usize) -> Option<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let rest: Vec<&[u8]> = parts.skip(strip).collect();
    (!rest.is_empty()).then(|| rest.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_without_secrets() {
        assert_eq!(shown("https://me:secret@a.example/x/y.tar?token=1#z"), "https://a.example/x/y.tar");
        assert_eq!(shown("/home/me/root.tar"), "root.tar");
    }

    #[test]
    fn names_lose_their_first_parts() {
        assert_eq!(stripped(b"./root/etc//passwd", 1).unwrap(), b"etc/passwd");
        assert_eq!(stripped(b"./", 0), None);
        assert_eq!(stripped(b"a", 1), None);
    }
}
