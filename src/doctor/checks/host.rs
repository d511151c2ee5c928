//! What the host has for containers: cgroups, limits, room, and the file system of the cache.

use std::fs;
use std::path::Path;

use rustix::process::Resource;

use super::{Check, State, lack, ok, other_cache, text};
use crate::doctor::{Machine, Remedy};
use crate::tree::mount_of;

/// Room below which images hardly fit, in bytes, and files.
const ROOM: u64 = 2 << 30;
const FILES: u64 = 100_000;
/// Open files and processes that a build may well have.
const OPEN_FILES: u64 = 4096;
const PROCESSES: u64 = 1024;

pub(super) fn cgroups() -> Check {
    const ID: &str = "cgroups";
    let base = Path::new("/sys/fs/cgroup");
    let switch = "systemd.unified_cgroup_hierarchy=1";
    let is_v2 = base.join("cgroup.controllers").exists();
    if !is_v2 {
        let kind = if base.join("unified/cgroup.procs").exists() { "hybrid" } else { "version 1" };
        let present = fs::read_dir(base).is_ok_and(|mut entries| entries.next().is_some());
        let kind = if present { kind } else { "not mounted" };
        let message =
            format!("cgroups are {kind}: containers have no limits of memory, processors and processes");
        let grub = format!("sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{switch} /' /etc/default/grub");
        let remedy = Remedy::of(
            &format!("{grub} && update-grub && reboot"),
            &format!("grubby --update-kernel=ALL --args={switch} && reboot"),
            "sed -i 's/^#*rc_cgroup_mode=.*/rc_cgroup_mode=\"unified\"/' /etc/rc.conf && rc-update add cgroups && reboot",
            &format!("{grub} && grub-mkconfig -o /boot/grub/grub.cfg && reboot"),
        );
        return lack(ID, State::Limited, message, remedy);
    }
    let own = text("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    let folder = base.join(own.trim_start_matches('/'));
    // What is given to a user is the user's to write, from there down.
    let delegated = folder.ancestors().take_while(|path| path.starts_with(base)).find(|path| {
        rustix::fs::access(path.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok()
            && rustix::fs::access(*path, rustix::fs::Access::WRITE_OK).is_ok()
    });
    if let Some(path) = delegated {
        let controllers = text(&path.join("cgroup.controllers").display().to_string()).unwrap_or_default();
        ok(ID, format!("cgroups are version 2, and `{}` is the user's ({controllers})", path.display()))
    } else {
        let file = "/etc/systemd/system/user@.service.d/delegate.conf";
        let systemd = format!(
            "mkdir -p {} && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' >{file} && systemctl daemon-reload",
            Path::new(file).parent().unwrap_or(Path::new("/")).display()
        );
        let uid = rustix::process::geteuid().as_raw();
        let alpine =
            format!("mkdir -p /sys/fs/cgroup/user-{uid} && chown -R {uid} /sys/fs/cgroup/user-{uid}");
        let message = "cgroups are version 2, and none is the user's: containers have no limits of memory, processors and processes";
        lack(ID, State::Limited, message, Remedy { alpine, ..Remedy::same(systemd) })
    }
}

pub(super) fn limits() -> [Check; 2] {
    let check = |id, resource, least: u64, item: &str, what: &str| {
        let limit = rustix::process::getrlimit(resource);
        // What may be raised without rights counts.
        let most = limit.maximum;
        match most {
            Some(most) if most < least => {
                let line = format!("'* hard {item} {}'", least * 16);
                let command = format!("echo {line} >>/etc/security/limits.d/90-polyarch.conf");
                let flag = if item == "nofile" { "n" } else { "u" };
                let alpine = format!("echo 'ulimit -{flag} {}' >/etc/profile.d/polyarch.sh", least * 16);
                let message = format!("at most {most} {what}: large builds need more");
                lack(id, State::Limited, message, Remedy { alpine, ..Remedy::same(command) })
            }
            Some(most) => ok(id, format!("up to {most} {what}")),
            None => ok(id, format!("no limit of {what}")),
        }
    };
    [
        check("open-files", Resource::Nofile, OPEN_FILES, "nofile", "open files"),
        check("processes", Resource::Nproc, PROCESSES, "nproc", "processes"),
    ]
}

/// The nearest folder above `path` that is there.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

pub(super) fn cache(machine: &Machine) -> Check {
    const ID: &str = "cache";
    let cache = &machine.places.cache;
    if let Some(problem) = &machine.cache_problem {
        return lack(ID, State::Missing, format!("the cache cannot be used: {problem}"), other_cache());
    }
    let mount = mount_of(nearest(cache));
    if let Some(mount) = mount.filter(|mount| mount.options.split(',').any(|option| option == "noexec")) {
        let message = format!(
            "the cache lies on `{}`, which is mounted `noexec`: nothing unpacked there runs",
            mount.point.display()
        );
        return lack(ID, State::Missing, message, other_cache());
    }
    ok(ID, format!("the cache is `{}`", cache.display()))
}

pub(super) fn disk(machine: &Machine) -> Check {
    const ID: &str = "disk";
    let mut said = Vec::new();
    let places =
        [Some(("cache", &machine.places.cache)), machine.places.store.as_ref().map(|path| ("store", path))];
    for (name, path) in places.into_iter().flatten() {
        let Ok(stat) = rustix::fs::statvfs(nearest(path)) else { continue };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        // Some file systems have no fixed number of files, and say 0 of 0.
        let files = (stat.f_files > 0).then_some(stat.f_favail);
        let gib = format!("{}.{} GiB", free >> 30, ((free % (1 << 30)) * 10) >> 30);
        let move_it = if name == "cache" { other_cache() } else { Remedy::same("polyarch image prune") };
        if free < ROOM {
            return lack(
                ID,
                State::Limited,
                format!("{gib} are free where the {name} is, too few for large images"),
                move_it,
            );
        }
        if let Some(files) = files.filter(|files| *files < FILES) {
            let message = format!("{files} files can be made where the {name} is, too few for large images");
            return lack(ID, State::Limited, message, move_it);
        }
        let files = files.map(|files| format!(" and {files} files")).unwrap_or_default();
        said.push(format!("{gib}{files} are free where the {name} is"));
    }
    ok(ID, said.join("; "))
}

pub(super) fn positions(machine: &Machine) -> Check {
    const ID: &str = "directory-positions";
    let kind = mount_of(nearest(&machine.places.cache))
        .map_or_else(|| "an unknown file system".into(), |mount| mount.kind);
    match machine.long_positions {
        Some(true) => lack(
            ID,
            State::Limited,
            format!(
                "the cache is on {kind}, whose folders have 64-bit positions: 32-bit guests whose C library reads folders without \
                 large-file calls get EOVERFLOW from folders that a container makes itself or has mounted; an image's own are laid out for them"
            ),
            Remedy::same("mkdir -p /dev/shm/polyarch && export POLYARCH_CACHE_DIR=/dev/shm/polyarch"),
        ),
        Some(false) => ok(ID, format!("the cache is on {kind}, whose folders 32-bit guests can read")),
        None => Check {
            id: ID,
            state: State::Limited,
            message: format!("the cache is on {kind}, and its folders could not be tried"),
            remedy: None,
        },
    }
}
