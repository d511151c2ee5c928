//! The stub and the init of every host: what they execute sees its own name, arguments and environment, whichever way
//! they were executed.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use polyarch::stub::{HostPrograms, Launch};

use crate::support::cc::{Cc, compile};
use crate::support::probe::names;
use crate::support::{Cx, ran};

/// Prints its arguments and some of its environment; told to, it executes by a descriptor.
const SHOW: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "fexecve")) {
        int fd = open(argv[2], O_PATH | O_CLOEXEC);
        fexecve(fd, argv + 3, environ);
        return 9;
    }
    if (argc > 2 && !strcmp(argv[1], "exit")) return atoi(argv[2]);
    if (argc > 2 && !strcmp(argv[1], "raise")) raise(atoi(argv[2]));
    if (argc > 1 && !strcmp(argv[1], "count")) { printf("%d %zu\n", argc, strlen(argv[argc - 1])); return 0; }
    if (argc > 1 && !strcmp(argv[1], "orphan")) {
        if (!fork()) { if (!fork()) { usleep(1000); _exit(3); } _exit(4); }
        usleep(50000);
    }
    if (argc > 1 && !strcmp(argv[1], "wait")) {
        sigset_t set;
        int signal;
        sigfillset(&set);
        sigprocmask(SIG_BLOCK, &set, 0);
        printf("ready %d\n", getpgid(0) == getpid());
        fflush(stdout);
        sigwait(&set, &signal);
        return signal + 40;
    }
    for (int i = 0; i < argc; i++) printf("[%s]", argv[i]);
    for (char **e = environ; *e; e++) if (!strncmp(*e, "QEMU_", 5) || !strncmp(*e, "KEPT", 4)) printf(" %s", *e);
    puts("");
}
"#;

/// The hosts, and what runs their programs here: QEMU's name, and Debian's emulator where this machine needs one.
const HOSTS: &[(&str, Option<&str>)] = &[
    ("x86_64", None),
    ("i386", None),
    ("arm", Some("/usr/bin/qemu-arm-static")),
    ("aarch64", Some("/usr/bin/qemu-aarch64-static")),
    ("riscv64", Some("/usr/bin/qemu-riscv64-static")),
    ("ppc64le", Some("/usr/bin/qemu-ppc64le-static")),
    ("mips", Some("/usr/bin/qemu-mips-static")),
    ("mipsel", Some("/usr/bin/qemu-mipsel-static")),
    ("s390x", Some("/usr/bin/qemu-s390x-static")),
];

/// A program of this machine's own, which stands for the emulator: what an emulated `execve` reaches needs no handler.
fn show(cx: &Cx) -> String {
    let made = compile(&Cc { triple: "x86_64-linux-gnu", flags: &["-static", "-O1"], source: SHOW });
    ran(cx.command("/bin/cp").arg(made).arg("show")).success();
    cx.path("show").to_str().unwrap().to_owned()
}

/// An executable file. Another process writes it: one of ours that is just being started could hold a descriptor of it.
fn put(cx: &Cx, name: &str, bytes: Vec<u8>) -> PathBuf {
    let content = cx.file(&format!("{name}.content"), bytes);
    let path = cx.path(name);
    ran(cx.command("/usr/bin/install").args(["-m", "755"]).arg(content).arg(&path)).success();
    path
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// `program` of `host`, on this machine.
fn on_host(cx: &Cx, emulator: Option<&str>, name: &str, program: &Path) -> Command {
    let mut command = match emulator {
        None => cx.command(program),
        Some(emulator) => {
            let mut command = cx.command(emulator);
            command.args(["-0", name]).arg(program);
            command
        }
    };
    if emulator.is_none() {
        command.arg0(name);
    }
    command
}

#[test]
fn the_programs_are_what_their_source_makes() {
    let cx = Cx::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = cx.path("built");
    ran(cx.command(root.join("scripts/build-stubs")).arg(&built)).success();
    let kept = root.join("src/stub/built");
    assert_eq!(names(&built), names(&kept));
    // The third is for the hosts that `run` runs on.
    assert_eq!(names(&kept).len(), 2 * HOSTS.len() + 2);
    for name in names(&built) {
        let (new, old) = (fs::read(built.join(&name)).unwrap(), fs::read(kept.join(&name)).unwrap());
        assert!(new == old, "{name} is not what `scripts/build-stubs` makes: run it and commit the result");
        assert!(old.len() < 8192, "{name} has {} bytes", old.len());
    }
}

#[test]
fn a_stub_of_every_host_passes_on_what_it_was_given() {
    let cx = Cx::new();
    let show = show(&cx);
    for (host, emulator) in HOSTS {
        let programs = HostPrograms::of(host).unwrap();
        let launch = Launch::emulated(&show, &words(&["-cpu", "the model"]), "/usr/bin/.perl.guest");
        let stub = put(&cx, host, programs.stub(&launch).unwrap());
        let run = |name: &str, args: &[&str]| ran(on_host(&cx, *emulator, name, &stub).args(args)).success();
        assert_eq!(
            run("pe rl", &["-e", "", "x y"]),
            format!("[{show}][-cpu][the model][-0][pe rl][/usr/bin/.perl.guest][-e][][x y]\n"),
            "{host}"
        );
        assert_eq!(
            run("a", &[]),
            format!("[{show}][-cpu][the model][-0][a][/usr/bin/.perl.guest]\n"),
            "{host}"
        );

        // As binfmt_misc's interpreter, the kernel's own arguments take the places that they have there.
        let launch = Launch::interpreter(&show, &words(&["-cpu", "m"]));
        let interpreter = put(&cx, &format!("{host}.interpreter"), programs.stub(&launch).unwrap());
        let mut command = on_host(&cx, *emulator, "/interpreter", &interpreter);
        let seen = ran(command.args(["/bin/perl", "sh", "-c", "x"])).success();
        assert_eq!(seen, format!("[{show}][-cpu][m][-0][sh][/bin/perl][-c][x]\n"), "{host}");

        let launch = Launch::command(&show, &words(&["one", "", "t wo"]));
        let command = put(&cx, &format!("{host}.command"), programs.stub(&launch).unwrap());
        let seen = ran(on_host(&cx, *emulator, "x", &command).arg("more")).success();
        assert_eq!(seen, format!("[{show}][one][][t wo][more]\n"), "{host}");

        // What cannot be executed is told in one short line, with the status that shells have for it.
        let missing = format!("/usr/{}", "x".repeat(300));
        for (path, status, line) in [
            ("/no/such", 127, "polyarch: cannot execute /no/such: error 2\n".to_owned()),
            ("/proc", 126, "polyarch: cannot execute /proc: error 13\n".to_owned()),
            (&missing, 126, format!("polyarch: cannot execute {}: error 36\n", &missing[..180])),
        ] {
            let launch = Launch::emulated(path, &[], "/x");
            let stub = put(&cx, &format!("{host}.missing"), programs.stub(&launch).unwrap());
            let run = ran(&mut on_host(&cx, *emulator, "x", &stub));
            let line =
                line.replace("error 36", if host.starts_with("mips") { "error 78" } else { "error 36" });
            assert_eq!((run.status, run.stderr), (status, line), "{host} {path}");
        }
    }
}

#[test]
fn a_stub_is_found_by_any_way_that_leads_to_it() {
    let cx = Cx::new();
    let show = show(&cx);
    let programs = HostPrograms::of("x86_64").unwrap();
    let launch = Launch::emulated(&show, &[], "/real");
    let stub = put(&cx, "bin/tool", programs.stub(&launch).unwrap());
    std::os::unix::fs::symlink("tool", cx.path("bin/link")).unwrap();
    fs::hard_link(&stub, cx.path("bin/hard")).unwrap();
    let seen = |name: &str, rest: &str| format!("[{show}][-0][{name}][/real]{rest}\n");
    for name in ["link", "hard", "tool"] {
        let path = cx.path("bin").join(name);
        assert_eq!(ran(&mut cx.command(&path)).success(), seen(path.to_str().unwrap(), ""));
        // By PATH, by a relative path, by env.
        let mut command = cx.command("/usr/bin/env");
        command.env("PATH", cx.path("bin")).args([name, "x"]);
        assert_eq!(ran(&mut command).success(), seen(name, "[x]"));
        let mut command = cx.command("/bin/sh");
        command.args(["-c", &format!("cd bin; exec ./{name} 'a b'")]);
        assert_eq!(ran(&mut command).success(), seen(&format!("./{name}"), "[a b]"));
    }
    // As the interpreter of a script, of a script of a script, and by a descriptor.
    let tool = stub.to_str().unwrap();
    let first = put(&cx, "first", format!("#!{tool} -w -x\n").into_bytes());
    let first = first.to_str().unwrap();
    assert_eq!(ran(cx.command(first).arg("y")).success(), seen(tool, &format!("[-w -x][{first}][y]")));
    let second = put(&cx, "second", format!("#!{first}\n").into_bytes());
    let second = second.to_str().unwrap();
    assert_eq!(
        ran(cx.command(second).arg("y")).success(),
        seen(tool, &format!("[-w -x][{first}][{second}][y]"))
    );
    let mut command = cx.command(&show);
    command.args(["fexecve", tool, "name", "arg"]);
    assert_eq!(ran(&mut command).success(), seen("name", "[arg]"));
    // Neither an empty name nor one that looks like an option changes anything.
    for name in ["", "-L", "-x y"] {
        assert_eq!(ran(cx.command(tool).arg0(name)).success(), seen(name, ""));
    }
    // In a root of its own without /proc.
    fs::create_dir(cx.path("root")).unwrap();
    ran(cx.command("/bin/cp").args([&show, "root/show"])).success();
    put(&cx, "root/tool", programs.stub(&Launch::emulated("/show", &[], "/real")).unwrap());
    let mut command = cx.as_nobody("/usr/bin/unshare");
    command.args(["-r", "/usr/sbin/chroot"]).arg(cx.path("root")).args(["/tool", "x"]);
    assert_eq!(ran(&mut command).success(), "[/show][-0][/tool][/real][x]\n");
}

#[test]
fn a_command_line_of_any_length_goes_through() {
    let cx = Cx::new();
    let show = show(&cx);
    for (host, emulator) in HOSTS {
        let programs = HostPrograms::of(host).unwrap();
        // `count` is where the emulator's first argument would be.
        let flags: Vec<String> =
            std::iter::once("count".to_owned()).chain((0..100).map(|n| n.to_string())).collect();
        let stub = put(&cx, host, programs.stub(&Launch::emulated(&show, &flags, "/real")).unwrap());
        let mut command = on_host(&cx, *emulator, "x", &stub);
        command.args((0..20_000).map(|number| format!("{number:020}"))).arg("l".repeat(100_000));
        assert_eq!(ran(&mut command).success(), "20106 100000\n", "{host}");
    }
}

#[test]
fn who_has_more_rights_than_its_caller_gets_no_variables_for_the_emulator() {
    assert!(rustix::process::geteuid().is_root(), "a setuid program must belong to another user");
    let cx = Cx::new();
    let show = show(&cx);
    let programs = HostPrograms::of("x86_64").unwrap();
    let stub = put(&cx, "stub", programs.stub(&Launch::emulated(&show, &[], "/real")).unwrap());
    let run = || {
        let mut command = cx.as_nobody(&stub);
        command.env("QEMU_LOG_FILENAME", "/etc/x").env("KEPT", "1").env("QEMU_CPU", "y").env("KEPT2", "2");
        command.arg0("setpriv");
        ran(&mut command).success()
    };
    let all = run();
    assert!(all.contains("QEMU_LOG_FILENAME=/etc/x") && all.contains("QEMU_CPU=y"), "{all}");
    fs::set_permissions(&stub, fs::Permissions::from_mode(0o4755)).unwrap();
    let less = run();
    assert!(!less.contains("QEMU_"), "{less}");
    assert!(less.contains(" KEPT=1") && less.contains(" KEPT2=2"), "{less}");
}

/// An init in a pid namespace of its own.
fn contained(cx: &Cx, init: &Path) -> Command {
    let mut command = cx.as_nobody("/usr/bin/unshare");
    command.args(["-r", "--pid", "--fork", "--kill-child"]).arg(init);
    command
}

#[test]
fn the_init_ends_as_its_program_does_and_passes_signals_on() {
    let cx = Cx::new();
    let show = show(&cx);
    let mut seen = 0;
    for (host, emulator) in HOSTS {
        let init = put(&cx, host, HostPrograms::of(host).unwrap().init().unwrap());
        let run = |args: &[&str]| ran(on_host(&cx, *emulator, "init", &init).args(args));
        assert_eq!(run(&[&show, "x"]).success(), format!("[{show}][x]\n"), "{host}");
        assert_eq!(run(&[&show, "exit", "7"]).status, 7, "{host}");
        assert_eq!(run(&[&show, "raise", "9"]).status, 137, "{host}");
        assert_eq!(run(&["true"]).status, 0, "{host}");
        assert_eq!(run(&["false"]).status, 1, "{host}");
        let lost = run(&["no-such-program"]);
        let line = "polyarch: cannot execute no-such-program: error 2\n";
        assert_eq!((lost.status, lost.stderr.as_str()), (127, line), "{host}");
        assert_eq!(run(&[&show, "orphan"]).status, 0, "{host}");
        if emulator.is_some() {
            continue;
        }
        seen += 1;
        // Signals reach the program, which is in a group of its own.
        let mut child = cx.command(&init).args([&show, "wait"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready 1\n");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(50));
    }
    assert_eq!(seen, 2);
}

#[test]
fn an_idle_init_stays_until_it_is_told_to_end() {
    let cx = Cx::new();
    let show = show(&cx);
    for host in ["x86_64", "i386"] {
        let init = put(&cx, host, HostPrograms::of(host).unwrap().init().unwrap());
        for signal in ["TERM", "INT", "HUP"] {
            // The shell becomes the init: its children are the init's from then on.
            let script = format!("{show} wait & read line <fifo; exec {}", init.display());
            let _ = fs::remove_file(cx.path("fifo"));
            ran(cx.command("/usr/bin/mkfifo").arg("fifo")).success();
            ran(cx.command("/bin/chmod").args(["666", "fifo"])).success();
            let mut command = contained(&cx, Path::new("/bin/sh"));
            let mut child = command.args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            let mut out = BufReader::new(child.stdout.take().unwrap());
            out.read_line(&mut line).unwrap();
            assert_eq!(line, "ready 1\n".replace('1', "0"));
            fs::write(cx.path("fifo"), "go\n").unwrap();
            // `unshare` has one child, which is the first process in there.
            let pid = child.id();
            let first = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
            let exe = format!("/proc/{}/exe", first.trim());
            while fs::read_link(&exe).unwrap() != init {
                std::thread::yield_now();
            }
            // A first process gets no signal before it waits for some.
            let status = loop {
                let _ = ran(cx.command("/bin/kill").args([&format!("-{signal}"), first.trim()]));
                if let Some(status) = child.try_wait().unwrap() {
                    break status;
                }
            };
            assert_eq!(status.code(), Some(0), "{host} {signal}");
        }
    }
}
