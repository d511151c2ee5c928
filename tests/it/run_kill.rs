//! `run`: however polyarch itself ends, nothing of its container outlives it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::Cx;
use crate::support::probe::names;
use crate::support::tarball::{Entry, Tarball};
use crate::support::tool::{import, tool};

/// The processes with `mark` in their environment: whatever one of them starts has it too, the container's included.
fn marked(mark: &str) -> Vec<String> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&environment)
            .contains(mark)
            .then(|| format!("{}: {}", entry.path().display(), String::from_utf8_lossy(&line)))
    });
    pids.collect()
}

/// Waits for what the kernel is about to do.
fn gone(what: &str, mut left: impl FnMut() -> Vec<String>) {
    let start = Instant::now();
    while !left().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: {:?}", left());
        std::thread::yield_now();
    }
}

#[test]
fn a_kill_at_any_moment_leaves_no_process_no_mount_and_no_lock() {
    let cx = Cx::new();
    let program = Entry { content: tool("mips-linux-gnu"), ..Entry::new(b'0', "tool") };
    let mut tar = Tarball::default().with(&program);
    for at in 0..300 {
        tar = tar.with(&Entry { owner: (3, 4), ..Entry::new(b'0', format!("many/{at}")) });
    }
    let image = import(&cx, "mips", "linux/mips", tar);
    let mark = cx.path("").display().to_string();
    let run = |words: &[&str]| -> Command {
        let mut command = cx.granted("");
        // What the container runs has it from its own environment.
        command.args(["run", "-e", &format!("MARK={mark}"), &image]).args(words).env("MARK", &mark);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let cache = cx.path("home/.cache/polyarch");
    let kills: u32 = std::env::var("KILLS").map_or(8, |text| text.parse().unwrap());
    let begin = Instant::now();
    assert!(run(&["chown", "/many"]).status().unwrap().success());
    let whole = begin.elapsed();
    for at in 0..kills {
        // Some while the image is unpacked, most after.
        if at % 4 == 0 {
            let mut prune = cx.polyarch();
            assert!(prune.args(["image", "prune"]).stdout(Stdio::null()).status().unwrap().success());
            assert_eq!(names(&cache.join("snapshots")), [] as [&str; 0]);
        }
        let mut child = run(&["chown", "/many", "write", "/many/1", "wait", "-"]).spawn().unwrap();
        std::thread::sleep(whole * (at * 120 / kills) / 100);
        child.kill().unwrap();
        child.wait().unwrap();
        gone("processes", || marked(&mark));
        // Namespaces go with their processes: no mount of this machine's is left, and no lock stands in the way of alone.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&mark), "{mounts}");
        let folders = ["run", "snapshots"].map(|name| cache.join(name));
        for folder in
            folders.iter().flat_map(|folder| names(folder).into_iter().map(|name| folder.join(name)))
        {
            let lock = if folder.is_dir() { folder.join("lock") } else { folder };
            if let Ok(lock) = fs::File::open(&lock) {
                lock.try_lock().unwrap();
            }
        }
    }
    assert!(run(&["ls", "/many"]).status().unwrap().success());
    assert_eq!(names(&cache.join("run")), ["lock"]);
    assert_eq!(names(&cache.join("snapshots")).len(), 1);
}

/// What the program of a process becomes that had the kernel's promise to be killed with its parent, which is void then.
#[test]
fn a_program_that_becomes_another_user_does_not_outlive_polyarch_either() {
    let cx = Cx::new();
    let mark = cx.path("").display().to_string();
    for (triple, platform) in [("x86_64-linux-gnu", "linux/amd64"), ("mips-linux-gnu", "linux/mips")] {
        let entry =
            |name: &'static str, mode| Entry { content: tool(triple), mode, ..Entry::new(b'0', name) };
        let tar = Tarball::default().with(&entry("tool", 0o755)).with(&entry("setuid", 0o4755));
        let image = import(&cx, triple, platform, tar);
        let changes: [&[&str]; 2] = [&["/tool", "become", "5"], &["-u", "5", "--entrypoint", "/setuid"]];
        for (change, way) in changes.iter().flat_map(|change| [(change, "private"), (change, "trace")]) {
            // Whoever of the two is killed, the other ends the container.
            for is_outer in [false, true] {
                let mut command = cx.granted("");
                command.args(["run", "--emulation", way, "-e", &format!("MARK={mark}")]).env("MARK", &mark);
                match change {
                    ["/tool", words @ ..] => command.args(["--entrypoint", "/tool", &image]).args(words),
                    options => command.args(*options).arg(&image),
                };
                let mut child = command.args(["wait", "-"]).stdout(Stdio::piped()).spawn().unwrap();
                let mut out = BufReader::new(child.stdout.take().unwrap());
                let mut line = String::new();
                while line != "ready\n" {
                    line.clear();
                    assert!(out.read_line(&mut line).unwrap() > 0, "{change:?} {way}");
                }
                if is_outer {
                    let file = format!("/proc/{0}/task/{0}/children", child.id());
                    let children = fs::read_to_string(file).unwrap();
                    let outer: i32 = children.split_whitespace().next().unwrap().parse().unwrap();
                    let outer = rustix::process::Pid::from_raw(outer).unwrap();
                    rustix::process::kill_process(outer, rustix::process::Signal::KILL).unwrap();
                } else {
                    child.kill().unwrap();
                }
                child.wait().unwrap();
                gone(&format!("{change:?} {way} {is_outer}"), || marked(&mark));
            }
        }
    }
}
