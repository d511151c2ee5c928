//! CPU models: what QEMU has, asked of the emulator itself.

use std::path::Path;
use std::process::{Command, Stdio};

use super::EmulatorError;
use crate::target::nearest;

/// Whether the emulator at `path`, which this machine can run, has the CPU `model` (with features behind it, as in `max,sve=off`).
///
/// # Errors
/// [`EmulatorError::Model`] where it has not, and [`EmulatorError::Start`] where it cannot be asked.
pub fn check_model(path: &Path, guest: &str, model: &str) -> Result<(), EmulatorError> {
    // It makes the CPU before it looks at the program, and this one it looks at only.
    let said = ask(path, &["-cpu", model, "/dev/null"])?;
    let is_refusal = |line: &&str| {
        line.contains("unable to find CPU model")
            || line.contains("Property '")
            || line.contains("can't apply")
    };
    let Some(reason) = said.lines().find(is_refusal) else { return Ok(()) };
    let reason = reason.split_once(": ").map_or(reason, |(_, reason)| reason).to_owned();
    let known = ask(path, &["-cpu", "help"])?;
    let is_edge = |character: char| !character.is_ascii_alphanumeric();
    let names = known.split_whitespace().map(|word| word.trim_matches(is_edge)).filter(|word| word.len() > 1);
    let name = model.split(',').next().unwrap_or(model);
    let nearest = nearest(name, names.filter(|known| *known != name));
    Err(EmulatorError::Model { model: model.into(), guest: guest.into(), path: path.into(), reason, nearest })
}

/// What it says, on standard output and error.
fn ask(path: &Path, args: &[&str]) -> Result<String, EmulatorError> {
    let start = |source| EmulatorError::Start { path: path.into(), source };
    let output = Command::new(path).args(args).env_clear().stdin(Stdio::null()).output().map_err(start)?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}
