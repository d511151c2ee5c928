//! What this machine is, as far as running foreign programs asks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::explain::Foreign;
use crate::binfmt::{self, Status};
use crate::emulator::{self, Emulator, EmulatorError, Options};
use crate::sandbox::probe::{Capabilities, Trial, Wanted, probe};
use crate::sandbox::{self, Folder};
use crate::target::{Catalogue, Guest, Platform, Target};

/// Where things are, and for whom.
#[derive(Debug, Clone)]
pub struct Places {
    /// The cache, where images are unpacked.
    pub cache: PathBuf,
    /// The store of images.
    pub store: Option<PathBuf>,
    /// `PATH`.
    pub search: String,
    /// The user's name, where it is known.
    pub user: Option<String>,
}

/// What was found of this machine.
#[derive(Debug)]
pub struct Machine {
    /// Where things are.
    pub places: Places,
    /// What the kernel grants; the error says why that could not be tried.
    pub capabilities: Result<Capabilities, String>,
    /// Why the cache's folder cannot be used.
    pub cache_problem: Option<String>,
    /// Whether folders there have positions that a 32-bit number cannot hold.
    pub long_positions: Option<bool>,
    /// The host's handlers.
    pub handlers: Option<Status>,
}

impl Machine {
    /// Looks at what decides which programs can be started. With `fully`, overlay and `/proc` too, for which a folder is
    /// made beneath the cache, and gone after.
    #[must_use]
    pub fn look(places: Places, fully: bool) -> Self {
        let handlers = binfmt::status(Path::new(binfmt::REGISTRY)).ok();
        let mut machine = Self {
            places,
            capabilities: Ok(Capabilities::default()),
            cache_problem: None,
            long_positions: None,
            handlers,
        };
        let mut wanted = Wanted { overlay: None, processes: fully };
        let mut scratch = None;
        if fully {
            match Scratch::new(&machine.places.cache) {
                Ok(made) => {
                    machine.long_positions = sandbox::has_long_positions(made.folder.path()).ok();
                    wanted.overlay = Some(made.folder.root());
                    scratch = Some(made);
                }
                Err(err) => machine.cache_problem = Some(err),
            }
        }
        machine.capabilities = probe(&wanted).map_err(|err| err.to_string());
        drop(scratch);
        machine
    }

    /// What the kernel grants; nothing where that could not be tried.
    #[must_use]
    pub fn granted(&self) -> Capabilities {
        self.capabilities.clone().unwrap_or_default()
    }

    /// The emulator for `guest`.
    ///
    /// # Errors
    /// As [`emulator::find`].
    pub fn emulator(&self, guest: &Guest) -> Result<Emulator, EmulatorError> {
        let search: Vec<PathBuf> = emulator::SEARCH.iter().map(PathBuf::from).collect();
        let options = Options { given: None, cache: &self.places.cache, search: &search };
        emulator::find(guest, &Platform::host(), &options)
    }

    /// Every guest's emulator; the message says why there is none. Several are looked at at once.
    #[must_use]
    pub fn emulators(&self) -> BTreeMap<&'static str, Result<Emulator, String>> {
        let guests: Vec<&Guest> =
            Catalogue::builtin().guests().iter().filter(|guest| !is_native(&guest.name)).collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        std::thread::scope(|scope| {
            let pieces = guests.chunks(guests.len().div_ceil(threads).max(1)).map(|piece| {
                scope.spawn(move || {
                    let found = |guest: &&'static Guest| {
                        (guest.name.as_str(), self.emulator(guest).map_err(|err| err.to_string()))
                    };
                    piece.iter().map(found).collect::<Vec<_>>()
                })
            });
            let pieces: Vec<_> = pieces.collect();
            pieces
                .into_iter()
                .flat_map(|piece| piece.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    /// Why containers here cannot have handlers of their own; `None` where they can.
    #[must_use]
    pub fn no_private(&self) -> Option<String> {
        let granted = self.granted();
        first_denial(&[&granted.user_namespaces, &granted.mounts, &granted.private_binfmt])
    }

    /// Why containers here cannot be traced; `None` where they can.
    #[must_use]
    pub fn no_trace(&self) -> Option<String> {
        let granted = self.granted();
        first_denial(&[&granted.user_namespaces, &granted.mounts, &granted.seccomp_trace])
    }

    /// Why the host's handlers do not serve `guest` in containers; `None` where they do.
    #[must_use]
    pub fn no_host(&self, guest: &str) -> Option<String> {
        let Some(status) = self.handlers.as_ref().filter(|status| status.mounted) else {
            return Some("binfmt_misc is not mounted".into());
        };
        let Some(handler) = status.serving(guest) else { return Some("no handler is registered".into()) };
        let name = handler.entry.name.to_string_lossy();
        (!handler.entry.flags.known.fix_binary)
            .then(|| format!("the handler `{name}` has no `F`, so it works only where its interpreter is"))
    }
}

fn first_denial(trials: &[&Trial]) -> Option<String> {
    trials.iter().find_map(|trial| match trial {
        Trial::Granted => None,
        Trial::Denied(denial) => Some(format!("{}: {}", denial.doing, denial.source())),
        Trial::Untried => Some("it could not be tried".into()),
    })
}

/// Whether this machine runs the programs of `guest` itself.
#[must_use]
pub fn is_native(guest: &str) -> bool {
    own_target().is_some_and(|own| own.runs_natively(guest))
}

fn own_target() -> Option<&'static Target> {
    Catalogue::builtin().target(&Platform::host().to_string()).ok()
}

impl Foreign for Machine {
    fn no_emulator(&self, guest: &Guest) -> Option<String> {
        self.emulator(guest).err().map(|err| err.to_string())
    }

    fn no_way(&self) -> Option<String> {
        let reason = self.no_private()?;
        self.no_trace().map(|_| reason)
    }

    fn handlers(&self) -> Option<&Status> {
        self.handlers.as_ref()
    }
}

/// A folder beneath the cache, and the folders above it that were not there before; all go with it.
struct Scratch {
    folder: Folder,
    above: Made,
}

struct Made(Vec<PathBuf>);

impl Scratch {
    fn new(cache: &Path) -> Result<Self, String> {
        let parent = cache.join("probe");
        let missing = parent.ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect();
        let above = Made(missing);
        let told = |err: &dyn std::error::Error| {
            let cause = err.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{err}{cause}")
        };
        let folder = Folder::new(&parent).map_err(|err| told(&err))?;
        Ok(Self { folder, above })
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(parent) = self.0.first() {
            let _ = fs::remove_file(parent.join("lock"));
        }
        for path in &self.0 {
            // One that something else is in now stays.
            let _ = fs::remove_dir(path);
        }
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").field("folder", &self.folder).field("above", &self.above.0).finish()
    }
}
