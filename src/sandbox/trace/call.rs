//! The system calls that execute a program, on each host and for each kind of program that the host runs.

use super::registers::{AMD64, AMD64_I386, ARM64, ARM64_ARM, Shape};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    /// `AUDIT_ARCH_*` of linux/audit.h: which table of system calls the number is of.
    pub(super) arch: u32,
    pub(super) number: u32,
    /// Whether it is `execveat`.
    pub(super) at: bool,
    /// Where its arguments are.
    pub(super) shape: &'static Shape,
}

/// What the tracer must know of a host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host {
    pub(super) calls: &'static [Call],
    /// The registers of the host's own programs, the emulators among them.
    pub(super) own: &'static Shape,
    /// Whether a thread that stops on its way out of a call that is to be made again still shows that in the call's result. Where
    /// not, all is as it was before the call already.
    pub(super) shows_again: bool,
}

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;
/// Set in the numbers of x32, whose programs have amd64's registers.
const X32: u32 = 0x4000_0000;

const fn execve(arch: u32, number: u32, shape: &'static Shape) -> Call {
    Call { arch, number, at: false, shape }
}

const fn execveat(arch: u32, number: u32, shape: &'static Shape) -> Call {
    Call { arch, number, at: true, shape }
}

/// amd64, with the calls of i386 and x32.
pub(super) const ON_AMD64: Host = Host {
    calls: &[
        execve(X86_64, 59, &AMD64),
        execveat(X86_64, 322, &AMD64),
        execve(X86_64, X32 + 520, &AMD64),
        execveat(X86_64, X32 + 545, &AMD64),
        execve(I386, 11, &AMD64_I386),
        execveat(I386, 358, &AMD64_I386),
    ],
    own: &AMD64,
    shows_again: true,
};

/// arm64, with the calls of 32-bit ARM.
pub(super) const ON_ARM64: Host = Host {
    calls: &[
        execve(AARCH64, 221, &ARM64),
        execveat(AARCH64, 281, &ARM64),
        execve(ARM, 11, &ARM64_ARM),
        execveat(ARM, 387, &ARM64_ARM),
    ],
    own: &ARM64,
    shows_again: false,
};

/// This host.
pub(super) const HOST: Option<Host> = if cfg!(target_arch = "x86_64") {
    Some(ON_AMD64)
} else if cfg!(target_arch = "aarch64") {
    Some(ON_ARM64)
} else {
    None
};
