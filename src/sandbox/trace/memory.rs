//! The memory of those that are traced.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::io::Errno;
use rustix::process::Pid;

use super::view::PATH_MOST;

/// Memory of a process that was written to, and what it held. It is put back where the call fails. Where it succeeds the
/// memory is gone; or it is another's too (`vfork`), who goes on before the tracer hears of it, and may have the next
/// call's text there by then. What was beneath the stack pointer of the one that is gone is nobody's.
#[derive(Debug)]
pub(super) struct Scratch {
    memory: File,
    address: u64,
    held: Vec<u8>,
}

impl Scratch {
    pub(super) fn write(memory: File, address: u64, text: &[u8]) -> Result<Self, Errno> {
        let mut held = vec![0; text.len()];
        let failed = |err: io::Error| Errno::from_io_error(&err).unwrap_or(Errno::FAULT);
        memory.read_exact_at(&mut held, address).map_err(failed)?;
        let scratch = Self { memory, address, held };
        scratch.memory.write_all_at(text, address).map_err(failed)?;
        Ok(scratch)
    }

    /// Where nobody has the memory any more there is nothing to put back.
    pub(super) fn put_back(&self) {
        let _ = self.memory.write_all_at(&self.held, self.address);
    }
}

/// The memory of a thread's process, which stays that one whatever the process executes.
pub(super) fn memory(pid: Pid) -> Result<File, Errno> {
    let path = format!("/proc/{}/mem", pid.as_raw_nonzero());
    let file = File::options().read(true).write(true).open(path);
    file.map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::SRCH))
}

/// The text at `address`, which must be as long as a path can be.
pub(super) fn text_at(memory: &File, address: u64) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    while text.len() < PATH_MOST {
        let at = address.checked_add(text.len() as u64).ok_or(Errno::FAULT)?;
        // No further than the page, since the next one may be missing. Pages are larger on some kernels, never smaller.
        let mut part = [0; 4096];
        let len = (4096 - at as usize % 4096).min(PATH_MOST - text.len());
        let read = memory.read_at(&mut part[..len], at).map_err(|_| Errno::FAULT)?;
        let part = &part[..read];
        if let Some(end) = part.iter().position(|byte| *byte == 0) {
            text.extend(&part[..end]);
            return Ok(text);
        }
        if read == 0 {
            return Err(Errno::FAULT);
        }
        text.extend(part);
    }
    Err(Errno::NAMETOOLONG)
}
