//! The exit statuses of the program. They are public: scripts rely on them.

use std::process::ExitCode;

/// How a verb ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExitStatus {
    /// 0: done, or nothing found.
    Success,
    /// 1: a check or a comparison found something.
    Found,
    /// 2: wrong usage, bad input or a failure.
    Failure,
    /// What a program that we ran ended with: its own status, or 128 plus the signal's number.
    External(u8),
}

/// A check or a comparison found something.
const FOUND: u8 = 1;
/// Wrong usage, bad input or a failure.
pub(super) const FAILURE: u8 = 2;
/// `run` and `binfmt exec`: polyarch itself failed, or was called wrongly, before the program started.
pub(super) const RUN_FAILURE: u8 = 125;
/// `run` and `binfmt exec`: the program was found and could not be executed.
pub(super) const NOT_EXECUTABLE: u8 = 126;
/// `run` and `binfmt exec`: the program was not found.
pub(super) const NOT_FOUND: u8 = 127;

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(match status {
            ExitStatus::Success => 0,
            ExitStatus::Found => FOUND,
            ExitStatus::Failure => FAILURE,
            ExitStatus::External(status) => status,
        })
    }
}

/// What a wrong command line exits with: `run` and `binfmt exec` keep 1 to 124 for the program that they
/// run, as docker does, so their usage errors are 125 too.
pub(super) fn usage_status(args: &[std::ffi::OsString]) -> ExitCode {
    let mut verbs = args.iter().skip(1).filter(|arg| !arg.as_encoded_bytes().starts_with(b"-"));
    let status = match verbs.next() {
        Some(verb) if verb == "run" => RUN_FAILURE,
        Some(verb) if verb == "binfmt" && verbs.next().is_some_and(|verb| verb == "exec") => RUN_FAILURE,
        _ => FAILURE,
    };
    ExitCode::from(status)
}
