//! Decompressing on a thread of its own, beside what is done with the bytes.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::decompressed;

/// Bytes that go from one thread to the other in one piece, and pieces that wait.
const PIECE: usize = 1 << 18;
const PIECES: usize = 4;

/// Gives `then` a reader of what `from` holds, decompressed on another thread.
pub(super) fn decompressed_ahead<T>(from: impl Read + Send, then: impl FnOnce(Pieces) -> T) -> T {
    let (sender, receiver) = sync_channel(PIECES);
    // Pieces come back when they were read: new memory for each would have to be cleared.
    let (back, returned) = channel();
    std::thread::scope(|scope| {
        let decompressing = scope.spawn(move || {
            if let Err(err) = decompressed(from).and_then(|mut from| send(&mut from, &sender, &returned)) {
                // The other side may have given up first.
                let _ = sender.send(Err(err));
            }
        });
        let result = then(Pieces { receiver, back, piece: Piece::default(), at: 0, has_failed: false });
        decompressing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result
    })
}

/// Bytes, of which so many count.
#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    len: usize,
}

fn send(
    from: &mut impl Read,
    to: &SyncSender<io::Result<Piece>>,
    returned: &Receiver<Vec<u8>>,
) -> io::Result<()> {
    loop {
        let mut bytes = returned.try_recv().unwrap_or_else(|_| vec![0; PIECE]);
        let (len, result) = fill(from, &mut bytes);
        // What came before the damage is passed on before it.
        if len > 0 && to.send(Ok(Piece { bytes, len })).is_err() {
            return Ok(());
        }
        result?;
        if len == 0 {
            return Ok(());
        }
    }
}

/// How much of `bytes` could be filled, and what went wrong then.
fn fill(from: &mut impl Read, bytes: &mut [u8]) -> (usize, io::Result<()>) {
    let mut len = 0;
    while let Some(rest) = bytes.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return (len, Err(err)),
        }
    }
    (len, Ok(()))
}

/// The receiving end.
#[derive(Debug)]
pub(super) struct Pieces {
    receiver: Receiver<io::Result<Piece>>,
    back: Sender<Vec<u8>>,
    piece: Piece,
    at: usize,
    has_failed: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len && !self.has_failed && !buffer.is_empty() {
            match self.receiver.recv() {
                Ok(Ok(piece)) => {
                    let read = std::mem::replace(&mut self.piece, piece);
                    self.at = 0;
                    if !read.bytes.is_empty() {
                        // The other side may have ended.
                        let _ = self.back.send(read.bytes);
                    }
                }
                Ok(Err(err)) => {
                    self.has_failed = true;
                    return Err(err);
                }
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len - self.at);
        buffer[..count].copy_from_slice(&self.piece.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
