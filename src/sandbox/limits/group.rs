//! Making a run's cgroups, and going into them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::{Limits, Setting};
use crate::tree::{self, Mount};

/// What the name of a run's cgroup begins with.
const PREFIX: &str = "polyarch-";
/// The file that says which processes are in one, and takes more.
const PROCESSES: &str = "cgroup.procs";

/// The cgroups of one run.
#[derive(Debug, Default)]
pub(in super::super) struct Group {
    /// Their folders.
    pub(in super::super) folders: Vec<PathBuf>,
}

/// A hierarchy in which this process is.
#[derive(Debug)]
struct Hierarchy {
    unified: bool,
    controllers: Vec<String>,
    /// The folder of its root as it is mounted.
    top: PathBuf,
    /// That of this process's cgroup.
    own: PathBuf,
}

impl Group {
    /// Makes the cgroups for `limits`, and gives why some of these cannot be had.
    pub(in super::super) fn make(limits: &Limits) -> (Self, Vec<String>) {
        let (mut group, mut missing) = (Self::default(), Vec::new());
        let settings = limits.settings();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let hierarchies = hierarchies(&own, &tree::mounts().unwrap_or_default());
        let name = format!("{PREFIX}{}-{}", std::process::id(), began());
        for hierarchy in &hierarchies {
            let wanted = |setting: &&Setting| {
                hierarchy.controllers.iter().any(|controller| controller == setting.controller)
            };
            let wanted: Vec<&Setting> = settings.iter().filter(wanted).collect();
            if wanted.is_empty() {
                continue;
            }
            match hierarchy.make(&name, &wanted) {
                Ok(folder) => {
                    for setting in wanted {
                        if let Err(err) = setting.write(&folder, hierarchy.unified)
                            && !setting.optional
                        {
                            missing.push(format!("`{}`: {err}", setting.option));
                        }
                    }
                    group.folders.push(folder);
                }
                Err(err) => {
                    for setting in wanted.iter().filter(|setting| !setting.optional) {
                        missing.push(format!(
                            "`{}`: no cgroup can be made for it in `{}`: {err}",
                            setting.option,
                            hierarchy.own.display()
                        ));
                    }
                }
            }
        }
        for setting in settings.iter().filter(|setting| !setting.optional) {
            let has = |hierarchy: &Hierarchy| {
                hierarchy.controllers.iter().any(|controller| controller == setting.controller)
            };
            if !hierarchies.iter().any(has) {
                missing.push(format!(
                    "`{}`: this machine has no cgroups of `{}`",
                    setting.option, setting.controller
                ));
            }
        }
        (group, missing)
    }
}

impl Setting {
    fn write(&self, folder: &Path, unified: bool) -> io::Result<()> {
        if unified {
            return fs::write(folder.join(self.unified.0), &self.unified.1);
        }
        self.single.iter().try_for_each(|(file, value)| fs::write(folder.join(file), value))
    }
}

impl Hierarchy {
    /// Makes the cgroup `name` in this process's own or, where that cannot be, in one above it.
    fn make(&self, name: &str, wanted: &[&Setting]) -> io::Result<PathBuf> {
        let mut reason = io::Error::from(Errno::NOENT);
        for parent in self.own.ancestors().take_while(|folder| folder.starts_with(&self.top)) {
            match self.make_in(parent, name, wanted) {
                Ok(folder) => {
                    remove_stale(parent, name);
                    return Ok(folder);
                }
                // The nearest one's reason says most, but that it is not empty is no reason of its own.
                Err(err) if reason.kind() == io::ErrorKind::NotFound || is_busy(&reason) => reason = err,
                Err(_) => {}
            }
        }
        Err(reason)
    }

    fn make_in(&self, parent: &Path, name: &str, wanted: &[&Setting]) -> io::Result<PathBuf> {
        if self.unified {
            // Only the root may both hold processes and hand controllers on.
            let control = parent.join("cgroup.subtree_control");
            for setting in wanted {
                let on = fs::read_to_string(&control)?;
                if !on.split_whitespace().any(|controller| controller == setting.controller) {
                    fs::write(&control, format!("+{}", setting.controller))?;
                }
            }
        }
        let folder = parent.join(name);
        fs::create_dir(&folder)?;
        Ok(folder)
    }
}

fn is_busy(err: &io::Error) -> bool {
    err.raw_os_error() == Some(Errno::BUSY.raw_os_error())
}

/// Removes what killed runs left in `parent`. One with a process in it stays by itself.
fn remove_stale(parent: &Path, own: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let pid = rest.split('-').next().unwrap_or_default();
        // One whose run has just made it has no process in it yet.
        if name != own && !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// When this process began, in the kernel's ticks: a process id comes again.
fn began() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    rest.split(' ').nth(19).and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// The hierarchies that `own`, a text as `/proc/self/cgroup`, tells of and `mounts` has.
fn hierarchies(own: &str, mounts: &[Mount]) -> Vec<Hierarchy> {
    let line = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let unified = controllers.is_empty();
        let is_this = |mount: &&Mount| {
            let options: Vec<&str> = mount.options.split(',').collect();
            if unified {
                mount.kind == "cgroup2"
            } else {
                mount.kind == "cgroup"
                    && controllers.split(',').all(|controller| options.contains(&controller))
            }
        };
        let top = mounts.iter().rfind(is_this)?.point.clone();
        // Inside of a container the path may be one of the machine's, of which only the end is mounted.
        let own = top.join(path.trim_start_matches('/'));
        let own = if own.is_dir() { own } else { top.clone() };
        let controllers = if unified {
            let text = fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect()
        } else {
            controllers.split(',').map(str::to_owned).collect()
        };
        Some(Hierarchy { unified, controllers, top, own })
    };
    own.lines().filter_map(line).collect()
}

/// Moves this process into the cgroups at `folders`.
pub(in super::super) fn join(folders: &[std::ffi::OsString]) -> Result<(), (PathBuf, io::Error)> {
    for folder in folders {
        let path = Path::new(folder).join(PROCESSES);
        fs::write(&path, "0").map_err(|err| (path, err))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_where_they_are_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let point = |name: &str| dir.path().join(name);
        for folder in ["unified/a/b", "memory/m", "cpu"] {
            fs::create_dir_all(point(folder)).unwrap();
        }
        fs::write(point("unified/cgroup.controllers"), "pids io\n").unwrap();
        let mount = |name: &str, kind: &str, options: &str| Mount {
            point: point(name),
            kind: kind.into(),
            options: options.into(),
        };
        let mounts = [
            mount("memory", "cgroup", "rw,memory"),
            mount("cpu", "cgroup", "rw,cpu,cpuacct"),
            mount("unified", "cgroup2", "rw"),
        ];
        let own = "5:memory:/m\n4:cpu,cpuacct:/gone\n3:freezer:/\n1:name=systemd:/x\n0::/a/b\nbroken\n";
        let found: Vec<(bool, Vec<String>, PathBuf)> = hierarchies(own, &mounts)
            .into_iter()
            .map(|hierarchy| (hierarchy.unified, hierarchy.controllers, hierarchy.own))
            .collect();
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                (false, words(&["memory"]), point("memory/m")),
                (false, words(&["cpu", "cpuacct"]), point("cpu")),
                (true, words(&["pids", "io"]), point("unified/a/b")),
            ]
        );
    }

    /// The kernel's part is played by files: a controller can be handed on where the file can be written.
    #[test]
    fn a_cgroup_that_cannot_hand_controllers_on_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("slice/scope");
        fs::create_dir_all(&own).unwrap();
        // As if it were busy.
        fs::create_dir(own.join("cgroup.subtree_control")).unwrap();
        fs::write(dir.path().join("slice/cgroup.subtree_control"), "pids memory\n").unwrap();
        let hierarchy = Hierarchy {
            unified: true,
            controllers: vec!["pids".into()],
            top: dir.path().into(),
            own: own.clone(),
        };
        let settings = Limits { pids: Some(5), ..Limits::default() }.settings();
        let stale = dir.path().join("slice/polyarch-4194999-1");
        fs::create_dir(&stale).unwrap();
        let made = hierarchy.make("polyarch-1-2", &settings.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(made, dir.path().join("slice/polyarch-1-2"));
        assert!(made.is_dir() && !stale.exists());
    }
}
