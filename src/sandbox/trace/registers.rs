//! The registers of a stopped thread, and what they mean. Nothing here asks the kernel, so all hosts are tested on each.

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
    /// The arguments of a system call.
    arguments: [usize; 5],
    /// What a system call returns.
    result: usize,
    stack: usize,
}

/// `user_regs_struct` of amd64: r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp …
pub(super) static AMD64: Shape = Shape { width: 8, arguments: [14, 13, 12, 7, 9], result: 10, stack: 19 };
/// The same list when the call is one of i386: ebx ecx edx esi edi.
pub(super) static AMD64_I386: Shape =
    Shape { width: 8, arguments: [5, 11, 12, 13, 14], result: 10, stack: 19 };
/// `user_pt_regs` of arm64: x0 to x30, sp, pc, pstate.
pub(super) static ARM64: Shape = Shape { width: 8, arguments: [0, 1, 2, 3, 4], result: 0, stack: 31 };
/// `user_regs` of 32-bit ARM, which is what arm64 gives of such a thread: r0 to r15 (r13 is the stack's), cpsr, orig_r0.
pub(super) static ARM64_ARM: Shape = Shape { width: 4, arguments: [0, 1, 2, 3, 4], result: 0, stack: 13 };

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
        self.get(shape, shape.arguments[number])
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

    fn arguments(registers: &Registers, shape: &Shape) -> [u64; 5] {
        std::array::from_fn(|number| registers.argument(shape, number))
    }

    #[test]
    fn a_recorded_state_of_amd64_is_read_right() {
        // PTRACE_GETREGS at the seccomp stop of `execve("/bin/true", argv, envp)` in a static program.
        let mut state = [0_u64; 27];
        (state[14], state[13], state[12]) = (0x4c_5010, 0x7ffd_ab11_8d58, 0x7ffd_ab11_8d68);
        (state[10], state[15], state[19]) = ((-38_i64).cast_unsigned(), 59, 0x7ffd_ab11_8c28);
        let mut registers = words(&state, 8);
        assert_eq!(arguments(&registers, &AMD64)[..3], [0x4c_5010, 0x7ffd_ab11_8d58, 0x7ffd_ab11_8d68]);
        assert_eq!(registers.stack(&AMD64), 0x7ffd_ab11_8c28);
        assert_eq!(registers.result(&AMD64), -38);
        let before = registers;
        registers.set_argument(&AMD64, 0, 0x7ffd_ab11_8b00);
        registers.set_result(&AMD64, -2);
        registers.restore_arguments(&AMD64, &before);
        assert_eq!(registers.argument(&AMD64, 0), 0x4c_5010);
        assert_eq!(registers.get(&AMD64, 10), (-2_i64).cast_unsigned());
        assert_eq!(registers.bytes().len(), 27 * 8);
    }

    #[test]
    fn a_call_of_i386_has_its_arguments_elsewhere() {
        let registers = counted(27, 8);
        // ebx, ecx, edx, esi, edi.
        assert_eq!(arguments(&registers, &AMD64_I386), [105, 111, 112, 113, 114]);
        assert_eq!(arguments(&registers, &AMD64), [114, 113, 112, 107, 109]);
    }

    #[test]
    fn states_of_arm64_are_read_right() {
        let mut registers = counted(34, 8);
        assert_eq!(arguments(&registers, &ARM64), [100, 101, 102, 103, 104]);
        assert_eq!(registers.stack(&ARM64), 131);
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
        assert_eq!(arguments(&registers, &ARM64_ARM), [100, 101, 102, 103, 104]);
        assert_eq!(registers.stack(&ARM64_ARM), 113);
        registers.set_result(&ARM64_ARM, -2);
        assert_eq!(registers.result(&ARM64_ARM), -2);
        assert_eq!(registers.argument(&ARM64_ARM, 1), 101);
    }
}
