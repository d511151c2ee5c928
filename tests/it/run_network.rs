//! `run`: what a container reaches and is reached by, and what it is called.

use std::fs;
use std::io::Read as _;
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::container::{NATIVE, session as image, unprivileged};
use crate::support::http::Server;
use crate::support::probe::is_running;
use crate::support::{Cx, ran};

const MIPS: &str = "mips-linux-gnu";

/// The program as an ordinary user, on a machine where `/dev/net/tun` is open for everybody, as udev makes it.
fn user(cx: &Cx) -> Command {
    let command = unprivileged(cx);
    if !rustix::process::geteuid().is_root() {
        return command;
    }
    let device = cx.path("device");
    fs::create_dir_all(&device).unwrap();
    let script = "mount -t tmpfs none \"$0\" && mknod -m 666 \"$0/tun\" c 10 200 && mount --bind \"$0/tun\" /dev/net/tun && exec \"$@\"";
    let mut wrapped = cx.command("unshare");
    wrapped
        .args(["--mount", "sh", "-c", script])
        .arg(device)
        .arg(command.get_program())
        .args(command.get_args());
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped
}

fn started(command: &mut Command) -> (Child, ChildStdout) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut line = [0; 6];
    out.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"ready\n");
    (child, out)
}

/// A port that nobody has.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn the_host_is_reached_over_its_network_and_pasta_and_not_without() {
    let cx = Cx::new();
    cx.file("served/file", "content");
    let server = Server::new(&cx.path("served"));
    let port = server.url("").rsplit_once(':').unwrap().1.trim_end_matches('/').to_owned();
    for triple in [NATIVE, MIPS] {
        let image = image(&cx, triple, "client");
        for (who, ordinary) in [("caller", false), ("user", true)] {
            let command = || if ordinary { user(&cx) } else { cx.polyarch() };
            let fetch = |network: &[&str], address: &str| {
                ran(command().arg("run").args(network).args([&image, "fetch", address, &port]))
            };
            let what = format!("{triple} {who}");
            assert!(fetch(&[], "127.0.0.1").success().ends_with("\r\n\r\ncontent"), "{what}");
            assert!(fetch(&["--network", "host"], "127.0.0.1").success().ends_with("content"), "{what}");
            let out = fetch(&["--network", "none"], "127.0.0.1");
            assert_eq!((out.status, out.stdout.as_str()), (1, "unreachable\n"), "{what}");
            // Its loopback is its own there, and the gateway leads to the host's.
            let out = fetch(&["--network", "pasta"], "127.0.0.1");
            assert_eq!((out.status, out.stdout.as_str()), (1, "unreachable\n"), "{what} {}", out.stderr);
            let mut hosts = command();
            hosts.args([
                "run",
                "--network",
                "pasta",
                "--add-host",
                "out:host-gateway",
                &image,
                "read",
                "/etc/hosts",
            ]);
            let hosts = ran(&mut hosts).success();
            let gateway = hosts.lines().find_map(|line| line.strip_suffix("\tout")).unwrap().to_owned();
            assert!(fetch(&["--network", "pasta"], &gateway).success().ends_with("content"), "{what}");
        }
    }
    // Groups may ping in a network of the container's own.
    let image = image(&cx, NATIVE, "client");
    assert_eq!(cx.run(["run", "--network", "none", &image, "ping"]).success(), "may ping\n");
    assert_eq!(
        ran(unprivileged(&cx).args(["run", "--network", "none", &image, "ping"])).success(),
        "may ping\n"
    );
}

#[test]
fn published_ports_are_reached_and_pasta_ends_with_the_run() {
    let cx = Cx::new();
    let image = image(&cx, NATIVE, "server");
    for ordinary in [false, true] {
        let command = || if ordinary { user(&cx) } else { cx.polyarch() };
        let port = free_port();
        let publish = format!("127.0.0.1:{port}:8080");
        let (mut child, _out) = started(command().args(["run", "-p", &publish, &image, "serve", "8080"]));
        let mut text = String::new();
        TcpStream::connect(("127.0.0.1", port)).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello\n");
        assert!(child.wait().unwrap().success());

        // The same on both sides: Debian 12's pasta changes no port of datagrams that come over the host's loopback.
        let publish = format!("127.0.0.1:{port}:{port}/udp");
        let number = port.to_string();
        let (mut child, _out) =
            started(command().args(["run", "-p", &publish, &image, "serve", &number, "udp"]));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.send_to(b"x", ("127.0.0.1", port)).unwrap();
        let mut answer = [0; 16];
        let (count, _) = socket.recv_from(&mut answer).unwrap();
        assert_eq!(&answer[..count], b"hello\n");
        assert!(child.wait().unwrap().success());

        // However the run ends.
        let (mut child, _out) = started(command().args(["run", "-p", &publish, &image, "wait"]));
        let spec = format!("127.0.0.1/{port}:{port}");
        assert!(is_running(&spec));
        child.kill().unwrap();
        child.wait().unwrap();
        let start = Instant::now();
        while is_running(&spec) {
            assert!(start.elapsed() < Duration::from_secs(20), "pasta outlives the run");
            std::thread::yield_now();
        }
    }
    // A port that is chosen is told.
    let mut child = cx
        .polyarch()
        .args(["run", "-p", "127.0.0.1::8080", &image, "serve", "8080"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
    let mut told = vec![0; 64];
    let count = child.stderr.as_mut().unwrap().read(&mut told).unwrap();
    let told = String::from_utf8_lossy(&told[..count]).into_owned();
    let port: u16 = told.trim().strip_prefix("port 8080/tcp at 127.0.0.1:").unwrap().parse().unwrap();
    let mut text = String::new();
    TcpStream::connect(("127.0.0.1", port)).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn names_are_in_the_files_and_not_in_the_image() {
    let cx = Cx::new();
    let image = image(&cx, NATIVE, "names");
    let read = |options: &[&str], path: &str| {
        cx.run([&["run"], options, &[&image, "read", path]].concat()).success()
    };
    assert_eq!(read(&["--hostname", "box"], "/etc/hostname"), "box\n");
    assert_eq!(read(&["--hostname", "box"], "/proc/sys/kernel/hostname"), "box\n");
    let hosts = read(&["--network", "none", "--hostname", "box", "--add-host", "db:10.1.2.3"], "/etc/hosts");
    assert!(hosts.starts_with("127.0.0.1\tlocalhost\n"), "{hosts}");
    assert!(hosts.ends_with("127.0.1.1\tbox\n10.1.2.3\tdb\n"), "{hosts}");
    let host = fs::read_to_string("/etc/hosts").unwrap();
    assert!(read(&[], "/etc/hosts").starts_with(&host));
    assert_eq!(read(&[], "/etc/resolv.conf"), fs::read_to_string("/etc/resolv.conf").unwrap());
    let resolv = read(&["--dns", "10.9.8.7", "--dns", "::9"], "/etc/resolv.conf");
    assert!(resolv.starts_with("nameserver 10.9.8.7\nnameserver ::9\n"), "{resolv}");
    // What the caller mounts counts.
    let own = cx.file("own", "own\n");
    assert_eq!(read(&["-v", &format!("{}:/etc/hosts", own.display())], "/etc/hosts"), "own\n");
    // A label is for lists of processes.
    let (mut child, _out) = started(cx.polyarch().args(["run", "--name", "a-label", &image, "wait"]));
    assert!(is_running("polyarch: a-label"));
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn what_cannot_be_had_says_so() {
    let cx = Cx::new();
    let image = image(&cx, NATIVE, "refused");
    let keeper = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("{}:80", keeper.local_addr().unwrap());
    for (options, words) in [
        (&["--network", "bridge"][..], "there is no bridge"),
        (&["--network", "other"], "there are `host`, `none` and `pasta`"),
        (&["-p", "80:80/sctp"], "neither `tcp` nor `udp`"),
        (&["-p", "8000-8002:80"], "as many ports on both sides"),
        (&["-p", &taken], "something else has it"),
        (&["--hostname", "a b"], "a host name is"),
        (&["--name", "-"], "a name is letters"),
        (&["--add-host", "x:y"], "`y` is no address"),
        (&["--network", "none", "--add-host", "x:host-gateway"], "no way to the host"),
    ] {
        let err = cx.run([&["run"], options, &[image.as_str(), "exit", "0"]].concat()).failure(125);
        assert!(err.contains(words), "{options:?}: {err}");
    }
    drop(keeper);
    let err =
        ran(cx.polyarch().args(["run", "--network", "none", "-p", "80:80", &image, "exit", "3"])).failure(3);
    assert!(err.contains("do not count"), "{err}");
    // Somebody who may not use the device.
    if rustix::process::geteuid().is_root() {
        let mut command = user(&cx);
        let closed: Vec<_> =
            command.get_args().map(|arg| arg.to_string_lossy().replace("-m 666", "-m 600")).collect();
        let mut again = cx.command("unshare");
        again
            .args(closed)
            .envs(command.env("X", "").get_envs().filter_map(|(name, value)| Some((name, value?))));
        let err = ran(again.args(["run", "--network", "pasta", &image, "exit", "0"])).failure(125);
        assert!(err.contains("cannot connect the container's network") && err.contains("hint:"), "{err}");
    }
}
