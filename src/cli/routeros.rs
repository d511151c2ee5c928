//! `routeros`: what RouterOS devices need.

use std::io::Write as _;

use super::exit::ExitStatus;
use super::printer::Printer;
use super::registry::RegistryArgs;
use super::report::Told;
use crate::bundle::routeros::{Place, Script, Version, command, device};
use crate::image::{Image, ImageRef};
use crate::target::Catalogue;

/// Scripts for MikroTik's RouterOS
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Script(Box<ScriptArgs>),
}

/// Print a script (`.rsc`) that sets a container of an image up on a device
///
/// It makes the veth, the bridge and its port, variables, mounts, a tmpfs where no disk is named, logging, and the container, in the words
/// of the device's version, and adds nothing twice. It was not run on a device: each line that rests on reports says so.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
struct ScriptArgs {
    /// The image
    #[arg(value_parser = ImageRef::find)]
    image: ImageRef,

    /// The device, such as `RB5009` or `hAP ax2`
    #[arg(long, value_name = "NAME", required_unless_present = "target", conflicts_with = "target")]
    device: Option<String>,

    /// The device's target, such as `routeros/arm64`
    #[arg(long)]
    target: Option<String>,

    /// The device's version, such as `7.20`
    #[arg(long)]
    version: Version,

    /// The image's file on the device, made with `-o docker-archive:FILE` [default: the container's name with `.tar`]
    #[arg(long, value_name = "PATH", conflicts_with = "remote")]
    file: Option<String>,

    /// The device gets the image from its registry
    #[arg(long)]
    remote: bool,

    /// The container's name, and that of all that is added for it [default: the image's]
    #[arg(long)]
    name: Option<String>,

    /// The container's address and the length of its network
    #[arg(long, value_name = "ADDRESS/LENGTH", default_value = "172.17.0.2/24")]
    address: String,

    /// The bridge's address in that network
    #[arg(long, value_name = "ADDRESS", default_value = "172.17.0.1")]
    gateway: std::net::Ipv4Addr,

    /// The bridge, which is made where it is not there
    #[arg(long, default_value = "containers")]
    bridge: String,

    /// The disk for the container's files, such as `disk1` [default: a tmpfs]
    #[arg(long, conflicts_with = "tmpfs")]
    disk: Option<String>,

    /// The size of the tmpfs for the container's files
    #[arg(long, value_name = "SIZE")]
    tmpfs: Option<String>,

    /// A folder of the device, and where it is in the container
    #[arg(long, value_name = "SOURCE:TARGET")]
    mount: Vec<String>,

    /// An environment variable, besides those of the image
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = super::run::variable)]
    env: Vec<(String, String)>,

    /// The most memory that it may use; 7.23 and newer
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,

    /// Give it all rights; 7.24 and newer
    #[arg(long)]
    privileged: bool,

    /// Do not start it with the device
    #[arg(long)]
    no_start_on_boot: bool,

    #[command(flatten)]
    registry: RegistryArgs,
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let Verb::Script(args) = self.verb;
        args.execute(printer)
    }
}

impl ScriptArgs {
    fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let target = match (&self.device, &self.target) {
            (Some(name), _) => device(name)?.clone(),
            (None, Some(target)) => Catalogue::builtin().resolve(target)?,
            (None, None) => {
                return Err(Told::new("no device is named", "give `--device` or `--target`").into());
            }
        };
        let image = Image::open(&self.image, &target.platform, &self.registry.access([&self.image])?)?;
        let mut told = command(image.config(), &image.platform(), &target, self.version)?;
        for (name, value) in &self.env {
            told.set_env(name, value);
        }
        let name = self.name.clone().unwrap_or_else(|| self.usual_name());
        let place = if self.remote {
            self.place()?
        } else {
            Place::File(self.file.clone().unwrap_or_else(|| format!("{name}.tar")))
        };
        let mut mounts = Vec::new();
        for mount in &self.mount {
            let pair = mount
                .split_once(':')
                .filter(|(source, target)| !source.is_empty() && target.starts_with('/'));
            let (source, target) = pair.ok_or_else(|| {
                Told::new(format!("`{mount}` is no mount"), "a mount is given as `disk1/data:/data`")
            })?;
            mounts.push((source.to_owned(), target.to_owned()));
        }
        let is_address = self.address.split_once('/').is_some_and(|(address, length)| {
            address.parse::<std::net::Ipv4Addr>().is_ok()
                && length.parse::<u8>().is_ok_and(|length| length <= 32)
        });
        if !is_address {
            let message = format!("`{}` is no address with the length of its network", self.address);
            return Err(Told::new(message, "an address is given as `172.17.0.2/24`").into());
        }
        let script = Script {
            version: self.version,
            target: target.name.clone(),
            name,
            place,
            command: told,
            address: self.address,
            gateway: self.gateway.to_string(),
            bridge: self.bridge,
            disk: self.disk,
            tmpfs: self.tmpfs,
            mounts,
            memory: self.memory,
            privileged: self.privileged,
            start_on_boot: !self.no_start_on_boot,
        };
        let mut out = printer.stdout();
        write!(out, "{}", script.write()?)?;
        out.flush()?;
        Ok(ExitStatus::Success)
    }

    /// The last part of the image's name, without its tag.
    fn usual_name(&self) -> String {
        let text = self.image.to_string();
        let last = text
            .rsplit(['/', ':'])
            .find(|part| part.chars().any(|c| c.is_ascii_alphabetic()) && *part != "latest");
        let name: String = last
            .unwrap_or("container")
            .trim_end_matches(".tar")
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' })
            .take(40)
            .collect();
        if name.is_empty() { "container".into() } else { name }
    }

    /// The registry and the name in it, as the device wants them.
    fn place(&self) -> anyhow::Result<Place> {
        let text = self.image.to_string();
        let not = || {
            Told::new(
                format!("`{text}` is in no registry"),
                "with `--remote`, name the image as `docker://REGISTRY/NAME:TAG`; else give `--file`",
            )
        };
        let name = text.strip_prefix("docker://").ok_or_else(not)?;
        let (registry, rest) = name.split_once('/').ok_or_else(not)?;
        let is_registry = registry.contains(['.', ':']) || registry == "localhost";
        let (registry, rest) = match registry {
            "docker.io" => ("registry-1.docker.io", rest),
            registry if is_registry => (registry, rest),
            _ => ("registry-1.docker.io", name),
        };
        Ok(Place::Remote { registry: format!("https://{registry}"), name: rest.to_owned() })
    }
}
