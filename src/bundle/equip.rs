//! What a bundle brings besides programs: the emulators, the stubs, an init, a shell, and a list of it all.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::BundleError;
use crate::emulator::Emulator;
use crate::image::labels;
use crate::layer::{Content, LayerFile};
use crate::stub::{HostPrograms, Launch};
use crate::target::Target;

/// Where a bundle keeps what is not the programs' own.
pub(super) const FOLDER: &str = ".polyarch";
/// The version of the manifest. Keys are only ever added.
const VERSION: u32 = 1;
/// How much of an emulator is looked at for where it comes from, in bytes.
const EMULATOR: u64 = 64 << 20;

/// What keeps a bundle's container going.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keep {
    /// It starts no program, and stays until it is stopped.
    pub idle: bool,
    /// An init starts the program, passes signals on and buries orphans.
    pub init: bool,
    /// A static busybox of the host, which becomes its shell.
    pub shell: Option<PathBuf>,
}

/// The means by which a host runs foreign programs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Equipment {
    /// The machine that is to run the image.
    pub host: Target,
    /// An emulator for each guest that the host does not run itself.
    pub emulators: Vec<Emulator>,
    /// The target whose CPU the emulator shows.
    pub target: Option<Target>,
    /// What keeps the container going.
    pub keep: Keep,
}

/// One program, as the manifest tells of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ProgramEntry {
    /// Its path in the image.
    pub(super) path: String,
    /// Where the program itself is, if a stub stands under its path.
    pub(super) real: Option<String>,
    /// QEMU's name of its guest.
    pub(super) guest: String,
    /// `sha256:…`; absent where a whole image was turned.
    pub(super) digest: Option<String>,
    /// What it was taken from, if that can be said.
    pub(super) source: Option<String>,
}

#[derive(Debug, Serialize)]
struct EmulatorEntry {
    guest: String,
    path: String,
    version: Option<String>,
    digest: String,
    source: Option<String>,
    cpu: Option<String>,
}

#[derive(Debug, Serialize)]
struct Manifest<'a> {
    version: u32,
    host: String,
    platform: String,
    target: Option<&'a str>,
    emulators: Vec<EmulatorEntry>,
    programs: &'a [ProgramEntry],
    libraries: Vec<&'a str>,
    image: Option<&'a str>,
}

impl Equipment {
    /// For `host`, with nothing yet.
    #[must_use]
    pub fn new(host: Target, target: Option<Target>) -> Self {
        Self { host, emulators: Vec::new(), target, keep: Keep::default() }
    }

    /// Whether a host's own system runs programs of `guest`.
    pub(super) fn is_native(&self, guest: &str) -> bool {
        self.host.runs_natively(guest)
    }

    fn programs(&self) -> Result<HostPrograms, BundleError> {
        HostPrograms::of(&self.host.qemu.guest)
            .ok_or_else(|| BundleError::NoStub { host: self.host.name.clone() })
    }

    fn emulator_path(guest: &str) -> String {
        format!("{FOLDER}/qemu-{guest}")
    }

    fn cpu(&self, guest: &str) -> Option<&str> {
        self.target.as_ref().filter(|target| target.qemu.guest == guest)?.qemu.cpu.as_deref()
    }

    /// The stub that runs the program of `guest` that is at `real`.
    pub(super) fn stub(&self, guest: &str, real: &str) -> Result<Vec<u8>, BundleError> {
        let flags = self.cpu(guest).map(|cpu| vec!["-cpu".to_owned(), cpu.to_owned()]).unwrap_or_default();
        let launch = Launch::emulated(&format!("/{}", Self::emulator_path(guest)), &flags, real);
        self.programs()?.stub(&launch).map_err(|source| BundleError::Stub { path: real.into(), source })
    }

    /// A program that is a whole command line.
    pub(super) fn start(&self, words: &[String]) -> Result<Option<LayerFile>, BundleError> {
        let Some((path, rest)) = words.split_first().filter(|(path, _)| path.starts_with('/')) else {
            return Ok(None);
        };
        let stub = self.programs()?.stub(&Launch::command(path, rest));
        let stub = stub.map_err(|source| BundleError::Stub { path: path.into(), source })?;
        Ok(Some(executable(format!("{FOLDER}/start"), Content::Bytes(stub))))
    }

    /// The path of the init, if the bundle has one.
    pub(super) fn init(&self) -> Option<String> {
        (self.keep.idle || self.keep.init).then(|| format!("/{FOLDER}/init"))
    }

    /// The files, with the folder that they are in. `taken` tells what there is already.
    pub(super) fn files(
        &self,
        list: Vec<u8>,
        taken: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<LayerFile>, BundleError> {
        let folder = |path: &str| LayerFile { path: path.into(), mode: 0o755, content: Content::Folder };
        let mut files = vec![folder(FOLDER)];
        for emulator in &self.emulators {
            files
                .push(executable(Self::emulator_path(&emulator.guest), Content::Copy(emulator.path.clone())));
        }
        if self.init().is_some() {
            let init = self.programs()?.init();
            let init = init.map_err(|source| BundleError::Stub { path: "init".into(), source })?;
            files.push(executable(format!("{FOLDER}/init"), Content::Bytes(init)));
        }
        if let Some(busybox) = &self.keep.shell {
            files.push(executable(format!("{FOLDER}/busybox"), Content::Copy(busybox.clone())));
            if !taken("bin") {
                files.push(folder("bin"));
            }
            // A program's own shell stays its shell.
            for name in ["bin/sh", "bin/busybox"] {
                if !taken(name) {
                    let content = Content::Link(format!("/{FOLDER}/busybox"));
                    files.push(LayerFile { path: name.into(), mode: 0o777, content });
                }
            }
        }
        let (path, content) = (format!("{FOLDER}/manifest.json"), Content::Bytes(list));
        files.push(LayerFile { path, mode: 0o644, content });
        Ok(files)
    }

    /// The manifest. It holds nothing that is not the same for everyone who has the same files.
    pub(super) fn list(
        &self,
        programs: &[ProgramEntry],
        libraries: Vec<&str>,
        image: Option<&str>,
    ) -> Result<Vec<u8>, BundleError> {
        let emulators = self.emulators.iter().map(|emulator| EmulatorEntry {
            guest: emulator.guest.clone(),
            path: format!("/{}", Self::emulator_path(&emulator.guest)),
            version: emulator.version.clone(),
            digest: format!("sha256:{}", emulator.sha256),
            source: built_by(&emulator.path),
            cpu: self.cpu(&emulator.guest).map(str::to_owned),
        });
        let manifest = Manifest {
            version: VERSION,
            host: self.host.name.clone(),
            platform: self.host.platform.to_string(),
            target: self.target.as_ref().map(|target| target.name.as_str()),
            emulators: emulators.collect(),
            programs,
            libraries,
            image,
        };
        let mut list =
            serde_json::to_vec_pretty(&manifest).map_err(|source| BundleError::Manifest { source })?;
        list.push(b'\n');
        Ok(list)
    }

    /// The labels that say what is in the image.
    pub(super) fn labels(&self) -> HashMap<String, String> {
        let mut found = HashMap::from([(labels::MANIFEST.to_owned(), format!("/{FOLDER}/manifest.json"))]);
        if let Some(target) = &self.target {
            found.insert(labels::TARGET.into(), target.name.clone());
        }
        found.insert(labels::HOST.into(), self.host.name.clone());
        if let Some(emulator) = self.emulators.first() {
            found.insert(labels::GUEST.into(), emulator.guest.clone());
            found.insert(labels::EXEC.into(), "stub".into());
            let path = format!("/{}", Self::emulator_path(&emulator.guest));
            found.insert(labels::EMULATOR.into(), path);
            found.insert(labels::EMULATOR_DIGEST.into(), format!("sha256:{}", emulator.sha256));
            if let Some(version) = &emulator.version {
                found.insert(labels::EMULATOR_VERSION.into(), version.clone());
            }
        }
        found
    }
}

fn executable(path: String, content: Content) -> LayerFile {
    LayerFile { path, mode: 0o755, content }
}

/// The name of a program that a stub stands for, beside it.
pub(super) fn beside(name: &str, number: usize) -> String {
    // Names end at 255 bytes.
    let end = (0..=name.len().min(230)).rev().find(|at| name.is_char_boundary(*at)).unwrap_or_default();
    let name = &name[..end];
    if number == 0 { format!(".{name}.guest") } else { format!(".{name}.guest{number}") }
}

/// Who built an emulator, as it says itself: `Debian 1:7.2+dfsg-7+deb12u18`. It stands beside its version, in brackets.
fn built_by(path: &Path) -> Option<String> {
    const MARK: &[u8] = b" (Debian ";
    let mut reader = BufReader::new(File::open(path).ok()?.take(EMULATOR));
    let (mut buffer, mut window) = (vec![0; 1 << 16], Vec::new());
    loop {
        let count = reader.read(&mut buffer).ok().filter(|count| *count > 0)?;
        window.extend_from_slice(&buffer[..count]);
        if let Some(at) = memchr::memmem::find(&window, MARK) {
            let rest = &window[at + 2..];
            if let Some(end) = rest.iter().take(100).position(|byte| *byte == b')') {
                let text = std::str::from_utf8(&rest[..end]).ok()?;
                return text.chars().all(|c| c.is_ascii_graphic() || c == ' ').then(|| text.to_owned());
            }
        }
        // The mark and what follows may lie across two reads.
        let keep = window.len().saturating_sub(200);
        window.drain(..keep);
    }
}
