//! Finding the container's program and becoming it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::Access;
use rustix::io::Errno;

use super::plan::{Failure, Process, Step};

/// Where programs are looked for if the image does not say.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much of `/etc/passwd` is read at most, in bytes.
const PASSWD_LIMIT: u64 = 1 << 20;

/// Becomes the program. Returns only the reason why it could not.
pub(super) fn execute(process: &Process, cwd: &Path) -> Failure {
    let Some((name, args)) = process.args.split_first() else {
        return Step::Find.on("")(Errno::NOENT);
    };
    let search = variable(process, "PATH").unwrap_or_else(|| OsStr::new(PATH));
    let path = match find(name, search) {
        Ok(path) => path,
        Err(errno) => return Step::Find.on(name)(errno),
    };
    let mut command = Command::new(&path);
    command.arg0(name).args(args).current_dir(cwd).env_clear();
    command.envs(process.env.iter().map(|(name, value)| (name, value)));
    if variable(process, "HOME").is_none() {
        command.env("HOME", home());
    }
    let err = command.exec();
    Step::Execute.io(&path)(err)
}

fn variable<'a>(process: &'a Process, name: &str) -> Option<&'a OsStr> {
    process.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
}

/// The program that `name` means: itself where it has a slash, else the first of the folders in `search` that has it.
fn find(name: &OsStr, search: &OsStr) -> Result<PathBuf, Errno> {
    if name.as_bytes().contains(&b'/') {
        return Ok(name.into());
    }
    let mut reason = Errno::NOENT;
    for folder in std::env::split_paths(search) {
        let path = if folder.as_os_str().is_empty() { Path::new(".").join(name) } else { folder.join(name) };
        if !fs::metadata(&path).is_ok_and(|there| there.is_file()) {
            continue;
        }
        match rustix::fs::access(&path, Access::EXEC_OK) {
            Ok(()) => return Ok(path),
            Err(errno) => reason = errno,
        }
    }
    Err(reason)
}

/// Root's home by the container's own `/etc/passwd`, as docker sets it.
fn home() -> OsString {
    let mut text = Vec::new();
    let read = fs::File::open("/etc/passwd").and_then(|file| file.take(PASSWD_LIMIT).read_to_end(&mut text));
    let line = text.split(|byte| *byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        (fields.len() == 7 && fields[2] == b"0").then(|| fields[5].to_vec())
    });
    let home = line.filter(|home| read.is_ok() && home.starts_with(b"/"));
    home.map_or_else(|| "/root".into(), |home| OsStr::from_bytes(&home).to_owned())
}
