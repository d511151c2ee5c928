//! (room: layer)
