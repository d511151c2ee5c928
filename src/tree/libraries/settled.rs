//! Programs whose libraries are all found and do, told without looking for each of them once more.
//!
//! What a loader finds for a name depends on what was loaded before, and on the folders of whoever asks. Where every library is
//! loaded by its own name, nobody passes folders on to others, and a name leads to one place whoever asks for it, it depends on
//! neither: then what is known of a library holds for each program that loads it. So it is nearly everywhere. All else is left to
//! [`closure_by`](super::closure_by), which gives the same where this gives anything.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::loader::{Loader, LoaderKind};
use super::memo::Memo;
use super::search::{Object, Search};
use crate::elf::Identity;

/// How deep libraries that load each other are followed.
const DEEPEST: usize = 64;

/// All that a program needs is found, and does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The float ABIs of all that is loaded, each once.
    pub float_abis: Vec<String>,
}

/// The libraries that programs load, of which [`settle`] told.
#[derive(Debug, Default)]
pub struct Loaded {
    paths: HashSet<PathBuf>,
}

impl Loaded {
    /// Whether the library that really is at `path` is among them.
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        self.paths.contains(path)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.paths.len()
    }
}

/// Where a name leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lead {
    /// To the loader, which is loaded already.
    Loader,
    /// To a library, by its number.
    Library(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// It is being looked at.
    Open,
    Settled,
    /// It depends on who loads it, or something does not do.
    Unsettled,
}

#[derive(Debug)]
struct Library {
    path: PathBuf,
    identity: Arc<Identity>,
    state: State,
    /// What it asks for.
    needed: Vec<usize>,
    /// Those of all that is loaded with it, its own among them.
    float_abis: Vec<String>,
}

/// What is known of the libraries that one loader finds for programs of one kind.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// `None` where there is none of a known kind, so that nothing is judged.
    loader: Option<Rc<Loader>>,
    /// Where each name leads that was asked for, whoever asked first.
    leads: HashMap<String, Lead>,
    /// The same for who has no folders of its own; `None` where it leads nowhere.
    usual: HashMap<String, Option<Lead>>,
    numbers: HashMap<PathBuf, usize>,
    libraries: Vec<Library>,
}

/// Whether all that `program` needs is found by `interpreter` and does, as [`closure_by`](super::closure_by) would find; `None` where
/// only that can tell. The libraries are added to `into`.
#[must_use]
pub fn settle(
    memo: &Memo<'_>,
    program: &Path,
    identity: &Arc<Identity>,
    interpreter: &str,
    library_path: Option<&str>,
    into: Option<&mut Loaded>,
) -> Option<Settled> {
    let known = memo.known(interpreter, identity, library_path, || Known::new(memo, interpreter));
    let mut known = known.borrow_mut();
    let Some(loader) = known.loader.clone() else { return Some(Settled { float_abis: Vec::new() }) };
    let search = Search::new(memo, &loader, library_path, Path::new("/"), identity);
    let needed = known.hold(&search, &loader, program, identity, 0)?;
    let mut float_abis = Vec::new();
    for number in &needed {
        merge(&mut float_abis, &known.libraries[*number].float_abis);
    }
    if let Some(into) = into {
        known.mark(needed, &mut into.paths);
    }
    Some(Settled { float_abis })
}

impl Known {
    fn new(memo: &Memo<'_>, interpreter: &str) -> Self {
        let mut known = Self::default();
        let Some(found) = memo.interpreter(Path::new("/"), interpreter) else { return known };
        known.loader = memo.loader(interpreter, &found.path);
        known.leads.insert(interpreter.to_owned(), Lead::Loader);
        if let Ok(file) = memo.root().executable(&found.path)
            && let Some(Ok(own)) = &file.elf
            && let Some(soname) = &own.soname
        {
            known.leads.insert(soname.clone(), Lead::Loader);
        }
        known
    }

    /// What `identity`, which is at `path`, asks for, if all of that and what it loads in turn does.
    fn hold(
        &mut self,
        search: &Search<'_>,
        loader: &Loader,
        path: &Path,
        identity: &Arc<Identity>,
        depth: usize,
    ) -> Option<Vec<usize>> {
        let passes_on = match loader.kind {
            LoaderKind::Glibc => identity.rpath.is_some() && identity.runpath.is_none(),
            LoaderKind::Musl(_) => identity.rpath.is_some() || identity.runpath.is_some(),
        };
        if passes_on || depth > DEEPEST {
            return None;
        }
        let mut numbers = Vec::new();
        for name in identity.needed.iter().flatten() {
            match self.lead(search, path, identity, name)? {
                Lead::Loader => {}
                Lead::Library(number) => {
                    if !self.is_settled(search, loader, number, depth) {
                        return None;
                    }
                    numbers.push(number);
                }
            }
        }
        let has_versions = !loader.checks_versions() || self.has_versions(identity);
        has_versions.then_some(numbers)
    }

    fn is_settled(&mut self, search: &Search<'_>, loader: &Loader, number: usize, depth: usize) -> bool {
        let library = &mut self.libraries[number];
        match library.state {
            State::Settled => return true,
            State::Open | State::Unsettled => return false,
            State::New => library.state = State::Open,
        }
        let (path, identity) = (library.path.clone(), Arc::clone(&library.identity));
        let needed = self.hold(search, loader, &path, &identity, depth + 1);
        let is_settled = needed.is_some();
        let needed = needed.unwrap_or_default();
        let mut float_abis: Vec<String> = identity.float_abi.iter().cloned().collect();
        for number in &needed {
            merge(&mut float_abis, &self.libraries[*number].float_abis);
        }
        let state = if is_settled { State::Settled } else { State::Unsettled };
        self.libraries[number] = Library { path, identity, state, needed, float_abis };
        is_settled
    }

    /// Where `name` leads for who asks, if it leads there for everybody.
    fn lead(&mut self, search: &Search<'_>, by: &Path, identity: &Arc<Identity>, name: &str) -> Option<Lead> {
        let known = self.leads.get(name).copied();
        if known == Some(Lead::Loader) {
            return known;
        }
        let is_usual = identity.rpath.is_none() && identity.runpath.is_none();
        if is_usual && let Some(lead) = self.usual.get(name) {
            return lead.filter(|lead| known == Some(*lead));
        }
        let lead = self.find(search, by, identity, name);
        if is_usual {
            self.usual.insert(name.to_owned(), lead);
        }
        let lead = lead?;
        let first = *self.leads.entry(name.to_owned()).or_insert(lead);
        (first == lead).then_some(lead)
    }

    fn find(&mut self, search: &Search<'_>, by: &Path, identity: &Arc<Identity>, name: &str) -> Option<Lead> {
        // What has a slash is loaded under no name that another could ask for.
        if name.contains('/') {
            return None;
        }
        let object =
            Object { path: by.into(), asked: by.into(), identity: Arc::clone(identity), parent: None };
        let Some(found) = search.find(name, 0, &[object]).ok()? else { return Some(Lead::Loader) };
        if found.identity.soname.as_ref().is_some_and(|soname| soname != name) {
            return None;
        }
        let number = *self.numbers.entry(found.path.clone()).or_insert(self.libraries.len());
        if number == self.libraries.len() {
            let (path, identity) = (found.path, found.identity);
            let (state, needed, float_abis) = (State::New, Vec::new(), Vec::new());
            self.libraries.push(Library { path, identity, state, needed, float_abis });
        }
        Some(Lead::Library(number))
    }

    /// Whether what `identity` asks for has the versions of symbols that it needs.
    fn has_versions(&self, identity: &Identity) -> bool {
        identity.versions.iter().all(|(name, versions)| {
            let number = match self.leads.get(name) {
                Some(Lead::Library(number)) => *number,
                Some(Lead::Loader) => return true,
                None => return false,
            };
            // Whether anything else has loaded it is another question for each program.
            let is_asked_for = identity.needed.iter().flatten().any(|needed| needed == name);
            let provided = &self.libraries[number].identity.provided;
            is_asked_for && (provided.is_empty() || versions.iter().all(|version| provided.contains(version)))
        })
    }

    /// Adds the paths of libraries, and of all that they load, to `paths`.
    fn mark(&self, mut numbers: Vec<usize>, paths: &mut HashSet<PathBuf>) {
        while let Some(number) = numbers.pop() {
            let library = &self.libraries[number];
            if !paths.contains(&library.path) {
                paths.insert(library.path.clone());
                numbers.extend(&library.needed);
            }
        }
    }
}

fn merge(into: &mut Vec<String>, more: &[String]) {
    for one in more {
        if !into.contains(one) {
            into.push(one.clone());
        }
    }
}
