//! Published ports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};

use super::super::SandboxError;

/// Which kind of port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A stream.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A port, or ports in a row, of the host that lead to as many of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// At which address of the host; at all where there is none.
    pub address: Option<IpAddr>,
    /// The host's first; any that is free where there is none.
    pub host: Option<u16>,
    /// The container's first.
    pub container: u16,
    /// How many.
    pub count: u16,
    /// Of which kind.
    pub protocol: Protocol,
}

impl Port {
    /// Reads `[[IP:][HOST]:]CONTAINER[/tcp|/udp]`, as docker; an IPv6 address is in brackets.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (rest, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::Tcp),
            Some((rest, "tcp")) => (rest, Protocol::Tcp),
            Some((rest, "udp")) => (rest, Protocol::Udp),
            Some((_, other)) => return Err(format!("`{other}` is neither `tcp` nor `udp`")),
        };
        let (rest, container) = rest.rsplit_once(':').unwrap_or(("", rest));
        let (address, host) = match rest.rsplit_once(':') {
            Some((address, host)) => (address, host),
            None => ("", rest),
        };
        let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
        let address = if bare.is_empty() {
            None
        } else {
            Some(bare.parse().map_err(|_| format!("`{bare}` is no address"))?)
        };
        let (container, count) = range(container)?;
        let host = if host.is_empty() { None } else { Some(range(host)?) };
        if host.is_some_and(|(_, hosts)| hosts != count) {
            return Err("there must be as many ports on both sides".into());
        }
        if host.is_none() && count > 1 {
            return Err("ports in a row need ports of the host".into());
        }
        Ok(Self { address, host: host.map(|(first, _)| first), container, count, protocol })
    }

    /// Makes sure that the host's ports can be had, and chooses one where none is named. (Whether they still can be in a moment,
    /// pasta says.)
    ///
    /// # Errors
    /// [`SandboxError`] where they cannot.
    pub fn settle(&mut self) -> Result<(), SandboxError> {
        let address = self.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let last = self.host.map_or(0, |first| first.saturating_add(self.count - 1));
        for number in self.host.unwrap_or(0)..=last {
            let bound = match self.protocol {
                Protocol::Tcp => TcpListener::bind((address, number)).and_then(|socket| socket.local_addr()),
                Protocol::Udp => UdpSocket::bind((address, number)).and_then(|socket| socket.local_addr()),
            };
            let bound =
                bound.map_err(|source| SandboxError::Port { port: format!("{address}:{number}"), source })?;
            if self.host.is_none() {
                self.host = Some(bound.port());
            }
        }
        Ok(())
    }

    /// As pasta is told.
    pub(super) fn spec(&self) -> String {
        let address = self.address.map(|address| format!("{address}/")).unwrap_or_default();
        let row = |first: u16| match self.count {
            1 => first.to_string(),
            count => format!("{first}-{}", first.saturating_add(count - 1)),
        };
        format!("{address}{}:{}", row(self.host.unwrap_or(self.container)), row(self.container))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.protocol == Protocol::Tcp { "tcp" } else { "udp" };
        let address = self.address.map_or_else(|| "*".into(), |address| address.to_string());
        write!(f, "{}/{kind} at {address}:{}", self.container, self.host.unwrap_or_default())
    }
}

/// `FIRST[-LAST]`, and how many that are.
fn range(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| format!("`{text}` is no port, 1 to 65535"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    let count = last.checked_sub(first).ok_or("a range begins with its least port")?;
    Ok((first, count.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_docker_reads_them() {
        for (text, spec, udp) in [
            ("8080:80", "8080:80", false),
            ("8080:80/tcp", "8080:80", false),
            ("5353:53/udp", "5353:53", true),
            ("127.0.0.1:8080:80", "127.0.0.1/8080:80", false),
            ("[::1]:8080:80", "::1/8080:80", false),
            ("8000-8002:80-82", "8000-8002:80-82", false),
            ("80", "80:80", false),
            ("127.0.0.1::80", "127.0.0.1/80:80", false),
        ] {
            let port = Port::parse(text).unwrap();
            assert_eq!((port.spec().as_str(), port.protocol == Protocol::Udp), (spec, udp), "{text}");
        }
        for text in [
            "",
            "x",
            "0:80",
            "80:0",
            "1.2.3:80:80",
            "8000-8002:80",
            "80-79",
            "1:2/sctp",
            "70000:80",
            "80-82",
            ":",
        ] {
            assert!(Port::parse(text).is_err(), "{text}");
        }
    }
}
