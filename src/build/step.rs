//! What a build does, one step for each instruction, with every variable expanded.

use crate::containerfile::{Mount, Position};

/// A step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Where its instruction stands.
    pub at: Position,
    /// What the image's history says.
    pub created_by: String,
    /// What it does to the files.
    pub action: Action,
}

/// What a step does to the files.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Nothing.
    None,
    /// Makes a folder, if it is not there.
    Workdir {
        /// Its path.
        path: String,
    },
    /// Runs a program.
    Run(Run),
    /// Copies files.
    Copy(Copy),
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The command line.
    pub args: Vec<String>,
    /// A program that is there only while the step runs: its path and its text.
    pub script: Option<(String, String)>,
    /// The environment, in order.
    pub env: Vec<(String, String)>,
    /// Variables of which neither the history nor the cache know.
    pub hidden_env: Vec<(String, String)>,
    /// Who runs it.
    pub user: String,
    /// Where.
    pub cwd: String,
    /// What is mounted meanwhile.
    pub mounts: Vec<Mount>,
    /// Whether it has no network (`none`), the machine's (`host`), or what is the default.
    pub network: Option<String>,
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq)]
pub struct Copy {
    /// Whether it is `ADD`: addresses and archives mean something.
    pub add: bool,
    /// `--from`: a stage, an image or a context; the build's context where there is none.
    pub from: Option<String>,
    /// What is copied.
    pub sources: Vec<Source>,
    /// Where to, from the root; with a slash at its end a folder.
    pub destination: String,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--exclude`.
    pub exclude: Vec<String>,
    /// `--parents`.
    pub parents: bool,
    /// `--link`.
    pub link: bool,
    /// `--unpack`.
    pub unpack: Option<bool>,
    /// `--checksum`.
    pub checksum: Option<String>,
    /// `--keep-git-dir`.
    pub keep_git_dir: bool,
}

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path or a pattern.
    Path(String),
    /// A file that stands in the Containerfile.
    File {
        /// Its name.
        name: String,
        /// What it holds.
        content: String,
    },
}
