//! A whole foreign image becomes one that runs on a host as one of its own: every program in it gets a stub.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::equip::{FOLDER, ProgramEntry, beside};
use super::make::{history, options};
use super::program::{self, Kind};
use super::{BundleError, Equipment, Settings};
use crate::image::{self, Access, ImageConfiguration, ImageRef, LayerSource, NewImage, WrittenImage};
use crate::layer::{
    Changes, Compression, Compressor, LayerError, LayerStream, LayeredRoot, Limits, MergeOptions, Swap,
    Written,
};
use crate::target::{Guest, Target};
use crate::tree::root::{Root as _, resolve};

/// A foreign root file system, and what of it must get a stub.
#[derive(Debug)]
pub struct Whole<'a> {
    root: LayeredRoot<'a>,
    /// The files that programs name as their loaders.
    programs: Vec<Program>,
    /// Paths of programs that get capabilities when they are executed.
    capable: Vec<String>,
    /// How many programs have names that are no text.
    unnamed: usize,
}

#[derive(Debug)]
struct Program {
    number: u32,
    /// Without a slash before them; the first is the shortest.
    names: Vec<String>,
    guest: &'static Guest,
}

/// What became of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turned {
    /// The image.
    pub image: WrittenImage,
    /// How many programs got a stub.
    pub stubs: usize,
    /// What a user should know, a line each.
    pub notes: Vec<String>,
}

impl<'a> Whole<'a> {
    /// Looks through `layers`, the lowest first.
    ///
    /// # Errors
    /// [`BundleError::Layers`] where they cannot be read, [`BundleError::IsBundle`] where they are a bundle's.
    pub fn scan(layers: Vec<LayerStream<'a>>) -> Result<Self, BundleError> {
        let failed = |source| BundleError::Layers { source };
        let root = LayeredRoot::read(layers, Limits::default(), &|| false).map_err(failed)?;
        let folder = Path::new("/").join(FOLDER);
        if root.node(&folder).ok().flatten().is_some() {
            return Err(BundleError::IsBundle);
        }
        let mut loaders = HashSet::new();
        for file in root.files() {
            let Some(Ok(identity)) = file.executable.and_then(|executable| executable.elf.as_ref()) else {
                continue;
            };
            if let Some(interpreter) = &identity.interpreter
                && let Ok(found) = resolve(&root, Path::new("/"), Path::new(interpreter))
            {
                loaders.insert(found.path);
            }
        }
        let (mut programs, mut capable, mut unnamed) = (Vec::new(), Vec::new(), 0);
        for file in root.files() {
            let Some(executable) = file.executable.filter(|_| file.mode & 0o111 != 0) else { continue };
            let is_program = file.names.iter().all(|name| program::kind(executable, name) == Kind::Program);
            let Some(guest) = program::guest(&executable.head).filter(|_| is_program) else { continue };
            let names: Option<Vec<String>> =
                file.names.into_iter().map(|name| String::from_utf8(name).ok()).collect();
            let Some(names) = names else {
                unnamed += 1;
                continue;
            };
            if names.iter().any(|name| loaders.contains(&Path::new("/").join(name))) {
                continue;
            }
            if file.has_capabilities {
                capable.extend(names.first().cloned());
            }
            programs.push(Program { number: file.number, names, guest });
        }
        Ok(Self { root, programs, capable, unnamed })
    }

    /// The guests that `host` does not run itself and how many programs each has, the most first.
    #[must_use]
    pub fn foreign(&self, host: &Target) -> Vec<(&'static Guest, usize)> {
        let mut guests: BTreeMap<&str, (&'static Guest, usize)> = BTreeMap::new();
        for program in self.programs.iter().filter(|program| !host.runs_natively(&program.guest.name)) {
            guests.entry(&program.guest.name).or_insert((program.guest, 0)).1 += 1;
        }
        let mut guests: Vec<_> = guests.into_values().collect();
        guests.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        guests
    }

    /// Writes the image to where `reference` says. `config` is the source's, `digest` says which it was.
    ///
    /// # Errors
    /// [`BundleError`] where it cannot be written.
    pub fn write(
        self,
        equipment: &Equipment,
        settings: &Settings,
        source: Option<(&ImageConfiguration, &str)>,
        time: u64,
        (reference, access): (&ImageRef, &Access),
    ) -> Result<Turned, BundleError> {
        let mut notes = Vec::new();
        let mut left: BTreeMap<&str, usize> = BTreeMap::new();
        let mut entries = Vec::new();
        let mut swaps = HashMap::new();
        for program in &self.programs {
            let guest = &program.guest.name;
            if equipment.is_native(guest) {
                continue;
            }
            if !equipment.emulators.iter().any(|emulator| emulator.guest == *guest) {
                *left.entry(guest).or_default() += 1;
                continue;
            }
            let swap = self.swap(program, equipment, &mut entries)?;
            swaps.insert(program.number, swap);
        }
        for (guest, count) in left {
            notes.push(format!(
                "{count} programs for {guest} stay as they are: there is no emulator for them"
            ));
        }
        if !self.capable.is_empty() {
            notes.push(format!(
                "file capabilities do not pass an emulator, so these need root: {}",
                self.capable.iter().map(|path| format!("`/{path}`")).collect::<Vec<_>>().join(", ")
            ));
        }
        if self.unnamed > 0 {
            notes.push(format!("{} programs whose names are no text stay as they are", self.unnamed));
        }
        let (config, start) = settings.config(equipment, source.map(|(config, _)| config), None, time)?;
        let list = equipment.list(&entries, Vec::new(), source.map(|(_, digest)| digest))?;
        let there = |path: &str| resolve(&self.root, Path::new("/"), &Path::new("/").join(path)).is_ok();
        let mut added = equipment.files(list, &there)?;
        added.extend(start);
        let stubs = swaps.len();
        let changes = Changes { swaps, added, time: i64::try_from(time).unwrap_or(i64::MAX) };
        let layer = Rewritten { root: RefCell::new(self.root), changes, options: options(&equipment.host) };
        let history = history("bundle --rootfs", &equipment.host, time)?;
        let new = NewImage { config, layers: vec![(&layer, history)] };
        let image = image::write(&new, reference, access).map_err(|source| BundleError::Write { source })?;
        Ok(Turned { image, stubs, notes })
    }

    /// What takes a program's place: in each folder that it has a name in, a stub for it there.
    fn swap(
        &self,
        program: &Program,
        equipment: &Equipment,
        entries: &mut Vec<ProgramEntry>,
    ) -> Result<Swap, BundleError> {
        let parts = |name: &str| {
            name.rsplit_once('/').map_or((String::new(), name.to_owned()), |(folder, name)| {
                (folder.to_owned(), name.to_owned())
            })
        };
        let mut folders: Vec<String> = program.names.iter().map(|name| parts(name).0).collect();
        folders.dedup();
        let base = program.names.first().map(|name| parts(name).1).unwrap_or_default();
        let free = |moved: &str| {
            folders.iter().all(|folder| {
                let path = Path::new("/").join(folder).join(moved);
                self.root.node(&path).is_ok_and(|node| node.is_none())
            })
        };
        let mut number = 0;
        let mut moved = beside(&base, number);
        while !free(&moved) {
            number += 1;
            moved = beside(&base, number);
        }
        let guest = &program.guest.name;
        let mut stands = HashMap::new();
        for folder in folders {
            let real = Path::new("/").join(&folder).join(&moved);
            let real = real.to_str().unwrap_or_default();
            stands.insert(folder.clone().into_bytes(), equipment.stub(guest, real)?);
        }
        for name in &program.names {
            let real: PathBuf = Path::new("/").join(parts(name).0).join(&moved);
            entries.push(ProgramEntry {
                path: format!("/{name}"),
                real: Some(real.display().to_string()),
                guest: guest.clone(),
                digest: None,
                source: None,
            });
        }
        Ok(Swap { stands, moved: moved.into_bytes() })
    }
}

/// The source's layers as one, with stubs.
#[derive(Debug)]
struct Rewritten<'a> {
    root: RefCell<LayeredRoot<'a>>,
    changes: Changes,
    options: MergeOptions,
}

impl LayerSource for Rewritten<'_> {
    fn write(&self, compression: Compression, out: &mut dyn Write) -> Result<Written, LayerError> {
        let mut compressor = Compressor::new(out, compression, None)?;
        self.root.borrow_mut().rewrite(&self.changes, &self.options, &mut compressor)?;
        compressor.finish().map(|(_, written)| written)
    }
}
