//! The seccomp filter that stops the execution of programs, and nothing else.
//!
//! It is made by hand. One filter has to know the tables of several architectures, and to let through what bears a
//! ticket; the crate for filters, `seccompiler`, makes one for a single table and kills the callers of all others.

use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use rustix::io::Errno;

use super::Means;
use super::call::{Call, HOST};

/// Offsets in `struct seccomp_data` of linux/seccomp.h.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// The halves of the sixth argument.
const SIXTH: [u32; 2] = [16 + 5 * 8, 16 + 5 * 8 + 4];

// linux/bpf_common.h.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const TRACE: u32 = 0x7ff0_0000;
const NOTIFY: u32 = 0x7fc0_0000;

/// Has the kernel ask about each program that this process, and all that come of it, execute. Those who listen are asked through the
/// descriptor that this returns; for those who follow the callers stop. While there is nobody to be asked such a call fails with
/// `ENOSYS`.
///
/// The process must have `CAP_SYS_ADMIN`, or have given up new privileges.
///
/// # Errors
/// Those of the system: `EBUSY` where somebody else listens to this process.
pub(in crate::sandbox) fn install(means: Means) -> Result<Option<OwnedFd>, Errno> {
    let host = HOST.ok_or(Errno::OPNOTSUPP)?;
    let mut code = program(host.calls, means);
    let len = u16::try_from(code.len()).map_err(|_| Errno::TOOBIG)?;
    let program = libc::sock_fprog { len, filter: code.as_mut_ptr() };
    // Without this flag, which Linux has from 4.17 on, kernels before 5.16 make all of the container slower by what they do against
    // speculation where a program is confined. This filter confines nothing.
    let fast = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    if means == Means::Following {
        return set_any(&[fast, 0], &program).map(|_| None);
    }
    let listen = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // With the last flag, which Linux has from 5.19 on, no signal but a deadly one has a call asked about twice.
    let whole = listen | fast | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let fd = set_any(&[whole, listen | fast, listen], &program)?;
    #[expect(unsafe_code, reason = "there is no safe way to take over what the kernel has just opened")]
    // SAFETY: with the flag for a listener the call returns a new descriptor, which nothing else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// With the first of these flags that the kernel knows all of.
fn set_any(choices: &[libc::c_ulong], program: &libc::sock_fprog) -> Result<RawFd, Errno> {
    let mut last = Err(Errno::INVAL);
    for flags in choices {
        last = set(*flags, program);
        if last != Err(Errno::INVAL) {
            break;
        }
    }
    last
}

fn set(flags: libc::c_ulong, program: &libc::sock_fprog) -> Result<RawFd, Errno> {
    let program = std::ptr::from_ref(program);
    #[expect(unsafe_code, reason = "no safe interface installs a filter")]
    // SAFETY: the program's length is that of the list it points to, which outlives the call; the kernel copies it.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, program) };
    RawFd::try_from(done)
        .ok()
        .filter(|fd| *fd >= 0)
        .ok_or_else(|| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// What the tracer is told of a call where callers stop for it: its place in the list, from one.
pub(super) fn told(calls: &'static [Call], message: u64) -> Option<&'static Call> {
    calls.get(usize::try_from(message).ok()?.checked_sub(1)?)
}

/// For each table: is it this one, then for each of its calls: is it this one. All else is allowed, and where somebody listens so is
/// what bears the ticket.
fn program(calls: &[Call], means: Means) -> Vec<libc::sock_filter> {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let is = |value| step(JUMP_IF_EQUAL, 0, 1, value);
    let mut steps = vec![step(LOAD, 0, 0, ARCH)];
    let mut rest: Vec<(usize, &Call)> = calls.iter().enumerate().collect();
    while let Some((_, first)) = rest.first() {
        let (arch, ticket) = (first.arch, first.shape.ticket());
        let (here, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(_, call)| call.arch == arch);
        let mut block = Vec::new();
        for (index, call) in here {
            block.push(step(LOAD, 0, 0, NUMBER));
            match means {
                Means::Following => {
                    block.extend([is(call.number), step(RETURN, 0, 0, TRACE | (index as u32 + 1))]);
                }
                Means::Listening => block.extend([
                    // Past what comes after it.
                    step(JUMP_IF_EQUAL, 0, 6, call.number),
                    step(LOAD, 0, 0, SIXTH[0]),
                    step(JUMP_IF_EQUAL, 0, 3, ticket as u32),
                    step(LOAD, 0, 0, SIXTH[1]),
                    is((ticket >> 32) as u32),
                    step(RETURN, 0, 0, ALLOW),
                    step(RETURN, 0, 0, NOTIFY),
                ]),
            }
        }
        block.push(step(RETURN, 0, 0, ALLOW));
        steps.push(step(JUMP_IF_EQUAL, 0, u8::try_from(block.len()).unwrap_or(u8::MAX), arch));
        steps.extend(block);
        rest = others;
    }
    steps.push(step(RETURN, 0, 0, ALLOW));
    steps
}

#[cfg(test)]
mod tests {
    use super::super::call::{ON_AMD64, ON_ARM64};
    use super::*;

    const MEANS: [Means; 2] = [Means::Listening, Means::Following];

    /// The kernel's interpreter of such programs, as far as they go here.
    fn run(program: &[libc::sock_filter], arch: u32, number: u32, sixth: u64) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            match (step.code, step.k) {
                (LOAD, ARCH) => accumulator = arch,
                (LOAD, NUMBER) => accumulator = number,
                (LOAD, at) if at == SIXTH[0] => accumulator = sixth as u32,
                (LOAD, at) if at == SIXTH[1] => accumulator = (sixth >> 32) as u32,
                (JUMP_IF_EQUAL, value) => {
                    at += usize::from(if accumulator == value { step.jt } else { step.jf });
                }
                (RETURN, word) => return word,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn each_call_is_told_and_all_others_pass() {
        for (host, means) in
            [ON_AMD64, ON_ARM64].into_iter().flat_map(|host| MEANS.map(|means| (host, means)))
        {
            let program = program(host.calls, means);
            for call in host.calls {
                let answer = run(&program, call.arch, call.number, 0);
                match means {
                    Means::Listening => assert_eq!(answer, NOTIFY),
                    Means::Following => {
                        assert_eq!(answer & 0xffff_0000, TRACE);
                        assert_eq!(told(host.calls, u64::from(answer & 0xffff)), Some(call));
                    }
                }
            }
            for (arch, number) in
                [(host.calls[0].arch, 0), (host.calls[0].arch, 12), (0x8000_0015, 59), (0, 221)]
            {
                assert_eq!(run(&program, arch, number, 0), ALLOW, "{arch:x} {number}");
            }
            // A number of one table means another call in the other.
            for call in host.calls {
                let other = host.calls.iter().find(|other| other.arch != call.arch).unwrap();
                let is_both =
                    host.calls.iter().any(|known| (known.arch, known.number) == (other.arch, call.number));
                assert_eq!(run(&program, other.arch, call.number, 0) != ALLOW, is_both);
            }
        }
        assert_eq!(told(ON_AMD64.calls, 0), None);
        assert_eq!(told(ON_AMD64.calls, 7), None);
        assert_eq!(told(ON_AMD64.calls, u64::MAX), None);
    }

    #[test]
    fn the_whole_ticket_lets_a_call_pass_and_no_part_of_it_does() {
        for host in [ON_AMD64, ON_ARM64] {
            let program = program(host.calls, Means::Listening);
            for call in host.calls {
                let ticket = call.shape.ticket();
                assert_eq!(run(&program, call.arch, call.number, ticket), ALLOW);
                for wrong in
                    [ticket ^ 1, ticket ^ 1 << 32, ticket ^ 1 << 63, ticket & 0xffff_ffff_0000_0000, 0]
                {
                    assert_eq!(run(&program, call.arch, call.number, wrong), NOTIFY, "{wrong:x}");
                }
            }
        }
    }
}
