//! Whether images and programs run where they are meant to: rules over trees and images, and what they found.
//!
//! A [`Rule`] is judged into [`Finding`]s, and a [`Report`] is what was found in everything that was looked at. Rules know
//! nothing of policies: what a policy or a baseline allows is taken from a report afterwards.

mod error;
mod explain;
mod finding;
mod fingerprint;
pub mod formats;
mod judge;
mod policy;
mod routeros;
mod rule;
mod run;
mod subject;

pub use error::CheckError;
pub use finding::{Finding, Fit, Input, InputKind, Layer, Report, Severity, Summary, UnknownSeverity};
pub use judge::{Options, judge};
pub use policy::{Baseline, Day, Fault, Level, Policy, PolicyError, Position, UnknownLevel};
pub use rule::{Explanation, Rule, UnknownRule};
pub use run::{Allowing, Check, Which};
pub use subject::{File, ImageFacts, Subject, What};
