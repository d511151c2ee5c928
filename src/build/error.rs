//! Why a build fails.

use std::io;
use std::path::PathBuf;

use super::context::{ContextError, RemoteError};
use crate::containerfile::{ContainerfileError, Position};
use crate::emulator::EmulatorError;
use crate::image::ImageError;
use crate::layer::LayerError;
use crate::sandbox::SandboxError;

/// What a shell calls the end by an illegal instruction.
const ILLEGAL_INSTRUCTION: u8 = 128 + 4;

/// A build that cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The Containerfile cannot be understood, or asks for what is not there.
    #[error(transparent)]
    File(#[from] ContainerfileError),
    /// Files that an instruction copies are not to be had.
    #[error("copying files of the context")]
    Context {
        /// Where in the Containerfile.
        at: Position,
        /// Why.
        #[source]
        source: Box<ContextError>,
    },
    /// What an instruction takes from an address is not to be had.
    #[error("fetching what is added")]
    Remote {
        /// Where in the Containerfile.
        at: Position,
        /// Why.
        #[source]
        source: Box<RemoteError>,
    },
    /// An image that the build begins with, or copies from, is not to be had.
    #[error("the image `{name}` is not to be had")]
    Image {
        /// Where in the Containerfile.
        at: Position,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<ImageError>,
    },
    /// Programs of the platform cannot be run.
    #[error("running programs for {platform}")]
    Emulator {
        /// Where in the Containerfile.
        at: Position,
        /// The platform.
        platform: String,
        /// Why.
        #[source]
        source: Box<EmulatorError>,
    },
    /// A step's files or its container cannot be had.
    #[error("doing this step")]
    Sandbox {
        /// Where in the Containerfile.
        at: Position,
        /// Why.
        #[source]
        source: Box<SandboxError>,
    },
    /// What a step runs has failed.
    #[error("{}", ended(*.status))]
    Run {
        /// Where in the Containerfile.
        at: Position,
        /// What it ended with: as a shell says it.
        status: u8,
        /// The last of what it said.
        output: Vec<String>,
        /// The CPU model that was asked for, if foreign programs were emulated on one.
        cpu: Option<String>,
    },
    /// What a base says by `ONBUILD` has failed.
    #[error("the base's `ONBUILD {text}`")]
    Trigger {
        /// Where in the Containerfile the stage begins.
        at: Position,
        /// The instruction.
        text: String,
        /// Why.
        #[source]
        source: Box<BuildError>,
    },
    /// A step's layer cannot be made.
    #[error("making the layer of this step")]
    Layer {
        /// Where in the Containerfile.
        at: Position,
        /// Why.
        #[source]
        source: Box<LayerError>,
    },
    /// The image cannot be written.
    #[error("writing the image")]
    Write {
        /// Why.
        #[source]
        source: Box<ImageError>,
    },
    /// The cache cannot be used.
    #[error("using the build cache: `{}`", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A signal has asked the build to end.
    #[error("the build was ended by signal {signal}")]
    Interrupted {
        /// The signal.
        signal: i32,
    },
    /// A stage that is needed has failed; its own error says why.
    #[error("a stage that is needed has failed")]
    Needed,
}

fn ended(status: u8) -> String {
    match status {
        126 | 127 | 0..=124 => format!("the command ended with status {status}"),
        125 => "the command cannot be started, or ended with status 125".into(),
        _ => format!("the command ended with status {status}: by signal {}, if by one", status - 128),
    }
}

impl BuildError {
    pub(super) fn at(at: Position, message: impl Into<String>) -> Self {
        Self::File(ContainerfileError::new(at, message))
    }

    pub(super) fn hinted(at: Position, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::File(ContainerfileError::new(at, message).hint(hint))
    }

    /// Where in the Containerfile, if it is there.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::File(err) => Some(err.at),
            Self::Context { at, .. }
            | Self::Remote { at, .. }
            | Self::Image { at, .. }
            | Self::Emulator { at, .. }
            | Self::Sandbox { at, .. }
            | Self::Run { at, .. }
            | Self::Trigger { at, .. }
            | Self::Layer { at, .. } => Some(*at),
            Self::Write { .. } | Self::Cache { .. } | Self::Interrupted { .. } | Self::Needed => None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(err) => err.hint.clone(),
            Self::Cache { .. } => {
                Some("`POLYARCH_CACHE_DIR` may name another folder for what can be made again".into())
            }
            Self::Run { status: 127, .. } => {
                Some("127 says that a program was not found; its name or `PATH` may be wrong".into())
            }
            Self::Run { status: ILLEGAL_INSTRUCTION, cpu: Some(cpu), .. } => Some(format!(
                "a program was ended by an instruction that the CPU model `{cpu}` does not have: build it, and the libraries \
                 it uses, for that CPU; `polyarch inspect` shows what a program is built for"
            )),
            Self::Trigger { source, .. } => source.hint(),
            _ => None,
        }
    }

    /// The last of what a failed command said.
    #[must_use]
    pub fn output(&self) -> &[String] {
        match self {
            Self::Run { output, .. } => output,
            Self::Trigger { source, .. } => source.output(),
            _ => &[],
        }
    }

    /// This, where the base's `ONBUILD` asked for it. A signal, and what failed elsewhere, stay what they are.
    pub(super) fn of_trigger(self, at: Position, text: &str) -> Self {
        match self {
            Self::Interrupted { .. } | Self::Needed => self,
            source => Self::Trigger { at, text: text.to_owned(), source: Box::new(source) },
        }
    }
}
