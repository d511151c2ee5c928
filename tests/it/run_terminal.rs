//! `run`: the program's streams and terminal, its signals, and the status that it ends with.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use sha2::Digest as _;

use crate::support::container::{NATIVE, session as image, unprivileged};
use crate::support::pty::Screen;
use crate::support::{Cx, Ran, ran};

const MIPS: &str = "mips-linux-gnu";

/// `run` with `words`, by whoever `who` makes the command for.
fn run(mut command: Command, words: &[&str]) -> Command {
    command.arg("run").args(words);
    command
}

/// Root where the tests are run by root, and an ordinary user.
fn users(cx: &Cx) -> Vec<(&'static str, Command)> {
    vec![("caller", cx.polyarch()), ("nobody", unprivileged(cx))]
}

fn send(child: &Child, signal: i32) {
    let kill = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status().unwrap();
    assert!(kill.success());
}

/// Starts a program that says when it is ready.
fn started(mut command: Command) -> (Child, std::process::ChildStdout) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut line = [0; 6];
    out.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"ready\n");
    (child, out)
}

fn signal(pid: Pid, number: i32) {
    rustix::process::kill_process(pid, Signal::from_named_raw(number).unwrap()).unwrap();
}

/// The states, as in proc(5), of the processes whose program's path is `path`.
fn states(path: &str) -> Vec<char> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let found = processes.filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        line.split(|byte| *byte == 0).next().filter(|word| *word == path.as_bytes())?;
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        process_state(pid)
    });
    found.collect()
}

fn process_state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The one child of a process.
fn child_of(pid: Pid) -> Pid {
    let pid = pid.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    Pid::from_raw(children.trim().parse().unwrap()).unwrap()
}

/// The same command once more.
fn command_again(command: &Command) -> Command {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args()).env_clear().current_dir(command.get_current_dir().unwrap());
    again.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    again
}

/// Waits for what is about to happen.
fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: not within 20 seconds");
        std::thread::yield_now();
    }
}

#[test]
fn a_terminal_of_its_own_has_size_keys_and_job_control() {
    let cx = Cx::new();
    for triple in [NATIVE, MIPS] {
        let image = image(&cx, triple, "shell");
        for (who, command) in users(&cx) {
            let what = format!("{triple} {who}");
            let mut screen = Screen::start(&run(command, &["-it", &image, "shell"]));
            screen.until("ready> ");
            assert!(screen.is_raw(), "{what}");
            // What is shown is what the container's terminal shows, with its own way to end a line.
            assert_eq!(screen.ask("size\r", "ready> "), "size\r\n24 rows 80 columns\r\n", "{what}");
            let out = screen.ask("where\r", "ready> ");
            assert_eq!(out, "where\r\n/dev/pts/0 session 1 own 1 console 1 mine 1\r\n", "{what}");

            screen.resize(50, 132);
            screen.until("resized> ");
            assert_eq!(screen.ask("size\r", "ready> "), "size\r\n50 rows 132 columns\r\n", "{what}");

            screen.ask("run\r", "running\r\n");
            screen.ask("\x03", "killed INT\r\nready> ");
            screen.ask("run\r", "running\r\n");
            screen.ask("\x1a", "stopped TSTP\r\nready> ");
            screen.ask("fg\r", "continued\r\n");
            screen.ask("\x1c", "killed QUIT\r\nready> ");
            assert!(screen.is_raw(), "{what}");
            screen.press("exit 7\r");
            let (status, shown) = screen.end();
            assert_eq!((status, shown.as_str()), (7, "exit 7\r\n"), "{what}");
        }
    }
}

#[test]
fn a_runtime_has_a_terminal_too() {
    let cx = Cx::new();
    let image = image(&cx, NATIVE, "runtime-shell");
    let mut screen = Screen::start(&run(cx.polyarch(), &["--runtime", "runc", "-it", &image, "shell"]));
    screen.until("ready> ");
    assert!(screen.is_raw());
    // A runtime gives its terminal out when the program may run already, so that the size may come a moment later.
    let sized = (0..200).any(|_| screen.ask("size\r", "ready> ").ends_with("24 rows 80 columns\r\n"));
    assert!(sized);
    screen.resize(50, 132);
    screen.until("resized> ");
    assert_eq!(screen.ask("size\r", "ready> "), "size\r\n50 rows 132 columns\r\n");
    screen.ask("run\r", "running\r\n");
    screen.ask("\x03", "killed INT\r\nready> ");
    screen.press("exit 7\r");
    assert_eq!(screen.end().0, 7);
}

#[test]
fn the_terminal_is_as_it_was_however_the_run_ends() {
    let cx = Cx::new();
    let image = image(&cx, NATIVE, "restore");
    for number in [15, 1, 2, 3] {
        let mut screen = Screen::start(&run(cx.polyarch(), &["-it", &image, "wait"]));
        screen.until("ready\r\n");
        assert!(screen.is_raw(), "{number}");
        signal(screen.pid(), number);
        assert_eq!(screen.end(), (128 + number, String::new()));
    }
    // The process between, and with it the container, is killed.
    let mut screen = Screen::start(&run(cx.polyarch(), &["-it", &image, "wait"]));
    screen.until("ready\r\n");
    signal(child_of(screen.pid()), 9);
    assert_eq!(screen.end().0, 137);
    // A program that is not there, which is told at a terminal that is as it was.
    let screen = Screen::start(&run(cx.polyarch(), &["-it", "--entrypoint", "/no/such", &image]));
    let (status, shown) = screen.end();
    assert_eq!(status, 127);
    assert!(shown.contains("error: the program `/no/such` was not found in the container\r\n"), "{shown}");
}

#[test]
fn a_stop_from_outside_gives_the_terminal_back_for_as_long() {
    let cx = Cx::new();
    let image = image(&cx, NATIVE, "stopped");
    let mut screen = Screen::start(&run(cx.polyarch(), &["-it", &image, "shell"]));
    screen.until("ready> ");
    // A leader of a session is stopped by nobody's keys, so it is told as by `kill`.
    signal(screen.pid(), 20);
    eventually("it stops", || process_state(screen.pid()) == Some('T'));
    assert!(screen.is_cooked());
    screen.resize(40, 90);
    signal(screen.pid(), 18);
    screen.until("resized> ");
    assert!(screen.is_raw());
    assert_eq!(screen.ask("size\r", "ready> "), "size\r\n40 rows 90 columns\r\n");
    screen.press("exit 0\r");
    assert_eq!(screen.end().0, 0);
}

#[test]
fn without_a_terminal_of_its_own_a_container_is_a_job_of_the_callers_shell() {
    let cx = Cx::new();
    let image = image(&cx, NATIVE, "job");
    for (who, command) in users(&cx) {
        for options in [&[][..], &["--init"], &["-i"]] {
            let command = run(command_again(&command), &[options, &[&image, "wait"]].concat());
            let words = [command.get_program()].into_iter().chain(command.get_args());
            let line = words.map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ");
            let mut shell = cx.command("bash");
            shell.args(["--norc", "--noprofile", "--noediting", "-i"]).env("PS1", "shell> ");
            shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let mut screen = Screen::start(&shell);
            screen.until("shell> ");
            screen.ask(&format!("{line}\r"), "ready\r\n");
            screen.ask("\x1a", "Stopped");
            screen.until("shell> ");
            let what = format!("{who} {options:?}");
            eventually(&what, || states("/bin/job").iter().all(|state| *state == 'T'));
            // It is there, and stopped.
            assert!(!states("/bin/job").is_empty(), "{what}");
            screen.ask("fg\r", "wait\r\n");
            eventually(&what, || states("/bin/job").iter().all(|state| *state == 'S'));
            screen.ask("\x03", "shell> ");
            assert_eq!(
                screen.ask("echo status $?\r", "shell> "),
                "echo status $?\r\nstatus 130\r\n",
                "{what}"
            );
            assert!(states("/bin/job").is_empty(), "{what}");
            screen.press("exit\r");
            screen.end();
        }
    }
}

#[test]
fn the_last_byte_is_shown() {
    let cx = Cx::new();
    for triple in [NATIVE, MIPS] {
        let image = image(&cx, triple, "flood");
        for size in [1_usize, 4095, 70_000, 3_000_001] {
            let mut expected: Vec<u8> = (0..4096_u32).map(|at| b'a' + (at % 26) as u8).collect();
            expected = expected.into_iter().cycle().take(size).collect();
            let screen = Screen::start(&run(cx.polyarch(), &["-it", &image, "flood", &size.to_string()]));
            let (status, shown) = screen.end();
            assert_eq!((status, shown.len()), (5, size), "{triple}");
            assert!(shown.as_bytes() == expected, "{triple} {size}");
            // Without `-t` what is a terminal here is copied to, and both streams keep their order.
            let screen = Screen::start(&run(cx.polyarch(), &[&image, "flood", &size.to_string()]));
            assert_eq!((screen.end()), (5, String::from_utf8(expected.clone()).unwrap()), "{triple} {size}");
            // A terminal of its own, whose output goes to a pipe.
            let out = ran(&mut run(cx.polyarch(), &["-t", &image, "flood", &size.to_string()]));
            assert_eq!((out.status, out.stdout.len()), (5, size), "{triple}");
        }
    }
}

#[test]
fn streams_are_the_programs_as_it_is_asked_for() {
    let cx = Cx::new();
    let image = image(&cx, NATIVE, "streams");
    let streams = |options: &[&str]| {
        let mut command = run(cx.polyarch(), &[options, &[&image, "streams"]].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // It may not read it, and be gone by now.
        let _ = child.stdin.take().unwrap().write_all(b"x");
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        child.wait().unwrap();
        out
    };
    // Input is connected by `-i` alone; a descriptor that the caller left open goes no further.
    let folder = fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&folder, rustix::io::FdFlags::empty()).unwrap();
    assert_eq!(streams(&[]), "000 0 -\n");
    assert_eq!(streams(&["-i"]), "000 1 -\n");
    assert_eq!(streams(&["-i", "--init"]), "000 1 -\n");
    drop(folder);
    // A terminal on the caller's side is not handed in without `-t`.
    let shown = |options: &[&str]| {
        let screen = Screen::start(&run(cx.polyarch(), &[options, &[&image, "streams"]].concat()));
        screen.end()
    };
    assert_eq!(shown(&[]), (0, "000 0 -\r\n".into()));
    assert_eq!(shown(&["-e", "TERM=vt100"]), (0, "000 0 vt100\r\n".into()));
    let mut screen = Screen::start(&run(cx.polyarch(), &["-it", &image, "streams"]));
    screen.press("x\r");
    screen.until("111 1 xterm\r\n");
    assert_eq!(screen.end().0, 0);
    // What is typed at a terminal of ours passes line by line, and ends.
    let mut screen = Screen::start(&run(cx.polyarch(), &["-i", &image, "copy"]));
    screen.ask("line\r", "line\r\nline\r\n");
    screen.press("\x04");
    assert_eq!(screen.end(), (0, String::new()));

    let err = ran(run(cx.polyarch(), &["-it", &image, "streams"]).stdin(Stdio::null())).failure(125);
    assert!(err.contains("the input device is not a TTY") && err.contains("leave out `-t`"), "{err}");
    let err = ran(&mut run(cx.polyarch(), &["-d", &image])).failure(125);
    assert!(err.contains("no daemon") && err.contains("podman run --detach"), "{err}");
    assert_eq!(ran(&mut run(cx.polyarch(), &["--rm", &image, "exit", "3"])).status, 3);
}

#[test]
fn variables_come_from_files_and_options() {
    let cx = Cx::new();
    let image = image(&cx, NATIVE, "env");
    let file = cx.file("variables", "# none\nA=1\nHERE\nNOT_HERE\nB= \"b\" \n");
    let term = |options: &[&str]| {
        let mut command = run(cx.polyarch(), &[options, &[&image, "streams"]].concat());
        let out = ran(command.env("HERE", "yes")).success();
        out.trim_end().rsplit_once("000 0 ").unwrap().1.to_owned()
    };
    let path = file.to_str().unwrap();
    assert_eq!(term(&["--env-file", path]), "-");
    let file = cx.file("terminal", "TERM=from file\n");
    let path = file.to_str().unwrap();
    assert_eq!(term(&["--env-file", path]), "from file");
    assert_eq!(term(&["-e", "TERM=given", "--env-file", path]), "given", "what is given counts last");
    assert_eq!(term(&["--env-file", path, "-e", "TERM"]), "-", "a bare name that is not here takes it away");
    for (text, words) in [("A B=1\n", "line 1: the name `A B` has spaces"), ("A=1\n=2\n", "line 2")] {
        let path = cx.file("bad", text);
        let err = ran(&mut run(cx.polyarch(), &["--env-file", path.to_str().unwrap(), &image])).failure(125);
        assert!(err.contains(words) && err.contains("hint:"), "{err}");
    }
    let err = ran(&mut run(cx.polyarch(), &["--env-file", "/no/such", &image])).failure(125);
    assert!(err.contains("`/no/such`: No such file"), "{err}");
}

#[test]
fn statuses_are_the_programs() {
    let cx = Cx::new();
    for (triple, options) in [(NATIVE, &[][..]), (NATIVE, &["--init"]), (MIPS, &[]), (MIPS, &["--init"])] {
        let image = image(&cx, triple, "status");
        let status = |words: &[&str]| -> Ran {
            ran(&mut run(cx.polyarch(), &[options, &[image.as_str()], words].concat()))
        };
        for code in [0, 1, 2, 124, 125, 126, 127, 128, 129, 255] {
            assert_eq!(status(&["exit", &code.to_string()]).status, code, "{triple} {options:?}");
        }
        for number in [1, 2, 3, 6, 9, 13, 14, 15] {
            // To a first process that is native the kernel gives none of its own signals: it lives on, as in docker. `KILL` by an
            // emulator is the emulator's own.
            let expected = match (triple, options) {
                (NATIVE, []) => 3,
                (MIPS, []) if number == 9 => 3,
                _ => 128 + number,
            };
            let got = status(&["raise", &number.to_string()]).status;
            assert_eq!(got, expected, "{triple} {options:?} {number}");
        }
    }
}

#[test]
fn every_signal_that_can_be_caught_reaches_the_program() {
    let cx = Cx::new();
    let image = image(&cx, NATIVE, "signals");
    let real_time = [34, 35, 49, 64];
    let named = [1, 2, 3, 5, 6, 10, 12, 14, 15, 16, 20, 24, 25, 26, 27, 28, 29, 30, 31];
    for options in [&[][..], &["--init"]] {
        for number in named.into_iter().chain(real_time) {
            if number == 20 && !options.is_empty() {
                // It stops the container, as the key does.
                continue;
            }
            let (mut child, mut out) = started(run(cx.polyarch(), &[options, &[&image, "catch"]].concat()));
            send(&child, number);
            let mut rest = String::new();
            out.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, format!("{number}\n"), "{options:?}");
            assert_eq!(child.wait().unwrap().code(), Some(0), "{options:?} {number}");
        }
        for number in [1, 2, 3, 5, 6, 10, 12, 14, 15, 24, 31, 34, 64] {
            let (mut child, _out) = started(run(cx.polyarch(), &[options, &[&image, "wait"]].concat()));
            send(&child, number);
            assert_eq!(child.wait().unwrap().code(), Some(128 + number), "{options:?}");
        }
    }
    // What is ignored here, as by nohup, is so for the program.
    let command = run(cx.polyarch(), &[&image, "wait"]);
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let mut nohup = cx.command("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).args(words);
    let (mut child, _out) = started(nohup);
    send(&child, 1);
    send(&child, 28);
    send(&child, 15);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn orphans_are_the_first_process_s_to_reap() {
    let cx = Cx::new();
    for triple in [NATIVE, MIPS] {
        let image = image(&cx, triple, "orphans");
        let out = ran(&mut run(cx.polyarch(), &["--init", &image, "orphans", "20", "20"])).success();
        assert_eq!(out, "pid 2\nnone left\n", "{triple}");
    }
    // Without it the program is the first process, and this one does not reap.
    let image = image(&cx, NATIVE, "orphans");
    let out = ran(&mut run(cx.polyarch(), &[&image, "orphans", "3", "1"]));
    assert_eq!((out.status, out.stdout.as_str()), (1, "pid 1\nsome left\n"));
}

#[test]
fn pipes_carry_much_and_tell_both_ends_when_the_other_goes() {
    let cx = Cx::new();
    let megabytes: usize = std::env::var("PIPE_MEGABYTES").map_or(300, |text| text.parse().unwrap());
    for (triple, options) in [(NATIVE, &["-i"][..]), (MIPS, &["-i", "--init"])] {
        let image = image(&cx, triple, "pipe");
        let mut command = run(cx.polyarch(), &[options, &[&image, "copy"]].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let writer = std::thread::spawn(move || {
            let mut digest = sha2::Sha256::new();
            let mut piece: Vec<u8> =
                (0..1_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            for at in 0..megabytes {
                piece[..8].copy_from_slice(&(at as u64).to_le_bytes());
                digest.update(&piece);
                stdin.write_all(&piece).unwrap();
            }
            digest.finalize()
        });
        let (mut digest, mut count, mut piece) = (sha2::Sha256::new(), 0, vec![0; 1 << 16]);
        loop {
            let got = stdout.read(&mut piece).unwrap();
            if got == 0 {
                break;
            }
            digest.update(&piece[..got]);
            count += got;
        }
        assert_eq!(count, megabytes << 20, "{triple}");
        assert!(digest.finalize() == writer.join().unwrap(), "{triple}");
        assert!(child.wait().unwrap().success());
    }

    let image = image(&cx, NATIVE, "pipe");
    for options in [&[][..], &["--init"]] {
        // Who reads no more is noticed: a first process gets an error in place of the signal.
        let mut command = run(cx.polyarch(), &[options, &[&image, "endless"]].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.take().unwrap().read_exact(&mut vec![0; 100_000]).unwrap();
        let expected = if options.is_empty() { 32 } else { 128 + 13 };
        assert_eq!(child.wait().unwrap().code(), Some(expected));

        // Output that the program has closed ends, while the program goes on.
        let mut command = run(cx.polyarch(), &[options, &["-i", &image, "close", "1"]].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut rest = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
        assert!(child.try_wait().unwrap().is_none() && rest.is_empty());
        child.stdin.take().unwrap().write_all(b"x").unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));

        // And whoever writes to a program that has closed its input is told.
        let (mut child, _out) =
            started(run(cx.polyarch(), &[options, &["-i", &image, "close", "0"]].concat()));
        let mut stdin = child.stdin.take().unwrap();
        // The process between lets go of its own end a moment later.
        let mut refused = None;
        eventually("the pipe breaks", || {
            refused = stdin.write_all(b"x").err();
            refused.is_some()
        });
        assert_eq!(refused.unwrap().kind(), std::io::ErrorKind::BrokenPipe);
        send(&child, 15);
        assert_eq!(child.wait().unwrap().code(), Some(143));
    }
    // At a terminal of its own the program is hung up on.
    let mut command = run(cx.polyarch(), &["-t", &image, "endless"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut vec![0; 100_000]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
}
