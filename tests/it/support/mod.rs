//! What the tests share: a place of their own for each, and the program run in it.

pub(crate) mod archive;
pub(crate) mod bundle;
pub(crate) mod cc;
pub(crate) mod container;
pub(crate) mod deb;
pub(crate) mod elf;
pub(crate) mod handlers;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod oci;
pub(crate) mod probe;
pub(crate) mod pty;
pub(crate) mod registry;
pub(crate) mod rsc;
pub(crate) mod schema;
pub(crate) mod tarball;
pub(crate) mod tool;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A test's own folder, home and environment. All of it goes when the test ends.
pub(crate) struct Cx {
    dir: tempfile::TempDir,
}

/// What a run of the program printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Cx {
    pub(crate) fn new() -> Self {
        let cx = Self { dir: tempfile::tempdir().expect("a temporary folder can be made") };
        std::fs::create_dir_all(cx.path("home")).unwrap();
        cx
    }

    /// `name` in the test's folder.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, with its parents.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The program, to be run in the test's folder with a home of its own and nothing else of this machine's environment.
    pub(crate) fn polyarch(&self) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_polyarch"));
        command.env("SOURCE_DATE_EPOCH", "1700000000");
        command
    }

    /// Any program, in the same surroundings.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path("home"))
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC");
        command
    }

    /// Any program, run by a user without any rights who may enter the test's folder.
    pub(crate) fn as_nobody(&self, program: impl AsRef<OsStr>) -> Command {
        let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o777);
        std::fs::set_permissions(self.dir.path(), open.clone()).unwrap();
        std::fs::set_permissions(self.path("home"), open).unwrap();
        if !rustix::process::geteuid().is_root() {
            return self.command(program);
        }
        let mut command = self.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
        command
    }

    /// The program, run by a user without rights to whom /etc/subuid grants ids: root of a mount namespace sees to that, and
    /// newuidmap has its rights from its own file. `setup` is a script that is run first, by root.
    pub(crate) fn granted(&self, setup: &str) -> Command {
        let script = format!(
            r#"mount --bind "$1" /etc/subuid && mount --bind "$1" /etc/subgid && shift && {setup}
            exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@""#
        );
        let table = self.path("granted");
        if !table.exists() {
            // Those that run already are reading it.
            self.file("granted", "nobody:200000:65536\n");
        }
        let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o777);
        std::fs::set_permissions(self.dir.path(), open.clone()).unwrap();
        std::fs::set_permissions(self.path("home"), open).unwrap();
        let mut command = self.command("unshare");
        command.args(["-m", "sh", "-c", &script, "sh"]).arg(table).arg(env!("CARGO_BIN_EXE_polyarch"));
        command
    }

    /// Runs the program with `args`.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        ran(self.polyarch().args(args))
    }
}

/// Runs `command` to its end.
pub(crate) fn ran(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|err| panic!("{command:?}: {err}"));
    Ran {
        status: std::os::unix::process::ExitStatusExt::signal(&status)
            .map_or_else(|| status.code().unwrap(), |signal| 128 + signal),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

impl Ran {
    /// The standard output, if the run ended well.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert_eq!(self.status, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// The standard error, if the run ended with `status`.
    #[track_caller]
    pub(crate) fn failure(self, status: i32) -> String {
        assert_eq!(self.status, status, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self.stderr
    }
}
