//! Emulators: static qemu-user programs, found where they are or fetched from Debian's archive.
//!
//! [`find`] looks, in this order, at the path that the user gave, at the cache, and at the host's own
//! programs. [`fetch`] goes on to the package file that [`Pins`] name. An emulator counts only if it is an ELF program of the
//! host it is meant for that needs no interpreter: only such a one can be carried into an image.

mod cache;
mod error;
mod fetch;
mod find;
mod list;
mod memo;
mod models;
mod package;
mod pins;
mod probe;
mod prune;
mod rules;
mod update;
mod verify;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use error::{EmulatorError, PinFault, Unfit};
pub use fetch::{FetchOptions, fetch, fetch_each, served};
pub use find::{Options, SEARCH, find, fitting, own};
pub use list::{Available, Cached, OnHost, Pair, Refused, hosts, list};
pub use memo::{Fitting, sha256};
pub use models::check_model;
pub use pins::{Pin, Pins};
pub use prune::{Pruned, Reason, prune};
pub use rules::Refusal;
pub use update::{UpdateOptions, update};
pub use verify::{CHECKS, Check, Outcome, Verified, has_probe, verify};

use crate::target::Platform;

/// One static qemu-user program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Emulator {
    /// The guest that it runs, by QEMU's name.
    pub guest: String,
    /// The platform that it runs on.
    pub host: Platform,
    /// The program.
    pub path: PathBuf,
    /// QEMU's version, such as `7.2.22`: from the program itself where this machine can run it, else from
    /// the package it came in. `None` where neither tells.
    pub version: Option<String>,
    /// SHA-256 of the program, in hexadecimal digits.
    pub sha256: String,
    /// Where it came from.
    pub source: Source,
}

/// Where an emulator came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Source {
    /// The user gave its path.
    Given,
    /// It is in the cache, and was taken there from a Debian package before.
    Cache {
        /// The package it came from.
        package: DebianPackage,
    },
    /// One of the host's own programs.
    Host,
    /// It was taken from a Debian package just now.
    Debian {
        /// The package it came from.
        package: DebianPackage,
    },
}

/// The package file that an emulator was taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebianPackage {
    /// The package's name, such as `qemu-user-static`.
    pub name: String,
    /// Its Debian version.
    pub version: String,
    /// Its Debian architecture.
    pub architecture: String,
    /// The suite whose signed index named it.
    pub suite: String,
    /// SHA-256 of the package file, in hexadecimal digits.
    pub sha256: String,
}
