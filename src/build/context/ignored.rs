//! The ignore file of a build.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::Context;
use super::error::ContextError;
use crate::containerfile::Ignore;

/// The ignore files of a context, of which the first that is there counts. The first is podman's, the second docker's.
pub const IGNORE_FILES: &[&str] = &[".containerignore", ".dockerignore"];

/// The most that an ignore file holds, in bytes.
const SIZE_LIMIT: u64 = 1 << 20;

/// The ignore file of a build: the one beside `containerfile` that has its name and `.dockerignore`, else that of the folder `context`.
///
/// # Errors
/// [`ContextError`] where one cannot be read or understood.
pub fn ignore_file(containerfile: Option<&Path>, context: &Context) -> Result<Ignore, ContextError> {
    if let Some(file) = containerfile {
        let mut name = file.as_os_str().to_owned();
        name.push(".dockerignore");
        let shown = name.to_string_lossy().into_owned();
        let failed = |source| ContextError::Read { path: shown.clone(), source };
        // A pipe is not waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&name, flags, Mode::empty()).map(File::from).map_err(io::Error::from);
        match opened {
            Ok(file) => {
                if !file.metadata().map_err(failed)?.is_file() {
                    return Err(failed(io::Error::other("it is no regular file")));
                }
                let mut text = Vec::new();
                file.take(SIZE_LIMIT + 1).read_to_end(&mut text).map_err(failed)?;
                return parsed(&shown, &text);
            }
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(source)),
        }
    }
    for name in IGNORE_FILES {
        if let Some(text) = context.read(name, SIZE_LIMIT)? {
            return parsed(name, &text);
        }
    }
    Ok(Ignore::default())
}

fn parsed(file: &str, text: &[u8]) -> Result<Ignore, ContextError> {
    if text.len() as u64 > SIZE_LIMIT {
        return Err(ContextError::TooMuch { path: file.into(), what: "bytes", limit: SIZE_LIMIT });
    }
    let text = String::from_utf8_lossy(text);
    Ignore::parse(&text).map_err(|(line, source)| ContextError::Ignore { file: file.into(), line, source })
}
