//! The container's network: the host's, none, or its own, which pasta (of passt) connects to the host's without any right of root's.
//!
//! A network of its own is made by the container's first process. pasta is started by the supervisor when that is there, and killed with
//! the run: it dies with the supervisor too, however that ends.

mod files;
mod inside;
mod pasta;
mod port;

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(super) use inside::enter;
pub(super) use pasta::{LAUNCH, Pasta, launch};
pub use port::{Port, Protocol};

/// What a container's programs reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// What the host's programs reach, the services on its loopback included.
    #[default]
    Host,
    /// Nothing but a loopback of their own.
    None,
    /// What the host reaches, from a network of their own.
    Pasta,
}

/// A container's network.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Which.
    pub mode: Mode,
    /// Ports of the host that lead into it, where it is [`Mode::Pasta`].
    pub ports: Vec<Port>,
    /// Lines of `/etc/hosts` in addition; `None` is the host.
    pub hosts: Vec<(String, Option<IpAddr>)>,
    /// Name servers in place of the host's.
    pub dns: Vec<IpAddr>,
    /// The program, where it is [`Mode::Pasta`].
    pub pasta: Option<PathBuf>,
}

/// What the container's first process makes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Whether the network is its own.
    own: bool,
    /// Whether somebody connects it, who is waited for.
    pub(super) waits: bool,
}

/// The network is connected.
pub(super) const CONNECTED: u8 = b'n';

impl Network {
    pub(super) fn plan(&self) -> Plan {
        Plan { own: self.mode != Mode::Host, waits: self.mode == Mode::Pasta }
    }
}
