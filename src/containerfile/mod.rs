//! Containerfiles: from text to stages of instructions, each with its place in the text; variables; ignore files.
//!
//! The language is Docker's, as its reference describes it and BuildKit reads it. [`Containerfile::parse`] reads a file; nothing
//! is expanded then, since what a variable holds depends on the build. [`Expander`] does that.

mod error;
mod expand;
mod glob;
mod ignore;
mod instruction;
mod lint;
mod mount;
mod parse;
mod source;
mod stage;
mod words;

pub(crate) use error::nearest;
pub use error::{ContainerfileError, Position, Warning};
pub use expand::{ExpandError, Expander};
pub use glob::{Glob, GlobError};
pub use ignore::Ignore;
pub use instruction::{
    Add, Arg, Command, Copy, CopyOptions, From, HealthTimes, Healthcheck, Input, Instruction, Located, Pair,
    Run, Word,
};
pub use mount::{Mount, MountError, Sharing};
pub use parse::INSTRUCTIONS;
pub use source::{Directives, Heredoc, SIZE_LIMIT};
pub use stage::{Containerfile, Stage};
