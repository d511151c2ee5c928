//! `binfmt exec`: a command with handlers of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use polyarch::binfmt::{self, REGISTRY};
use rustix::process::Signal;

use crate::support::handlers::{
    INSIDE, escaped, executable, handlers, hellos, host_stays, in_a_private_registry, work, write,
};
use crate::support::{Cx, Ran, ran};

fn exec(cx: &Cx, args: &[&str]) -> Ran {
    ran(cx.as_nobody(env!("CARGO_BIN_EXE_polyarch")).args(["binfmt", "exec"]).args(args))
}

#[test]
fn four_machines_run_side_by_side_as_an_ordinary_user() {
    let cx = Cx::new();
    hellos(&cx);
    let _still = host_stays();
    let before = handlers();
    let out = exec(&cx, &["--", "sh", "-c", "./hello-mips; ./hello-ppc; ./hello-arm; ./hello-riscv64"]);
    let expected = "hello from mips\nhello from ppc\nhello from armv7l\nhello from riscv64\n";
    assert_eq!(out.success(), expected);
    // Foreign programs start foreign programs and the host's own.
    let out = exec(&cx, &["--target", "mips,arm", "./hello-mips", "./hello-arm 'uname -s; ./hello-mips'"]);
    assert_eq!(out.success(), "hello from mips\nhello from armv7l\nLinux\nhello from mips\n");
    // A target that was not named has no handler but the host's, be its emulator at hand or not.
    if binfmt::status(Path::new(REGISTRY)).unwrap().serving("ppc").is_none() {
        let stderr = exec(&cx, &["--target", "mips", "./hello-ppc"]).failure(126);
        assert!(stderr.contains("./hello-ppc") && stderr.contains("hint:"), "{stderr}");
    }
    assert_eq!(handlers(), before, "the host's handlers changed");
}

#[test]
fn statuses_are_the_commands_own() {
    let cx = Cx::new();
    cx.file("plain", "no program");
    for (command, status) in [
        (&["sh", "-c", "exit 7"][..], 7),
        (&["sh", "-c", "kill -9 $$"], 137),
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["true"], 0),
        (&["/no/such/program"], 127),
        (&["no-such-program"], 127),
        (&["./plain"], 126),
        (&["/"], 126),
        (&["--no-such-option"], 125),
        (&["--target", "no-such-target", "true"], 125),
        (&["--target", "linux/mips", "--emulator", "/bin/true", "true"], 125),
        (&[], 125),
    ] {
        let args: Vec<&str> = if command.first().is_some_and(|first| first.starts_with("--")) {
            command.to_vec()
        } else {
            ["--target", "mips"].into_iter().chain(command.iter().copied()).collect()
        };
        assert_eq!(exec(&cx, &args).status, status, "{args:?}");
    }
}

#[test]
fn the_command_has_what_it_would_have_outside() {
    let cx = Cx::new();
    let probe = r#"pwd; echo "$ODD"; env | sort | md5sum; umask; readlink /proc/self/ns/pid /proc/self/ns/net; cat; echo err >&2; cat <&7"#;
    let command = |program: &[&str]| {
        let mut command = cx.as_nobody("sh");
        // A descriptor of make's jobserver, for one, is inherited.
        let script = "umask 027; exec \"$@\" 7<plain";
        command.args(["-c", script, "sh"]).args(program).args(["sh", "-c", probe]);
        command.env("ODD", "a b\nc").stdin(Stdio::from(fs::File::open(cx.path("plain")).unwrap()));
        let ran = ran(&mut command);
        (ran.status, ran.stdout, ran.stderr)
    };
    cx.file("plain", "from standard input\n");
    let outside = command(&[]);
    assert_eq!(outside.0, 0, "{}", outside.2);
    let polyarch = env!("CARGO_BIN_EXE_polyarch");
    assert_eq!(command(&[polyarch, "binfmt", "exec", "--target", "mips"]), outside);
    assert_eq!(command(&[polyarch, "binfmt", "exec", "--keep-id", "--target", "mips"]), outside);
    // Who one is differs.
    let id = |args: &[&str]| exec(&cx, &[args, &["sh", "-c", "id -u; id -g"]].concat()).success();
    let own = ran(cx.as_nobody("sh").args(["-c", "id -u; id -g"])).success();
    assert_eq!(id(&["--target", "mips"]), "0\n0\n");
    assert_eq!(id(&["--target", "mips", "--keep-id"]), own);
    hellos(&cx);
    assert_eq!(exec(&cx, &["--keep-id", "./hello-mips"]).success(), "hello from mips\n");
}

/// With ids of /etc/subuid, which root of a mount namespace can grant to nobody; newuidmap has its rights from its own file.
#[test]
fn granted_ids_are_there_inside_and_missing_ones_are_told() {
    let cx = Cx::new();
    if !rustix::process::geteuid().is_root() {
        // Whatever this user was granted, it is root inside.
        let first = exec(&cx, &["--target", "mips", "awk", "NR == 1 {print $1}", "/proc/self/uid_map"]);
        assert_eq!(first.success(), "0\n");
        return;
    }
    let script = r#"
        mount --bind "$1" /etc/subuid && mount --bind "$2" /etc/subgid && shift 2 &&
        exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
    "#;
    let granted = cx.file("granted", "nobody:200000:1000\n65534:300000:10\n");
    let broken = cx.file("broken", "nobody:200000\nother:1:1\n");
    std::fs::set_permissions(cx.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(cx.path("home"), fs::Permissions::from_mode(0o777)).unwrap();
    let run = |users: &Path, groups: &Path, command: &str| {
        let mut sh = cx.command("unshare");
        sh.args(["-m", "sh", "-c", script, "sh"]).arg(users).arg(groups).arg(env!("CARGO_BIN_EXE_polyarch"));
        ran(sh.args(["-v", "binfmt", "exec", "--target", "mips", "sh", "-c", command]))
    };
    let maps = "awk '{print $1, $2, $3}' /proc/self/uid_map /proc/self/gid_map; touch file; chown 5:1002 file; stat -c %u:%g file";
    let map = "0 65534 1\n1 200000 1000\n1001 300000 10\n";
    assert_eq!(run(&granted, &granted, maps).success(), format!("{map}{map}5:1002\n"));
    let owners = fs::metadata(cx.path("file")).unwrap();
    let owners = (std::os::unix::fs::MetadataExt::uid(&owners), std::os::unix::fs::MetadataExt::gid(&owners));
    assert_eq!(owners, (200_004, 300_001));
    // Groups alone are missing: one group, and the reason.
    let less =
        run(&granted, &broken, "awk '{print $1, $2, $3}' /proc/self/gid_map; wc -l < /proc/self/uid_map");
    assert!(less.stderr.contains("`/etc/subgid` grants no ids to `nobody`"), "{}", less.stderr);
    assert_eq!(less.success(), "0 65534 1\n3\n");
}

/// Waits until `done`, without a clock of its own: the processes that it looks at end by themselves.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..200_000 {
        if done() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("{what}");
}

/// The processes whose command line has `mark` in it, and which are no shell of ours.
fn marked(mark: &str) -> Vec<i32> {
    let own = std::process::id().cast_signed();
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        (pid != own && String::from_utf8_lossy(&line).contains(mark)).then_some(pid)
    });
    pids.collect()
}

#[test]
fn nothing_outlives_the_command_however_it_ends() {
    let cx = Cx::new();
    // A daemon that left its session, and its parent's tree.
    let daemon = |mark: &str| format!("(setsid sleep {mark} &) ");
    exec(&cx, &["--target", "mips", "sh", "-c", &daemon("98761")]).success();
    assert_eq!(marked("98761"), [] as [i32; 0]);

    for (mark, who) in [("98762", "supervisor"), ("98763", "outer"), ("98764", "command")] {
        let script = format!("{}; echo $$ $PPID; exec sleep {mark}", daemon(mark));
        let mut child = cx
            .as_nobody(env!("CARGO_BIN_EXE_polyarch"))
            .args(["binfmt", "exec", "--target", "mips", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
            .unwrap();
        let pids: Vec<i32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        let victim = match who {
            "supervisor" => child.id().cast_signed(),
            "outer" => pids[1],
            _ => pids[0],
        };
        let pid = rustix::process::Pid::from_raw(victim).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
        let status = child.wait().unwrap();
        assert!(!status.success());
        until(&format!("after a kill of the {who} there is {:?}", marked(mark)), || marked(mark).is_empty());
        if who == "command" {
            assert_eq!(status.code(), Some(137));
        }
    }
}

#[test]
fn signals_reach_the_command() {
    let cx = Cx::new();
    let run = |script: &str, signal: Signal| {
        let mut child = cx
            .as_nobody(env!("CARGO_BIN_EXE_polyarch"))
            .args(["binfmt", "exec", "--target", "mips", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut stdout, &mut rest).unwrap();
        (child.wait().unwrap().code(), rest)
    };
    // A shell waits for its child before it runs a trap; `wait` is interrupted by it.
    let trap = |name: &str| format!("trap 'echo got {name}; exit 3' {name}; echo ready; sleep 97531 & wait");
    for (name, signal) in
        [("TERM", Signal::TERM), ("INT", Signal::INT), ("USR1", Signal::USR1), ("HUP", Signal::HUP)]
    {
        assert_eq!(run(&trap(name), signal), (Some(3), format!("got {name}\n")));
    }
    assert_eq!(run("echo ready; exec sleep 97532", Signal::TERM), (Some(143), String::new()));
    // What the caller ignores, as under nohup, the command ignores.
    let script = "trap '' HUP; exec \"$@\"";
    let polyarch = env!("CARGO_BIN_EXE_polyarch");
    let mut command = cx.as_nobody("sh");
    command.args(["-c", script, "sh", polyarch, "binfmt", "exec", "--target", "mips"]);
    command.args(["sh", "-c", "grep SigIgn /proc/$$/status"]);
    let text = ran(&mut command).success();
    let ignored = u64::from_str_radix(text.split_whitespace().nth(1).unwrap(), 16).unwrap();
    assert_eq!(ignored & 1, 1, "{text}");
}

#[test]
fn outer_handlers_go_on_working_inside() {
    let name = "binfmt_exec::outer_handlers_go_on_working_inside";
    let Some(folder) = std::env::var_os(INSIDE).map(PathBuf::from) else {
        return in_a_private_registry(name, |folder| {
            executable(&folder.join("interpreters/outer"), b"#!/bin/sh\necho outer \"$1\"\n");
            executable(&folder.join("programs/text"), b"POLYTEST ...");
            executable(&folder.join("programs/a.polytest"), b"#!/bin/false\n");
            let cx = Cx::new();
            hellos(&cx);
            fs::copy(cx.path("hello-mips"), folder.join("programs/mips")).unwrap();
        });
    };
    ran(Command::new("mount").args(["-t", "binfmt_misc", "none", REGISTRY])).success();
    let registry = Path::new(REGISTRY);
    let outer = folder.join("interpreters/outer").display().to_string();
    let gone = work(&folder).join("gone");
    executable(&gone, b"#!/bin/sh\n");
    let (mips, mask) = escaped("mips", 40);
    for line in [
        format!("|text|M||POLYTEST||{outer}|"),
        format!("|ext|E||polytest||{outer}|"),
        format!("|mips|M||{mips}|{mask}|{outer}|F"),
        format!("|gone|M||GONE||{}|F", gone.display()),
        format!("|off|M||OFF||{outer}|"),
    ] {
        write(registry, &line);
    }
    fs::write(registry.join("off"), "0").unwrap();
    fs::remove_file(gone).unwrap();
    let before = handlers();
    let programs = folder.join("programs");
    let inside = |args: &[&str], script: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polyarch"));
        command.args(["-v", "binfmt", "exec"]).args(args).args(["sh", "-c", script]).current_dir(&programs);
        ran(command.env("HOME", &folder))
    };
    let script = "./text; ./a.polytest; ./mips; ls /proc/sys/fs/binfmt_misc";
    let out = inside(&[], script);
    assert!(out.stderr.contains("`gone` cannot be carried over"), "{}", out.stderr);
    let stdout = out.success();
    assert!(stdout.starts_with("outer ./text\nouter ./a.polytest\nouter ./mips\n"), "{stdout}");
    let names: Vec<&str> = stdout.lines().skip(3).collect();
    assert!(names.contains(&"polyarch-arm") && !names.contains(&"polyarch-mips"), "{names:?}");
    assert!(!names.contains(&"off") && !names.contains(&"gone"), "{names:?}");
    // One that is asked for by name comes first.
    let out = inside(&["--target", "mips"], "./text; ./mips").success();
    assert_eq!(out, "outer ./text\nhello from mips\n");
    // And once more inside: what was registered there is an outer handler, then.
    let polyarch = env!("CARGO_BIN_EXE_polyarch");
    let nested = format!("exec {polyarch} binfmt exec --target mips sh -c './text; ./mips'");
    assert_eq!(inside(&["--target", "mips"], &nested).success(), "outer ./text\nhello from mips\n");
    assert_eq!(handlers(), before);
    fs::write(registry.join("status"), "-1").unwrap();
}

/// A kernel without private registries is one here whose folder for them is out of sight.
#[test]
fn without_a_private_registry_the_command_is_traced() {
    let cx = Cx::new();
    hellos(&cx);
    let run = |options: &[&str], script: &str| {
        let hide = "mount -t tmpfs none /proc/sys/fs && exec \"$@\"";
        let mut command = cx.as_nobody("unshare");
        command.args(["-Urm", "sh", "-c", hide, "sh", env!("CARGO_BIN_EXE_polyarch")]);
        ran(command.args(["binfmt", "exec"]).args(options).args(["--", "sh", "-c", script]))
    };
    let all = "./hello-mips; ./hello-ppc; ./hello-arm; ./hello-riscv64";
    let expected = "hello from mips\nhello from ppc\nhello from armv7l\nhello from riscv64\n";
    assert_eq!(run(&[], all).success(), expected);
    assert_eq!(run(&["--target", "mips,ppc,arm,riscv64"], all).success(), expected);
    // Without any rights, too; and what they start is traced as well.
    let out = run(&["--keep-id"], "./hello-mips './hello-arm \"./hello-ppc; exit 7\"'; id -u");
    assert_eq!(out.success(), "hello from mips\nhello from armv7l\nhello from ppc\n0\n");
    assert_eq!(run(&[], "./hello-mips; exit 9").status, 9);
    assert_eq!(run(&[], "./hello-mips; kill -TERM $$").status, 143);
    // In another root, where there is a `/proc`.
    let chroot = "mkdir -p root/proc && cp hello-mips root/ && mount --rbind /proc root/proc && chroot root /hello-mips";
    assert_eq!(run(&[], chroot).success(), "hello from mips\n");
    // The kernel's name of a process is the program's.
    let out = run(&[], "cp hello-mips named; ./named 'cat /proc/$PPID/comm'");
    assert_eq!(out.success(), "hello from mips\nnamed\n");
    let err = run(&["--target", "mips"], "./hello-ppc").failure(126);
    assert!(err.contains("hello-ppc"), "{err}");
    // What is left running ends with the command.
    run(&[], "(setsid sleep 98769 &)").success();
    assert_eq!(marked("98769"), [] as [i32; 0]);
}
