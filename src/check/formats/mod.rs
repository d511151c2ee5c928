//! A report in the forms that other programs read.
//!
//! JSON is the report itself, which is [`serde::Serialize`].

mod github;
mod gitlab;
mod junit;
mod place;
mod sarif;

pub use github::github;
pub use gitlab::gitlab;
pub use junit::junit;
pub use sarif::sarif;

use std::path::Path;

use super::{Policy, Report, Severity};

/// What a form needs to know beside the report.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The folder that paths are told from, as the root of a repository is; absolute.
    pub base: Option<&'a Path>,
    /// The least severity that fails.
    pub fail_on: Severity,
    /// By which rules are off.
    pub policy: &'a Policy,
}
