//! Registries: the `docker://` transport, by the OCI distribution specification 1.1.
//!
//! A [`Name`] says what is wanted, [`Options`] how registries are reached; a [`Remote`] made of both is read as a
//! [`Source`](super::Source) and written as a [`Destination`](super::Destination). Nothing here reads the environment:
//! who calls gives the files and settings. What is secret is a [`Secret`], which no output shows.

mod answer;
mod auth;
mod blob;
mod challenge;
mod client;
mod credentials;
mod error;
mod name;
mod options;
mod registries;
mod remote;
mod secret;
mod tls;
mod upload;
mod url;

pub use credentials::{Credentials, Login};
pub use error::RegistryError;
pub use name::Name;
pub use options::{Options, Proxies};
pub use registries::Registries;
pub use remote::Remote;
pub use secret::Secret;
pub use tls::Tls;

pub(crate) use client::agent;
pub(crate) use error::is_passing;
pub(crate) use url::resolve;
