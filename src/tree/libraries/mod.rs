//! Which libraries a program's loader finds in a root file system, and which it does not.
//!
//! How a loader searches is told by the loader itself: glibc's carries the folders that it was built for, and so does
//! musl's, so that no list of architectures is needed. A loader that is neither is not judged ([`Closure::loader`]).
//!
//! Sources: ld.so(8), glibc's `elf/dl-load.c`, `elf/dl-cache.c` and `elf/dl-version.c`; musl's `ldso/dynlink.c`.

mod cache;
mod loader;
mod memo;
mod search;
mod settled;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use loader::Loader;
pub use memo::Memo;
pub use settled::{Loaded, Settled, settle};

use super::root::Root;
use crate::elf::Identity;
use search::Object;

/// How many libraries of one program are looked at.
const MOST: usize = 4096;

/// What a program needs besides itself, as far as its loader finds it.
#[derive(Debug, Default)]
pub struct Closure {
    /// The loader, by whose rules was searched; `None` where it is of a kind that is not known, and nothing was judged.
    pub loader: Option<Loader>,
    /// The libraries that are found: the name that was asked for, and where it really is.
    pub found: Vec<(String, PathBuf)>,
    /// The paths by which the loader and the libraries are opened, in the order of [`found`](Self::found) after the loader's.
    pub asked: Vec<PathBuf>,
    /// What is not right.
    pub lacks: Vec<Lack>,
}

/// A library that a loader does not find, or that does not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The name that is asked for.
    pub name: String,
    /// What asks for it.
    pub needed_by: PathBuf,
    /// What is wrong.
    pub reason: Reason,
}

/// Why a library does not do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It is in none of the folders that are searched.
    Missing {
        /// Those folders.
        searched: Vec<PathBuf>,
    },
    /// It is there for another machine only.
    Foreign {
        /// Where.
        path: PathBuf,
    },
    /// It is in a folder that `/etc/ld.so.conf` names, and not in the cache that the loader reads instead.
    NotInCache {
        /// Where.
        path: PathBuf,
    },
    /// It has not the version of a symbol that is needed.
    Version {
        /// The library.
        path: PathBuf,
        /// The version that is needed.
        version: String,
        /// The highest version of the same kind that it has.
        highest: Option<String>,
    },
    /// It is no library that can be read.
    Damaged {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// What `program`, which really is at that path and says `identity` of itself, needs in `root`. `library_path` is its
/// `LD_LIBRARY_PATH`; `cwd` its working directory.
#[must_use]
pub fn closure(
    root: &dyn Root,
    program: &Path,
    identity: &Arc<Identity>,
    library_path: Option<&str>,
    cwd: &Path,
) -> Closure {
    let interpreter = identity.interpreter.as_deref();
    closure_by(&Memo::new(root), program, identity, interpreter, library_path, cwd)
}

/// The same for one of many objects of a root file system, loaded by `interpreter`: a library names none itself.
#[must_use]
pub fn closure_by(
    memo: &Memo<'_>,
    program: &Path,
    identity: &Arc<Identity>,
    interpreter: Option<&str>,
    library_path: Option<&str>,
    cwd: &Path,
) -> Closure {
    let root = memo.root();
    let mut closure = Closure::default();
    let Some(interpreter) = interpreter else { return closure };
    let Some(found) = memo.interpreter(cwd, interpreter) else { return closure };
    let Some(loader) = memo.loader(interpreter, &found.path) else { return closure };
    let mut search = search::Search::new(memo, &loader, library_path, cwd, identity);
    search.loaded(interpreter, found.path.clone());
    closure.asked.push(cwd.join(interpreter));
    if let Ok(file) = root.executable(&found.path)
        && let Some(Ok(own)) = file.elf
        && let Some(soname) = &own.soname
    {
        search.loaded(soname, found.path.clone());
    }

    let mut objects = vec![Object {
        path: program.to_owned(),
        asked: program.to_owned(),
        identity: Arc::clone(identity),
        parent: None,
    }];
    let mut queue = VecDeque::from([0]);
    while let Some(at) = queue.pop_front() {
        let needed = objects[at].identity.needed.clone().unwrap_or_default();
        for name in needed {
            let by = objects[at].path.clone();
            if !search.is_loaded(&name) {
                match search.find(&name, at, &objects) {
                    Ok(None) => {}
                    Ok(Some(object)) => {
                        search.loaded(&name, object.path.clone());
                        if let Some(soname) = &object.identity.soname {
                            search.loaded(soname, object.path.clone());
                        }
                        closure.found.push((name.clone(), object.path.clone()));
                        closure.asked.push(object.asked.clone());
                        if objects.len() < MOST {
                            queue.push_back(objects.len());
                            objects.push(object);
                        }
                    }
                    Err(reason) => {
                        // Told once, for whichever needs it first.
                        search.failed(&name);
                        closure.lacks.push(Lack { name, needed_by: by, reason });
                    }
                }
            }
        }
    }
    if loader.checks_versions() {
        closure.lacks.extend(versions(&objects, &search, memo));
    }
    closure.loader = Some(Loader::clone(&loader));
    closure
}

/// Versions of symbols that are needed of libraries which do not have them: the highest of each kind for each library.
fn versions(objects: &[Object], search: &search::Search<'_>, memo: &Memo<'_>) -> Vec<Lack> {
    let mut lacks: Vec<Lack> = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        for (record, (name, needed)) in object.identity.versions.iter().enumerate() {
            let Some(path) = search.path_of(name) else { continue };
            let Some(library) = objects.iter().find(|object| object.path.as_os_str() == path.as_os_str())
            else {
                continue;
            };
            // The first is the program, which is another each time.
            let is_library = number > 0;
            if is_library && memo.is_satisfied(&object.identity, record, &library.identity) {
                continue;
            }
            let provided = &library.identity.provided;
            // Without any versions at all the loader but warns.
            if provided.is_empty() {
                continue;
            }
            let Some(version) =
                needed.iter().filter(|version| !provided.contains(version)).max_by(|a, b| compare(a, b))
            else {
                if is_library {
                    memo.satisfy(&object.identity, record, &library.identity);
                }
                continue;
            };
            let kind = kind(version);
            let highest =
                provided.iter().filter(|have| self::kind(have) == kind).max_by(|a, b| compare(a, b));
            let reason =
                Reason::Version { path: path.clone(), version: version.clone(), highest: highest.cloned() };
            if !lacks.iter().any(|lack| lack.name == *name && lack.needed_by == object.path) {
                lacks.push(Lack { name: name.clone(), needed_by: object.path.clone(), reason });
            }
        }
    }
    lacks
}

/// `GLIBC` of `GLIBC_2.34`; private ones are of a kind of their own.
fn kind(version: &str) -> &str {
    version
        .rsplit_once('_')
        .filter(|(_, number)| number.starts_with(|first: char| first.is_ascii_digit()))
        .map_or(version, |(kind, _)| kind)
}

/// By numbers: `GLIBC_2.4` comes before `GLIBC_2.34`.
fn compare(a: &str, b: &str) -> std::cmp::Ordering {
    let numbers = |version: &str| -> Vec<u64> {
        version
            .rsplit('_')
            .next()
            .unwrap_or_default()
            .split('.')
            .map(|part| part.parse().unwrap_or(0))
            .collect()
    };
    numbers(a).cmp(&numbers(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number_within_their_kind() {
        assert_eq!(kind("GLIBC_2.34"), "GLIBC");
        assert_eq!(kind("GLIBC_PRIVATE"), "GLIBC_PRIVATE");
        assert_eq!(kind("CXXABI_1.3.9"), "CXXABI");
        assert!(compare("GLIBC_2.4", "GLIBC_2.34").is_lt());
        assert!(compare("GLIBC_2.2.5", "GLIBC_2.2").is_gt());
    }
}
