//! `bundle` with what others made: Debian's packages from its archive, musl's and Go's programs, and the worked example of the docs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::bundle::Root;
use crate::support::cc::{Cc, compile};
use crate::support::deb::deb;
use crate::support::rsc::parse;
use crate::support::{Cx, ran};

#[test]
fn a_program_of_debian_s_archive_comes_with_what_it_depends_on_and_loads() {
    let cx = Cx::new();
    let mut command = cx.polyarch();
    for name in ["http_proxy", "https_proxy", "no_proxy"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command.args([
        "-q",
        "bundle",
        "jq",
        "--from",
        "deb:jq",
        "--target",
        "linux/mipsle",
        "--suite",
        "bookworm",
    ]);
    ran(command.args(["--host", "linux/amd64", "-o", "docker-archive:a.tar"])).success();
    let root = Root::of(&cx, "a.tar");
    assert_eq!(root.run(&cx, &["/usr/bin/jq", "-n", "[1, 2] | add"]).success(), "3\n");
    let names = root.names();
    let has = |part: &str| names.iter().any(|name| name.contains(part));
    // What the program loads and no more: neither its documentation nor what its packages' packages depend on.
    assert!(has("libjq.so.1") && has("libonig.so.5") && has("libc.so.6"), "{names:?}");
    assert!(!has("usr/share") && !has("libgcc_s") && !has("var/"), "{names:?}");
    let manifest: Value = serde_json::from_slice(&root.read(".polyarch/manifest.json")).unwrap();
    let source = manifest["programs"][0]["source"].as_str().unwrap();
    assert!(source.starts_with("Debian jq 1.6-") && source.ends_with("(mipsel)"), "{source}");
    cx.run(["check", "docker-archive:a.tar", "--target", "linux/amd64"]).success();
}

/// A root file system with Debian's musl for an architecture, and a program that is linked to it.
fn musl_root(cx: &Cx, architecture: &str, triple: &str, musl: &str) {
    for package in ["musl", "musl-dev"] {
        ran(cx.command("/usr/bin/dpkg-deb").arg("-x").arg(deb("bookworm", architecture, package)).arg("sdk"))
            .success();
    }
    let source = "#include <stdio.h>\n#include <sys/utsname.h>\nint main(int c, char **v) { struct utsname u; uname(&u); \
                  printf(\"%s %d %s\\n\", v[0], c, u.machine); return 0; }\n";
    cx.file("hello.c", source);
    fs::create_dir_all(cx.path("root/bin")).unwrap();
    fs::create_dir_all(cx.path("root/lib")).unwrap();
    let script = format!(
        "set -e; name=$(basename sdk/lib/ld-musl-*.so.1); libs=sdk/usr/lib/{musl}; cp sdk/lib/{musl}/libc.so \"root/lib/$name\"; \
         chmod 755 \"root/lib/$name\"; {triple}-gcc -nostdinc -isystem sdk/usr/include/{musl} -nostdlib -no-pie -o root/bin/hello \
         \"$libs/crt1.o\" \"$libs/crti.o\" hello.c -Lsdk/lib/{musl} -lc \"$libs/crtn.o\" -Wl,--dynamic-linker=\"/lib/$name\"; \
         ln -s hello root/bin/link"
    );
    ran(cx.command("/bin/sh").args(["-c", &script])).success();
}

#[test]
fn musl_s_programs_come_with_its_loader_and_run_as_whole_images_too() {
    for (architecture, triple, musl, machine) in [
        ("arm64", "aarch64-linux-gnu", "aarch64-linux-musl", "aarch64"),
        ("armhf", "arm-linux-gnueabihf", "arm-linux-musleabihf", "armv7l"),
    ] {
        let cx = Cx::new();
        musl_root(&cx, architecture, triple, musl);
        let host = ["--host", "linux/amd64", "-o", "docker-archive:a.tar"];
        cx.run([&["bundle", "hello", "--from", "root"][..], &host].concat()).success();
        let root = Root::of(&cx, "a.tar");
        assert_eq!(root.run(&cx, &["/bin/hello", "x"]).success(), format!("/bin/hello 2 {machine}\n"));
        let names = root.names();
        let libraries: Vec<&String> = names.iter().filter(|name| name.starts_with("lib/")).collect();
        assert!(matches!(libraries.as_slice(), [name] if name.starts_with("lib/ld-musl-")), "{names:?}");
        cx.run([&["bundle", "--rootfs", "root"][..], &host].concat()).success();
        let root = Root::of(&cx, "a.tar");
        assert_eq!(root.run(&cx, &["/bin/link"]).success(), format!("/bin/link 1 {machine}\n"));
    }
}

#[test]
fn go_s_programs_are_bundled_and_turned() {
    let cx = Cx::new();
    let program = crate::check_table::machines::go(&[("GOARCH", "mips"), ("GOMIPS", "softfloat")]);
    fs::create_dir_all(cx.path("root/usr/local/bin")).unwrap();
    fs::copy(&program, cx.path("root/usr/local/bin/hello")).unwrap();
    fs::copy(&program, cx.path("hello")).unwrap();
    for (words, name) in [
        (&["hello", "--target", "routeros/mipsbe"][..], "/bin/hello"),
        (&["--rootfs", "root"], "/usr/local/bin/hello"),
    ] {
        let host = ["--host", "linux/amd64", "-o", "docker-archive:a.tar"];
        cx.run([&["bundle"], words, &host].concat()).success();
        let seen = Root::of(&cx, "a.tar").run(&cx, &[name]);
        assert_eq!((seen.status, seen.stderr.as_str()), (0, "hello\n"), "{words:?}");
    }
}

/// What stands for netinstall-cli: it takes the same words, and does with sockets what that does.
const STAND_IN: &str = r#"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
int main(int argc, char **argv) {
    int one = 1, udp = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(67) };
    struct ifreq lo = { .ifr_name = "lo" };
    if (bind(udp, (void *)&at, sizeof at)) { perror("bind"); return 1; }
    if (setsockopt(udp, SOL_SOCKET, SO_BROADCAST, &one, sizeof one)) { perror("SO_BROADCAST"); return 2; }
    if (setsockopt(udp, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3)) { perror("SO_BINDTODEVICE"); return 3; }
    if (setsockopt(udp, IPPROTO_IP, IP_PKTINFO, &one, sizeof one)) { perror("IP_PKTINFO"); return 4; }
    if (ioctl(udp, SIOCGIFINDEX, &lo)) { perror("SIOCGIFINDEX"); return 5; }
    FILE *package = fopen(argv[argc - 1], "r");
    char text[16] = "";
    if (!package || !fgets(text, sizeof text, package)) { perror(argv[argc - 1]); return 6; }
    for (int i = 0; i < argc; i++) printf("[%s]", argv[i]);
    printf(" %s\n", text);
    return 0;
}
"#;

#[test]
fn the_worked_example_of_netinstall_works_as_it_is_written() {
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/netinstall.md")).unwrap();
    let example = docs.split("```console\n").nth(1).unwrap().split("```").next().unwrap();
    let commands = example.replace("\\\n", " ");
    let commands: Vec<&str> = commands.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    assert_eq!(commands.len(), 5, "{commands:?}");
    for (host, place) in [("routeros/arm64", true), ("routeros/arm", false), ("routeros/x86", false)] {
        let cx = Cx::new();
        // What MikroTik's page gives: the program in an archive, and a package for the device.
        let program = compile(&Cc { triple: "i686-linux-gnu", flags: &["-static", "-O1"], source: STAND_IN });
        fs::copy(program, cx.path("netinstall-cli")).unwrap();
        ran(cx.command("/bin/tar").args(["-czf", "netinstall-7.20.6.tar.gz", "netinstall-cli"])).success();
        fs::remove_file(cx.path("netinstall-cli")).unwrap();
        cx.file("packages/routeros-7.20.6-mipsbe.npk", "a package");
        fs::create_dir_all(cx.path("path")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_polyarch"), cx.path("path/polyarch")).unwrap();
        for command in &commands {
            // The docs' device is for arm64; the others differ in nothing else.
            let device = match host {
                "routeros/arm64" => "--device RB5009",
                "routeros/arm" => "--target routeros/arm",
                _ => "--target routeros/x86",
            };
            let command = command.replace("routeros/arm64", host).replace("--device RB5009", device);
            let mut shell = cx.command("/bin/sh");
            let path = format!("{}:/usr/bin:/bin", cx.path("path").display());
            ran(shell.env("PATH", path).args(["-c", &command])).success();
        }
        let script = fs::read_to_string(cx.path("netinstall.rsc")).unwrap();
        let commands = parse(&script, 20).unwrap_or_else(|fault| panic!("{fault}: {script}"));
        let container = commands.iter().find(|command| command.menu == "/container").unwrap();
        assert_eq!(
            (container.get("entrypoint"), container.get("cmd"), container.get("file")),
            (Some("/.polyarch/start"), None, Some("disk1/netinstall.tar"))
        );
        let root = Root::of(&cx, "netinstall.tar");
        let bits = fs::metadata(root.path(".polyarch/start")).unwrap().permissions().mode();
        assert_eq!(bits & 0o777, 0o755);
        assert_eq!(root.config()["Labels"]["io.polyarch.start"], json!("/.polyarch/start"));
        // As the router would, under an emulator of the router's CPU where this machine is none: two deep.
        let mut run = cx.polyarch();
        run.args(["-q", "run", "--network", "none"]);
        if place {
            // A 64-bit emulator wants the place for its guest where the outer one is.
            run.args(["-e", "QEMU_GUEST_BASE=0x1000000000"]);
        }
        let seen = ran(run.args(["--entrypoint", "/.polyarch/start", "docker-archive:netinstall.tar"]));
        assert_eq!(
            seen.success(),
            "[/bin/netinstall-cli][-b][-r][-i][netinstall][-a][192.168.88.3][/packages/routeros-7.20.6-mipsbe.npk] a package\n",
            "{host}"
        );
    }
}
