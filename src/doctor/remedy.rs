//! What mends a lack, on each distribution.

use serde::Serialize;

/// A family of distributions, whose tools are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Debian, Ubuntu and what is made of them.
    Debian,
    /// Fedora, RHEL and what is made of them.
    Fedora,
    /// Alpine.
    Alpine,
    /// Arch.
    Arch,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Debian, Self::Fedora, Self::Alpine, Self::Arch];

    /// The family that an `os-release` file tells of; `None` for another one.
    #[must_use]
    pub fn of(os_release: &str) -> Option<Self> {
        let value = |key: &str| {
            let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
            Some(line.trim().trim_matches(['"', '\'']))
        };
        let names = [value("ID"), value("ID_LIKE")];
        names.iter().flatten().flat_map(|names| names.split_whitespace()).find_map(|name| match name {
            "debian" | "ubuntu" => Some(Self::Debian),
            "fedora" | "rhel" | "centos" => Some(Self::Fedora),
            "alpine" => Some(Self::Alpine),
            "arch" | "archlinux" => Some(Self::Arch),
            _ => None,
        })
    }
}

/// The command that mends a lack, as root unless it begins with `polyarch` or sets a variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// On Debian and its like.
    pub debian: String,
    /// On Fedora and its like.
    pub fedora: String,
    /// On Alpine.
    pub alpine: String,
    /// On Arch.
    pub arch: String,
}

impl Remedy {
    /// The same everywhere.
    pub(super) fn same(command: impl Into<String>) -> Self {
        let command = command.into();
        Self { debian: command.clone(), fedora: command.clone(), alpine: command.clone(), arch: command }
    }

    pub(super) fn of(debian: &str, fedora: &str, alpine: &str, arch: &str) -> Self {
        let [debian, fedora, alpine, arch] = [debian, fedora, alpine, arch].map(str::to_owned);
        Self { debian, fedora, alpine, arch }
    }

    /// Installs packages.
    pub(super) fn packages(debian: &str, fedora: &str, alpine: &str, arch: &str) -> Self {
        Self {
            debian: format!("apt-get install {debian}"),
            fedora: format!("dnf install {fedora}"),
            alpine: format!("apk add {alpine}"),
            arch: format!("pacman -S {arch}"),
        }
    }

    /// Sets a switch of the kernel, for good.
    pub(super) fn sysctl(setting: &str) -> Self {
        let file = "/etc/sysctl.d/90-polyarch.conf";
        Self::same(format!("echo {setting} >>{file} && sysctl -p {file}"))
    }

    /// Loads a module of the kernel, for good.
    pub(super) fn module(name: &str) -> Self {
        let systemd = format!("modprobe {name} && echo {name} >/etc/modules-load.d/{name}.conf");
        let alpine = format!("modprobe {name} && echo {name} >>/etc/modules");
        Self { debian: systemd.clone(), fedora: systemd.clone(), alpine, arch: systemd }
    }

    /// Installs the distribution's newest kernel.
    pub(super) fn kernel() -> Self {
        Self::of(
            "apt-get install linux-image-$(dpkg --print-architecture) && reboot",
            "dnf upgrade kernel && reboot",
            "apk add --upgrade linux-lts && reboot",
            "pacman -Syu linux && reboot",
        )
    }

    /// The command of one family.
    #[must_use]
    pub fn on(&self, family: Family) -> &str {
        match family {
            Family::Debian => &self.debian,
            Family::Fedora => &self.fedora,
            Family::Alpine => &self.alpine,
            Family::Arch => &self.arch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_known_by_its_own_name_or_by_what_it_is_like() {
        assert_eq!(Family::of("NAME=x\nID=debian\n"), Some(Family::Debian));
        assert_eq!(Family::of("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), Some(Family::Debian));
        assert_eq!(Family::of("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"), Some(Family::Fedora));
        assert_eq!(Family::of("ID=alpine"), Some(Family::Alpine));
        assert_eq!(Family::of("ID=nixos"), None);
    }
}
