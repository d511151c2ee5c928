//! `run`: whole Debian root file systems of foreign machines, as an ordinary user. `scripts/debian-roots` makes them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::cc::{Cc, compile};
use crate::support::{Cx, ran};

/// (Debian's name, platform, what `uname -m` says, prefix of the cross compiler).
const ROOTS: &[(&str, &str, &str, &str)] = &[
    ("arm64", "linux/arm64", "aarch64", "aarch64-linux-gnu"),
    ("armhf", "linux/arm/v7", "armv7l", "arm-linux-gnueabihf"),
    ("mipsel", "linux/mipsle", "mips", "mipsel-linux-gnu"),
    ("mips64el", "linux/mips64le", "mips64", "mips64el-linux-gnuabi64"),
    ("ppc64el", "linux/ppc64le", "ppc64le", "powerpc64le-linux-gnu"),
    ("s390x", "linux/s390x", "s390x", "s390x-linux-gnu"),
    ("riscv64", "linux/riscv64", "riscv64", "riscv64-linux-gnu"),
    ("i386", "linux/386", "x86_64", "i686-linux-gnu"),
];

/// Threads that count, with the C library's own locks, and children of children.
const THREADS: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long count;
static void *work(void *unused) {
    for (int i = 0; i < 2000; i++) { pthread_mutex_lock(&lock); count++; pthread_mutex_unlock(&lock); }
    return unused;
}
int main(void) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], 0, work, 0);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);
    int children = 0, status;
    for (int i = 0; i < 40; i++) if (fork() == 0) { if (fork() == 0) _exit(0); wait(0); _exit(7); }
    while (wait(&status) > 0) children += WEXITSTATUS(status) == 7;
    printf("%ld counted, %d children\n", count, children);
}
"#;

/// What is run, and what it prints.
const SHELL: &[(&str, &str)] = &[
    ("seq 1 200 | sort -rn | head -n 3 | tr '\\n' ' '; echo", "200 199 198 \n"),
    ("yes word | head -n 20000 | sha256sum | cut -c1-8; echo $((6 * 7))", "8a8bb2c7\n42\n"),
    (
        "printf '#!/bin/sh\\nprintf \"[%%s]\" \"$@\"\\n' >/tmp/s && chmod +x /tmp/s && /tmp/s a 'b c'; echo",
        "[a][b c]\n",
    ),
    (
        "printf '#!/usr/bin/env perl\\nprint \"perl $0\\\\n\";\\n' >/tmp/p && chmod +x /tmp/p && /tmp/p",
        "perl /tmp/p\n",
    ),
    ("for i in $(seq 60); do (true; exec true) & done; wait; echo all", "all\n"),
    (
        "perl -e 'use strict; my @s = map { $_ * $_ } 1 .. 4; print \"@s\\n\"; exec $^X, \"-e\", \"print qq(again\\\\n)\"'",
        "1 4 9 16\nagain\n",
    ),
    ("find /etc -maxdepth 1 -name passwd -type f | xargs grep -c '^root:'", "1\n"),
    ("exit 3", ""),
];

fn roots() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/roots")
}

/// Runs all of it in the root for one machine.
fn check(cx: &Cx, (name, platform, machine, triple): (&str, &str, &str, &str)) {
    let tar = roots().join(format!("{name}.tar"));
    assert!(tar.is_file(), "`{}` is missing: scripts/debian-roots {name}", tar.display());
    let image = format!("oci:{}:{name}", cx.path("images").display());
    let import = ["--platform", platform];
    ran(cx.polyarch().args(["-q", "image", "import"]).arg(&tar).arg(&image).args(import)).success();
    let threads = compile(&Cc { triple, flags: &["-static", "-O1", "-pthread"], source: THREADS });
    let program = cx.path(format!("threads-{name}"));
    fs::copy(threads, &program).unwrap();
    let volume = format!("{}:/usr/local/bin/threads:ro", program.display());
    let run = |words: &[&str]| {
        let mut command = cx.granted("");
        ran(command.args(["-q", "run", "-v", &volume, &image]).args(words))
    };
    assert_eq!(run(&["uname", "-m"]).success(), format!("{machine}\n"), "{name}");
    for (command, expected) in SHELL {
        let out = run(&["sh", "-c", command]);
        let status = if command.starts_with("exit ") { 3 } else { 0 };
        assert_eq!(
            (out.status, out.stdout.as_str()),
            (status, *expected),
            "{name}: {command}: {}",
            out.stderr
        );
    }
    let version = run(&["apt-get", "--version"]).success();
    assert!(version.starts_with("apt 2.") || version.starts_with("apt 3."), "{name}: {version}");
    assert!(version.contains(&format!("({name})")), "{name}: {version}");
    let packages = run(&["dpkg", "-l", "libc-bin", "perl-base"]).success();
    assert_eq!(packages.matches("\nii  ").count(), 2, "{name}: {packages}");
    assert_eq!(run(&["dpkg", "--print-architecture"]).success(), format!("{name}\n"));
    assert_eq!(run(&["threads"]).success(), "16000 counted, 40 children\n", "{name}");
    // apt gives up its rights for a user of its own, which must be there.
    let script = "chown _apt /tmp/x 2>/dev/null || { : >/tmp/x; chown _apt /tmp/x; }; stat -c %U /tmp/x; \
                  perl -e '$> = getpwnam(\"_apt\"); print -w \"/etc\" ? \"writes\" : \"may not\", \"\\n\"'";
    assert_eq!(run(&["sh", "-c", script]).success(), "_apt\nmay not\n", "{name}");
    assert_eq!(crate::support::probe::names(&cx.path("home/.cache/polyarch/run")), ["lock"]);
}

#[test]
#[ignore = "takes minutes to make the roots; scripts/test runs it"]
fn debian_of_arm64_and_mipsel_runs_as_an_ordinary_user() {
    let cx = Cx::new();
    for root in ROOTS.iter().filter(|(name, ..)| matches!(*name, "arm64" | "mipsel")) {
        check(&cx, *root);
    }
}

#[test]
#[ignore = "takes an hour to make the roots; scripts/test --all runs it"]
fn debian_of_all_machines_runs_as_an_ordinary_user() {
    let cx = Cx::new();
    for root in ROOTS {
        check(&cx, *root);
    }
}
