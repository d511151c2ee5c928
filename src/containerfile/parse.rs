//! From a logical line to its instruction.

use super::error::{ContainerfileError, Position, nearest};
use super::instruction::{
    Add, Arg, Command, Copy, CopyOptions, From, HealthTimes, Healthcheck, Input, Instruction, Located, Pair,
    Run, Word,
};
use super::source::{Heredoc, Line};
use super::words::{self, Flag};

type Parsed<T> = Result<T, ContainerfileError>;

/// The instructions there are, in the order of Docker's reference.
pub const INSTRUCTIONS: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// The instruction of `line`.
pub(super) fn instruction(line: &Line, escape: char) -> Parsed<Located> {
    let (name, rest) = words::first(&line.text);
    let at = line.at(0);
    let upper = name.to_ascii_uppercase();
    let Some(name) = INSTRUCTIONS.iter().find(|known| **known == upper) else {
        let err = ContainerfileError::new(at, format!("there is no instruction `{}`", shown(name)));
        return Err(match nearest(name, INSTRUCTIONS.iter().copied()) {
            Some(near) => err.hint(format!("did you mean `{near}`?")),
            None => err.hint("a line that goes on needs a `\\` at the end of the one before it"),
        });
    };
    let (flags, rest) = words::flags(&line.text, rest, escape);
    let mut parser = Parser {
        line,
        escape,
        name,
        flags: Flags { line, name, list: flags },
        rest,
        text: line.text.get(rest..).unwrap_or_default().trim_end(),
    };
    let instruction = parser.parse()?;
    parser.flags.end()?;
    Ok(Located { at, lines: at.line..=line.last, text: line.text.trim_end().to_owned(), instruction })
}

struct Parser<'a> {
    line: &'a Line,
    escape: char,
    name: &'static str,
    flags: Flags<'a>,
    /// Where the arguments begin.
    rest: usize,
    /// The arguments.
    text: &'a str,
}

impl Parser<'_> {
    fn parse(&mut self) -> Parsed<Instruction> {
        Ok(match self.name {
            "ADD" => self.add()?,
            "ARG" => Instruction::Arg(self.args()?),
            "CMD" => Instruction::Cmd(self.command()?),
            "COPY" => self.copy()?,
            "ENTRYPOINT" => Instruction::Entrypoint(self.command()?),
            "ENV" => Instruction::Env(self.pairs()?),
            "EXPOSE" => Instruction::Expose(self.plain_words()?),
            "FROM" => self.from()?,
            "HEALTHCHECK" => Instruction::Healthcheck(self.healthcheck()?),
            "LABEL" => Instruction::Label(self.pairs()?),
            "MAINTAINER" => Instruction::Maintainer(self.whole()?.text),
            "ONBUILD" => self.onbuild()?,
            "RUN" => self.run()?,
            "SHELL" => match words::json(self.text) {
                Some(shell) if !shell.is_empty() => Instruction::Shell(shell),
                _ => {
                    return Err(self
                        .fault("`SHELL` takes a list in JSON")
                        .hint(r#"as in `SHELL ["/bin/bash", "-c"]`"#));
                }
            },
            "STOPSIGNAL" => Instruction::StopSignal(self.whole()?),
            "USER" => Instruction::User(self.whole()?),
            "VOLUME" => Instruction::Volume(match words::json(self.text) {
                Some(list) if list.is_empty() => return Err(self.fault("`VOLUME` needs a path")),
                Some(list) => {
                    list.into_iter().map(|text| Word { text, at: self.line.at(self.rest) }).collect()
                }
                None => self.plain_words()?,
            }),
            _ => Instruction::Workdir(self.whole()?),
        })
    }

    fn fault(&self, message: impl Into<String>) -> ContainerfileError {
        ContainerfileError::new(self.line.at(self.rest.min(self.line.text.len())), message)
    }

    fn word(&self, offset: usize, text: &str) -> Word {
        Word { text: text.to_owned(), at: self.line.at(self.rest + offset) }
    }

    /// All that stands after the name, which must be something.
    fn whole(&self) -> Parsed<Word> {
        if self.text.is_empty() {
            return Err(self.fault(format!("`{}` needs an argument", self.name)));
        }
        Ok(self.word(0, self.text))
    }

    fn plain_words(&self) -> Parsed<Vec<Word>> {
        self.whole()?;
        Ok(words::plain(self.text).into_iter().map(|(at, text)| self.word(at, text)).collect())
    }

    fn command(&self) -> Parsed<Command> {
        Ok(match words::json(self.text) {
            Some(list) => Command::Exec(list),
            None => Command::Shell(self.whole()?.text),
        })
    }

    /// `NAME=VALUE…`, or `NAME VALUE` as it was once written.
    fn pairs(&self) -> Parsed<Vec<Pair>> {
        self.whole()?;
        let words = words::raw(self.text, self.escape);
        let Some((_, first)) = words.first() else { return Ok(Vec::new()) };
        if !first.contains('=') {
            let (name, value) = words::first(self.text);
            let text = self.text.get(value..).unwrap_or_default();
            if text.is_empty() {
                let message = format!("`{}` needs a name and a value", self.name);
                return Err(self.fault(message).hint(format!("as in `{} {name}=value`", self.name)));
            }
            return Ok(vec![Pair { name: self.word(0, name), value: self.word(value, text) }]);
        }
        let pair = |(at, word): (usize, &str)| match word.split_once('=') {
            Some(("", _)) | None => {
                let message = format!("`{}` is not of the form `name=value`", shown(word));
                Err(ContainerfileError::new(self.line.at(self.rest + at), message)
                    .hint("a value with blanks stands in quotes"))
            }
            Some((name, value)) => {
                Ok(Pair { name: self.word(at, name), value: self.word(at + name.len() + 1, value) })
            }
        };
        words.into_iter().map(pair).collect()
    }

    fn args(&self) -> Parsed<Vec<Arg>> {
        self.whole()?;
        let arg = |(at, word): (usize, &str)| {
            let (name, default) = match word.split_once('=') {
                Some((name, value)) => (name, Some(self.word(at + name.len() + 1, value))),
                None => (word, None),
            };
            if name.is_empty() {
                return Err(ContainerfileError::new(self.line.at(self.rest + at), "an `ARG` without a name"));
            }
            Ok(Arg { name: self.word(at, name), default })
        };
        words::raw(self.text, self.escape).into_iter().map(arg).collect()
    }

    fn from(&mut self) -> Parsed<Instruction> {
        let words = self.plain_words()?;
        let platform = self.flags.text("platform")?;
        let mut words = words.into_iter();
        let (base, name) = match (words.next(), words.next(), words.next(), words.next()) {
            (Some(base), None, ..) => (base, None),
            (Some(base), Some(word), Some(name), None) if word.text.eq_ignore_ascii_case("as") => {
                let is_name = name.text.starts_with(|first: char| first.is_ascii_alphabetic())
                    && name.text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
                if !is_name {
                    let message = format!("`{}` cannot be a stage's name", shown(&name.text));
                    return Err(ContainerfileError::new(name.at, message).hint(
                        "a name begins with a letter, and has letters, digits, `-`, `_` and `.` only",
                    ));
                }
                (base, Some(name))
            }
            _ => {
                return Err(
                    self.fault("`FROM` takes an image, and `AS` with a name where the stage gets one")
                );
            }
        };
        Ok(Instruction::From(From { base, name, platform }))
    }

    fn run(&mut self) -> Parsed<Instruction> {
        let command = self.command()?;
        if command == Command::Exec(Vec::new()) {
            return Err(self.fault("`RUN` has nothing to run"));
        }
        Ok(Instruction::Run(Run {
            command,
            heredocs: self.line.heredocs.clone(),
            mounts: self.flags.texts("mount")?,
            network: self.flags.text("network")?,
            security: self.flags.text("security")?,
        }))
    }

    /// The sources and the destination.
    fn paths(&self) -> Parsed<(Vec<Input>, Word)> {
        let words: Vec<Word> = match words::json(self.text) {
            Some(list) => list.into_iter().map(|text| self.word(0, &text)).collect(),
            // Quotes are characters of a path, but for the words that end here-documents.
            None if self.line.heredocs.is_empty() => self.plain_words()?,
            None => {
                words::raw(self.text, self.escape).into_iter().map(|(at, text)| self.word(at, text)).collect()
            }
        };
        let mut words = words.into_iter();
        let Some(destination) = words.next_back().filter(|_| words.len() > 0) else {
            let message = format!("`{}` needs a source and a destination", self.name);
            return Err(self.fault(message).hint(format!("as in `{} file /folder/`", self.name)));
        };
        let mut heredocs = self.line.heredocs.iter().peekable();
        let mut input = |word: Word| {
            let begins = words::heredoc(&word.text, self.escape).map(|it| it.name);
            match heredocs.next_if(|next| Some(&next.name) == begins.as_ref()) {
                Some(heredoc) => Input::Heredoc(Heredoc::clone(heredoc)),
                None => Input::Path(word),
            }
        };
        let sources = words.map(&mut input).collect();
        if let Input::Heredoc(_) = input(destination.clone()) {
            return Err(ContainerfileError::new(destination.at, "a here-document cannot be the destination"));
        }
        Ok((sources, destination))
    }

    fn options(&mut self) -> Parsed<CopyOptions> {
        Ok(CopyOptions {
            chown: self.flags.text("chown")?,
            chmod: self.flags.text("chmod")?,
            link: self.flags.switch("link")?.unwrap_or_default(),
            exclude: self.flags.texts("exclude")?,
        })
    }

    fn copy(&mut self) -> Parsed<Instruction> {
        let (sources, destination) = self.paths()?;
        Ok(Instruction::Copy(Copy {
            sources,
            destination,
            from: self.flags.text("from")?,
            options: self.options()?,
            parents: self.flags.switch("parents")?.unwrap_or_default(),
        }))
    }

    fn add(&mut self) -> Parsed<Instruction> {
        let (sources, destination) = self.paths()?;
        Ok(Instruction::Add(Add {
            sources,
            destination,
            options: self.options()?,
            checksum: self.flags.text("checksum")?,
            keep_git_dir: self.flags.switch("keep-git-dir")?.unwrap_or_default(),
            unpack: self.flags.switch("unpack")?,
        }))
    }

    fn healthcheck(&mut self) -> Parsed<Healthcheck> {
        self.whole()?;
        let (kind, after) = words::first(self.text);
        let arguments = self.text.get(after..).unwrap_or_default();
        if kind.eq_ignore_ascii_case("none") {
            if !arguments.is_empty() {
                return Err(self.fault("`HEALTHCHECK NONE` takes no arguments"));
            }
            return Ok(Healthcheck::None);
        }
        if !kind.eq_ignore_ascii_case("cmd") {
            let message = format!("`HEALTHCHECK` takes `CMD` or `NONE`, not `{}`", shown(kind));
            return Err(self.fault(message));
        }
        if arguments.is_empty() {
            return Err(self.fault("`HEALTHCHECK CMD` needs a command"));
        }
        let command = match words::json(arguments) {
            Some(list) if list.is_empty() => return Err(self.fault("`HEALTHCHECK CMD` needs a command")),
            Some(list) => Command::Exec(list),
            None => Command::Shell(arguments.to_owned()),
        };
        let times = HealthTimes {
            interval: self.flags.time("interval")?,
            timeout: self.flags.time("timeout")?,
            start_period: self.flags.time("start-period")?,
            start_interval: self.flags.time("start-interval")?,
        };
        let retries = self.flags.text("retries")?.map(|word| {
            word.text.parse().map_err(|_| {
                ContainerfileError::new(word.at, format!("`{}` is no number of retries", shown(&word.text)))
            })
        });
        Ok(Healthcheck::Command { command, times, retries: retries.transpose()? })
    }

    fn onbuild(&mut self) -> Parsed<Instruction> {
        self.whole()?;
        let inner = instruction(&self.line.part(self.rest), self.escape)?;
        let name = match inner.instruction {
            Instruction::Onbuild(_) => "ONBUILD",
            Instruction::From(_) => "FROM",
            Instruction::Maintainer(_) => "MAINTAINER",
            _ => return Ok(Instruction::Onbuild(Box::new(inner))),
        };
        Err(self.fault(format!("`ONBUILD` cannot hold `{name}`")))
    }
}

/// The flags of an instruction, each taken once; what is left is not known.
struct Flags<'a> {
    line: &'a Line,
    name: &'static str,
    list: Vec<Flag>,
}

impl Flags<'_> {
    fn at(&self, flag: &Flag) -> Position {
        self.line.at(flag.at)
    }

    /// The flags called `name`.
    fn take(&mut self, name: &str) -> Vec<Flag> {
        let (taken, left) = std::mem::take(&mut self.list).into_iter().partition(|flag| flag.name == name);
        self.list = left;
        taken
    }

    fn once(&mut self, name: &str) -> Parsed<Option<Flag>> {
        let mut all = self.take(name).into_iter();
        let first = all.next();
        match all.next() {
            Some(second) => {
                Err(ContainerfileError::new(self.at(&second), format!("`--{name}` is given twice")))
            }
            None => Ok(first),
        }
    }

    fn value(&self, flag: Flag) -> Parsed<Word> {
        let at = self.at(&flag);
        match flag.value {
            Some(text) if !text.is_empty() => Ok(Word { text, at }),
            _ => Err(ContainerfileError::new(at, format!("`--{}` needs a value", flag.name))
                .hint(format!("as in `--{}=value`", flag.name))),
        }
    }

    fn text(&mut self, name: &str) -> Parsed<Option<Word>> {
        self.once(name)?.map(|flag| self.value(flag)).transpose()
    }

    fn texts(&mut self, name: &str) -> Parsed<Vec<Word>> {
        self.take(name).into_iter().map(|flag| self.value(flag)).collect()
    }

    fn switch(&mut self, name: &str) -> Parsed<Option<bool>> {
        let Some(flag) = self.once(name)? else { return Ok(None) };
        match flag.value.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("true" | "") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => {
                let message = format!("`--{name}` is `true` or `false`, not `{}`", shown(other));
                Err(ContainerfileError::new(self.at(&flag), message))
            }
        }
    }

    /// A time of at least a millisecond, or 0.
    fn time(&mut self, name: &str) -> Parsed<Option<u64>> {
        let Some(word) = self.text(name)? else { return Ok(None) };
        match duration(&word.text) {
            Some(time) if time == 0 || time >= 1_000_000 => Ok(Some(time)),
            _ => {
                let message = format!("`{}` is no time of a millisecond or more", shown(&word.text));
                Err(ContainerfileError::new(word.at, message).hint("as in `30s`, `1m30s` or `500ms`"))
            }
        }
    }

    /// Refuses what nobody has taken.
    fn end(&self) -> Parsed<()> {
        let Some(flag) = self.list.first() else { return Ok(()) };
        let known: &[&str] = match self.name {
            "FROM" => &["platform"],
            "RUN" => &["mount", "network", "security"],
            "COPY" => &["from", "chown", "chmod", "link", "parents", "exclude"],
            "ADD" => &["chown", "chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack"],
            "HEALTHCHECK" => &["interval", "timeout", "start-period", "start-interval", "retries"],
            _ => &[],
        };
        let message = format!("`{}` has no flag `--{}`", self.name, shown(&flag.name));
        let err = ContainerfileError::new(self.at(flag), message);
        Err(match (nearest(&flag.name, known.iter().copied()), known) {
            (Some(near), _) => err.hint(format!("did you mean `--{near}`?")),
            (None, []) => err.hint("a word that begins with `--` can be an argument after `--`"),
            (None, known) => err.hint(format!("it has `--{}`", known.join("`, `--"))),
        })
    }
}

/// A time as Go writes it (`1h2m3.5s`), in nanoseconds.
fn duration(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|it: char| it.is_ascii_digit() || it == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let scale = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000_u64,
            _ => return None,
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && part.is_empty() {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part: String = part.chars().chain("000000000".chars()).take(9).collect();
        let nanos = u128::from(part.parse::<u64>().ok()?) * u128::from(scale) / 1_000_000_000;
        total = total.checked_add(whole.checked_mul(scale)?)?.checked_add(u64::try_from(nanos).ok()?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// A word of the file for a message: short, and without what a terminal obeys.
pub(super) fn shown(text: &str) -> String {
    let plain: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().count() > 80 {
        format!("{plain}…")
    } else {
        plain.replace("\\\"", "\"").replace("\\'", "'")
    }
}
