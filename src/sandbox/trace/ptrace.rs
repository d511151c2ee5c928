//! ptrace(2), as far as it is needed here.

use std::ptr;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use super::registers::{MOST, Registers};

/// What a status of `waitpid` says besides the signal.
pub(super) const EVENT_EXEC: i32 = libc::PTRACE_EVENT_EXEC;
pub(super) const EVENT_SECCOMP: i32 = libc::PTRACE_EVENT_SECCOMP;
/// A thread has just been attached, or its process was stopped or continued.
pub(super) const EVENT_STOP: i32 = libc::PTRACE_EVENT_STOP;

/// Becomes the tracer of the thread `pid` alone.
pub(super) fn attach(pid: Pid) -> Result<(), Errno> {
    let options = libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
    plain(libc::PTRACE_SEIZE.into(), pid, options.into())
}

/// Stops a thread that this process is the tracer of.
pub(super) fn interrupt(pid: Pid) -> Result<(), Errno> {
    plain(libc::PTRACE_INTERRUPT.into(), pid, 0)
}

/// Becomes the tracer of a child, stops it and lets it go again.
pub(super) fn try_out(pid: Pid) -> Result<(), Errno> {
    attach(pid)?;
    interrupt(pid)?;
    let status = loop {
        match rustix::process::waitpid(Some(pid), WaitOptions::UNTRACED) {
            Err(Errno::INTR) | Ok(None) => {}
            Err(errno) => return Err(errno),
            Ok(Some((_, status))) => break status,
        }
    };
    let signal = status.stopping_signal().ok_or(Errno::SRCH)?;
    let_go(pid, if status.as_raw() >> 16 == 0 { signal } else { 0 })
}

/// Becomes the tracer of `pid` and of all that come of it, none of which outlives this process.
pub(super) fn seize(pid: Pid) -> Result<(), Errno> {
    let options = libc::PTRACE_O_TRACESECCOMP
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_EXITKILL;
    plain(libc::PTRACE_SEIZE.into(), pid, options.into())
}

/// Lets it go on, with `signal` if there is one to be delivered.
pub(super) fn go_on(pid: Pid, signal: i32) -> Result<(), Errno> {
    plain(libc::PTRACE_CONT.into(), pid, signal.into())
}

/// Lets it go on to the end of the system call, or to the next one's beginning.
pub(super) fn finish_call(pid: Pid) -> Result<(), Errno> {
    plain(libc::PTRACE_SYSCALL.into(), pid, 0)
}

/// Is its tracer no longer, and lets it go on, with `signal` if there is one to be delivered.
pub(super) fn let_go(pid: Pid, signal: i32) -> Result<(), Errno> {
    plain(libc::PTRACE_DETACH.into(), pid, signal.into())
}

/// Leaves it stopped as job control wants it, so that it hears of being continued.
pub(super) fn stay_stopped(pid: Pid) -> Result<(), Errno> {
    plain(libc::PTRACE_LISTEN.into(), pid, 0)
}

/// What the stop has to tell.
pub(super) fn message(pid: Pid) -> Result<u64, Errno> {
    let mut message: libc::c_ulong = 0;
    with(libc::PTRACE_GETEVENTMSG.into(), pid, 0, ptr::from_mut(&mut message).cast())?;
    Ok(message)
}

/// Who sent the signal that it stopped for, as it sees that process.
pub(super) fn sender(pid: Pid) -> Result<i32, Errno> {
    // `siginfo_t` has 128 bytes on Linux: three numbers, on 64-bit hosts a gap, then the sender.
    let mut info = [0_i32; 32];
    with(libc::PTRACE_GETSIGINFO.into(), pid, 0, info.as_mut_ptr().cast())?;
    // Only what processes send has a sender; the kernel's own codes are above zero.
    Ok(if info[2] <= 0 { info[4] } else { 0 })
}

/// Its registers.
pub(super) fn registers(pid: Pid) -> Result<Registers, Errno> {
    let mut bytes = [0_u8; MOST];
    let len = transfer(pid, &mut bytes, false)?;
    Ok(Registers::new(&bytes, len))
}

/// Changes its registers.
pub(super) fn set_registers(pid: Pid, registers: &Registers) -> Result<(), Errno> {
    let mut bytes = [0_u8; MOST];
    let given = registers.bytes();
    bytes[..given.len()].copy_from_slice(given);
    transfer(pid, &mut bytes[..given.len()], true).map(|_| ())
}

/// On amd64 the old requests, which give the same list for programs of 32 bits too.
#[cfg(target_arch = "x86_64")]
fn transfer(pid: Pid, bytes: &mut [u8], set: bool) -> Result<usize, Errno> {
    let request = if set { libc::PTRACE_SETREGS } else { libc::PTRACE_GETREGS };
    let len = size_of::<libc::user_regs_struct>();
    if bytes.len() < len {
        return Err(Errno::INVAL);
    }
    with(request.into(), pid, 0, bytes.as_mut_ptr().cast())?;
    Ok(len)
}

#[cfg(not(target_arch = "x86_64"))]
fn transfer(pid: Pid, bytes: &mut [u8], set: bool) -> Result<usize, Errno> {
    /// `NT_PRSTATUS` of linux/elf.h.
    const GENERAL: usize = 1;
    let request = if set { libc::PTRACE_SETREGSET } else { libc::PTRACE_GETREGSET };
    let mut list = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    with(request.into(), pid, GENERAL, ptr::from_mut(&mut list).cast())?;
    Ok(list.iov_len)
}

fn plain(request: libc::c_long, pid: Pid, data: libc::c_long) -> Result<(), Errno> {
    with(request, pid, 0, ptr::without_provenance_mut(data.cast_unsigned() as usize))
}

fn with(request: libc::c_long, pid: Pid, address: usize, data: *mut libc::c_void) -> Result<(), Errno> {
    #[expect(unsafe_code, reason = "there is no safe interface to ptrace")]
    // SAFETY: the callers in this file pass a plain number as `data`, or a buffer that is as large as what the kernel
    // writes for the request, and that lives until the call returns.
    let done = unsafe { libc::syscall(libc::SYS_ptrace, request, pid.as_raw_nonzero().get(), address, data) };
    if done < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(())
}
