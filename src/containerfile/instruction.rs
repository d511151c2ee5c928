//! Instructions, as they are written: variables in them are not expanded yet.

use std::ops::RangeInclusive;

use super::error::Position;
use super::source::Heredoc;

/// A word, its quotes and variables as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The text.
    pub text: String,
    /// Where it stands.
    pub at: Position,
}

/// A name and what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: Word,
    /// The value.
    pub value: Word,
}

/// An instruction and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Where it begins.
    pub at: Position,
    /// The lines of the file that it takes.
    pub lines: RangeInclusive<usize>,
    /// Its text, continuations joined, without the bodies of here-documents: what the image's history says.
    pub text: String,
    /// The instruction.
    pub instruction: Instruction,
}

impl Located {
    /// Its text with the bodies of its here-documents, which reads as the same instruction.
    #[must_use]
    pub fn whole(&self) -> String {
        let inputs = |inputs: &[Input]| {
            let heredoc = |input: &Input| match input {
                Input::Heredoc(heredoc) => Some(heredoc.clone()),
                Input::Path(_) => None,
            };
            inputs.iter().filter_map(heredoc).collect()
        };
        let heredocs: Vec<Heredoc> = match &self.instruction {
            Instruction::Run(run) => run.heredocs.clone(),
            Instruction::Copy(copy) => inputs(&copy.sources),
            Instruction::Add(add) => inputs(&add.sources),
            _ => Vec::new(),
        };
        let bodies = heredocs.iter().map(|it| format!("\n{}{}", it.body, it.name));
        std::iter::once(self.text.clone()).chain(bodies).collect()
    }
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Instruction {
    /// `FROM`: a stage begins.
    From(From),
    /// `ARG`, of a stage.
    Arg(Vec<Arg>),
    /// `RUN`.
    Run(Run),
    /// `COPY`.
    Copy(Copy),
    /// `ADD`.
    Add(Add),
    /// `ENV`.
    Env(Vec<Pair>),
    /// `LABEL`.
    Label(Vec<Pair>),
    /// `USER`.
    User(Word),
    /// `WORKDIR`.
    Workdir(Word),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `CMD`.
    Cmd(Command),
    /// `EXPOSE`.
    Expose(Vec<Word>),
    /// `VOLUME`.
    Volume(Vec<Word>),
    /// `STOPSIGNAL`.
    StopSignal(Word),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `ONBUILD`: what a build that begins with the image does.
    Onbuild(Box<Located>),
    /// `MAINTAINER`, which docker calls deprecated.
    Maintainer(String),
}

/// `FROM IMAGE [AS NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// An image, a stage before this one, or `scratch`.
    pub base: Word,
    /// The stage's name.
    pub name: Option<Word>,
    /// `--platform`.
    pub platform: Option<Word>,
}

/// `ARG NAME[=DEFAULT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// Its name.
    pub name: Word,
    /// What it is if the build gives nothing.
    pub default: Option<Word>,
}

/// A command line in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A list of words, which nothing expands.
    Exec(Vec<String>),
    /// A line for the shell.
    Shell(String),
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What is run.
    pub command: Command,
    /// Here-documents of a command in the shell's form.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, each as it is written; see [`super::Mount::parse`].
    pub mounts: Vec<Word>,
    /// `--network`.
    pub network: Option<Word>,
    /// `--security`.
    pub security: Option<Word>,
}

/// A source of `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A path, pattern or address.
    Path(Word),
    /// A here-document, which is a file of that name.
    Heredoc(Heredoc),
}

/// `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// What is copied.
    pub sources: Vec<Input>,
    /// Where to: a folder if it ends with a slash.
    pub destination: Word,
    /// `--from`: a stage, an image or a named context.
    pub from: Option<Word>,
    /// What it shares with ADD.
    pub options: CopyOptions,
    /// `--parents`: the sources keep their folders.
    pub parents: bool,
}

/// `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// What is added.
    pub sources: Vec<Input>,
    /// Where to.
    pub destination: Word,
    /// What it shares with COPY.
    pub options: CopyOptions,
    /// `--checksum` of a remote file.
    pub checksum: Option<Word>,
    /// `--keep-git-dir`.
    pub keep_git_dir: bool,
    /// `--unpack`: whether archives are unpacked; local ones are if nothing is said, remote ones are not.
    pub unpack: Option<bool>,
}

/// Flags of `COPY` and `ADD`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// `--chown=USER[:GROUP]`.
    pub chown: Option<Word>,
    /// `--chmod=MODE`.
    pub chmod: Option<Word>,
    /// `--link`: the copy is a layer of its own, whatever lies under it.
    pub link: bool,
    /// `--exclude`, each a pattern as in `.dockerignore`.
    pub exclude: Vec<Word>,
}

/// `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `NONE`: that of the base counts no more.
    None,
    /// `CMD`.
    Command {
        /// What is run.
        command: Command,
        /// Times in nanoseconds.
        times: HealthTimes,
        /// `--retries`.
        retries: Option<u64>,
    },
}

/// Times of `HEALTHCHECK`, in nanoseconds; what is not given is the runtime's to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthTimes {
    /// `--interval`.
    pub interval: Option<u64>,
    /// `--timeout`.
    pub timeout: Option<u64>,
    /// `--start-period`.
    pub start_period: Option<u64>,
    /// `--start-interval`.
    pub start_interval: Option<u64>,
}
