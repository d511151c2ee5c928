//! The program's standard streams, and its terminal.
//!
//! Without a terminal of its own (`-t`) the program gets the caller's pipes and files as they are: nothing is copied, and a full pipe
//! or a reader that goes is its own matter. Only what is a terminal on the caller's side is not handed in, for who holds a terminal can
//! change it and read what is typed there: a pipe stands in its place, and this process copies. Standard input is the program's where
//! that is asked for (`-i`), and empty else.
//!
//! With a terminal of its own the container's first process makes a pty in the container's devpts and sends it out; this process
//! copies between it and the caller's streams ([`console`]). Whichever it is, the program has a session of its own: its keys and its
//! job control are those of its own terminal, and none of ours.

mod console;
mod inside;
mod streams;

use rustix::termios::{InputModes, Winsize};
use serde::{Deserialize, Serialize};

pub(super) use console::Console;
pub(super) use inside::{Pair, enter, give_to, keep_streams_only, leave_streams, make, make_outside};
pub(super) use streams::Streams;

/// What of the caller's the program is connected to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Whether it gets the caller's standard input.
    pub interactive: bool,
    /// Whether it gets a terminal of its own.
    pub tty: bool,
}

/// The terminal that the container's first process makes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Pty {
    size: Option<Size>,
    /// Whether a key that erases is to take a whole character.
    utf8: bool,
}

/// Rows and columns, and what they are in pixels.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Size([u16; 4]);

/// With the pty.
const MADE: u8 = b'm';
/// The caller's terminal is in raw mode; the program may begin.
const READY: u8 = b'r';

impl Pty {
    /// One like the terminal `screen`, where there is one.
    fn like(screen: Option<rustix::fd::BorrowedFd<'_>>) -> Self {
        let size = screen.and_then(|screen| rustix::termios::tcgetwinsize(screen).ok());
        let modes = screen.and_then(|screen| rustix::termios::tcgetattr(screen).ok());
        Self {
            size: size.map(Size::from),
            utf8: modes.is_some_and(|modes| modes.input_modes.contains(InputModes::IUTF8)),
        }
    }
}

impl From<Winsize> for Size {
    fn from(size: Winsize) -> Self {
        Self([size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel])
    }
}

impl From<Size> for Winsize {
    fn from(Size([rows, columns, width, height]): Size) -> Self {
        Self { ws_row: rows, ws_col: columns, ws_xpixel: width, ws_ypixel: height }
    }
}
