//! The archive that RouterOS's `/container/add file=` takes, and why it refuses another.
//!
//! Each reason says how it is known: reported by public projects on their devices, or inferred. Nothing here was run on a device.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::{Finding, Rule, Severity};
use crate::image::{ImageRef, JSON_LIMIT, Listing};
use crate::layer::{Compression, decompressed};

/// How many entries of an archive, and of each of its layers, are looked at.
const MOST_ENTRIES: usize = 1_000_000;

/// What an archive is made of.
#[derive(Debug, Default)]
struct Layout {
    /// How the archive itself is compressed.
    outer: Option<Compression>,
    has_manifest: bool,
    /// `oci-layout`, `index.json` or `blobs/`.
    has_oci: bool,
    /// How many images `manifest.json` lists.
    images: usize,
    /// Members that are compressed.
    compressed: usize,
    /// A file in a layer that has extension records before it.
    extended: Option<String>,
    /// A file in a layer whose name begins with `./`.
    dotted: Option<String>,
    /// A file in a layer that is not root's.
    owned: Option<String>,
}

/// What of the archive that `reference` names keeps a device from loading it; nothing for what is no file.
pub(super) fn judge(input: &OsStr, reference: &ImageRef, listing: &Listing) -> Option<Finding> {
    let mut reasons: Vec<(Severity, String)> = Vec::new();
    let mut error = |text: &str| reasons.push((Severity::Error, text.to_owned()));
    if listing.others > 0 {
        error(
            "its index has attestations, of which devices choose or refuse the platform `unknown/unknown` (reported)",
        );
    }
    match reference {
        ImageRef::OciArchive { file, .. } | ImageRef::DockerArchive { file, .. } => {
            if listing.images.len() > 1 {
                error(
                    "it holds images for several platforms, and RouterOS chooses none within a file, but refuses it \
                     (reported)",
                );
            }
            match read(file) {
                Ok(layout) => layout.reasons(&mut reasons),
                Err(err) => error(&format!("it breaks off: {err}")),
            }
        }
        ImageRef::Oci { .. } => {
            error("it is a folder, and a device takes a file (inferred)");
        }
        _ => {}
    }
    let severity = reasons.iter().map(|(severity, _)| *severity).max()?;
    let text = reasons.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ");
    Some(Finding {
        rule: Rule::ArchiveLayout,
        severity,
        input: input.into(),
        platform: None,
        path: None,
        line: None,
        layer: None,
        target: None,
        message: format!("the archive is not one that every RouterOS device takes: {text}"),
        expected: Some("manifest.json of one image, its config and uncompressed layers in plain ustar".into()),
        found: Some(text),
        help: "`polyarch copy --profile routeros SOURCE docker-archive:FILE` writes the one that loads everywhere".into(),
    })
}

impl Layout {
    fn reasons(&self, reasons: &mut Vec<(Severity, String)>) {
        let mut add = |severity, text: String| reasons.push((severity, text));
        if self.outer.is_some_and(|outer| !matches!(outer, Compression::None | Compression::Gzip)) {
            add(Severity::Error, "it is compressed by something else than gzip (inferred)".into());
        }
        match (self.has_manifest, self.has_oci) {
            (true, true) => add(
                Severity::Error,
                "it has an OCI layout beside `manifest.json`, as newer engines save it: the device's log says `no config found \
                 in manifest`, or `could not load next layer` (reported, the latter verified on 7.24.2)"
                    .into(),
            ),
            (false, true) => add(
                Severity::Error,
                "it is an OCI layout without `manifest.json`: before 7.21 the device's log says `could not find image manifest \
                 in archive` (reported); from 7.21 on it is reported to work"
                    .into(),
            ),
            _ => {}
        }
        if self.has_manifest && self.compressed > 0 {
            add(
                Severity::Error,
                "its layers are compressed: the device's log says `could not load next layer` (reported, verified on 7.24.2)"
                    .into(),
            );
        }
        if self.images > 1 {
            let images = self.images;
            add(
                Severity::Error,
                format!("`manifest.json` lists {images} images, and a device takes one (reported)"),
            );
        }
        for (file, what) in [
            (&self.extended, "has pax or GNU records before it, which ustar has not"),
            (&self.dotted, "is named with `./` before it"),
        ] {
            if let Some(file) = file {
                add(Severity::Warning, format!("the layers' file `{file}` {what} (inferred)"));
            }
        }
        if let Some(file) = &self.owned {
            add(Severity::Note, format!("the layers' file `{file}` is not root's (inferred)"));
        }
    }
}

fn read(path: &Path) -> io::Result<Layout> {
    let mut magic = [0; 8];
    let count = File::open(path)?.read(&mut magic)?;
    let mut layout = Layout { outer: Some(Compression::of(&magic[..count])), ..Layout::default() };
    let plain = decompressed(BufReader::with_capacity(1 << 16, File::open(path)?))?;
    let mut archive = tar::Archive::new(plain);
    for entry in archive.entries()?.take(MOST_ENTRIES) {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
        match name.as_str() {
            "manifest.json" => {
                layout.has_manifest = true;
                let mut bytes = Vec::new();
                entry.take(JSON_LIMIT).read_to_end(&mut bytes)?;
                let images: Option<Vec<serde_json::Value>> = serde_json::from_slice(&bytes).ok();
                layout.images = images.map_or(0, |images| images.len());
                continue;
            }
            "oci-layout" | "index.json" => layout.has_oci = true,
            name if name.starts_with("blobs/") => layout.has_oci = true,
            _ => {}
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let mut head = vec![0; 512];
        let count = fill(&mut entry, &mut head)?;
        head.truncate(count);
        if Compression::of(&head) != Compression::None {
            layout.compressed += 1;
        } else if crate::tree::is_tar_header(&head) {
            layout.layer(io::Cursor::new(head).chain(entry))?;
        }
    }
    Ok(layout)
}

impl Layout {
    fn layer(&mut self, from: impl Read) -> io::Result<()> {
        let mut archive = tar::Archive::new(from);
        let mut is_extended = false;
        for entry in archive.entries()?.raw(true).take(MOST_ENTRIES) {
            let entry = entry?;
            let header = entry.header();
            if matches!(header.as_bytes()[156], b'x' | b'g' | b'L' | b'K' | b'S') {
                is_extended = true;
                continue;
            }
            let name = || String::from_utf8_lossy(&header.path_bytes()).into_owned();
            if std::mem::take(&mut is_extended) {
                self.extended.get_or_insert_with(name);
            }
            if header.path_bytes().starts_with(b"./") && header.path_bytes().len() > 2 {
                self.dotted.get_or_insert_with(name);
            }
            if header.uid().unwrap_or(0) != 0 || header.gid().unwrap_or(0) != 0 {
                self.owned.get_or_insert_with(name);
            }
        }
        Ok(())
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match from.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(count)
}
