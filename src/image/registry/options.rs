//! How registries are reached.

use std::time::Duration;

use super::{Credentials, Registries, Tls};

/// How registries are reached: everything that the environment and the command line say of it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who we are.
    pub credentials: Credentials,
    /// What `registries.conf` says.
    pub registries: Registries,
    /// Whom we trust.
    pub tls: Tls,
    /// Through what we go.
    pub proxies: Proxies,
    /// How often one request is tried.
    pub tries: u32,
    /// The wait before the second try; twice as long before each further one.
    pub pause: Duration,
    /// How long a connection, an answer or a part of it may take.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            credentials: Credentials::default(),
            registries: Registries::default(),
            tls: Tls::default(),
            proxies: Proxies::default(),
            tries: 5,
            pause: Duration::from_millis(500),
            patience: Duration::from_mins(1),
        }
    }
}

/// Proxies, as `http_proxy`, `https_proxy` and `no_proxy` give them. They may hold a password.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For plain HTTP.
    pub http: Option<String>,
    /// For HTTPS.
    pub https: Option<String>,
    /// Hosts that are reached without one, separated by commas.
    pub except: Option<String>,
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies").field("except", &self.except).finish_non_exhaustive()
    }
}
