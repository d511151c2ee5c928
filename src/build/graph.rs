//! Which stages a build needs, and what each begins with.

use super::{Args, BuildError};
use crate::containerfile::{Containerfile, Expander, Instruction, Mount, Position, Stage};
use crate::target::Platform;

/// What a stage begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// Another stage, by its number.
    Stage(usize),
    /// An image, by its name.
    Image(String),
}

/// A stage that a build needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number in the file.
    pub stage: usize,
    /// What it begins with.
    pub base: Base,
    /// The platform that it is built for.
    pub platform: Platform,
    /// The stages that it needs, its base among them.
    pub needs: Vec<usize>,
}

/// The stages that are needed for stage `wanted`, each after those that it needs itself.
///
/// # Errors
/// [`BuildError`] where a base cannot be told, or a stage needs itself.
pub fn graph(
    file: &Containerfile,
    args: &Args,
    wanted: usize,
    platform: &Platform,
    parse_platform: &dyn Fn(&str) -> Result<Platform, String>,
) -> Result<Vec<Node>, BuildError> {
    let mut graph = Graph { file, args, platform, parse_platform, nodes: Vec::new() };
    graph.add(wanted)?;
    Ok(graph.nodes)
}

/// The number of the stage that is asked for: the last one where no name is given.
///
/// # Errors
/// [`BuildError`] where there is none of that name.
pub fn wanted(file: &Containerfile, name: Option<&str>) -> Result<usize, BuildError> {
    let Some(name) = name else { return Ok(file.stages.len().saturating_sub(1)) };
    file.stage(name).ok_or_else(|| {
        let names: Vec<&str> = file.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
        let hint = if names.is_empty() {
            "no stage has a name; one gets it by `FROM image AS name`".to_owned()
        } else {
            format!("the stages are `{}`", names.join("`, `"))
        };
        BuildError::hinted(Position { line: 1, column: 1 }, format!("there is no stage `{name}`"), hint)
    })
}

struct Graph<'a> {
    file: &'a Containerfile,
    args: &'a Args,
    platform: &'a Platform,
    parse_platform: &'a dyn Fn(&str) -> Result<Platform, String>,
    nodes: Vec<Node>,
}

impl Graph<'_> {
    /// Stages name only those before them, so that this ends.
    fn add(&mut self, number: usize) -> Result<(), BuildError> {
        if self.nodes.iter().any(|node| node.stage == number) {
            return Ok(());
        }
        let Some(stage) = self.file.stages.get(number) else { return Ok(()) };
        let base = self.base(number, stage)?;
        let platform = self.platform_of(stage)?;
        let mut needs = Vec::new();
        if let Base::Stage(other) = base {
            needs.push(other);
        }
        // What the base says by `ONBUILD` is done here.
        if let Some(base) = needs.first().and_then(|other| self.file.stages.get(*other)) {
            for located in &base.instructions {
                if let Instruction::Onbuild(inner) = &located.instruction {
                    self.needs_of(number, &inner.instruction, &mut needs)?;
                }
            }
        }
        for located in &stage.instructions {
            self.needs_of(number, &located.instruction, &mut needs)?;
        }
        needs.sort_unstable();
        needs.dedup();
        for other in &needs {
            self.add(*other)?;
        }
        self.nodes.push(Node { stage: number, base, platform, needs });
        Ok(())
    }

    fn expanded(&self, text: &str, at: Position) -> Result<String, BuildError> {
        let lookup = |name: &str| self.args.global(name);
        let expander = Expander::new(self.file.directives.escape, &lookup);
        expander.word(text).map_err(|err| BuildError::at(at, err.to_string()))
    }

    fn base(&self, number: usize, stage: &Stage) -> Result<Base, BuildError> {
        let word = &stage.from.base;
        let name = self.expanded(&word.text, word.at)?;
        if name.is_empty() {
            return Err(BuildError::hinted(
                word.at,
                format!("the base `{}` is empty", word.text),
                "give it by `--build-arg`, or a default in the `ARG` before `FROM`",
            ));
        }
        if name == "scratch" {
            return Ok(Base::Scratch);
        }
        let lower = name.to_ascii_lowercase();
        // Only names here: a number would be an image's name.
        let before = self.file.stages.get(..number).unwrap_or_default();
        Ok(match before.iter().rposition(|stage| stage.name.as_deref() == Some(&lower)) {
            Some(other) => Base::Stage(other),
            None => Base::Image(name),
        })
    }

    fn platform_of(&self, stage: &Stage) -> Result<Platform, BuildError> {
        let Some(word) = &stage.from.platform else { return Ok(self.platform.clone()) };
        let text = self.expanded(&word.text, word.at)?;
        (self.parse_platform)(&text).map_err(|reason| BuildError::at(word.at, reason))
    }

    /// The stages that an instruction reads from.
    fn needs_of(
        &self,
        number: usize,
        instruction: &Instruction,
        needs: &mut Vec<usize>,
    ) -> Result<(), BuildError> {
        match instruction {
            Instruction::Copy(copy) => {
                if let Some(from) = &copy.from {
                    let name = self.expanded(&from.text, from.at)?;
                    needs.extend(self.source(number, &name, from.at)?);
                }
            }
            Instruction::Run(run) => {
                for word in &run.mounts {
                    // What is not understood here is told when the step is made.
                    if let Ok(Mount::Bind { from: Some(from), .. } | Mount::Cache { from: Some(from), .. }) =
                        Mount::parse(&self.expanded(&word.text, word.at)?)
                    {
                        needs.extend(self.source(number, &from, word.at)?);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The stage that `--from` means; `None` for an image or a context.
    fn source(&self, number: usize, name: &str, at: Position) -> Result<Option<usize>, BuildError> {
        if let Some(other) = self.file.stage_before(name, number) {
            return Ok(Some(other));
        }
        match self.file.stage(name) {
            Some(other) if other == number => Err(BuildError::hinted(
                at,
                format!("the stage `{name}` cannot copy from itself"),
                "stages copy from those before them",
            )),
            Some(_) => Err(BuildError::hinted(
                at,
                format!("the stage `{name}` comes later"),
                "stages copy from those before them",
            )),
            None if name.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(BuildError::at(at, format!("there is no stage of the number {name}")))
            }
            None => Ok(None),
        }
    }
}
