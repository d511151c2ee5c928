//! The second backend: an OCI runtime runs the container.
//!
//! The processes are the same as with the built-in runner, and so is all of the plan that is made before the root changes: ids, the
//! root file system with everything mounted beneath it, handlers, cgroups. Then, in place of becoming the program, the first process of
//! the container writes a bundle's `config.json` and becomes the runtime. That is root of the user namespace, so it makes none of its own;
//! the handlers are registered in a binfmt_misc of this namespace, which the container inside it has too; and with the runtime, which is
//! the first process of a process id namespace, everything that it started ends.
//!
//! What the runtime does itself: `/proc`, masks, the host name, user, capabilities, seccomp, limits of processes, and the program's start.

mod config;
mod verdict;

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;

use super::confine::User;
use super::plan::{Failure, Plan, Process, Step};
use super::{mounts, program, terminal};

pub(super) use verdict::failure;

/// The bundle in the run's folder, the runtime's own notes, and what it has to say.
const BUNDLE: &str = "bundle";
const STATE: &str = "state";
pub(super) const LOG: &str = "runtime.log";

/// Where a runtime is looked for that is given by its name, after the caller's own places.
const FOLDERS: &[&str] = &["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin", "/bin", "/sbin"];

/// The file of the runtime called `name`, or at that path.
#[must_use]
pub fn find_runtime(name: &OsStr, search: &[PathBuf]) -> Option<PathBuf> {
    let path = Path::new(name);
    let is_program =
        |path: &PathBuf| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if path.components().count() > 1 {
        return fs::canonicalize(path).ok().filter(is_program);
    }
    let folders = search.iter().cloned().chain(FOLDERS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(path)).find(is_program)
}

/// What has a runtime leave cgroups alone, of which each has its own word.
fn without_cgroups(runtime: &OsStr) -> &'static [&'static str] {
    let name = Path::new(runtime).file_name().unwrap_or_default().to_string_lossy();
    if name.contains("crun") {
        &["--cgroup-manager=disabled"]
    } else if name.contains("runc") {
        &["--rootless=true"]
    } else {
        &[]
    }
}

/// Mounts the `/proc` of this process id namespace, which is what the runtime looks at.
pub(super) fn mount_proc() -> Result<(), Failure> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", "/proc", "proc", flags, None).map_err(Step::Mount.on("/proc"))
}

/// What the program is to have that JSON cannot carry.
fn unwritable<'a>(plan: &'a Plan, home: &'a OsStr) -> Option<(&'static str, &'a OsStr)> {
    let process = &plan.process;
    let mut texts = (process.args.iter().map(|arg| ("the argument", arg.as_os_str())))
        .chain(process.env.iter().map(|(name, _)| ("the variable", name.as_os_str())))
        .chain(process.env.iter().map(|(_, value)| ("the variable's value", value.as_os_str())))
        .chain([("the working directory", process.cwd.as_os_str()), ("the home directory", home)])
        .chain([("the cache's path", plan.folder.as_os_str())]);
    texts.find(|(_, text)| text.to_str().is_none())
}

/// Becomes the runtime, over the root file system that is complete but for its `/proc`. Returns only where that fails.
pub(super) fn run(
    runtime: &OsStr,
    plan: &Plan,
    terminal: Option<&terminal::Pair>,
    warn: &mut dyn FnMut(String),
) -> Result<Infallible, Failure> {
    let folder = Path::new(&plan.folder);
    let root = folder.join("root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&root, flags, Mode::empty()).map_err(Step::Mount.on(&root))?;
    let identity = plan.process.user.resolve(&fd)?;
    if let Some((what, text)) = unwritable(plan, &identity.home) {
        let (runtime, text) = (runtime.to_string_lossy(), text.to_string_lossy());
        let said =
            format!("{what} `{text}` is no UTF-8, and so cannot be in the configuration that it reads");
        return Err(Failure { step: Step::Runtime, subject: format!("{runtime}: {said}"), errno: 0 });
    }
    // What it made of cgroups would stay; those of this run are made already.
    mounts::seal_cgroups();
    let bundle = folder.join(BUNDLE);
    fs::create_dir(&bundle).map_err(Step::Prepare.io(&bundle))?;
    let text = config::config(plan, &root, &identity, warn);
    let file = bundle.join("config.json");
    fs::write(&file, text.to_string()).map_err(Step::Prepare.io(&file))?;

    let id = folder.file_name().unwrap_or_else(|| OsStr::new("polyarch"));
    let args: Vec<OsString> = [runtime]
        .into_iter()
        .chain(without_cgroups(runtime).iter().map(OsStr::new))
        .chain([
            OsStr::new("--log"),
            folder.join(LOG).as_os_str(),
            OsStr::new("--log-format"),
            OsStr::new("json"),
            OsStr::new("--root"),
            folder.join(STATE).as_os_str(),
            OsStr::new("run"),
            OsStr::new("--bundle"),
            bundle.as_os_str(),
            id,
        ])
        .map(ToOwned::to_owned)
        .collect();
    let process = Process { args, env: Vec::new(), cwd: "/".into(), user: User::default() };
    let env = [("PATH".into(), program::PATH.into())];
    terminal::enter(terminal).map_err(Step::Terminal.on("the session"))?;
    terminal::keep_streams_only().map_err(Step::Prepare.io("the runtime's descriptors"))?;
    let Failure { errno, .. } = program::execute_as_is(&process, &env);
    Err(Failure { step: Step::Runtime, subject: runtime.to_string_lossy().into_owned(), errno })
}
