//! Bundles: images for a host that carry a guest's program and the emulator that it needs.
//!
//! A bundle's entry point runs the program through the emulator by its path, so that it runs anywhere
//! that images of the host's platform do, without any handler. Labels ([`crate::image::labels`]) say what is in it.

mod error;
mod make;
mod program;

pub use error::BundleError;
pub use make::Bundle;
pub use program::Program;
