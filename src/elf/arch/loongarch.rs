//! LoongArch.
//!
//! Source: "LoongArch ELF psABI", `e_flags`.

use super::{Draft, Parts, Source};

pub(super) fn describe(parts: &mut Parts<'_, '_>, draft: &mut Draft) {
    let flags = parts.layout.header.e_flags;
    let from = format!("e_flags ({flags:#x})");
    let base = if parts.layout.class() == 64 { "lp64" } else { "ilp32" };
    let (suffix, float) = match flags & 7 {
        1 => ("s", "soft"),
        2 => ("f", "hard"),
        3 => ("d", "hard"),
        _ => return,
    };
    draft.abi(format!("{base}{suffix}"), Source::Declared, from.clone());
    draft.float_abi(float, Source::Declared, from);
}
