//! Following a path as the kernel does.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::{Node, NodeKind, Root};

/// How many links the kernel follows for one path (`MAXSYMLINKS`).
const LINKS: usize = 40;
/// The longest path that is looked at, in parts: more than `PATH_MAX` holds.
const PARTS: usize = 4096;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it really is.
    pub path: PathBuf,
    /// What it is; no link.
    pub node: Node,
}

/// A path leads nowhere.
#[derive(Debug)]
pub enum Lost {
    /// Something on the way, or the end of it, is not there.
    Missing {
        /// The first that is not there.
        path: PathBuf,
        /// The link that led to it, and where it leads.
        link: Option<(PathBuf, PathBuf)>,
    },
    /// Something on the way is no folder.
    NotFolder {
        /// What.
        path: PathBuf,
    },
    /// Links lead in a circle.
    Circle {
        /// One of them.
        path: PathBuf,
    },
    /// It cannot be looked at.
    Unreadable {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What `path` leads to for a process in `root` whose working directory is `cwd`.
///
/// # Errors
/// [`Lost`] where it leads nowhere.
pub fn resolve(root: &dyn Root, cwd: &Path, path: &Path) -> Result<Found, Lost> {
    let mut at = PathBuf::from("/");
    let mut node =
        look(root, &at)?.unwrap_or(Node { kind: NodeKind::Folder, mode: 0o755, uid: 0, gid: 0, size: 0 });
    // The parts still to go, the last first.
    let mut rest: Vec<OsString> = Vec::new();
    push(&mut rest, path);
    if path.is_relative() {
        push(&mut rest, cwd);
    }
    let (mut links, mut last) = (0, None);
    while let Some(part) = rest.pop() {
        if node.kind != NodeKind::Folder {
            return Err(Lost::NotFolder { path: at });
        }
        if part == ".." {
            at.pop();
            node = look(root, &at)?.ok_or_else(|| Lost::Missing { path: at.clone(), link: None })?;
            continue;
        }
        at.push(&part);
        let Some(next) = look(root, &at)? else {
            // What follows a link's own parts is not the link's fault.
            let link = last.filter(|(_, before)| rest.len() >= *before).map(|(link, _)| link);
            return Err(Lost::Missing { path: at, link });
        };
        node = match next.kind {
            NodeKind::Link(target) => {
                links += 1;
                if links > LINKS || rest.len() > PARTS {
                    return Err(Lost::Circle { path: at });
                }
                last = Some(((at.clone(), target.clone()), rest.len()));
                push(&mut rest, &target);
                if target.is_absolute() {
                    at = PathBuf::from("/");
                } else {
                    at.pop();
                }
                look(root, &at)?.ok_or_else(|| Lost::Missing { path: at.clone(), link: None })?
            }
            _ => next,
        };
    }
    // A slash at the end wants a folder.
    let wants_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if wants_folder && node.kind != NodeKind::Folder {
        return Err(Lost::NotFolder { path: at });
    }
    Ok(Found { path: at, node })
}

fn look(root: &dyn Root, path: &Path) -> Result<Option<Node>, Lost> {
    root.node(path).map_err(|source| Lost::Unreadable { path: path.into(), source })
}

fn push(rest: &mut Vec<OsString>, path: &Path) {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    rest.extend(parts);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::Folder;
    use super::*;

    #[test]
    fn links_stay_within_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::write(root.join("usr/bin/x"), "x").unwrap();
        symlink("usr/bin", root.join("bin")).unwrap();
        symlink("/../../bin/x", root.join("usr/bin/y")).unwrap();
        symlink("../../../../../etc/none", root.join("usr/bin/z")).unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        let root = Folder::open(root).unwrap();
        let found = |cwd: &str, path: &str| {
            resolve(&root, Path::new(cwd), Path::new(path)).map(|found| found.path.display().to_string())
        };
        for (cwd, path) in [("/", "/bin/y"), ("/bin", "x"), ("/usr", "./bin/../../bin/x"), ("/", "bin//x")] {
            assert_eq!(found(cwd, path).unwrap(), "/usr/bin/x", "{path} in {cwd}");
        }
        let Err(Lost::Missing { path, link: Some((link, target)) }) = found("/", "/bin/z") else { panic!() };
        assert_eq!(path, Path::new("/etc"));
        assert_eq!((link, target), ("/usr/bin/z".into(), "../../../../../etc/none".into()));
        assert!(matches!(found("/", "/a"), Err(Lost::Circle { .. })));
        assert!(matches!(found("/", "/bin/x/"), Err(Lost::NotFolder { .. })));
        assert!(matches!(found("/", "/bin/x/y"), Err(Lost::NotFolder { .. })));
        assert!(matches!(found("/", "/bin/none"), Err(Lost::Missing { link: None, .. })));
        assert!(matches!(found("/", "/none"), Err(Lost::Missing { link: None, .. })));
    }
}
