//! Finding the container's program and becoming it.

use std::ffi::{CString, OsStr, OsString, c_char};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::Access;
use rustix::io::Errno;

use super::plan::{Failure, Process, Step};

/// Where programs are looked for if the image does not say.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes the program. Returns only the reason why it could not.
pub(super) fn execute(process: &Process, home: &OsStr) -> Failure {
    let mut env = process.env.clone();
    if variable(process, "HOME").is_none() {
        env.push(("HOME".into(), home.into()));
    }
    execute_as_is(process, &env)
}

/// Becomes the program, with the environment `env` and nothing added. Returns only the reason why it could not.
pub(super) fn execute_as_is(process: &Process, env: &[(OsString, OsString)]) -> Failure {
    let Some(name) = process.args.first() else {
        return Step::Find.on("")(Errno::NOENT);
    };
    let search = variable(process, "PATH").unwrap_or_else(|| OsStr::new(PATH));
    let path = match find(name, search) {
        Ok(path) => path,
        Err(errno) => return Step::Find.on(name)(errno),
    };
    let err = execve(&path, &process.args, env);
    let interpreter_is_missing = err.kind() == io::ErrorKind::NotFound && path.exists();
    let step = if interpreter_is_missing { Step::Interpreter } else { Step::Execute };
    step.io(&path)(err)
}

/// Becomes the program at `path`. Returns only the reason why it could not.
///
/// [`std::process::Command`] would have a file that the kernel knows nothing of run by a shell.
fn execve(path: &Path, args: &[OsString], env: &[(OsString, OsString)]) -> io::Error {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| io::Error::from(Errno::INVAL));
    let prepared = || {
        let args = args.iter().map(|arg| text(arg.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        let env = env.iter().map(|(name, value)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat()));
        let env = env.collect::<Result<Vec<_>, _>>()?;
        // Rust programs ignore it, which would pass on to the program; a handler does not.
        signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::new(AtomicBool::new(false)))?;
        io::Result::Ok((text(path.as_os_str().as_bytes())?, args, env))
    };
    let (path, args, env) = match prepared() {
        Ok(prepared) => prepared,
        Err(err) => return err,
    };
    let pointers = |texts: &[CString]| {
        texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect::<Vec<*const c_char>>()
    };
    let (arg_pointers, env_pointers) = (pointers(&args), pointers(&env));
    #[expect(unsafe_code, reason = "no safe way to execute a program leaves out the shell")]
    // SAFETY: all three are NUL-terminated texts, the latter two in lists that end with a null pointer, and they
    // live until the call returns, which it does only if it failed.
    unsafe {
        libc::execve(path.as_ptr(), arg_pointers.as_ptr(), env_pointers.as_ptr());
    }
    io::Error::last_os_error()
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
