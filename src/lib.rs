//! polyarch makes images for one CPU on another and runs them.
//!
//! The library does the work and never prints, exits or reads the command line; [`cli`] is the only
//! room that does. A room imports only rooms listed below it here, which a test holds:
//!
//! | room | job |
//! |---|---|
//! | [`cli`] | one file a verb: its arguments, the call, its output |
//! | [`rootfs`] | base roots from recipes: Debian, tar files |
//! | [`bundle`] | programs and their emulator become an image |
//! | [`check`] | whether images and programs run where they are meant to |
//! | [`doctor`] | what this machine can do and lacks, and why one thing does not start |
//! | [`sandbox`] | namespaces, mounts, the built-in runner |
//! | [`image`] | OCI layouts and docker archives |
//! | [`layer`] | applying and writing tar layers |
//! | [`binfmt`] | binfmt_misc rules |
//! | [`emulator`] | finding, fetching and caching qemu-user programs |
//! | [`debian`] | Debian's archive: signed indexes, package files |
//! | [`tree`] | read-only views of files: directories and tar streams |
//! | [`stub`] | host-native programs of a kilobyte that execute others in their place |
//! | [`elf`] | what a binary says of itself |
//! | [`target`] | the catalogue of machines |
//! | `gzip` | reading gzip streams |
//! | [`progress`] | how long work reports to whoever started it |

pub mod binfmt;
pub mod build;
pub mod bundle;
pub mod check;
pub mod cli;
pub mod containerfile;
pub mod debian;
pub mod doctor;
pub mod elf;
pub mod emulator;
mod gzip;
pub mod image;
pub mod layer;
pub mod progress;
pub mod rootfs;
pub mod sandbox;
pub mod stub;
pub mod target;
pub mod tree;
