//! A process of ours with a container's ids, for work of other rooms on files that belong to them.

use std::ffi::OsString;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};

use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::process::Pid;
use rustix::thread::UnshareFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::handoff::{self, Handoff};
use super::super::namespaces::unshare;
use super::super::plan::{Failure, Message, Step};
use super::super::{FAILED, Ids, SandboxError, lifeline, userns};
use super::mount::{ROOT, WORK, make, mount};
use super::remove::{OTHER, remove_tree};
use super::{Plan, worker};

/// Such a process, seen from outside.
#[derive(Debug, Clone, Copy)]
pub struct Helper<'a> {
    /// Its first argument, by which the program knows what it is for.
    pub role: &'a str,
    /// Its ids.
    pub ids: &'a Ids,
}

impl Helper<'_> {
    /// Starts this program anew for `job`, and gives what it answers. `serve` gets its standard input and output once it has its
    /// ids. The caller's `main` must call [`help`] before all else.
    ///
    /// # Errors
    /// [`SandboxError`] where it cannot be started, or fails.
    pub fn work<A: DeserializeOwned>(
        &self,
        job: &impl Serialize,
        serve: impl FnOnce(ChildStdin, ChildStdout) -> io::Result<()>,
    ) -> Result<A, SandboxError> {
        let serve = |input, output| serve(input, output).map_err(|source| SandboxError::Start { source });
        let mut answer = None;
        run(self.role, job, self.ids, serve, |message| {
            if let Message::Answer(value) = message {
                answer = Some(value);
            }
        })?;
        let lost = |source| SandboxError::Start { source };
        let answer = answer.ok_or_else(|| lost(io::ErrorKind::UnexpectedEof.into()))?;
        serde_json::from_value(answer).map_err(|err| lost(err.into()))
    }
}

/// Starts this program anew in `role` for `job`, and waits for it. `hear` gets what it tells.
pub(super) fn run(
    role: &str,
    job: &impl Serialize,
    ids: &Ids,
    serve: impl FnOnce(ChildStdin, ChildStdout) -> Result<(), SandboxError>,
    mut hear: impl FnMut(Message),
) -> Result<(), SandboxError> {
    let failed = |source| SandboxError::Start { source };
    let (theirs, mut ours) = io::pipe().map_err(failed)?;
    let (mut child, reader) = start(role, job, theirs).map_err(failed)?;
    let mut streams = child.stdin.take().zip(child.stdout.take());
    let mut serve = Some(serve);
    let mut failure = None;
    let pid = Pid::from_raw(child.id().cast_signed());
    for message in handoff::messages(reader) {
        match (message, pid) {
            (Message::Unshared, Some(pid)) => {
                let result = match userns::give(ids, pid, &mut ours) {
                    Ok(Some(shortage)) => Err(SandboxError::IdsRefused { shortage }),
                    Err(source) => Err(SandboxError::Ids { source }),
                    Ok(None) => match (serve.take(), streams.take()) {
                        (Some(serve), Some((input, output))) => serve(input, output),
                        _ => Ok(()),
                    },
                };
                if let Err(err) = result {
                    let _ = child.kill();
                    failure = Some(err);
                }
            }
            (Message::Failed(reason), _) => failure = failure.or(Some(reason.into())),
            (message, _) => hear(message),
        }
    }
    child.wait().map_err(failed)?;
    drop(ours);
    failure.map_or(Ok(()), Err)
}

fn start(role: &str, job: &impl Serialize, lifeline: PipeReader) -> io::Result<(Child, PipeReader)> {
    let (handoff, reader) = Handoff::new(job, OwnedFd::from(lifeline))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("polyarch").arg(role).stdin(Stdio::piped()).stdout(Stdio::piped());
    handoff.give(&mut command)?;
    Ok((command.spawn()?, reader))
}

/// What such a process has, seen from inside.
#[derive(Debug)]
pub struct Inside {
    folder: PathBuf,
    count: usize,
    /// Roots, and what their overlays need besides.
    mounted: Vec<(PathBuf, PathBuf)>,
}

impl Inside {
    /// Puts a root file system together, in `folder`, and gives where it is to be seen.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn mount(&mut self, plan: &Plan) -> Result<PathBuf, Failure> {
        let folder = make(&self.folder, &format!("{OTHER}{}", self.count))?;
        self.count += 1;
        mount(plan, &folder, &mut Vec::new())?;
        let root = folder.join(ROOT);
        let work = plan.kept.as_ref().map_or(folder.as_path(), Path::new).join(WORK);
        self.mounted.push((root.clone(), work));
        Ok(root)
    }

    /// Lets go of all of them: what was written is whole.
    pub fn unmount(&mut self) {
        for (root, work) in self.mounted.drain(..) {
            let _ = rustix::mount::unmount(&root, UnmountFlags::DETACH);
            // What cannot be removed goes with the run's folder, or is stale for the next run.
            let _ = remove_tree(&work);
        }
    }
}

/// What went wrong inside such a process.
impl Failure {
    /// `subject` cannot be worked on.
    #[must_use]
    pub fn on_file(subject: &Path, err: io::Error) -> Self {
        Step::Prepare.io(subject)(err)
    }
}

/// Does `work` where `args` (the program's name first) say that this process is there for `role`, and gives what to exit with. `folder` is
/// where a job's roots are put together.
pub fn help<J: DeserializeOwned, A: Serialize>(
    args: &[OsString],
    role: &str,
    folder: impl FnOnce(&J) -> PathBuf,
    work: impl FnOnce(J, &mut Inside) -> Result<A, Failure>,
) -> Option<ExitCode> {
    if args.get(1)? != role {
        return None;
    }
    let Some(mut handoff) = Handoff::take(args.get(2..).unwrap_or_default()) else {
        return Some(ExitCode::from(FAILED));
    };
    let result = enter(&mut handoff).and_then(|job: J| {
        let mut inside = Inside { folder: folder(&job), count: 0, mounted: Vec::new() };
        let answer = work(job, &mut inside);
        inside.unmount();
        answer
    });
    let answer = result.and_then(|answer| {
        serde_json::to_value(answer).map_err(|err| Step::Handoff.io("the answer")(err.into()))
    });
    let (message, status) = match answer {
        Ok(answer) => (Message::Answer(answer), ExitCode::SUCCESS),
        Err(failure) => (Message::Failed(failure), ExitCode::from(FAILED)),
    };
    handoff.tell(&message);
    Some(status)
}

fn enter<J: DeserializeOwned>(handoff: &mut Handoff) -> Result<J, Failure> {
    let job = handoff.plan().map_err(Step::Handoff.io("the plan"))?;
    worker::hold(handoff)?;
    unshare(UnshareFlags::NEWNS).map_err(Step::Namespaces.on("mount"))?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(Step::Mount.on("private mounts"))?;
    lifeline::hold(&handoff.lifeline).map_err(Step::Start.on("the helper"))?;
    Ok(job)
}
