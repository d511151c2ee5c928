//! Why a runtime did not start the program, by what it has written down.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustix::io::Errno;
use serde::Deserialize;

use super::super::plan::{Failure, Plan, Step};
use super::{LOG, STATE};

/// How much of it is read, in bytes.
const MOST: u64 = 1 << 20;

/// A line of it.
#[derive(Debug, Deserialize)]
struct Line {
    level: Option<String>,
    msg: String,
}

/// The failure that the runtime of that container has told of, if it has.
pub(in super::super) fn failure(plan: &Plan, runtime: &str) -> Option<Failure> {
    let folder = Path::new(&plan.folder);
    if !folder.join(STATE).exists() {
        let subject = format!("{runtime}: it ended without a word, and before it made a container");
        return Some(Failure { step: Step::Runtime, subject, errno: 0 });
    }
    let mut text = String::new();
    let file = File::open(folder.join(LOG)).ok()?;
    file.take(MOST).read_to_string(&mut text).ok()?;
    let program =
        plan.process.args.first().map_or_else(String::new, |arg| arg.to_string_lossy().into_owned());
    judge(&text, &program, runtime)
}

fn judge(log: &str, program: &str, runtime: &str) -> Option<Failure> {
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    // What was an error comes last; lines without a level are crun's.
    let is_error = |line: &Line| matches!(line.level.as_deref(), None | Some("error" | "fatal"));
    let said = lines.rfind(is_error)?.msg;
    let lower = said.to_lowercase();
    // The words of runc, crun and youki, as docker takes them apart too.
    let starts = ["exec: ", "executable", "execve", "exec user process", "exec container process"];
    let at_start = starts.iter().any(|word| lower.contains(word));
    let (step, errno) = if at_start && lower.contains("not found") {
        (Step::Find, Errno::NOENT)
    } else if at_start && lower.contains("no such file") {
        (Step::Execute, Errno::NOENT)
    } else if at_start && lower.contains("permission denied") {
        (Step::Execute, Errno::ACCESS)
    } else if at_start && (lower.contains("exec format error") || lower.contains("is a directory")) {
        (Step::Execute, Errno::NOEXEC)
    } else {
        let subject = format!("{runtime}: {}", said.trim());
        return Some(Failure { step: Step::Runtime, subject, errno: 0 });
    };
    Some(Failure { step, subject: program.to_owned(), errno: errno.raw_os_error() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_runtime_says_is_told_apart() {
        let judged = |msg: &str| {
            let line = serde_json::json!({"level": "error", "msg": msg, "time": "x"}).to_string();
            let log = format!("{{\"level\":\"warning\",\"msg\":\"w\"}}\nnoise\n{line}\n");
            judge(&log, "/p", "runc").map(|failure| (failure.step, failure.errno))
        };
        let words = "runc run failed: unable to start container process: exec: \"/p\": ";
        assert_eq!(judged(&format!("{words}executable file not found in $PATH")), Some((Step::Find, 2)));
        assert_eq!(judged(&format!("{words}stat /p: no such file or directory")), Some((Step::Execute, 2)));
        assert_eq!(judged(&format!("{words}permission denied")), Some((Step::Execute, 13)));
        assert_eq!(judged("exec /p: exec format error: exec user process"), Some((Step::Execute, 8)));
        assert_eq!(judged("runc run failed: rootfs is broken"), Some((Step::Runtime, 0)));
        assert_eq!(judge("", "/p", "runc").map(|failure| failure.step), None);
        assert_eq!(
            judge("{\"level\":\"info\",\"msg\":\"x\"}\n", "/p", "runc").map(|failure| failure.step),
            None
        );
    }
}
