//! The ELF reader: whatever the bytes, it ends, within bounds, without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use polyarch::elf::{Identity, Reader, kind};

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::memory(bytes);
    let _ = kind(&mut reader);
    if let Ok(identity) = Identity::read(&mut reader) {
        // A report must be possible of whatever was read.
        assert!(identity.problems.len() <= 64);
    }
});
