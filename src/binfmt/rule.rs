//! One rule: its limits, its text form and what it matches.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::target::{Guest, Magic};

/// Offset plus magic must stay below it.
pub(super) const MAGIC_END: usize = 128;
/// A shorter magic ends before `e_machine` and takes the programs of all machines.
const MAGIC_LEAST: usize = 20;
/// The longest interpreter, in bytes.
const INTERPRETER_MOST: usize = 127;
/// The longest registration, in bytes.
pub(super) const LINE_MOST: usize = 1920;
/// The longest name of a file, which an entry is.
const NAME_MOST: usize = 255;
/// What may stand between the fields: none is part of an escape, a flag, or begins a comment in a
/// `binfmt.d` file.
pub(super) const DELIMITERS: &[u8] = b":,|%@=+~^";

/// A registration that the kernel would take, and that tells one machine's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    name: String,
    magic: Magic,
    interpreter: PathBuf,
    flags: Flags,
    delimiter: u8,
}

/// What the kernel does besides when it runs a rule's interpreter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// `P`: the interpreter gets the program's own `argv[0]`, after the program's path.
    pub preserve_argv0: bool,
    /// `O`: the interpreter gets the program as an open descriptor.
    pub open_binary: bool,
    /// `C`: the program's credentials are used, so that a setuid program gains them. Implies `O`.
    pub credentials: bool,
    /// `F`: the interpreter is opened once, at registration, and works in other mount namespaces.
    pub fix_binary: bool,
}

/// A rule is not one that the kernel takes, or that could be let loose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The name cannot be that of an entry.
    #[error("`{name}` cannot name a rule: {reason}")]
    Name {
        /// As asked for.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The interpreter cannot stand in a rule.
    #[error("`{}` cannot be the interpreter of a rule: {reason}", path.display())]
    Interpreter {
        /// As asked for.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Magic and mask are not as long as each other, too short or too long.
    #[error(
        "a rule's magic has {magic} bytes and its mask {mask}; both must have the same number, {MAGIC_LEAST} to {}",
        MAGIC_END - 1
    )]
    Magic {
        /// Bytes of the magic.
        magic: usize,
        /// Bytes of the mask.
        mask: usize,
    },
    /// A text is no registration of a rule.
    #[error("`{line}` registers no rule: {reason}")]
    Text {
        /// Its beginning.
        line: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The registration is longer than the kernel reads.
    #[error("the rule `{name}` takes {found} bytes, and the kernel reads {LINE_MOST}")]
    Line {
        /// The rule.
        name: String,
        /// Its length in bytes.
        found: usize,
    },
    /// The rule matches a program of the host, which would then go to the interpreter.
    #[error("the rule `{name}` matches the host's own program `{}`", program.display())]
    HostProgram {
        /// The rule.
        name: String,
        /// The program.
        program: PathBuf,
    },
}

impl RuleError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Name { .. } => Some("a name is like that of a file: `polyarch-mips`".into()),
            Self::Interpreter { .. } => {
                Some("give the emulator by its absolute path, or link to it from a shorter one".into())
            }
            Self::Magic { .. } => {
                Some("`polyarch target show linux/arm64` shows a rule that is right".into())
            }
            Self::Text { .. } => {
                Some("`polyarch binfmt export --format binfmt.d` writes lines that are right".into())
            }
            Self::Line { .. } => Some("use a shorter name or interpreter".into()),
            Self::HostProgram { .. } => {
                Some("a machine needs no emulator for its own programs; choose another guest".into())
            }
        }
    }
}

impl Rule {
    /// The rule of `guest`, to be registered as `name`.
    ///
    /// # Errors
    /// [`RuleError`] where the kernel would refuse the name or the interpreter.
    pub fn for_guest(
        guest: &Guest,
        name: impl Into<String>,
        interpreter: impl Into<PathBuf>,
        flags: Flags,
    ) -> Result<Self, RuleError> {
        Self::new(name, guest.binfmt.clone(), interpreter, flags)
    }

    /// A rule for the files that `magic` matches.
    ///
    /// # Errors
    /// [`RuleError`] where the kernel would refuse it, or it is too short to tell machines apart.
    pub fn new(
        name: impl Into<String>,
        magic: Magic,
        interpreter: impl Into<PathBuf>,
        flags: Flags,
    ) -> Result<Self, RuleError> {
        let (name, interpreter) = (name.into(), interpreter.into());
        if let Some(reason) = wrong_name(&name) {
            return Err(RuleError::Name { name, reason });
        }
        if let Some(reason) = wrong_interpreter(&interpreter) {
            return Err(RuleError::Interpreter { path: interpreter, reason });
        }
        let (len, mask) = (magic.magic.len(), magic.mask.len());
        if len != mask || !(MAGIC_LEAST..MAGIC_END).contains(&len) {
            return Err(RuleError::Magic { magic: len, mask });
        }
        let taken =
            |byte: &u8| name.as_bytes().contains(byte) || interpreter.as_os_str().as_bytes().contains(byte);
        let Some(delimiter) = DELIMITERS.iter().copied().find(|byte| !taken(byte)) else {
            return Err(RuleError::Interpreter {
                path: interpreter,
                reason: "with the name it holds every character that could part the fields of the rule",
            });
        };
        let rule = Self { name, magic, interpreter, flags, delimiter };
        let found = rule.line().len();
        if found > LINE_MOST {
            return Err(RuleError::Line { name: rule.name, found });
        }
        Ok(rule)
    }

    /// The name of its entry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes that it looks for.
    #[must_use]
    pub fn magic(&self) -> &[u8] {
        &self.magic.magic
    }

    /// Which of their bits count.
    #[must_use]
    pub fn mask(&self) -> &[u8] {
        &self.magic.mask
    }

    /// What the kernel runs.
    #[must_use]
    pub fn interpreter(&self) -> &Path {
        &self.interpreter
    }

    /// How the kernel runs it.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// The registration: `:name:M::magic:mask:interpreter:flags`, as for `register` and `binfmt.d`.
    ///
    /// All bytes of magic and mask are written as `\x7f`: a raw zero byte would end the magic early, and the
    /// entry would match every ELF file of its class.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        let (magic, mask, flags) =
            (escaped(&self.magic.magic), escaped(&self.magic.mask), self.flags.to_string());
        let fields: [&[u8]; 7] = [
            self.name.as_bytes(),
            b"M",
            b"",
            magic.as_bytes(),
            mask.as_bytes(),
            self.interpreter.as_os_str().as_bytes(),
            flags.as_bytes(),
        ];
        let mut line = Vec::new();
        for field in fields {
            line.push(self.delimiter);
            line.extend_from_slice(field);
        }
        line
    }

    /// Whether the kernel takes a file that begins with `header` for this rule's: as it does, over the first
    /// 256 bytes, with zeros behind the end of a shorter file.
    #[must_use]
    pub fn matches(&self, header: &[u8]) -> bool {
        self.magic.matches(header)
    }

    /// Makes sure that the rule does not take `program`, which begins with `header` and which the host runs
    /// itself: its shell, or the program that asks. To register a rule for the host's own programs all the
    /// same, do not ask.
    ///
    /// # Errors
    /// [`RuleError::HostProgram`].
    pub fn check_spares(&self, program: &Path, header: &[u8]) -> Result<(), RuleError> {
        if self.matches(header) {
            return Err(RuleError::HostProgram { name: self.name.clone(), program: program.into() });
        }
        Ok(())
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [
            (self.preserve_argv0, "P"),
            (self.open_binary, "O"),
            (self.credentials, "C"),
            (self.fix_binary, "F"),
        ];
        flags.iter().filter(|(set, _)| *set).try_for_each(|(_, flag)| f.write_str(flag))
    }
}

fn wrong_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if matches!(name, "." | ".." | "register" | "status") {
        Some("the kernel uses that name itself")
    } else if name.bytes().any(|byte| byte == b'/' || byte == b':') {
        Some("it holds `/` or `:`")
    } else if name.chars().any(|character| character.is_control() || character.is_whitespace()) {
        Some("it holds white space or control characters")
    } else if name.len() > NAME_MOST {
        Some("it is longer than 255 bytes")
    } else {
        None
    }
}

fn wrong_interpreter(path: &Path) -> Option<&'static str> {
    let bytes = path.as_os_str().as_bytes();
    if !path.is_absolute() {
        Some("it is not an absolute path")
    } else if bytes.len() > INTERPRETER_MOST {
        Some("it is longer than 127 bytes")
    } else if bytes.iter().any(u8::is_ascii_control) {
        Some("it holds control characters")
    } else {
        None
    }
}

pub(super) fn escaped(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 4);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Catalogue;

    fn mips(name: &str, interpreter: &str) -> Result<Rule, RuleError> {
        Rule::for_guest(Catalogue::builtin().guest("mips").unwrap(), name, interpreter, Flags::default())
    }

    fn magic(magic: usize, mask: usize) -> Magic {
        Magic { magic: vec![1; magic], mask: vec![1; mask] }
    }

    #[test]
    fn a_line_is_escaped_and_parted() {
        let flags = Flags { preserve_argv0: true, fix_binary: true, ..Flags::default() };
        let rule = Rule::new("x", magic(20, 20), "/q", flags).unwrap();
        let line = format!(":x:M::{0}:{0}:/q:PF", "\\x01".repeat(20));
        assert_eq!(String::from_utf8(rule.line()).unwrap(), line);
        // A path with the usual delimiter takes another.
        assert!(mips("x", "/opt/a:b/qemu").unwrap().line().starts_with(b",x,M,,\\x7f\\x45"));
        assert!(matches!(mips("x", "/:,|%@=+~^"), Err(RuleError::Interpreter { .. })));
    }

    #[test]
    fn limits_are_held_before_the_kernel_is_asked() {
        for name in ["", ".", "..", "a/b", "a:b", "a b", "a\n", "register", "status", &"n".repeat(256)] {
            assert!(matches!(mips(name, "/q"), Err(RuleError::Name { .. })), "{name:?}");
        }
        let long = format!("/{}", "i".repeat(127));
        for path in ["", "qemu", "./qemu", "/a\nb", &long] {
            assert!(matches!(mips("x", path), Err(RuleError::Interpreter { .. })), "{path:?}");
        }
        assert!(mips("x", &long[..127]).is_ok());
        for (magic, mask) in [(19, 19), (128, 128), (20, 21), (0, 0)] {
            let rule = Rule::new("x", self::magic(magic, mask), "/q", Flags::default());
            assert_eq!(rule, Err(RuleError::Magic { magic, mask }));
        }
        assert!(Rule::new("x", self::magic(127, 127), "/q", Flags::default()).is_ok());
    }

    #[test]
    fn a_short_file_counts_as_followed_by_zeros() {
        let rule = mips("x", "/q").unwrap();
        let mut header = rule.magic().to_vec();
        assert!(rule.matches(&header));
        // Everything behind e_machine is masked out or zero in the rule.
        header.truncate(20);
        assert!(rule.matches(&header));
        header.truncate(19);
        assert!(!rule.matches(&header));
        assert!(!rule.matches(&[]));
    }

    #[test]
    fn a_rule_for_the_hosts_own_programs_is_told() {
        let program = Path::new("/bin/sh");
        let rule = mips("x", "/q").unwrap();
        let header = rule.magic().to_vec();
        assert!(matches!(rule.check_spares(program, &header), Err(RuleError::HostProgram { .. })));
        assert_eq!(rule.check_spares(program, b"#!/bin/sh\n"), Ok(()));
    }
}
