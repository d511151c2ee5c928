//! Going the way that the kernel and the loader go, until something is not right.

mod elf;

use std::path::{Path, PathBuf};

use super::verdict::Verdict;
use crate::binfmt::Status;
use crate::elf::{Kind, Reader, Script, kind};
use crate::target::{Guest, Platform};
use crate::tree::root::{Executable, Found, Lost, NodeKind, Root, resolve};

/// How many scripts may interpret each other; the kernel gives up after as many.
const DEEPEST: usize = 5;
/// How much of a file of users or groups is read, in bytes.
const USERS_MOST: u64 = 1 << 20;

/// What is to be started, and where.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The file system that it sees.
    pub root: &'a dyn Root,
    /// The program: a path, or a name to be looked up; `None` where nobody names one.
    pub program: Option<String>,
    /// `PATH`.
    pub search: String,
    /// `LD_LIBRARY_PATH`.
    pub library_path: Option<String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// `USER[:GROUP]`, names or numbers; empty for root. Not looked at where it is started on the host.
    pub user: String,
    /// Where it is started.
    pub place: Place,
}

/// Where something is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a container, of an image for that platform; `None` for a folder, which has no platform.
    Container(Option<Platform>),
    /// On this machine itself, by a user and his groups.
    Host {
        /// The user.
        uid: u32,
        /// His groups.
        gids: Vec<u32>,
    },
}

/// What this machine has for foreign programs.
pub trait Foreign {
    /// Why there is no emulator for `guest`; `None` where there is one.
    fn no_emulator(&self, guest: &Guest) -> Option<String>;
    /// Why a container cannot run foreign programs; `None` where it can.
    fn no_way(&self) -> Option<String>;
    /// The host's handlers.
    fn handlers(&self) -> Option<&Status>;
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// What is executed, one through the other: the program, its script's interpreter, its loader.
    pub chain: Vec<PathBuf>,
    /// The architecture of what the kernel or the emulator executes in the end.
    pub architecture: Option<String>,
    /// Why it does not start; empty where nothing is known against it.
    pub verdicts: Vec<Verdict>,
}

/// Why `subject` will not start, going the way that the kernel goes and no further than the first obstacle on it.
#[must_use]
pub fn explain(subject: &Subject<'_>, foreign: &dyn Foreign) -> Explanation {
    let mut walk = Walk { subject, foreign, uid: 0, gids: vec![0], out: Explanation::default() };
    match &subject.place {
        Place::Host { uid, gids } => (walk.uid, walk.gids) = (*uid, gids.clone()),
        Place::Container(_) => {
            walk.user();
            walk.cwd();
        }
    }
    match &subject.program {
        None => walk.add(
            "no-program",
            None,
            "the image names no program to run: it has neither an entry point nor a command",
            "give a program after the image, or make the image with an entry point",
        ),
        Some(name) => {
            if let Some(found) = walk.find(name) {
                walk.execute(&found, 0);
            }
        }
    }
    walk.out
}

struct Walk<'a> {
    subject: &'a Subject<'a>,
    foreign: &'a dyn Foreign,
    uid: u32,
    gids: Vec<u32>,
    out: Explanation,
}

impl Walk<'_> {
    fn add(
        &mut self,
        id: &'static str,
        path: Option<&Path>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.out.verdicts.push(Verdict::new(id, path, message, help));
    }

    fn where_(&self) -> &'static str {
        match self.subject.place {
            Place::Container(Some(_)) => "in the image",
            Place::Container(None) => "in the root file system",
            Place::Host { .. } => "on this machine",
        }
    }

    fn resolve(&self, path: &Path) -> Result<Found, Lost> {
        resolve(self.subject.root, &self.subject.cwd, path)
    }

    /// Whether the user, and the group, is known.
    fn user(&mut self) {
        let (user, group) = match self.subject.user.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (self.subject.user.as_str(), None),
        };
        let table = |file: &str| {
            let found = resolve(self.subject.root, Path::new("/"), Path::new(file)).ok();
            let text = found.and_then(|found| self.subject.root.read(&found.path, USERS_MOST).ok());
            String::from_utf8_lossy(&text.unwrap_or_default()).into_owned()
        };
        let line = |text: &str, name: &str| -> Option<Vec<String>> {
            let mut lines = text.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
            lines.find(|fields| fields.len() > 2 && (fields[0] == name || fields[2] == name))
        };
        if !user.is_empty() && user != "root" {
            let users = table("/etc/passwd");
            match (line(&users, user), user.parse::<u32>()) {
                (Some(fields), _) => {
                    self.uid = fields[2].parse().unwrap_or(0);
                    self.gids = fields.get(3).and_then(|gid| gid.parse().ok()).into_iter().collect();
                }
                (None, Ok(uid)) => (self.uid, self.gids) = (uid, vec![0]),
                (None, Err(_)) => self.add(
                    "user-unknown",
                    Some(Path::new("/etc/passwd")),
                    format!("the image runs as user `{user}`, whom its `/etc/passwd` does not know"),
                    "add the user in the image, or give the image a user by number",
                ),
            }
        }
        if let Some(group) = group.filter(|group| !group.is_empty() && *group != "root") {
            match (line(&table("/etc/group"), group), group.parse::<u32>()) {
                (Some(fields), _) => self.gids.extend(fields[2].parse::<u32>()),
                (None, Ok(gid)) => self.gids.push(gid),
                (None, Err(_)) => self.add(
                    "group-unknown",
                    Some(Path::new("/etc/group")),
                    format!("the image runs with group `{group}`, which its `/etc/group` does not know"),
                    "add the group in the image, or give the image a group by number",
                ),
            }
        }
    }

    /// A working directory that is missing is made; one that cannot be made is an obstacle.
    fn cwd(&mut self) {
        let cwd = self.subject.cwd.clone();
        let blocked = match resolve(self.subject.root, Path::new("/"), &cwd) {
            Ok(found) if found.node.kind != NodeKind::Folder => Some(found.path),
            Err(Lost::NotFolder { path } | Lost::Circle { path }) => Some(path),
            _ => None,
        };
        if let Some(path) = blocked {
            self.add(
                "workdir-not-folder",
                Some(&path),
                format!("the working directory `{}` is no folder and cannot be made one", cwd.display()),
                "give another with `--workdir`, or change the image's",
            );
        }
    }

    /// Looks a program up as `execvp` does.
    fn find(&mut self, name: &str) -> Option<Found> {
        if name.contains('/') {
            return match self.resolve(Path::new(name)) {
                Ok(found) => Some(found),
                Err(lost) => {
                    self.lost(name, lost);
                    None
                }
            };
        }
        if let Some(found) = self.on_path(name) {
            Some(found)
        } else {
            let search = &self.subject.search;
            let message =
                format!("`{name}` is in none of the folders of `PATH` {}: `{search}`", self.where_());
            self.add("not-on-path", None, message, "give the program by its path, or install it there");
            None
        }
    }

    /// The first of the folders of `PATH` that has `name`: one that may be executed, where there is any.
    fn on_path(&self, name: &str) -> Option<Found> {
        let mut second = None;
        for folder in self.subject.search.split(':') {
            let folder = if folder.is_empty() { "." } else { folder };
            let Ok(found) = self.resolve(&Path::new(folder).join(name)) else { continue };
            if found.node.is_file() {
                if found.node.is_executable_by(self.uid, &self.gids) {
                    return Some(found);
                }
                second = second.or(Some(found));
            }
        }
        second
    }

    fn lost(&mut self, name: &str, lost: Lost) {
        let place = self.where_();
        match lost {
            Lost::Missing { path, link: Some((link, target)) } => self.add(
                "not-found",
                Some(&path),
                format!(
                    "`{name}` leads through the link `{}` to `{}`, and `{}` is not there {place}",
                    link.display(),
                    target.display(),
                    path.display()
                ),
                "put there what the link leads to, or mend the link",
            ),
            Lost::Missing { path, link: None } => self.add(
                "not-found",
                Some(&path),
                format!("`{name}` was not found: `{}` is not there {place}", path.display()),
                "check the name, or put the program there",
            ),
            Lost::NotFolder { path } => self.add(
                "not-found",
                Some(&path),
                format!("`{name}` was not found: `{}` is no folder", path.display()),
                "check the name",
            ),
            Lost::Circle { path } => self.add(
                "circular-link",
                Some(&path),
                format!("`{name}` leads through the link `{}` in a circle", path.display()),
                "mend the link",
            ),
            Lost::Unreadable { path, source } => self.add(
                "unreadable",
                Some(&path),
                format!("`{}` cannot be looked at: {source}", path.display()),
                "run as a user who may read it",
            ),
        }
    }

    /// What the kernel does with a file that is to be executed.
    fn execute(&mut self, found: &Found, depth: usize) {
        let path = found.path.clone();
        let shown = path.display().to_string();
        self.out.chain.push(path.clone());
        match &found.node.kind {
            NodeKind::Folder => {
                let message = format!("`{shown}` is a folder");
                return self.add("is-folder", Some(&path), message, "give the program in it");
            }
            NodeKind::Special | NodeKind::Link(_) => {
                let message = format!("`{shown}` is no regular file");
                return self.add("special-file", Some(&path), message, "give a program");
            }
            NodeKind::File => {}
        }
        if !found.node.is_executable_by(self.uid, &self.gids) {
            let message = format!(
                "`{shown}` is there and may not be executed: its mode is {:04o} and its owner {}",
                found.node.mode, found.node.uid
            );
            return self.add("not-executable", Some(&path), message, format!("`chmod a+x {shown}`"));
        }
        if let Some(mount) = self.subject.root.noexec(&path) {
            let mount = mount.display();
            let message = format!("`{shown}` lies on `{mount}`, which is mounted `noexec`");
            let help = format!("copy the program elsewhere, or as root `mount -o remount,exec {mount}`");
            return self.add("noexec", Some(&path), message, help);
        }
        if found.node.size == 0 {
            let message = format!("`{shown}` is empty");
            return self.add("empty", Some(&path), message, "copy or build the program again");
        }
        let file = match self.subject.root.executable(&path) {
            Ok(file) => file,
            Err(source) => {
                let message = format!("`{shown}` cannot be read, so no more can be told: {source}");
                return self.add("unreadable", Some(&path), message, "run as a user who may read it");
            }
        };
        match &file.elf {
            Some(Ok(identity)) => self.elf(&path, identity),
            Some(Err(problem)) => {
                let message = format!("`{shown}` is damaged: {problem}");
                self.add("damaged", Some(&path), message, "copy or build the program again: it is not whole");
            }
            None => self.other(&path, &file, depth),
        }
    }

    /// A file that is no ELF file.
    fn other(&mut self, path: &Path, file: &Executable, depth: usize) {
        let shown = path.display();
        let system = |what: String| format!("`{shown}` is a program for {what}");
        match kind(&mut Reader::memory(&file.head)) {
            Ok(Kind::Script(script)) => self.script(path, &script, depth),
            Ok(Kind::MachO { architectures }) => {
                let message = system(format!("macOS ({})", architectures.join(", ")));
                self.add("foreign-system", Some(path), message, "build it for Linux");
            }
            _ if file.head.starts_with(b"MZ") => {
                self.add("foreign-system", Some(path), system("Windows".into()), "build it for Linux");
            }
            _ if file.head.starts_with(b"\xef\xbb\xbf#!") => self.add(
                "bom",
                Some(path),
                format!("`{shown}` begins with a byte order mark, so the kernel does not see its `#!`"),
                format!("`sed -i '1s/^\\xef\\xbb\\xbf//' {shown}`"),
            ),
            _ => {
                let is_text = !file.head.iter().any(|byte| *byte < 9 || *byte == 0x7f);
                let what = if is_text { "a text without `#!`" } else { "data of no kind that is executed" };
                let help =
                    if is_text { "begin it with a line such as `#!/bin/sh`" } else { "give a program" };
                let message = format!("`{shown}` is neither a program nor a script, but {what}");
                self.add("no-shebang", Some(path), message, help);
            }
        }
    }

    fn script(&mut self, path: &Path, script: &Script, depth: usize) {
        let shown = path.display();
        let ends = |text: &str| text.ends_with('\r');
        if ends(&script.interpreter) || script.argument.as_deref().is_some_and(ends) {
            let interpreter = script.interpreter.trim_end_matches('\r');
            let message = format!(
                "the first line of `{shown}` ends as Windows ends lines (CR LF), so the kernel looks for `{interpreter}` with \
                 a carriage return in its name or argument"
            );
            return self.add("crlf", Some(path), message, format!("`sed -i 's/\\r$//' {shown}`"));
        }
        if depth + 1 >= DEEPEST {
            let message = format!(
                "`{shown}` is the fifth script that another one is run by: the kernel goes no further"
            );
            return self.add("script-nesting", Some(path), message, "name a program after `#!`");
        }
        let Ok(found) = self.resolve(Path::new(&script.interpreter)) else {
            let message = format!(
                "`{shown}` is a script for `{}`, which is not there {}",
                script.interpreter,
                self.where_()
            );
            let help = "install that interpreter, or name one after `#!` that is there";
            return self.add("script-interpreter-missing", Some(path), message, help);
        };
        let before = self.out.verdicts.len();
        self.execute(&found, depth + 1);
        let is_env = Path::new(&script.interpreter).file_name().is_some_and(|name| name == "env");
        if is_env && self.out.verdicts.len() == before {
            self.env(path, script.argument.as_deref().unwrap_or_default(), depth);
        }
    }

    /// `#!/usr/bin/env NAME`: the name is looked up in `PATH`.
    fn env(&mut self, path: &Path, argument: &str, depth: usize) {
        let mut words: Vec<&str> = match argument.strip_prefix("-S") {
            Some(rest) => rest.split_whitespace().collect(),
            // Without `-S` all of it is one name.
            None => Some(argument).filter(|name| !name.is_empty()).into_iter().collect(),
        };
        words.retain(|word| !word.contains('='));
        let Some(name) = words.first().filter(|word| !word.starts_with('-')) else { return };
        let found = if name.contains('/') { self.resolve(Path::new(name)).ok() } else { self.on_path(name) };
        if let Some(found) = found {
            self.execute(&found, depth + 1);
        } else {
            let message = format!(
                "`{}` is a script for `{name}`, which `env` finds in none of the folders of `PATH` {}: `{}`",
                path.display(),
                self.where_(),
                self.subject.search
            );
            self.add("env-program-missing", Some(path), message, format!("install `{name}`"));
        }
    }
}
