//! Which emulators a container needs.

use std::path::PathBuf;

use super::{Emulator, Handler};
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

impl Handlers {
    /// What an image with this config and platform needs on this machine: an emulator for the platform where that is foreign, and a
    /// bundle's own for the program that it carries. `options.given` replaces both. All other guests that the machine has an
    /// emulator for are served besides.
    ///
    /// # Errors
    /// [`EmulatorError`] where an emulator for the image's platform is not to be had.
    pub fn of(
        config: &ImageConfiguration,
        platform: &Platform,
        options: &Options<'_>,
    ) -> Result<Self, EmulatorError> {
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
            handlers.list.push(handler(guest, emulator));
            handlers.emulated = true;
        }
        let target = catalogue.target(&platform.to_string()).ok();
        let guest = target.and_then(|target| known(catalogue, &target.qemu.guest));
        if *platform != host
            && let Some(guest) = guest.filter(|guest| !native(guest))
            && !handlers.list.iter().any(|handler| handler.guest == guest.name)
        {
            let found = emulator::find(guest, &host, options)?;
            handlers.list.push(handler(guest, Emulator::Host(found.path.into())));
            handlers.needed = true;
            handlers.emulated = true;
        }
        // A container may hold programs for more machines than one.
        for guest in catalogue.guests().iter().filter(|guest| !native(guest)) {
            if !handlers.list.iter().any(|handler| handler.guest == guest.name)
                && let Some(path) = emulator::own(guest, options.search)
            {
                let handler = handler(guest, Emulator::Host(path.into()));
                handlers.list.push(Handler { spare: true, ..handler });
            }
        }
        Ok(handlers)
    }
}

fn known<'a>(catalogue: &'a Catalogue, name: &str) -> Option<&'a Guest> {
    catalogue.guests().iter().find(|guest| guest.name == name)
}

pub(super) fn handler(guest: &Guest, emulator: Emulator) -> Handler {
    Handler {
        guest: guest.name.clone(),
        magic: guest.binfmt.magic.clone(),
        mask: guest.binfmt.mask.clone(),
        emulator,
        flags: Vec::new(),
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
