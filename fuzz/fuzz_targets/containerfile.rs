//! The reader of Containerfiles, variables and ignore files: whatever the text, it ends, within bounds, without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use polyarch::containerfile::{Containerfile, Expander, Ignore, Instruction, Mount};

fuzz_target!(|bytes: &[u8]| {
    let lookup = |name: &str| (name.len() % 2 == 0).then(|| name.repeat(2));
    let expander = Expander::new('\\', &lookup);
    match Containerfile::parse(bytes) {
        Ok(file) => {
            assert!(!file.stages.is_empty());
            for located in file.stages.iter().flat_map(|stage| &stage.instructions) {
                assert!(located.lines.contains(&located.at.line));
                let _ = expander.words(&located.text);
                if let Instruction::Run(run) = &located.instruction {
                    for mount in &run.mounts {
                        let _ = Mount::parse(&mount.text);
                    }
                }
            }
        }
        // A place is a line of the file.
        Err(err) => assert!(err.at.line <= 1 + bytes.iter().filter(|byte| **byte == b'\n').count()),
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = expander.word(text);
        let _ = expander.body(text);
        if let Ok(ignore) = Ignore::parse(text) {
            let _ = ignore.is_ignored("a/b/c.d");
        }
    }
});
