//! What `docker build --check` warns of, as far as the text alone tells it.
//!
//! Source: Docker's reference of build checks. The names of the rules are Docker's.

use super::error::{Warning, nearest};
use super::expand::Expander;
use super::instruction::{Command, Healthcheck, Instruction, Located};
use super::source::Line;
use super::words;

/// Names of stages that mean something else.
const RESERVED: &[&str] = &["context", "scratch"];

/// Words in the names of variables that hold secrets.
const SECRET: &[&str] =
    &["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Words that make such a name harmless.
const PUBLIC: &[&str] = &["public"];

/// Variables that `FROM` knows without an `ARG`. Source: Docker's reference, "Automatic platform ARGs in the global scope".
const PLATFORM: &[&str] = &[
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
];

/// The warnings about `all`, which are the instructions of `lines`, with the file's escape character.
pub(super) fn of(all: &[Located], lines: &[Line], escape: char) -> Vec<Warning> {
    let mut linter = Linter { warnings: Vec::new() };
    linter.casing(all, lines);
    linter.stages(all);
    linter.bases(all, escape);
    for located in all {
        linter.one(located);
    }
    linter.once_a_stage(all);
    linter.warnings
}

/// The value that a name has in `FROM` if nothing is given on the command line.
fn known(global: &[(&str, Option<String>)], name: &str) -> Option<String> {
    match global.iter().rev().find(|(known, _)| *known == name) {
        Some((_, value)) => value.clone(),
        None => PLATFORM.contains(&name).then(|| "known".to_owned()),
    }
}

struct Linter {
    warnings: Vec<Warning>,
}

impl Linter {
    fn warn(&mut self, rule: &'static str, at: super::error::Position, message: impl Into<String>) {
        self.warnings.push(Warning { rule, at, message: message.into() });
    }

    /// All names in one case, that of most.
    fn casing(&mut self, all: &[Located], lines: &[Line]) {
        let name = |line: &Line| words::first(&line.text).0.to_owned();
        let is_lower = |name: &str| name.chars().all(|it| it.is_ascii_lowercase());
        let is_upper = |name: &str| name.chars().all(|it| it.is_ascii_uppercase());
        let names: Vec<String> = lines.iter().map(name).collect();
        let lower = names.iter().filter(|name| is_lower(name)).count();
        let upper = names.iter().filter(|name| is_upper(name)).count();
        for (located, name) in all.iter().zip(&names) {
            let (fits, other) =
                if lower > upper { (is_lower(name), "small") } else { (is_upper(name), "capital") };
            if !fits {
                let message = format!("`{name}` is not in {other} letters, as the others are");
                self.warn("ConsistentInstructionCasing", located.at, message);
            }
        }
    }

    fn stages(&mut self, all: &[Located]) {
        let mut seen: Vec<String> = Vec::new();
        for located in all {
            let Instruction::From(from) = &located.instruction else { continue };
            if let Some(platform) = &from.platform
                && matches!(platform.text.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}")
            {
                self.warn("RedundantTargetPlatform", platform.at, "the platform is that of the build anyway");
            } else if let Some(platform) = &from.platform
                && !platform.text.contains('$')
            {
                let message = format!("the platform `{}` is the same for every build", platform.text);
                self.warn("FromPlatformFlagConstDisallowed", platform.at, message);
            }
            let Some(name) = &from.name else { continue };
            let keyword = |word: &str| located.text.split_whitespace().any(|it| it == word);
            let is_lower = words::first(&located.text).0.chars().all(|it| it.is_ascii_lowercase());
            if (is_lower && !keyword("as")) || (!is_lower && !keyword("AS")) {
                self.warn("FromAsCasing", located.at, "`FROM` and `AS` are in different cases");
            }
            if name.text.chars().any(|it| it.is_ascii_uppercase()) {
                let message = format!("the stage's name `{}` is not in small letters", name.text);
                self.warn("StageNameCasing", name.at, message);
            }
            let lower = name.text.to_ascii_lowercase();
            if RESERVED.contains(&lower.as_str()) {
                let message = format!("`{lower}` means something else than a stage");
                self.warn("ReservedStageName", name.at, message);
            }
            if seen.contains(&lower) {
                self.warn("DuplicateStageName", name.at, format!("a stage `{lower}` was there before"));
            }
            seen.push(lower);
        }
    }

    /// Variables of `FROM` that no `ARG` before the first stage declares, and those without which the defaults give no name.
    fn bases(&mut self, all: &[Located], escape: char) {
        let mut global: Vec<(&str, Option<String>)> = Vec::new();
        let mut is_before = true;
        for located in all {
            match &located.instruction {
                Instruction::Arg(args) if is_before => {
                    for arg in args {
                        let value = arg.default.as_ref().and_then(|default| {
                            let lookup = |name: &str| known(&global, name);
                            Expander::new(escape, &lookup).word(&default.text).ok()
                        });
                        global.push((&arg.name.text, value));
                    }
                }
                Instruction::From(from) => {
                    is_before = false;
                    let lookup = |name: &str| known(&global, name);
                    for word in std::iter::once(&from.base).chain(&from.platform) {
                        let expander = Expander::new(escape, &lookup);
                        // What cannot be expanded is told when it is built.
                        let Ok(base) = expander.word(&word.text) else { continue };
                        let unset = expander.unset();
                        let undeclared =
                            unset.iter().find(|name| !global.iter().any(|(known, _)| known == name));
                        if let Some(name) = undeclared {
                            let names = global.iter().map(|(name, _)| *name).chain(PLATFORM.iter().copied());
                            let near = nearest(name, names);
                            let near =
                                near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                            let message = format!("no `ARG` before the first stage declares `{name}`{near}");
                            self.warn("UndefinedArgInFrom", word.at, message);
                        } else if !unset.is_empty() && (base.is_empty() || base.ends_with([':', '@', '/'])) {
                            let names = unset.join("`, `");
                            let message = format!(
                                "`{}` names nothing as long as `{names}` is not given: a default in its `ARG` is missing",
                                word.text
                            );
                            self.warn("InvalidDefaultArgInFrom", word.at, message);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn one(&mut self, located: &Located) {
        let at = located.at;
        match &located.instruction {
            Instruction::Maintainer(_) => {
                self.warn(
                    "MaintainerDeprecated",
                    at,
                    "`MAINTAINER` gives way to `LABEL org.opencontainers.image.authors=`",
                );
            }
            Instruction::Cmd(Command::Shell(_)) | Instruction::Entrypoint(Command::Shell(_)) => {
                let message = "a command of the shell gets no signals; a list in JSON is run as it is";
                self.warn("JSONArgsRecommended", at, message);
            }
            Instruction::Workdir(path) if !path.text.starts_with(['/', '$', '"', '\'']) => {
                let message = format!("`{}` depends on the base's working directory", path.text);
                self.warn("WorkdirRelativePath", path.at, message);
            }
            Instruction::Env(pairs) => {
                self.legacy(located, "ENV");
                for pair in pairs {
                    self.secret(&pair.name.text, pair.name.at);
                }
            }
            Instruction::Label(_) => self.legacy(located, "LABEL"),
            Instruction::Arg(args) => {
                for arg in args {
                    self.secret(&arg.name.text, arg.name.at);
                }
            }
            Instruction::Expose(ports) => {
                for port in ports {
                    if let Some((_, protocol)) = port.text.split_once('/')
                        && protocol.chars().any(|it| it.is_ascii_uppercase())
                    {
                        let message = format!("the protocol of `{}` is not in small letters", port.text);
                        self.warn("ExposeProtoCasing", port.at, message);
                    }
                    if port.text.contains(':') && !port.text.contains('$') {
                        let message = format!("`{}` is no port: addresses are for `run -p`", port.text);
                        self.warn("ExposeInvalidFormat", port.at, message);
                    }
                }
            }
            Instruction::Onbuild(inner) => self.one(inner),
            _ => {}
        }
    }

    /// `ENV NAME VALUE`.
    fn legacy(&mut self, located: &Located, name: &str) {
        let (_, rest) = words::first(&located.text);
        let first =
            words::raw(located.text.get(rest..).unwrap_or_default(), '\\').first().map(|(_, word)| *word);
        if first.is_some_and(|word| !word.contains('=')) {
            let message = format!("`{name} name value` gives way to `{name} name=value`");
            self.warn("LegacyKeyValueFormat", located.at, message);
        }
    }

    fn secret(&mut self, name: &str, at: super::error::Position) {
        let lower = name.to_ascii_lowercase();
        let words: Vec<&str> = lower.split(|it: char| !it.is_ascii_alphanumeric()).collect();
        let has = |list: &[&str]| words.iter().any(|word| list.contains(word));
        if has(SECRET) && !has(PUBLIC) {
            let message =
                format!("`{name}` stays in the image: a secret belongs into `RUN --mount=type=secret`");
            self.warn("SecretsUsedInArgOrEnv", at, message);
        }
    }

    /// Of CMD, ENTRYPOINT and HEALTHCHECK the last of a stage counts.
    fn once_a_stage(&mut self, all: &[Located]) {
        let mut last: [Option<&Located>; 3] = [None; 3];
        for located in all {
            let (slot, name) = match &located.instruction {
                Instruction::From(_) => {
                    last = [None; 3];
                    continue;
                }
                Instruction::Cmd(_) => (0, "CMD"),
                Instruction::Entrypoint(_) => (1, "ENTRYPOINT"),
                Instruction::Healthcheck(Healthcheck::Command { .. } | Healthcheck::None) => {
                    (2, "HEALTHCHECK")
                }
                _ => continue,
            };
            let Some(before) = last.get_mut(slot) else { continue };
            if let Some(before) = before.replace(located) {
                let message = format!("this `{name}` counts for nothing: another one follows in the stage");
                self.warn("MultipleInstructionsDisallowed", before.at, message);
            }
        }
    }
}
