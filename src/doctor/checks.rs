//! The checks of a machine, one after the other.

mod host;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Machine, Remedy};
use crate::emulator::Emulator;
use crate::sandbox::probe::{Denial, Trial};
use crate::sandbox::{Grants, Range};
use crate::target::Catalogue;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All is there.
    Ok,
    /// Something that not every image needs is not there.
    Limited,
    /// Something that `run` or `build` needs is not there.
    Missing,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which of [`CHECKS`].
    pub id: &'static str,
    /// How it ended.
    pub state: State,
    /// What was found, in one sentence; for a lack, what it means.
    pub message: String,
    /// What mends it; null where nothing is to be mended, or no command does.
    pub remedy: Option<Remedy>,
}

/// All checks, in their order.
pub const CHECKS: &[&str] = &[
    "kernel",
    "user-namespaces",
    "mounts",
    "proc",
    "id-ranges",
    "private-binfmt",
    "trace",
    "foreign-programs",
    "overlay",
    "host-handlers",
    "emulators",
    "archive-keys",
    "cgroups",
    "open-files",
    "processes",
    "cache",
    "disk",
    "directory-positions",
    "network",
];

fn ok(id: &'static str, message: impl Into<String>) -> Check {
    Check { id, state: State::Ok, message: message.into(), remedy: None }
}

fn lack(id: &'static str, state: State, message: impl Into<String>, remedy: Remedy) -> Check {
    Check { id, state, message: message.into(), remedy: Some(remedy) }
}

/// Judges what was found of a machine.
#[must_use]
pub fn examine(
    machine: &Machine,
    emulators: &BTreeMap<&'static str, Result<Emulator, String>>,
) -> Vec<Check> {
    let granted = machine.granted();
    let mut checks = vec![ok("kernel", format!("Linux {}", release()))];
    checks.push(match &granted.user_namespaces {
        Trial::Granted => ok("user-namespaces", "a user namespace can be made"),
        Trial::Denied(denial) => no_namespace("user-namespaces", denial),
        Trial::Untried => lack(
            "user-namespaces",
            State::Missing,
            format!(
                "nothing could be tried: {}",
                machine.capabilities.as_ref().err().map_or("", String::as_str)
            ),
            Remedy::same("mount -t proc proc /proc"),
        ),
    });
    checks.push(match &granted.mounts {
        Trial::Granted => ok("mounts", "mounts of a container's own can be made"),
        Trial::Denied(denial) => no_namespace("mounts", denial),
        Trial::Untried => needs_namespace("mounts", State::Missing),
    });
    checks.push(match &granted.processes {
        Trial::Granted => ok("proc", "a container gets a `/proc` of its own"),
        Trial::Denied(denial) => lack(
            "proc",
            State::Missing,
            format!("a container gets no `/proc` of its own ({}): parts of this machine's are covered, as in a container", told(denial)),
            Remedy::same("docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined …"),
        ),
        Trial::Untried => needs_namespace("proc", State::Missing),
    });
    checks.push(id_ranges(machine));
    checks.push(match &granted.private_binfmt {
        Trial::Granted => ok("private-binfmt", "a container gets handlers of its own"),
        Trial::Denied(denial) => {
            let is_module = denial.errno == rustix::io::Errno::NODEV.raw_os_error();
            let (why, remedy) = if is_module {
                ("the kernel has no binfmt_misc", Remedy::module("binfmt_misc"))
            } else {
                ("Linux has it from 6.7 on", Remedy::kernel())
            };
            let message = format!("a container gets no handlers of its own ({}); {why}", told(denial));
            lack("private-binfmt", State::Limited, message, remedy)
        }
        Trial::Untried => needs_namespace("private-binfmt", State::Limited),
    });
    checks.push(trace(&granted.seccomp_trace));
    checks.push(match (machine.no_private(), machine.no_trace()) {
        (None, _) => ok("foreign-programs", "containers run foreign programs by handlers of their own"),
        (_, None) => ok("foreign-programs", "containers can run foreign programs by tracing"),
        (Some(reason), Some(_)) => lack(
            "foreign-programs",
            State::Missing,
            format!("containers have no way of their own to run foreign programs ({reason})"),
            Remedy::same("polyarch binfmt register --all --persistent"),
        ),
    });
    checks.push(match &granted.overlay {
        Trial::Granted => ok("overlay", "overlay works in a user namespace on the cache's file system"),
        Trial::Denied(denial) => {
            let is_module = denial.errno == rustix::io::Errno::NODEV.raw_os_error();
            let remedy = if is_module { Remedy::module("overlay") } else { other_cache() };
            let message = format!(
                "no overlay in a user namespace on the cache's file system ({}): files are copied instead",
                told(denial)
            );
            lack("overlay", State::Limited, message, remedy)
        }
        Trial::Untried if machine.cache_problem.is_some() => Check {
            id: "overlay",
            state: State::Limited,
            message: "it could not be tried without the cache".into(),
            remedy: None,
        },
        Trial::Untried => needs_namespace("overlay", State::Limited),
    });
    checks.push(host_handlers(machine));
    checks.push(emulators_there(emulators));
    checks.push(archive_keys(machine));
    checks.push(host::cgroups());
    checks.extend(host::limits());
    checks.push(host::cache(machine));
    checks.push(host::disk(machine));
    checks.push(host::positions(machine));
    checks.push(match on_path(machine, "pasta").or_else(|| on_path(machine, "passt")) {
        Some(path) => ok("network", format!("`{}` gives containers networks of their own", path.display())),
        None => lack(
            "network",
            State::Limited,
            "`pasta` is not there: containers have the host's network only",
            Remedy::packages("passt", "passt", "passt", "passt"),
        ),
    });
    checks
}

fn told(denial: &Denial) -> String {
    format!("{}: {}", denial.doing, denial.source())
}

fn needs_namespace(id: &'static str, state: State) -> Check {
    let message = "it could not be tried without namespaces";
    Check { id, state, message: message.into(), remedy: None }
}

fn other_cache() -> Remedy {
    Remedy::same("export POLYARCH_CACHE_DIR=/var/tmp/polyarch-$(id -u)")
}

fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Looks for what stands in the way of a namespace.
fn no_namespace(id: &'static str, denial: &Denial) -> Check {
    let says = |file: &str, value: &str| text(file).is_some_and(|text| text == value);
    let refused = told(denial);
    let (why, remedy) = if !Path::new("/proc/self/ns/user").exists() {
        ("the kernel was built without them".to_owned(), Remedy::kernel())
    } else if says("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        (
            "`kernel.unprivileged_userns_clone` is 0".into(),
            Remedy::sysctl("kernel.unprivileged_userns_clone=1"),
        )
    } else if let Some(limit) = exhausted(denial) {
        (format!("`user.{limit}` is 0 or reached"), Remedy::sysctl(&format!("user.{limit}=15000")))
    } else if says("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        (
            "AppArmor keeps ordinary users from them".into(),
            Remedy::sysctl("kernel.apparmor_restrict_unprivileged_userns=0"),
        )
    } else if text("/proc/self/status").is_some_and(|status| status.contains("\nSeccomp:\t2")) {
        (
            "a seccomp filter is in force, as in a container".into(),
            Remedy::same(
                "docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined …",
            ),
        )
    } else {
        ("in a chroot the kernel grants none".into(), Remedy::sysctl("user.max_user_namespaces=15000"))
    };
    lack(id, State::Missing, format!("{refused}; {why}"), remedy)
}

/// The limit of namespaces that the kernel's answer speaks of.
fn exhausted(denial: &Denial) -> Option<&'static str> {
    let is_limit = denial.errno == rustix::io::Errno::NOSPC.raw_os_error();
    let names = [
        "max_user_namespaces",
        "max_mnt_namespaces",
        "max_pid_namespaces",
        "max_ipc_namespaces",
        "max_uts_namespaces",
        "max_cgroup_namespaces",
    ];
    let zero =
        names.iter().find(|name| text(&format!("/proc/sys/user/{name}")).is_some_and(|text| text == "0"));
    zero.copied().or_else(|| is_limit.then_some(names[0]))
}

fn id_ranges(machine: &Machine) -> Check {
    const ID: &str = "id-ranges";
    let uid = rustix::process::geteuid();
    if uid.is_root()
        && text("/proc/self/uid_map").is_some_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
    {
        return ok(ID, "root has all ids");
    }
    let number = uid.as_raw().to_string();
    let name = machine.places.user.as_deref().unwrap_or(&number);
    for program in ["newuidmap", "newgidmap"] {
        let remedy = || Remedy::packages("uidmap", "shadow-utils", "shadow-subids", "shadow");
        let Some(path) = on_path(machine, program) else {
            let message =
                format!("`{program}` is not on `PATH`: containers have one user, root, and no other");
            return lack(ID, State::Missing, message, remedy());
        };
        let has_rights = fs::metadata(&path)
            .is_ok_and(|there| there.mode() & 0o4000 != 0 && there.uid() == 0)
            || rustix::fs::getxattr(&path, "security.capability", &mut [0_u8; 64][..]).is_ok();
        if !has_rights {
            let shown = path.display();
            let message = format!(
                "`{shown}` is neither setuid root nor has it capabilities: containers have one user only"
            );
            return lack(
                ID,
                State::Missing,
                message,
                Remedy::same(format!("chown root {shown} && chmod u+s {shown}")),
            );
        }
    }
    let mut ranges = Vec::new();
    for (file, option) in [("/etc/subuid", "--add-subuids"), ("/etc/subgid", "--add-subgids")] {
        let Grants { ranges: granted, free } = Grants::read(Path::new(file), Some(name), uid.as_raw());
        let found = granted.iter().max_by_key(|range| range.count);
        match found {
            Some(Range { start, count }) if *count >= 65_535 => {
                ranges.push(format!("{start} to {} of `{file}`", start.saturating_add(count - 1)));
            }
            _ => {
                let command = format!("usermod {option} {free}-{} {name}", free.saturating_add(65_535));
                let remedy =
                    Remedy { alpine: format!("apk add shadow && {command}"), ..Remedy::same(&command) };
                let what = if found.is_some() { "fewer than 65535 ids" } else { "no ids" };
                let message =
                    format!("`{file}` has {what} for {name}: containers have one user, root, and no other");
                return lack(ID, State::Missing, message, remedy);
            }
        }
    }
    ok(ID, format!("containers have the ids {}", ranges.join(" and ")))
}

fn trace(trial: &Trial) -> Check {
    const ID: &str = "trace";
    let Trial::Denied(denial) = trial else {
        return match trial {
            Trial::Granted => ok(ID, "`execve` can be intercepted by a seccomp filter and a tracer"),
            _ => needs_namespace(ID, State::Limited),
        };
    };
    let scope = text("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let (why, remedy) = if matches!(scope.as_str(), "2" | "3") {
        (format!("; `kernel.yama.ptrace_scope` is {scope}"), Remedy::sysctl("kernel.yama.ptrace_scope=1"))
    } else {
        (String::new(), Remedy::kernel())
    };
    lack(ID, State::Limited, format!("`execve` cannot be intercepted ({}){why}", told(denial)), remedy)
}

fn host_handlers(machine: &Machine) -> Check {
    const ID: &str = "host-handlers";
    let register = || Remedy::same("polyarch binfmt register --all --persistent");
    let Some(status) = machine.handlers.as_ref().filter(|status| status.mounted) else {
        return lack(
            ID,
            State::Limited,
            "binfmt_misc is not mounted: foreign programs do not start outside of containers",
            Remedy::same("mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc"),
        );
    };
    let dangerous = status.entries.iter().find_map(|entry| {
        let concern = entry.concerns.iter().find(|concern| concern.is_dangerous())?;
        Some((entry.entry.name.to_string_lossy().into_owned(), concern.to_string()))
    });
    if let Some((name, concern)) = dangerous {
        let remedy = Remedy::same(format!("echo -1 >{}", status.registry.join(&name).display()));
        return lack(ID, State::Limited, format!("the handler `{name}` is dangerous: {concern}"), remedy);
    }
    let served: Vec<_> =
        status.targets.iter().filter(|service| service.entry.is_some() && !service.native).collect();
    if served.is_empty() {
        let message =
            "no handler for foreign programs is registered: they do not start outside of containers";
        return lack(ID, State::Limited, message, register());
    }
    let without = |service: &&&crate::binfmt::Service| {
        status.serving(&service.guest).is_some_and(|entry| !entry.entry.flags.known.fix_binary)
    };
    match served.iter().find(without) {
        Some(service) => {
            let message =
                format!("the handler of {} has no `F`: it does not work in containers", service.target);
            lack(ID, State::Limited, message, register())
        }
        None => ok(ID, format!("{} targets are served by the host's handlers", served.len())),
    }
}

fn emulators_there(emulators: &BTreeMap<&'static str, Result<Emulator, String>>) -> Check {
    const ID: &str = "emulators";
    // What QEMU removed is in no suite of Debian's.
    let removed = |name: &str| {
        let guests = Catalogue::builtin().guests().iter();
        guests.filter(|guest| guest.until.is_some()).any(|guest| guest.name == name)
    };
    let missing = emulators.iter().filter(|(guest, found)| found.is_err() && !removed(guest));
    let missing: Vec<&str> = missing.map(|(guest, _)| *guest).collect();
    let Some(first) = missing.first() else {
        return ok(ID, "the emulators of all guests that QEMU has are there");
    };
    let state = if emulators.values().all(Result::is_err) { State::Missing } else { State::Limited };
    let message =
        format!("{} of {} emulators are not there: {}", missing.len(), emulators.len(), missing.join(", "));
    lack(ID, state, message, Remedy::same(format!("polyarch emulator fetch --guest {first}")))
}

fn archive_keys(machine: &Machine) -> Check {
    const ID: &str = "archive-keys";
    let remedy = || {
        Remedy::packages(
            "gpgv debian-archive-keyring",
            "gnupg2 debian-keyring",
            "gpgv debian-archive-keyring",
            "gnupg debian-archive-keyring",
        )
    };
    let has_keys = ["/usr/share/keyrings", "/etc/apt/trusted.gpg.d"].iter().any(|folder| {
        fs::read_dir(folder).is_ok_and(|entries| {
            entries.flatten().any(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.starts_with("debian-archive")
                    && [".gpg", ".asc", ".pgp"].iter().any(|ending| name.ends_with(ending))
            })
        })
    });
    match (on_path(machine, "gpgv"), has_keys) {
        (Some(_), true) => ok(ID, "`gpgv` and the keys of Debian's archive are there"),
        (None, _) => lack(ID, State::Limited, "`gpgv` is not there: no emulator can be fetched", remedy()),
        (_, false) => lack(
            ID,
            State::Limited,
            "the keys of Debian's archive are not there: no emulator can be fetched",
            remedy(),
        ),
    }
}

/// The program `name` of `PATH`.
fn on_path(machine: &Machine, name: &str) -> Option<PathBuf> {
    let folders = machine.places.search.split(':').filter(|folder| folder.starts_with('/'));
    folders.map(|folder| Path::new(folder).join(name)).find(|path| {
        fs::metadata(path).is_ok_and(|there| there.is_file() && there.permissions().mode() & 0o111 != 0)
    })
}
