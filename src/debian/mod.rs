//! Debian's archive: signed indexes and package files, from a mirror to a program's own folder.
//!
//! The way of trust: a [`Keyring`] verifies the [`Release`] of a suite, its list holds the digest of every
//! [`Index`], an index holds the digest of every [`Package`] file. Nothing is handed out before its digest
//! has been verified, so where the bytes came from does not matter.
//!
//! ```text
//! Mirror::open → Release::fetch → Release::index → Index::find → Mirror::fetch → Deb::open
//! ```

mod apt;
mod control;
mod deb;
mod depends;
mod digest;
mod error;
mod gpgv;
mod index;
mod mirror;
mod release;
mod solve;
mod sources;
mod transfer;
mod version;

pub use apt::{Apt, Proxy};
pub use control::field as control_field;
pub use deb::{Deb, Entries, Member};
pub use depends::{Relation, clauses};
pub use digest::{Sha256, Sha256Error};
pub use error::{DebianError, ReleaseFault, SignatureFault};
pub use gpgv::Keyring;
pub use index::{Index, Package, Packages};
pub use mirror::{Mirror, Options, SNAPSHOT, SNAPSHOTS};
pub use release::{Release, timestamp};
pub use solve::{Solution, Wanted, solve};
pub use sources::{SourceFile, SourceIndex, SourcePackage};
pub use version::{Version, compare};
