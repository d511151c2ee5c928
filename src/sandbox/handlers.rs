//! Which emulators a container needs.

use std::path::PathBuf;

use super::{Emulator, Handler, SandboxError, debug};
use crate::emulator::{self, EmulatorError, Options};
use crate::image::{ImageConfiguration, labels};
use crate::target::{Catalogue, Guest, Platform};

/// The longest path of an emulator that the kernel registers, in bytes.
const PATH_LIMIT: usize = 127;

/// The emulators of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handlers {
    /// One for each guest.
    pub list: Vec<Handler>,
    /// Whether the image's own programs need one.
    pub needed: bool,
    /// Whether the image's first program runs through one, be it by a handler or by the entry point.
    pub emulated: bool,
}

/// What emulators are given besides the programs they run.
#[derive(Debug, Clone, Default)]
pub struct Tuning {
    /// The target that was named, and QEMU's name of its guest.
    pub target: Option<(String, String)>,
    /// The CPU model of the image's own programs.
    pub cpu: Option<String>,
    /// The size of a guest's stack, in bytes.
    pub stack_size: Option<u64>,
    /// Variables that programs have and emulators do not, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// Whether the first program waits for a debugger, see [`Debug`](super::Debug).
    pub gdb: bool,
    /// Whether system calls are written down.
    pub calls: bool,
}

impl Handlers {
    /// What an image with this config and platform needs on this machine: an emulator for the platform where that is foreign, and a
    /// bundle's own for the program that it carries. `options.given` replaces both. The guest `wanted` has one, too, and all
    /// others that the machine has an emulator for. `find` gives the emulators that the container cannot do without.
    ///
    /// # Errors
    /// Those of `find`, and [`EmulatorError`] where an emulator that is given is of no use.
    pub fn of<E: From<EmulatorError>>(
        config: &ImageConfiguration,
        platform: &Platform,
        options: &Options<'_>,
        wanted: Option<&str>,
        mut find: impl FnMut(&'static Guest) -> Result<emulator::Emulator, E>,
    ) -> Result<Self, E> {
        let host = Platform::host();
        let catalogue = Catalogue::builtin();
        // A handler for a guest that the host runs itself would catch the host's own programs.
        let own = catalogue.target(&host.to_string()).ok();
        let native = |guest: &Guest| own.is_some_and(|own| own.runs_natively(&guest.name));
        let mut handlers = Self::default();
        let labels = config.config().as_ref().and_then(|config| config.labels().clone()).unwrap_or_default();

        if let Some(guest) = labels.get(labels::GUEST).and_then(|name| known(catalogue, name))
            && !native(guest)
            && let Some(path) = labels.get(labels::EMULATOR).filter(|path| is_plain(path))
        {
            let emulator = match &options.given {
                // Checked as any emulator that is given.
                Some(_) => Emulator::Host(emulator::find(guest, &host, options)?.path.into()),
                None => Emulator::Inside(path.into()),
            };
            handlers.list.push(Handler { replaces: Some(path.into()), ..handler(guest, emulator) });
            handlers.emulated = true;
        }
        let target = catalogue.target(&platform.to_string()).ok();
        let guest = target.and_then(|target| known(catalogue, &target.qemu.guest));
        if *platform != host
            && let Some(guest) = guest.filter(|guest| !native(guest))
            && !handlers.list.iter().any(|handler| handler.guest == guest.name)
        {
            let found = find(guest)?;
            handlers.list.push(handler(guest, Emulator::Host(found.path.into())));
            handlers.needed = true;
            handlers.emulated = true;
        }
        if let Some(guest) = wanted.and_then(|name| known(catalogue, name)).filter(|guest| !native(guest))
            && !handlers.list.iter().any(|handler| handler.guest == guest.name)
        {
            let found = find(guest)?;
            handlers.list.push(handler(guest, Emulator::Host(found.path.into())));
            handlers.needed = true;
        }
        // A container may hold programs for more machines than one.
        let mut fitting = emulator::fitting(options.cache)?;
        for guest in catalogue.guests().iter().filter(|guest| !native(guest)) {
            if !handlers.list.iter().any(|handler| handler.guest == guest.name)
                && let Some(path) = emulator::own(guest, options.search, &mut fitting)
            {
                let handler = handler(guest, Emulator::Host(path.into()));
                handlers.list.push(Handler { spare: true, ..handler });
            }
        }
        Ok(handlers)
    }

    /// Has the emulators run as `tuning` says. The CPU model is that of the target's guest, else of the image's own.
    ///
    /// # Errors
    /// [`SandboxError`] where there is no such guest in the container.
    pub fn tune(&mut self, tuning: &Tuning) -> Result<(), SandboxError> {
        let main = |handler: &&mut Handler| match &tuning.target {
            Some((_, guest)) => handler.guest == *guest,
            None => !handler.spare,
        };
        if let Some((target, expected)) = &tuning.target
            && let Some(own) = self.list.first().filter(|first| self.emulated && first.guest != *expected)
        {
            let (target, expected) = (target.clone(), expected.clone());
            return Err(SandboxError::OtherGuest { target, expected, found: own.guest.clone() });
        }
        if let Some(model) = &tuning.cpu {
            let Some(handler) = self.list.iter_mut().find(main) else {
                return Err(SandboxError::NoGuest { option: "--cpu" });
            };
            handler.flags.extend(["-cpu".into(), model.clone()]);
        }
        for (wanted, option) in [(tuning.gdb, "--gdb"), (tuning.calls, "--strace")] {
            if wanted && !self.list.iter_mut().any(|handler| main(&handler)) {
                return Err(SandboxError::NoGuest { option });
            }
        }
        let mut others = Vec::new();
        if tuning.calls {
            others.extend(debug::strace_flags());
        }
        if let Some(size) = tuning.stack_size {
            others.extend(["-s".to_owned(), size.to_string()]);
        }
        others.extend(tuning.env.iter().flat_map(|variable| ["-E".to_owned(), variable.clone()]));
        if !others.is_empty() && self.list.is_empty() {
            let option = if tuning.stack_size.is_some() { "--stack-size" } else { "--guest-env" };
            return Err(SandboxError::NoGuest { option });
        }
        for handler in &mut self.list {
            handler.flags.extend(others.iter().cloned());
            if tuning.gdb {
                handler.first_flags.extend(debug::gdb_flags());
            }
        }
        Ok(())
    }
}

fn known(catalogue: &'static Catalogue, name: &str) -> Option<&'static Guest> {
    catalogue.guests().iter().find(|guest| guest.name == name)
}

pub(super) fn handler(guest: &Guest, emulator: Emulator) -> Handler {
    Handler {
        guest: guest.name.clone(),
        magic: guest.binfmt.magic.clone(),
        mask: guest.binfmt.mask.clone(),
        emulator,
        flags: Vec::new(),
        first_flags: Vec::new(),
        replaces: None,
        spare: false,
    }
}

/// Whether an image's word for its emulator's path can stand in a rule.
fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= PATH_LIMIT
        && PathBuf::from(path).file_name().is_some()
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}
