//! Whether an emulator works: a small guest program of our own is run under it, one check at a time.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::find::{self, Options};
use super::{Emulator, EmulatorError};
use crate::target::{Catalogue, Guest, Platform};

/// The guest programs, by QEMU's name of the guest. `scripts/build-probes` builds them.
const PROBES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/probes.rs"));

/// How long one check may take. An emulator under another on a busy machine needs a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// A 64-bit emulator wants the lowest 4 GiB for a 32-bit guest, where the emulator that it is run under is itself. It
/// is told another place, which is within what every 64-bit machine has.
const BASE: &[&str] = &["-B", "0x1000000000"];

/// The most of a program's output that is looked at, in bytes.
const OUTPUT: u64 = 4096;

/// One of the checks: its name, and the letter that the guest program does it for.
const LETTERS: [(&str, u8); 5] =
    [("arithmetic", b'a'), ("signal", b's'), ("thread", b't'), ("fork", b'f'), ("uname", b'u')];

/// The names of the checks, in their order.
pub const CHECKS: [&str; 5] = {
    let mut names = [""; 5];
    let mut at = 0;
    while at < names.len() {
        names[at] = LETTERS[at].0;
        at += 1;
    }
    names
};

/// What came of one emulator.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Verified {
    /// The emulator.
    pub emulator: Emulator,
    /// The emulator that this one was run under, where it is not for this machine.
    pub under: Option<PathBuf>,
    /// The checks, in the order of [`CHECKS`].
    pub checks: Vec<Check>,
}

impl Verified {
    /// Whether every check went well.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.checks.iter().all(|check| check.outcome == Outcome::Passed)
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// Which.
    pub name: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Outcome {
    /// It went well.
    Passed,
    /// The guest program ended well, with another result.
    Wrong {
        /// What it should have said.
        expected: String,
        /// What it said.
        found: String,
    },
    /// The guest program, or the emulator, ended otherwise.
    Died {
        /// How it ended.
        how: String,
        /// What was said on standard error, its last line.
        said: String,
    },
    /// It did not end in time.
    Hung {
        /// How long was waited, in seconds.
        seconds: u64,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Wrong { expected, found } => {
                write!(f, "failed: expected `{expected}` but found `{}`", found.escape_default())
            }
            Self::Died { how, said } if said.is_empty() => write!(f, "failed: {how}"),
            Self::Died { how, said } => write!(f, "failed: {how}: {}", said.escape_default()),
            Self::Hung { seconds } => write!(f, "failed: no end within {seconds} seconds"),
        }
    }
}

/// Whether there is a guest program to verify emulators of `guest` with.
#[must_use]
pub fn has_probe(guest: &Guest) -> bool {
    probe(guest).is_some()
}

fn probe(guest: &Guest) -> Option<&'static [u8]> {
    PROBES.iter().find(|(name, _)| *name == guest.name).map(|(_, program)| *program)
}

/// Runs the guest program under `emulator`, once for each check. An emulator for another machine is run under this
/// machine's emulator for that, which `options` tell where to find.
///
/// # Errors
/// [`EmulatorError`] where nothing can be run; a check that fails is no error.
pub fn verify(guest: &Guest, emulator: Emulator, options: &Options<'_>) -> Result<Verified, EmulatorError> {
    let program = probe(guest).ok_or_else(|| EmulatorError::NoProbe { guest: guest.name.clone() })?;
    // Verified means read whole, and not only known from before.
    let found = super::probe::sha256(&emulator.path)?;
    if found != emulator.sha256 {
        let Emulator { path, guest, host, sha256: expected, .. } = emulator;
        return Err(EmulatorError::Changed { path, guest, host: Box::new(host), expected, found });
    }
    let under = under(&emulator, options)?;
    // Without a name there is nothing to leave behind. The emulator opens it as the descriptor that it inherits.
    let name = format!("probe-{}", guest.name);
    let memory = || {
        let file = rustix::fs::memfd_create(name.as_str(), rustix::fs::MemfdFlags::empty())?;
        let mut file = File::from(file);
        file.write_all(program)?;
        io::Result::Ok(file)
    };
    let file = memory().map_err(|source| EmulatorError::Write { path: name.clone().into(), source })?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // The fifth byte of an ELF file is its class, 2 for 64 bits.
    let is_wide = find::host_target(&emulator.host)?.elf.class == 64;
    let place: &[&str] = if is_wide && guest.binfmt.magic.get(4) == Some(&1) { BASE } else { &[] };
    let mut checks = Vec::new();
    for (name, letter) in LETTERS {
        let mut command = match &under {
            Some(under) => {
                let mut command = Command::new(under);
                command.arg(&emulator.path).args(place);
                command
            }
            None => Command::new(&emulator.path),
        };
        command.arg(&path);
        let ended = run(command, letter, PATIENCE)
            .map_err(|source| EmulatorError::Start { path: emulator.path.clone(), source })?;
        checks.push(Check { name, outcome: judge(letter, guest, &ended) });
    }
    Ok(Verified { emulator, under, checks })
}

/// The emulator that `emulator` itself needs on this machine.
fn under(emulator: &Emulator, options: &Options<'_>) -> Result<Option<PathBuf>, EmulatorError> {
    let (here, there) = (Platform::host(), find::host_target(&emulator.host)?);
    if find::host_target(&here)?.runs_natively(&there.qemu.guest) {
        return Ok(None);
    }
    let no_way = |source| EmulatorError::NoWay {
        guest: emulator.guest.clone(),
        host: Box::new(emulator.host.clone()),
        needed: there.qemu.guest.clone(),
        source: Box::new(source),
    };
    let host = Catalogue::builtin().guest(&there.qemu.guest).map_err(|source| {
        no_way(EmulatorError::Host { host: Box::new(emulator.host.clone()), source: Box::new(source) })
    })?;
    let options = Options { given: None, ..options.clone() };
    find::find(host, &here, &options).map(|found| Some(found.path)).map_err(no_way)
}

/// How a run ended.
struct Ended {
    /// `None` where it was killed for taking too long.
    status: Option<ExitStatus>,
    stdout: String,
    stderr: String,
}

/// Runs `command` with one letter on its standard input, and kills it with all its children if it takes longer.
fn run(mut command: Command, letter: u8, patience: Duration) -> io::Result<Ended> {
    command.env_clear().process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that is gone already tells that by how it ended.
        let _ = stdin.write_all(&[letter]);
    }
    let (sender, receiver) = mpsc::channel();
    let streams = (child.stdout.take(), child.stderr.take());
    let reader = thread::spawn(move || {
        let stderr = thread::spawn(move || text(streams.1));
        let stdout = text(streams.0);
        let stderr = stderr.join().unwrap_or_default();
        // The other side may have lost its patience.
        let _ = sender.send((stdout, stderr));
    });
    let said = receiver.recv_timeout(patience).ok();
    if said.is_none() {
        kill(&child);
    }
    let status = child.wait()?;
    // Both ends of the pipes are closed now.
    let _ = reader.join();
    let is_over = said.is_some();
    let (stdout, stderr) = said.unwrap_or_default();
    Ok(Ended { status: is_over.then_some(status), stdout, stderr })
}

/// Kills a child and what it has started: they are a group of their own.
fn kill(child: &Child) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // They may have ended by themselves in between.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

fn text(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // What was read before a failure says enough; the rest is taken so that the writer does not wait.
        let _ = stream.by_ref().take(OUTPUT).read_to_end(&mut bytes);
        let _ = io::copy(&mut stream, &mut io::sink());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn judge(letter: u8, guest: &Guest, ended: &Ended) -> Outcome {
    let Some(status) = ended.status else { return Outcome::Hung { seconds: PATIENCE.as_secs() } };
    if !status.success() {
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("it exited with status {code}"),
            (None, Some(signal)) => format!("signal {signal} killed it"),
            (None, None) => "it did not end well".into(),
        };
        let said = ended.stderr.trim_end().lines().last().unwrap_or_default().to_owned();
        return Outcome::Died { how, said };
    }
    let expected = match letter {
        b'a' => arithmetic(),
        b'u' => guest.uname.clone(),
        _ => "y".into(),
    };
    let found = ended.stdout.trim_end_matches('\n').to_owned();
    if found == expected { Outcome::Passed } else { Outcome::Wrong { expected, found } }
}

/// The sums that the guest program makes, in the same order: see `arithmetic` in `probes/probe.c`.
fn arithmetic() -> String {
    let mut x: u32 = 0x2545_f491;
    let mut sum: u32 = 0;
    let mut negative = (x >> 1).cast_signed().wrapping_neg();
    let mut wide = u64::from(x) << 29 | u64::from(x);
    for i in 1..=1000_u32 {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        sum = sum.rotate_left(5) ^ (x / (i | 1));
        sum = sum.wrapping_add(x % (i + 7));
        negative = (negative >> 1).wrapping_sub((x >> 3).cast_signed());
        sum ^= negative.cast_unsigned();
        wide = wide.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(u64::from(x));
        wide ^= wide >> 23;
    }
    format!("{sum:08x}{wide:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_is_of_a_guest_and_small() {
        for (name, program) in PROBES {
            assert!(program.len() <= 8192, "{name}: {}", program.len());
            let guest = Catalogue::builtin().guest(name).unwrap();
            assert_eq!(guest.name, *name);
            assert!(guest.binfmt.matches(program), "{name}");
        }
        assert!(PROBES.len() >= 28);
    }

    fn shell(script: &str) -> Ended {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        run(command, b'f', Duration::from_millis(500)).unwrap()
    }

    fn outcome(letter: u8, script: &str) -> Outcome {
        judge(letter, Catalogue::builtin().guest("mips").unwrap(), &shell(script))
    }

    #[test]
    fn a_run_is_judged_by_its_end_and_its_words() {
        assert_eq!(outcome(b'f', "read -r x; echo y"), Outcome::Passed);
        assert_eq!(outcome(b'u', "echo mips"), Outcome::Passed);
        assert_eq!(
            outcome(b'u', "echo vax"),
            Outcome::Wrong { expected: "mips".into(), found: "vax".into() }
        );
        assert!(matches!(outcome(b'a', "echo y"), Outcome::Wrong { .. }));
        let (how, said) = ("it exited with status 3".into(), "bad".into());
        assert_eq!(
            outcome(b'f', "echo y; echo worse >&2; echo bad >&2; exit 3"),
            Outcome::Died { how, said }
        );
        let (how, said) = ("signal 11 killed it".into(), String::new());
        assert_eq!(outcome(b'f', "kill -SEGV $$"), Outcome::Died { how, said });
        // A child that lives on keeps the pipe open; it is killed too.
        assert!(matches!(outcome(b'f', "tail -f /dev/null & echo y"), Outcome::Hung { .. }));
        // A program that says more than is looked at is not left waiting.
        assert!(matches!(outcome(b'f', "head -c 1000000 /dev/zero"), Outcome::Wrong { .. }));
    }
}
