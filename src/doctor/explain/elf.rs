//! What stands in the way of an ELF program: its machine, its loader, its libraries.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Place, Walk};
use crate::elf::{Identity, Mismatch, fit};
use crate::target::{Catalogue, Guest, Platform, Target};
use crate::tree::libraries::{self, Reason};
use crate::tree::root::resolve;

impl Walk<'_> {
    pub(super) fn elf(&mut self, path: &Path, identity: &Arc<Identity>) {
        let shown = path.display().to_string();
        self.out.architecture.clone_from(&identity.platform.architecture);
        if !identity.is_loadable {
            let problem = identity.problems.first().map_or("it is cut short", String::as_str);
            let message = format!("`{shown}` is damaged: {problem}");
            return self.add(
                "damaged",
                Some(path),
                message,
                "copy or build the program again: it is not whole",
            );
        }
        if identity.alignment.is_none() || !matches!(identity.kind.as_ref(), "EXEC" | "DYN") {
            let message = format!("`{shown}` is an ELF file of type {} and no program", identity.kind);
            return self.add("not-program", Some(path), message, "link it into a program");
        }
        if let Some(os) = identity.platform.os.as_deref().filter(|os| *os != "linux") {
            let message = format!("`{shown}` is a program for {os}");
            return self.add("foreign-system", Some(path), message, "build it for Linux");
        }
        if !self.architecture(path, identity) {
            return;
        }
        let Some(interpreter) = &identity.interpreter else { return };
        let Ok(found) = self.resolve(Path::new(interpreter)) else {
            return self.no_loader(path, interpreter, identity);
        };
        self.out.chain.push(found.path.clone());
        if !found.node.is_file() || !found.node.is_executable_by(self.uid, &self.gids) {
            let message = format!(
                "`{shown}` needs the loader `{interpreter}`, which is there and may not be executed (mode {:04o})",
                found.node.mode
            );
            let help = format!("`chmod a+x {}`", found.path.display());
            return self.add("loader-not-executable", Some(&found.path), message, help);
        }
        let loader = self.subject.root.executable(&found.path).ok().and_then(|file| file.elf);
        let fits = |loader: &Identity| {
            loader.machine_id == identity.machine_id
                && loader.class == identity.class
                && loader.endianness == identity.endianness
        };
        match loader {
            Some(Ok(loader)) if fits(&loader) => self.libraries(path, identity),
            Some(Ok(loader)) => {
                let message = format!(
                    "`{shown}` is for {}, and its loader `{interpreter}` there is for {}",
                    described(identity),
                    described(&loader)
                );
                let help = "install the C library of the program's architecture";
                self.add("loader-foreign", Some(&found.path), message, help);
            }
            Some(Err(_)) | None => {
                let message =
                    format!("`{shown}` needs the loader `{interpreter}`, and what is there is none");
                self.add("loader-foreign", Some(&found.path), message, "install the C library again");
            }
        }
    }

    /// Whether a program of that architecture runs here; says why where it does not.
    fn architecture(&mut self, path: &Path, identity: &Identity) -> bool {
        let catalogue = Catalogue::builtin();
        let host = Platform::host();
        let own = catalogue.target(&host.to_string()).ok();
        let shown = path.display();
        let what = described(identity);
        let Some(guest) = guest_of(identity, catalogue) else {
            let message =
                format!("`{shown}` is for {what}, which neither this machine nor QEMU's user emulation runs");
            self.add("machine-unknown", Some(path), message, "build it for another machine");
            return false;
        };
        if own.is_some_and(|own| own.runs_natively(&guest.name)) {
            return true;
        }
        let named = guest.targets.first().map_or(guest.name.as_str(), String::as_str);
        match &self.subject.place {
            Place::Host { .. } => {
                let served = self.foreign.handlers().and_then(|status| status.serving(&guest.name));
                let Some(handler) = served else {
                    let message = format!(
                        "`{shown}` is for {what}, this machine is {host}, and it has no handler for such programs"
                    );
                    let help = format!(
                        "as root `polyarch binfmt register {named}`, or `polyarch binfmt exec -- {shown}`"
                    );
                    self.add("handler-missing", Some(path), message, help);
                    return false;
                };
                if !handler.interpreter_exists && !handler.entry.flags.known.fix_binary {
                    let message = format!(
                        "`{shown}` is for {what}, and the interpreter of the handler `{}`, which serves it, is not there",
                        handler.entry.name.to_string_lossy()
                    );
                    let help = format!("as root `polyarch binfmt register {named}`");
                    self.add("handler-missing", Some(path), message, help);
                    return false;
                }
                true
            }
            Place::Container(platform) => {
                let expected = platform.as_ref().and_then(|platform| {
                    let target = catalogue.target(&platform.to_string()).ok()?;
                    Some((platform, target.qemu.guest.clone()))
                });
                if let Some((platform, expected)) = expected
                    && expected != guest.name
                {
                    let message =
                        format!("`{shown}` is for {what}, and the image says that it is for {platform}");
                    let help =
                        format!("make the image for `{named}`, or put a program for {platform} into it");
                    self.add("other-architecture", Some(path), message, help);
                    return false;
                }
                if let Some(reason) = self.foreign.no_emulator(guest) {
                    let message = format!(
                        "`{shown}` is for {what}, this machine is {host}, and there is no emulator: {reason}"
                    );
                    let help = format!("`polyarch emulator fetch --guest {}`", guest.name);
                    self.add("no-emulator", Some(path), message, help);
                    return false;
                }
                let served = self.foreign.handlers().and_then(|status| status.serving(&guest.name));
                if let Some(reason) = self.foreign.no_way() {
                    if let Some(handler) = served {
                        if handler.entry.flags.known.fix_binary {
                            return true;
                        }
                        let message = format!(
                            "`{shown}` is for {what}, and the host's handler `{}` for it has no `F`, so it does not work in containers",
                            handler.entry.name.to_string_lossy()
                        );
                        let help = format!("as root `polyarch binfmt register {named}`");
                        self.add("handler-without-f", Some(path), message, help);
                        return false;
                    }
                    let message = format!(
                        "`{shown}` is for {what}, and containers here cannot run foreign programs: {reason}"
                    );
                    self.add("no-way", Some(path), message, "`polyarch doctor` says what mends it");
                    return false;
                }
                true
            }
        }
    }

    fn no_loader(&mut self, path: &Path, interpreter: &str, identity: &Identity) {
        let shown = path.display();
        let place = self.where_();
        let (is_musl, is_glibc) = libc_of(interpreter);
        // The loaders of the other library that are there, if any.
        let other = |wanted: fn(&str) -> bool| -> Option<PathBuf> {
            ["/lib", "/lib64", "/usr/lib", "/usr/lib64"].iter().find_map(|folder| {
                let folder = resolve(self.subject.root, Path::new("/"), Path::new(folder)).ok()?;
                let names = self.subject.root.names(&folder.path).ok()?;
                let name = names.into_iter().find(|name| name.to_str().is_some_and(wanted))?;
                Some(folder.path.join(name))
            })
        };
        let glibc = |name: &str| libc_of(name).1 && name.contains(".so");
        let musl = |name: &str| libc_of(name).0;
        let found = if is_musl {
            other(glibc)
        } else if is_glibc {
            other(musl)
        } else {
            None
        };
        if let Some(found) = found {
            let (own, theirs) = if is_musl { ("musl", "glibc") } else { ("glibc", "musl") };
            let message = format!(
                "`{shown}` is linked against {own} (`{interpreter}`), and the root file system has {theirs} (`{}`)",
                found.display()
            );
            let help = if is_musl {
                "link it statically, build it against glibc, or install musl there".to_owned()
            } else {
                "link it statically, build it against musl, or use an image that has glibc".to_owned()
            };
            return self.add("loader-of-other-libc", Some(path), message, help);
        }
        let message =
            format!("`{shown}` is there, and the loader that it names, `{interpreter}`, is not {place}");
        let needs = identity.platform.architecture.as_deref().unwrap_or("its architecture");
        let help = format!("install the C library for {needs} there, or link the program statically");
        self.add("loader-missing", Some(path), message, help);
    }

    fn libraries(&mut self, path: &Path, identity: &Arc<Identity>) {
        let subject = self.subject;
        let closure =
            libraries::closure(subject.root, path, identity, subject.library_path.as_deref(), &subject.cwd);
        for lack in closure.lacks {
            let by = lack.needed_by.display();
            let name = &lack.name;
            let (id, message, help) = match lack.reason {
                Reason::Missing { searched } => {
                    let folders: Vec<String> =
                        searched.iter().map(|folder| folder.display().to_string()).collect();
                    (
                        "library-missing",
                        format!("`{by}` needs the library `{name}`, which is not in {}", folders.join(", ")),
                        format!("install the package that has `{name}`, or set `LD_LIBRARY_PATH`"),
                    )
                }
                Reason::Foreign { path } => (
                    "library-foreign",
                    format!(
                        "`{by}` needs the library `{name}`, and `{}` is for another architecture",
                        path.display()
                    ),
                    format!("install `{name}` for the program's architecture"),
                ),
                Reason::NotInCache { path } => (
                    "library-not-in-cache",
                    format!(
                        "`{by}` needs the library `{name}`; `{}` lies in a folder of `/etc/ld.so.conf` and not in \
                         `/etc/ld.so.cache`, which the loader reads",
                        path.display()
                    ),
                    "run `ldconfig` there".into(),
                ),
                Reason::Version { path, version, highest } => (
                    "library-version",
                    format!(
                        "`{by}` needs {version} of `{}`, which has {}",
                        path.display(),
                        highest.map_or_else(
                            || "nothing of the kind".into(),
                            |highest| format!("{highest} at the most")
                        )
                    ),
                    "build the program on an older system, or use a newer image".into(),
                ),
                Reason::Damaged { path, problem } => (
                    "library-damaged",
                    format!("`{by}` needs the library `{}`, which is damaged: {problem}", path.display()),
                    "install it again".into(),
                ),
            };
            self.add(id, Some(&lack.needed_by), message, help);
        }
    }
}

/// Whether a loader's name is musl's or glibc's.
fn libc_of(interpreter: &str) -> (bool, bool) {
    let name = interpreter.rsplit('/').next().unwrap_or(interpreter);
    let is_musl = name.starts_with("ld-musl-");
    let is_glibc = name.starts_with("ld-linux") || name.starts_with("ld64.so") || name.starts_with("ld.so.1");
    (is_musl, is_glibc)
}

fn described(identity: &Identity) -> String {
    match &identity.platform.architecture {
        Some(architecture) => format!("linux/{architecture}"),
        None => format!(
            "{} ({} bits)",
            identity.machine.map_or_else(|| format!("machine {}", identity.machine_id), str::to_owned),
            identity.class
        ),
    }
}

/// The guest whose programs are like this one.
fn guest_of<'a>(identity: &Identity, catalogue: &'a Catalogue) -> Option<&'a Guest> {
    let alike = |target: &&Target| {
        let wrong = fit(identity, target);
        !wrong.iter().any(|wrong| {
            matches!(
                wrong,
                Mismatch::Os | Mismatch::Machine | Mismatch::Class | Mismatch::Endianness | Mismatch::Abi
            )
        })
    };
    let target = catalogue.targets().iter().find(alike)?;
    catalogue.guests().iter().find(|guest| guest.name == target.qemu.guest)
}
