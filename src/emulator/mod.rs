//! (room: emulator)
