//! Base roots: the root file system of a machine, made from a recipe, as an image or a folder.
//!
//! A [`Recipe`] says what a root is made from. What comes of it is a [`Kept`] root in the cache, under a digest of all that decides over
//! its content, so that the same root is made once; it is written as an image or unpacked to a folder ([`Made`]).

pub mod containerfile;
pub mod debian;
mod error;
mod kept;
mod made;
mod names;
mod recipe;
pub mod tarball;

pub use error::RootfsError;
pub use kept::Kept;
pub use made::{Made, Output};
pub use recipe::{
    Archive, Config, Containerfile, Kind, Machine, Recipe, RecipeError, Tarball, Variant, recipes,
};
