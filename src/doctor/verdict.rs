//! Why something does not start.

use serde::Serialize;

/// One reason why something does not start, or will not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Which of the reasons that docs/doctor.md lists.
    pub id: &'static str,
    /// The path that it is about, as the program would see it; `None` where it is about none.
    pub path: Option<String>,
    /// Why, in one sentence, with what was found.
    pub message: String,
    /// What to do, in one sentence.
    pub help: String,
}

impl Verdict {
    pub(super) fn new(
        id: &'static str,
        path: Option<&std::path::Path>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let path = path.map(|path| path.display().to_string());
        Self { id, path, message: message.into(), help: help.into() }
    }
}

/// All reasons, as docs/doctor.md lists them.
pub const REASONS: &[&str] = &[
    "bom",
    "circular-link",
    "crlf",
    "damaged",
    "empty",
    "env-program-missing",
    "foreign-system",
    "group-unknown",
    "handler-missing",
    "handler-without-f",
    "is-folder",
    "library-damaged",
    "library-foreign",
    "library-missing",
    "library-not-in-cache",
    "library-version",
    "loader-foreign",
    "loader-missing",
    "loader-not-executable",
    "loader-of-other-libc",
    "machine-unknown",
    "no-emulator",
    "no-program",
    "no-shebang",
    "no-way",
    "noexec",
    "not-executable",
    "not-found",
    "not-on-path",
    "not-program",
    "other-architecture",
    "script-interpreter-missing",
    "script-nesting",
    "special-file",
    "unreadable",
    "user-unknown",
    "workdir-not-folder",
];
