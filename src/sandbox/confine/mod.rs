//! What a container's program may do, and who it is.
//!
//! What keeps it from the machine is the user namespace: its capabilities count in that alone. Everything here is docker's own default on
//! top of it, with docker's options: capabilities, a seccomp profile, masked paths. New privileges are allowed unless
//! `no-new-privileges` says otherwise, as in docker: a setuid program of the image makes its user root of the container, which is what the
//! caller let the container have, and never anybody outside of it.

mod capabilities;
mod dev;
mod devices;
mod error;
mod masks;
mod options;
mod privileges;
mod seccomp;
mod sys;
mod ulimits;
mod user;

pub use capabilities::Capabilities;
pub(super) use dev::{mount_dev, mount_devices};
pub use devices::Device;
pub use error::ConfineError;
pub(super) use masks::{READ_ONLY, mask_paths, masked};
pub use options::{Confine, Options};
pub(super) use privileges::become_user;
pub use seccomp::Seccomp;
pub(super) use sys::mount_sys;
pub use ulimits::Ulimit;
pub(super) use user::Identity;
pub use user::User;
