//! The registers of a stopped thread, and what they mean. Nothing here asks the kernel, so all hosts are tested on each.

/// The arguments that system calls have at most.
pub(super) const ARGUMENTS: usize = 6;
/// The last of them, which no call that executes a program has.
pub(super) const SIXTH: usize = 5;
/// What a call returns that is to be made again, whatever signal has come meanwhile: `ERESTARTNOINTR` of the kernel.
pub(super) const AGAIN: i32 = -513;
/// What it returns that is to be made again if no signal has come that says otherwise: `ERESTARTSYS` of the kernel.
pub(super) const INTERRUPTED: i32 = -512;

/// The most that the kernel gives: arm64's 34 words.
pub(super) const MOST: usize = 34 * 8;

/// The general registers as ptrace(2) hands them over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Registers {
    bytes: [u8; MOST],
    len: usize,
}

/// Which register is which, by its place in the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Bytes of a register in the list.
    width: usize,
    /// Bytes of it that the system call looks at.
    counts: usize,
    /// The system call's number.
    number: usize,
    /// The arguments of a system call.
    arguments: [usize; ARGUMENTS],
    /// What a system call returns.
    result: usize,
    stack: usize,
}

/// `user_regs_struct` of amd64: r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp …
pub(super) static AMD64: Shape =
    Shape { width: 8, counts: 8, number: 15, arguments: [14, 13, 12, 7, 9, 8], result: 10, stack: 19 };
/// The same list when the call is one of i386: ebx ecx edx esi edi ebp.
pub(super) static AMD64_I386: Shape =
    Shape { width: 8, counts: 4, number: 15, arguments: [5, 11, 12, 13, 14, 4], result: 10, stack: 19 };
/// `user_pt_regs` of arm64: x0 to x30, sp, pc, pstate.
pub(super) static ARM64: Shape =
    Shape { width: 8, counts: 8, number: 8, arguments: [0, 1, 2, 3, 4, 5], result: 0, stack: 31 };
/// `user_regs` of 32-bit ARM, which is what arm64 gives of such a thread: r0 to r15 (r13 is the stack's), cpsr, orig_r0.
pub(super) static ARM64_ARM: Shape =
    Shape { width: 4, counts: 4, number: 7, arguments: [0, 1, 2, 3, 4, 5], result: 0, stack: 13 };

/// What the sixth argument of a call is that the filter is to let pass: no address, and no number that a program has there.
const TICKET: u64 = 0xe5ca_9ead_f00d_5eed;

impl Shape {
    /// The ticket, as wide as the call takes it.
    pub(super) const fn ticket(&self) -> u64 {
        self.counted(TICKET)
    }

    /// What a call sees of a register's value.
    pub(super) const fn counted(&self, value: u64) -> u64 {
        if self.counts == 8 { value } else { value & 0xffff_ffff }
    }

    /// The last address that an argument can name.
    pub(super) const fn last_address(&self) -> u64 {
        self.counted(u64::MAX)
    }
}

impl Registers {
    /// What the kernel wrote, `len` bytes of it.
    pub(super) fn new(bytes: &[u8; MOST], len: usize) -> Self {
        Self { bytes: *bytes, len: len.min(MOST) }
    }

    /// For handing back.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn get(&self, shape: &Shape, index: usize) -> u64 {
        let at = index * shape.width;
        let mut word = [0; 8];
        if let Some(bytes) = self.bytes.get(at..at + shape.width) {
            word[..shape.width].copy_from_slice(bytes);
        }
        u64::from_le_bytes(word)
    }

    fn set(&mut self, shape: &Shape, index: usize, value: u64) {
        let at = index * shape.width;
        if let Some(bytes) = self.bytes.get_mut(at..at + shape.width) {
            bytes.copy_from_slice(&value.to_le_bytes()[..shape.width]);
        }
    }

    pub(super) fn argument(&self, shape: &Shape, number: usize) -> u64 {
        shape.counted(self.get(shape, shape.arguments[number]))
    }

    /// All arguments of the system call.
    pub(super) fn arguments(&self, shape: &Shape) -> [u64; ARGUMENTS] {
        std::array::from_fn(|number| self.argument(shape, number))
    }

    /// Which system call it is.
    pub(super) fn number(&self, shape: &Shape) -> u32 {
        self.get(shape, shape.number) as u32
    }

    pub(super) fn set_argument(&mut self, shape: &Shape, number: usize, value: u64) {
        self.set(shape, shape.arguments[number], value);
    }

    pub(super) fn stack(&self, shape: &Shape) -> u64 {
        self.get(shape, shape.stack)
    }

    pub(super) fn set_stack(&mut self, shape: &Shape, value: u64) {
        self.set(shape, shape.stack, value);
    }

    /// What the call returned: an error is below zero.
    pub(super) fn result(&self, shape: &Shape) -> i32 {
        // Errors are small, and callers of 32 bits get no more than this anyway.
        (self.get(shape, shape.result) as u32).cast_signed()
    }

    pub(super) fn set_result(&mut self, shape: &Shape, value: i32) {
        self.set(shape, shape.result, i64::from(value).cast_unsigned());
    }

    /// Puts the arguments that a failed call had before it was changed back, but keeps its result.
    pub(super) fn restore_arguments(&mut self, shape: &Shape, before: &Self) {
        for index in shape.arguments.into_iter().filter(|index| *index != shape.result) {
            self.set(shape, index, before.get(shape, index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u64], width: usize) -> Registers {
        let mut bytes = [0; MOST];
        for (index, word) in words.iter().enumerate() {
            bytes[index * width..(index + 1) * width].copy_from_slice(&word.to_le_bytes()[..width]);
        }
        Registers::new(&bytes, words.len() * width)
    }

    /// The numbers of the registers' places, so that a wrong place shows.
    fn counted(count: u64, width: usize) -> Registers {
        words(&(0..count).map(|index| index + 100).collect::<Vec<_>>(), width)
    }

    #[test]
    fn a_recorded_state_of_amd64_is_read_right() {
        // PTRACE_GETREGS at the seccomp stop of `execve("/bin/true", argv, envp)` in a static program.
        let mut state = [0_u64; 27];
        (state[14], state[13], state[12]) = (0x4c_5010, 0x7ffd_ab11_8d58, 0x7ffd_ab11_8d68);
        (state[8], state[10], state[15], state[19]) = (9, (-38_i64).cast_unsigned(), 59, 0x7ffd_ab11_8c28);
        let mut registers = words(&state, 8);
        assert_eq!(registers.arguments(&AMD64)[..3], [0x4c_5010, 0x7ffd_ab11_8d58, 0x7ffd_ab11_8d68]);
        assert_eq!(registers.stack(&AMD64), 0x7ffd_ab11_8c28);
        assert_eq!(registers.result(&AMD64), -38);
        assert_eq!(registers.number(&AMD64), 59);
        let before = registers;
        registers.set_argument(&AMD64, 0, 0x7ffd_ab11_8b00);
        registers.set_argument(&AMD64, SIXTH, AMD64.ticket());
        registers.set_result(&AMD64, -2);
        registers.restore_arguments(&AMD64, &before);
        assert_eq!(registers.argument(&AMD64, 0), 0x4c_5010);
        assert_eq!(registers.argument(&AMD64, SIXTH), 9);
        assert_eq!(registers.get(&AMD64, 10), (-2_i64).cast_unsigned());
        assert_eq!(registers.bytes().len(), 27 * 8);
    }

    #[test]
    fn a_call_of_i386_has_its_arguments_elsewhere() {
        let mut registers = counted(27, 8);
        // ebx, ecx, edx, esi, edi, ebp.
        assert_eq!(registers.arguments(&AMD64_I386), [105, 111, 112, 113, 114, 104]);
        assert_eq!(registers.arguments(&AMD64), [114, 113, 112, 107, 109, 108]);
        // A program of 64 bits can make it, too: no more than half of each register counts.
        registers.set_argument(&AMD64_I386, 0, 0x1234_5678_9abc_def0);
        assert_eq!(registers.argument(&AMD64_I386, 0), 0x9abc_def0);
        assert_eq!(AMD64_I386.ticket() >> 32, 0);
    }

    #[test]
    fn states_of_arm64_are_read_right() {
        let mut registers = counted(34, 8);
        assert_eq!(registers.arguments(&ARM64), [100, 101, 102, 103, 104, 105]);
        assert_eq!((registers.number(&ARM64), registers.stack(&ARM64)), (108, 131));
        // x0 is both the first argument and the result: a failed call keeps the latter.
        let before = registers;
        registers.set_argument(&ARM64, 1, 7);
        registers.set_result(&ARM64, -13);
        registers.restore_arguments(&ARM64, &before);
        assert_eq!((registers.argument(&ARM64, 1), registers.result(&ARM64)), (101, -13));
        registers.set_stack(&ARM64, 0xffff_f000);
        assert_eq!(registers.stack(&ARM64), 0xffff_f000);
        assert_eq!(registers.get(&ARM64, 32), 132, "the program counter is untouched");
    }

    #[test]
    fn states_of_arm_on_arm64_are_half_as_wide() {
        let mut registers = counted(18, 4);
        assert_eq!(registers.bytes().len(), 72);
        assert_eq!(registers.arguments(&ARM64_ARM), [100, 101, 102, 103, 104, 105]);
        assert_eq!((registers.number(&ARM64_ARM), registers.stack(&ARM64_ARM)), (107, 113));
        registers.set_result(&ARM64_ARM, -2);
        assert_eq!(registers.result(&ARM64_ARM), -2);
        assert_eq!(registers.argument(&ARM64_ARM, 1), 101);
    }
}
