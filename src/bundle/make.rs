//! Making the image of a bundle.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use oci_spec::image::{History, HistoryBuilder};

use super::equip::{FOLDER, ProgramEntry, beside};
use super::gather::Gathered;
use super::settings::config_error;
use super::{BundleError, Equipment, Settings};
use crate::image::{self, Access, Image, ImageRef, LayerSource, NewImage, NewLayer, WrittenImage, rfc3339};
use crate::layer::{
    Compression, Compressor, Content, Ids, LayerError, LayerFile, LayerStream, LayerWriter, LayeredRoot,
    Limits, MergeOptions, Part, TarFormat, Written, merge,
};
use crate::target::Target;
use crate::tree::root::{Root as _, resolve};

/// What goes into a bundle of programs.
#[derive(Debug)]
pub struct Bundle<'a> {
    /// The files.
    pub gathered: Gathered,
    /// What runs them.
    pub equipment: Equipment,
    /// How the container is started.
    pub settings: Settings,
    /// An image of the host to add them to, and a folder for files without names meanwhile.
    pub base: Option<(&'a Image, PathBuf)>,
    /// The time that all files and the image itself carry, in seconds since 1970.
    pub time: u64,
}

impl Bundle<'_> {
    /// Writes it to where `reference` says. The same bundle gives the same bytes.
    ///
    /// # Errors
    /// [`BundleError`] where a guest has no emulator, or the image cannot be written.
    pub fn write(&self, reference: &ImageRef, access: &Access) -> Result<WrittenImage, BundleError> {
        let base = self.base.as_ref().map(|(image, _)| image.config());
        let first = self.gathered.first.as_deref();
        let (config, start) = self.settings.config(&self.equipment, base, first, self.time)?;
        let mut files = self.files()?;
        files.extend(start);
        let history = history("bundle", &self.equipment.host, self.time)?;
        let failed = |source| BundleError::Write { source };
        match &self.base {
            None => {
                let layer = NewLayer { files: with_folders(files, &|_| false), time: self.time };
                let image = NewImage { config, layers: vec![(&layer, history)] };
                image::write(&image, reference, access).map_err(failed)
            }
            Some((image, spool)) => {
                let layer = self.on_base(files, image, spool)?;
                let image = NewImage { config, layers: vec![(&layer, history)] };
                image::write(&image, reference, access).map_err(failed)
            }
        }
    }

    /// The files but for the folders that they are in.
    fn files(&self) -> Result<Vec<LayerFile>, BundleError> {
        let Gathered { programs, others, libraries, .. } = &self.gathered;
        let mut files = Vec::new();
        let mut entries = Vec::new();
        let mut taken: BTreeSet<String> = programs.keys().chain(others.keys()).cloned().collect();
        for (dest, placed) in programs {
            let guest = &placed.guest.name;
            let mut entry = ProgramEntry {
                path: placed.path.clone(),
                real: None,
                guest: guest.clone(),
                digest: Some(placed.digest.to_string()),
                source: placed.source.clone(),
            };
            let file = |path: String, content| LayerFile { path, mode: placed.mode, content };
            if self.equipment.is_native(guest) {
                files.push(file(dest.clone(), placed.content.clone()));
            } else {
                if !self.equipment.emulators.iter().any(|emulator| emulator.guest == *guest) {
                    return Err(BundleError::NoEmulator {
                        path: placed.path.clone().into(),
                        guest: guest.clone(),
                        host: self.equipment.host.platform.to_string(),
                    });
                }
                let (folder, name) = dest.rsplit_once('/').unwrap_or(("", dest));
                let mut number = 0;
                let mut real = join(folder, &beside(name, number));
                while !taken.insert(real.clone()) {
                    number += 1;
                    real = join(folder, &beside(name, number));
                }
                let stub = self.equipment.stub(guest, &format!("/{real}"))?;
                files.push(file(dest.clone(), Content::Bytes(stub)));
                files.push(file(real.clone(), placed.content.clone()));
                entry.real = Some(format!("/{real}"));
            }
            entries.push(entry);
        }
        for (dest, other) in others {
            files.push(LayerFile { path: dest.clone(), mode: other.mode, content: other.content.clone() });
        }
        let libraries = libraries.iter().map(String::as_str).collect();
        let list = self.equipment.list(&entries, libraries, None)?;
        let is_taken = |path: &str| {
            let within = format!("{path}/");
            taken.contains(path) || taken.iter().any(|known| known.starts_with(&within))
        };
        files.extend(self.equipment.files(list, &is_taken)?);
        Ok(files)
    }

    /// The files over those of a base image. Neither a program nor a library may take another's place there.
    fn on_base<'b>(
        &self,
        files: Vec<LayerFile>,
        base: &'b Image,
        spool: &Path,
    ) -> Result<Based<'b>, BundleError> {
        let failed = |source| BundleError::Layers { source };
        let platform = base.platform();
        if platform.architecture != self.equipment.host.platform.architecture {
            let host = self.equipment.host.platform.to_string();
            return Err(BundleError::Base { platform: platform.to_string(), host });
        }
        let root = LayeredRoot::read(base.streams(), Limits::default(), &|| false).map_err(failed)?;
        if root.node(&Path::new("/").join(FOLDER)).ok().flatten().is_some() {
            return Err(BundleError::IsBundle);
        }
        let there = |path: &str| resolve(&root, Path::new("/"), &Path::new("/").join(path)).is_ok();
        let own = self.gathered.programs.keys().map(|dest| format!("/{dest}"));
        for path in own.chain(self.gathered.libraries.iter().cloned()) {
            if there(&path) {
                return Err(BundleError::Conflict { path });
            }
        }
        let files = with_folders(files, &there);
        let write = |source| failed(LayerError::Write { path: spool.display().to_string(), source });
        let out = tempfile::tempfile_in(spool).map_err(write)?;
        let (out, _) = LayerWriter::new(self.time, Compression::None).write(&files, out).map_err(failed)?;
        let part = Part::whole(out).map_err(write)?;
        Ok(Based { base, ours: part, options: options(&self.equipment.host) })
    }
}

/// How layers are written for `host`: RouterOS's archives hold nothing but plain headers.
pub(super) fn options(host: &Target) -> MergeOptions {
    if host.routeros.is_none() {
        return MergeOptions::default();
    }
    MergeOptions {
        format: TarFormat::PureUstar,
        ids: Ids::Zero,
        attributes: false,
        ..MergeOptions::default()
    }
}

pub(super) fn history(what: &str, host: &Target, time: u64) -> Result<History, BundleError> {
    HistoryBuilder::default()
        .created(rfc3339(time))
        .created_by(format!("polyarch {what} --host {}", host.platform))
        .build()
        .map_err(config_error)
}

/// A base image's layers and ours over them, as one.
#[derive(Debug)]
struct Based<'a> {
    base: &'a Image,
    ours: Part,
    options: MergeOptions,
}

impl LayerSource for Based<'_> {
    fn write(&self, compression: Compression, out: &mut dyn Write) -> Result<Written, LayerError> {
        let mut layers = self.base.streams();
        layers.push(LayerStream::new(|| Ok(Box::new(self.ours.reader()) as _), None));
        let mut compressor = Compressor::new(out, compression, None)?;
        merge(&layers, &self.options, &mut compressor)?;
        compressor.finish().map(|(_, written)| written)
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// `files` with the folders that they are in, but for those that are `there` already; of two at one path the last one.
fn with_folders(files: Vec<LayerFile>, there: &dyn Fn(&str) -> bool) -> Vec<LayerFile> {
    let mut all: BTreeMap<String, LayerFile> = BTreeMap::new();
    for file in files {
        let is_folder = matches!(file.content, Content::Folder);
        if !(is_folder && there(&file.path)) {
            all.insert(file.path.clone(), file);
        }
    }
    let mut folders: BTreeSet<String> = BTreeSet::new();
    for path in all.keys() {
        let mut rest = path.as_str();
        while let Some((folder, _)) = rest.rsplit_once('/') {
            folders.insert(folder.to_owned());
            rest = folder;
        }
    }
    for path in folders {
        if !all.contains_key(&path) && !there(&path) {
            all.insert(path.clone(), LayerFile { path, mode: 0o755, content: Content::Folder });
        }
    }
    all.into_values().collect()
}
