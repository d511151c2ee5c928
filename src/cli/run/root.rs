//! `run`: the root file system, and whose ids the container has.

use super::super::printer::Printer;
use crate::progress::Progress as _;
use crate::sandbox::{Ids, SandboxError, Shortage, Snapshot};

/// Calls `attempt` with the ids that the caller has; once more with the caller's own alone, where the others are refused.
pub(super) fn with_ids<T>(
    mut attempt: impl FnMut(&Ids, Option<&Shortage>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (ids, shortage) = Ids::of_caller();
    match attempt(&ids, shortage.as_ref()) {
        Err(err) if !ids.is_single() => match err.downcast_ref() {
            Some(SandboxError::IdsRefused { shortage }) => attempt(&ids.single(), Some(shortage)),
            _ => Err(err),
        },
        other => other,
    }
}

/// Says what of the image the container does not have.
pub(super) fn tell(snapshot: &Snapshot, shortage: Option<&Shortage>, printer: Printer) {
    let skipped = &snapshot.skipped;
    if let Some(Shortage(reason)) = shortage.filter(|_| skipped.owners > 0) {
        printer.warn(&format!(
            "the container has one user and one group, root, and {} files of others are root's: {reason}; programs that change \
             users fail (apt needs `-o APT::Sandbox::User=root`). `polyarch doctor` says how to get more ids",
            skipped.owners
        ));
    }
    if !snapshot.is_new {
        return;
    }
    if skipped.devices > 0 {
        printer.note(&format!("{} device nodes of the image were left out", skipped.devices));
    }
    if skipped.attributes > 0 {
        printer.note(&format!("extended attributes of {} files were left out", skipped.attributes));
    }
}
