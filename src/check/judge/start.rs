//! What an image runs, and the interpreters of scripts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Judge, Verdict};
use crate::check::subject::What;
use crate::check::{Rule, Severity};
use crate::doctor::{self, Foreign, Place, Subject as Start};
use crate::elf::Script;
use crate::sandbox::DEFAULT_PATH;
use crate::target::Guest;
use crate::tree::root::{Root, resolve};

/// Where an image goes is not this machine: whatever it needs for foreign programs is there.
struct Everything;

impl Foreign for Everything {
    fn no_emulator(&self, _: &Guest) -> Option<String> {
        None
    }

    fn no_way(&self) -> Option<String> {
        None
    }

    fn handlers(&self) -> Option<&crate::binfmt::Status> {
        None
    }
}

impl Judge<'_> {
    /// Whether entry point and command can be started.
    pub(super) fn entrypoint(&mut self) {
        let (Some(image), Some(root)) = (&self.subject.image, self.subject.root) else { return };
        let Some(program) = image.command.first().cloned() else {
            if self.options.base {
                return;
            }
            let (message, severity) = if self.options.routeros {
                let message = "the image names no program to run: RouterOS 7.22 and newer end with `no command specified, set cmd or \
                               entrypoint` (reported)";
                (message, Severity::Error)
            } else {
                (
                    "the image names no program to run: it has neither an entry point nor a command",
                    Severity::Warning,
                )
            };
            let help = "give it an ENTRYPOINT or a CMD, by the program's full path";
            let verdict = Verdict::new(Rule::Entrypoint, message, help).severity(severity);
            return self.of_image(verdict.between("a program", "nothing"));
        };
        let start = Start {
            root,
            program: Some(program.clone()),
            search: image.variable("PATH").unwrap_or(DEFAULT_PATH).to_owned(),
            library_path: image.variable("LD_LIBRARY_PATH").map(str::to_owned),
            cwd: if image.workdir.is_empty() { "/".into() } else { PathBuf::from(&image.workdir) },
            user: image.user.clone(),
            place: Place::Container(None),
        };
        let found = doctor::explain(&start, &Everything);
        for verdict in found.verdicts {
            let rule = match verdict.id {
                // Each of these is a rule of its own, which looks at all programs.
                id if id.starts_with("loader-") || id.starts_with("library-") => continue,
                "machine-unknown" | "damaged" | "other-architecture" => continue,
                "crlf" | "bom" | "script-interpreter-missing" | "env-program-missing" | "script-nesting" => {
                    Rule::Shebang
                }
                "foreign-system" => Rule::ForeignFormat,
                _ => Rule::Entrypoint,
            };
            let message = match rule {
                Rule::Entrypoint if !verdict.message.contains(&format!("`{program}`")) => {
                    format!("the image runs `{program}`: {}", verdict.message)
                }
                _ => verdict.message.clone(),
            };
            let path = verdict.path.as_ref().map(PathBuf::from);
            let new = Verdict::new(rule, message, verdict.help.clone()).severity(Severity::Error);
            match path {
                Some(path) => {
                    // The same was told of it as of any script: now it is known that it is run.
                    self.findings
                        .retain(|finding| !(finding.rule == rule && finding.path.as_ref() == Some(&path)));
                    self.told.remove(&(rule, path.clone()));
                    self.at(&path, new);
                }
                None => self.of_image(new),
            }
        }
    }

    /// Whether the interpreters of executable scripts are there.
    pub(super) fn scripts(&mut self) {
        let Some(root) = self.subject.root else { return };
        let search = self.subject.image.as_ref().and_then(|image| image.variable("PATH"));
        let search = search.unwrap_or(DEFAULT_PATH).to_owned();
        let mut known: HashMap<&Script, Option<(String, String)>> = HashMap::new();
        for file in &self.subject.files {
            let What::Script(script) = &file.what else { continue };
            if !file.is_executable() {
                continue;
            }
            let wrong = known.entry(script).or_insert_with(|| wrong_with(script, root, &search)).clone();
            if let Some((what, help)) = wrong {
                let path = file.path.display();
                let help = help.replace("FILE", &path.to_string());
                let verdict = Verdict::new(Rule::Shebang, format!("`{path}` {what}"), help);
                let line =
                    script.argument.as_ref().map(|argument| format!(" {argument}")).unwrap_or_default();
                let line = format!("#!{}{line}", script.interpreter).escape_debug().to_string();
                self.of_file(file, Verdict { found: Some(line), ..verdict });
            }
        }
    }
}

/// What is wrong with a script's first line, and what to do.
fn wrong_with(script: &Script, root: &dyn Root, search: &str) -> Option<(String, String)> {
    let interpreter = &script.interpreter;
    let ends = |text: &str| text.ends_with('\r');
    if ends(interpreter) || script.argument.as_deref().is_some_and(ends) {
        let name = interpreter.trim_end_matches('\r');
        let what = format!(
            "is a script whose first line ends as Windows ends lines (CR LF): the kernel looks for `{name}` with a carriage \
             return in its name or argument"
        );
        return Some((what, "`sed -i 's/\\r$//' FILE`, and `*.sh text eol=lf` in `.gitattributes`".into()));
    }
    if !interpreter.starts_with('/') {
        let what = format!("is a script for `{interpreter}`, which is looked for in the working directory");
        return Some((what, "give the interpreter's full path after `#!`".into()));
    }
    let Ok(found) = resolve(root, Path::new("/"), Path::new(interpreter)) else {
        let what = format!("is a script for `{interpreter}`, which is not there");
        return Some((what, "install that interpreter, or name one after `#!` that is there".into()));
    };
    if !found.node.is_file() || found.node.mode & 0o111 == 0 {
        let what = format!(
            "is a script for `{interpreter}`, which nobody may execute (mode {:04o})",
            found.node.mode
        );
        return Some((what, format!("`chmod 755 {}`", found.path.display())));
    }
    if Path::new(interpreter).file_name().is_some_and(|name| name == "env") {
        return env(script.argument.as_deref().unwrap_or_default(), root, search);
    }
    None
}

/// `#!/usr/bin/env NAME`: the name is looked up in `PATH`.
fn env(argument: &str, root: &dyn Root, search: &str) -> Option<(String, String)> {
    let mut words: Vec<&str> = match argument.strip_prefix("-S") {
        Some(rest) => rest.split_whitespace().collect(),
        // Without `-S` all of it is one name.
        None => Some(argument).filter(|name| !name.is_empty()).into_iter().collect(),
    };
    words.retain(|word| !word.contains('='));
    let name = words.first().filter(|word| !word.starts_with('-'))?;
    let is_there = |path: &Path| {
        resolve(root, Path::new("/"), path)
            .is_ok_and(|found| found.node.is_file() && found.node.mode & 0o111 != 0)
    };
    let found = if name.contains('/') {
        is_there(Path::new(name))
    } else {
        search.split(':').any(|folder| is_there(&Path::new(folder).join(name)))
    };
    if found {
        return None;
    }
    let what =
        format!("is a script for `{name}`, which `env` finds in none of the folders of `PATH`: `{search}`");
    let help = if argument.contains(' ') && !argument.starts_with("-S") {
        "write `#!/usr/bin/env -S` before a name with arguments".to_owned()
    } else {
        format!("install `{name}`")
    };
    Some((what, help))
}
