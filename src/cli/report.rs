//! Turns an error into one message: what was being done, why it failed, what to do next.

use std::error::Error;
use std::ffi::OsStr;
use std::io;
use std::process::ExitCode;

use super::exit;
use super::printer::{ERROR, HINT, line};
use super::table::shown;
use crate::binfmt::{BinfmtError, ExportError, RuleError};
use crate::build::BuildError;
use crate::build::context::ContextError;
use crate::bundle::BundleError;
use crate::bundle::routeros::RouterOsError;
use crate::check::{CheckError, PolicyError, UnknownRule, UnknownSeverity};
use crate::debian::DebianError;
use crate::elf::ElfError;
use crate::emulator::EmulatorError;
use crate::image::{ImageError, ReferenceError, RegistryError};
use crate::layer::LayerError;
use crate::rootfs::{RecipeError, RootfsError};
use crate::sandbox::{ConfineError, ExecError, SandboxError, VolumeError};
use crate::target::{PlatformError, TargetError};
use crate::tree::TreeError;

/// Prints `err` once, with its causes and hints, and gives the status to exit with.
pub(super) fn report(err: &anyhow::Error, failure: u8) -> ExitCode {
    // `polyarch inspect … | head` is no failure of ours.
    if err.chain().any(is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    let mut chain = err.chain();
    if let Some(first) = chain.next() {
        line(format_args!("{ERROR}error{ERROR:#}: {first}"));
    }
    for cause in chain {
        line(format_args!("  caused by: {cause}"));
    }
    let mut status = failure;
    for cause in err.chain() {
        if let Some(told) = cause.downcast_ref::<Told>() {
            status = told.status.unwrap_or(status);
        }
        let boxed = || cause.downcast_ref::<Box<SandboxError>>().map(AsRef::as_ref);
        if let Some(err) = cause.downcast_ref::<SandboxError>().or_else(boxed) {
            let found = run_status(err);
            // What is `run`'s word for a failure of its own is not that of other verbs that use containers.
            if failure == exit::RUN_FAILURE || matches!(err, SandboxError::Interrupted { .. }) {
                status = found;
            }
        }
        if let Some(BuildError::Interrupted { signal }) = cause.downcast_ref() {
            status = u8::try_from(128 + signal).unwrap_or(failure);
        }
        if let Some(err) = cause.downcast_ref::<ExecError>() {
            status = exec_status(err);
        }
    }
    print_hints(err.as_ref());
    ExitCode::from(status)
}

/// What a container that could not be run gives: as docker.
fn run_status(err: &SandboxError) -> u8 {
    match err {
        SandboxError::NotFound { .. } | SandboxError::Interpreter { .. } => exit::NOT_FOUND,
        SandboxError::NotExecutable { .. } => exit::NOT_EXECUTABLE,
        SandboxError::Interrupted { signal } => u8::try_from(128 + signal).unwrap_or(exit::RUN_FAILURE),
        _ => exit::RUN_FAILURE,
    }
}

/// What a command that could not be run with its own handlers gives: as docker.
fn exec_status(err: &ExecError) -> u8 {
    match err {
        ExecError::NotFound { .. } | ExecError::Interpreter { .. } => exit::NOT_FOUND,
        ExecError::NotExecutable { .. } => exit::NOT_EXECUTABLE,
        ExecError::Interrupted { signal } => u8::try_from(128 + signal).unwrap_or(exit::RUN_FAILURE),
        _ => exit::RUN_FAILURE,
    }
}

/// `err` and its causes in one line, for where a failure is one of many.
pub(super) fn one_line(err: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(err), |err: &&(dyn Error + 'static)| (*err).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Prints that something is wrong with `path`, which is one of several things asked for.
pub(super) fn print(path: &OsStr, message: &str) {
    line(format_args!("{ERROR}error{ERROR:#}: `{}`: {}", shown(path), shown(message)));
}

/// Prints what to do about `err`, where something is known.
pub(super) fn print_hints(err: &(dyn Error + 'static)) {
    let mut said = Vec::new();
    for cause in std::iter::successors(Some(err), |err: &&(dyn Error + 'static)| (*err).source()) {
        for hint in hints(cause) {
            // An error may hand on what its cause knows.
            if !said.contains(&hint) {
                line(format_args!("{HINT}hint{HINT:#}: {hint}"));
                said.push(hint);
            }
        }
    }
}

/// Prints what to do about something that is no error of ours.
pub(super) fn hint(message: &str) {
    line(format_args!("{HINT}hint{HINT:#}: {message}"));
}

/// Whether whoever read what we wrote has gone.
pub(super) fn is_broken_pipe(err: &(dyn Error + 'static)) -> bool {
    err.downcast_ref::<io::Error>().is_some_and(|err| err.kind() == io::ErrorKind::BrokenPipe)
}

/// What each room's error knows of a way out.
fn hints(err: &(dyn Error + 'static)) -> Vec<String> {
    if let Some(told) = err.downcast_ref::<Told>() {
        return told.hint.iter().cloned().collect();
    }
    /// Asks `err` for its hint if it is of one of these types.
    macro_rules! ask {
        ($($kind:ty),* $(,)?) => {
            $(if let Some(err) = err.downcast_ref::<$kind>() {
                return err.hint().into_iter().collect();
            }
            if let Some(err) = err.downcast_ref::<Box<$kind>>() {
                return err.hint().into_iter().collect();
            })*
        };
    }
    ask!(
        BinfmtError,
        BuildError,
        RecipeError,
        RootfsError,
        BundleError,
        RouterOsError,
        CheckError,
        ConfineError,
        ContextError,
        DebianError,
        ElfError,
        EmulatorError,
        ExecError,
        ExportError,
        ImageError,
        LayerError,
        PlatformError,
        PolicyError,
        ReferenceError,
        RegistryError,
        RuleError,
        SandboxError,
        TargetError,
        TreeError,
        UnknownRule,
        UnknownSeverity,
        VolumeError,
    );
    Vec::new()
}

/// A failure found by a verb itself, with what to do and, where it is not the usual, the exit status.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Told {
    pub(super) message: String,
    pub(super) hint: Option<String>,
    pub(super) status: Option<u8>,
}

impl Told {
    /// `message`, and what to do next.
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()), status: None }
    }
}
