//! Images: references to them, what they are, and reading and writing them as files.
//!
//! An [`Image`] is opened from an [`ImageRef`] for a platform; its layers are verified while they are read.
//! A [`NewImage`] is written to one, whole or not at all.

mod choose;
mod docker_archive;
mod error;
mod json;
pub mod labels;
mod model;
mod oci_layout;
mod reference;
mod time;
mod verified;
mod write;

pub use error::{ImageError, ReferenceError};
pub use model::{Image, LayerInfo};
pub use oci_spec::image::{Config, History, ImageConfiguration};
pub use reference::ImageRef;
pub use time::rfc3339;
pub use write::{LayerSource, NewImage, NewLayer, WrittenImage, write};
