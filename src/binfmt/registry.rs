//! Registering with the kernel.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::entry::hex;
use super::{Entry, Kind, Rule, RuleError};

/// The kernel's registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BinfmtError {
    /// There is no registry.
    #[error("binfmt_misc is not mounted at `{}`", registry.display())]
    NotMounted {
        /// Where it was looked for.
        registry: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The registry is not ours to write.
    #[error("registering `{name}` in `{}` is not permitted", registry.display())]
    NotPermitted {
        /// The rule.
        name: String,
        /// Where.
        registry: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// An entry has the name.
    #[error("`{}` has a rule called `{name}` already", registry.display())]
    Exists {
        /// The rule.
        name: String,
        /// Where.
        registry: PathBuf,
    },
    /// The kernel finds the registration wrong.
    #[error("the kernel refuses the rule `{name}`: `{line}`")]
    Refused {
        /// The rule.
        name: String,
        /// What was written.
        line: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The interpreter, which `F` has the kernel open, cannot be opened.
    #[error("the kernel cannot open `{}`, the interpreter of the rule `{name}`", interpreter.display())]
    Interpreter {
        /// The rule.
        name: String,
        /// The interpreter.
        interpreter: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Writing failed in another way.
    #[error("registering `{name}` in `{}`", registry.display())]
    Write {
        /// The rule.
        name: String,
        /// Where.
        registry: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The new entry cannot be read.
    #[error("reading the entry `{}` back", path.display())]
    ReadBack {
        /// The entry.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// An entry has the name, and is not ours to change.
    #[error("`{}` has a handler called `{name}` that is not polyarch's", registry.display())]
    Foreign {
        /// The entry.
        name: String,
        /// Where.
        registry: PathBuf,
    },
    /// A file has the name, and is not ours to change.
    #[error("`{}` is there and was not written by polyarch", path.display())]
    ForeignFile {
        /// The file.
        path: PathBuf,
    },
    /// A file beside the registry cannot be read or written.
    #[error("keeping the handler in `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The registry cannot be mounted.
    #[error("mounting binfmt_misc at `{}`", registry.display())]
    Mount {
        /// Where.
        registry: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The kernel does not let an entry go.
    #[error("removing the handler `{}`", path.display())]
    Remove {
        /// The entry.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The rule is not one to be registered on this machine.
    #[error("the rule is refused")]
    Rule {
        /// Why.
        #[source]
        source: RuleError,
    },
    /// The registry is there and cannot be read.
    #[error("reading the registry's `{}`", path.display())]
    Survey {
        /// The registry or a file in it.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The new entry is not what was asked for. It was removed.
    #[error("the kernel holds another {field} for the rule `{name}`: expected `{expected}`, found `{found}`")]
    Differs {
        /// The rule.
        name: String,
        /// The line of the entry.
        field: &'static str,
        /// What was written.
        expected: String,
        /// What was read.
        found: String,
    },
}

impl BinfmtError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotMounted { registry, .. } => {
                Some(format!("as root: `mount -t binfmt_misc binfmt_misc {}`", registry.display()))
            }
            Self::NotPermitted { .. } => Some(
                "the host's handlers are root's; as an ordinary user, `polyarch binfmt exec` runs a command with private ones"
                    .into(),
            ),
            Self::Exists { name, registry } => {
                Some(format!("as root, to remove it: `echo -1 > {}`", registry.join(name).display()))
            }
            Self::Foreign { .. } => Some(
                "`polyarch binfmt status` shows it; `--name-prefix` gives the handlers of polyarch other names".into(),
            ),
            Self::ForeignFile { .. } => {
                Some("`--name-prefix` gives the handlers of polyarch, and so their files, other names".into())
            }
            Self::Mount { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Some(
                "mounting it is root's; as an ordinary user, `polyarch binfmt exec` runs a command with private handlers"
                    .into(),
            ),
            Self::Mount { .. } => {
                Some("the kernel must have it, built in or as a module: `modprobe binfmt_misc` as root".into())
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("persistent handlers are root's".into())
            }
            Self::Interpreter { .. } => Some("the interpreter must be an executable file".into()),
            Self::Refused { .. }
            | Self::Write { .. }
            | Self::ReadBack { .. }
            | Self::Survey { .. }
            | Self::File { .. }
            | Self::Remove { .. }
            | Self::Rule { .. }
            | Self::Differs { .. } => None,
        }
    }
}

/// Registers `rule` in the binfmt_misc file system mounted at `registry`, and reads the entry back.
///
/// Entries that come later match first. Whether the rule takes the host's own programs is not asked here:
/// see [`Rule::check_spares`].
///
/// # Errors
/// [`BinfmtError`]; after one, no entry of this call is left.
pub fn register(registry: &Path, rule: &Rule) -> Result<(), BinfmtError> {
    write(registry, rule)?;
    let path = registry.join(rule.name());
    let checked = read(&path).and_then(|entry| compare(&entry, rule));
    if checked.is_err() {
        // A rule that is not the one asked for can stop every program of the machine.
        let _ = fs::write(&path, "-1");
    }
    checked
}

fn write(registry: &Path, rule: &Rule) -> Result<(), BinfmtError> {
    let (name, registry) = (rule.name().to_owned(), registry.to_owned());
    let refused = |source: &io::Error| {
        matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
    };
    let mut file = match OpenOptions::new().write(true).open(registry.join("register")) {
        Ok(file) => file,
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return Err(BinfmtError::NotMounted { registry, source });
        }
        Err(source) if refused(&source) => return Err(BinfmtError::NotPermitted { name, registry, source }),
        Err(source) => return Err(BinfmtError::Write { name, registry, source }),
    };
    let line = rule.line();
    // The kernel takes one write as one registration.
    match file.write(&line) {
        Ok(written) if written == line.len() => Ok(()),
        Ok(_) => Err(BinfmtError::Write { name, registry, source: io::ErrorKind::WriteZero.into() }),
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
            Err(BinfmtError::Exists { name, registry })
        }
        Err(source) if source.kind() == io::ErrorKind::InvalidInput => {
            Err(BinfmtError::Refused { name, line: String::from_utf8_lossy(&line).into_owned(), source })
        }
        // What `open` and `exec` would say of the interpreter; without `F` the kernel does not look at it.
        Err(source)
            if rule.flags().fix_binary
                && source.raw_os_error() != Some(rustix::io::Errno::PERM.raw_os_error()) =>
        {
            Err(BinfmtError::Interpreter { name, interpreter: rule.interpreter().into(), source })
        }
        Err(source) if refused(&source) => Err(BinfmtError::NotPermitted { name, registry, source }),
        Err(source) => Err(BinfmtError::Write { name, registry, source }),
    }
}

fn read(path: &Path) -> Result<Entry, BinfmtError> {
    let text =
        super::status::read(path).map_err(|source| BinfmtError::ReadBack { path: path.into(), source })?;
    Ok(Entry::parse(path.file_name().unwrap_or_default(), &text))
}

/// Whether the kernel holds what was asked for.
pub(super) fn compare(entry: &Entry, rule: &Rule) -> Result<(), BinfmtError> {
    let mut flags = rule.flags();
    // The kernel says both of `C`.
    flags.open_binary |= flags.credentials;
    let state = if entry.enabled { "enabled" } else { "disabled" };
    let (offset, magic, mask) = match &entry.kind {
        Kind::Magic { offset, magic, mask } => (offset.to_string(), hex(magic), hex(mask)),
        _ => Default::default(),
    };
    let fields = [
        ("state", "enabled".to_owned(), state.to_owned()),
        ("interpreter", rule.interpreter().display().to_string(), entry.interpreter.display().to_string()),
        ("flags", flags.to_string(), entry.flags.to_string()),
        ("offset", "0".to_owned(), offset),
        ("magic", hex(rule.magic()), magic),
        ("mask", hex(rule.mask()), mask),
    ];
    for (field, expected, found) in fields {
        if expected != found {
            return Err(BinfmtError::Differs { name: rule.name().into(), field, expected, found });
        }
    }
    Ok(())
}
