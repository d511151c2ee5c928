//! What is checked: an image, a root file system, or files alone.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{InputKind, Layer};
use crate::elf::{Identity, Kind, Reader, Script, kind};
use crate::target::Platform;
use crate::tree::root::{Executable, Listed};
use crate::tree::{Content, Record, by_name};

/// One thing that is checked.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The input, as it was given.
    pub input: OsString,
    /// What the input is.
    pub kind: InputKind,
    /// The files, as programs in it see them; `None` for files alone.
    pub root: Option<&'a dyn Listed>,
    /// All regular files, or the programs among them where there is no root.
    pub files: Vec<File>,
    /// What the image says of itself.
    pub image: Option<ImageFacts>,
}

/// What an image says of itself.
#[derive(Debug, Clone, Default)]
pub struct ImageFacts {
    /// The platform by which an index lists it, as it stands there.
    pub listed: Option<Platform>,
    /// The config's platform, as it stands there.
    pub config: Option<Platform>,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
    /// Entry point and command: what is run.
    pub command: Vec<String>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// The working directory; empty for `/`.
    pub workdir: String,
    /// `USER[:GROUP]`; empty for root.
    pub user: String,
    /// Labels.
    pub labels: Vec<(String, String)>,
}

impl ImageFacts {
    /// The value of an environment variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let lines = self.env.iter().filter_map(|line| line.split_once('='));
        lines.rev().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// One file.
#[derive(Debug)]
pub struct File {
    /// As [`Finding::path`](super::Finding::path).
    pub path: PathBuf,
    /// The permission bits; all of them for files alone, of which nobody knows how they will be installed.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// The layer that it is from, counted from 0.
    pub layer: Option<usize>,
    /// Its first bytes (`e_ident`, where it is an ELF file), where it may be executed or loaded and has as many.
    pub head: Option<[u8; 16]>,
    /// What it is.
    pub what: What,
}

/// What a file is.
#[derive(Debug)]
pub enum What {
    /// An ELF file.
    Elf(Arc<Identity>),
    /// An ELF file that cannot be read, and why.
    Damaged(String),
    /// A script.
    Script(Script),
    /// For macOS; the architectures.
    MachO(Vec<String>),
    /// For Windows; the machine.
    Pe(String),
    /// Nothing that is executed or loaded.
    Other,
}

impl File {
    /// The ELF file that it is.
    pub(super) fn elf(&self) -> Option<&Arc<Identity>> {
        match &self.what {
            What::Elf(identity) => Some(identity),
            _ => None,
        }
    }

    /// Whether anybody may execute it.
    pub(super) fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }

    /// Reads the first bytes of a file of this machine.
    pub(super) fn read_head(&mut self) {
        use std::io::Read as _;
        let Ok(mut file) = std::fs::File::open(&self.path) else { return };
        let mut head = [0; 16];
        // Only what was found to be a regular file is a program.
        self.head = file.read_exact(&mut head).is_ok().then_some(head);
    }

    pub(super) fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// All files of a root.
pub(super) fn files_of(root: &dyn Listed) -> Vec<File> {
    let mut files = Vec::new();
    root.files(&mut |listing| {
        let (what, head) = listing.executable.map_or((What::Other, None), |executable| {
            (what(executable), executable.head.first_chunk().copied())
        });
        files.push(File {
            path: listing.path,
            mode: listing.mode,
            size: listing.size,
            layer: listing.layer,
            head,
            what,
        });
    });
    files.sort_by(|a, b| by_name(a.path.as_os_str().as_bytes(), b.path.as_os_str().as_bytes()));
    files
}

fn what(executable: &Executable) -> What {
    match &executable.elf {
        Some(Ok(identity)) => return What::Elf(Arc::clone(identity)),
        Some(Err(problem)) => return What::Damaged(problem.clone()),
        None => {}
    }
    match kind(&mut Reader::memory(&executable.head)) {
        Ok(Kind::Script(script)) => What::Script(script),
        Ok(Kind::MachO { architectures }) => What::MachO(architectures),
        Ok(Kind::Pe { machine }) => What::Pe(machine),
        _ => What::Other,
    }
}

/// Files that are in no root.
pub(super) fn files_alone(records: Vec<Record>) -> Vec<File> {
    let file = |record: Record| {
        let what = match record.content {
            Content::Elf(identity) => What::Elf(Arc::from(identity)),
            Content::Script(script) => What::Script(script),
            Content::MachO(architectures) => What::MachO(architectures),
            Content::Pe(machine) => What::Pe(machine),
            Content::Error { message } => What::Damaged(message),
        };
        File { path: record.path.into(), mode: 0o777, size: 0, layer: None, head: None, what }
    };
    let mut files: Vec<File> = records.into_iter().map(file).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Whether a folder is a root file system, by the folders in it.
pub(super) fn is_root(has: impl Fn(&Path) -> bool) -> bool {
    ["bin", "lib", "usr", "etc"].iter().any(|name| has(Path::new(name)))
}
