//! (room: tree)
