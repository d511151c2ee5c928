//! `binfmt exec`: a command with handlers of its own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::emulator::find_or_fetch;
use super::super::exit::ExitStatus;
use super::super::printer::Printer;
use super::super::{dirs, report};
use super::{is_native, named, tell_what_is_not_carried, warn};
use crate::binfmt::{self, REGISTRY};
use crate::emulator::{self, Emulator, EmulatorError, Options};
use crate::sandbox::{Exec, ExecError, Ids, Registration, Signals};
use crate::target::{Catalogue, Guest, Platform};

/// Run a command with private handlers of foreign programs, as an ordinary user
///
/// The command (a shell, chroot, mmdebstrap, `make check`, `cargo test`) runs in a user and mount namespace with a binfmt_misc
/// of its own; the host's stays as it is. It sees the same files, processes and network, and has the same working directory,
/// environment, terminal and signals. The host's handlers work in it too; what they have with the flag `F` comes first, unless
/// a target is named. What the command leaves running ends with it.
///
/// Without --target, every guest whose emulator is on the host or in the cache has a handler; nothing is fetched. Handlers pass
/// no CPU model.
///
/// Inside, you are root, with the ids that /etc/subuid and /etc/subgid grant you. The exit status is the command's own, or 128
/// and the number of the signal that ended it. 125 says that polyarch failed, 126 that the command cannot be executed, 127 that
/// it was not found.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Targets or guests to have handlers for, their emulators fetched where missing [default: all that are at hand]
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    target: Vec<String>,

    /// Stay the user that you are, without rights inside, instead of root
    #[arg(long)]
    keep_id: bool,

    /// Run the programs of the target with this static qemu-user program
    #[arg(long, value_name = "PATH", requires = "target")]
    emulator: Option<PathBuf>,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, num_args = 1.., trailing_var_arg = true)]
    command: Vec<OsString>,
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let host = Platform::host();
        let cache = dirs::cache()?;
        let signals = Signals::catch().map_err(|source| ExecError::Start { source })?;
        let search: Vec<PathBuf> = emulator::SEARCH.iter().map(PathBuf::from).collect();
        let options = Options { given: self.emulator, cache: &cache, search: &search };

        let (wanted, defaults) = if self.target.is_empty() {
            (Vec::new(), at_hand(&host, &options))
        } else {
            tell_what_is_not_carried(&self.target, printer);
            let guests = named(&self.target, &host)?;
            let find = |guest| Ok((guest, find_or_fetch(guest, &host, options.clone(), printer)?));
            (guests.into_iter().map(find).collect::<anyhow::Result<Vec<_>>>()?, Vec::new())
        };
        // A registry that cannot be read is no reason to do without one of our own.
        let outer = binfmt::status(std::path::Path::new(REGISTRY));
        if let Err(err) = &outer {
            warn(format_args!("the host's handlers are not carried over: {}", report::one_line(err)));
        }
        let (registrations, left_out) = Registration::all(outer.ok().as_ref(), &defaults, &wanted);
        for name in left_out {
            printer.verbose(format_args!(
                "the host's handler `{name}` cannot be carried over: it is not understood, or its interpreter is out of sight"
            ));
        }
        for (guest, emulator) in wanted.iter().chain(&defaults) {
            printer.verbose(format_args!(
                "programs for {} run through `{}`",
                guest.name,
                emulator.path.display()
            ));
        }
        let (ids, shortage) = Ids::of_caller();
        let exec = Exec { args: self.command, registrations, keep_id: self.keep_id, ids, shortage };
        Ok(ExitStatus::External(exec.run(&signals, &printer)?))
    }
}

/// The emulators that are on the host or in the cache, of all guests that the host does not run itself.
fn at_hand(host: &Platform, options: &Options<'_>) -> Vec<(&'static Guest, Emulator)> {
    let guests: Vec<&Guest> =
        Catalogue::builtin().guests().iter().filter(|guest| !is_native(guest, host)).collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    // Each is read whole for its digest and asked for its version, which takes a while for thirty.
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(8) {
            scope.spawn(|| {
                while let Some(guest) = guests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match emulator::find(guest, host, options) {
                        Ok(emulator) => {
                            found
                                .lock()
                                .unwrap_or_else(std::sync::PoisonError::into_inner)
                                .push((*guest, emulator));
                        }
                        Err(EmulatorError::NotFound { .. }) => {}
                        Err(err) => {
                            warn(format_args!(
                                "programs for {} will not run: {}",
                                guest.name,
                                report::one_line(&err)
                            ));
                        }
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    found
}
