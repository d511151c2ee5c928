//! Images: references to them, what they are, and reading and writing them as files.
//!
//! An [`Image`] is opened from an [`ImageRef`] for a platform; its layers are verified while they are read.
//! A [`NewImage`] is written to one, whole or not at all.

mod access;
mod choose;
mod copy;
mod destination;
mod docker_archive;
mod error;
mod facts;
mod grammar;
mod import;
mod index;
mod json;
pub mod labels;
mod layers;
mod listing;
mod media;
mod model;
mod oci_layout;
mod pull;
mod reference;
pub mod registry;
mod source;
mod squash;
mod store;
mod tar_file;
mod time;
mod verified;
mod write;

pub use access::Access;
pub use copy::{CopyOptions, Format, Which, copy};
pub use destination::{Abilities, Blob, Destination};
pub use error::{ImageError, ReferenceError};
pub use facts::{Facts, ImageFacts, LayerFacts};
pub use import::Import;
pub use index::create_index;
pub use json::canonical;
use json::parse;
pub use listing::{ListedImage, Listing};
pub use media::oci_layer_type;
pub use model::{Image, LayerInfo};
pub use oci_spec::image::{Config, History, ImageConfiguration};
pub use pull::{Pull, Wanted};
pub use reference::ImageRef;
pub use registry::RegistryError;
pub use source::{DOCKER_LIST, DOCKER_MANIFEST, JSON_LIMIT, Raw, Source, descriptor, digest_of, small_blob};
pub use squash::Squash;
pub use store::{Pruned, Store, Stored};
pub use time::{parse_rfc3339, rfc3339};
pub use write::{LayerSource, NewImage, NewLayer, WrittenImage, write};
