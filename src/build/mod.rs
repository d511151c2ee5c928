//! Builds: from a Containerfile's stages to steps, and from steps to an image.
//!
//! Everything about the language that does not touch files is here: which stages a build needs ([`graph()`]), what their
//! variables hold ([`Args`]), what each instruction does ([`StageState::step`]) and what the image's config becomes of it
//! ([`Settings`]).
//!
//! A step's files are a layer of their own over those of the steps before it. The cache (`CACHE/build`) keeps, for any number of processes:
//!
//! - `steps/KEY.json`, replaced at once: `{"layer": ID or null, "created": SECONDS}`, what the step of that key made. A key is a digest of the key
//!   before it (first: the base's layers and the platform), the instruction with all that it is given, the content of the files it takes,
//!   and the emulator where it runs one; nothing of this machine is in it. `steps/KEY.lock` is held alone by who makes it.
//! - `layers/ID/`: `lock`, held shared by who uses it and alone by who removes it; `blob`, the layer as an image has it, which is gzip'd;
//!   `files`, the same as an overlay takes it, which belongs to the container's ids and is missing where the layer came from elsewhere;
//!   and `layer.json`, written last: `{"diff_id", "digest", "size"}`. One without it, whose lock nobody holds, is a killed build's.

mod args;
mod builder;
mod cache;
mod config;
pub mod context;
mod crew;
mod error;
mod files;
mod graph;
mod making;
mod mounts;
mod prune;
mod result;
mod shared;
mod stage;
mod staged;
mod step;
mod surroundings;
mod taken;

pub use args::{Args, PREDEFINED};
pub use cache::{Cache, Info, Layer, Made, Record, Whose};
pub use config::Settings;
pub use error::BuildError;
pub use files::enter;
pub use graph::{Base, Node, graph, wanted};
pub use prune::{Pruning, Removed};
pub use result::{Built, One};
pub use shared::Shared;
pub use stage::{DEFAULT_PATH, StageState};
pub use step::{Action, Copy, Run, Source, Step};
pub use surroundings::{NamedContext, Options, Secret, Surroundings, Wanted};
pub use taken::{Entry, Kind, Match};

use crate::containerfile::{Containerfile, Stage};
use crate::sandbox::Signals;

/// Builds what `options` ask for of `file`. The caller's program is started anew for its processes, so its `main` must call [`enter`] and
/// [`crate::sandbox::enter`] before all else.
///
/// # Errors
/// [`BuildError`], the first thing that went wrong. What was made before it stays in the cache.
pub fn build(
    file: &Containerfile,
    options: &Options,
    surroundings: &dyn Surroundings,
    signals: &Signals,
) -> Result<Built, BuildError> {
    let mut file = std::borrow::Cow::Borrowed(file);
    let is_hidden = |stage: &Stage| stage.name.as_ref().is_some_and(|it| options.contexts.contains_key(it));
    if file.stages.iter().any(is_hidden) {
        // A context takes the place of a stage of its name.
        for stage in file.to_mut().stages.iter_mut().filter(|stage| is_hidden(stage)) {
            stage.name = None;
        }
    }
    let staged = builder::build(&file, options, surroundings, signals)?;
    Built::new(staged, options)
}
