//! The packages' own scripts, run in the sandbox by the target's emulator.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, PipeReader, Read as _};
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::json;

use super::member::Member;
use super::{Request, script};
use crate::emulator::{self, Options};
use crate::progress::Progress;
use crate::rootfs::RootfsError;
use crate::rootfs::names::Names;
use crate::sandbox::{
    Confine, ConfineOptions, Container, Debug, Folder, Handlers, Ids, Limits, Mode, Network, Process, Root,
    Seccomp, Signals, Terminal, Tuning, User, remove_trees,
};
use crate::target::{Catalogue, Platform};

/// Says that no service is to be started.
pub(super) const POLICY: &str = "usr/sbin/policy-rc.d";
/// What the sandbox mounts over, for which it makes files where there are none.
const MOUNTED: &[&str] = &["etc/hostname", "etc/hosts", "etc/resolv.conf"];
/// How much of a file of the root is read, and how long a line of what is said may be, in bytes.
const FILE_LIMIT: u64 = 16 << 20;
const LINE_LIMIT: u64 = 4096;
/// How many lines are shown where something fails.
const LINES: usize = 15;

/// All that it takes to run programs of the target, found before anything is fetched or unpacked.
pub(super) struct Runner {
    handlers: Handlers,
    confine: Confine,
}

impl Runner {
    pub(super) fn new(request: &Request<'_>) -> Result<Self, RootfsError> {
        let target = request.target;
        let config = json!({
            "os": target.platform.os,
            "architecture": target.platform.architecture,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        let config = serde_json::from_value(config).map_err(|err| RootfsError::File {
            doing: "describing",
            path: target.name.clone().into(),
            source: err.into(),
        })?;
        let options =
            Options { given: request.emulator.clone(), cache: request.cache, search: request.search };
        let own = Catalogue::builtin().target(&Platform::host().to_string());
        let is_native = own.is_ok_and(|own| own.runs_natively(&target.qemu.guest));
        let wanted = (!is_native).then_some(target.qemu.guest.as_str());
        let find = |guest| emulator::find(guest, &Platform::host(), &options);
        let mut handlers = Handlers::of(&config, &target.platform, &options, wanted, find)
            .map_err(|source| RootfsError::Emulator { source: Box::new(source) })?;
        if !is_native {
            let tuning = Tuning {
                target: Some((target.name.clone(), target.qemu.guest.clone())),
                cpu: target.qemu.cpu.clone(),
                ..Tuning::default()
            };
            handlers.tune(&tuning).map_err(|source| RootfsError::Sandbox { source: Box::new(source) })?;
        }
        let mut confine = Confine::new(&ConfineOptions::default())
            .map_err(|source| RootfsError::Confine { source: Box::new(source) })?;
        // dpkg waits for the disk at every step. What is made here is made anew where the machine loses power.
        confine.seccomp = confine.seccomp.map(Seccomp::without_syncs);
        Ok(Self { handlers, confine })
    }

    /// Runs the script in `tree`, and removes what was there for it. Gives the folder of the run back.
    #[expect(clippy::too_many_arguments, reason = "one call, of the one function that has made all of it")]
    pub(super) fn run(
        self,
        request: &Request<'_>,
        folder: Folder,
        tree: &Path,
        members: &[Member],
        names: &Names,
        ids: &Ids,
        signals: &Signals,
        progress: &dyn Progress,
    ) -> Result<Folder, RootfsError> {
        let process = Process {
            args: ["/bin/sh", "/.polyarch/script"].map(Into::into).to_vec(),
            env: [
                ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
                ("HOME", "/root"),
                ("LC_ALL", "C.UTF-8"),
                ("LANGUAGE", "C.UTF-8"),
                ("DEBIAN_FRONTEND", "noninteractive"),
                ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
            ]
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
            cwd: "/".into(),
            user: User::default(),
        };
        let (reader, writer) = io::pipe().map_err(|source| RootfsError::Sandbox {
            source: Box::new(crate::sandbox::SandboxError::Start { source }),
        })?;
        let mut container = Container {
            folder,
            root: Root::folder(tree, true, &request.target.platform),
            process,
            volumes: Vec::new(),
            confine: self.confine,
            limits: Limits::default(),
            runtime: None,
            hostname: "localhost".into(),
            name: Some("rootfs build".into()),
            network: Network { mode: Mode::None, ..Network::default() },
            handlers: self.handlers,
            emulation: request.emulation,
            debug: Debug::default(),
            init: true,
            terminal: Terminal::default(),
            output: Some(writer),
            ids: ids.clone(),
        };
        let task = progress.begin(&format!("configuring {} packages", members.len()), None);
        let (status, said) = thread::scope(|scope| {
            let hearing = scope.spawn(|| hear(reader, progress));
            let status = container.run(signals, progress);
            // Ours is the last end that is open, now that the container is gone.
            container.output = None;
            (status, hearing.join().unwrap_or_default())
        });
        let status = status.map_err(|source| RootfsError::Sandbox { source: Box::new(source) })?;
        drop(task);
        let ours = tree.join(script::FOLDER);
        if let Some(signal) = signals.interrupted() {
            let source = Box::new(crate::sandbox::SandboxError::Interrupted { signal });
            return Err(RootfsError::Sandbox { source });
        }
        if status != 0 {
            return Err(RootfsError::Configure { status, lines: said.into() });
        }
        let listed = read(&ours.join("states"));
        let mut packages = listed.lines().filter_map(|line| line.split_once(' '));
        let is_configured = |name: &str| {
            let same = |found: &str| found == name || found.split(':').next() == Some(name);
            packages.clone().any(|(state, found)| state == "installed" && same(found))
        };
        let missing: Vec<String> =
            members.iter().map(|member| member.name.clone()).filter(|name| !is_configured(name)).collect();
        if !missing.is_empty() || packages.next().is_none() {
            return Err(RootfsError::Unconfigured { packages: missing });
        }
        let mut gone: Vec<PathBuf> = vec![ours];
        for path in MOUNTED.iter().chain([&POLICY]) {
            if !names.has(path) {
                gone.push(tree.join(path));
            }
        }
        remove_trees(&gone, ids).map_err(|source| RootfsError::Sandbox { source: Box::new(source) })?;
        Ok(container.folder)
    }
}

/// Passes on what the scripts say, line by line, and gives the last lines.
fn hear(reader: PipeReader, progress: &dyn Progress) -> VecDeque<String> {
    let mut lines = VecDeque::new();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    // Lines without end are cut; a pipe that cannot be read is one that has ended.
    while reader.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&line);
        let text: String =
            text.trim_end().chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
        progress.note(&text);
        if !text.trim().is_empty() && !text.starts_with(script::STEP) {
            if lines.len() == LINES {
                lines.pop_front();
            }
            lines.push_back(text);
        }
        line.clear();
    }
    lines
}

/// What is in a file that the root's programs wrote, and may have made anything of.
fn read(path: &Path) -> String {
    let mut text = Vec::new();
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = rustix::fs::open(path, flags | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty());
    if let Ok(file) = opened.map(File::from) {
        let _ = file.take(FILE_LIMIT).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}
