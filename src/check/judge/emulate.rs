//! Foreign programs: the emulators that serve them, and what they cannot do under emulation.

use std::path::Path;

use super::{Arch, Judge, Verdict, described, guest_of, is_other};
use crate::check::subject::{File, What};
use crate::check::{Rule, Severity};
use crate::elf::Identity;
use crate::image::labels;
use crate::target::Catalogue;

/// Programs and libraries that use what qemu-user does not have: by the program's name or a library's, and what it is.
const UNSUPPORTED: &[(&[&str], &[&str], &str, &str)] = &[
    (
        &["nft", "iptables-nft", "xtables-nft-multi", "ip6tables-nft"],
        &["libnftables.so", "libnftnl.so"],
        "netlink sockets of the netfilter family",
        "Protocol not supported",
    ),
    (&["strace", "ltrace", "gdb", "gdbserver", "rr"], &[], "ptrace", "Function not implemented"),
    (
        &["openvpn", "tailscaled", "wireguard-go", "boringtun", "boringtun-cli", "tun2socks"],
        &[],
        "TUN devices (TUNSETIFF)",
        "Inappropriate ioctl for device",
    ),
    (&["ethtool", "mii-tool"], &[], "SIOCETHTOOL and SIOCGMIIPHY", "Function not implemented"),
    (&["bpftool", "bpftrace"], &["libbpf.so"], "bpf", "Function not implemented"),
    (&[], &["liburing.so"], "io_uring", "Function not implemented"),
    (&["bwrap"], &["libseccomp.so"], "seccomp filters", "Invalid argument"),
];

/// Programs that execute themselves as `/proc/self/exe`.
const RE_EXECUTING: &[&str] =
    &["buildah", "chrome", "chromium", "containerd-shim-runc-v2", "crun", "dockerd", "podman", "runc"];

impl Judge<'_> {
    /// Whether an emulator in the image serves a program.
    pub(super) fn is_served(&self, identity: &Identity) -> bool {
        guest_of(identity).is_some_and(|guest| self.served.contains(&guest.name))
    }

    /// Finds the emulators that are there for foreign programs, and judges them.
    pub(super) fn emulators(&mut self) {
        let Some(target) = self.target else { return };
        let mut foreign: Vec<(&str, Vec<&File>)> = Vec::new();
        for (number, file) in self.subject.files.iter().enumerate() {
            let is_foreign = self.arch.get(&number) == Some(&Arch::Other);
            let Some(identity) = file.elf().filter(|identity| is_foreign && identity.linkage.is_some())
            else {
                continue;
            };
            let Some(guest) = guest_of(identity) else { continue };
            match foreign.iter_mut().find(|(name, _)| *name == guest.name) {
                Some((_, files)) => files.push(file),
                None => foreign.push((&guest.name, vec![file])),
            }
        }
        let image = self.subject.image.as_ref();
        let labelled =
            image.and_then(|image| Some((image.label(labels::GUEST)?, image.label(labels::EMULATOR)?)));
        // A guest whose emulator is itself the only foreign program is served by nothing.
        for file in &self.subject.files {
            let path = file.path.to_str().unwrap_or_default();
            let guest = match labelled {
                Some((guest, emulator)) if emulator == path => Some(guest.to_owned()),
                _ => guest_by_name(file.name()),
            };
            let (Some(guest), Some(identity)) = (guest, file.elf()) else { continue };
            let others = foreign.iter().find(|(name, _)| *name == guest);
            let others = others.map(|(_, files)| files.iter().filter(|other| other.path != file.path));
            let others: Vec<&File> = others.into_iter().flatten().copied().collect();
            let Some(first) = others.first() else { continue };
            self.served.push(guest.clone());
            let shown = file.path.display();
            if is_other(identity, target) {
                self.blamed.insert(file.path.clone());
                let found = described(identity);
                let message = format!(
                    "the emulator `{shown}`, which serves `{}`, is a program for {found}, and {} is {}",
                    first.path.display(),
                    target.name,
                    target.platform
                );
                let help =
                    format!("take the emulator for {}: `polyarch bundle --host` does", target.platform);
                let verdict = Verdict::new(Rule::Emulator, message, help);
                self.of_file(file, verdict.between(target.platform.to_string(), found));
            } else if !file.is_executable() {
                let message = format!("nobody may execute the emulator `{shown}` (mode {:04o})", file.mode);
                let verdict = Verdict::new(Rule::Emulator, message, format!("`chmod 755 {shown}`"));
                self.of_file(file, verdict);
            } else if others.iter().filter(|file| file.is_executable()).count() > 1 && !self.re_enters() {
                let message = format!(
                    "`{shown}` serves {} foreign programs, and hands over to the kernel what they execute in turn: that fails \
                     where no handler for {guest} is registered",
                    others.len()
                );
                let help = "make the image with `polyarch bundle`, whose emulator or stubs run what is executed, or register \
                            handlers where it runs";
                self.of_file(file, Verdict::new(Rule::Emulator, message, help).severity(Severity::Warning));
            }
        }
    }

    /// Whether the image says that its emulator runs what is executed.
    fn re_enters(&self) -> bool {
        self.subject.image.as_ref().is_some_and(|image| {
            image.label(labels::EXEC).is_some() || image.label(labels::MANIFEST).is_some()
        })
    }

    /// Foreign programs of a bundle that no stub stands for, and those that go past their own.
    pub(super) fn stubs(&mut self) {
        let has_label =
            self.subject.image.as_ref().is_some_and(|image| image.label(labels::MANIFEST).is_some());
        let has_manifest = || {
            let manifest = Path::new("/.polyarch/manifest.json");
            self.subject.root.is_some_and(|root| root.node(manifest).is_ok_and(|node| node.is_some()))
        };
        if !has_label && !has_manifest() {
            return;
        }
        for (number, file) in self.subject.files.iter().enumerate() {
            let is_foreign = self.arch.get(&number) == Some(&Arch::Other) && file.is_executable();
            let Some(identity) = file.elf().filter(|_| is_foreign) else { continue };
            // Loaders are opened by the emulator, and libraries by them.
            let is_program = identity.soname.is_none()
                && identity.linkage.is_some()
                && (identity.interpreter.is_some() || identity.linkage != Some("dynamic"));
            if !is_program || !self.is_served(identity) {
                continue;
            }
            let path = file.path.display();
            let verdict = match stubbed(file.name()) {
                None => Verdict::new(
                    Rule::Emulator,
                    format!(
                        "no stub stands for `{path}`, a program for {}: who executes it gets `Exec format error` where no handler \
                         is registered",
                        described(identity)
                    ),
                    "install it into the image before that is bundled: a bundle has stubs for what was there",
                ),
                Some(name) if RE_EXECUTING.contains(&name) => Verdict::new(
                    Rule::Emulator,
                    format!(
                        "`{path}` executes itself as `/proc/self/exe`, past the stub that stands for it: it gets `Exec format \
                         error` where no handler is registered"
                    ),
                    "take a native build of it, or run the bundle by `polyarch run`, which registers its emulator",
                ),
                Some(_) => continue,
            };
            self.of_file(file, verdict.severity(Severity::Warning));
        }
    }

    /// What programs that are emulated cannot do.
    pub(super) fn emulated(&mut self) {
        for (number, file) in self.subject.files.iter().enumerate() {
            let Some(identity) = file.elf().filter(|identity| identity.linkage.is_some()) else { continue };
            let is_foreign = self.arch.get(&number) == Some(&Arch::Other) && self.is_served(identity);
            if !(is_foreign || self.options.emulated) || !file.is_executable() {
                continue;
            }
            let path = file.path.display();
            if file.mode & 0o6000 != 0 && identity.soname.is_none() {
                let kind = if file.mode & 0o4000 != 0 { "setuid" } else { "setgid" };
                let message = format!(
                    "`{path}` is {kind} and runs under an emulator: the kernel gives the rights to nobody, or with the handler's \
                     flag C to whoever controls the emulator"
                );
                let help = format!("`chmod ug-s {path}`, and do what needs the rights as root");
                let verdict = Verdict::new(Rule::SetuidForeign, message, help);
                self.of_file(file, verdict.between("no setuid bit", format!("mode {:04o}", file.mode)));
            }
            let name = stubbed(file.name()).unwrap_or(file.name());
            let uses = UNSUPPORTED.iter().find(|(programs, libraries, ..)| {
                let mut needed = identity.needed.iter().flatten();
                programs.contains(&name)
                    || needed.any(|name| libraries.iter().any(|library| name.starts_with(library)))
            });
            if let Some((_, _, what, says)) = uses.filter(|_| identity.soname.is_none()) {
                let message = format!("`{path}` uses {what}, which qemu-user does not have: `{says}`");
                let help = "take a native build of it, or run that part outside the emulated image";
                self.of_file(file, Verdict::new(Rule::UnsupportedUnderEmulation, message, help));
            }
        }
    }

    /// Files for macOS and Windows.
    pub(super) fn foreign_formats(&mut self) {
        for file in &self.subject.files {
            let (system, machine) = match &file.what {
                What::MachO(architectures) => ("macOS", architectures.join(", ")),
                What::Pe(machine) => ("Windows", machine.clone()),
                _ => continue,
            };
            let ends = |endings: &[&str]| {
                let extension = file.path.extension().and_then(|extension| extension.to_str());
                extension.is_some_and(|extension| endings.contains(&extension))
            };
            let is_used = match &file.what {
                What::MachO(_) => file.is_executable() || ends(&["dylib", "so", "node", "bundle"]),
                // Assemblies of .NET and boot loaders are of this format too.
                _ => (file.is_executable() || ends(&["node", "pyd"])) && !ends(&["dll", "efi"]),
            };
            if !is_used {
                continue;
            }
            let path = file.path.display();
            let message = format!("`{path}` is for {system} ({machine})");
            let help = "build or install it for Linux; keep the host's folders out with `.dockerignore`";
            let verdict = Verdict::new(Rule::ForeignFormat, message, help);
            self.of_file(file, verdict.between("ELF", format!("{system} ({machine})")));
        }
    }
}

/// `i386` of `qemu-i386-static`.
fn guest_by_name(name: &str) -> Option<String> {
    let name = name.strip_prefix("qemu-")?;
    let guest = name.strip_suffix("-static").unwrap_or(name);
    let guests = Catalogue::builtin().guests();
    guests.iter().any(|known| known.name == guest).then(|| guest.to_owned())
}

/// `tool` of `.tool.guest`, which is beside the stub of that name.
fn stubbed(name: &str) -> Option<&str> {
    let (name, number) = name.strip_prefix('.')?.rsplit_once(".guest")?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(name)
}
