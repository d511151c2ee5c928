//! `run`: who the container's program is.

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct UserArgs {
    /// Run as this user, by name or number, in place of the image's
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(super) user: Option<String>,

    /// One more group of the user, by name or number
    #[arg(long, value_name = "GROUP")]
    pub(super) group_add: Vec<String>,
}
