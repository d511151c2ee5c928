//! (room: binfmt)
