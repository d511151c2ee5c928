//! From a stage's instructions to its steps, and to the config of the image that it makes.

use std::cell::RefCell;

use serde_json::{Value, json};

use super::args::PREDEFINED;
use super::step::{Action, Copy, Run, Source, Step};
use super::{Args, BuildError, Settings};
use crate::containerfile::{
    Command, CopyOptions, ExpandError, Expander, HealthTimes, Healthcheck, Input, Instruction, Located,
    Mount, Position, Warning, Word, nearest,
};
use crate::tree::normalized;

/// Where programs are looked for if neither base nor file say.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The most that a stage's instructions say, with every variable expanded, in bytes: all of it is kept in memory.
const SIZE_LIMIT: usize = 8 << 20;

/// The folder of the script that a here-document with a shebang is, while its step runs.
const SCRIPTS: &str = "/dev/pipes";

/// A program's path, and its text.
type Script = (String, String);

/// A stage that is being put together.
#[derive(Debug)]
pub struct StageState<'a> {
    args: &'a Args,
    escape: char,
    /// The config so far.
    pub settings: Settings,
    /// Who made the image, by `MAINTAINER`.
    pub author: Option<String>,
    /// The stage's own arguments, in the order in which they were declared.
    pub declared: Vec<(String, Option<String>)>,
    /// Whether this stage has said what to run.
    has_cmd: bool,
    /// How much its instructions have said, in bytes.
    size: usize,
    /// Variables that nobody has set, and where they were asked for.
    unset: RefCell<Vec<(Position, String)>>,
}

impl<'a> StageState<'a> {
    /// A stage that begins with an image, or a stage, of these settings.
    #[must_use]
    pub fn new(args: &'a Args, escape: char, settings: Settings) -> Self {
        Self::upon(args, escape, settings, Vec::new())
    }

    /// The same for a stage that begins with another stage of the file, whose arguments it has.
    #[must_use]
    pub fn upon(
        args: &'a Args,
        escape: char,
        settings: Settings,
        declared: Vec<(String, Option<String>)>,
    ) -> Self {
        Self {
            args,
            escape,
            settings,
            author: None,
            declared,
            has_cmd: false,
            size: 0,
            unset: RefCell::default(),
        }
    }

    /// What a base wants done first, each in the text of an instruction; the image has it no more.
    pub fn triggers(&mut self) -> Vec<String> {
        let triggers = self.settings.texts("OnBuild");
        self.settings.take("OnBuild");
        triggers
    }

    /// The step that `located` is.
    ///
    /// # Errors
    /// [`BuildError`] where something in it cannot be expanded or is out of its bounds.
    pub fn step(&mut self, located: &Located) -> Result<Step, BuildError> {
        let mut created_by = None;
        let action = match &located.instruction {
            Instruction::Arg(list) => {
                for arg in list {
                    let value = self.args.of_stage(arg, &|name| self.lookup(name))?;
                    // A name alone takes nothing away.
                    let before = self.declared.iter().find(|(name, _)| *name == arg.name.text);
                    let value = value.or_else(|| before.and_then(|(_, value)| value.clone()));
                    self.declared.retain(|(name, _)| *name != arg.name.text);
                    self.declared.push((arg.name.text.clone(), value));
                }
                Action::None
            }
            Instruction::Env(pairs) => {
                // All see the environment as it was before.
                let pairs = self.pairs(pairs)?;
                let shown: Vec<String> =
                    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
                created_by = Some(format!("ENV {}", shown.join(" ")));
                for (name, value) in pairs {
                    self.settings.set_env(&name, &value);
                }
                Action::None
            }
            Instruction::Label(pairs) => {
                let pairs = self.pairs(pairs)?;
                let shown: Vec<String> =
                    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
                created_by = Some(format!("LABEL {}", shown.join(" ")));
                for (name, value) in pairs {
                    self.settings.put("Labels", &name, json!(value));
                }
                Action::None
            }
            Instruction::User(word) => {
                let user = self.word(word)?;
                created_by = Some(format!("USER {user}"));
                self.settings.set("User", json!(user));
                Action::None
            }
            Instruction::Workdir(word) => {
                let path = self.absolute(&self.word(word)?);
                created_by = Some(format!("WORKDIR {path}"));
                self.settings.set("WorkingDir", json!(path));
                Action::Workdir { path }
            }
            Instruction::Cmd(command) => {
                self.has_cmd = true;
                created_by = Some(format!("CMD {}", json!(self.line(command))));
                self.settings.set("Cmd", json!(self.line(command)));
                Action::None
            }
            Instruction::Entrypoint(command) => {
                created_by = Some(format!("ENTRYPOINT {}", json!(self.line(command))));
                self.settings.set("Entrypoint", json!(self.line(command)));
                if !self.has_cmd {
                    // Arguments that were meant for the base's program.
                    self.settings.take("Cmd");
                }
                Action::None
            }
            Instruction::Shell(shell) => {
                self.settings.set("Shell", json!(shell));
                Action::None
            }
            Instruction::Expose(words) => {
                for word in words {
                    for port in ports(word, &self.words(word)?)? {
                        self.settings.put("ExposedPorts", &port, json!({}));
                    }
                }
                Action::None
            }
            Instruction::Volume(words) => {
                for word in words {
                    let path = self.word(word)?;
                    if path.is_empty() {
                        return Err(BuildError::at(word.at, "a `VOLUME` needs a path"));
                    }
                    self.settings.put("Volumes", &path, json!({}));
                }
                Action::None
            }
            Instruction::StopSignal(word) => {
                let signal = self.word(word)?;
                if !is_signal(&signal) {
                    let message = format!("there is no signal `{signal}`");
                    return Err(BuildError::hinted(word.at, message, "as in `SIGTERM`, `TERM` or `15`"));
                }
                self.settings.set("StopSignal", json!(signal));
                Action::None
            }
            Instruction::Healthcheck(check) => {
                let check = health(check);
                self.settings.set("Healthcheck", check);
                Action::None
            }
            Instruction::Onbuild(inner) => {
                let mut triggers = self.settings.texts("OnBuild");
                triggers.push(inner.whole());
                self.settings.set("OnBuild", json!(triggers));
                Action::None
            }
            Instruction::Maintainer(author) => {
                self.author = Some(author.clone());
                Action::None
            }
            Instruction::Run(run) => {
                let step = self.run(run, located.at)?;
                created_by = Some(self.run_shown(&step));
                Action::Run(step)
            }
            Instruction::Copy(copy) => {
                let mut step = self.copy(&copy.sources, &copy.destination, &copy.options)?;
                step.from = copy.from.as_ref().map(|word| self.word(word)).transpose()?;
                step.parents = copy.parents;
                created_by = Some(format!("{} # buildkit", located.text));
                Action::Copy(step)
            }
            Instruction::Add(add) => {
                let mut step = self.copy(&add.sources, &add.destination, &add.options)?;
                step.add = true;
                step.checksum = add.checksum.as_ref().map(|word| self.word(word)).transpose()?;
                (step.unpack, step.keep_git_dir) = (add.unpack, add.keep_git_dir);
                created_by = Some(format!("{} # buildkit", located.text));
                Action::Copy(step)
            }
            _ => return Err(BuildError::at(located.at, "this instruction cannot stand here")),
        };
        self.size += located.text.len() + created_by.as_ref().map_or(0, String::len);
        if self.size > SIZE_LIMIT {
            let message =
                format!("the stage's history and config become larger than {} MiB", SIZE_LIMIT >> 20);
            return Err(BuildError::hinted(located.at, message, "what is large belongs into files"));
        }
        Ok(Step { at: located.at, created_by: created_by.unwrap_or_else(|| located.text.clone()), action })
    }

    fn lookup(&self, name: &str) -> Option<String> {
        let env = self.settings.env().into_iter().find(|(known, _)| known == name).map(|(_, value)| value);
        env.or_else(|| {
            self.declared.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.clone())
        })
    }

    fn word(&self, word: &Word) -> Result<String, BuildError> {
        let lookup = |name: &str| self.lookup(name);
        let expander = Expander::new(self.escape, &lookup);
        let text = expander.word(&word.text);
        self.known(word.at, expander, text)
    }

    fn words(&self, word: &Word) -> Result<Vec<String>, BuildError> {
        let lookup = |name: &str| self.lookup(name);
        let expander = Expander::new(self.escape, &lookup);
        let texts = expander.words(&word.text);
        self.known(word.at, expander, texts)
    }

    /// What was expanded; variables that nobody has set are remembered.
    fn known<T>(
        &self,
        at: Position,
        expander: Expander<'_>,
        found: Result<T, ExpandError>,
    ) -> Result<T, BuildError> {
        let found = found.map_err(|err| BuildError::at(at, err.to_string()))?;
        // An argument without a value was declared, and the proxies need not be.
        let is_known = |name: &String| {
            self.declared.iter().any(|(known, _)| known == name) || PREDEFINED.contains(&name.as_str())
        };
        let unset = expander.unset().into_iter().filter(|name| !is_known(name));
        self.unset.borrow_mut().extend(unset.map(|name| (at, name)));
        Ok(found)
    }

    /// Warnings about variables that the steps so far asked for and nobody has set.
    pub fn warnings(&mut self) -> Vec<Warning> {
        let unset = self.unset.take();
        if unset.is_empty() {
            return Vec::new();
        }
        let env = self.settings.env();
        let declared = self.declared.iter().map(|(name, _)| name.as_str());
        let known: Vec<&str> = env.iter().map(|(name, _)| name.as_str()).chain(declared).collect();
        let one = |(at, name): (Position, String)| {
            let hint = if self.args.is_global(&name) {
                format!("; `ARG {name}` in this stage gives it the value that it has before the first one")
            } else {
                nearest(&name, known.iter().copied())
                    .map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
            };
            Warning { rule: "UndefinedVar", at, message: format!("the variable `{name}` is not set{hint}") }
        };
        unset.into_iter().map(one).collect()
    }

    fn pairs(&self, pairs: &[crate::containerfile::Pair]) -> Result<Vec<(String, String)>, BuildError> {
        let pair = |pair: &crate::containerfile::Pair| {
            let name = self.word(&pair.name)?;
            if name.is_empty() {
                return Err(BuildError::at(pair.name.at, "a name is empty"));
            }
            Ok((name, self.word(&pair.value)?))
        };
        pairs.iter().map(pair).collect()
    }

    /// `path` from the root on, seen from the working directory; a slash at its end stays.
    fn absolute(&self, path: &str) -> String {
        let from = if path.starts_with('/') { "" } else { self.settings.text("WorkingDir") };
        clean(&format!("{from}/{path}"))
    }

    /// A command as it is executed.
    fn line(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(list) => list.clone(),
            Command::Shell(text) => self.settings.shell().into_iter().chain([text.clone()]).collect(),
        }
    }

    fn run(&self, run: &crate::containerfile::Run, at: Position) -> Result<Run, BuildError> {
        if let Some(security) = &run.security
            && self.word(security)? != "sandbox"
        {
            return Err(BuildError::hinted(
                security.at,
                format!("`--security={}` cannot be had", security.text),
                "every step runs in a sandbox, without rights on this machine",
            ));
        }
        let network = run.network.as_ref().map(|word| self.word(word)).transpose()?;
        if let (Some(network), Some(word)) = (&network, &run.network)
            && !["default", "none", "host"].contains(&network.as_str())
        {
            let message = format!("there is no network `{network}`");
            return Err(BuildError::hinted(word.at, message, "it is `default`, `none` or `host`"));
        }
        let mount = |word: &Word| {
            Mount::parse(&self.word(word)?).map_err(|err| BuildError::at(word.at, err.to_string()))
        };
        let mounts = run.mounts.iter().map(mount).collect::<Result<Vec<_>, _>>()?;
        let mut env = self.settings.env();
        for (name, value) in &self.declared {
            if let Some(value) = value
                && env.iter().all(|(known, _)| known != name)
            {
                env.push((name.clone(), value.clone()));
            }
        }
        if env.iter().all(|(name, _)| name != "PATH") {
            env.push(("PATH".into(), DEFAULT_PATH.into()));
        }
        let hidden_env = self.args.predefined().into_iter().filter(|(name, _)| self.lookup(name).is_none());
        let (args, script) = self.command(run, at)?;
        let cwd = self.settings.text("WorkingDir");
        Ok(Run {
            args,
            script,
            env,
            hidden_env: hidden_env.collect(),
            user: self.settings.text("User").to_owned(),
            cwd: if cwd.is_empty() { "/".into() } else { cwd.to_owned() },
            mounts,
            network: network.filter(|network| network != "default"),
        })
    }

    /// The command line, here-documents put into it, and the script that one with a shebang is.
    fn command(
        &self,
        run: &crate::containerfile::Run,
        at: Position,
    ) -> Result<(Vec<String>, Option<Script>), BuildError> {
        let text = match (&run.command, run.heredocs.first()) {
            (Command::Exec(list), None) => return Ok((list.clone(), None)),
            (Command::Exec(_), Some(_)) => {
                return Err(BuildError::at(at, "a list in JSON takes no here-document"));
            }
            (Command::Shell(text), None) => text.clone(),
            (Command::Shell(text), Some(first)) => {
                let is_all = run.heredocs.len() == 1 && text.split_whitespace().count() == 1;
                if is_all && first.body.starts_with("#!") {
                    let path = format!("{SCRIPTS}/{}", first.name);
                    return Ok((vec![path.clone()], Some((path, first.content()))));
                }
                if is_all {
                    first.content()
                } else {
                    // The shell reads them itself.
                    let bodies = run.heredocs.iter().map(|it| format!("\n{}{}", it.body, it.name));
                    format!("{text}{}", bodies.collect::<String>())
                }
            }
        };
        Ok((self.line(&Command::Shell(text)), None))
    }

    /// A `RUN` as BuildKit writes it into the history, with the arguments that it sees.
    fn run_shown(&self, run: &Run) -> String {
        let env = self.settings.env();
        let args: Vec<String> = self
            .declared
            .iter()
            .filter(|(name, value)| value.is_some() && env.iter().all(|(known, _)| known != name))
            .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or_default()))
            .collect();
        let shown =
            if args.is_empty() { String::new() } else { format!("|{} {} ", args.len(), args.join(" ")) };
        format!("RUN {shown}{} # buildkit", run.args.join(" "))
    }

    fn copy(&self, sources: &[Input], destination: &Word, options: &CopyOptions) -> Result<Copy, BuildError> {
        let source = |input: &Input| match input {
            Input::Path(word) => {
                let path = self.word(word)?;
                if path.is_empty() {
                    return Err(BuildError::at(word.at, format!("the source `{}` is empty", word.text)));
                }
                Ok(Source::Path(path))
            }
            Input::Heredoc(heredoc) => {
                let content = heredoc.content();
                let content = if heredoc.expand {
                    let lookup = |name: &str| self.lookup(name);
                    Expander::new(self.escape, &lookup)
                        .body(&content)
                        .map_err(|err| BuildError::at(destination.at, err.to_string()))?
                } else {
                    content
                };
                Ok(Source::File { name: heredoc.name.clone(), content })
            }
        };
        let given = self.word(destination)?;
        let path = self.absolute(&given);
        let is_folder = given.is_empty() || given.ends_with('/') || given.ends_with("/.") || given == ".";
        Ok(Copy {
            add: false,
            from: None,
            sources: sources.iter().map(source).collect::<Result<_, _>>()?,
            destination: if is_folder && path != "/" { format!("{path}/") } else { path },
            chown: options.chown.as_ref().map(|word| self.word(word)).transpose()?,
            chmod: options.chmod.as_ref().map(|word| self.word(word)).transpose()?,
            exclude: options.exclude.iter().map(|word| self.word(word)).collect::<Result<_, _>>()?,
            parents: false,
            link: options.link,
            unpack: None,
            checksum: None,
            keep_git_dir: false,
        })
    }
}

/// A health check as docker's config has it.
fn health(check: &Healthcheck) -> Value {
    let Healthcheck::Command { command, times, retries } = check else {
        return json!({ "Test": ["NONE"] });
    };
    let test: Vec<String> = match command {
        Command::Exec(list) => ["CMD".to_owned()].into_iter().chain(list.iter().cloned()).collect(),
        Command::Shell(text) => vec!["CMD-SHELL".into(), text.clone()],
    };
    let mut value = json!({ "Test": test });
    let HealthTimes { interval, timeout, start_period, start_interval } = times;
    let fields = [
        ("Interval", interval),
        ("Timeout", timeout),
        ("StartPeriod", start_period),
        ("StartInterval", start_interval),
        ("Retries", retries),
    ];
    for (key, number) in fields {
        if let (Some(number), Some(value)) = (number, value.as_object_mut()) {
            value.insert(key.into(), json!(number));
        }
    }
    value
}

/// A path without `.`, `..` and doubled slashes, from the root on.
pub(super) fn clean(path: &str) -> String {
    format!("/{}", normalized(path))
}

/// The keys of ports in a config: `80/tcp`, one for each of a range.
fn ports(word: &Word, texts: &[String]) -> Result<Vec<String>, BuildError> {
    let mut ports = Vec::new();
    for text in texts {
        let fault = || {
            let message = format!("`{text}` is no port");
            BuildError::hinted(word.at, message, "as in `80`, `53/udp` or `8000-8010`")
        };
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        // Of an address and a port outside, docker takes the one inside.
        let range = range.rsplit_once(':').map_or(range, |(_, own)| own);
        let protocol = protocol.to_ascii_lowercase();
        if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
            return Err(fault());
        }
        let (start, end) = range.split_once('-').unwrap_or((range, range));
        let start: u16 = start.parse().map_err(|_| fault())?;
        let end: u16 = end.parse().map_err(|_| fault())?;
        if end < start {
            return Err(fault());
        }
        ports.extend((start..=end).map(|port| format!("{port}/{protocol}")));
    }
    Ok(ports)
}

/// Whether a runtime understands `text` as a signal.
fn is_signal(text: &str) -> bool {
    const NAMES: &[&str] = &[
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
        "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
        "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
    ];
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |base: &str, sign: char| match name.strip_prefix(base) {
        None => false,
        Some("") => true,
        Some(rest) => rest.strip_prefix(sign).and_then(|it| it.parse().ok()).is_some_and(|it: u8| it <= 15),
    };
    NAMES.contains(&name) || real_time("RTMIN", '+') || real_time("RTMAX", '-')
}
