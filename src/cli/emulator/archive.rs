//! Where Debian's archive is, for the verbs that ask it.

use std::env;
use std::path::{Path, PathBuf};

use crate::cli::printer::Printer;
use crate::cli::report::Told;
use crate::debian::{Keyring, Mirror, Options};

/// Where Debian's archive is, and its keys.
#[derive(Debug, Default, clap::Args)]
pub(in crate::cli) struct Archive {
    /// Mirror of Debian's archive: a URL or a folder [default: the one that apt is configured with]
    #[arg(long, value_name = "URL|DIR")]
    pub(super) mirror: Option<String>,

    /// Keys of the archive [default: the host's debian-archive-keyring]
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
}

impl Archive {
    /// The mirror.
    pub(in crate::cli) fn open(&self, printer: Printer) -> anyhow::Result<Mirror> {
        let mirror = open(self.mirror.as_deref())?;
        printer.verbose(format_args!("Debian's archive is taken from `{}`", mirror.address()));
        Ok(mirror)
    }

    /// Whether the user named the mirror, which need not be Debian's own archive then.
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.mirror.is_some()
    }

    /// The keys.
    pub(in crate::cli) fn keyring(&self) -> Result<Keyring, Told> {
        match &self.keyring {
            Some(file) if !file.is_file() => Err(Told::new(
                format!("the keyring `{}` is no file", file.display()),
                "`--keyring` takes a file of public keys, as `gpg --export` writes it",
            )),
            Some(file) => Ok(Keyring::of([file.clone()])),
            None => Ok(Keyring::host(Path::new("/"))),
        }
    }
}

/// The mirror at `address`, else the host's, reached as the environment and apt say.
pub(in crate::cli) fn open(address: Option<&str>) -> anyhow::Result<Mirror> {
    let (http, https, none) = (
        variable(&["http_proxy"]),
        variable(&["https_proxy", "HTTPS_PROXY"]),
        variable(&["no_proxy", "NO_PROXY"]),
    );
    Ok(Mirror::open(&Options {
        address,
        http_proxy: http.as_deref(),
        https_proxy: https.as_deref(),
        no_proxy: none.as_deref(),
        ..Options::new(Path::new("/"))
    })?)
}

/// The first of the environment's variables that is set. `HTTP_PROXY` is no name of the one for HTTP: a web
/// server sets it from a request's header.
fn variable(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| env::var(name).ok())
}
