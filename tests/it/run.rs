//! `run`: containers of bundles and of foreign images, and what they leave behind: nothing.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use polyarch::layer::{Content, Digest};

use crate::support::container::{NATIVE, config, file, image, unprivileged, without_emulator};
use crate::support::probe::{GUESTS, bundle, is_running, names, probe};
use crate::support::{Cx, ran};

const MIPS: &str = "mips-linux-gnu";

/// Starts the probe and waits until it says that it is ready.
fn started(cx: &Cx, image: &str, words: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = cx.polyarch().args(["run", image]).args(words).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, out)
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Waits for what is about to happen.
fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: not within 20 seconds");
        std::thread::yield_now();
    }
}

/// What of the machine a run could change.
fn host() -> (String, Vec<String>) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    (mounts, names(Path::new("/proc/sys/fs/binfmt_misc")))
}

#[test]
fn every_guest_sees_its_own_machine() {
    let cx = Cx::new();
    for (triple, machine, guest) in GUESTS {
        let image = bundle(&cx, triple, &format!("probe-{guest}"));
        let out = cx.run(["run", &image]).success();
        assert_eq!(out, format!("uname -m = {machine}\n"), "{guest}");
    }
    // The host runs these itself: the kernel answers, and says what it is.
    for triple in ["i686-linux-gnu", NATIVE] {
        let image = bundle(&cx, triple, "native");
        assert_eq!(cx.run(["run", &image]).success(), "uname -m = x86_64\n");
    }
}

#[test]
fn arguments_environment_and_working_directory_reach_the_program() {
    let cx = Cx::new();
    let image = bundle(&cx, MIPS, "probe");
    let out = cx.run(["run", &image, "args", "", "a b", "-e", "--", "é\n"]).success();
    assert_eq!(out, "[/bin/probe]\n[args]\n[]\n[a b]\n[-e]\n[--]\n[é\n]\n");

    let out = ran(cx.polyarch().env("FROM_HERE", "yes").env("NOT", "no").args([
        "run",
        "-e",
        "A=1",
        "-e",
        "FROM_HERE",
        &image,
        "env",
    ]))
    .success();
    let mut lines: Vec<&str> = out.lines().filter(|line| !line.starts_with("HOSTNAME=")).collect();
    lines.sort_unstable();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(lines, ["A=1", "FROM_HERE=yes", "HOME=/root", path]);

    assert_eq!(cx.run(["run", &image, "cwd"]).success(), "/\n");
    assert_eq!(cx.run(["run", "-w", "/made/here", &image, "cwd"]).success(), "/made/here\n");
    let out = cx.run(["run", "--entrypoint", "probe", &image, "args"]).success();
    assert_eq!(out, "[probe]\n[args]\n", "a bare name is looked up, and runs by its handler");
}

#[test]
fn the_exit_status_is_the_programs() {
    let cx = Cx::new();
    for triple in [MIPS, NATIVE] {
        let image = bundle(&cx, triple, "probe");
        for status in [0, 7, 125, 255] {
            assert_eq!(cx.run(["run", &image, "exit", &status.to_string()]).status, status, "{triple}");
        }
        assert_eq!(cx.run(["run", &image, "fault"]).status, 128 + 11, "{triple}");
    }
    // An emulator ends itself by the guest's signal, which the kernel keeps from a container's first process.
    let image = bundle(&cx, MIPS, "probe");
    for signal in [1, 2, 6, 15] {
        assert_eq!(cx.run(["run", &image, "raise", &signal.to_string()]).status, 128 + signal);
    }
}

#[test]
fn standard_input_and_output_pass_unbroken() {
    let cx = Cx::new();
    let image = bundle(&cx, MIPS, "probe");
    let sent: Vec<u8> =
        (0..8_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut child = cx
        .polyarch()
        .args(["run", "-i", &image, "stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let expected = Digest::of(&sent);
    let writer = std::thread::spawn(move || stdin.write_all(&sent));
    let mut got = Vec::new();
    stdout.read_to_end(&mut got).unwrap();
    writer.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(got.len(), 8 << 20);
    assert_eq!(Digest::of(&got), expected);
}

#[test]
fn a_reader_that_leaves_ends_the_program_as_it_would_outside() {
    let cx = Cx::new();
    let image = bundle(&cx, NATIVE, "probe");
    // Nobody reads: the program's own way with a broken pipe counts, and none that it inherits from us.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child =
        cx.polyarch().args(["run", &image, "cat", "/proc/self/status"]).stdout(writer).spawn().unwrap();
    // SIGPIPE is discarded for a container's first process, so its write fails.
    assert_eq!(child.wait().unwrap().code(), Some(9));
    let out = cx.run(["run", &image, "cat", "/proc/self/status"]).success();
    let ignored = out.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    assert_eq!(ignored & (1 << 12), 0, "SIGPIPE is not ignored in the container");
}

#[test]
fn signals_reach_the_program_and_end_one_that_has_no_handler() {
    use rustix::process::Signal;
    let cx = Cx::new();
    for triple in [MIPS, NATIVE] {
        let image = bundle(&cx, triple, "probe");
        for (number, name) in [(15, Signal::TERM), (2, Signal::INT), (1, Signal::HUP), (10, Signal::USR1)] {
            if triple == MIPS && number == 10 {
                // Its number is another there; TERM, INT and HUP are the same everywhere.
                continue;
            }
            let (mut child, mut out) = started(&cx, &image, &["catch", &number.to_string()]);
            signal(&child, name);
            let mut rest = String::new();
            out.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "caught\n", "{triple} {number}");
            assert_eq!(child.wait().unwrap().code(), Some(42), "{triple} {number}");

            let (mut child, _out) = started(&cx, &image, &["wait"]);
            signal(&child, name);
            assert_eq!(child.wait().unwrap().code(), Some(128 + number), "{triple} {number}");
        }
        let (mut child, _out) = started(&cx, &image, &["wait"]);
        signal(&child, Signal::WINCH);
        signal(&child, Signal::CONT);
        assert!(child.try_wait().unwrap().is_none(), "these end no program");
        signal(&child, Signal::QUIT);
        assert_eq!(child.wait().unwrap().code(), Some(131));
    }
    assert_eq!(names(&cx.path("home/.cache/polyarch/run")), ["lock"]);
}

#[test]
fn children_of_a_guest_run_through_the_same_emulator() {
    let cx = Cx::new();
    for (triple, machine, guest) in GUESTS {
        let name = format!("probe-{guest}");
        let image = bundle(&cx, triple, &name);
        let path = format!("/bin/{name}");
        let out = cx.run(["run", &image, "child", &path]).success();
        assert_eq!(out, format!("uname -m = {machine}\nchild 0\n"), "{guest}");
        let out = cx.run(["run", &image, "child", &path, "child", &path, "exit", "9"]).success();
        assert_eq!(out, "child 9\nchild 0\n", "{guest}");
    }
}

#[test]
fn a_foreign_image_runs_by_private_handlers_or_says_what_is_missing() {
    let cx = Cx::new();
    let program = probe(&cx, MIPS, "probe");
    let files = vec![file("probe", Content::Copy(program.clone()))];
    let reference = image(&cx, &config("mips", r#"{"Cmd":["/probe"]}"#), files);
    assert_eq!(cx.run(["run", &reference]).success(), "uname -m = mips\n");
    assert_eq!(cx.run(["run", &reference, "/probe", "raise", "15"]).status, 143);
    let out = cx.run(["run", "--emulator", "/usr/bin/qemu-mips-static", &reference]).success();
    assert_eq!(out, "uname -m = mips\n");
    let err = cx.run(["run", "--emulator", "/usr/bin/true", &reference]).failure(125);
    assert!(err.contains("cannot be used as an emulator"), "{err}");

    // For a machine that there is not, whatever handlers the host has.
    let mut nowhere = fs::read(&program).unwrap();
    nowhere[18..20].copy_from_slice(&[0x5a, 0xa5]);
    let files = vec![file("probe", Content::Bytes(nowhere))];
    let reference = image(&cx, &config("amd64", r#"{"Cmd":["/probe"]}"#), files);
    let err = cx.run(["run", &reference]).failure(126);
    assert!(err.contains("`/probe` cannot be executed") && err.contains("another CPU"), "{err}");
}

#[test]
fn a_container_is_kept_from_the_host() {
    let cx = Cx::new();
    let image = bundle(&cx, MIPS, "probe");
    let run = |words: &[&str]| cx.run([&["run", &image], words].concat());
    let out = run(&["who"]).success();
    assert!(out.starts_with("uid 0 gid 0 pid 1 host "), "{out}");

    let status = run(&["cat", "/proc/self/status"]).success();
    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim_start_matches(':').trim().to_owned()
    };
    // Docker's fourteen: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE,
    // NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP.
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(value(set), "00000000a80425fb", "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(value(set), "0000000000000000", "{set}");
    }
    assert_eq!(value("NoNewPrivs"), "0");

    let pids = run(&["ls", "/proc"]).success();
    let pids: Vec<&str> =
        pids.lines().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).collect();
    assert_eq!(pids, ["1"]);

    for path in [
        "/proc/sys/kernel/hostname",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sysrq-trigger",
        "/sys/kernel/uevent_helper",
    ] {
        let out = run(&["write", path]).stdout;
        assert!(out.contains("Read-only") || out.contains("No such file"), "{path}: {out}");
    }
    let mut masked = 0;
    for path in [
        "acpi",
        "asound",
        "interrupts",
        "kcore",
        "keys",
        "latency_stats",
        "sched_debug",
        "scsi",
        "timer_list",
    ]
    .map(|name| format!("/proc/{name}"))
    .into_iter()
    .chain(["/sys/firmware".into(), "/sys/devices/virtual/powercap".into()])
    {
        let Ok(there) = fs::metadata(&path) else { continue };
        let word = if there.is_dir() { "ls" } else { "cat" };
        assert_eq!(run(&[word, &path]).success(), "", "{path}");
        masked += 1;
    }
    assert!(masked > 2, "this machine has none of the paths that are to be masked");
    assert!(run(&["cat", "/proc/sys/fs/binfmt_misc/qemu-mips"]).success().contains("flags: PF"));

    let mut devices: Vec<String> = run(&["ls", "/dev"]).success().lines().map(str::to_owned).collect();
    devices.sort();
    let expected = [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ];
    assert_eq!(devices, expected);
    assert_eq!(run(&["write", "/dev/null"]).success(), "written\n");
    assert_eq!(run(&["write", "/dev/shm/x"]).success(), "written\n");

    // Every mount is one of the container's own, or the host's `/sys` and device nodes.
    let mounts = run(&["cat", "/proc/self/mountinfo"]).success();
    for line in mounts.lines() {
        let point = line.split(' ').nth(4).unwrap();
        let own = ["/proc", "/dev", "/sys", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]
            .iter()
            .any(|folder| Path::new(point).starts_with(folder));
        assert!(point == "/" || own, "{line}");
        if Path::new(point).starts_with("/sys") {
            let options = line.split(' ').nth(5).unwrap();
            assert!(options.split(',').any(|option| option == "ro"), "{line}");
        }
    }
}

#[test]
fn an_ordinary_user_with_an_empty_home_runs_a_bundle() {
    let cx = Cx::new();
    let program = probe(&cx, MIPS, "ordinary-probe");
    let before = host();
    let output = cx.path("public");
    fs::create_dir(&output).unwrap();
    fs::set_permissions(&output, fs::Permissions::from_mode(0o777)).unwrap();
    let image = format!("oci:{}/image:t", output.display());
    ran(unprivileged(&cx).arg("bundle").arg(program).args(["-o", &image])).success();
    let out = ran(unprivileged(&cx).args(["run", &image])).success();
    assert_eq!(out, "uname -m = mips\n");
    let out = ran(unprivileged(&cx).args(["run", &image, "child", "/bin/ordinary-probe", "who"])).success();
    assert!(out.starts_with("uid 0 gid 0 pid ") && out.ends_with("child 0\n"), "{out}");
    assert_eq!(ran(unprivileged(&cx).args(["run", &image, "raise", "15"])).status, 143);
    assert_eq!(host(), before);
    assert!(!is_running("ordinary-probe"));
}

#[test]
fn nothing_is_left_behind() {
    let cx = Cx::new();
    let image = bundle(&cx, MIPS, "leftover-probe");
    let cache = cx.path("home/.cache/polyarch/run");
    let before = host();
    cx.run(["run", &image]).success();
    cx.run(["run", &image, "exit", "3"]);
    cx.run(["run", "--entrypoint", "/no/such", &image]).failure(127);
    assert_eq!(names(&cache), ["lock"]);

    let (mut child, _out) = started(&cx, &image, &["wait"]);
    assert_eq!(names(&cache).len(), 2);
    assert!(is_running("leftover-probe"));
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the container ends with the program that started it", || !is_running("leftover-probe"));
    // What a killed program cannot remove goes with the next run; what another run uses does not.
    let (mut other, _out) = started(&cx, &image, &["wait"]);
    cx.run(["run", &image]).success();
    assert_eq!(names(&cache).len(), 2);
    signal(&other, rustix::process::Signal::TERM);
    assert_eq!(other.wait().unwrap().code(), Some(143));
    assert_eq!(names(&cache), ["lock"]);
    assert_eq!(host(), before);
    assert!(!is_running("leftover-probe"));
}

#[test]
fn failures_of_our_own_are_125_and_say_what_to_do() {
    let cx = Cx::new();
    let image_of = |user: &str| image(&cx, &config("amd64", user), vec![file("x", Content::Folder)]);
    for (args, words) in [
        (vec!["run", "oci:missing:x"], "reading `missing`"),
        (vec!["run", "--pull", "never", "busybox"], "has no image called `localhost/busybox:latest`"),
        // Nobody listens there.
        (vec!["run", "docker://127.0.0.1:9/a"], "127.0.0.1:9"),
        (vec!["run"], "required"),
        (vec!["run", "--no-such"], "unexpected argument"),
    ] {
        let err = cx.run(&args).failure(125);
        assert!(err.contains(words), "{args:?}: {err}");
    }
    let err = cx.run(["run", &image_of(r#"{"Cmd":["/x"],"User":"anna"}"#)]).failure(125);
    assert!(err.contains("user `anna`"), "{err}");
    let err = cx.run(["run", &image_of("{}")]).failure(125);
    assert!(err.contains("names no program"), "{err}");
    let err = cx.run(["run", &image_of(r#"{"Cmd":["nothing"]}"#)]).failure(127);
    assert!(err.contains("`nothing` was not found"), "{err}");
    let err = cx.run(["run", &image_of(r#"{"Cmd":["/x"]}"#)]).failure(126);
    assert!(err.contains("`/x` cannot be executed"), "{err}");
    let script = vec![file("script", Content::Bytes(b"#!/no/such\n".to_vec()))];
    let err = cx.run(["run", &image(&cx, &config("amd64", r#"{"Cmd":["/script"]}"#), script)]).failure(127);
    assert!(err.contains("`/script`, which is there, needs an interpreter that is not"), "{err}");
    let err = cx.run(["run", "-w", "/dev/null/x", &image_of(r#"{"Cmd":["/x"]}"#)]).failure(125);
    assert!(err.contains("working directory"), "{err}");
}

#[test]
fn links_in_place_of_mount_points_lead_nowhere() {
    let cx = Cx::new();
    let outside = cx.path("outside");
    fs::create_dir(&outside).unwrap();
    symlink("/etc", cx.path("link")).unwrap();
    for name in ["proc", "dev", "sys"] {
        let files = vec![file(name, Content::Link(outside.to_str().unwrap().into()))];
        let reference = image(&cx, &config("amd64", r#"{"Cmd":["/x"]}"#), files);
        let err = cx.run(["run", &reference]).failure(125);
        assert!(err.contains(&format!("`/{name}` is no folder")), "{err}");
    }
    assert_eq!(names(&outside), Vec::<String>::new());
}

#[test]
fn a_label_that_names_no_emulator_is_an_error() {
    let cx = Cx::new();
    let labels = r#"{"Cmd":["/x"],"Labels":{"io.polyarch.guest":"mips","io.polyarch.emulator":"/no/such"}}"#;
    let reference = image(&cx, &config("amd64", labels), vec![file("x", Content::Folder)]);
    let err = cx.run(["run", &reference]).failure(125);
    assert!(err.contains("mips") && err.contains("/no/such"), "{err}");
    // One for the host's own programs would catch them all: it is passed over.
    let labels = labels.replace("\"mips\"", "\"x86_64\"");
    let reference = image(&cx, &config("amd64", &labels), vec![file("x", Content::Folder)]);
    cx.run(["run", &reference]).failure(126);
}

#[test]
fn a_missing_emulator_is_fetched_unless_nothing_may_be() {
    let cx = Cx::new();
    let program = probe(&cx, MIPS, "probe");
    let reference =
        image(&cx, &config("mips", r#"{"Cmd":["/probe"]}"#), vec![file("probe", Content::Copy(program))]);
    let run = |options: &[&str], cache: &Path| {
        let mut command = without_emulator(&cx);
        ran(command.arg("run").args(options).arg(&reference).env("POLYARCH_CACHE_DIR", cache))
    };
    let cache = cx.path("cache");
    fs::create_dir(&cache).unwrap();
    let err = run(&["--pull", "never"], &cache).failure(125);
    assert!(err.contains("emulator") && err.contains("mips"), "{err}");
    // What was fetched is kept from one run of the tests to the next.
    let kept = crate::support::deb::fixtures().join("cache/emulators");
    fs::create_dir_all(&kept).unwrap();
    fs::remove_dir_all(cache.join("emulators")).unwrap_or_default();
    symlink(&kept, cache.join("emulators")).unwrap();
    for options in [&[][..], &["--pull", "never"], &["--emulation", "trace"]] {
        assert_eq!(run(options, &cache).success(), "uname -m = mips\n", "{options:?}");
    }
}
