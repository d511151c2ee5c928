//! `RUN`.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, PipeReader, Read as _};
use std::sync::Arc;

use serde_json::json;

use super::super::mounts::{Mounted, key_of};
use super::super::staged::Held;
use super::super::step::Run;
use super::{BuildError, Builder, Folder, Found, Handle, Job, Layer, Staged, StepWork, Work};
use crate::emulator::{self, Options as EmulatorOptions};
use crate::image::ImageConfiguration;
use crate::sandbox::{
    Container, Debug, Emulator, Handlers, Mode, Network, Process, SandboxError, Terminal, Tuning, User,
};

/// What the container calls itself: the same on every machine.
const HOSTNAME: &str = "build";
/// How many lines of what a failed program said are told once more.
const LINES: usize = 60;
/// The longest part of a line that is shown at once, in bytes.
const LINE: u64 = 1 << 14;
/// Places in a container that are mounted on, besides its volumes.
const PLACES: &[&str] = &["/proc", "/sys", "/dev", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

impl<'scope> StepWork<'scope, '_, '_> {
    /// Runs a command, or finds that it was.
    pub(super) fn command(
        &mut self,
        staged: &mut Staged,
        handles: &mut Vec<Handle<'scope>>,
        run: &Run,
    ) -> Result<Option<Arc<Layer>>, BuildError> {
        let (builder, at) = (self.builder, self.step.at);
        let emulation = self.handlers(staged)?;
        let emulated = emulation.emulated;
        let network = self.network(run);
        let mounts = run.mounts.iter().map(|mount| {
            key_of(builder, at, mount, &|from| {
                builder.files_from(self.plan, self.node, at, from).map(|(_, key)| key)
            })
        });
        let mounts = mounts.collect::<Result<Vec<_>, BuildError>>()?;
        let hosts: Vec<String> = network.hosts.iter().map(|host| format!("{host:?}")).collect();
        let key = json!({
            "run": run.args, "script": run.script, "env": run.env, "user": run.user, "cwd": run.cwd,
            "mounts": mounts, "network": format!("{:?}", network.mode), "hosts": hosts,
            "emulators": self.emulators(&emulation)?,
        });
        let entrance = match self.enter(staged, &key.to_string())? {
            Found::Hit(made) => return Ok(self.hit(staged, made)),
            Found::Miss(entrance) => entrance,
        };
        let _at_work = builder.crew.join();
        let sandbox = |source| BuildError::Sandbox { at, source: Box::new(source) };
        let held = staged.files.held(&builder.place()?).map_err(sandbox)?;
        let mounted = Mounted::make(builder, at, run, &|from, path| {
            builder.other(self.plan, self.node, at, from, path)
        })?;
        let layer = Arc::new(builder.cache.begin()?);
        let mut env = run.env.clone();
        for (name, value) in run.hidden_env.iter().chain(&mounted.env) {
            env.retain(|(known, _)| known != name);
            env.push((name.clone(), value.clone()));
        }
        let process = Process {
            args: run.args.iter().map(Into::into).collect(),
            env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            cwd: run.cwd.clone().into(),
            user: User { name: run.user.clone(), groups: Vec::new() },
        };
        let folder = Folder::new(&builder.options.cache.join("run")).map_err(sandbox)?;
        let (reader, writer) = std::io::pipe().map_err(|source| sandbox(SandboxError::Start { source }))?;
        let container = Container {
            folder,
            root: held.root(Some(layer.folder().into())),
            process,
            volumes: mounted.volumes.clone(),
            confine: builder.options.confine.clone(),
            limits: builder.options.limits.clone(),
            runtime: None,
            hostname: HOSTNAME.into(),
            name: None,
            network: network.clone(),
            handlers: emulation.clone(),
            emulation: builder.options.emulation,
            debug: Debug::default(),
            init: false,
            terminal: Terminal::default(),
            output: Some(writer),
            ids: builder.ids()?.clone(),
        };
        let label = &self.label;
        let (status, output) = std::thread::scope(|scope| {
            let said = scope.spawn(move || hear(builder, label, reader));
            let status = container.run(builder.signals, builder.surroundings.progress());
            // What it says ends with it.
            drop(container);
            (status, said.join().unwrap_or_default())
        });
        if let Some(signal) = builder.signals.interrupted() {
            return Err(BuildError::Interrupted { signal });
        }
        let status = status.map_err(sandbox)?;
        if status != 0 {
            if builder.options.debug_shell {
                self.shell(staged, run, &held, &layer, emulation, network)?;
            }
            let cpu = if emulated { self.plan.wanted.cpu.clone() } else { None };
            return Err(BuildError::Run { at, status, output: output.into(), cpu });
        }
        let mut stubs: Vec<String> = PLACES.iter().map(|path| (*path).to_owned()).collect();
        stubs.extend(mounted.volumes.iter().map(|volume| volume.target.to_string_lossy().into_owned()));
        drop(mounted);
        let folder = Folder::new(&builder.options.cache.join("run")).map_err(sandbox)?;
        let job = Job {
            folder: folder.path().into(),
            root: None,
            sources: Vec::new(),
            work: Work::Nothing,
            commit: Some(self.layered(&layer, &held, &staged.platform, stubs)),
        };
        self.commit(staged, handles, job, layer, entrance, (folder, held))
    }

    /// A shell where the command has failed: with all that it wrote, and without its mounts.
    fn shell(
        &self,
        staged: &Staged,
        run: &Run,
        held: &Held,
        layer: &Layer,
        handlers: Handlers,
        network: Network,
    ) -> Result<(), BuildError> {
        let (builder, at) = (self.builder, self.step.at);
        let sandbox = |source| BuildError::Sandbox { at, source: Box::new(source) };
        let mut root = held.root(None);
        match layer.files(builder.ids_text()?) {
            Some((files, true)) => root.lowers = vec![files],
            Some((files, false)) => root.lowers.insert(0, files),
            None => {}
        }
        let shell = staged.settings.shell().into_iter().next().unwrap_or_else(|| "/bin/sh".into());
        let process = Process {
            args: vec![shell.into()],
            env: run.env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            cwd: run.cwd.clone().into(),
            user: User { name: run.user.clone(), groups: Vec::new() },
        };
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdin());
        let container = Container {
            folder: Folder::new(&builder.options.cache.join("run")).map_err(sandbox)?,
            root,
            process,
            volumes: Vec::new(),
            confine: builder.options.confine.clone(),
            limits: builder.options.limits.clone(),
            runtime: None,
            hostname: HOSTNAME.into(),
            name: None,
            network,
            handlers,
            emulation: builder.options.emulation,
            debug: Debug::default(),
            init: false,
            terminal: Terminal { interactive: true, tty: is_terminal },
            output: None,
            ids: builder.ids()?.clone(),
        };
        builder.surroundings.progress().warn("the command has failed; this is a shell in its container");
        container.run(builder.signals, builder.surroundings.progress()).map(drop).map_err(sandbox)
    }

    /// The emulators of foreign programs.
    fn handlers(&self, staged: &Staged) -> Result<Handlers, BuildError> {
        let (options, platform) = (&self.builder.options, &staged.platform);
        let failed = |source| BuildError::Emulator {
            at: self.step.at,
            platform: platform.to_string(),
            source: Box::new(source),
        };
        let config = json!({
            "os": platform.os, "architecture": platform.architecture, "rootfs": { "type": "layers", "diff_ids": [] },
            "config": { "Labels": staged.settings.clone().take("Labels") },
        });
        let config: ImageConfiguration = serde_json::from_value(config)
            .map_err(|err| BuildError::at(self.step.at, format!("the base's labels: {err}")))?;
        let search: Vec<_> = emulator::SEARCH.iter().map(Into::into).collect();
        let search =
            EmulatorOptions { given: options.emulator.clone(), cache: &options.cache, search: &search };
        let mut handlers = Handlers::of(&config, platform, &search, None, |guest| {
            self.builder.surroundings.emulator(guest, &search)
        })
        .map_err(failed)?;
        if handlers.needed && *platform == self.plan.wanted.platform && self.plan.wanted.cpu.is_some() {
            let tuning = Tuning { cpu: self.plan.wanted.cpu.clone(), ..Tuning::default() };
            handlers
                .tune(&tuning)
                .map_err(|source| BuildError::Sandbox { at: self.step.at, source: Box::new(source) })?;
        }
        Ok(handlers)
    }

    /// What of the emulators decides over what a command does.
    fn emulators(&self, handlers: &Handlers) -> Result<Vec<String>, BuildError> {
        let one = |handler: &crate::sandbox::Handler| {
            let digest = match &handler.emulator {
                Emulator::Inside(path) => path.to_string_lossy().into_owned(),
                Emulator::Host(path) => {
                    let failed = |source| BuildError::Emulator {
                        at: self.step.at,
                        platform: handler.guest.clone(),
                        source: Box::new(source),
                    };
                    emulator::sha256(&self.builder.options.cache, path.as_ref()).map_err(failed)?
                }
            };
            Ok(format!("{} {digest} {}", handler.guest, handler.flags.join(" ")))
        };
        handlers.list.iter().filter(|handler| !handler.spare).map(one).collect()
    }

    fn network(&self, run: &Run) -> Network {
        let default = self.builder.options.network.clone();
        match run.network.as_deref() {
            Some("none") => Network { mode: Mode::None, ..default },
            Some("host") => Network { mode: Mode::Host, ..default },
            _ => default,
        }
    }
}

/// Passes on what a program says, and keeps the last of it.
fn hear(builder: &Builder<'_>, label: &str, from: PipeReader) -> VecDeque<String> {
    let mut last = VecDeque::new();
    let mut from = BufReader::new(from);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match from.by_ref().take(LINE).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return last,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end_matches(['\n', '\r']);
        builder.surroundings.output(label, line);
        if last.len() == LINES {
            last.pop_front();
        }
        last.push_back(line.to_owned());
    }
}
