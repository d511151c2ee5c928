//! What a container's program may do, and who it is.

mod privileges;
mod user;

pub(super) use privileges::become_user;
pub(super) use user::Identity;
pub use user::User;
