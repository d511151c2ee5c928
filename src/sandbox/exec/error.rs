//! Why a command could not be run with handlers of its own.

use std::io;

use super::super::error::{cannot_execute_hint, user_namespace_hint};
use super::super::plan::{Failure, Step};

/// A command could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The processes beside the command cannot be started or waited for.
    #[error("starting the command's namespaces")]
    Start {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel grants no user namespace.
    #[error("no user namespace is to be had, and private handlers need one")]
    UserNamespace {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The namespace gets no ids.
    #[error("giving the user namespace its ids")]
    Ids {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel has no binfmt_misc for user namespaces, and does not let the command be traced.
    #[error(
        "the kernel has no private binfmt_misc, and tracing is not permitted: the command cannot have handlers of its own"
    )]
    NoPrivateRegistry {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A handler could not be registered.
    #[error("registering the private handler of `{subject}`")]
    Register {
        /// The guest, and what the registry says.
        subject: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another step failed.
    #[error("{step} `{subject}` for the command")]
    Prepare {
        /// What was being done.
        step: &'static str,
        /// To what.
        subject: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program is not there.
    #[error("the program `{program}` was not found")]
    NotFound {
        /// As given.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program is there, and what should run it is not.
    #[error("`{program}`, which is there, needs an interpreter that is not")]
    Interpreter {
        /// Its path.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program is there and does not run.
    #[error("the program `{program}` cannot be executed")]
    NotExecutable {
        /// Its path.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A signal ended the preparation.
    #[error("interrupted by signal {signal} before the command started")]
    Interrupted {
        /// Its number.
        signal: i32,
    },
}

impl ExecError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UserNamespace { .. } => user_namespace_hint(),
            Self::NoPrivateRegistry { source } if source.kind() == io::ErrorKind::NotFound => {
                "the kernel's module may have to be loaded: `modprobe binfmt_misc` as root".into()
            }
            Self::NoPrivateRegistry { .. } => "Linux 6.7 or newer has it; on an older one \
                 `polyarch binfmt register` gives the host handlers, as root"
                .into(),
            Self::Ids { .. } => user_namespace_hint(),
            Self::Register { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "the emulator must be executable: is it on a file system mounted `noexec`?".into()
            }
            Self::Interpreter { .. } => "`polyarch inspect` of the program shows what it needs".into(),
            Self::NotExecutable { source, .. } => cannot_execute_hint(source),
            _ => return None,
        })
    }
}

impl From<Failure> for ExecError {
    fn from(failure: Failure) -> Self {
        let Failure { step, subject, errno } = failure;
        let source = io::Error::from_raw_os_error(errno);
        let not_found = source.kind() == io::ErrorKind::NotFound;
        let step = match step {
            Step::UserNamespace => return Self::UserNamespace { source },
            Step::Handlers => return Self::NoPrivateRegistry { source },
            Step::Register => return Self::Register { subject, source },
            Step::Find | Step::Execute if not_found => return Self::NotFound { program: subject, source },
            Step::Find | Step::Execute => return Self::NotExecutable { program: subject, source },
            Step::Interpreter => return Self::Interpreter { program: subject, source },
            Step::Start => return Self::Start { source },
            Step::Namespaces => "making the namespaces",
            Step::Mount => "mounting",
            Step::Emulator => "opening the emulator",
            _ => "preparing",
        };
        Self::Prepare { step, subject, source }
    }
}
