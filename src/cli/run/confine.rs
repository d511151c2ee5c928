//! `run`: what the container's program may do, and sees.

use crate::cli::report::Told;
use crate::sandbox::{ConfineOptions, size};

/// Options of `run`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Confinement")]
pub(super) struct ConfineArgs {
    /// A capability in addition to docker's default ones, by its name in capabilities(7); `ALL` for all. They count in the container alone
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,

    /// A capability of docker's default ones to be left out; `ALL` for all
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,

    /// `seccomp=unconfined`, or `seccomp=FILE` for a profile in docker's format, in place of docker's default; `no-new-privileges`, so that
    /// setuid programs have no effect; `systempaths=unconfined`, so that nothing in `/proc` and `/sys` is hidden
    #[arg(long, value_name = "KEY=VALUE")]
    security_opt: Vec<String>,

    /// All capabilities, no seccomp profile, nothing hidden: all within the container's own user namespace. It gets no right on this machine
    /// that the caller has not, and no devices
    #[arg(long)]
    privileged: bool,

    /// A device node of this machine, or all in a folder
    #[arg(long, value_name = "SOURCE[:TARGET]")]
    device: Vec<String>,

    /// How much `/dev/shm` holds, as in `64m`, which it is by default
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,

    /// A limit of the container's processes, as in `nofile=1024:2048`; `-1` is none
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
}

impl ConfineArgs {
    pub(super) fn options(&self) -> Result<ConfineOptions, Told> {
        let shm_size = self.shm_size.as_deref().map(bytes).transpose()?;
        Ok(ConfineOptions {
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            security: self.security_opt.clone(),
            devices: self.device.clone(),
            shm_size,
            ulimits: self.ulimit.clone(),
            privileged: self.privileged,
        })
    }
}

/// A size of the command line.
pub(in super::super) fn bytes(text: &str) -> Result<u64, Told> {
    size::parse(text).ok_or_else(|| {
        Told::new(
            format!("`{text}` is no size"),
            "sizes are given as in `512m` or `2g`, each unit 1024 times the one before it",
        )
    })
}
