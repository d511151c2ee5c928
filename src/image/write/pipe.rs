//! From code that writes to code that reads, in two threads, with little in between.

use std::io::{self, PipeReader, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What the other side writes; its end is an error where the other side failed, for it is not the whole then.
#[derive(Debug)]
pub(in crate::image) struct Piped<'a> {
    pipe: io::Result<PipeReader>,
    complete: &'a AtomicBool,
}

impl Read for Piped<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let pipe = self.pipe.as_mut().map_err(|err| io::Error::from(err.kind()))?;
        let count = pipe.read(buffer)?;
        if count == 0 && !buffer.is_empty() && !self.complete.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it could not be made"));
        }
        Ok(count)
    }
}

/// Runs `make`, whose output `take` reads at the same time.
pub(in crate::image) fn piped<T, E, U: Send>(
    make: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    take: impl FnOnce(Piped<'_>) -> U + Send,
) -> (Result<T, E>, U) {
    let complete = AtomicBool::new(false);
    let (reader, writer) = match io::pipe() {
        Ok((reader, writer)) => (Ok(reader), Some(writer)),
        Err(err) => (Err(err), None),
    };
    let complete = &complete;
    thread::scope(|scope| {
        let taken = scope.spawn(move || take(Piped { pipe: reader, complete }));
        let made = match writer {
            // The flag is set before the pipe is closed.
            Some(mut writer) => make(&mut writer).inspect(|_| complete.store(true, Ordering::Release)),
            None => make(&mut Closed),
        };
        let taken = taken.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (made, taken)
    })
}

/// Takes nothing.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Other.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
