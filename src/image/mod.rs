//! (room: image)
