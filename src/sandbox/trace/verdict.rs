//! What becomes of a call that executes a file.

use rustix::io::Errno;

use super::script::{self, HEAD};
use super::stack::Argument;
use crate::sandbox::plan::Handler;

/// How many files the kernel looks at for one call, the emulator included (`exec_binprm` in `fs/exec.c`).
const DEPTH: usize = 6;

/// What to do with the call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The kernel knows best.
    Leave,
    /// It fails as it would with a handler of the kernel's.
    Refuse(Errno),
    /// A guest's program.
    Emulate {
        /// The place of its handler.
        handler: usize,
        /// What the emulator is called with, in place of the program's first argument.
        arguments: Vec<Argument>,
    },
}

/// A file, by the name that its interpreter would get.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) name: Vec<u8>,
    /// The name leads nowhere once the call has closed what is to be closed.
    pub(super) vanishes: bool,
    pub(super) head: [u8; HEAD],
}

/// Judges a call of the file `called`; `look` gives the beginnings of the interpreters that scripts name.
pub(super) fn judge(
    handlers: &[Handler],
    called: Called,
    mut look: impl FnMut(&[u8]) -> Option<[u8; HEAD]>,
) -> Verdict {
    let Called { mut name, vanishes, mut head } = called;
    // What stands between the interpreter and the arguments, the last first.
    let mut between: Vec<Vec<u8>> = Vec::new();
    let mut is_script = false;
    for depth in 0..DEPTH {
        if let Some(index) = handlers.iter().position(|handler| matches(handler, &head)) {
            if vanishes {
                return Verdict::Refuse(Errno::NOENT);
            }
            if depth + 1 == DEPTH {
                return Verdict::Refuse(Errno::LOOP);
            }
            return Verdict::Emulate {
                handler: index,
                arguments: arguments(&handlers[index], name, is_script, between),
            };
        }
        let Some(line) = script::line(&head) else { return Verdict::Leave };
        if vanishes {
            return Verdict::Leave;
        }
        between.push(name);
        between.extend(line.argument.map(<[u8]>::to_vec));
        is_script = true;
        name = line.interpreter.to_vec();
        match look(&name) {
            Some(next) => head = next,
            None => return Verdict::Leave,
        }
    }
    Verdict::Leave
}

fn matches(handler: &Handler, head: &[u8; HEAD]) -> bool {
    let Handler { magic, mask, .. } = handler;
    !magic.is_empty()
        && magic.len() <= HEAD
        && magic.iter().zip(mask).zip(head).all(|((magic, mask), byte)| (magic ^ byte) & mask == 0)
}

fn arguments(handler: &Handler, name: Vec<u8>, is_script: bool, between: Vec<Vec<u8>>) -> Vec<Argument> {
    let text = |text: &[u8]| Argument::Text(text.to_vec());
    let mut made = vec![Argument::Text(format!("qemu-{}", handler.guest).into_bytes())];
    made.extend(handler.flags.iter().map(|flag| text(flag.as_bytes())));
    made.push(text(b"-0"));
    // An interpreter is called by its name.
    made.push(if is_script { text(&name) } else { Argument::First });
    if name.starts_with(b"-") {
        // Else the emulator would take it for an option.
        made.push(Argument::Text([b"./", name.as_slice()].concat()));
    } else {
        made.push(Argument::Text(name));
    }
    made.extend(between.into_iter().rev().map(Argument::Text));
    made
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::sandbox::Emulator;

    fn head(text: &[u8]) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..text.len()].copy_from_slice(text);
        head
    }

    fn handlers() -> Vec<Handler> {
        ["mips", "arm"]
            .map(|guest| Handler {
                guest: guest.into(),
                magic: format!("\x7fELF-{guest}").into_bytes(),
                mask: vec![0xff; 5 + guest.len()],
                emulator: Emulator::Host("/q".into()),
                spare: false,
                replaces: None,
                flags: if guest == "arm" { vec!["-cpu".into(), "arm926".into()] } else { Vec::new() },
                first_flags: Vec::new(),
            })
            .into()
    }

    fn judged(name: &str, vanishes: bool, files: &[(&str, &str)]) -> Verdict {
        let files: HashMap<&[u8], [u8; HEAD]> =
            files.iter().map(|(name, text)| (name.as_bytes(), head(text.as_bytes()))).collect();
        let called = Called { name: name.into(), vanishes, head: files[name.as_bytes()] };
        judge(&handlers(), called, |name| files.get(name).copied())
    }

    fn words(verdict: Verdict) -> String {
        let Verdict::Emulate { arguments, .. } = verdict else { return format!("{verdict:?}") };
        let words = arguments.into_iter().map(|argument| match argument {
            Argument::Text(text) => String::from_utf8(text).unwrap(),
            Argument::First => "argv[0]".into(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn programs_scripts_and_all_else() {
        let files = [
            ("mips", "\x7fELF-mips"),
            ("arm", "\x7fELF-arm"),
            ("native", "\x7fELF-host"),
            ("a", "#!b x y \n"),
            ("b", "#! mips z\n"),
            ("c", "#!native\n"),
            ("d", "#!gone\n"),
            ("-e", "#!arm\n"),
            ("text", "echo"),
            ("-mips", "\x7fELF-mips"),
        ];
        let words = |name: &str| words(judged(name, false, &files));
        assert_eq!(words("mips"), "qemu-mips -0 argv[0] mips");
        assert_eq!(words("arm"), "qemu-arm -cpu arm926 -0 argv[0] arm");
        assert_eq!(words("b"), "qemu-mips -0 mips mips z b");
        assert_eq!(words("a"), "qemu-mips -0 mips mips z b x y a");
        assert_eq!(words("-e"), "qemu-arm -cpu arm926 -0 arm arm -e");
        assert_eq!(words("-mips"), "qemu-mips -0 argv[0] ./-mips");
        for name in ["native", "c", "d", "text"] {
            assert_eq!(words(name), "Leave", "{name}");
        }
        assert_eq!(judged("mips", true, &files), Verdict::Refuse(Errno::NOENT));
        assert_eq!(judged("b", true, &files), Verdict::Leave);
    }

    #[test]
    fn a_chain_may_be_as_long_as_with_a_handler() {
        let mut files: Vec<(String, String)> = vec![("0".into(), "\x7fELF-mips".into())];
        files.extend((1..8).map(|number| (number.to_string(), format!("#!{}\n", number - 1))));
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert!(matches!(judged("4", false, &files), Verdict::Emulate { .. }));
        assert_eq!(judged("5", false, &files), Verdict::Refuse(Errno::LOOP));
        // The kernel gives up by itself.
        assert_eq!(judged("7", false, &files), Verdict::Leave);
    }
}
