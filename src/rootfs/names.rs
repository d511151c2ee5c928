//! The names of a system that is put together from packages or a tar file: what each is, whose it is, and where an entry of a package goes.
//!
//! As dpkg: a link to a folder is kept where a package has a folder of that name, and the other way round; files go where the links
//! lead that stand in their way. Folders that are links to those of `/usr` in all of Debian (`/bin`, `/sbin`, `/lib*`) are such links here
//! from the start.

use std::collections::HashMap;

/// How many links may stand in a name's way.
const HOPS: usize = 40;

/// What a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Folder,
    Link(Vec<u8>),
    /// Anything else.
    File,
}

/// The names, and the packages that they came with, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Names {
    nodes: HashMap<Vec<u8>, (Node, usize)>,
}

/// What an entry of a package is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry<'a> {
    Folder,
    Link(&'a [u8]),
    File,
}

/// What becomes of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is written under this name.
    At(Vec<u8>),
    /// What is there is the same, or stays.
    Stays,
    /// Another package, of this number, has a file there.
    Taken { path: Vec<u8>, by: usize },
    /// Links lead in a circle, or a name is no name.
    Nowhere,
}

impl Names {
    /// The folders at the top that are links to those of `/usr`, for which a layer gets a link each: `bin`, `sbin`, `lib` and, where a
    /// package has one, `lib64` and the like.
    pub(super) fn is_merged(name: &[u8]) -> bool {
        name == b"bin"
            || name == b"sbin"
            || (name.starts_with(b"lib")
                && name[3..].iter().all(u8::is_ascii_alphanumeric)
                && name.len() <= 6)
    }

    /// Makes the link `name` at the top to the folder of that name in `/usr`, if nothing is there.
    pub(super) fn merge(&mut self, name: &[u8]) -> bool {
        if self.nodes.contains_key(name) {
            return false;
        }
        self.nodes.insert(name.to_vec(), (Node::Link([b"usr/", name].concat()), usize::MAX));
        true
    }

    /// Where an entry called `path` of the package `owner` goes. `replaces` says whether it takes a file from another package.
    pub(super) fn place(&mut self, path: &[u8], entry: Entry<'_>, owner: usize, replaces: bool) -> Place {
        let Some(path) = self.resolve(path) else { return Place::Nowhere };
        let node = match entry {
            Entry::Folder => Node::Folder,
            Entry::Link(target) => Node::Link(target.to_vec()),
            Entry::File => Node::File,
        };
        match self.nodes.get(&path) {
            None => {}
            // The first that has a folder tells its rights; base-files, which all folders of the base are in, comes first.
            Some((Node::Folder, _)) if matches!(entry, Entry::Folder | Entry::Link(_)) => {
                return Place::Stays;
            }
            Some((Node::Link(_), _)) if matches!(entry, Entry::Folder) => return Place::Stays,
            Some((Node::Link(there), by)) if *by == usize::MAX => {
                // A package that has the link itself gets its own, which is to lead to the same place.
                let same = matches!(entry, Entry::Link(target) if target.strip_prefix(b"/").unwrap_or(target) == there.as_slice());
                if !same {
                    return Place::Stays;
                }
            }
            Some((_, by)) if *by != owner && !replaces => return Place::Taken { path, by: *by },
            Some(_) => {}
        }
        self.nodes.insert(path.clone(), (node, owner));
        Place::At(path)
    }

    /// The name that `path` has when the links before its last part are followed; `None` where they lead nowhere.
    pub(super) fn resolve(&self, path: &[u8]) -> Option<Vec<u8>> {
        let mut hops = 0;
        let mut todo: Vec<Vec<u8>> = parts(path);
        todo.reverse();
        let mut found: Vec<Vec<u8>> = Vec::new();
        while let Some(part) = todo.pop() {
            if part == b".." {
                found.pop();
                continue;
            }
            found.push(part);
            if todo.is_empty() {
                break;
            }
            let here = found.join(&b'/');
            if let Some((Node::Link(target), _)) = self.nodes.get(&here) {
                hops += 1;
                if hops > HOPS {
                    return None;
                }
                found.pop();
                if target.starts_with(b"/") {
                    found.clear();
                }
                let mut more = parts(target);
                more.reverse();
                todo.extend(more);
            }
        }
        if found.is_empty() { None } else { Some(found.join(&b'/')) }
    }

    /// Whether there is anything at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        self.resolve(path.as_bytes()).is_some_and(|path| self.nodes.contains_key(&path))
    }
}

fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Place {
        Place::At(path.into())
    }

    #[test]
    fn what_is_merged_goes_to_usr() {
        let mut names = Names::default();
        for name in ["bin", "lib", "lib64"] {
            assert!(Names::is_merged(name.as_bytes()) && names.merge(name.as_bytes()));
        }
        assert!(!names.merge(b"bin"));
        for other in ["libexec", "binx", "usr", "etc", "lib-x"] {
            assert!(!Names::is_merged(other.as_bytes()), "{other}");
        }
        assert_eq!(names.place(b"./bin/", Entry::Folder, 1, false), Place::Stays);
        assert_eq!(names.place(b"./bin/sh", Entry::Link(b"dash"), 1, false), at("usr/bin/sh"));
        assert_eq!(names.place(b"./lib64/ld.so", Entry::File, 1, false), at("usr/lib64/ld.so"));
        // A package may have the link itself, and nothing else there.
        assert_eq!(names.place(b"./bin", Entry::Link(b"usr/bin"), 1, false), at("bin"));
        assert_eq!(names.place(b"./lib", Entry::Link(b"elsewhere"), 1, false), Place::Stays);
        let taken = Place::Taken { path: b"usr/bin/sh".to_vec(), by: 1 };
        assert_eq!(names.place(b"usr/bin/sh", Entry::File, 2, false), taken);
        assert_eq!(names.place(b"usr/bin/sh", Entry::File, 2, true), at("usr/bin/sh"));
    }

    #[test]
    fn folders_and_links_stay_as_with_dpkg() {
        let mut names = Names::default();
        assert_eq!(names.place(b"./var/run", Entry::Link(b"/run"), 0, false), at("var/run"));
        assert_eq!(names.place(b"./var/run/", Entry::Folder, 1, false), Place::Stays);
        assert_eq!(names.place(b"./var/run/x/", Entry::Folder, 1, false), at("run/x"));
        assert_eq!(names.place(b"./etc/", Entry::Folder, 0, false), at("etc"));
        assert_eq!(names.place(b"./etc", Entry::Link(b"usr/etc"), 1, false), Place::Stays);
        assert!(names.has("/var/run/x") && !names.has("/var/run/y"));
    }

    #[test]
    fn links_that_lead_nowhere_do_no_harm() {
        let mut names = Names::default();
        for (name, target) in [("a", "b"), ("b", "a"), ("up", "../../..")] {
            names.place(name.as_bytes(), Entry::Link(target.as_bytes()), 0, false);
        }
        assert_eq!(names.place(b"a/x", Entry::File, 0, false), Place::Nowhere);
        assert_eq!(names.place(b"up/x", Entry::File, 0, false), at("x"));
        assert_eq!(names.place(b"./", Entry::Folder, 0, false), Place::Nowhere);
        assert_eq!(names.place(b"../../x/..", Entry::File, 0, false), Place::Nowhere);
    }
}
