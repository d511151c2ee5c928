//! A profile becomes a filter: a program of the kernel's classic BPF, and its installation.
//!
//! The kernel gives it the call's number, the architecture and the six arguments (`struct seccomp_data` of linux/seccomp.h). For each
//! architecture the numbers are parted into ranges that have one answer each, and searched by halves.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::super::ConfineError;
use super::calls::{self, Abi};
use super::profile::{Action, Comparison, Condition, Rule, Seccomp};
use crate::target::Platform;

/// How many instructions the kernel takes (`BPF_MAXINSNS`).
const MOST: usize = 4096;
/// Numbers from here on are private to an ABI; none of them is the newest call.
const PRIVATE: u32 = 0x8000;

/// Where in the data the number, the architecture and the first argument are.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// One instruction: code, where to go on if a comparison holds and where if not, and the operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    code: u16,
    yes: u8,
    no: u8,
    operand: u32,
}

/// What a range of numbers is answered with: the first of these whose conditions hold, else the profile's default.
type Answer = Vec<(Vec<Condition>, u32)>;

fn load(at: u32) -> Instruction {
    plain(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at)
}

fn answer(value: u32) -> Instruction {
    plain(libc::BPF_RET | libc::BPF_K, value)
}

fn plain(code: u32, operand: u32) -> Instruction {
    Instruction { code: code as u16, yes: 0, no: 0, operand }
}

fn compare(code: u32, operand: u32, yes: u8, no: u8) -> Instruction {
    Instruction { code: (libc::BPF_JMP | code | libc::BPF_K) as u16, yes, no, operand }
}

/// What the kernel is told of an action.
fn value(action: Action, errno: Option<u16>) -> u32 {
    // As the runtimes have it: EPERM where nothing is said.
    let errno = u32::from(errno.unwrap_or(1));
    match action {
        Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::Errno => libc::SECCOMP_RET_ERRNO | errno,
        Action::Trace => libc::SECCOMP_RET_TRACE | errno,
        Action::Log => libc::SECCOMP_RET_LOG,
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Notify => libc::SECCOMP_RET_USER_NOTIF,
    }
}

impl Seccomp {
    /// The filter.
    ///
    /// # Errors
    /// [`ConfineError::Filter`] where it is more than the kernel takes.
    pub(super) fn filter(&self) -> Result<Vec<Instruction>, ConfineError> {
        let abis = calls::abis(&Platform::host().architecture);
        let abis = abis.iter().filter(|abi| self.architectures.iter().any(|name| name == abi.name));
        let mut ranges: BTreeMap<u32, BTreeMap<u32, Answer>> = BTreeMap::new();
        for abi in abis {
            let of_audit = ranges.entry(abi.audit).or_default();
            // What is before the first is another ABI's, which the profile does not know.
            of_audit.entry(0).or_insert_with(|| vec![(Vec::new(), libc::SECCOMP_RET_KILL_PROCESS)]);
            of_audit.extend(self.ranges(abi));
            if abi.base == 0 {
                // The one whose numbers begin later, where the profile has it, comes after this one and replaces it.
                let other = calls::abis(&Platform::host().architecture);
                let other = other.into_iter().find(|other| other.audit == abi.audit && other.base > 0);
                if let Some(other) = other {
                    of_audit.insert(other.base, vec![(Vec::new(), libc::SECCOMP_RET_KILL_PROCESS)]);
                }
            }
        }
        let default = value(self.default_action, self.default_errno_ret);
        let mut program = vec![load(ARCHITECTURE)];
        for (audit, ranges) in ranges {
            let mut merged: Vec<(u32, Answer)> = Vec::new();
            for (start, answer) in ranges {
                if merged.last().is_none_or(|(_, last)| *last != answer) {
                    merged.push((start, answer));
                }
            }
            let mut block = vec![load(NUMBER)];
            block.extend(search(&merged, default));
            program.push(compare(libc::BPF_JEQ, audit, 1, 0));
            program.push(plain(libc::BPF_JMP | libc::BPF_JA, block.len() as u32));
            program.extend(block);
        }
        program.push(answer(libc::SECCOMP_RET_KILL_PROCESS));
        if program.len() > MOST {
            let reason = format!("it makes {} instructions, and the kernel takes {MOST}", program.len());
            return Err(ConfineError::Filter { reason });
        }
        Ok(program)
    }

    /// What the numbers of one ABI are answered with, by the first of each range.
    fn ranges(&self, abi: &Abi) -> BTreeMap<u32, Answer> {
        let default = value(self.default_action, self.default_errno_ret);
        let mut by_name: BTreeMap<&str, Answer> = BTreeMap::new();
        for rule in &self.syscalls {
            let value = value(rule.action, rule.errno_ret);
            if value == default {
                continue;
            }
            for name in &rule.names {
                let answer = by_name.entry(name).or_default();
                answer.extend(alternatives(rule).into_iter().map(|conditions| (conditions, value)));
            }
        }
        for answer in by_name.values_mut() {
            // One without conditions counts whatever the others say.
            if let Some(at) = answer.iter().position(|(conditions, _)| conditions.is_empty()) {
                let all = answer.swap_remove(at);
                *answer = vec![all];
            }
        }
        let mut ranges = BTreeMap::from([(abi.base, Answer::new())]);
        let mut newest = None;
        let calls: BTreeMap<u32, &Answer> = abi
            .calls()
            .filter_map(|(name, number)| by_name.get(name).map(|answer| (number, answer)))
            .collect();
        for (number, answer) in &calls {
            ranges.insert(abi.base + number, (*answer).clone());
            if !calls.contains_key(&(number + 1)) {
                ranges.insert(abi.base + number + 1, Answer::new());
            }
            if *number < PRIVATE {
                newest = Some(*number);
            }
        }
        // A program asks whether a call is there, and must not take a newer one than the profile knows for a forbidden one.
        let refuses = !matches!(self.default_action, Action::Allow | Action::Log | Action::Trace);
        if refuses && let Some(newest) = newest {
            let unknown = value_of_unknown();
            ranges.insert(abi.base + newest + 1, vec![(Vec::new(), unknown)]);
        }
        ranges
    }
}

fn value_of_unknown() -> u32 {
    value(Action::Errno, u16::try_from(libc::ENOSYS).ok())
}

/// The sets of conditions of which one must hold. Several for one argument are alternatives, as runc has it.
fn alternatives(rule: &Rule) -> Vec<Vec<Condition>> {
    let twice = (0..6).any(|index| rule.args.iter().filter(|arg| arg.index == index).count() > 1);
    if twice { rule.args.iter().map(|arg| vec![arg.clone()]).collect() } else { vec![rule.args.clone()] }
}

/// Instructions that find the range of the number that has been loaded, and answer.
fn search(ranges: &[(u32, Answer)], default: u32) -> Vec<Instruction> {
    if let [(_, found)] = ranges {
        return conclude(found, default);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let Some((start, _)) = high.first() else { return vec![answer(default)] };
    let (low, above) = (search(low, default), search(high, default));
    let mut program = match u8::try_from(low.len()) {
        Ok(length) => vec![compare(libc::BPF_JGE, *start, length, 0)],
        Err(_) => {
            vec![compare(libc::BPF_JGE, *start, 0, 1), plain(libc::BPF_JMP | libc::BPF_JA, low.len() as u32)]
        }
    };
    program.extend(low);
    program.extend(above);
    program
}

/// Instructions that try the conditions in turn.
fn conclude(found: &Answer, default: u32) -> Vec<Instruction> {
    let mut program = Vec::new();
    for (conditions, value) in found {
        // Where one does not hold, the next set is tried: how far away that is, is known when the set is whole.
        let mut set: Vec<(Instruction, Fail)> = conditions.iter().flat_map(check).collect();
        set.push((answer(*value), Fail::Never));
        let length = set.len();
        for (at, (mut instruction, fail)) in set.into_iter().enumerate() {
            let away = (length - at - 1) as u8;
            match fail {
                Fail::Never => {}
                Fail::Yes => instruction.yes = away,
                Fail::No => instruction.no = away,
            }
            program.push(instruction);
        }
        if conditions.is_empty() {
            return program;
        }
    }
    program.push(answer(default));
    program
}

/// Which way out of a comparison means that the condition does not hold.
#[derive(Debug, Clone, Copy)]
enum Fail {
    Never,
    Yes,
    No,
}

/// Instructions that go on where the condition holds. Arguments have 64 bits and instructions 32; hosts are little-endian.
fn check(condition: &Condition) -> Vec<(Instruction, Fail)> {
    use libc::{BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_K};
    let low_at = ARGUMENTS + 8 * condition.index;
    let (low, high) = (load(low_at), load(low_at + 4));
    let (value_low, value_high) = (condition.value as u32, (condition.value >> 32) as u32);
    match condition.op {
        Comparison::Equal => vec![
            (high, Fail::Never),
            (compare(BPF_JEQ, value_high, 0, 0), Fail::No),
            (low, Fail::Never),
            (compare(BPF_JEQ, value_low, 0, 0), Fail::No),
        ],
        Comparison::NotEqual => vec![
            (high, Fail::Never),
            (compare(BPF_JEQ, value_high, 0, 2), Fail::Never),
            (low, Fail::Never),
            (compare(BPF_JEQ, value_low, 0, 0), Fail::Yes),
        ],
        Comparison::GreaterOrEqual | Comparison::Greater => {
            let code = if condition.op == Comparison::Greater { BPF_JGT } else { BPF_JGE };
            vec![
                (high, Fail::Never),
                (compare(BPF_JGT, value_high, 3, 0), Fail::Never),
                (compare(BPF_JEQ, value_high, 0, 0), Fail::No),
                (low, Fail::Never),
                (compare(code, value_low, 0, 0), Fail::No),
            ]
        }
        Comparison::Less | Comparison::LessOrEqual => {
            let code = if condition.op == Comparison::Less { BPF_JGE } else { BPF_JGT };
            vec![
                (high, Fail::Never),
                (compare(BPF_JGT, value_high, 0, 0), Fail::Yes),
                (compare(BPF_JEQ, value_high, 0, 2), Fail::Never),
                (low, Fail::Never),
                (compare(code, value_low, 0, 0), Fail::Yes),
            ]
        }
        Comparison::MaskedEqual => {
            let mask = |bits| (plain(BPF_ALU | BPF_AND | BPF_K, bits), Fail::Never);
            let (want_low, want_high) = (condition.value_two as u32, (condition.value_two >> 32) as u32);
            vec![
                (high, Fail::Never),
                mask(value_high),
                (compare(BPF_JEQ, want_high, 0, 0), Fail::No),
                (low, Fail::Never),
                mask(value_low),
                (compare(BPF_JEQ, want_low, 0, 0), Fail::No),
            ]
        }
    }
}

/// Installs the filter for this process and what it becomes. It needs no new privileges to be possible, or CAP_SYS_ADMIN.
///
/// # Errors
/// What the kernel says; `EINVAL` where the profile makes no filter.
pub(in super::super::super) fn install(seccomp: &Seccomp) -> Result<(), Errno> {
    let filter = seccomp.filter().map_err(|_| Errno::INVAL)?;
    let raw = |instruction: &Instruction| libc::sock_filter {
        code: instruction.code,
        jt: instruction.yes,
        jf: instruction.no,
        k: instruction.operand,
    };
    let mut filter: Vec<libc::sock_filter> = filter.iter().map(raw).collect();
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // Programs under a filter get the costly guard against speculation before Linux 5.16, which containers are not meant to have.
    for flags in [libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0] {
        #[expect(unsafe_code, reason = "neither rustix nor the standard library installs seccomp filters")]
        // SAFETY: `program` points at its instructions, which live until the call returns.
        let result = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
        };
        if result == 0 {
            return Ok(());
        }
        match std::io::Error::last_os_error().raw_os_error().map(Errno::from_raw_os_error) {
            // Linux before 4.17 knows no such flag.
            Some(Errno::INVAL) if flags != 0 => {}
            errno => return Err(errno.unwrap_or(Errno::IO)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::Capabilities;
    use super::*;

    /// What the kernel would do: runs `program` over a call.
    fn run(program: &[Instruction], audit: u32, number: u32, args: [u64; 6]) -> u32 {
        let word = |at: u32| match at {
            NUMBER => number,
            ARCHITECTURE => audit,
            _ => {
                let argument = args[(at - ARGUMENTS) as usize / 8];
                if at.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
            }
        };
        let (mut at, mut value) = (0, 0);
        loop {
            let Instruction { code, yes, no, operand } = program[at];
            at += 1;
            let code = u32::from(code);
            let holds = match code & !libc::BPF_JMP & 0xf0 {
                libc::BPF_JEQ => value == operand,
                libc::BPF_JGT => value > operand,
                libc::BPF_JGE => value >= operand,
                _ => false,
            };
            match code & 7 {
                libc::BPF_LD => value = word(operand),
                libc::BPF_ALU => value &= operand,
                libc::BPF_RET => return operand,
                libc::BPF_JMP if code & 0xf0 == libc::BPF_JA => at += operand as usize,
                _ => at += usize::from(if holds { yes } else { no }),
            }
        }
    }

    fn number(abi: &Abi, name: &str) -> u32 {
        abi.calls().find(|(known, _)| *known == name).map(|(_, number)| abi.base + number).unwrap()
    }

    const EPERM: u32 = libc::SECCOMP_RET_ERRNO + 1;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO + 38;

    #[test]
    fn every_call_of_every_abi_has_dockers_answer() {
        let seccomp = Seccomp::default_for(Capabilities::default()).unwrap();
        let program = seccomp.filter().unwrap();
        assert!(program.len() < MOST / 2, "{}", program.len());
        for abi in calls::abis(&Platform::host().architecture) {
            let ask = |name, args| run(&program, abi.audit, number(&abi, name), args);
            let is_named =
                |name: &str| seccomp.syscalls.iter().any(|rule| rule.names.iter().any(|known| known == name));
            let known = abi.calls().filter(|(name, number)| is_named(name) && *number < PRIVATE);
            let newest = known.map(|(_, number)| number).max().unwrap();
            for (name, number) in abi.calls() {
                let rules: Vec<&Rule> = seccomp
                    .syscalls
                    .iter()
                    .filter(|rule| rule.names.iter().any(|known| known == name))
                    .collect();
                if rules.iter().any(|rule| !rule.args.is_empty()) {
                    continue;
                }
                let expected = rules.first().map_or(EPERM, |rule| value(rule.action, rule.errno_ret));
                let newer = number > newest && number < PRIVATE;
                let expected = if newer { ENOSYS } else { expected };
                assert_eq!(ask(name, [0; 6]), expected, "{} {name}", abi.name);
            }
            assert_eq!(ask("clone3", [0; 6]), ENOSYS);
            assert_eq!(ask("mount", [0; 6]), EPERM);
            assert_eq!(ask("clone", [0x0120_0011, 0, 0, 0, 0, 0]), libc::SECCOMP_RET_ALLOW);
            assert_eq!(ask("clone", [0x1000_0000, 0, 0, 0, 0, 0]), EPERM, "a user namespace");
            assert_eq!(ask("socket", [2, 0, 0, 0, 0, 0]), libc::SECCOMP_RET_ALLOW);
            assert_eq!(ask("socket", [40, 0, 0, 0, 0, 0]), EPERM, "AF_VSOCK");
            assert_eq!(ask("socket", [1 << 32, 0, 0, 0, 0, 0]), EPERM);
            assert_eq!(ask("personality", [0xffff_ffff, 0, 0, 0, 0, 0]), libc::SECCOMP_RET_ALLOW);
            assert_eq!(ask("personality", [0x0004_0000, 0, 0, 0, 0, 0]), EPERM);
            assert_eq!(run(&program, abi.audit, abi.base + 2000, [0; 6]), ENOSYS);
        }
        assert_eq!(run(&program, 0x4000_0008, 1, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn capabilities_open_what_they_are_for() {
        let add = ["SYS_ADMIN".to_owned()];
        let capabilities = Capabilities::changed(&add, &["SYS_CHROOT".to_owned()]).unwrap();
        let program = Seccomp::default_for(capabilities).unwrap().filter().unwrap();
        for abi in calls::abis(&Platform::host().architecture) {
            let ask = |name, args| run(&program, abi.audit, number(&abi, name), args);
            for name in ["mount", "clone3", "unshare", "setns", "bpf"] {
                assert_eq!(ask(name, [u64::MAX; 6]), libc::SECCOMP_RET_ALLOW, "{name}");
            }
            assert_eq!(ask("clone", [0x1000_0000, 0, 0, 0, 0, 0]), libc::SECCOMP_RET_ALLOW);
            assert_eq!(ask("chroot", [0; 6]), EPERM);
        }
    }

    #[test]
    fn comparisons_have_64_bits() {
        use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, MaskedEqual, NotEqual};
        let big = 0x1_0000_0005_u64;
        let values = [0, 4, 5, 6, u64::from(u32::MAX), big - 1, big, big + 1, 2 << 32, u64::MAX];
        let own = calls::abis(&Platform::host().architecture).remove(0);
        for op in [NotEqual, Less, LessOrEqual, Equal, GreaterOrEqual, Greater, MaskedEqual] {
            for (value, value_two) in [(5, 4), (big, 5), (big, 1 << 32)] {
                let condition = Condition { index: 3, value, value_two, op };
                let rule = Rule {
                    names: vec!["read".into()],
                    action: Action::Allow,
                    errno_ret: None,
                    args: vec![condition],
                };
                let seccomp = Seccomp {
                    default_action: Action::Errno,
                    default_errno_ret: Some(7),
                    architectures: vec![own.name.into()],
                    syscalls: vec![rule],
                };
                let program = seccomp.filter().unwrap();
                for given in values {
                    let holds = match op {
                        NotEqual => given != value,
                        Less => given < value,
                        LessOrEqual => given <= value,
                        Equal => given == value,
                        GreaterOrEqual => given >= value,
                        Greater => given > value,
                        MaskedEqual => given & value == value_two,
                    };
                    let got = run(&program, own.audit, number(&own, "read"), [0, 0, 0, given, 0, 0]);
                    let expected = if holds { libc::SECCOMP_RET_ALLOW } else { libc::SECCOMP_RET_ERRNO | 7 };
                    assert_eq!(got, expected, "{op:?} {value:x} {given:x}");
                }
            }
        }
    }

    #[test]
    fn an_abi_that_a_profile_leaves_out_is_no_way_around_it() {
        let own = calls::abis(&Platform::host().architecture).remove(0);
        let seccomp = Seccomp {
            default_action: Action::Allow,
            default_errno_ret: None,
            architectures: vec![own.name.into()],
            syscalls: Vec::new(),
        };
        let program = seccomp.filter().unwrap();
        for abi in calls::abis(&Platform::host().architecture) {
            let expected = if abi == own { libc::SECCOMP_RET_ALLOW } else { libc::SECCOMP_RET_KILL_PROCESS };
            assert_eq!(run(&program, abi.audit, number(&abi, "read"), [0; 6]), expected, "{}", abi.name);
        }
    }
}
