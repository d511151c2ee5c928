//! Builds: from a Containerfile's stages to steps, and from steps to an image.
//!
//! Everything about the language that does not touch files is here: which stages a build needs ([`graph()`]), what their
//! variables hold ([`Args`]), what each instruction does ([`StageState::step`]) and what the image's config becomes of it
//! ([`Settings`]).

mod args;
mod config;
pub mod context;
mod error;
mod graph;
mod stage;
mod step;
mod taken;

pub use args::{Args, PREDEFINED};
pub use config::Settings;
pub use error::BuildError;
pub use graph::{Base, Node, graph, wanted};
pub use stage::{DEFAULT_PATH, StageState};
pub use step::{Action, Copy, Run, Source, Step};
pub use taken::{Entry, Kind, Match};
