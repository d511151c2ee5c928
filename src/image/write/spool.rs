//! Files that appear whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// What leftovers of a killed process begin with.
pub(in crate::image) const TEMPORARY: &str = ".polyarch-";

/// A file that is being written and has no name yet, so that nothing stays of it where the process ends.
#[derive(Debug)]
pub(super) struct Spool {
    pub(super) file: File,
    folder: PathBuf,
    /// On file systems that know no files without a name.
    named: Option<tempfile::TempPath>,
}

impl Spool {
    /// A new file, to appear in `folder`.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(folder, flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => Ok(Self { file: file.into(), folder: folder.into(), named: None }),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
                let (file, path) = tempfile::Builder::new()
                    .prefix(TEMPORARY)
                    .permissions(Permissions::from_mode(0o666))
                    .tempfile_in(folder)?
                    .into_parts();
                Ok(Self { file, folder: folder.into(), named: Some(path) })
            }
            Err(err) => Err(err.into()),
        }
    }

    /// Gives it the name `path`, in place of what is there.
    pub(super) fn keep(mut self, path: &Path) -> io::Result<()> {
        let named = match self.named.take() {
            Some(named) => named,
            None => self.link()?,
        };
        named.persist(path).map_err(|err| err.error)
    }

    /// Gives it the name `path`, where what is there already under that name has the same content: a blob.
    pub(super) fn keep_once(mut self, path: &Path) -> io::Result<()> {
        if self.named.is_none() {
            match self.link_as(path) {
                Err(err) if err.kind() == ErrorKind::AlreadyExists => {
                    // A damaged one of the wrong length is replaced.
                    if fs::metadata(path).is_ok_and(|there| {
                        there.is_file() && self.file.metadata().is_ok_and(|own| own.len() == there.len())
                    }) {
                        return Ok(());
                    }
                    self.named = Some(self.link()?);
                }
                other => return other,
            }
        }
        self.keep(path)
    }

    fn link_as(&self, path: &Path) -> io::Result<()> {
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// A name for the moment.
    fn link(&self) -> io::Result<tempfile::TempPath> {
        let made =
            tempfile::Builder::new().prefix(TEMPORARY).make_in(&self.folder, |path| self.link_as(path))?;
        Ok(made.into_temp_path())
    }
}
