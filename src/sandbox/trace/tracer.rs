//! The tracer's loop.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use super::call::{Call, HOST, Host};
use super::credentials::{Own, Status};
use super::registers::Registers;
use super::stack::{self, Argument};
use super::verdict::{self, Called, Verdict};
use super::view::{Base, PATH_MOST, View};
use super::{FOLDER, file_name, filter, names_folder, ptrace};
use crate::sandbox::plan::Handler;
use crate::sandbox::{debug, lifeline, procfs};

/// Children of all kinds, the threads that other processes made included (`__WALL`).
const ALL: WaitOptions = WaitOptions::from_bits_retain(0x4000_0000);
/// Below the stack pointer both hosts leave a function at most so many bytes that signals spare.
const RED_ZONE: u64 = 128;
/// What the kernel calls a process has at most so many bytes.
const NAME_MOST: usize = 15;
/// So many names are given to emulators; after these they go by their own.
const NAMES_MOST: usize = 4096;
/// The kernel lets arguments take 6 MiB; pointers to empty ones are most of that.
const LIST_MOST: usize = 16 << 20;
/// How much of a list is read at a time; most end within it.
const LIST_STEP: usize = 4096;
/// What leads out of a `chroot` to the container's own root.
const THROUGH: &[u8] = b"/proc/1/root";
/// Flags of `execveat`.
const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_EMPTY_PATH: u64 = 0x1000;
/// Signals that stop a process.
const STOPS: [i32; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// How a container's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum End {
    Exited(i32),
    Killed(i32),
}

/// Traces `first`, which is seized, and all that come of it until it has ended.
///
/// # Errors
/// Those of the system, and `ESRCH` where the supervisor has died, whose end of `lifeline` is closed then.
pub(in crate::sandbox) fn follow(first: Pid, handlers: &[Handler], lifeline: &OwnedFd) -> io::Result<End> {
    let host = HOST.ok_or(Errno::OPNOTSUPP)?;
    let own = Own::read()?;
    let tracer = Tracer {
        host,
        first,
        handlers,
        lifeline,
        own: &own,
        pending: HashMap::new(),
        root: None,
        names: HashSet::new(),
        is_first_emulated: false,
        killed_by: None,
    };
    Ok(tracer.run()?)
}

#[derive(Debug)]
struct Tracer<'a> {
    host: Host,
    /// The container's first process.
    first: Pid,
    handlers: &'a [Handler],
    lifeline: &'a OwnedFd,
    own: &'a Own,
    /// The calls that were changed and are not over, by thread.
    pending: HashMap<Pid, Pending>,
    /// The container's root folder, once its first program is executed.
    root: Option<Root>,
    /// The names that links were made for.
    names: HashSet<(usize, Vec<u8>)>,
    /// Whether what it runs now is an emulator, which a tracer sent it to or which the image executes by itself.
    is_first_emulated: bool,
    killed_by: Option<i32>,
}

#[derive(Debug)]
struct Root {
    id: (u64, u64),
    /// [`FOLDER`] in it.
    folder: OwnedFd,
}

/// A call that was changed.
#[derive(Debug)]
struct Pending {
    call: &'static Call,
    before: Registers,
    change: Change,
}

#[derive(Debug)]
enum Change {
    /// Its path is the emulator's, which gets these arguments.
    Emulate {
        arguments: Vec<Argument>,
        /// Which come after the first of them, if it is the container's first foreign program.
        first: Vec<Argument>,
        scratch: Scratch,
    },
    /// It is to fail with this error.
    Refuse(Errno),
}

/// Memory of a process that was written to, and what it held. It is put back where the call fails. Where it succeeds the
/// memory is gone; or it is another's too (`vfork`), who goes on before the tracer hears of it, and may have the next
/// call's text there by then. What was beneath the stack pointer of the one that is gone is nobody's.
#[derive(Debug)]
struct Scratch {
    memory: File,
    address: u64,
    held: Vec<u8>,
}

impl Scratch {
    fn write(memory: File, address: u64, text: &[u8]) -> Result<Self, Errno> {
        let mut held = vec![0; text.len()];
        let failed = |err: io::Error| Errno::from_io_error(&err).unwrap_or(Errno::FAULT);
        memory.read_exact_at(&mut held, address).map_err(failed)?;
        let scratch = Self { memory, address, held };
        scratch.memory.write_all_at(text, address).map_err(failed)?;
        Ok(scratch)
    }

    /// Where nobody has the memory any more there is nothing to put back.
    fn put_back(&self) {
        let _ = self.memory.write_all_at(&self.held, self.address);
    }
}

impl Tracer<'_> {
    fn run(mut self) -> Result<End, Errno> {
        loop {
            let (pid, status) = match rustix::process::wait(ALL) {
                Ok(Some(changed)) => changed,
                Ok(None) | Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            let raw = status.as_raw();
            if let Some(signal) = status.stopping_signal() {
                // What is stopped can be killed at any moment; then the next status says so.
                let _ = self.stopped(pid, signal, raw >> 16);
                if self.own.was_another() {
                    lifeline::hold(self.lifeline)?;
                }
                continue;
            }
            self.pending.remove(&pid);
            if pid != self.first {
                continue;
            }
            if let Some(signal) = self.killed_by.or(status.terminating_signal()) {
                return Ok(End::Killed(signal));
            }
            if let Some(code) = status.exit_status() {
                return Ok(End::Exited(code));
            }
        }
    }

    fn stopped(&mut self, pid: Pid, signal: i32, event: i32) -> Result<(), Errno> {
        match event {
            ptrace::EVENT_SECCOMP => self.call(pid),
            ptrace::EVENT_EXEC => self.executed(pid),
            ptrace::EVENT_STOP if STOPS.contains(&signal) => ptrace::stay_stopped(pid),
            0 if signal == libc::SIGTRAP | 0x80 => self.failed(pid),
            0 => self.signalled(pid, signal),
            _ => ptrace::go_on(pid, 0),
        }
    }

    /// Passes a signal on.
    fn signalled(&mut self, pid: Pid, signal: i32) -> Result<(), Errno> {
        // An emulator whose guest dies of a signal takes back its own handler and sends itself that signal. In a
        // container's first process the kernel discards it, and the emulator would wait for ever.
        let is_firsts = |pid: Pid| {
            let thread = format!("/proc/{}", pid.as_raw_nonzero());
            Status::of(Path::new(&thread))
                .is_ok_and(|status| status.process == self.first.as_raw_nonzero().get())
        };
        if self.is_first_emulated
            && ptrace::sender(pid) == Ok(1)
            && is_firsts(pid)
            && procfs::takes_default(pid, signal)
        {
            self.killed_by = Some(signal);
            return rustix::process::kill_process(self.first, Signal::KILL);
        }
        ptrace::go_on(pid, signal)
    }

    /// A program is about to be executed.
    fn call(&mut self, pid: Pid) -> Result<(), Errno> {
        if let Ok(Some(pending)) = self.change(pid) {
            self.pending.insert(pid, pending);
            return ptrace::finish_call(pid);
        }
        // Whatever kept it from being looked at, the kernel has the word for it.
        self.pending.remove(&pid);
        ptrace::go_on(pid, 0)
    }

    fn change(&mut self, pid: Pid) -> Result<Option<Pending>, Errno> {
        let Some(call) = filter::told(self.host.calls, ptrace::message(pid)?) else { return Ok(None) };
        let before = ptrace::registers(pid)?;
        let memory = memory(pid)?;
        let argument = |number| before.argument(call.shape, number);
        let path = text_at(&memory, argument(usize::from(call.at)))?;
        let view = View::of(pid, self.own)?;
        let called =
            if call.at { at(&view, &path, argument(0), argument(4))? } else { plain(&view, path.clone())? };

        let mut after = before;
        let look =
            |path: &[u8]| view.executable(path, Base::WorkingDirectory, true).ok().map(|sight| sight.head);
        let change = match verdict::judge(self.handlers, called, look) {
            Verdict::Leave => return Ok(None),
            Verdict::Refuse(errno) => {
                // No path at all makes it fail; with what, is changed when it has.
                after.set_argument(call.shape, usize::from(call.at), 0);
                Change::Refuse(errno)
            }
            Verdict::Emulate { handler, mut arguments } => {
                let Some(mut path) = self.emulator(pid, &view, handler, &path)? else { return Ok(None) };
                let first = self.handlers.get(handler).map_or(&[][..], |handler| &handler.first_flags);
                let mut first: Vec<Argument> =
                    first.iter().map(|flag| Argument::Text(flag.clone().into_bytes())).collect();
                if path.starts_with(THROUGH) {
                    arguments.iter_mut().chain(&mut first).for_each(lead_through);
                }
                path.push(0);
                let address =
                    before.stack(call.shape).checked_sub(RED_ZONE + path.len() as u64).ok_or(Errno::FAULT)?;
                let scratch = Scratch::write(memory, address & !15, &path)?;
                after.set_argument(call.shape, usize::from(call.at), address & !15);
                if call.at {
                    after.set_argument(call.shape, 4, 0);
                }
                Change::Emulate { arguments, first, scratch }
            }
        };
        let pending = Pending { call, before, change };
        if let Err(errno) = ptrace::set_registers(pid, &after) {
            if let Change::Emulate { scratch, .. } = &pending.change {
                scratch.put_back();
            }
            return Err(errno);
        }
        Ok(Some(pending))
    }

    /// The path by which a thread can execute a handler's emulator, so that the kernel calls the process as it would
    /// with the program at `path`.
    fn emulator(
        &mut self,
        pid: Pid,
        view: &View<'_>,
        handler: usize,
        path: &[u8],
    ) -> Result<Option<Vec<u8>>, Errno> {
        let Some(chosen) = self.handlers.get(handler) else { return Ok(None) };
        if self.root.is_none() {
            // The first to execute anything is the container's first process.
            let folder = format!("/proc/{}/root{FOLDER}", pid.as_raw_nonzero());
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = rustix::fs::open(folder, flags, Mode::empty())?;
            self.root = Some(Root { id: view.root_id()?, folder });
        }
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
        let mut own = format!("{FOLDER}/{}", file_name(chosen)).into_bytes();
        if has_link {
            own = [format!("{FOLDER}/{}/", names_folder(chosen)).as_bytes(), &key.1].concat();
        }
        if view.root_id()? == root.id {
            return Ok(Some(own));
        }
        // After a `chroot` the way to it goes through the first process's root, where there is a `/proc`.
        let file = rustix::fs::statat(&root.folder, file_name(chosen), rustix::fs::AtFlags::empty())?;
        let through = [THROUGH, own.as_slice()].concat();
        Ok((view.id(&through)? == (file.st_dev, file.st_ino)).then_some(through))
    }

    /// A program has been executed.
    fn executed(&mut self, pid: Pid) -> Result<(), Errno> {
        // Where a thread did it that is not its process's first, it now has that one's number.
        let former = i32::try_from(ptrace::message(pid)?).ok().and_then(Pid::from_raw);
        let pending = former.and_then(|former| self.pending.remove(&former));
        let emulated = match pending.map(|pending| pending.change) {
            Some(Change::Emulate { mut arguments, first, .. }) => {
                if !first.is_empty() && self.is_first_of_all() {
                    arguments.splice(1..1, first);
                }
                if let Err(errno) = self.introduce(pid, &arguments) {
                    // The program is gone, and the emulator does not know what to run: as the kernel does then.
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                    return Err(errno);
                }
                true
            }
            _ => false,
        };
        if pid == self.first {
            self.is_first_emulated = emulated || self.is_emulator(pid);
        }
        ptrace::go_on(pid, 0)
    }

    /// Whether no foreign program has begun before. The programs that `place` writes ask the same file.
    fn is_first_of_all(&self) -> bool {
        let Some(root) = &self.root else { return false };
        let token = Path::new(debug::FOLDER).join(debug::TOKEN);
        rustix::fs::unlinkat(&root.folder, token, rustix::fs::AtFlags::empty()).is_ok()
    }

    /// Whether the process runs one of the container's emulators.
    fn is_emulator(&self, pid: Pid) -> bool {
        let own = format!("/proc/{}", pid.as_raw_nonzero());
        let id = |path: String| rustix::fs::stat(path).map(|stat| (stat.st_dev, stat.st_ino));
        let Ok(exe) = id(format!("{own}/exe")) else { return false };
        let file = |handler| format!("{own}/root{FOLDER}/{}", file_name(handler));
        self.handlers.iter().any(|handler| id(file(handler)) == Ok(exe))
    }

    /// Puts the words of the emulation on the stack of an emulator that has not yet begun.
    fn introduce(&self, pid: Pid, arguments: &[Argument]) -> Result<(), Errno> {
        let mut registers = ptrace::registers(pid)?;
        let memory = memory(pid)?;
        let stack = registers.stack(self.host.own);
        let mut list = Vec::new();
        let end = loop {
            let len = list.len();
            list.resize(len + LIST_STEP.max(len), 0);
            let read = memory.read_at(&mut list[len..], stack + len as u64).unwrap_or_default();
            list.truncate(len + read);
            if let Some(end) = stack::end(&list) {
                break end;
            }
            if read == 0 || list.len() > LIST_MOST {
                return Err(Errno::FAULT);
            }
        };
        list.truncate(end);
        let (begin, made) = stack::rebuilt(stack, &list, arguments).ok_or(Errno::FAULT)?;
        memory
            .write_all_at(&made, begin)
            .map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::FAULT))?;
        registers.set_stack(self.host.own, begin);
        ptrace::set_registers(pid, &registers)
    }

    /// A call that was changed has failed: all is as the caller left it, but for the result.
    fn failed(&mut self, pid: Pid) -> Result<(), Errno> {
        let Some(Pending { call, before, change }) = self.pending.remove(&pid) else {
            return ptrace::go_on(pid, 0);
        };
        let mut registers = ptrace::registers(pid)?;
        registers.restore_arguments(call.shape, &before);
        match change {
            Change::Emulate { scratch, .. } => scratch.put_back(),
            Change::Refuse(errno) => {
                // Anything else is a call that is to be made again.
                if registers.result(call.shape) == -Errno::FAULT.raw_os_error() {
                    registers.set_result(call.shape, -errno.raw_os_error());
                }
            }
        }
        ptrace::set_registers(pid, &registers)?;
        ptrace::go_on(pid, 0)
    }
}

/// Makes a path of an emulator's own one that leads there after a `chroot`, too.
fn lead_through(argument: &mut Argument) {
    if let Argument::Text(text) = argument
        && text.starts_with(FOLDER.as_bytes())
    {
        text.splice(0..0, THROUGH.iter().copied());
    }
}

/// What `execve` is called with.
fn plain(view: &View<'_>, path: Vec<u8>) -> Result<Called, Errno> {
    let sight = view.executable(&path, Base::WorkingDirectory, true)?;
    Ok(Called { name: path, vanishes: false, head: sight.head })
}

/// What `execveat` is called with. Interpreters get such a file by a name in `/dev/fd`.
fn at(view: &View<'_>, path: &[u8], folder: u64, flags: u64) -> Result<Called, Errno> {
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

/// The memory of a thread's process, which stays that one whatever the process executes.
fn memory(pid: Pid) -> Result<File, Errno> {
    let path = format!("/proc/{}/mem", pid.as_raw_nonzero());
    let file = File::options().read(true).write(true).open(path);
    file.map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::SRCH))
}

/// The text at `address`, which must be as long as a path can be.
fn text_at(memory: &File, address: u64) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    while text.len() < PATH_MOST {
        let at = address.checked_add(text.len() as u64).ok_or(Errno::FAULT)?;
        // No further than the page, since the next one may be missing. Pages are larger on some kernels, never smaller.
        let mut part = [0; 4096];
        let len = (4096 - at as usize % 4096).min(PATH_MOST - text.len());
        let read = memory.read_at(&mut part[..len], at).map_err(|_| Errno::FAULT)?;
        let part = &part[..read];
        if let Some(end) = part.iter().position(|byte| *byte == 0) {
            text.extend(&part[..end]);
            return Ok(text);
        }
        if read == 0 {
            return Err(Errno::FAULT);
        }
        text.extend(part);
    }
    Err(Errno::NAMETOOLONG)
}
