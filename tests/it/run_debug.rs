//! `run --gdb` and `--strace`: a debugger that attaches, and system calls that are written down; on every way that there is.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::cc::{Cc, compile};
use crate::support::container::{self, config, file, unprivileged};
use crate::support::{Cx, ran};
use polyarch::layer::Content;

/// Starts itself anew, which then is not the first foreign program, and ends with what a debugger has changed.
const SOURCE: &str = r#"
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

volatile int secret = 3;
__attribute__((noinline)) int answer(int add) { return secret + add; }

int main(int argc, char **argv) {
    extern char **environ;
    char *words[] = {"again", "child", NULL}, *none[] = {NULL};
    int status = 0;
    if (argc > 1) { puts("the child"); return 0; }
    for (char **variable = environ; *variable; variable++) if (!strncmp(*variable, "QEMU", 4)) puts(*variable);
    if (fork() == 0) { execve("/proc/self/exe", words, none); _exit(99); }
    wait(&status);
    char line[4096] = "";
    FILE *file = fopen("/proc/self/cmdline", "r");
    fread(line, 1, sizeof line - 1, file);
    printf("%s %d\n", line, status);
    return answer(4);
}
"#;

/// Ways, and the backend beside the built-in one.
const WAYS: [&[&str]; 3] = [
    &["--emulation", "private"],
    &["--emulation", "trace"],
    &["--runtime", "runc", "--emulation", "private"],
];

fn program(triple: &str) -> PathBuf {
    compile(&Cc { triple, flags: &["-static", "-g", "-O0", "-w"], source: SOURCE })
}

/// An image of the program, and a bundle of it.
fn images(cx: &Cx, triple: &str, architecture: &str) -> [String; 2] {
    let program = program(triple);
    let plain = container::image(
        cx,
        &config(architecture, r#"{"Cmd":["/p"]}"#),
        vec![file("p", Content::Copy(program.clone()))],
    );
    let copied = cx.path("p");
    fs::copy(program, &copied).unwrap();
    ran(cx.polyarch().arg("bundle").arg(copied).args(["-o", "oci:images:bundle"])).success();
    [plain, "oci:images:bundle".into()]
}

/// What gdb says that attaches to the program, breaks in `answer`, and changes what that returns.
fn debugged(cx: &Cx, triple: &str, place: &str) -> String {
    let mut gdb = cx.command("/usr/bin/gdb-multiarch");
    gdb.args(["-nx", "-batch", "-ex", "set pagination off", "-ex", "set sysroot /nowhere", "-ex"]);
    gdb.arg(format!("target remote {place}")).args(["-ex", "break answer", "-ex", "continue"]);
    gdb.args(["-ex", "print secret * 100 + add", "-ex", "set variable secret = 60", "-ex", "continue"]);
    let out = gdb.arg(program(triple)).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// The container, and where its debugger is to attach.
fn waiting(command: &mut Command, images: &str) -> (Child, String) {
    command.arg(images).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(1, child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    let place = line.strip_prefix("gdb: waiting at ").and_then(|rest| rest.split(',').next());
    let place = place.unwrap_or_else(|| panic!("{line}")).to_owned();
    (child, place)
}

#[test]
fn a_debugger_attaches_to_the_first_foreign_program() {
    let cx = Cx::new();
    for (triple, architecture) in [("mips-linux-gnu", "mips"), ("arm-linux-gnueabi", "arm")] {
        for image in images(&cx, triple, architecture) {
            for way in WAYS {
                let mut command = cx.polyarch();
                // The port is polyarch's, and so is there whatever network the container has.
                command.args(["run", "--gdb", "0", "--network", "none"]).args(way);
                let (mut child, place) = waiting(&mut command, &image);
                let said = debugged(&cx, triple, &place);
                let case = format!("{way:?} {image}: {said}");
                assert!(said.contains("Breakpoint 1, answer (add=4)") && said.contains("= 304"), "{case}");
                assert!(said.contains("exited with code 0100]"), "{case}");
                let mut out = String::new();
                child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
                let name = if image.ends_with(":bundle") { "/bin/p" } else { "/p" };
                assert_eq!(out, format!("the child\n{name} 0\n"), "{case}");
                assert_eq!(child.wait().unwrap().code(), Some(64), "{case}");
            }
        }
    }
}

#[test]
fn a_debuggers_socket_is_the_users_own_and_goes_with_the_run() {
    let cx = Cx::new();
    let [image, _] = images(&cx, "mips-linux-gnu", "mips");
    let socket = cx.path("nobody/socket");
    for way in WAYS {
        let mut command = unprivileged(&cx);
        command.args(["run", "--gdb"]).arg(&socket).args(way);
        let (mut child, place) = waiting(&mut command, &image);
        assert_eq!(Path::new(&place), socket);
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&socket).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        let said = debugged(&cx, "mips-linux-gnu", &place);
        assert!(said.contains("= 304"), "{way:?}: {said}");
        assert_eq!(child.wait().unwrap().code(), Some(64), "{way:?}");
        assert!(!socket.exists());
    }
    // Nobody came: the container can be ended while it waits.
    let mut command = unprivileged(&cx);
    command.args(["run", "--gdb"]).arg(&socket);
    let (mut child, _) = waiting(&mut command, &image);
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(125 | 143)), "{code:?}");
    assert!(!socket.exists());
}

#[test]
fn system_calls_of_all_foreign_programs_are_written_down() {
    let cx = Cx::new();
    for image in images(&cx, "mips-linux-gnu", "mips") {
        for way in WAYS {
            let log = cx.path("calls");
            let mut command = cx.polyarch();
            command.args(["run", "--strace"]).arg(&log).args(way).arg(&image);
            let ran = ran(&mut command);
            let name = if image.ends_with(":bundle") { "/bin/p" } else { "/p" };
            assert_eq!((ran.status, ran.stdout), (7, format!("the child\n{name} 0\n")), "{}", ran.stderr);
            let text = fs::read_to_string(&log).unwrap();
            assert!(text.contains("execve(\"/proc/self/exe\""), "{way:?}: {text}");
            let ends: Vec<&str> = text.lines().filter(|line| line.contains(" exit_group(")).collect();
            assert_eq!(ends.len(), 2, "{way:?}: {text}");
            assert!(
                ends[0].ends_with("exit_group(0)") && ends[1].ends_with("exit_group(7)"),
                "{way:?}: {ends:?}"
            );
        }
    }
}

#[test]
fn what_cannot_be_debugged_is_told_before_anything_is_started() {
    let cx = Cx::new();
    let [image, _] = images(&cx, "mips-linux-gnu", "mips");
    let run =
        |options: &[&str], image: &str| ran(cx.polyarch().arg("run").args(options).arg(image)).failure(125);
    for option in [["--gdb", "0"], ["--strace", "calls"]] {
        let err = run(&[&["--emulation", "host"], &option[..]].concat(), &image);
        assert!(err.contains("the host's handlers run programs for mips with no options"), "{err}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let err = run(&["--gdb", &port], &image);
    assert!(
        err.contains(&format!("waiting for a debugger at `127.0.0.1:{port}`")) && err.contains("0 for any"),
        "{err}"
    );
    let err = run(&["--gdb", "65536"], &image);
    assert!(err.contains("a port is a number up to 65535"), "{err}");
    let err = run(&["--strace", "/proc/none"], &image);
    assert!(err.contains("writing system calls to `/proc/none`"), "{err}");
    let native = Cc { triple: "x86_64-linux-gnu", flags: &["-static", "-w"], source: "int main(){}" };
    let native = container::image(
        &cx,
        &config("amd64", r#"{"Cmd":["/p"]}"#),
        vec![file("p", Content::Copy(compile(&native)))],
    );
    for option in [["--gdb", "0"], ["--strace", "calls"]] {
        let err = run(&option, &native);
        assert!(err.contains(&format!("no foreign programs for `{}`", option[0])), "{err}");
    }
}
