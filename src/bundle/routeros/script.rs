//! Writing the script.

use std::fmt::Write as _;

use super::{Command, RouterOsError, Version};

/// Where the device gets the image from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A docker archive on the device.
    File(String),
    /// A registry, by the image's name there.
    Remote {
        /// `https://registry-1.docker.io`.
        registry: String,
        /// `library/alpine:3.20`.
        name: String,
    },
}

/// A container, and what it takes on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The version that it is for.
    pub version: Version,
    /// Its target, for people.
    pub target: String,
    /// The container's name, of letters, digits, `-` and `_`. All that the script adds is called so.
    pub name: String,
    /// Where the image is.
    pub place: Place,
    /// What is started.
    pub command: Command,
    /// The container's address, with the length of its network, such as `172.17.0.2/24`.
    pub address: String,
    /// The bridge's address in it.
    pub gateway: String,
    /// The bridge.
    pub bridge: String,
    /// A disk (`disk1`) for the root; `None` for a tmpfs.
    pub disk: Option<String>,
    /// The size of a tmpfs, such as `64M`.
    pub tmpfs: Option<String>,
    /// Folders of the device, and where they are in the container.
    pub mounts: Vec<(String, String)>,
    /// Its most memory, such as `128M`.
    pub memory: Option<String>,
    /// Whether it has all rights.
    pub privileged: bool,
    /// Whether it starts with the device.
    pub start_on_boot: bool,
}

impl Script {
    /// The script. Run again, it adds nothing twice.
    ///
    /// # Errors
    /// [`RouterOsError`] where the version has not what is asked for, or a name cannot be used.
    pub fn write(&self) -> Result<String, RouterOsError> {
        let version = self.version;
        let too_old = |what, minor| RouterOsError::TooOld { version, what, since: Version::minor(minor) };
        if self.memory.is_some() && !version.has_memory_max() {
            return Err(too_old("limit of a container's memory", 23));
        }
        if self.privileged && !version.has_privileged() {
            return Err(too_old("privileged containers", 24));
        }
        for (name, what) in [(&self.name, "name of a container"), (&self.bridge, "name of a bridge")] {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if name.is_empty() || name.len() > 60 || !name.chars().all(is_plain) {
                return Err(RouterOsError::Name { name: name.clone(), what });
            }
        }
        let mut out = Lines::default();
        out.comment(&format!("RouterOS {version}, {}: container {}", self.target, self.name));
        out.comment("Made by polyarch; not run on a device. Marks: confirmed, reported, inferred.");
        self.network(&mut out);
        let root = self.disk(&mut out);
        self.lists(&mut out);
        self.container(&mut out, &root);
        Ok(out.text)
    }

    fn network(&self, out: &mut Lines) {
        let (name, bridge) = (&self.name, &self.bridge);
        out.comment("confirmed: the veth must be there before the container");
        let properties = [("name", name.as_str()), ("address", &self.address), ("gateway", &self.gateway)];
        out.add("/interface/veth", &[("name", name)], &properties);
        out.add("/interface/bridge", &[("name", bridge)], &[("name", bridge)]);
        let length = self.address.split_once('/').map_or("24", |(_, length)| length);
        let address = format!("{}/{length}", self.gateway);
        out.add("/ip/address", &[("interface", bridge)], &[("address", &address), ("interface", bridge)]);
        let port = [("bridge", bridge.as_str()), ("interface", name)];
        out.add("/interface/bridge/port", &[("interface", name)], &port);
        if self.version.has_mountlists() {
            out.comment(&format!("reported: inside, the interface is called {name}, not eth0"));
        }
    }

    /// The disk, and the container's folder on it.
    fn disk(&self, out: &mut Lines) -> String {
        match (&self.disk, &self.tmpfs) {
            (Some(disk), _) => {
                out.comment(
                    "reported: FAT32 does not serve; the folder is not made beforehand and is no mount point",
                );
                format!("{disk}/{}", self.name)
            }
            (None, tmpfs) => {
                let slot = format!("{}-tmp", self.name);
                let size = tmpfs.as_deref().unwrap_or("64M");
                out.comment(
                    "inferred: type and tmpfs-max-size; what is in it is gone when the device restarts",
                );
                let properties = [("type", "tmpfs"), ("tmpfs-max-size", size), ("slot", &slot)];
                out.add("/disk", &[("slot", &slot)], &properties);
                format!("{slot}/{}", self.name)
            }
        }
    }

    /// Variables and mounts.
    fn lists(&self, out: &mut Lines) {
        let list = if self.version.has_envlists() { "list" } else { "name" };
        if !self.command.env.is_empty() {
            out.comment("confirmed: an entry's `name` became `list` with 7.20");
        }
        for (key, value) in &self.command.env {
            let properties = [(list, self.name.as_str()), ("key", key), ("value", value)];
            out.add("/container/envs", &[(list, &self.name), ("key", key)], &properties);
        }
        let list = if self.version.has_mountlists() { "list" } else { "name" };
        for (number, (source, target)) in self.mounts.iter().enumerate() {
            // Before lists there is a name for each.
            let name = if self.version.has_mountlists() { self.name.clone() } else { self.mount(number) };
            let properties = [(list, name.as_str()), ("src", source), ("dst", target)];
            out.add("/container/mounts", &[(list, &name), ("dst", target)], &properties);
        }
    }

    fn mount(&self, number: usize) -> String {
        format!("{}-{}", self.name, number + 1)
    }

    fn container(&self, out: &mut Lines, root: &str) {
        let name = self.name.as_str();
        let mut properties: Vec<(&str, String)> = Vec::new();
        match &self.place {
            Place::File(file) => {
                out.comment("reported: a docker archive with one plain layer loads in every version");
                properties.push(("file", file.clone()));
            }
            Place::Remote { registry, name } => {
                out.line(&format!(
                    "/container/config/set registry-url={} tmpdir={}",
                    quoted(registry),
                    quoted(&format!("{root}-tmp"))
                ));
                properties.push(("remote-image", name.clone()));
            }
        }
        properties.push(("interface", name.into()));
        properties.push(("root-dir", root.into()));
        if self.version.has_name() {
            properties.push(("name", name.into()));
        }
        if !self.command.env.is_empty() {
            properties.push((if self.version.has_envlists() { "envlists" } else { "envlist" }, name.into()));
        }
        if !self.mounts.is_empty() {
            if self.version.has_mountlists() {
                properties.push(("mountlists", name.into()));
            } else {
                let names: Vec<String> = (0..self.mounts.len()).map(|number| self.mount(number)).collect();
                properties.push(("mounts", names.join(",")));
            }
        }
        if let Some(entrypoint) = &self.command.entrypoint {
            out.comment(
                "confirmed: up to 7.15 entry point and command are one word each; later ones take that too",
            );
            properties.push(("entrypoint", entrypoint.clone()));
        } else {
            out.comment("the image's own command line is used, for it has several words");
        }
        if let Some(cmd) = &self.command.cmd {
            properties.push(("cmd", cmd.clone()));
        }
        if let Some(memory) = &self.memory {
            properties.push(("memory-max", memory.clone()));
        }
        if self.privileged {
            properties.push(("privileged", "yes".into()));
        }
        properties.push(("logging", "yes".into()));
        properties.push(("start-on-boot", if self.start_on_boot { "yes" } else { "no" }.into()));
        let properties: Vec<(&str, &str)> =
            properties.iter().map(|(key, value)| (*key, value.as_str())).collect();
        out.comment("confirmed: logging takes the topic as well");
        out.add(
            "/system/logging",
            &[("topics", "container")],
            &[("topics", "container"), ("action", "memory")],
        );
        out.add("/container", &[("interface", name)], &properties);
        out.comment("when /container/print shows it as stopped, its files are unpacked:");
        out.comment(&format!("/container/start [find where interface={name}]"));
    }
}

/// A script that is being written.
#[derive(Debug, Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn comment(&mut self, text: &str) {
        // A comment ends with its line.
        self.line(&format!("# {}", text.replace(['\n', '\r'], " ")));
    }

    /// Adds an entry to a menu, unless there is one with `same`.
    fn add(&mut self, menu: &str, same: &[(&str, &str)], properties: &[(&str, &str)]) {
        let pairs = |list: &[(&str, &str)]| {
            let mut text = String::new();
            for (key, value) in list {
                // Writing to a string cannot fail.
                let _ = write!(text, " {key}={}", quoted(value));
            }
            text
        };
        let line = format!(
            ":if ([:len [{menu}/find where{}]] = 0) do={{ {menu}/add{} }}",
            pairs(same),
            pairs(properties)
        );
        self.line(&line);
    }
}

/// A value as RouterOS reads it: in quotes unless it is plain.
///
/// Source: MikroTik's manual, "Scripting": constant escape sequences.
fn quoted(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,".contains(&byte);
    if !value.is_empty() && value.bytes().all(is_plain) {
        return value.to_owned();
    }
    let mut text = String::from("\"");
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' | b'$' | b'?' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b' '..=b'~' => text.push(char::from(byte)),
            other => {
                let _ = write!(text, "\\{other:02X}");
            }
        }
    }
    text.push('"');
    text
}
