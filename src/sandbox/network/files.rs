//! `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf` of a container: files of the run, mounted over what the image has there.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::super::volumes::{Beneath, Source, Volume};
use super::pasta::FORWARDED_DNS;
use super::{Mode, Network};

/// How much of a file of the host is read at most, in bytes.
const FILE_MOST: u64 = 1 << 20;
/// Where systemd has the name servers behind its own, which listens on the host's loopback.
const BEHIND_SYSTEMD: &str = "/run/systemd/resolve/resolv.conf";

const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

impl Network {
    /// Writes the files into `folder`, and gives what is to be mounted.
    pub(in super::super) fn files(&self, folder: &Path, hostname: &str) -> io::Result<Vec<Volume>> {
        let hosts = self.hosts_text(&read("/etc/hosts"), hostname, gateway(&read("/proc/net/route")));
        let resolv = self.resolv_text(&read("/etc/resolv.conf"), &read(BEHIND_SYSTEMD));
        let files = [("hostname", format!("{hostname}\n")), ("hosts", hosts), ("resolv.conf", resolv)];
        let mut volumes = Vec::new();
        for (name, text) in files {
            let path = folder.join(name);
            fs::write(&path, text)?;
            volumes.push(Volume {
                target: format!("/etc/{name}").into(),
                source: Source::Bind { path: path.into(), make: false, beneath: Beneath::Outside },
                read_only: false,
            });
        }
        Ok(volumes)
    }

    fn hosts_text(&self, host: &str, hostname: &str, gateway: Option<Ipv4Addr>) -> String {
        let mut text = if self.mode == Mode::Host { host.to_owned() } else { HOSTS.to_owned() };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let knows = |line: &str| line.split_whitespace().skip(1).any(|name| name == hostname);
        if !text.lines().any(knows) {
            text.extend(["127.0.1.1\t", hostname, "\n"]);
        }
        let host = if self.mode == Mode::Pasta { gateway } else { Some(Ipv4Addr::LOCALHOST) };
        for (name, address) in &self.hosts {
            if let Some(address) = address.or(host.map(IpAddr::V4)) {
                text.extend([&address.to_string(), "\t", name, "\n"]);
            }
        }
        text
    }

    /// `behind` is what systemd's own name server asks.
    fn resolv_text(&self, host: &str, behind: &str) -> String {
        let server =
            |line: &str| line.strip_prefix("nameserver")?.trim().split('%').next()?.parse::<IpAddr>().ok();
        let others = |text: &str| {
            text.lines()
                .filter(|line| server(line).is_none())
                .flat_map(|line| [line, "\n"])
                .collect::<String>()
        };
        let with = |servers: &[IpAddr]| {
            let lines: Vec<String> = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
            lines.concat() + &others(host)
        };
        if !self.dns.is_empty() {
            return with(&self.dns);
        }
        if self.mode != Mode::Pasta {
            return host.to_owned();
        }
        // What listens on the host's loopback is out of reach.
        let reachable = |text: &str| {
            text.lines().filter_map(server).filter(|server| !server.is_loopback()).collect::<Vec<_>>()
        };
        let servers = [reachable(host), reachable(behind), vec![FORWARDED_DNS.into()]];
        servers.iter().find(|servers| !servers.is_empty()).map(|servers| with(servers)).unwrap_or_default()
    }
}

fn read(path: &str) -> String {
    let mut text = Vec::new();
    // A host without such a file has nothing to say.
    let _ = File::open(path).and_then(|file| file.take(FILE_MOST).read_to_end(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}

/// The gateway of the default route, by a text as `/proc/net/route`.
fn gateway(routes: &str) -> Option<Ipv4Addr> {
    routes.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let ["00000000", gateway] = fields.get(1..3)? else { return None };
        u32::from_str_radix(gateway, 16).ok().map(|number| Ipv4Addr::from(number.to_ne_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(mode: Mode) -> Network {
        Network { mode, ..Network::default() }
    }

    #[test]
    fn hosts_are_the_hosts_or_its_own_and_those_that_were_given() {
        let hosts = vec![("db".into(), Some("10.0.0.1".parse().unwrap())), ("outside".into(), None)];
        let network = |mode| Network { mode, hosts: hosts.clone(), ..Network::default() };
        let text = network(Mode::Host).hosts_text("127.0.0.1 localhost\n10.9.9.9 box", "me", None);
        assert_eq!(
            text,
            "127.0.0.1 localhost\n10.9.9.9 box\n127.0.1.1\tme\n10.0.0.1\tdb\n127.0.0.1\toutside\n"
        );
        let text = network(Mode::Pasta).hosts_text("10.9.9.9 box", "localhost", Some([10, 0, 2, 2].into()));
        assert_eq!(text, format!("{HOSTS}10.0.0.1\tdb\n10.0.2.2\toutside\n"));
    }

    #[test]
    fn name_servers_out_of_reach_are_left_out() {
        let host = "# made\nsearch a.example\nnameserver 127.0.0.53\noptions edns0\n";
        let behind = "nameserver 10.1.1.1\nnameserver fe80::1%eth0\n";
        assert_eq!(network(Mode::Host).resolv_text(host, behind), host);
        let rest = "# made\nsearch a.example\noptions edns0\n";
        let got = network(Mode::Pasta).resolv_text(host, behind);
        assert_eq!(got, format!("nameserver 10.1.1.1\nnameserver fe80::1\n{rest}"));
        let got = network(Mode::Pasta).resolv_text(host, "");
        assert_eq!(got, format!("nameserver {FORWARDED_DNS}\n{rest}"));
        let given = Network { dns: vec!["9.9.9.9".parse().unwrap()], ..network(Mode::Host) };
        assert_eq!(given.resolv_text(host, behind), format!("nameserver 9.9.9.9\n{rest}"));
    }

    #[test]
    fn the_gateway_is_that_of_the_default_route() {
        let routes = "Iface\tDestination\tGateway\tFlags\neth0\t0000A8C0\t00000000\t0001\neth0\t00000000\t0100A8C0\t0003\n";
        assert_eq!(gateway(routes), Some([192, 168, 0, 1].into()));
        assert_eq!(gateway(""), None);
    }
}
