//! Bundles: images for a host that carry a guest's programs and the emulator that they need.
//!
//! Under each program's own name stands a stub ([`crate::stub`]), which executes the emulator with the program, which is beside it
//! as `.NAME.guest`: whoever executes it, by whichever path, without any handler. A bundle is made of programs
//! with what they load ([`Gatherer`], [`Bundle`]), or of a whole foreign image ([`Whole`]). Labels ([`crate::image::labels`]) and
//! `/.polyarch/manifest.json` say what is in it. [`routeros`] writes the scripts that set one up on a device.

mod equip;
mod error;
mod extras;
mod gather;
mod make;
mod origin;
mod program;
pub mod routeros;
mod settings;
mod shell;
mod whole;

pub use equip::{Equipment, Keep};
pub use error::BundleError;
pub use extras::Extras;
pub use gather::{Gathered, Gatherer, Placed};
pub use make::Bundle;
pub use origin::Origin;
pub use settings::Settings;
pub use shell::shell;
pub use whole::{Turned, Whole};
