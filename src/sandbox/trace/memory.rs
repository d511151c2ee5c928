//! The memory of those that are traced.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::ops::Range;
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
    /// Whether it may be in use after a success, too.
    is_lent: bool,
}

/// Bytes that are left alone before a place that is lent.
const MARGIN: u64 = 64;

impl Scratch {
    pub(super) fn write(memory: &File, address: u64, text: &[u8]) -> Result<Self, Errno> {
        let mut held = vec![0; text.len()];
        let failed = |err: io::Error| Errno::from_io_error(&err).unwrap_or(Errno::FAULT);
        memory.read_exact_at(&mut held, address).map_err(failed)?;
        let memory = memory.try_clone().map_err(failed)?;
        let scratch = Self { memory, address, held, is_lent: false };
        scratch.memory.write_all_at(text, address).map_err(failed)?;
        Ok(scratch)
    }

    /// The same where there is no room below the stack pointer, or no call can name it: at the end of other memory, where nothing is,
    /// no address of it above `last`.
    pub(super) fn borrow(pid: Pid, memory: &File, text: &[u8], last: u64) -> Result<Self, Errno> {
        let maps = File::open(format!("/proc/{}/maps", pid.as_raw_nonzero()));
        let maps = BufReader::new(maps.map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::SRCH))?);
        let len = (text.len() as u64).next_multiple_of(16);
        let mut room = vec![0; text.len().next_multiple_of(16) + MARGIN as usize];
        for line in maps.split(b'\n').map_while(Result::ok) {
            let Some((range, is_stack)) = writable(&line) else { continue };
            if range.end - range.start < len + MARGIN || range.end - 1 > last {
                continue;
            }
            // Stacks are filled from their ends.
            let (begin, address) = if is_stack {
                (range.start, range.start)
            } else {
                (range.end - len - MARGIN, range.end - len)
            };
            if memory.read_exact_at(&mut room, begin).is_ok() && room.iter().all(|byte| *byte == 0) {
                return Ok(Self { is_lent: true, ..Self::write(memory, address, text)? });
            }
        }
        Err(Errno::NOMEM)
    }

    pub(super) fn address(&self) -> u64 {
        self.address
    }

    /// The call has succeeded: only what was lent matters still.
    pub(super) fn give_back(&self) {
        if self.is_lent {
            self.put_back();
        }
    }

    /// Where nobody has the memory any more there is nothing to put back.
    pub(super) fn put_back(&self) {
        let _ = self.memory.write_all_at(&self.held, self.address);
    }
}

/// Where the memory is that a line of `/proc/PID/maps` tells of, and whether it is the first thread's stack; none where the process
/// cannot write to it, or shares what it writes.
fn writable(line: &[u8]) -> Option<(Range<u64>, bool)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (start, end) = str::from_utf8(fields.next()?).ok()?.split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let range = number(start)?..number(end)?;
    let flags = fields.next()?;
    let is_own = flags.starts_with(b"rw") && flags.ends_with(b"p");
    (is_own && range.start < range.end).then(|| (range, line.ends_with(b" [stack]")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_that_a_process_has_for_itself_to_write_to_is_lent() {
        let told = |line: &str| writable(line.as_bytes());
        let data = "00403000-00404000 rw-p 00002000 08:01 99                                 /a b";
        assert_eq!(told(data), Some((0x40_3000..0x40_4000, false)));
        let stack = "7ffd1000-7ffe2000 rw-p 00000000 00:00 0                                  [stack]";
        assert_eq!(told(stack), Some((0x7ffd_1000..0x7ffe_2000, true)));
        for other in
            [data.replace("rw-p", "r--p"), data.replace("rw-p", "rw-s"), data.replace("00404", "00403")]
        {
            assert_eq!(told(&other), None, "{other}");
        }
        assert_eq!(told(""), None);
        assert_eq!(told("1-x rw-p"), None);
    }
}
