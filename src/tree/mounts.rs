//! What is mounted where.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// One mount of this process's mount namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is.
    pub point: PathBuf,
    /// The kind of file system: `ext4`.
    pub kind: String,
    /// The options of the mount and of the file system, with commas between them.
    pub options: String,
}

/// All mounts that this process sees, those that cover others after them.
///
/// # Errors
/// Where `/proc` is not there to tell.
pub fn mounts() -> io::Result<Vec<Mount>> {
    fs::read("/proc/self/mountinfo").map(|table| parse(&table))
}

/// The mount that `path`, which is followed, lies in; `None` where it is not there or `/proc` is not.
#[must_use]
pub fn mount_of(path: &Path) -> Option<Mount> {
    let path = path.canonicalize().ok()?;
    let above = mounts().ok()?.into_iter().filter(|mount| path.starts_with(&mount.point));
    // Of two at one place the later one covers the other.
    above.max_by_key(|mount| mount.point.components().count())
}

/// Reads a table as proc_pid_mountinfo(5) describes it.
fn parse(table: &[u8]) -> Vec<Mount> {
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ');
            let point = unescape(fields.nth(4)?);
            let options = text(fields.next()?);
            // Optional fields end with a dash.
            let mut rest = fields.skip_while(|field| *field != b"-");
            let kind = text(rest.nth(1)?);
            let own = rest.nth(1).map(text).unwrap_or_default();
            Some(Mount { point, kind, options: format!("{options},{own}") })
        })
        .collect()
}

/// `\040` and its like, which stand for blanks and backslashes in the table.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(code) = code {
            bytes.push(code);
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_with_and_without_optional_fields() {
        let table = b"22 27 0:21 / /r/sys rw,nosuid - sysfs sysfs rw\n\
            24 22 0:3 / /r/sys/fs/a\\040b rw,noexec shared:7 master:1 - tmpfs none rw,size=1k\nbroken\n";
        let mount = |point: &str, kind: &str, options: &str| Mount {
            point: point.into(),
            kind: kind.into(),
            options: options.into(),
        };
        assert_eq!(
            parse(table),
            [
                mount("/r/sys", "sysfs", "rw,nosuid,rw"),
                mount("/r/sys/fs/a b", "tmpfs", "rw,noexec,rw,size=1k")
            ]
        );
    }
}
