//! Handlers of ours in a registry: put in, changed and taken out, without touching those of others.
//!
//! A handler is called `PREFIX` and its guest's name. An entry of such a name is ours if the registration that was written down
//! beside it ([`RECORDS`]) is what the kernel holds, or, under the prefix that is ours alone, if it takes exactly what the rule of
//! that guest takes. Any other is somebody else's, and stays.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MountFlags};
use serde::Serialize;

use super::registry::{compare, register};
use super::status::{is_mounted, own_programs, read};
use super::{BinfmtError, Entry, Kind, Rule};
use crate::target::Guest;

/// What our handlers are called, before the guest's name.
pub const PREFIX: &str = "polyarch-";
/// Where registrations are written down, until the machine's next start.
pub const RECORDS: &str = "/run/polyarch/binfmt";
/// Where handlers are written down that are to be there after each start of the machine; see binfmt.d(5).
pub const BINFMT_D: &str = "/etc/binfmt.d";
/// Where the emulators of such handlers are kept.
pub const EMULATORS: &str = "/usr/local/libexec/polyarch";

/// The first line of our files in [`BINFMT_D`], by which they are told.
const HEAD: &str =
    "# Written by `polyarch binfmt register --persistent`; `polyarch binfmt unregister` removes it.";
/// The longest file of a record, in bytes.
const RECORD_MOST: u64 = 1 << 16;

/// What became of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Outcome {
    /// It is new.
    Registered,
    /// It took the place of an older one of ours.
    Replaced,
    /// It was there as it should be.
    Unchanged,
    /// It is gone.
    Removed,
    /// There was none.
    Absent,
}

/// Mounts a binfmt_misc at `registry` where none is. The kernel's module is loaded by that, where it is one.
///
/// # Errors
/// [`BinfmtError::Mount`].
pub fn mount(registry: &Path) -> Result<bool, BinfmtError> {
    if is_mounted(registry) {
        return Ok(false);
    }
    mount_over(registry)
        .map(|()| true)
        .map_err(|errno| BinfmtError::Mount { registry: registry.into(), source: errno.into() })
}

/// Mounts a binfmt_misc at `registry`, over what is there. In a user namespace of its own it is one of its own, if the kernel
/// has such (Linux 6.7).
///
/// # Errors
/// The system's.
pub fn mount_over(registry: &Path) -> Result<(), Errno> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mount = || rustix::mount::mount("binfmt_misc", registry, "binfmt_misc", flags, None);
    match mount() {
        // The folder comes with the kernel's module, which comes when the file system is asked for.
        Err(Errno::NOENT) => {
            rustix::mount::fsopen("binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC)?;
            mount()
        }
        other => other,
    }
}

/// Makes sure that `rule` takes none of the host's own programs.
///
/// # Errors
/// [`BinfmtError::Rule`].
pub fn spare_host(rule: &Rule) -> Result<(), BinfmtError> {
    own_programs()
        .iter()
        .try_for_each(|(program, head)| rule.check_spares(program, head))
        .map_err(|source| BinfmtError::Rule { source })
}

/// Has `rule`, which is `guest`'s, in `registry`: registers it, or leaves or replaces an older one of ours.
///
/// # Errors
/// [`BinfmtError::Foreign`] where an entry of its name is not ours; others as [`register`]. One that was there before is there
/// after an error.
pub fn install(registry: &Path, guest: &Guest, rule: &Rule) -> Result<Outcome, BinfmtError> {
    spare_host(rule)?;
    let outcome = match entry(registry, rule.name())? {
        None => {
            register(registry, rule)?;
            Outcome::Registered
        }
        Some(there) if !is_ours(&there, guest) => return Err(foreign(registry, rule.name())),
        Some(there) if compare(&there, rule).is_ok() => Outcome::Unchanged,
        Some(there) => {
            erase(registry, rule.name())?;
            if let Err(err) = register(registry, rule) {
                // What was there is better than nothing. Where it cannot be put back, the first failure says why.
                let line = there.line().unwrap_or_default();
                let _ = fs::write(registry.join("register"), line);
                return Err(err);
            }
            Outcome::Replaced
        }
    };
    // Under our own prefix it is told without, and in a namespace the folder may be out of reach.
    let _ = fs::create_dir_all(RECORDS).and_then(|()| fs::write(record(rule.name()), rule.line()));
    Ok(outcome)
}

/// Takes our handler called `name`, which is `guest`'s, out of `registry`.
///
/// # Errors
/// [`BinfmtError::Foreign`] where it is not ours; others where the kernel does not let it go.
pub fn uninstall(registry: &Path, guest: &Guest, name: &str) -> Result<Outcome, BinfmtError> {
    let outcome = match entry(registry, name)? {
        None => Outcome::Absent,
        Some(there) if !is_ours(&there, guest) => return Err(foreign(registry, name)),
        Some(_) => {
            erase(registry, name)?;
            Outcome::Removed
        }
    };
    let _ = fs::remove_file(record(name));
    Ok(outcome)
}

fn foreign(registry: &Path, name: &str) -> BinfmtError {
    BinfmtError::Foreign { name: name.into(), registry: registry.into() }
}

fn record(name: &str) -> PathBuf {
    Path::new(RECORDS).join(name)
}

fn entry(registry: &Path, name: &str) -> Result<Option<Entry>, BinfmtError> {
    let path = registry.join(name);
    match read(&path) {
        Ok(text) => Ok(Some(Entry::parse(name, &text))),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(BinfmtError::Survey { path, source }),
    }
}

fn is_ours(entry: &Entry, guest: &Guest) -> bool {
    let takes_the_guests = matches!(&entry.kind, Kind::Magic { offset: 0, magic, mask }
        if *magic == guest.binfmt.magic && *mask == guest.binfmt.mask);
    let name = entry.name.to_string_lossy();
    (takes_the_guests && *name == format!("{PREFIX}{}", guest.name)) || is_written_down(entry)
}

/// Whether the record beside it, or the file in [`BINFMT_D`], says what the kernel holds.
fn is_written_down(entry: &Entry) -> bool {
    let Some(line) = entry.line() else { return false };
    let name = entry.name.to_string_lossy();
    let files = [record(&name), persistent_file(&name)];
    files.iter().any(|file| {
        let Ok(text) = bounded(file) else { return false };
        text.split(|byte| *byte == b'\n').any(|written| same(written, &line))
    })
}

/// Whether two registrations are the same but for the order of their flags and for `O`, which the kernel adds to `C`.
fn same(a: &[u8], b: &[u8]) -> bool {
    let parts = |line: &[u8]| {
        let delimiter = *line.first()?;
        let at = line.iter().rposition(|byte| *byte == delimiter)?;
        let mut flags: Vec<u8> = line[at..].to_vec();
        if flags.contains(&b'C') && !flags.contains(&b'O') {
            flags.push(b'O');
        }
        flags.sort_unstable();
        Some((line[..at].to_vec(), flags))
    };
    parts(a).is_some() && parts(a) == parts(b)
}

fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut text = Vec::new();
    fs::File::open(path)?.take(RECORD_MOST).read_to_end(&mut text)?;
    Ok(text)
}

fn erase(registry: &Path, name: &str) -> Result<(), BinfmtError> {
    let path = registry.join(name);
    fs::write(&path, "-1").map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            BinfmtError::NotPermitted { name: name.into(), registry: registry.into(), source }
        }
        _ => BinfmtError::Remove { path, source },
    })
}

/// The file that has the handler called `name` registered at each start.
#[must_use]
pub fn persistent_file(name: &str) -> PathBuf {
    Path::new(BINFMT_D).join(format!("{name}.conf"))
}

/// Makes sure that [`persist`] would write over nobody's file.
///
/// # Errors
/// [`BinfmtError::ForeignFile`].
pub fn may_persist(name: &str) -> Result<(), BinfmtError> {
    spare_foreign(&persistent_file(name))
}

/// Writes down that `rule` is to be registered at each start.
///
/// # Errors
/// [`BinfmtError::ForeignFile`] where the file is there and not ours, [`BinfmtError::File`] where it cannot be written.
pub fn persist(rule: &Rule) -> Result<PathBuf, BinfmtError> {
    let file = persistent_file(rule.name());
    let failed = |source| BinfmtError::File { path: file.clone(), source };
    spare_foreign(&file)?;
    fs::create_dir_all(BINFMT_D).map_err(failed)?;
    let mut text = format!("{HEAD}\n").into_bytes();
    text.extend(rule.line());
    text.push(b'\n');
    write_whole(&file, &text, 0o644).map_err(failed)?;
    Ok(file)
}

/// Removes what [`persist`] and [`keep_emulator`] left for the handler called `name` of `guest`; whether there was anything.
///
/// # Errors
/// As [`persist`].
pub fn forget(guest: &Guest, name: &str) -> Result<bool, BinfmtError> {
    let file = persistent_file(name);
    spare_foreign(&file)?;
    // Our copy of the emulator goes with the last file that names it.
    let emulator = Path::new(EMULATORS).join(format!("qemu-{}", guest.name));
    let was_there = remove(&file)?;
    if was_there && !is_named(&emulator) {
        remove(&emulator)?;
        // Not empty while other guests' are in it.
        let _ = fs::remove_dir(EMULATORS);
    }
    Ok(was_there)
}

fn remove(path: &Path) -> Result<bool, BinfmtError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(BinfmtError::File { path: path.into(), source }),
    }
}

/// Whether a file of [`BINFMT_D`] names `emulator`.
fn is_named(emulator: &Path) -> bool {
    let Ok(folder) = fs::read_dir(BINFMT_D) else { return false };
    folder.flatten().any(|file| {
        let text = bounded(&file.path()).unwrap_or_default();
        memchr::memmem::find(&text, emulator.as_os_str().as_bytes()).is_some()
    })
}

fn spare_foreign(file: &Path) -> Result<(), BinfmtError> {
    match bounded(file) {
        Ok(text) if text.starts_with(HEAD.as_bytes()) => Ok(()),
        Ok(_) => Err(BinfmtError::ForeignFile { path: file.into() }),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(BinfmtError::File { path: file.into(), source }),
    }
}

/// Where the emulator at `path` can stay for a persistent handler: there, if nobody but root can change it and it is not in
/// `cache`, which may be emptied; else in a copy of ours in [`EMULATORS`].
///
/// # Errors
/// [`BinfmtError::File`] where the copy cannot be made.
pub fn keep_emulator(guest: &Guest, path: &Path, cache: &Path) -> Result<PathBuf, BinfmtError> {
    let is_stable = !path.starts_with(cache) && path.ancestors().all(is_roots_alone);
    if is_stable || path.starts_with(EMULATORS) {
        return Ok(path.into());
    }
    let copy = Path::new(EMULATORS).join(format!("qemu-{}", guest.name));
    let failed = |source| BinfmtError::File { path: copy.clone(), source };
    fs::create_dir_all(EMULATORS).map_err(failed)?;
    let bytes = fs::read(path).map_err(|source| BinfmtError::File { path: path.into(), source })?;
    // One that runs cannot be written to, and keeps on being the old one.
    write_whole(&copy, &bytes, 0o755).map_err(failed)?;
    Ok(copy)
}

/// Whether nobody but root can change what is at `path`.
fn is_roots_alone(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|there| there.uid() == 0 && there.mode() & 0o022 == 0)
}

/// Writes a file that is there as a whole or not at all.
fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    use io::Write as _;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".polyarch-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registrations_are_compared_but_for_the_order_of_flags() {
        assert!(same(b":a:M::\\x01:\\xff:/q:PF", b":a:M::\\x01:\\xff:/q:FP"));
        assert!(same(b":a:M::\\x01:\\xff:/q:C", b":a:M::\\x01:\\xff:/q:OC"));
        assert!(!same(b":a:M::\\x01:\\xff:/q:P", b":a:M::\\x01:\\xff:/q:PF"));
        assert!(!same(b":a:M::\\x01:\\xff:/q:P", b":a:M::\\x01:\\xff:/r:P"));
        assert!(!same(b"", b""));
    }
}
