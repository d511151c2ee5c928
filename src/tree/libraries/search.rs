//! Where a loader looks for a library.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::Reason;
use super::cache;
use super::loader::{Loader, LoaderKind};
use super::memo::{Candidate, Memo};
use crate::elf::Identity;

/// How much of musl's file of folders is read, in bytes.
pub(super) const MOST_PATHS: u64 = 1 << 16;

/// Something that is loaded: the program or a library.
#[derive(Debug)]
pub(super) struct Object {
    /// Where it really is.
    pub(super) path: PathBuf,
    /// Where the loader looks for it.
    pub(super) asked: PathBuf,
    pub(super) identity: Arc<Identity>,
    /// Which of the objects had it loaded.
    pub(super) parent: Option<usize>,
}

/// The search for one program's libraries.
#[derive(Debug)]
pub(super) struct Search<'a> {
    memo: &'a Memo<'a>,
    loader: &'a Loader,
    library_path: Vec<PathBuf>,
    cwd: &'a Path,
    program: &'a Identity,
    /// What names are loaded, and where it really is; `None` where it was not found.
    names: HashMap<String, Option<PathBuf>>,
    /// The loader's last folders.
    last: Rc<[PathBuf]>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        memo: &'a Memo<'a>,
        loader: &'a Loader,
        library_path: Option<&str>,
        cwd: &'a Path,
        program: &'a Identity,
    ) -> Self {
        let last = memo.last(loader);
        let separators: &[char] = if loader.kind == LoaderKind::Glibc { &[':', ';'] } else { &[':', '\n'] };
        // An empty part is the working directory.
        let library_path = library_path.filter(|list| !list.is_empty()).map_or_else(Vec::new, |list| {
            list.split(separators).map(|part| if part.is_empty() { "." } else { part }.into()).collect()
        });
        Self { memo, loader, library_path, cwd, program, names: HashMap::new(), last }
    }

    pub(super) fn loaded(&mut self, name: &str, path: PathBuf) {
        self.names.entry(name.to_owned()).or_insert(Some(path));
    }

    pub(super) fn failed(&mut self, name: &str) {
        self.names.insert(name.to_owned(), None);
    }

    pub(super) fn is_loaded(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    pub(super) fn path_of(&self, name: &str) -> Option<&PathBuf> {
        self.names.get(name)?.as_ref()
    }

    /// The library `name`, which object number `by` asks for; `None` where the loader is it itself.
    pub(super) fn find(&self, name: &str, by: usize, objects: &[Object]) -> Result<Option<Object>, Reason> {
        if self.is_loader_itself(name) {
            return Ok(None);
        }
        let mut foreign = None;
        let mut try_path = |path: &Path| self.candidate(path, by, &mut foreign);
        let origin = |object: &Object| object.path.parent().unwrap_or(Path::new("/")).to_owned();
        if name.contains('/') {
            for path in self.expanded(name, objects.get(by).map(origin).as_deref()) {
                if let Some(found) = try_path(&path) {
                    return found.map(Some);
                }
            }
            let searched = vec![name.into()];
            return Err(foreign.map_or(Reason::Missing { searched }, |path| Reason::Foreign { path }));
        }
        let mut searched: Vec<PathBuf> = Vec::new();
        let mut look = |folders: Vec<PathBuf>| {
            for folder in folders {
                if let Some(found) = try_path(&folder.join(name)) {
                    return Some(found);
                }
                if !searched.contains(&folder) {
                    searched.push(folder);
                }
            }
            None
        };
        let lists = self.lists(by, objects);
        let (before, after) = match self.loader.kind {
            LoaderKind::Glibc => (lists, Vec::new()),
            LoaderKind::Musl(_) => (lists, self.last.to_vec()),
        };
        if let Some(found) = look(before).or_else(|| look(after)) {
            return found.map(Some);
        }
        if self.loader.kind == LoaderKind::Glibc {
            let cache = self.memo.cache(self.program.endianness);
            for path in cache.iter().filter_map(|cache| cache.get(name)).flatten() {
                if let Some(found) = try_path(path) {
                    return found.map(Some);
                }
            }
            let mut look = |folders: &[PathBuf]| {
                folders.iter().find_map(|folder| {
                    if !searched.contains(folder) {
                        searched.push(folder.clone());
                    }
                    try_path(&folder.join(name))
                })
            };
            if let Some(found) = look(&self.last) {
                return found.map(Some);
            }
            // Not what the loader does, but what its user may believe it does.
            for folder in cache::configured(self.memo.root()) {
                let path = folder.join(name);
                if let Some(Ok(_)) = self.candidate(&path, by, &mut None) {
                    return Err(Reason::NotInCache { path });
                }
            }
        }
        Err(foreign.map_or(Reason::Missing { searched }, |path| Reason::Foreign { path }))
    }

    /// musl's loader is its C library too, and takes these names for itself.
    fn is_loader_itself(&self, name: &str) -> bool {
        const OWN: &[&str] = &["c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet."];
        let own = |rest: &str| OWN.iter().any(|own| rest.starts_with(own));
        matches!(self.loader.kind, LoaderKind::Musl(_)) && name.strip_prefix("lib").is_some_and(own)
    }

    /// The folders that come before the system's own.
    fn lists(&self, by: usize, objects: &[Object]) -> Vec<PathBuf> {
        let of = |list: &Option<String>, object: &Object| -> Vec<PathBuf> {
            let origin = object.path.parent().unwrap_or(Path::new("/"));
            let parts = list.iter().flat_map(|list| list.split(':')).filter(|part| !part.is_empty());
            parts.flat_map(|part| self.expanded(part, Some(origin))).collect()
        };
        let chain = std::iter::successors(objects.get(by), |object| objects.get(object.parent?));
        let mut folders = Vec::new();
        match self.loader.kind {
            LoaderKind::Glibc => {
                let own = objects.get(by);
                // What asks for it has a run path of the newer kind: then no older one counts, of whichever object.
                if own.is_none_or(|own| own.identity.runpath.is_none()) {
                    for object in chain.filter(|object| object.identity.runpath.is_none()) {
                        folders.extend(of(&object.identity.rpath, object));
                    }
                }
                folders.extend(self.library_path.clone());
                folders.extend(own.map(|own| of(&own.identity.runpath, own)).unwrap_or_default());
            }
            LoaderKind::Musl(_) => {
                folders.extend(self.library_path.clone());
                // Both kinds are one to musl, and those of all that asked for what asks count.
                for object in chain {
                    let identity = &object.identity;
                    folders.extend(of(
                        if identity.runpath.is_some() { &identity.runpath } else { &identity.rpath },
                        object,
                    ));
                }
            }
        }
        folders
    }

    /// A path with the loader's own variables filled in. `$LIB` is what the loader's folders are called.
    fn expanded(&self, path: &str, origin: Option<&Path>) -> Vec<PathBuf> {
        let origin = origin.map(|origin| origin.display().to_string()).unwrap_or_default();
        let path = path.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin);
        if !path.contains("$LIB") && !path.contains("${LIB}") {
            return vec![path.into()];
        }
        let mut names: Vec<&str> = self
            .loader
            .folders
            .iter()
            .filter_map(|folder| folder.to_str())
            .map(|folder| folder.strip_prefix("/usr").unwrap_or(folder).trim_start_matches('/'))
            .collect();
        names.dedup();
        names.iter().map(|name| path.replace("${LIB}", name).replace("$LIB", name).into()).collect()
    }

    /// What is at `path`, if the loader takes it; one for another machine is kept in `foreign`.
    fn candidate(
        &self,
        path: &Path,
        by: usize,
        foreign: &mut Option<PathBuf>,
    ) -> Option<Result<Object, Reason>> {
        let asked = self.cwd.join(path);
        let (path, identity) = match self.memo.candidate(self.cwd, path) {
            Candidate::None => return None,
            Candidate::Damaged { path, problem } => return Some(Err(Reason::Damaged { path, problem })),
            Candidate::Elf { path, identity } => (path, identity),
        };
        let is_same = identity.machine_id == self.program.machine_id
            && identity.class == self.program.class
            && identity.endianness == self.program.endianness;
        if !is_same {
            let first = foreign.get_or_insert(path).clone();
            // musl takes the first of the name, and fails if it does not fit.
            let is_final = matches!(self.loader.kind, LoaderKind::Musl(_));
            return is_final.then_some(Err(Reason::Foreign { path: first }));
        }
        if !identity.is_loadable {
            let problem = identity.problems.first().cloned().unwrap_or_else(|| "it is cut short".into());
            return Some(Err(Reason::Damaged { path, problem }));
        }
        Some(Ok(Object { path, asked, identity, parent: Some(by) }))
    }
}
