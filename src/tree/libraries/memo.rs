//! What the searches for many programs' libraries have in common.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::cache;
use super::loader::{Loader, LoaderKind, split};
use super::search::MOST_PATHS;
use super::settled::Known;
use crate::elf::Identity;
use crate::target::Endianness;
use crate::tree::root::{Found, Root, resolve};

/// The names of a cache, with all paths of each.
type Names = HashMap<String, Vec<PathBuf>>;

/// Loaders by the name that programs have for them and where they really are; `None` where it is of no known kind.
type Loaders = HashMap<(String, PathBuf), Option<Rc<Loader>>>;

/// What is known of the libraries of programs, by loader, machine, word size, byte order and `LD_LIBRARY_PATH`.
type Kinds = HashMap<(String, (u16, u8, Endianness), Option<String>), Rc<RefCell<Known>>>;

/// What is at a path, for a loader.
#[derive(Debug, Clone)]
pub(super) enum Candidate {
    /// Nothing that it would look at.
    None,
    /// Something that is no library.
    Damaged { path: PathBuf, problem: String },
    /// An ELF file, which really is at `path`.
    Elf { path: PathBuf, identity: Arc<Identity> },
}

/// A root file system, with the loaders and caches in it that were read before.
#[derive(Debug)]
pub struct Memo<'a> {
    root: &'a dyn Root,
    loaders: RefCell<Loaders>,
    caches: RefCell<HashMap<Endianness, Option<Rc<Names>>>>,
    last: RefCell<HashMap<PathBuf, Rc<[PathBuf]>>>,
    candidates: RefCell<HashMap<PathBuf, Candidate>>,
    interpreters: RefCell<HashMap<PathBuf, Option<Found>>>,
    /// Which records of needed versions libraries satisfy: by who needs them, the record's number, and who has them. What is at a
    /// path stays in memory (`candidates`), so that its address stands for it.
    satisfied: RefCell<HashSet<(usize, usize, usize)>>,
    kinds: RefCell<Kinds>,
}

impl<'a> Memo<'a> {
    /// Of `root`, which must not change meanwhile.
    #[must_use]
    pub fn new(root: &'a dyn Root) -> Self {
        Self {
            root,
            loaders: RefCell::default(),
            caches: RefCell::default(),
            last: RefCell::default(),
            candidates: RefCell::default(),
            interpreters: RefCell::default(),
            satisfied: RefCell::default(),
            kinds: RefCell::default(),
        }
    }

    /// The root file system.
    #[must_use]
    pub fn root(&self) -> &'a dyn Root {
        self.root
    }

    /// What programs name as their loader, as seen from `cwd`.
    pub(super) fn interpreter(&self, cwd: &Path, interpreter: &str) -> Option<Found> {
        let absolute = cwd.join(interpreter);
        if let Some(known) = self.interpreters.borrow().get(&absolute) {
            return known.clone();
        }
        let found = resolve(self.root, cwd, Path::new(interpreter)).ok();
        self.interpreters.borrow_mut().insert(absolute, found.clone());
        found
    }

    /// What is known of the libraries of programs like `program`; `new` begins it.
    pub(super) fn known(
        &self,
        interpreter: &str,
        program: &Identity,
        library_path: Option<&str>,
        new: impl FnOnce() -> Known,
    ) -> Rc<RefCell<Known>> {
        let kin = (program.machine_id, program.class, program.endianness);
        let key = (interpreter.to_owned(), kin, library_path.map(str::to_owned));
        Rc::clone(self.kinds.borrow_mut().entry(key).or_insert_with(|| Rc::new(RefCell::new(new()))))
    }

    /// Whether `library` is known to have all versions that record number `record` of the library `by` needs.
    pub(super) fn is_satisfied(&self, by: &Arc<Identity>, record: usize, library: &Arc<Identity>) -> bool {
        self.satisfied.borrow().contains(&key(by, record, library))
    }

    pub(super) fn satisfy(&self, by: &Arc<Identity>, record: usize, library: &Arc<Identity>) {
        self.satisfied.borrow_mut().insert(key(by, record, library));
    }

    /// The loader that programs name as `interpreter`, which really is at `path`.
    pub(super) fn loader(&self, interpreter: &str, path: &Path) -> Option<Rc<Loader>> {
        let key = (interpreter.to_owned(), path.to_owned());
        if let Some(known) = self.loaders.borrow().get(&key) {
            return known.clone();
        }
        let loader = Loader::read(self.root, interpreter, path).map(Rc::new);
        self.loaders.borrow_mut().insert(key, loader.clone());
        loader
    }

    /// glibc's cache, as a loader of that byte order reads it.
    pub(super) fn cache(&self, order: Endianness) -> Option<Rc<Names>> {
        if let Some(known) = self.caches.borrow().get(&order) {
            return known.clone();
        }
        let names = cache::read(self.root, order).map(|entries| {
            let mut names = Names::new();
            for (name, path) in entries {
                names.entry(name).or_default().push(path);
            }
            Rc::new(names)
        });
        self.caches.borrow_mut().insert(order, names.clone());
        names
    }

    /// The folders that a loader searches in the end: its own, or those of musl's file.
    pub(super) fn last(&self, loader: &Loader) -> Rc<[PathBuf]> {
        if let Some(known) = self.last.borrow().get(&loader.path) {
            return Rc::clone(known);
        }
        let last: Rc<[PathBuf]> = match &loader.kind {
            LoaderKind::Glibc => loader.folders.clone().into(),
            LoaderKind::Musl(file) => {
                let named = resolve(self.root, Path::new("/"), file).ok();
                let text = named.and_then(|found| self.root.read(&found.path, MOST_PATHS).ok());
                let named = text.map(|text| split(&String::from_utf8_lossy(&text)));
                named.unwrap_or_else(|| loader.folders.clone()).into()
            }
        };
        self.last.borrow_mut().insert(loader.path.clone(), Rc::clone(&last));
        last
    }

    /// What is at `path`, as seen from `cwd`.
    pub(super) fn candidate(&self, cwd: &Path, path: &Path) -> Candidate {
        let absolute = cwd.join(path);
        if let Some(known) = self.candidates.borrow().get(&absolute) {
            return known.clone();
        }
        let candidate = self.look(&absolute);
        self.candidates.borrow_mut().insert(absolute, candidate.clone());
        candidate
    }

    fn look(&self, path: &Path) -> Candidate {
        let found = resolve(self.root, Path::new("/"), path).ok().filter(|found| found.node.is_file());
        let Some(found) = found else { return Candidate::None };
        let damaged = |problem: String| Candidate::Damaged { path: found.path.clone(), problem };
        match self.root.executable(&found.path) {
            Err(err) => damaged(format!("it cannot be read: {err}")),
            Ok(file) => match file.elf {
                Some(Ok(identity)) => Candidate::Elf { path: found.path, identity },
                Some(Err(problem)) => damaged(problem),
                None if found.node.size == 0 => damaged("it is empty".into()),
                None => damaged("it is no ELF file".into()),
            },
        }
    }
}

fn key(by: &Arc<Identity>, record: usize, library: &Arc<Identity>) -> (usize, usize, usize) {
    (Arc::as_ptr(by).addr(), record, Arc::as_ptr(library).addr())
}
