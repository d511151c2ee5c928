//! Which files a bundle holds: programs under their own names, what they load, and what else is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::program::{self, Kind};
use super::{BundleError, Origin};
use crate::elf::Identity;
use crate::layer::{Content, Digest, DigestReader};
use crate::target::{Guest, Target};
use crate::tree::libraries::closure;
use crate::tree::root::{Found, NodeKind, resolve};

/// Where programs are looked for that are named without a folder.
const PATH: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// How many files may be included, and how deep they may be.
const MOST: usize = 1_000_000;
const DEPTH: usize = 200;
/// The longest name of a program; more is added to it.
const NAME: usize = 200;

/// A program of a bundle.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Placed {
    /// Under which path it is executed in the image.
    pub path: String,
    /// What it says of itself.
    pub identity: Arc<Identity>,
    /// The guest that runs it.
    pub guest: &'static Guest,
    /// What it holds.
    pub digest: Digest,
    /// Where it was taken from, if that can be said in a way that holds for everyone.
    pub source: Option<String>,
    pub(super) content: Content,
    pub(super) mode: u32,
}

/// Anything else that a bundle holds.
#[derive(Debug, Clone)]
pub(super) struct Other {
    pub(super) mode: u32,
    pub(super) content: Content,
}

/// The files of a bundle, by their paths in the image, without a slash before them.
#[derive(Debug, Default)]
pub struct Gathered {
    pub(super) programs: BTreeMap<String, Placed>,
    pub(super) others: BTreeMap<String, Other>,
    /// The paths of what the programs load.
    pub(super) libraries: BTreeSet<String>,
    /// The path of what was asked for first, by which the image starts.
    pub(super) first: Option<String>,
}

/// Takes files from where they are.
#[derive(Debug)]
pub struct Gatherer<'a> {
    /// This machine's own files.
    pub here: &'a Origin<'a>,
    /// What `--from` names.
    pub from: Option<&'a Origin<'a>>,
    /// The target whose CPU the programs must do with.
    pub target: Option<&'a Target>,
    /// What was gathered so far.
    gathered: Gathered,
    /// Files whose contents are yet to be had.
    pending: Vec<Pending<'a>>,
}

#[derive(Debug)]
struct Pending<'a> {
    origin: &'a Origin<'a>,
    real: PathBuf,
    dest: String,
    mode: u32,
    program: Option<(Arc<Identity>, &'static Guest)>,
}

impl<'a> Gatherer<'a> {
    /// With nothing yet.
    #[must_use]
    pub fn new(here: &'a Origin<'a>, from: Option<&'a Origin<'a>>, target: Option<&'a Target>) -> Self {
        Self { here, from, target, gathered: Gathered::default(), pending: Vec::new() }
    }

    /// Adds the program `name`, with what it loads: a path or a name within what `--from` names, else a file of this machine.
    ///
    /// # Errors
    /// [`BundleError`] where there is no such program, or something of it is missing.
    pub fn program(&mut self, name: &str) -> Result<(), BundleError> {
        let place = if let Some(from) = self.from.filter(|_| !name.starts_with('.'))
            && let Some(asked) = within(from, name)
        {
            self.placed_within(from, &asked)?
        } else {
            self.local(Path::new(name))?
        };
        self.gathered.first.get_or_insert(place);
        Ok(())
    }

    /// A file of this machine, which comes into `/bin`.
    fn local(&mut self, path: &Path) -> Result<String, BundleError> {
        let failed = |source| BundleError::Read { path: path.into(), source };
        let whole = std::path::absolute(path).map_err(failed)?;
        let found = Self::resolved(self.here, &whole, path)?;
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name.len() <= NAME);
        let name = name.ok_or_else(|| BundleError::NotProgram {
            path: path.into(),
            reason: format!("its name is no text of at most {NAME} bytes"),
        })?;
        let dest = format!("bin/{name}");
        self.executed(self.here, &found, &dest, path)?;
        Ok(format!("/{dest}"))
    }

    /// A program of a root file system, which keeps its path.
    fn placed_within(&mut self, origin: &'a Origin<'a>, asked: &Path) -> Result<String, BundleError> {
        let found = Self::resolved(origin, asked, asked)?;
        let dest = inner(&found.path)?;
        self.link(asked, &dest)?;
        if !self.gathered.programs.contains_key(&dest) && !self.is_pending(&dest) {
            self.executed(origin, &found, &dest, asked)?;
        }
        Ok(format!("/{}", inner(asked)?))
    }

    fn is_pending(&self, dest: &str) -> bool {
        self.gathered.others.contains_key(dest) || self.pending.iter().any(|pending| pending.dest == dest)
    }

    fn resolved(origin: &Origin<'_>, path: &Path, told: &Path) -> Result<Found, BundleError> {
        let missing = |kind: io::ErrorKind| BundleError::Read { path: told.into(), source: kind.into() };
        let found = resolve(origin.root(), Path::new("/"), path).map_err(|lost| match lost {
            crate::tree::root::Lost::Unreadable { source, .. } => {
                BundleError::Read { path: told.into(), source }
            }
            _ => missing(io::ErrorKind::NotFound),
        })?;
        if !found.node.is_file() {
            return Err(BundleError::NotProgram { path: told.into(), reason: "it is no file".into() });
        }
        Ok(found)
    }

    /// Adds what is executed at `found`, with all that it takes to do so.
    fn executed(
        &mut self,
        origin: &'a Origin<'a>,
        found: &Found,
        dest: &str,
        told: &Path,
    ) -> Result<(), BundleError> {
        let failed = |source| BundleError::Read { path: told.into(), source };
        let file = origin.root().executable(&found.path).map_err(failed)?;
        let name = dest.rsplit('/').next().unwrap_or(dest);
        let mode = found.node.mode & 0o777 | 0o555;
        match (program::kind(&file, name.as_bytes()), file.elf) {
            (Kind::Program, Some(Ok(identity))) => {
                let unknown = || BundleError::UnknownGuest { path: told.into() };
                let guest = program::guest(&file.head).ok_or_else(unknown)?;
                if let Some(target) = self.target {
                    program::check_target(told, guest, &identity, target)?;
                }
                let program = Some((Arc::clone(&identity), guest));
                let (real, dest) = (found.path.clone(), dest.to_owned());
                self.pending.push(Pending { origin, real, dest: dest.clone(), mode, program });
                self.libraries(&identity, &dest, told)
            }
            (Kind::Script, _) => {
                let (real, dest) = (found.path.clone(), dest.to_owned());
                self.pending.push(Pending { origin, real, dest, mode, program: None });
                self.interpreter(&file.head, told)
            }
            (_, elf) => {
                let file = crate::tree::root::Executable { head: file.head, elf };
                Err(program::refusal(told, &file))
            }
        }
    }

    /// The interpreter of a script, and what `env` finds for it.
    fn interpreter(&mut self, head: &[u8], told: &Path) -> Result<(), BundleError> {
        let Some((path, argument)) = program::interpreter(head) else { return Ok(()) };
        let Some(from) = self.from else {
            return Err(BundleError::Script { path: told.into(), interpreter: path });
        };
        let missing = |name: &str| BundleError::Missing { path: told.into(), names: vec![name.to_owned()] };
        let asked = within(from, &path).ok_or_else(|| missing(&path))?;
        self.placed_within(from, &asked)?;
        if path.ends_with("/env")
            && let Some(name) = argument.as_deref().and_then(program::of_env)
        {
            let asked = within(from, name).ok_or_else(|| missing(name))?;
            self.placed_within(from, &asked)?;
        }
        Ok(())
    }

    /// What the loader of a program at `dest` loads.
    fn libraries(&mut self, identity: &Arc<Identity>, dest: &str, told: &Path) -> Result<(), BundleError> {
        let Some(interpreter) = &identity.interpreter else { return Ok(()) };
        let dynamic = || BundleError::Dynamic { path: told.into(), interpreter: interpreter.clone() };
        let from = self.from.ok_or_else(dynamic)?;
        let root = from.root();
        let place = Path::new("/").join(dest);
        let closure = closure(root, &place, identity, None, Path::new("/"));
        if closure.asked.is_empty() {
            return Err(BundleError::Missing { path: told.into(), names: vec![interpreter.clone()] });
        }
        if !closure.lacks.is_empty() {
            let names = closure.lacks.iter().map(|lack| lack.name.clone()).collect();
            return Err(BundleError::Missing { path: told.into(), names });
        }
        for asked in &closure.asked {
            let found = Self::resolved(from, asked, asked)?;
            let dest = inner(&found.path)?;
            self.link(asked, &dest)?;
            self.gathered.libraries.insert(format!("/{dest}"));
            if !self.is_pending(&dest) {
                let mode = found.node.mode & 0o777 | 0o444;
                self.pending.push(Pending { origin: from, real: found.path, dest, mode, program: None });
            }
        }
        Ok(())
    }

    /// A link at `asked` to the file that is at `dest`, unless that is its name.
    fn link(&mut self, asked: &Path, dest: &str) -> Result<(), BundleError> {
        let asked = inner(asked)?;
        if asked != dest {
            let content = Content::Link(format!("/{dest}"));
            self.gathered.others.entry(asked).or_insert(Other { mode: 0o777, content });
        }
        Ok(())
    }

    /// Adds a file or a folder with all that is in it: of what `--from` names if it is there, else of this machine. Programs in it come
    /// with what they load.
    ///
    /// # Errors
    /// [`BundleError`] where it is not there or cannot be read.
    pub fn include(&mut self, path: &str, dest: Option<&str>) -> Result<(), BundleError> {
        let absolute = path.starts_with('/');
        let from = self
            .from
            .filter(|from| absolute && resolve(from.root(), Path::new("/"), Path::new(path)).is_ok());
        let origin = from.unwrap_or(self.here);
        let failed = |source| BundleError::Read { path: path.into(), source };
        let whole = std::path::absolute(path).map_err(failed)?;
        let found = resolve(origin.root(), Path::new("/"), &whole)
            .map_err(|_| failed(io::ErrorKind::NotFound.into()))?;
        let dest = inner(&match dest {
            Some(dest) => Path::new("/").join(dest),
            None => whole,
        })?;
        self.tree(origin, &found.path, &dest, 0)
    }

    fn tree(
        &mut self,
        origin: &'a Origin<'a>,
        real: &Path,
        dest: &str,
        depth: usize,
    ) -> Result<(), BundleError> {
        let failed = |source| BundleError::Read { path: real.into(), source };
        if depth > DEPTH || self.pending.len() + self.gathered.others.len() > MOST {
            return Err(failed(io::Error::other("there is too much in it")));
        }
        let root = origin.root();
        let node = root.node(real).map_err(failed)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        match node.kind {
            NodeKind::Folder => {
                if !dest.is_empty() {
                    let folder = Other { mode: node.mode & 0o7777, content: Content::Folder };
                    self.gathered.others.insert(dest.to_owned(), folder);
                }
                for name in root.names(real).map_err(failed)? {
                    let text = name.to_str().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
                    let inner = if dest.is_empty() { text.to_owned() } else { format!("{dest}/{text}") };
                    self.tree(origin, &real.join(&name), &inner, depth + 1)?;
                }
            }
            NodeKind::Link(target) => {
                let target = target.to_str().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
                let link = Other { mode: 0o777, content: Content::Link(target.to_owned()) };
                self.gathered.others.insert(dest.to_owned(), link);
            }
            NodeKind::File => {
                if self.is_pending(dest) {
                    return Ok(());
                }
                let file = root.executable(real).map_err(failed)?;
                if node.mode & 0o111 != 0 && program::kind(&file, dest.as_bytes()) == Kind::Program {
                    let found = Found { path: real.into(), node };
                    return self.executed(origin, &found, dest, real);
                }
                let (real, dest, mode) = (real.into(), dest.to_owned(), node.mode & 0o777);
                self.pending.push(Pending { origin, real, dest, mode, program: None });
            }
            // Sockets and fifos are made by who uses them.
            NodeKind::Special => {}
        }
        Ok(())
    }

    /// Adds a file of our own making.
    pub(super) fn text(&mut self, dest: &str, text: String) {
        let content = Content::Bytes(text.into_bytes());
        self.gathered.others.insert(dest.to_owned(), Other { mode: 0o644, content });
    }

    /// Adds a file of this machine which is there under one of `paths`, in `--from`'s root before this machine's.
    pub(super) fn first_of(&mut self, paths: &[&str], dest: &str) -> bool {
        for origin in self.from.into_iter().chain([self.here]) {
            for path in paths {
                let Ok(found) = resolve(origin.root(), Path::new("/"), Path::new(path)) else { continue };
                if found.node.is_file() {
                    let (real, dest) = (found.path, dest.to_owned());
                    self.pending.push(Pending { origin, real, dest, mode: 0o644, program: None });
                    return true;
                }
            }
        }
        false
    }

    /// Gets the contents of all that was added.
    ///
    /// # Errors
    /// [`BundleError`] where they cannot be read.
    pub fn finish(mut self) -> Result<Gathered, BundleError> {
        let pending = std::mem::take(&mut self.pending);
        for origin in [Some(self.here), self.from].into_iter().flatten() {
            let of: Vec<&Pending<'_>> =
                pending.iter().filter(|pending| std::ptr::eq(pending.origin, origin)).collect();
            let paths: Vec<&Path> = of.iter().map(|pending| pending.real.as_path()).collect();
            for (pending, content) in of.iter().zip(origin.contents(&paths)?) {
                let Pending { dest, mode, .. } = pending;
                match &pending.program {
                    Some((identity, guest)) => {
                        let digest = digest(&content)
                            .map_err(|source| BundleError::Read { path: pending.real.clone(), source })?;
                        let placed = Placed {
                            path: format!("/{dest}"),
                            identity: Arc::clone(identity),
                            guest,
                            digest,
                            source: origin.told().map(str::to_owned),
                            content,
                            mode: *mode,
                        };
                        self.gathered.programs.insert(dest.clone(), placed);
                    }
                    None => {
                        self.gathered.others.insert(dest.clone(), Other { mode: *mode, content });
                    }
                }
            }
        }
        Ok(self.gathered)
    }
}

impl Gathered {
    /// The programs, by their paths.
    pub fn programs(&self) -> impl Iterator<Item = &Placed> {
        self.programs.values()
    }

    /// The guests whose programs `host` does not run itself.
    #[must_use]
    pub fn foreign(&self, host: &Target) -> Vec<&'static Guest> {
        let mut guests: BTreeMap<&str, &'static Guest> = BTreeMap::new();
        for placed in self.programs.values().filter(|placed| !host.runs_natively(&placed.guest.name)) {
            guests.insert(&placed.guest.name, placed.guest);
        }
        guests.into_values().collect()
    }
}

fn digest(content: &Content) -> io::Result<Digest> {
    let mut reader: DigestReader<Box<dyn io::Read>> = DigestReader::new(match content {
        Content::Copy(path) => Box::new(std::fs::File::open(path)?),
        Content::Part(part) => Box::new(part.reader()),
        Content::Bytes(bytes) => Box::new(bytes.as_slice()),
        _ => Box::new(io::empty()),
    });
    io::copy(&mut reader.by_ref(), &mut io::sink())?;
    Ok(reader.digest())
}

/// The path of `name` in `origin`: as it is, or where it is found on the usual path.
fn within(origin: &Origin<'_>, name: &str) -> Option<PathBuf> {
    let root = origin.root();
    let is_there = |path: &Path| resolve(root, Path::new("/"), path).is_ok_and(|found| found.node.is_file());
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_absolute() && is_there(path));
    }
    PATH.iter().map(|folder| Path::new(folder).join(name)).find(|path| is_there(path))
}

/// A path as a layer has it: text, without a slash before it, and without `.` and `..`.
fn inner(path: &Path) -> Result<String, BundleError> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => parts.push(name.to_str().ok_or_else(|| {
                BundleError::NotProgram { path: path.into(), reason: "its path is no text".into() }
            })?),
            std::path::Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    Ok(parts.join("/"))
}
