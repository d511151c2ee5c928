//! The way `trace`: a tracer sends foreign programs to their emulators, where the kernel has no handlers to do it.
//!
//! A seccomp filter ([`filter`]) stops `execve` and `execveat`, and nothing else, in every process of the
//! container. The outer process, which is the tracer ([`tracer`]), looks at the file as the kernel would
//! ([`view`]), follows `#!` lines ([`script`]), and judges ([`verdict`]):
//!
//! - What is no guest's program, and whatever the kernel would refuse, goes to the kernel as it is, so that the
//!   kernel's own errors are what the caller gets.
//! - A guest's program is replaced by its emulator: one string, its path, is written below the caller's stack
//!   pointer, and one register is made to point there. When the emulator has been loaded, and before it runs, the
//!   words of the emulation are put before the arguments on its new stack ([`stack`]). Nothing of the argument
//!   list is copied or even read before, so it may be as long as the kernel allows.
//!
//! What is looked at may change before the kernel looks: other threads can write to the path, others can rename
//! the file. That is no matter of security, for the tracer grants nothing that the container could not do by
//! itself; it must only neither panic nor hang, whatever it meets.
//!
//! Where nothing is executed it costs nothing but a stop for each new thread or process and each delivered signal, as
//! ptrace(2) has it. A debugger inside the container does not work: a process has one tracer.

mod call;
mod credentials;
mod filter;
mod ptrace;
mod registers;
mod script;
mod stack;
mod tracer;
mod verdict;
mod view;

pub(super) use filter::install;
pub(super) use ptrace::seize;
pub(super) use tracer::{End, follow};

use super::plan::Handler;

/// Where the container has its emulators on this way: a folder of its own `/dev`.
pub(super) const FOLDER: &str = "/dev/.polyarch";

/// Where the emulators are, for those that are traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The folder, in the root that the first of them has.
    pub(super) folder: String,
    /// The path of that root, for those that have another.
    pub(super) root: String,
}

impl Place {
    /// In a container: its first process has the container's root.
    pub(super) fn of_container() -> Self {
        Self { folder: FOLDER.into(), root: "/proc/1/root".into() }
    }
}

/// The file of a handler's emulator in [`FOLDER`].
pub(super) fn file_name(handler: &Handler) -> String {
    handler.guest.clone()
}

/// The folder beside it with links that lead to it; the kernel calls a process by the name of what it executed.
pub(super) fn names_folder(handler: &Handler) -> String {
    format!("{}.as", handler.guest)
}
