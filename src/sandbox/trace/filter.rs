//! The seccomp filter that stops the execution of programs, and nothing else.
//!
//! It is made by hand. One filter has to know the tables of several architectures, and to say which call of which it
//! was; the crate for filters, `seccompiler`, makes one for a single table and kills the callers of all others.

use rustix::io::Errno;

use super::call::{Call, HOST};

/// Offsets in `struct seccomp_data` of linux/seccomp.h.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

// linux/bpf_common.h.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const TRACE: u32 = 0x7ff0_0000;

/// Has the kernel stop this process, and all that come of it, for the tracer when it executes a program. Without a tracer
/// such a call fails with `ENOSYS`.
///
/// The process must have `CAP_SYS_ADMIN`, or have given up new privileges.
pub(in crate::sandbox) fn install() -> Result<(), Errno> {
    let host = HOST.ok_or(Errno::OPNOTSUPP)?;
    let mut code = program(host.calls);
    let len = u16::try_from(code.len()).map_err(|_| Errno::TOOBIG)?;
    let program = libc::sock_fprog { len, filter: code.as_mut_ptr() };
    #[expect(unsafe_code, reason = "no safe interface installs a filter")]
    // SAFETY: the program's length is that of the list it points to, which outlives the call; the kernel copies it.
    let done =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, std::ptr::from_ref(&program)) };
    if done == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}

/// What the tracer is told of a call: its place in the list, from one.
pub(super) fn told(calls: &'static [Call], message: u64) -> Option<&'static Call> {
    calls.get(usize::try_from(message).ok()?.checked_sub(1)?)
}

/// For each table: is it this one, then for each of its calls: is it this one. All else is allowed.
fn program(calls: &[Call]) -> Vec<libc::sock_filter> {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = vec![step(LOAD, 0, 0, ARCH)];
    let mut rest: Vec<(usize, &Call)> = calls.iter().enumerate().collect();
    while let Some((_, first)) = rest.first() {
        let arch = first.arch;
        let (here, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(_, call)| call.arch == arch);
        // Past the loading of the number, two steps for each call, and the last word.
        steps.push(step(JUMP_IF_EQUAL, 0, u8::try_from(2 + 2 * here.len()).unwrap_or(u8::MAX), arch));
        steps.push(step(LOAD, 0, 0, NUMBER));
        for (index, call) in here {
            steps.push(step(JUMP_IF_EQUAL, 0, 1, call.number));
            steps.push(step(RETURN, 0, 0, TRACE | (index as u32 + 1)));
        }
        steps.push(step(RETURN, 0, 0, ALLOW));
        rest = others;
    }
    steps.push(step(RETURN, 0, 0, ALLOW));
    steps
}

#[cfg(test)]
mod tests {
    use super::super::call::{ON_AMD64, ON_ARM64};
    use super::*;

    /// The kernel's interpreter of such programs, as far as they go here.
    fn run(program: &[libc::sock_filter], arch: u32, number: u32) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            match step.code {
                LOAD => accumulator = if step.k == ARCH { arch } else { number },
                JUMP_IF_EQUAL => at += usize::from(if accumulator == step.k { step.jt } else { step.jf }),
                RETURN => return step.k,
                code => panic!("{code}"),
            }
        }
    }

    #[test]
    fn each_call_is_told_and_all_others_pass() {
        for host in [ON_AMD64, ON_ARM64] {
            let program = program(host.calls);
            for call in host.calls {
                let answer = run(&program, call.arch, call.number);
                assert_eq!(answer & 0xffff_0000, TRACE);
                assert_eq!(told(host.calls, u64::from(answer & 0xffff)), Some(call));
            }
            for (arch, number) in
                [(host.calls[0].arch, 0), (host.calls[0].arch, 12), (0x8000_0015, 59), (0, 221)]
            {
                assert_eq!(run(&program, arch, number), ALLOW, "{arch:x} {number}");
            }
            // A number of one table means another call in the other.
            for call in host.calls {
                let other = host.calls.iter().find(|other| other.arch != call.arch).unwrap();
                let is_both =
                    host.calls.iter().any(|known| (known.arch, known.number) == (other.arch, call.number));
                assert_eq!(run(&program, other.arch, call.number) != ALLOW, is_both);
            }
        }
        assert_eq!(told(ON_AMD64.calls, 0), None);
        assert_eq!(told(ON_AMD64.calls, 7), None);
        assert_eq!(told(ON_AMD64.calls, u64::MAX), None);
    }
}
