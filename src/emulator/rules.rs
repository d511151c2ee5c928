//! Which QEMU can run which guest on which host.

use std::fmt;

use crate::target::{Guest, Target};

/// Why a version of QEMU cannot run a guest on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// QEMU 11 no longer runs on 32-bit machines.
    Host32,
    /// QEMU 10 no longer runs 64-bit guests on 32-bit machines.
    Guest64On32,
    /// QEMU removed the guest.
    Removed {
        /// The last version that had it.
        until: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host32 => {
                f.write_str("QEMU 11 no longer runs on 32-bit machines, 10.2 is the last that does")
            }
            Self::Guest64On32 => f.write_str(
                "QEMU 10 no longer runs 64-bit guests on 32-bit machines, 9.2 is the last that does",
            ),
            Self::Removed { until } => write!(f, "QEMU {until} is the last that has this guest"),
        }
    }
}

/// Whether QEMU `version` runs `guest` on `host`.
///
/// Source: QEMU's "Removed features", linux-user and host architectures.
pub(super) fn judge(guest: &Guest, host: &Target, version: &str) -> Result<(), Refusal> {
    let is_after = |last: &str| numbers(version) > numbers(last);
    if host.elf.class == 32 {
        // The fifth byte of an ELF file is its class, 2 for 64 bits.
        if guest.binfmt.magic.get(4) == Some(&2) && is_after("9.2") {
            return Err(Refusal::Guest64On32);
        }
        if is_after("10.2") {
            return Err(Refusal::Host32);
        }
    }
    match &guest.until {
        Some(until) if is_after(until) => Err(Refusal::Removed { until: until.clone() }),
        _ => Ok(()),
    }
}

/// Major and minor number: patch releases remove nothing.
fn numbers(version: &str) -> [u32; 2] {
    let mut parts = version.split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().unwrap_or(0)
    });
    [parts.next().unwrap_or(0), parts.next().unwrap_or(0)]
}

/// The suites to take a host's emulator from, the best first, out of those that have the host, newest first.
///
/// bookworm's QEMU is the one whose behaviour under all of this was measured. Where Debian came to the host
/// later, the oldest suite is the steadiest; what is older than bookworm comes last.
pub(super) fn suites(of_host: &[String]) -> Vec<&str> {
    let measured = of_host.iter().position(|suite| suite == "bookworm");
    let newer = &of_host[..measured.map_or(of_host.len(), |at| at + 1)];
    let older = &of_host[newer.len()..];
    newer.iter().rev().chain(older).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Catalogue;

    fn judged(guest: &str, host: &str, version: &str) -> Result<(), Refusal> {
        let catalogue = Catalogue::builtin();
        judge(catalogue.guest(guest).unwrap(), catalogue.target(host).unwrap(), version)
    }

    #[test]
    fn old_hosts_need_an_old_qemu() {
        assert_eq!(judged("mips", "linux/386", "10.2.4"), Ok(()));
        assert_eq!(judged("mips", "linux/386", "11.0.0"), Err(Refusal::Host32));
        assert_eq!(judged("aarch64", "linux/386", "9.2.2"), Ok(()));
        assert_eq!(judged("aarch64", "linux/386", "10.0.2"), Err(Refusal::Guest64On32));
        assert_eq!(judged("aarch64", "linux/386", "11.0"), Err(Refusal::Guest64On32));
        assert_eq!(judged("aarch64", "linux/arm64", "11.0"), Ok(()));
    }

    #[test]
    fn a_guest_that_was_removed_needs_a_qemu_from_before() {
        let mut guest = Catalogue::builtin().guest("mips").unwrap().clone();
        guest.until = Some("5.2".into());
        let host = Catalogue::builtin().target("linux/amd64").unwrap();
        assert_eq!(judge(&guest, host, "5.2.0"), Ok(()));
        assert_eq!(judge(&guest, host, "6.0"), Err(Refusal::Removed { until: "5.2".into() }));
    }

    #[test]
    fn bookworm_comes_first_where_it_has_the_host() {
        let order = |suites: &[&str]| {
            let suites: Vec<String> = suites.iter().map(|suite| (*suite).to_owned()).collect();
            super::suites(&suites).join(" ")
        };
        assert_eq!(
            order(&["sid", "forky", "trixie", "bookworm", "bullseye"]),
            "bookworm trixie forky sid bullseye"
        );
        assert_eq!(order(&["sid", "forky", "trixie"]), "trixie forky sid");
        assert_eq!(order(&[]), "");
    }
}
