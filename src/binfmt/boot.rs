//! Whether what is in `/etc/binfmt.d` is registered when the machine starts.

use std::path::Path;
use std::process::{Command, Stdio};

/// Where the tools of systemd and OpenRC are.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What registers the files of `/etc/binfmt.d` at each start.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Boot {
    /// systemd-binfmt does.
    Systemd,
    /// systemd-binfmt would, and is masked.
    SystemdMasked,
    /// OpenRC's service binfmt does; it was added to its run level if it was not in it.
    OpenRc,
    /// OpenRC's service cannot be added: what its tool says.
    OpenRcRefuses(String),
    /// Neither runs here.
    Neither,
}

/// Sees to it that the files count at the next start. Nothing is registered by that, and no entry of anyone is touched: a restart of
/// systemd-binfmt would wipe all that have no file.
#[must_use]
pub fn tell_boot() -> Boot {
    if Path::new("/run/systemd/system").is_dir() {
        // It needs no enabling: it starts where there is a file.
        let state = said("systemctl", &["is-enabled", "systemd-binfmt.service"]).unwrap_or_else(|text| text);
        return if state.starts_with("masked") { Boot::SystemdMasked } else { Boot::Systemd };
    }
    if Path::new("/run/openrc").is_dir() {
        return match said("rc-update", &["add", "binfmt", "boot"]) {
            Ok(_) => Boot::OpenRc,
            Err(text) => Boot::OpenRcRefuses(text),
        };
    }
    Boot::Neither
}

/// The first line that a tool says, as an error where it fails.
fn said(tool: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(tool).args(args).env("PATH", PATH).stdin(Stdio::null()).output();
    let output = output.map_err(|err| format!("`{tool}`: {err}"))?;
    let first = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned();
    let line = if output.stdout.is_empty() { first(&output.stderr) } else { first(&output.stdout) };
    if output.status.success() { Ok(line) } else { Err(line) }
}
