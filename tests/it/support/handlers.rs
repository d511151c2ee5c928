//! Tests that run once more inside, with a registry of their own; and what the host's registry holds.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Cx, ran};

/// Set for the copy of this test that runs with a registry of its own; names its folder.
pub(crate) const INSIDE: &str = "POLYARCH_TEST_INSIDE";

/// Runs the test `name` once more, as an ordinary user in a user namespace with a private binfmt_misc, from a
/// folder that `prepare` fills. The host's handlers must be the same after as before.
pub(crate) fn in_a_private_registry(name: &str, prepare: impl FnOnce(&Path)) {
    let cx = Cx::new();
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
