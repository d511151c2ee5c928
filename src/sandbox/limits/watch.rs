//! A process that removes a run's cgroups when the run has ended.

use std::ffi::OsString;
use std::fs;
use std::io::{self, PipeWriter, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::Group;

/// First argument of that process.
pub(in super::super) const WATCH: &str = "\u{1}sandbox-watch";

/// How long the last processes of a container may take to be gone.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it waits between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// It runs until this is dropped, or its process has ended otherwise.
#[derive(Debug)]
pub(in super::super) struct Watch {
    child: Child,
    /// Its end tells the watch.
    alive: Option<PipeWriter>,
}

impl Watch {
    /// Starts it over the cgroups of `group`.
    pub(in super::super) fn start(group: &Group) -> io::Result<Self> {
        let (theirs, ours) = io::pipe()?;
        let child = Command::new("/proc/self/exe")
            .arg0("polyarch")
            .arg(WATCH)
            .args(&group.folders)
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // A terminal's signals are not for it.
            .process_group(0)
            .spawn();
        match child {
            Ok(child) => Ok(Self { child, alive: Some(ours) }),
            Err(err) => {
                remove(&group.folders.iter().map(OsString::from).collect::<Vec<_>>());
                Err(err)
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.alive.take());
        let _ = self.child.wait();
    }
}

/// The part of that process.
pub(in super::super) fn run(folders: &[OsString]) {
    // It ends when nobody holds the other end any more.
    let _ = io::stdin().read(&mut [0]);
    remove(folders);
}

/// Removes them when the last process in them is gone.
fn remove(folders: &[OsString]) {
    let began = Instant::now();
    for folder in folders {
        while let Err(err) = fs::remove_dir(folder) {
            let busy = err.raw_os_error() == Some(Errno::BUSY.raw_os_error());
            if !busy || began.elapsed() > PATIENCE {
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }
}
