//! (room: debian)
