//! Images made for containers, and the program as an ordinary user runs it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

use polyarch::image::{self, Access, History, ImageConfiguration, ImageRef, NewImage, NewLayer};
use polyarch::layer::{Content, LayerFile};

use super::cc::{Cc, compile};
use super::{Cx, ran};

/// The compiler for this machine's own programs.
pub(crate) const NATIVE: &str = "x86_64-linux-gnu";

/// Options of `run` for the built-in runner, and for a runtime beside it: what is true of one is true of the other.
pub(crate) const BACKENDS: &[&[&str]] = &[&[], &["--runtime", "runc"]];

/// The program as an ordinary user with an empty home of its own, where the tests are run by root.
pub(crate) fn unprivileged(cx: &Cx) -> Command {
    if !rustix::process::geteuid().is_root() {
        return cx.polyarch();
    }
    // The build's folder may be closed to others.
    let program = cx.path("polyarch");
    if !program.exists() && fs::hard_link(env!("CARGO_BIN_EXE_polyarch"), &program).is_err() {
        fs::copy(env!("CARGO_BIN_EXE_polyarch"), &program).unwrap();
    }
    fs::set_permissions(cx.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let home = cx.path("nobody");
    fs::create_dir_all(&home).unwrap();
    chown(&home, Some(65534), Some(65534)).unwrap();
    let mut command = cx.command("/usr/bin/setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program).env("HOME", home);
    command
}

/// A bundle of the program of `session.c` for a machine, in which it is `/bin/NAME`.
pub(crate) fn session(cx: &Cx, triple: &str, name: &str) -> String {
    let source = include_str!("session.c");
    let made = compile(&Cc { triple, flags: &["-static", "-O1"], source });
    let program = cx.path(name);
    fs::copy(made, &program).unwrap();
    let image = format!("oci:images:{name}");
    ran(cx.polyarch().arg("bundle").arg(program).args(["-o", &image])).success();
    image
}

/// An image of these files for a platform, written by the library.
pub(crate) fn image(cx: &Cx, config: &str, files: Vec<LayerFile>) -> String {
    let config: ImageConfiguration = serde_json::from_str(config).unwrap();
    let layer = NewLayer { files, time: 0 };
    let reference = format!("oci:{}:made", cx.path("made").display());
    let image = NewImage { config, layers: vec![(&layer, History::default())] };
    image::write(&image, &reference.parse::<ImageRef>().unwrap(), &Access::default()).unwrap();
    reference
}

pub(crate) fn file(path: &str, content: Content) -> LayerFile {
    LayerFile { path: path.into(), mode: 0o755, content }
}

pub(crate) fn config(architecture: &str, config: &str) -> String {
    format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
    )
}

/// The program as an ordinary user to whom ids are granted: from 200000 on as 1 and on, 65536 of them.
pub(crate) fn granted(cx: &Cx) -> Command {
    let script = r#"
        mount --bind "$1" /etc/subuid && mount --bind "$1" /etc/subgid && shift &&
        exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
    "#;
    let grants = cx.file("granted", "nobody:200000:65536\n");
    // It makes the user's home, too.
    let program = unprivileged(cx).get_args().last().map(std::ffi::OsStr::to_owned);
    let mut command = cx.command("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(grants);
    command
        .arg(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_polyarch").into()))
        .env("HOME", cx.path("nobody"));
    command
}

/// The program on a machine without an emulator of big-endian MIPS: what is there is no file. It reaches the network as the tests do.
pub(crate) fn without_emulator(cx: &Cx) -> Command {
    let script = r#"
        for name in qemu-mips-static qemu-mips; do
            if [ -e /usr/bin/$name ]; then mount --bind /dev/null "$(realpath /usr/bin/$name)" || exit 99; fi
        done
        exec "$@"
    "#;
    let mut command = cx.command("unshare");
    command.args(["-rm", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_polyarch")]);
    for name in ["http_proxy", "https_proxy", "no_proxy"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}
