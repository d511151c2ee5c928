//! What is done to a step's files by a process that has the container's ids: copying, making folders, and writing a layer of it all.
//!
//! Everything that a process of the builder says to it and hears from it is here; [`enter`] is the process's own part.

mod copying;
mod owner;
mod place;
mod stubs;

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::Match;
use crate::layer::FolderWriter;
use crate::sandbox::{FILES, Failure, Inside, RootPlan, WHOLE, help};

pub(super) use owner::Owner;

/// First argument of the process.
pub(super) const ROLE: &str = "\u{1}build-files";

/// What it does, in this order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// Where roots are put together.
    pub(super) folder: OsString,
    /// The root that is worked on, whose writes are kept.
    pub(super) root: Option<RootPlan>,
    /// Other roots, which are copied from.
    pub(super) sources: Vec<RootPlan>,
    pub(super) work: Work,
    /// What to make a layer of, which goes to standard output.
    pub(super) commit: Option<Commit>,
}

/// What is done to the root.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Work {
    Nothing,
    Copy(Box<Copying>),
    /// Makes a folder, with those that it is in.
    Folder {
        path: String,
        user: String,
        owners: bool,
    },
    /// Makes folders of this machine that belong to a container's user.
    Cache {
        path: OsString,
        uid: u32,
        gid: u32,
        mode: u32,
        owners: bool,
    },
}

/// One COPY or ADD.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Copying {
    pub(super) sources: Vec<From>,
    /// From the root on; with a slash at its end a folder.
    pub(super) destination: String,
    pub(super) chown: Option<String>,
    pub(super) chmod: Option<String>,
    pub(super) exclude: Vec<String>,
    pub(super) parents: bool,
    /// Whether files can belong to others than root.
    pub(super) owners: bool,
}

impl Copying {
    /// All of `source` as it is, to `destination`.
    pub(super) fn whole(source: From, destination: &str, owners: bool) -> Self {
        Self {
            sources: vec![source],
            destination: destination.into(),
            chown: None,
            chmod: None,
            exclude: Vec::new(),
            parents: false,
            owners,
        }
    }
}

/// What is copied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum From {
    /// Files of this machine, which become root's.
    Machine { matches: Vec<Match> },
    /// Files of another root, by its number.
    Root { root: usize, pattern: String },
    /// A file of this name and content.
    Text { name: String, content: String },
}

/// The layer of what was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Commit {
    /// The folder in which the writes are kept.
    pub(super) kept: OsString,
    /// What is beneath them, the topmost first.
    pub(super) below: Vec<OsString>,
    /// No file is younger, in seconds since 1970.
    pub(super) latest: Option<u64>,
    /// Places that were mounted on, of which nothing is to be seen where they were not there before.
    pub(super) stubs: Vec<String>,
    /// Whether a folder `skeleton` is to have the folders alone.
    pub(super) skeleton: bool,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Done(Done),
    /// The instruction asks for what cannot be had.
    Refused(Refused),
}

/// What was done.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Done {
    /// Whether nothing was written.
    pub(super) is_empty: bool,
    /// Files that belong to root and not to whom they should.
    pub(super) owners_lost: u64,
}

/// Why an instruction cannot be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Refused {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Refused {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Why work ends early.
#[derive(Debug)]
enum Stop {
    Refused(Refused),
    Failed(PathBuf, io::Error),
}

impl std::convert::From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Does the part of this process in a build, where `args` (the program's name first) say that it has one.
#[must_use]
pub fn enter(args: &[OsString]) -> Option<ExitCode> {
    help(args, ROLE, |job: &Job| PathBuf::from(&job.folder), |job, inside| run(&job, inside))
}

fn run(job: &Job, inside: &mut Inside) -> Result<Answer, Failure> {
    let mut done = Done::default();
    let worked = match &job.root {
        Some(root) => {
            let root = inside.mount(root)?;
            let sources = job.sources.iter().map(|plan| inside.mount(plan));
            let sources = sources.collect::<Result<Vec<_>, Failure>>()?;
            work(&root, &sources, &job.work, &mut done)
        }
        None => work(Path::new("/"), &[], &job.work, &mut done),
    };
    match worked {
        Ok(()) => {}
        Err(Stop::Refused(refused)) => return Ok(Answer::Refused(refused)),
        Err(Stop::Failed(path, err)) => return Err(Failure::on_file(&path, err)),
    }
    inside.unmount();
    if let Some(commit) = &job.commit {
        self::commit(commit, &mut done)?;
    }
    Ok(Answer::Done(done))
}

fn work(root: &Path, sources: &[PathBuf], work: &Work, done: &mut Done) -> Result<(), Stop> {
    match work {
        Work::Nothing => Ok(()),
        Work::Copy(copying) => copying::copy(root, sources, copying, done),
        Work::Folder { path, user, owners } => {
            let root = open(root)?;
            let owner = if user.is_empty() { None } else { Some(Owner::resolve(&root, user)?) };
            let owner = owner.unwrap_or_default().if_kept(*owners, done);
            place::made_folder(&root, Path::new(path), owner).map(drop)
        }
        Work::Cache { path, uid, gid, mode, owners } => {
            let path = Path::new(path);
            let made = || {
                fs::create_dir_all(path)?;
                let owner = Owner { uid: *uid, gid: *gid };
                if *owners {
                    std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid))?;
                }
                fs::set_permissions(path, Permissions::from_mode(*mode))
            };
            made().map_err(|err| Stop::Failed(path.into(), err))
        }
    }
}

fn open(root: &Path) -> Result<OwnedFd, Stop> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(root, flags, Mode::empty()).map_err(|errno| Stop::Failed(root.into(), errno.into()))
}

fn commit(commit: &Commit, done: &mut Done) -> Result<(), Failure> {
    let kept = Path::new(&commit.kept);
    let below: Vec<&Path> = commit.below.iter().map(|path| Path::new(OsStr::new(path))).collect();
    let (files, whole) = (kept.join(FILES), kept.join(WHOLE));
    let writer = FolderWriter::new(commit.latest.unwrap_or(u64::MAX));
    let (folder, writer) = if files.is_dir() {
        stubs::remove(&files, &below, &commit.stubs).map_err(|err| Failure::on_file(&files, err))?;
        (files, writer.of_overlay())
    } else {
        stubs::remove(&whole, &below, &commit.stubs).map_err(|err| Failure::on_file(&whole, err))?;
        let Some(below) = below.first() else { return Ok(()) };
        (whole, writer.over(below))
    };
    if commit.skeleton {
        let skeleton = kept.join(SKELETON);
        crate::sandbox::skeleton(&folder, &skeleton).map_err(|err| Failure::on_file(&skeleton, err))?;
    }
    let mut out = io::stdout().lock();
    // From here on other steps may use the files.
    out.write_all(&[READY]).and_then(|()| out.flush()).map_err(|err| Failure::on_file(kept, err))?;
    done.is_empty = writer.write_plain(&folder, &mut out).map_err(|err| {
        let cause = std::error::Error::source(&err).and_then(|err| err.downcast_ref::<io::Error>());
        let errno = cause.and_then(io::Error::raw_os_error).unwrap_or(libc::EIO);
        Failure::on_file(&folder, io::Error::from_raw_os_error(errno))
    })?;
    Ok(())
}

/// What comes on standard output before a layer.
pub(super) const READY: u8 = b'+';

/// The folders of a layer alone.
pub(super) const SKELETON: &str = "skeleton";
