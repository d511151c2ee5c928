//! The integration tests: one module a verb or room, all on the real program and real inputs.
//!
//! They need the tools that `scripts/test` installs; one that is missing fails its test.

mod debian;
mod house;
mod support;
