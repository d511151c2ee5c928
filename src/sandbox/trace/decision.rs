//! What is to become of a call: the file is looked at as the kernel would, and a guest's program gets the path of its emulator.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::call::Call;
use super::credentials::Own;
use super::memory::{memory, text_at};
use super::registers::ARGUMENTS;
use super::stack::Argument;
use super::verdict::{self, Called, Verdict};
use super::view::{Base, View};
use super::{Place, file_name, names_folder};
use crate::sandbox::debug;
use crate::sandbox::plan::Handler;

/// What the kernel calls a process has at most so many bytes.
const NAME_MOST: usize = 15;
/// So many names are given to emulators; after these they go by their own.
const NAMES_MOST: usize = 4096;
/// Flags of `execveat`.
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EMPTY_PATH: u32 = 0x1000;

/// What to do with a call.
#[derive(Debug)]
pub(super) enum Decision {
    /// The kernel knows best.
    Leave,
    /// It fails.
    Refuse(Errno),
    Emulate(Emulation),
}

/// How a guest's program is run.
#[derive(Debug)]
pub(super) struct Emulation {
    /// The emulator's path, as the caller can execute it.
    pub(super) path: Vec<u8>,
    /// What it is called with, in place of the program's first argument.
    pub(super) arguments: Vec<Argument>,
    /// What comes after the first of these, if it is the container's first foreign program.
    pub(super) first: Vec<Argument>,
}

/// Whoever decides.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    handlers: &'a [Handler],
    place: &'a Place,
    own: &'a Own,
    /// The root folder of the first to execute anything, which is the container's.
    root: Option<Root>,
    /// The names that links were made for.
    names: HashSet<(usize, Vec<u8>)>,
}

/// The root folder that the emulators are in.
#[derive(Debug)]
struct Root {
    id: (u64, u64),
    /// The emulators' folder in it.
    folder: OwnedFd,
}

impl<'a> Judge<'a> {
    pub(super) fn new(handlers: &'a [Handler], place: &'a Place, own: &'a Own) -> Self {
        Self { handlers, place, own, root: None, names: HashSet::new() }
    }

    /// Decides about a call of a thread that waits. Whatever keeps it from being looked at, the kernel has the word for it.
    pub(super) fn decide(&mut self, pid: Pid, call: &Call, arguments: &[u64; ARGUMENTS]) -> Decision {
        self.decided(pid, call, arguments).unwrap_or(Decision::Leave)
    }

    fn decided(&mut self, pid: Pid, call: &Call, given: &[u64; ARGUMENTS]) -> Result<Decision, Errno> {
        let view = View::of(pid, self.own)?;
        if self.root.is_none() {
            let folder = format!("/proc/{}/root{}", pid.as_raw_nonzero(), self.place.folder);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = rustix::fs::open(folder, flags, Mode::empty())?;
            self.root = Some(Root { id: view.root_id()?, folder });
        }
        let memory = memory(pid)?;
        let path = text_at(&memory, given[usize::from(call.at)])?;
        let called =
            if call.at { at(&view, &path, given[0], given[4] as u32)? } else { plain(&view, path.clone())? };
        let look =
            |path: &[u8]| view.executable(path, Base::WorkingDirectory, true).ok().map(|sight| sight.head);
        Ok(match verdict::judge(self.handlers, called, look) {
            Verdict::Leave => Decision::Leave,
            Verdict::Refuse(errno) => Decision::Refuse(errno),
            Verdict::Emulate { handler, mut arguments } => {
                let Some(path) = self.emulator(&view, handler, &path)? else { return Ok(Decision::Leave) };
                let first = self.handlers.get(handler).map_or(&[][..], |handler| &handler.first_flags);
                let mut first: Vec<Argument> =
                    first.iter().map(|flag| Argument::Text(flag.clone().into_bytes())).collect();
                if path.starts_with(self.place.root.as_bytes()) {
                    arguments
                        .iter_mut()
                        .chain(&mut first)
                        .for_each(|argument| lead_through(argument, self.place));
                }
                Decision::Emulate(Emulation { path, arguments, first })
            }
        })
    }

    /// The path by which a thread can execute a handler's emulator, so that the kernel calls the process as it would
    /// with the program at `path`.
    fn emulator(&mut self, view: &View<'_>, handler: usize, path: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let Some(chosen) = self.handlers.get(handler) else { return Ok(None) };
        let Some(root) = &self.root else { return Ok(None) };
        let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = base.get(..NAME_MOST).unwrap_or(base).to_vec();
        let key = (handler, name);
        let has_link = self.names.contains(&key) || {
            let link = Path::new(&names_folder(chosen)).join(OsStr::from_bytes(&key.1));
            let target = format!("../{}", file_name(chosen));
            let made = !key.1.is_empty()
                && self.names.len() < NAMES_MOST
                && matches!(rustix::fs::symlinkat(target, &root.folder, link), Ok(()) | Err(Errno::EXIST));
            if made {
                self.names.insert(key.clone());
            }
            made
        };
        let folder = &self.place.folder;
        let mut own = format!("{folder}/{}", file_name(chosen)).into_bytes();
        if has_link {
            own = [format!("{folder}/{}/", names_folder(chosen)).as_bytes(), &key.1].concat();
        }
        if view.root_id()? == root.id {
            return Ok(Some(own));
        }
        // After a `chroot` the way to it goes through the first process's root, where there is a `/proc`.
        let file = rustix::fs::statat(&root.folder, file_name(chosen), rustix::fs::AtFlags::empty())?;
        let through = [self.place.root.as_bytes(), own.as_slice()].concat();
        Ok((view.id(&through)? == (file.st_dev, file.st_ino)).then_some(through))
    }

    /// Whether no foreign program has begun before. The programs that `place` writes ask the same file.
    pub(super) fn is_first_of_all(&self) -> bool {
        let Some(root) = &self.root else { return false };
        let token = Path::new(debug::FOLDER).join(debug::TOKEN);
        rustix::fs::unlinkat(&root.folder, token, rustix::fs::AtFlags::empty()).is_ok()
    }

    /// Whether the process runs one of the container's emulators.
    pub(super) fn is_emulator(&self, pid: Pid) -> bool {
        let own = format!("/proc/{}", pid.as_raw_nonzero());
        let id = |path: String| rustix::fs::stat(path).map(|stat| (stat.st_dev, stat.st_ino));
        let Ok(exe) = id(format!("{own}/exe")) else { return false };
        let file = |handler| format!("{own}/root{}/{}", self.place.folder, file_name(handler));
        self.handlers.iter().any(|handler| id(file(handler)) == Ok(exe))
    }
}

/// Makes a path of an emulator's own one that leads there after a `chroot`, too.
fn lead_through(argument: &mut Argument, place: &Place) {
    if let Argument::Text(text) = argument
        && text.starts_with(place.folder.as_bytes())
    {
        text.splice(0..0, place.root.bytes());
    }
}

/// What `execve` is called with.
fn plain(view: &View<'_>, path: Vec<u8>) -> Result<Called, Errno> {
    let sight = view.executable(&path, Base::WorkingDirectory, true)?;
    Ok(Called { name: path, vanishes: false, head: sight.head })
}

/// What `execveat` is called with. Interpreters get such a file by a name in `/dev/fd`.
fn at(view: &View<'_>, path: &[u8], folder: u64, flags: u32) -> Result<Called, Errno> {
    let number = (folder as u32).cast_signed();
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        // Unknown, or one that asks about the file itself (`AT_EXECVE_CHECK`).
        return Err(Errno::INVAL);
    }
    let follow = flags & AT_SYMLINK_NOFOLLOW == 0;
    if path.starts_with(b"/") || (number == libc::AT_FDCWD && !path.is_empty()) {
        let sight = view.executable(path, Base::WorkingDirectory, follow)?;
        return Ok(Called { name: path.to_vec(), vanishes: false, head: sight.head });
    }
    let (sight, name) = if path.is_empty() {
        if flags & AT_EMPTY_PATH == 0 || number < 0 {
            return Err(Errno::NOENT);
        }
        (view.executable_descriptor(number)?, format!("/dev/fd/{number}").into_bytes())
    } else {
        let sight = view.executable(path, Base::Descriptor(number), follow)?;
        (sight, [format!("/dev/fd/{number}/").as_bytes(), path].concat())
    };
    Ok(Called { name, vanishes: view.closes(number), head: sight.head })
}
