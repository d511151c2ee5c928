//! A program that looks at files and changes them, and images that it is the program of.

use std::fs;

use super::cc::{Cc, compile};
use super::tarball::{Entry, Tarball};
use super::{Cx, ran};

/// This machine's own programs.
pub(crate) const NATIVE: &str = "x86_64-linux-gnu";

/// Does one thing after the other, and says how each went.
const TOOL: &str = r#"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void said(const char *what, int result) {
    printf("%s: %s\n", what, result < 0 ? strerror(errno) : "ok");
}

int main(int argc, char **argv) {
    for (int at = 1; at + 1 < argc; at += 2) {
        const char *word = argv[at], *path = argv[at + 1];
        struct stat there;
        if (!strcmp(word, "stat")) {
            if (lstat(path, &there) < 0) said(path, -1);
            else printf("%s %u:%u %o\n", path, there.st_uid, there.st_gid, there.st_mode & 07777);
        }
        else if (!strcmp(word, "rm")) said("rm", S_ISDIR((lstat(path, &there), there.st_mode)) ? rmdir(path) : unlink(path));
        else if (!strcmp(word, "mkdir")) said("mkdir", mkdir(path, 0700));
        else if (!strcmp(word, "write")) {
            int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
            said("write", file < 0 ? -1 : (int)write(file, "more", 4));
            close(file);
        }
        else if (!strcmp(word, "chown")) said("chown", chown(path, 7, 9));
        else if (!strcmp(word, "become")) said("become", setgid(atoi(path)) | setuid(atoi(path)));
        else if (!strcmp(word, "sync")) { int file = open(path, O_RDONLY); said("sync", fsync(file)); }
        else if (!strcmp(word, "cat")) {
            char text[4096];
            int file = open(path, O_RDONLY);
            ssize_t count = file < 0 ? -1 : read(file, text, sizeof text);
            if (count < 0) said(path, -1); else fwrite(text, 1, count, stdout);
            if (count > 0 && text[count - 1] != '\n') putchar('\n');
        }
        else if (!strcmp(word, "ls")) {
            DIR *dir = opendir(path);
            int count = 0;
            errno = 0;
            for (struct dirent *entry; dir && (entry = readdir(dir));) count += entry->d_name[0] != '.';
            if (errno) said(path, -1); else printf("%d names\n", count);
        }
        else if (!strcmp(word, "wait")) { puts("ready"); fflush(stdout); for (;;) pause(); }
        else return 98;
    }
    return 0;
}
"#;

/// The program for a machine.
pub(crate) fn tool(triple: &'static str) -> Vec<u8> {
    fs::read(compile(&Cc { triple, flags: &["-static", "-O1"], source: TOOL })).unwrap()
}

/// A file of an owner.
pub(crate) fn owned(name: &'static [u8], mode: u32, owner: (u32, u32)) -> Entry {
    Entry { mode, owner, content: b"content".to_vec(), ..Entry::new(b'0', name) }
}

/// Makes an image of `tar` in an OCI layout and gives its name.
pub(crate) fn import(cx: &Cx, name: &str, platform: &str, tar: Tarball) -> String {
    let reference = format!("oci:{}:{name}", cx.path("images").display());
    import_as(cx, &reference, platform, tar)
}

/// Makes an image of `tar`, whose entry point is `/tool`.
pub(crate) fn import_as(cx: &Cx, reference: &str, platform: &str, tar: Tarball) -> String {
    let path = cx.file("imported.tar", tar.end());
    let config = cx.file("config.json", r#"{"config":{"Entrypoint":["/tool"]}}"#);
    let reference = reference.to_owned();
    let mut command = cx.polyarch();
    command.args(["image", "import"]).arg(path).arg(&reference).args(["--platform", platform]);
    ran(command.arg("--config").arg(config)).success();
    reference
}
