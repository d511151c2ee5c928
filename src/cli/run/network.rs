//! What the container is called, and what it reaches.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use super::super::printer::{Printer, line};
use super::super::report::Told;
use crate::image::ImageConfiguration;
use crate::progress::Progress as _;
use crate::sandbox::{Mode, Network, Port};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub(super) struct NetworkArgs {
    /// What the container reaches: what the host does, its loopback included (`host`); nothing (`none`); or what the host reaches, from a
    /// network of its own that pasta connects (`pasta`). The default is `host`, and `pasta` where ports are published
    #[arg(long, alias = "net", value_name = "host|none|pasta", value_parser = mode)]
    network: Option<Mode>,

    /// Publish a port of the container, or ports in a row, at the host
    #[arg(short, long, value_name = "[[IP:][HOST]:]CONTAINER[/udp]", value_parser = Port::parse)]
    publish: Vec<Port>,

    /// Publish all ports that the image names, at ports of the host that are free
    #[arg(short = 'P', long)]
    publish_all: bool,

    /// Add a name to the container's /etc/hosts; `host-gateway` is the host
    #[arg(long, value_name = "NAME:IP", value_parser = host)]
    add_host: Vec<(String, Option<IpAddr>)>,

    /// Ask these name servers in place of the host's
    #[arg(long, value_name = "IP")]
    dns: Vec<IpAddr>,

    /// The container's name of itself; else it is made from the image's digest
    #[arg(long, value_name = "NAME", value_parser = hostname)]
    pub(super) hostname: Option<String>,

    /// A label that `ps` shows; there is no daemon that would know it
    #[arg(long, value_name = "NAME", value_parser = label)]
    pub(super) name: Option<String>,
}

impl NetworkArgs {
    /// The network that they ask for. Ports that were chosen are told.
    pub(super) fn network(self, config: &ImageConfiguration, printer: Printer) -> anyhow::Result<Network> {
        let mut ports = self.publish;
        if self.publish_all {
            let exposed = config.config().as_ref().and_then(|config| config.exposed_ports().clone());
            for text in exposed.unwrap_or_default().into_iter().collect::<BTreeSet<_>>() {
                let port = Port::parse(&text).map_err(|reason| {
                    Told::new(
                        format!("the image's port `{text}`: {reason}"),
                        "publish what is needed with `-p`",
                    )
                })?;
                if !ports
                    .iter()
                    .any(|other| other.container == port.container && other.protocol == port.protocol)
                {
                    ports.push(port);
                }
            }
        }
        let mode = self.network.unwrap_or(if ports.is_empty() { Mode::Host } else { Mode::Pasta });
        if mode == Mode::None
            && let Some((name, _)) = self.add_host.iter().find(|(_, address)| address.is_none())
        {
            let message =
                format!("`--add-host {name}:host-gateway`: without a network there is no way to the host");
            return Err(Told::new(message, "give `--network pasta`").into());
        }
        if mode != Mode::Pasta && !ports.is_empty() {
            printer.warn("published ports do not count with this network: `--network pasta` has them");
            ports.clear();
        }
        for port in &mut ports {
            let chosen = port.host.is_none();
            port.settle()?;
            if chosen {
                line(format_args!("port {port}"));
            }
        }
        let pasta = (mode == Mode::Pasta).then(find).flatten();
        Ok(Network { mode, ports, hosts: self.add_host, dns: self.dns, pasta })
    }
}

/// pasta, on the caller's `PATH` and where systems have it.
fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/bin".into(), "/usr/local/bin".into()]);
    folders
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("pasta"))
        .find(|file| file.is_file())
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "host" => Ok(Mode::Host),
        "none" => Ok(Mode::None),
        "pasta" => Ok(Mode::Pasta),
        "bridge" | "default" => {
            Err("there is no bridge, which would need root: `pasta` is a network of the container's own too"
                .into())
        }
        _ => Err("there are `host`, `none` and `pasta`".into()),
    }
}

pub(in super::super) fn host(text: &str) -> Result<(String, Option<IpAddr>), String> {
    let (name, address) = text.split_once([':', '=']).ok_or("give it as `NAME:IP`")?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err("a host needs a name".into());
    }
    if address == "host-gateway" {
        return Ok((name.into(), None));
    }
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    let address = bare.parse().map_err(|_| format!("`{bare}` is no address"))?;
    Ok((name.into(), Some(address)))
}

/// hostname(7), and the kernel's limit.
fn hostname(text: &str) -> Result<String, String> {
    let right = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(right) || text.starts_with(['-', '.']) {
        return Err("a host name is 1 to 64 letters, digits, `-` and `.`".into());
    }
    Ok(text.into())
}

/// Docker's names of containers.
fn label(text: &str) -> Result<String, String> {
    let right = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if text.len() < 2 || !text.bytes().all(right) || text.starts_with(['-', '.', '_']) {
        return Err(
            "a name is letters, digits, `_`, `.` and `-`, two at least, and begins with one of the former"
                .into(),
        );
    }
    Ok(text.into())
}
