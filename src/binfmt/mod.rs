//! Rules of binfmt_misc: by which bytes the kernel tells a guest's programs, and what it runs them with.
//!
//! A wrong rule can catch every program of the machine, so a [`Rule`] is checked when it is made, can be
//! held against the host's own programs ([`Rule::check_spares`]), and is read back after [`register`].
//!
//! Source of the kernel's behaviour: `Documentation/admin-guide/binfmt-misc.rst` and `fs/binfmt_misc.c`.

mod boot;
mod entry;
mod export;
mod handler;
mod line;
mod registry;
mod rule;
mod status;

pub use boot::{Boot, tell_boot};
pub use entry::{Entry, EntryFlags, Kind};
pub use export::{ExportError, Exported, Form, export};
pub use handler::{
    BINFMT_D, EMULATORS, Outcome, PREFIX, RECORDS, forget, install, keep_emulator, may_persist, mount,
    mount_over, persist, persistent_file, spare_host, uninstall,
};
pub use registry::{BinfmtError, register};
pub use rule::{Flags, Rule, RuleError};
pub use status::{Concern, REGISTRY, Service, Status, Surveyed, is_mounted, status};
