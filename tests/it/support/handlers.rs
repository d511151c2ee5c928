//! Tests that run once more inside, with a registry of their own; and what the host's registry holds.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use polyarch::target::Catalogue;

use super::cc::{Cc, compile};
use super::{Cx, ran};

/// Set for the copy of this test that runs with a registry of its own; names its folder.
pub(crate) const INSIDE: &str = "POLYARCH_TEST_INSIDE";

/// Runs the test `name` once more, as an ordinary user in a user namespace with a private binfmt_misc, from a
/// folder that `prepare` fills. The host's handlers must be the same after as before.
pub(crate) fn in_a_private_registry(name: &str, prepare: impl FnOnce(&Path)) {
    let cx = Cx::new();
    let _still = host_stays();
    let before = handlers();
    let copy = cx.path("test");
    fs::copy("/proc/self/exe", &copy).unwrap();
    for folder in ["", "registry", "read-only", "unmounted", "interpreters", "programs"] {
        fs::create_dir_all(cx.path(folder)).unwrap();
        fs::set_permissions(cx.path(folder), fs::Permissions::from_mode(0o755)).unwrap();
    }
    prepare(&cx.path(""));
    let script = r#"
        mount -t binfmt_misc none "$1/registry" &&
        mount -t tmpfs none "$1/read-only" &&
        : > "$1/read-only/register" &&
        mount -o remount,bind,ro "$1/read-only" &&
        exec "$1/test" --exact "$2" --nocapture
    "#;
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = cx.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "unshare"]);
        command
    } else {
        cx.command("unshare")
    };
    command.args(["-Urm", "sh", "-c", script, "sh"]).arg(cx.path("")).arg(name).env(INSIDE, cx.path(""));
    let output = ran(&mut command).success();
    assert!(output.contains("1 passed"), "{output}");
    assert_eq!(handlers(), before, "the host's handlers changed");
}

/// Held while the host's registry is changed; while it must not change, [`host_stays`]. For all tests of this machine.
pub(crate) fn host_changes() -> fs::File {
    let file = fs::File::open("/proc/sys/fs").unwrap();
    file.lock().unwrap();
    file
}

/// See [`host_changes`].
pub(crate) fn host_stays() -> fs::File {
    let file = fs::File::open("/proc/sys/fs").unwrap();
    file.lock_shared().unwrap();
    file
}

/// The host's handlers, with what each file says.
pub(crate) fn handlers() -> BTreeMap<PathBuf, String> {
    let Ok(folder) = fs::read_dir("/proc/sys/fs/binfmt_misc") else { return BTreeMap::new() };
    folder
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read_to_string(&path).unwrap_or_default()))
        .collect()
}

pub(crate) fn executable(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A registration as any other tool could write it.
pub(crate) fn write(registry: &Path, line: &str) {
    fs::write(registry.join("register"), line).unwrap_or_else(|err| panic!("{line}: {err}"));
}

/// The first `length` bytes of a guest's rule, as escapes.
pub(crate) fn escaped(guest: &str, length: usize) -> (String, String) {
    let rule = &Catalogue::builtin().guest(guest).unwrap().binfmt;
    let text = |bytes: &[u8]| {
        bytes.iter().take(length).map(|byte| format!("\\x{byte:02x}")).collect::<Vec<_>>().concat()
    };
    (text(&rule.magic), text(&rule.mask))
}

/// A folder of the namespace's own, in which it can write.
pub(crate) fn work(folder: &Path) -> PathBuf {
    let work = folder.join("unmounted");
    ran(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=777", "none"]).arg(&work)).success();
    work
}

/// A program that says its machine and then runs its argument by the shell.
const HELLO: &str = r#"
    #include <stdio.h>
    #include <stdlib.h>
    #include <sys/utsname.h>
    int main(int count, char **args) {
        struct utsname name;
        uname(&name);
        printf("hello from %s\n", name.machine);
        fflush(stdout);
        return count > 1 ? system(args[1]) / 256 : 0;
    }"#;

/// The four programs of the promise, where every user finds them.
pub(crate) fn hellos(cx: &Cx) {
    for (name, triple) in [
        ("mips", "mips-linux-gnu"),
        ("ppc", "powerpc-linux-gnu"),
        ("arm", "arm-linux-gnueabihf"),
        ("riscv64", "riscv64-linux-gnu"),
    ] {
        let program = compile(&Cc { triple, flags: &["-static"], source: HELLO });
        let path = cx.path(format!("hello-{name}"));
        fs::copy(program, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
