//! Decompressing on a thread of its own, beside what is done with the bytes.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::decompressed;

/// Bytes that go from one thread to the other in one piece, and pieces that wait.
const PIECE: usize = 1 << 18;
const PIECES: usize = 4;

/// Gives `then` a reader of what `from` holds, decompressed on another thread.
pub(super) fn decompressed_ahead<T>(from: impl Read + Send, then: impl FnOnce(Pieces) -> T) -> T {
    let (sender, receiver) = sync_channel(PIECES);
    std::thread::scope(|scope| {
        let decompressing = scope.spawn(move || {
            if let Err(err) = decompressed(from).and_then(|mut from| send(&mut from, &sender)) {
                // The other side may have given up first.
                let _ = sender.send(Err(err));
            }
        });
        let result = then(Pieces { receiver, piece: Vec::new(), at: 0, has_failed: false });
        decompressing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result
    })
}

fn send(from: &mut impl Read, to: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<()> {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let result = from.take(PIECE as u64).read_to_end(&mut piece);
        // What came before the damage is passed on before it.
        if !piece.is_empty() && to.send(Ok(piece)).is_err() {
            return Ok(());
        }
        if result? == 0 {
            return Ok(());
        }
    }
}

/// The receiving end.
#[derive(Debug)]
pub(super) struct Pieces {
    receiver: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    has_failed: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() && !self.has_failed && !buffer.is_empty() {
            match self.receiver.recv() {
                Ok(Ok(piece)) => (self.piece, self.at) = (piece, 0),
                Ok(Err(err)) => {
                    self.has_failed = true;
                    return Err(err);
                }
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
