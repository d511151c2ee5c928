//! `run`: what a container's program may do, and what it sees of the machine.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use polyarch::layer::Content;

use crate::support::cc::{Cc, compile};
use crate::support::container::{BACKENDS, NATIVE, config, file, image, unprivileged};
use crate::support::probe::{bundle, is_running, names, probe};
use crate::support::{Cx, ran};

const CALLS: &str = include_str!("support/calls.c");
const MIPS: &str = "mips-linux-gnu";
/// A companion of this machine, whose programs run without an emulator.
const COMPANION: &str = "i686-linux-gnu";

/// Docker's fourteen: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT,
/// MKNOD, AUDIT_WRITE, SETFCAP.
const DOCKERS: &str = "00000000a80425fb";

/// An image with the probe and the program that tries system calls, for a machine.
fn made(cx: &Cx, triple: &str, architecture: &str) -> String {
    let calls = compile(&Cc { triple, flags: &["-static", "-O1"], source: CALLS });
    let files = vec![
        file("probe", Content::Copy(probe(cx, triple, "confined-probe"))),
        file("calls", Content::Copy(calls)),
        file("tmp", Content::Folder),
    ];
    image(cx, &config(architecture, r#"{"Cmd":["/calls"]}"#), files)
}

/// What a program of the image says with these options of `run`, on one of the backends.
fn said(cx: &Cx, backend: &[&str], image: &str, options: &[&str], words: &[&str]) -> String {
    cx.run([&["run"], backend, options, &[image], words].concat()).success()
}

/// Waits for what is about to happen.
fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !happened() {
        assert!(start.elapsed() < std::time::Duration::from_secs(20), "{what}: not within 20 seconds");
        std::thread::yield_now();
    }
}

/// The value of a line of `/proc/self/status`.
fn value(status: &str, key: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{key}: {status}")).trim().to_owned()
}

#[test]
fn capabilities_are_dockers_or_those_that_are_asked_for() {
    let cx = Cx::new();
    for (triple, architecture) in [(NATIVE, "amd64"), (MIPS, "mips")] {
        let image = made(&cx, triple, architecture);
        // All that this kernel knows.
        let last: u32 = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
        let all = format!("{:016x}", (1_u64 << (last + 1)) - 1);
        let cases = [
            (&[][..], DOCKERS),
            (
                &["--cap-add", "net_admin", "--cap-add=CAP_SYS_PTRACE", "--cap-drop", "MKNOD"],
                "00000000a00c35fb",
            ),
            (&["--cap-drop", "all"], "0000000000000000"),
            (&["--cap-drop", "ALL", "--cap-add", "KILL"], "0000000000000020"),
            (&["--cap-add", "ALL"], &all),
            (&["--privileged"], &all),
        ];
        for (backend, (options, expected)) in
            BACKENDS.iter().flat_map(|backend| cases.map(|case| (backend, case)))
        {
            let status = said(&cx, backend, &image, options, &["/probe", "cat", "/proc/self/status"]);
            for set in ["CapPrm", "CapEff", "CapBnd"] {
                assert_eq!(value(&status, set), expected, "{triple} {options:?} {set}");
            }
            for set in ["CapInh", "CapAmb"] {
                assert_eq!(value(&status, set), "0000000000000000", "{triple} {options:?} {set}");
            }
        }
    }
    let image = bundle(&cx, NATIVE, "probe");
    for option in ["--cap-add", "--cap-drop"] {
        let err = cx.run(["run", option, "CAP_FLY", &image]).failure(125);
        assert!(err.contains("no capability `CAP_FLY`") && err.contains("capabilities(7)"), "{err}");
    }
}

/// What docker's profile answers to the program's calls, where the kernel itself does not refuse.
const ANSWERS: &[(&str, &str)] = &[
    ("getpid", "ok"),
    ("add_key", "EPERM"),
    ("keyctl", "EPERM"),
    ("bpf", "EPERM"),
    ("perf_event_open", "EPERM"),
    ("unshare", "EPERM"),
    ("setns", "EPERM"),
    ("clone newuser", "EPERM"),
    ("clone3", "ENOSYS"),
    ("mount", "EPERM"),
    ("umount2", "EPERM"),
    ("pivot_root", "EPERM"),
    ("chroot", "other"),
    ("swapon", "EPERM"),
    ("reboot", "EPERM"),
    ("kexec_load", "EPERM"),
    ("init_module", "EPERM"),
    ("acct", "EPERM"),
    ("settimeofday", "EPERM"),
    ("clock_settime", "EPERM"),
    ("open_by_handle_at", "EPERM"),
    ("userfaultfd", "EPERM"),
    ("io_uring_setup", "EPERM"),
    ("quotactl", "EPERM"),
    ("syslog", "EPERM"),
    ("personality persistent", "ok"),
    ("personality no randomize", "EPERM"),
    ("socket inet", "ok"),
    ("socket vsock", "EPERM"),
    ("socket alg", "EPERM"),
    ("memfd_create", "ok"),
    ("process_vm_readv", "ok"),
    ("sched_setaffinity", "ok"),
    ("get_mempolicy", "EPERM"),
    ("newest", "ENOSYS"),
    ("ptrace", "ok"),
];

/// The calls among them that the emulator passes on to the kernel.
const PASSED_ON: &[&str] = &[
    "getpid",
    "unshare",
    "setns",
    "pivot_root",
    "chroot",
    "swapon",
    "socket inet",
    "socket vsock",
    "socket alg",
    "memfd_create",
];

#[test]
fn system_calls_have_dockers_answers() {
    let cx = Cx::new();
    for (triple, architecture) in [(NATIVE, "amd64"), (COMPANION, "386"), (MIPS, "mips")] {
        let image = made(&cx, triple, architecture);
        for backend in BACKENDS {
            let table = |options: &[&str]| {
                let out = said(&cx, backend, &image, options, &["/calls"]);
                let pair = |line: &str| {
                    let (call, answer) = line.rsplit_once(' ').unwrap();
                    (call.to_owned(), answer.to_owned())
                };
                out.lines().map(pair).collect::<Vec<_>>()
            };
            let answers = ANSWERS.iter().map(|(call, answer)| ((*call).to_owned(), (*answer).to_owned()));
            let answers: Vec<_> =
                answers.filter(|(call, _)| triple != MIPS || PASSED_ON.contains(&call.as_str())).collect();
            assert_eq!(table(&[]), answers, "{triple}");
            assert_eq!(table(&["--security-opt", "no-new-privileges"]), answers, "{triple}");
            assert_eq!(table(&["--security-opt", "seccomp=builtin"]), answers, "{triple}");

            // Without a profile it is the kernel that refuses, where it does.
            let unconfined = table(&["--security-opt", "seccomp=unconfined"]);
            for (call, answer) in &unconfined {
                let opened = [
                    "add_key",
                    "keyctl",
                    "unshare",
                    "setns",
                    "clone newuser",
                    "clone3",
                    "socket vsock",
                    "get_mempolicy",
                ];
                assert!(
                    !opened.contains(&call.as_str()) || answer == "ok" || answer == "other",
                    "{triple} {call} {answer}"
                );
            }
            // A capability opens what it is for.
            let admin = table(&["--cap-add", "SYS_ADMIN", "--cap-drop", "SYS_CHROOT"]);
            for (call, answer) in admin {
                match call.as_str() {
                    "unshare" | "setns" | "clone newuser" | "clone3" | "umount2" => {
                        assert_eq!(answer, "other", "{triple} {call}");
                    }
                    "chroot" | "add_key" => assert_eq!(answer, "EPERM", "{triple} {call}"),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn a_profile_of_the_users_own_counts() {
    let cx = Cx::new();
    let image = made(&cx, NATIVE, "amd64");
    let said = |profile: &str, words: &[&str]| {
        cx.file("profile.json", profile);
        cx.run([&["run", "--security-opt", "seccomp=profile.json", &image], words].concat())
    };
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
        {"names":["memfd_create"],"action":"SCMP_ACT_ERRNO","errnoRet":38},
        {"name":"socket","action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]}]}"#;
    let out = said(profile, &["/calls"]).success();
    let beside = ["run", "--runtime", "runc", "--security-opt", "seccomp=profile.json", &image, "/calls"];
    assert_eq!(cx.run(beside).success(), out, "as libseccomp makes a filter of it");
    for line in ["memfd_create ENOSYS", "socket inet EPERM", "get_mempolicy ok", "clone3 other"] {
        assert!(out.lines().any(|said| said == line), "{line}: {out}");
    }
    for (profile, words) in [
        ("{", "is no seccomp profile"),
        (r#"{"defaultAction":"SCMP_ACT_WHAT"}"#, "is no seccomp profile"),
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "wants a listener"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":9,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
            "no seventh argument",
        ),
    ] {
        let err = said(profile, &["/calls"]).failure(125);
        assert!(err.contains(words), "{profile}: {err}");
    }
    for (option, words) in [
        ("seccomp=none.json", "reading the seccomp profile `none.json`"),
        ("apparmor=mine", "AppArmor"),
        ("what", "it is not known"),
        ("no-new-privileges=maybe", "it is not known"),
    ] {
        let err = cx.run(["run", "--security-opt", option, &image]).failure(125);
        assert!(err.contains(words), "{option}: {err}");
    }
    assert_eq!(names(&cx.path("home/.cache/polyarch/run")), ["lock"]);
}

#[test]
fn new_privileges_are_as_docker_has_them() {
    let cx = Cx::new();
    let image = made(&cx, NATIVE, "amd64");
    for backend in BACKENDS {
        for (options, privileges, filter) in [
            (&[][..], "0", "2"),
            (&["--security-opt", "no-new-privileges"], "1", "2"),
            (&["--security-opt=no-new-privileges:true"], "1", "2"),
            (&["--security-opt=no-new-privileges=false"], "0", "2"),
            (&["--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined"], "1", "0"),
            (&["--privileged"], "0", "0"),
        ] {
            let status = said(&cx, backend, &image, options, &["/probe", "cat", "/proc/self/status"]);
            assert_eq!(value(&status, "NoNewPrivs"), privileges, "{options:?}");
            assert_eq!(value(&status, "Seccomp"), filter, "{options:?}");
        }
    }
}

/// Docker's masked paths (moby, `oci/defaults.go`), and each processor's `thermal_throttle`.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

#[test]
fn every_path_that_docker_masks_is_masked() {
    let cx = Cx::new();
    let processors = fs::read_dir("/sys/devices/system/cpu").unwrap().flatten();
    let throttles =
        processors.map(|entry| entry.path().join("thermal_throttle")).filter(|path| path.exists());
    let masked: Vec<String> = MASKED
        .iter()
        .map(|path| (*path).to_owned())
        .chain(throttles.map(|path| path.to_str().unwrap().to_owned()))
        .collect();
    for (triple, architecture) in [(NATIVE, "amd64"), (MIPS, "mips")] {
        let image = made(&cx, triple, architecture);
        for backend in BACKENDS {
            let mut seen = 0;
            for path in &masked {
                let Ok(there) = fs::metadata(path) else { continue };
                let word = if there.is_dir() { "ls" } else { "cat" };
                assert_eq!(said(&cx, backend, &image, &[], &["/probe", word, path]), "", "{path}");
                seen += 1;
            }
            assert!(seen > 2, "this machine has none of the paths that are to be masked");
            let table = said(&cx, backend, &image, &[], &["/probe", "cat", "/proc/self/mountinfo"]);
            let mut sealed = 0;
            for path in READ_ONLY.iter().filter(|path| Path::new(path).exists()) {
                let line = table.lines().find(|line| line.split(' ').nth(4) == Some(path));
                let line = line.unwrap_or_else(|| panic!("{path} is no mount of its own: {table}"));
                assert!(line.split(' ').nth(5).unwrap().starts_with("ro,"), "{line}");
                sealed += 1;
            }
            assert!(sealed > 2, "{table}");
            // As the kernel shows them where that is wanted.
            for option in ["--security-opt=systempaths=unconfined", "--privileged"] {
                let table = said(&cx, backend, &image, &[option], &["/probe", "cat", "/proc/self/mountinfo"]);
                assert!(!table.contains(" /proc/sys ") && !table.contains(" /proc/interrupts "), "{table}");
                assert_ne!(said(&cx, backend, &image, &[option], &["/probe", "cat", "/proc/interrupts"]), "");
            }
        }
    }
}

#[test]
fn the_machine_is_out_of_reach() {
    let cx = Cx::new();
    let image = made(&cx, NATIVE, "amd64");
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    for backend in BACKENDS {
        let out = said(&cx, backend, &image, &[], &["/calls", "reach"]);
        for line in out.lines() {
            assert!(line.ends_with(" EPERM") || line.ends_with(" other"), "{line}");
        }
        assert!(out.contains("mount EPERM\ntmpfs EPERM\numount /proc/sys EPERM\nremount EPERM\n"), "{out}");
        // Even with every capability of its own namespace it has none on the machine's disks.
        let out = said(&cx, backend, &image, &["--privileged"], &["/calls", "reach"]);
        for line in ["mount EPERM", "tmpfs ok", "mknod EPERM"] {
            assert!(out.lines().any(|said| said == line), "{line}: {out}");
        }
        assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
        let pids = said(&cx, backend, &image, &[], &["/probe", "ls", "/proc"]);
        let pids: Vec<&str> =
            pids.lines().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).collect();
        assert_eq!(pids, ["1"]);
        // Of cgroups it sees its own.
        let table = said(&cx, backend, &image, &[], &["/probe", "cat", "/proc/self/mountinfo"]);
        for line in table.lines().filter(|line| line.contains(" - cgroup")) {
            let fields: Vec<&str> = line.split(' ').collect();
            assert!(fields[5].starts_with("ro,"), "{line}");
        }
        let groups = said(&cx, backend, &image, &[], &["/probe", "cat", "/proc/self/cgroup"]);
        assert!(groups.lines().all(|line| line.ends_with(":/")), "{groups}");
    }
}

#[test]
fn an_ordinary_user_is_confined_alike() {
    let cx = Cx::new();
    let image = made(&cx, NATIVE, "amd64");
    cx.as_nobody("true");
    for backend in BACKENDS {
        let run = |words: &[&str]| {
            ran(unprivileged(&cx).arg("run").args(*backend).arg(&image).args(words)).success()
        };
        let status = run(&["/probe", "cat", "/proc/self/status"]);
        assert_eq!(value(&status, "CapEff"), DOCKERS);
        assert_eq!(value(&status, "Seccomp"), "2");
        let out = run(&["/calls"]);
        let expected: Vec<String> = ANSWERS.iter().map(|(call, answer)| format!("{call} {answer}")).collect();
        assert_eq!(out.lines().collect::<Vec<_>>(), expected);
        let out = run(&["/calls", "reach"]);
        assert!(out.lines().all(|line| line.ends_with(" EPERM") || line.ends_with(" other")), "{out}");
    }
}

#[test]
fn devices_and_shared_memory_are_as_wanted() {
    let cx = Cx::new();
    let image = made(&cx, NATIVE, "amd64");
    for backend in BACKENDS {
        let out = said(
            &cx,
            backend,
            &image,
            &["--device", "/dev/full:/dev/own/full"],
            &["/probe", "ls", "/dev/own"],
        );
        assert_eq!(out, "full\n");
        assert_eq!(
            said(
                &cx,
                backend,
                &image,
                &["--device", "/dev/zero:/dev/nothing"],
                &["/probe", "write", "/dev/nothing"]
            ),
            "written\n"
        );
        for (device, words) in [
            ("/dev/none", "No such file"),
            ("/etc/passwd", "it is no device"),
            ("/dev/null:r", "only `rw`"),
            ("null", "must be absolute"),
        ] {
            let err = cx.run(["run", "--device", device, &image]).failure(125);
            assert!(err.contains(words) && err.contains(device), "{device}: {err}");
        }
        for (options, size) in [(&[][..], "size=65536k"), (&["--shm-size", "1.5m"], "size=1536k")] {
            let table = said(&cx, backend, &image, options, &["/probe", "cat", "/proc/self/mountinfo"]);
            let line = table.lines().find(|line| line.contains(" /dev/shm ")).unwrap();
            assert!(line.contains(size), "{line}");
        }
    }
    let err = cx.run(["run", "--shm-size", "much", &image]).failure(125);
    assert!(err.contains("`much` is no size"), "{err}");
}

#[test]
fn limits_of_processes_are_set_or_it_is_said() {
    let cx = Cx::new();
    let image = made(&cx, NATIVE, "amd64");
    let limits = ["/probe", "cat", "/proc/self/limits"];
    let of = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    for backend in BACKENDS {
        let out = said(&cx, backend, &image, &["--ulimit", "nofile=100:200", "--ulimit=core=0"], &limits);
        assert_eq!(of(&out, "Max open files"), ["100", "200"]);
        assert_eq!(of(&out, "Max core file size"), ["0", "0"]);
    }

    // An ordinary user cannot raise its own: it gets what there is, and hears of it.
    cx.as_nobody("true");
    let mut command = cx.command("prlimit");
    command.args(["--nofile=64:128", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    let program = unprivileged(&cx).get_args().nth(5).map(std::ffi::OsStr::to_owned);
    let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_polyarch").into());
    command.arg(program).env("HOME", cx.path("nobody"));
    let out = ran(command.args(["run", "--ulimit", "nofile=1000:2000", &image]).args(limits));
    assert!(out.stderr.contains("warning: `--ulimit nofile`: the limit here is 128"), "{}", out.stderr);
    assert_eq!(of(&out.success(), "Max open files"), ["128", "128"]);

    for (limit, words) in [
        ("nofile", "it has no value"),
        ("files=5", "`files` is none of core, cpu,"),
        ("nofile=5:4", "above the hard one"),
        ("nofile=x", "no number"),
    ] {
        let err = cx.run(["run", "--ulimit", limit, &image]).failure(125);
        assert!(err.contains(words), "{limit}: {err}");
    }
}

/// The cgroups of runs that this machine has.
fn cgroups() -> Vec<String> {
    fn collect(folder: &Path, depth: usize, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with("polyarch-") {
                    found.push(entry.path().to_string_lossy().into_owned());
                } else if depth > 0 {
                    collect(&entry.path(), depth - 1, found);
                }
            }
        }
    }
    let mut found = Vec::new();
    collect(Path::new("/sys/fs/cgroup"), 8, &mut found);
    found
}

/// Those of the run that `child` is.
fn cgroups_of(child: &std::process::Child) -> Vec<String> {
    let own = format!("polyarch-{}-", child.id());
    cgroups().into_iter().filter(|path| path.rsplit('/').next().unwrap().starts_with(&own)).collect()
}

#[test]
fn a_container_uses_no_more_than_it_may_or_it_is_said() {
    let cx = Cx::new();
    let image = made(&cx, NATIVE, "amd64");
    let limits = ["--memory", "64m", "--cpus=1.5", "--cpu-shares", "512", "--pids-limit", "50"];
    for backend in BACKENDS {
        if !rustix::process::geteuid().is_root() {
            break;
        }
        let table = said(&cx, backend, &image, &limits, &["/probe", "cat", "/proc/self/mountinfo"]);
        let unified = table.contains("/sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2");
        let read = |controller: &str, file: &str| {
            let path = if unified { file.to_owned() } else { format!("{controller}/{file}") };
            said(&cx, backend, &image, &limits, &["/probe", "cat", &format!("/sys/fs/cgroup/{path}")])
                .trim()
                .to_owned()
        };
        let expected = if unified {
            [
                ("memory", "memory.max", "67108864"),
                ("cpu", "cpu.max", "150000 100000"),
                ("pids", "pids.max", "50"),
            ]
        } else {
            [
                ("memory", "memory.limit_in_bytes", "67108864"),
                ("cpu", "cpu.cfs_quota_us", "150000"),
                ("pids", "pids.max", "50"),
            ]
        };
        for (controller, file, value) in expected {
            assert_eq!(read(controller, file), value, "{backend:?} {file}");
        }
        // Its processes are in it, and nobody else's.
        let inside = read("pids", "cgroup.procs");
        assert!(inside.lines().any(|pid| pid == "1"), "{backend:?} {inside}");
    }

    // An ordinary user without a part of the cgroups hears that it has none; the run goes on.
    cx.as_nobody("true");
    if rustix::process::geteuid().is_root() {
        let out = ran(unprivileged(&cx).arg("run").args(limits).args([&image, "/probe", "who"]));
        for option in ["--memory", "--cpus", "--cpu-shares", "--pids-limit"] {
            assert!(
                out.stderr.contains(&format!("warning: a limit is not kept: `{option}`")),
                "{}",
                out.stderr
            );
        }
        assert!(out.success().starts_with("uid 0 "));
    }
    for (options, words) in [
        (&["--memory", "much"][..], "`much` is no size"),
        (&["--memory-swap", "1g"], "needs `--memory`"),
        (&["--memory", "2g", "--memory-swap", "1g"], "is less than `--memory`"),
        (&["--cpus", "many"], "no number of processors"),
    ] {
        let err = cx.run([&["run"], options, &[&image]].concat()).failure(125);
        assert!(err.contains(words) && err.contains("hint: "), "{options:?}: {err}");
    }
}

#[test]
fn cgroups_go_with_the_run_however_it_ends() {
    let cx = Cx::new();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let image = made(&cx, NATIVE, "amd64");
    for backend in BACKENDS {
        let start = || {
            let mut command = cx.polyarch();
            command.arg("run").args(*backend).args([
                "--pids-limit",
                "50",
                "--memory=64m",
                &image,
                "/probe",
                "wait",
            ]);
            let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            std::io::BufRead::read_line(
                &mut std::io::BufReader::new(child.stdout.take().unwrap()),
                &mut line,
            )
            .unwrap();
            assert_eq!(line, "ready\n");
            child
        };
        let mut child = start();
        assert!(!cgroups_of(&child).is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("a killed run's cgroups are gone", || cgroups_of(&child).is_empty());
        let mut child = cx.polyarch();
        let child =
            child.arg("run").args(*backend).args(["--pids-limit", "50", &image, "/probe", "exit", "3"]);
        let mut child = child.spawn().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3));
        assert_eq!(cgroups_of(&child), Vec::<String>::new());
    }
    assert!(!is_running("sandbox-watch"));
}

#[test]
fn a_runtime_that_does_not_start_the_program_says_so() {
    let cx = Cx::new();
    let image = made(&cx, NATIVE, "amd64");
    for (runtime, words) in [
        ("no-such-runtime", "the OCI runtime `no-such-runtime` was not found"),
        ("/etc/passwd", "the OCI runtime `/etc/passwd` was not found"),
        ("/bin/false", "it ended without a word"),
    ] {
        let err = cx.run(["run", "--runtime", runtime, &image]).failure(125);
        assert!(err.contains(words) && err.contains("hint: "), "{runtime}: {err}");
    }
    let run = |words: &[&str]| cx.run([&["run", "--runtime", "runc", &image], words].concat());
    for status in [0, 1, 7, 125, 255] {
        assert_eq!(run(&["/probe", "exit", &status.to_string()]).status, status);
    }
    assert_eq!(run(&["/probe", "fault"]).status, 139);
    let err = run(&["nothing"]).failure(127);
    assert!(err.contains("the program `nothing` was not found"), "{err}");
    let err = run(&["/tmp"]).failure(126);
    assert!(err.contains("the program `/tmp` cannot be executed"), "{err}");
    // A bundle's configuration is JSON, which would change such a word in silence.
    let mut command = cx.polyarch();
    command.args(["run", "--runtime", "runc", &image, "/probe"]).arg(std::ffi::OsStr::from_bytes(b"\xff"));
    let err = ran(&mut command).failure(125);
    assert!(err.contains("the argument `\u{fffd}` is no UTF-8"), "{err}");
    assert_eq!(names(&cx.path("home/.cache/polyarch/run")), ["lock"]);
    assert!(!is_running("confined-probe"));
}
