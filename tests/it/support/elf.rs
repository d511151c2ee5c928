//! ELF headers made from the specification, for what needs no real program.

/// An ELF header with nothing behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) class: u8,
    pub(crate) big: bool,
    pub(crate) machine: u16,
    pub(crate) kind: u16,
    pub(crate) flags: u32,
}

impl Header {
    /// A program for 32-bit big-endian MIPS, o32, release 2.
    pub(crate) fn mips() -> Self {
        Self { class: 32, big: true, machine: 8, kind: 2, flags: 0x7000_1000 }
    }

    /// A program for 64-bit ARM.
    pub(crate) fn aarch64() -> Self {
        Self { class: 64, big: false, machine: 183, kind: 2, flags: 0 }
    }

    /// gABI, "ELF Header".
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', self.class / 32, 1 + u8::from(self.big), 1];
        bytes.resize(16, 0);
        let half = |value: u16| if self.big { value.to_be_bytes() } else { value.to_le_bytes() };
        let word = |value: u32| if self.big { value.to_be_bytes() } else { value.to_le_bytes() };
        let size: u16 = if self.class == 64 { 64 } else { 52 };
        bytes.extend(half(self.kind));
        bytes.extend(half(self.machine));
        bytes.extend(word(1));
        // Entry, program headers, section headers.
        bytes.extend(vec![0; 3 * usize::from(self.class) / 8]);
        bytes.extend(word(self.flags));
        bytes.extend(half(size));
        bytes.extend([0; 10]);
        assert_eq!(bytes.len(), usize::from(size));
        bytes
    }
}
