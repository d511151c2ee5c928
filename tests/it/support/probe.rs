//! A program that is run in containers: it does one small thing for each word that it is given.

use std::path::{Path, PathBuf};

use super::cc::{Cc, compile};
use super::{Cx, ran};

const SOURCE: &str = r#"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static void caught(int signal) { (void)signal; write(1, "caught\n", 7); _exit(42); }

static int copy(int in) {
    char buffer[65536];
    ssize_t count;
    while ((count = read(in, buffer, sizeof buffer)) > 0)
        for (ssize_t done = 0; done < count;) {
            ssize_t wrote = write(1, buffer + done, count - done);
            if (wrote < 0) return 9;
            done += wrote;
        }
    return count < 0 ? 8 : 0;
}

int main(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : "uname";
    const char *arg = argc > 2 ? argv[2] : "";
    struct utsname name;
    uname(&name);
    if (!strcmp(word, "uname")) printf("uname -m = %s\n", name.machine);
    else if (!strcmp(word, "who")) printf("uid %d gid %d pid %d host %s\n", getuid(), getgid(), getpid(), name.nodename);
    else if (!strcmp(word, "args")) for (int i = 0; i < argc; i++) printf("[%s]\n", argv[i]);
    else if (!strcmp(word, "env")) { extern char **environ; for (char **e = environ; *e; e++) puts(*e); }
    else if (!strcmp(word, "cwd")) { char path[4096]; puts(getcwd(path, sizeof path)); }
    else if (!strcmp(word, "exit")) return atoi(arg);
    else if (!strcmp(word, "raise")) { raise(atoi(arg)); return 3; }
    else if (!strcmp(word, "fault")) { *(volatile int *)8 = 1; return 3; }
    else if (!strcmp(word, "stdin")) return copy(0);
    else if (!strcmp(word, "wait")) { puts("ready"); fflush(stdout); for (;;) pause(); }
    else if (!strcmp(word, "catch")) {
        signal(atoi(arg), caught);
        puts("ready"); fflush(stdout);
        for (;;) pause();
    }
    else if (!strcmp(word, "child")) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) { execv(argv[2], argv + 2); printf("exec: %s\n", strerror(errno)); return 99; }
        int status;
        waitpid(child, &status, 0);
        printf("child %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
    else if (!strcmp(word, "cat")) {
        int file = open(arg, O_RDONLY);
        if (file < 0) { printf("cat: %s\n", strerror(errno)); return 4; }
        return copy(file);
    }
    else if (!strcmp(word, "ls")) {
        DIR *dir = opendir(arg);
        if (!dir) { printf("ls: %s\n", strerror(errno)); return 4; }
        for (struct dirent *entry; (entry = readdir(dir));) if (entry->d_name[0] != '.') puts(entry->d_name);
    }
    else if (!strcmp(word, "write")) {
        int file = open(arg, O_WRONLY | O_CREAT, 0600);
        if (file < 0) { printf("write: %s\n", strerror(errno)); return 5; }
        puts("written");
    }
    else return 98;
    return 0;
}
"#;

/// (prefix of the cross compiler, what `uname -m` says, guest), for guests that all of this is done for.
pub(crate) const GUESTS: &[(&str, &str, &str)] = &[
    ("mips-linux-gnu", "mips", "mips"),
    ("powerpc-linux-gnu", "ppc", "ppc"),
    ("arm-linux-gnueabi", "armv7l", "arm"),
    ("aarch64-linux-gnu", "aarch64", "aarch64"),
];

/// The probe for a machine, as the file `name` in the test's folder.
pub(crate) fn probe(cx: &Cx, triple: &str, name: &str) -> PathBuf {
    let made = compile(&Cc { triple, flags: &["-static", "-O1"], source: SOURCE });
    let path = cx.path(name);
    std::fs::copy(made, &path).unwrap();
    path
}

/// A bundle of the probe for a machine, and how `run` is told of it.
pub(crate) fn bundle(cx: &Cx, triple: &str, name: &str) -> String {
    let program = probe(cx, triple, name);
    let image = format!("oci:images:{name}");
    ran(cx.polyarch().arg("bundle").arg(program).args(["-o", &image])).success();
    image
}

/// Whether a process of this machine has `marker` in its command line.
pub(crate) fn is_running(marker: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .any(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.windows(marker.len()).any(|window| window == marker.as_bytes())
        })
}

/// The names in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>());
    let mut names: Vec<String> = entries
        .unwrap_or_default()
        .iter()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
