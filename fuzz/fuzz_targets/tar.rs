//! The reader of tar streams, plain and compressed: whatever the bytes, it ends without a panic.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use polyarch::tree::identify_stream;

fuzz_target!(|bytes: &[u8]| {
    let _ = identify_stream(Path::new("-"), bytes);
});
