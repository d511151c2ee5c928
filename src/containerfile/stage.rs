//! From instructions to stages.

use super::error::{ContainerfileError, Position, Warning};
use super::instruction::{Arg, From, Instruction, Located};
use super::lint;
use super::parse;
use super::source::{Directives, Source};

/// A Containerfile, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Containerfile {
    /// The directives at its head.
    pub directives: Directives,
    /// The arguments that stand before the first stage.
    pub args: Vec<Arg>,
    /// The stages, at least one.
    pub stages: Vec<Stage>,
    /// What is probably not meant, in the order of the file.
    pub warnings: Vec<Warning>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What it begins with.
    pub from: From,
    /// Its name, in small letters.
    pub name: Option<String>,
    /// Where its `FROM` stands.
    pub at: Position,
    /// The text of its `FROM`.
    pub text: String,
    /// What follows.
    pub instructions: Vec<Located>,
}

/// The most stages of a file: each is done by a thread of its own.
const STAGES: usize = 250;

impl Containerfile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ContainerfileError`], the first thing that is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, ContainerfileError> {
        let source = Source::read(text)?;
        let escape = source.directives.escape;
        let mut all = Vec::new();
        for line in &source.lines {
            all.push(parse::instruction(line, escape)?);
        }
        let mut warnings = source.warnings;
        warnings.extend(lint::of(&all, &source.lines, escape));
        warnings.sort_by_key(|warning| warning.at);
        let (mut args, mut stages) = (Vec::new(), Vec::<Stage>::new());
        for located in all {
            let count = stages.len();
            match (located.instruction, stages.last_mut()) {
                (Instruction::From(_), Some(_)) if count >= STAGES => {
                    let message = format!("there are more than {STAGES} stages");
                    return Err(ContainerfileError::new(located.at, message));
                }
                (Instruction::From(from), _) => stages.push(Stage {
                    name: from.name.as_ref().map(|name| name.text.to_ascii_lowercase()),
                    from,
                    at: located.at,
                    text: located.text,
                    instructions: Vec::new(),
                }),
                (Instruction::Arg(list), None) => args.extend(list),
                (instruction, Some(stage)) => stage.instructions.push(Located { instruction, ..located }),
                (_, None) => {
                    return Err(ContainerfileError::new(located.at, "the first instruction must be `FROM`")
                        .hint("only `ARG` may stand before it; `FROM scratch` begins with nothing"));
                }
            }
        }
        if stages.is_empty() {
            let at = Position { line: 1, column: 1 };
            let message =
                if args.is_empty() { "the file has no instructions" } else { "the file has no `FROM`" };
            return Err(ContainerfileError::new(at, message).hint("an image begins with `FROM`"));
        }
        Ok(Self { directives: source.directives, args, stages, warnings })
    }

    /// The number of the stage that `name` means: by its name, of several of that name the last, or by its number from 0.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<usize> {
        self.stage_before(name, self.stages.len())
    }

    /// The same among the stages before `end`: what a stage may begin with, or copy from.
    #[must_use]
    pub fn stage_before(&self, name: &str, end: usize) -> Option<usize> {
        let lower = name.to_ascii_lowercase();
        let known = self.stages.get(..end)?;
        let by_name = known.iter().rposition(|stage| stage.name.as_deref() == Some(&lower));
        by_name.or_else(|| name.parse().ok().filter(|number| *number < known.len()))
    }
}
