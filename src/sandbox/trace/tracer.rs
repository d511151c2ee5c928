//! The tracer's loop.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use super::call::{Call, HOST, Host};
use super::children::Children;
use super::credentials::{Own, Status};
use super::decision::{Decision, Emulation, Judge};
use super::listener::{Listener, Question};
use super::memory::{Scratch, memory};
use super::registers::{AGAIN, INTERRUPTED, Registers, SIXTH};
use super::stack::{self, Argument};
use super::{LISTENER, Means, Place, filter, ptrace};
use crate::sandbox::link::Link;
use crate::sandbox::plan::Handler;
use crate::sandbox::{lifeline, procfs};

/// Children of all kinds, the threads that other processes made included (`__WALL`), and only those that there is news of.
const ALL: WaitOptions = WaitOptions::from_bits_retain(0x4000_0000).union(WaitOptions::NOHANG);
/// Below the stack pointer both hosts leave a function at most so many bytes that signals spare.
const RED_ZONE: u64 = 128;
/// The kernel lets arguments take 6 MiB; pointers to empty ones are most of that.
const LIST_MOST: usize = 16 << 20;
/// How much of a list is read at a time; most end within it.
const LIST_STEP: usize = 4096;
/// How often a container whose first process is emulated is looked at; see [`procfs::deadly_wait`].
const LOOK: Duration = Duration::from_millis(50);
/// So often before it counts as not emulated.
const LOOKS: u32 = 20;
/// Signals that stop a process.
const STOPS: [i32; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// Whom a tracer traces, and for whom.
#[derive(Debug)]
pub(in crate::sandbox) struct Traced<'a> {
    pub(in crate::sandbox) means: Means,
    /// The first process, which all others come of.
    pub(in crate::sandbox) first: Pid,
    /// The line to it, over which the listener comes.
    pub(in crate::sandbox) line: &'a Link,
    pub(in crate::sandbox) handlers: &'a [Handler],
    pub(in crate::sandbox) place: &'a Place,
    /// Whether the kernel discards signals that it does not catch, as for the first process of a container.
    pub(in crate::sandbox) is_spared: bool,
    /// Closed at the other end when the supervisor has died. Then the first process is ended.
    pub(in crate::sandbox) lifeline: BorrowedFd<'a>,
}

impl Traced<'_> {
    /// Traces them until the first has ended, and gives its end as a shell would.
    ///
    /// # Errors
    /// Those of the system.
    pub(in crate::sandbox) fn follow(&self) -> io::Result<u8> {
        let host = HOST.ok_or(Errno::OPNOTSUPP)?;
        let own = Own::read()?;
        let children = Children::watch()?;
        if self.means == Means::Listening {
            // The first process may have become another user, and so be without the kernel's promise to end it with this one. Then
            // this one ends it.
            rustix::process::set_parent_process_death_signal(None)?;
        }
        let tracer = Tracer {
            traced: self,
            host,
            judge: Judge::new(self.handlers, self.place, &own),
            own: &own,
            listener: None,
            stages: HashMap::new(),
            waiting: Vec::new(),
            is_first_emulated: false,
            looks: 0,
            killed_by: None,
        };
        let code = tracer.run(&children).inspect_err(|_| {
            // Nobody would answer it any more.
            let _ = rustix::process::kill_process(self.first, Signal::KILL);
        })?;
        Ok(u8::try_from(code).unwrap_or(u8::MAX))
    }
}

#[derive(Debug)]
struct Tracer<'a> {
    traced: &'a Traced<'a>,
    host: Host,
    judge: Judge<'a>,
    own: &'a Own,
    listener: Option<Listener>,
    /// The calls that are being changed, by thread. Where the kernel asks, no process has two: one that executes a program keeps the
    /// others of its process from being attached until it has, and waits itself until they have ended, which those that are attached
    /// only do when the tracer has heard of it.
    stages: HashMap<Pid, Held>,
    /// Questions of threads whose process has another that is in [`Self::stages`], with the number of that process.
    waiting: Vec<(i32, Question)>,
    /// Whether what the first process runs now is an emulator, which a tracer sent it to or which the image executes by itself.
    is_first_emulated: bool,
    /// How often it is looked at whether it is, until it is known.
    looks: u32,
    killed_by: Option<i32>,
}

/// A thread whose call is changed.
#[derive(Debug)]
struct Held {
    /// Its process.
    process: i32,
    stage: Stage,
}

/// What a thread is summoned for.
#[derive(Debug)]
struct Summons {
    question: Question,
    emulation: Emulation,
    /// Its memory, opened before it was attached: kernels before 5.8 keep a thread's memory closed while another executes a program.
    memory: File,
}

/// How far it has come.
#[derive(Debug)]
enum Stage {
    /// It waited for an answer, and is on its way out of the call, where it stops. There is nothing to change where it was taken for
    /// another.
    Summoned(Option<Summons>),
    /// It is about to make the call again.
    Returning(Summons),
    /// The call is changed, and goes on.
    Changed(Box<Pending>),
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
    Emulate { arguments: Vec<Argument>, first: Vec<Argument>, scratch: Scratch },
    /// It is to fail with this error.
    Refuse(Errno),
    /// The kernel has the word for it, and does not ask again.
    Leave,
}

impl Tracer<'_> {
    fn run(mut self, children: &Children) -> Result<i32, Errno> {
        let mut is_orphaned = false;
        let mut awaits_listener = self.traced.means == Means::Listening;
        let mut next_look = Instant::now();
        loop {
            while let Some((pid, status)) = changed()? {
                if let Some(code) = self.changed(pid, status)? {
                    return Ok(code);
                }
            }
            self.ask_again();
            let mut fds = vec![PollFd::new(children, PollFlags::IN)];
            if !is_orphaned {
                fds.push(PollFd::from_borrowed_fd(self.traced.lifeline, PollFlags::empty()));
            }
            match &self.listener {
                Some(listener) => fds.push(PollFd::new(listener, PollFlags::IN)),
                None if awaits_listener => fds.push(PollFd::new(self.traced.line, PollFlags::IN)),
                None => {}
            }
            let watches = self.traced.means == Means::Listening
                && self.traced.is_spared
                && (self.is_first_emulated || self.looks > 0)
                && self.killed_by.is_none();
            let left = Timespec::try_from(next_look.saturating_duration_since(Instant::now())).ok();
            let polled = rustix::event::poll(&mut fds, left.as_ref().filter(|_| watches));
            let [child, supervisor, asked] = revents(&fds, is_orphaned);
            match polled {
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
                Ok(_) => {}
            }
            // However busy the others keep this process.
            if watches && Instant::now() >= next_look {
                self.look()?;
                next_look = Instant::now() + LOOK;
            }
            if !child.is_empty() {
                children.heard();
            }
            if supervisor.intersects(PollFlags::HUP) {
                is_orphaned = true;
                self.end_first()?;
            }
            if asked.is_empty() {
                continue;
            }
            match &self.listener {
                Some(listener) if asked.intersects(PollFlags::IN) => {
                    let question = listener.question(&self.host)?;
                    if let Some(question) = question {
                        self.asked(question);
                    }
                }
                // Nobody is left that could ask.
                Some(_) => self.listener = None,
                None => {
                    awaits_listener = false;
                    let fds = match self.traced.line.hear(LISTENER) {
                        // It has ended before, and says why elsewhere.
                        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Vec::new(),
                        other => other.map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::IO))?,
                    };
                    self.listener = fds.into_iter().next().map(Listener::new);
                }
            }
        }
    }

    /// Ends the first process where that has tried to end by a signal in vain.
    fn look(&mut self) -> Result<(), Errno> {
        let first = self.traced.first;
        if !self.is_first_emulated {
            self.looks = self.looks.saturating_sub(1);
            self.is_first_emulated = self.judge.is_emulator(first);
        }
        if self.is_first_emulated {
            self.killed_by = procfs::deadly_wait(first);
        }
        if self.killed_by.is_some() { self.end_first() } else { Ok(()) }
    }

    /// Ends the first process, which may have ended by itself.
    fn end_first(&self) -> Result<(), Errno> {
        match rustix::process::kill_process(self.traced.first, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// What has become of a child or a traced thread; the code that all of it ends with, if it was the first.
    fn changed(&mut self, pid: Pid, status: WaitStatus) -> Result<Option<i32>, Errno> {
        let raw = status.as_raw();
        if let Some(signal) = status.stopping_signal() {
            // What is stopped can be killed at any moment; then the next status says so.
            match self.traced.means {
                Means::Following => drop(self.stopped(pid, signal, raw >> 16)),
                Means::Listening => {
                    let process =
                        self.stages.get(&pid).map_or(pid.as_raw_nonzero().get(), |held| held.process);
                    if self.came(pid, signal, raw >> 16).is_err() && ptrace::let_go(pid, 0).is_err() {
                        // It is held until that is heard.
                        self.hold(pid, process, Stage::Summoned(None));
                    }
                }
            }
            if self.traced.means == Means::Following && self.own.was_another() {
                lifeline::hold(self.traced.lifeline)?;
            }
            return Ok(None);
        }
        // Whoever is told of last has the number of its process, whatever it was called while it was attached.
        let number = pid.as_raw_nonzero().get();
        self.stages.retain(|thread, held| *thread != pid && held.process != number);
        if pid != self.traced.first {
            return Ok(None);
        }
        if let Some(signal) = self.killed_by.or(status.terminating_signal()) {
            return Ok(Some(128 + signal));
        }
        Ok(status.exit_status())
    }

    fn hold(&mut self, pid: Pid, process: i32, stage: Stage) {
        self.stages.insert(pid, Held { process, stage });
    }

    /// The questions of those whose process has no thread attached any more.
    fn ask_again(&mut self) {
        let (later, now): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(process, _)| self.stages.values().any(|held| held.process == *process));
        self.waiting = later;
        for (_, question) in now {
            // Most have ended meanwhile, since a program has been executed in their place.
            if self.listener.as_ref().is_some_and(|listener| listener.is_open(&question)) {
                self.asked(question);
            }
        }
    }

    /// A program is about to be executed, by a thread that waits for an answer.
    fn asked(&mut self, question: Question) {
        if self.stages.is_empty() {
            return self.answer(question);
        }
        let Ok(status) = status(question.pid) else {
            // It has ended.
            return self.leave(&question);
        };
        let process = status.process;
        if let Some(first) = Pid::from_raw(process)
            && self.stages.contains_key(&first)
            && !is_own(first)
        {
            // Another thread has executed a program and taken the place of the first, of whose end nobody is told.
            self.stages.remove(&first);
        }
        if self.stages.contains_key(&question.pid) {
            // It was summoned for an earlier question, and stops before it asks again.
            if let Some(listener) = &self.listener {
                listener.settle(&question, AGAIN);
            }
        } else if self.stages.values().any(|held| held.process == process) {
            self.waiting.push((process, question));
        } else {
            self.answer(question);
        }
    }

    fn leave(&self, question: &Question) {
        if let Some(listener) = &self.listener {
            listener.leave(question);
        }
    }

    /// Answers a thread of whose process none is attached.
    fn answer(&mut self, question: Question) {
        let decision = self.judge.decide(question.pid, question.call, &question.arguments);
        let Some(listener) = &self.listener else { return };
        match decision {
            Decision::Leave => {
                if question.pid == self.traced.first {
                    // It may be an emulator, which begins before long.
                    (self.is_first_emulated, self.looks) = (false, LOOKS);
                }
                listener.leave(&question);
            }
            Decision::Refuse(errno) => listener.settle(&question, -errno.raw_os_error()),
            Decision::Emulate(emulation) => {
                let (Ok(status), Ok(memory)) = (status(question.pid), memory(question.pid)) else {
                    return listener.leave(&question);
                };
                if let Err(errno) = ptrace::attach(question.pid) {
                    // A debugger in the container may have come first.
                    listener.settle(&question, -errno.raw_os_error());
                    return;
                }
                // Until here another could have got its number.
                let summons = Summons { question, emulation, memory };
                let summons = listener.is_open(&question).then_some(summons);
                // Where this fails it has been killed, which is heard of.
                let _ = ptrace::interrupt(question.pid);
                // Where the thread is on its way already this comes too late, and is not needed.
                listener.settle(&question, AGAIN);
                self.hold(question.pid, status.process, Stage::Summoned(summons));
            }
        }
    }

    /// A thread has stopped whose call is to be changed, or was.
    fn came(&mut self, pid: Pid, signal: i32, event: i32) -> Result<(), Errno> {
        let is_call = event == 0 && signal == libc::SIGTRAP | 0x80;
        if event == ptrace::EVENT_EXEC {
            self.executed(pid)?;
            return ptrace::let_go(pid, 0);
        }
        let Some(Held { process, stage }) = self.stages.remove(&pid) else {
            return ptrace::let_go(pid, if event == 0 && !is_call { signal } else { 0 });
        };
        match (stage, event) {
            (Stage::Summoned(Some(summons)), ptrace::EVENT_STOP) if !STOPS.contains(&signal) => {
                self.keep_from_signals(&summons.question)?;
                self.hold(pid, process, Stage::Returning(summons));
                ptrace::finish_call(pid)
            }
            (Stage::Summoned(Some(summons)), 0) if !is_call => {
                self.keep_from_signals(&summons.question)?;
                ptrace::let_go(pid, signal)
            }
            (Stage::Returning(Summons { question, emulation, memory }), _) if is_call => {
                let before = ptrace::registers(pid)?;
                let Question { call, arguments, .. } = question;
                if before.number(call.shape) != call.number || before.arguments(call.shape) != arguments {
                    // The handler of a signal came first. When the call is made again all begins anew.
                    return ptrace::let_go(pid, 0);
                }
                let pending = match emulate(pid, call, &before, emulation, &memory) {
                    Ok(pending) => pending,
                    Err(_) => leave(pid, call, &before)?,
                };
                self.hold(pid, process, Stage::Changed(pending));
                ptrace::finish_call(pid)
            }
            (Stage::Changed(pending), _) if is_call => {
                restore(pid, &pending)?;
                ptrace::let_go(pid, 0)
            }
            // A signal, or job control: all begins anew afterwards.
            _ => ptrace::let_go(pid, if event == 0 && !is_call { signal } else { 0 }),
        }
    }

    /// Sees to it that a call is made again also where a signal has come that would have it fail (`EINTR`).
    fn keep_from_signals(&self, question: &Question) -> Result<(), Errno> {
        let shape = question.call.shape;
        if self.host.shows_again {
            let mut registers = ptrace::registers(question.pid)?;
            if registers.result(shape) == INTERRUPTED {
                registers.set_result(shape, AGAIN);
                ptrace::set_registers(question.pid, &registers)?;
            }
        }
        Ok(())
    }

    /// A thread has stopped, of those that are all followed.
    fn stopped(&mut self, pid: Pid, signal: i32, event: i32) -> Result<(), Errno> {
        match event {
            ptrace::EVENT_SECCOMP => self.call(pid),
            ptrace::EVENT_EXEC => {
                self.executed(pid)?;
                ptrace::go_on(pid, 0)
            }
            ptrace::EVENT_STOP if STOPS.contains(&signal) => ptrace::stay_stopped(pid),
            0 if signal == libc::SIGTRAP | 0x80 => {
                if let Some(Held { stage: Stage::Changed(pending), .. }) = self.stages.remove(&pid) {
                    restore(pid, &pending)?;
                }
                ptrace::go_on(pid, 0)
            }
            0 => self.signalled(pid, signal),
            _ => ptrace::go_on(pid, 0),
        }
    }

    /// Passes a signal on.
    fn signalled(&mut self, pid: Pid, signal: i32) -> Result<(), Errno> {
        // An emulator whose guest dies of a signal takes back its own handler and sends itself that signal. In a
        // container's first process the kernel discards it, and the emulator would wait for ever.
        let is_firsts = |pid: Pid| {
            status(pid).is_ok_and(|status| status.process == self.traced.first.as_raw_nonzero().get())
        };
        if self.is_first_emulated
            && self.traced.is_spared
            && ptrace::sender(pid) == Ok(1)
            && is_firsts(pid)
            && procfs::takes_default(pid, signal)
        {
            self.killed_by = Some(signal);
            return self.end_first();
        }
        ptrace::go_on(pid, signal)
    }

    /// A program is about to be executed, by a thread that has stopped.
    fn call(&mut self, pid: Pid) -> Result<(), Errno> {
        if let Ok(Some(pending)) = self.change(pid) {
            // Here it is no matter of which process it is.
            self.hold(pid, pid.as_raw_nonzero().get(), Stage::Changed(pending));
            return ptrace::finish_call(pid);
        }
        // Whatever kept it from being looked at, the kernel has the word for it.
        self.stages.remove(&pid);
        ptrace::go_on(pid, 0)
    }

    fn change(&mut self, pid: Pid) -> Result<Option<Box<Pending>>, Errno> {
        let Some(call) = filter::told(self.host.calls, ptrace::message(pid)?) else { return Ok(None) };
        let before = ptrace::registers(pid)?;
        match self.judge.decide(pid, call, &before.arguments(call.shape)) {
            Decision::Leave => Ok(None),
            Decision::Emulate(emulation) => emulate(pid, call, &before, emulation, &memory(pid)?).map(Some),
            Decision::Refuse(errno) => {
                // No path at all makes it fail; with what, is changed when it has.
                let mut after = before;
                after.set_argument(call.shape, usize::from(call.at), 0);
                ptrace::set_registers(pid, &after)?;
                Ok(Some(Box::new(Pending { call, before, change: Change::Refuse(errno) })))
            }
        }
    }

    /// A program has been executed.
    fn executed(&mut self, pid: Pid) -> Result<(), Errno> {
        // Where a thread did it that is not its process's first, it now has that one's number.
        let former = i32::try_from(ptrace::message(pid)?).ok().and_then(Pid::from_raw);
        let stage = former.and_then(|former| self.stages.remove(&former));
        self.stages.remove(&pid);
        let change = match stage {
            Some(Held { stage: Stage::Changed(pending), .. }) => Some(pending.change),
            _ => None,
        };
        let emulated = match change {
            Some(Change::Emulate { mut arguments, first, scratch }) => {
                scratch.give_back();
                if !first.is_empty() && self.judge.is_first_of_all() {
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
        if pid == self.traced.first {
            self.is_first_emulated = emulated || self.judge.is_emulator(pid);
        }
        Ok(())
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
}

/// The next of those that there is news of.
fn changed() -> Result<Option<(Pid, WaitStatus)>, Errno> {
    loop {
        match rustix::process::wait(ALL) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// What there is to hear of children, of the supervisor and of what is asked.
fn revents(fds: &[PollFd<'_>], is_orphaned: bool) -> [PollFlags; 3] {
    let at = |index: usize| fds.get(index).map_or(PollFlags::empty(), PollFd::revents);
    if is_orphaned { [at(0), PollFlags::empty(), at(1)] } else { [at(0), at(1), at(2)] }
}

/// Points a call at an emulator.
fn emulate(
    pid: Pid,
    call: &'static Call,
    before: &Registers,
    emulation: Emulation,
    memory: &File,
) -> Result<Box<Pending>, Errno> {
    let Emulation { mut path, arguments, first } = emulation;
    path.push(0);
    let last = call.shape.last_address();
    let scratch = before
        .stack(call.shape)
        .checked_sub(RED_ZONE + path.len() as u64)
        .filter(|address| *address <= last)
        .and_then(|address| Scratch::write(memory, address & !15, &path).ok());
    let scratch = scratch.map_or_else(|| Scratch::borrow(pid, memory, &path, last), Ok)?;
    let mut after = *before;
    after.set_argument(call.shape, usize::from(call.at), scratch.address());
    if call.at {
        after.set_argument(call.shape, 4, 0);
    }
    after.set_argument(call.shape, SIXTH, call.shape.ticket());
    if let Err(errno) = ptrace::set_registers(pid, &after) {
        scratch.put_back();
        return Err(errno);
    }
    Ok(Box::new(Pending { call, before: *before, change: Change::Emulate { arguments, first, scratch } }))
}

/// Has the kernel not ask about a call again.
fn leave(pid: Pid, call: &'static Call, before: &Registers) -> Result<Box<Pending>, Errno> {
    let mut after = *before;
    after.set_argument(call.shape, SIXTH, call.shape.ticket());
    ptrace::set_registers(pid, &after)?;
    Ok(Box::new(Pending { call, before: *before, change: Change::Leave }))
}

fn status(pid: Pid) -> io::Result<Status> {
    Status::of(Path::new(&format!("/proc/{}", pid.as_raw_nonzero())))
}

/// Whether this process traces the thread.
fn is_own(pid: Pid) -> bool {
    let own = rustix::thread::gettid().as_raw_nonzero().get();
    status(pid).is_ok_and(|status| status.tracer == own)
}

/// A call that was changed has failed: all is as the caller left it, but for the result.
fn restore(pid: Pid, pending: &Pending) -> Result<(), Errno> {
    let Pending { call, before, change } = pending;
    let mut registers = ptrace::registers(pid)?;
    registers.restore_arguments(call.shape, before);
    match change {
        Change::Emulate { scratch, .. } => scratch.put_back(),
        Change::Leave => {}
        Change::Refuse(errno) => {
            // Anything else is a call that is to be made again.
            if registers.result(call.shape) == -Errno::FAULT.raw_os_error() {
                registers.set_result(call.shape, -errno.raw_os_error());
            }
        }
    }
    ptrace::set_registers(pid, &registers)
}
