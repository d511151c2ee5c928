//! Who made a binary: its C library, and the compilers that leave a mark.

use std::collections::BTreeMap;

use goblin::elf::header::{ET_DYN, ET_REL};
use scroll::Pread;
use serde::{Deserialize, Serialize};

use super::ElfError;
use super::draft::{Draft, Evidence, Parts, Source};
use super::dynamic::Dynamic;
use super::rodata;

/// What is known of each toolchain that had a part in a binary.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Toolchain {
    /// The GNU C library.
    pub glibc: Option<Glibc>,
    /// The musl C library.
    pub musl: Option<Musl>,
    /// Go.
    pub go: Option<Go>,
    /// Rust.
    pub rust: Option<Rust>,
    /// Android's C library.
    pub bionic: Option<Bionic>,
    /// What the compilers wrote into `.comment`; `None` where there is none.
    pub compilers: Option<Vec<String>>,
}

/// The GNU C library.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Glibc {
    /// The highest version whose symbols are needed.
    pub needs: Option<String>,
}

/// The musl C library.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Musl {
    /// musl's name of the architecture, as in the loader's name: `armhf`, `mipsel-sf`.
    pub architecture: Option<String>,
}

/// Go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Go {
    /// `go1.19.8`.
    pub version: Option<String>,
    /// The path of the main package.
    pub path: Option<String>,
    /// The main module, with its version.
    pub module: Option<String>,
    /// Build settings: `GOARCH`, `GOARM`, `CGO_ENABLED`, `-ldflags`, ….
    pub settings: BTreeMap<String, String>,
}

/// Rust.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rust {
    /// The compiler's version, where it is told.
    pub version: Option<String>,
    /// The commit of the standard library that it was built with.
    pub commit: Option<String>,
}

/// Android's C library.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bionic {
    /// The lowest API level that it was built for.
    pub api: Option<u32>,
    /// The NDK's version.
    pub ndk: Option<String>,
}

/// The largest `.comment` that is read, in bytes.
const MOST_COMMENT: u64 = 1 << 16;

pub(super) fn read(
    parts: &mut Parts<'_, '_>,
    dynamic: Option<&Dynamic>,
    go: Option<Go>,
    draft: &mut Draft,
) -> Result<Toolchain, ElfError> {
    let mut told = |fact, source, from: &str| {
        draft.evidence.insert(fact, Evidence { source, from: from.to_owned() });
    };
    let mut toolchain = Toolchain { go, ..Toolchain::default() };
    if toolchain.go.is_some() {
        told("toolchain.go", Source::Declared, "Go's build information or build id");
    }

    let needed = dynamic.map_or(&[][..], |dynamic| &dynamic.needed);
    let soname = dynamic.and_then(|dynamic| dynamic.soname.as_deref()).unwrap_or_default();
    let loader = parts.interpreter.map(|path| path.rsplit('/').next().unwrap_or(path)).unwrap_or_default();
    let musl_name = |name: &str| {
        let architecture = name.strip_prefix("ld-musl-").or_else(|| name.strip_prefix("libc.musl-"))?;
        Some(architecture.trim_end_matches(".so.1").to_owned())
    };
    let named = [loader, soname].into_iter().chain(needed.iter().map(String::as_str)).find_map(musl_name);

    if let Some(note) = parts.notes.iter().find(|note| note.name == b"Android" && note.kind == 1) {
        let ndk = note.desc.get(4..68).map(|text| {
            let end = memchr::memchr(0, text).unwrap_or(text.len());
            String::from_utf8_lossy(&text[..end]).into_owned()
        });
        let api = note.desc.pread_with::<u32>(0, parts.layout.endian()).ok();
        toolchain.bionic = Some(Bionic { api, ndk: ndk.filter(|ndk| !ndk.is_empty()) });
        told("toolchain.bionic", Source::Declared, "Android's note");
    } else if parts.interpreter.is_some_and(|path| path.ends_with("/linker") || path.ends_with("/linker64")) {
        toolchain.bionic = Some(Bionic::default());
        told("toolchain.bionic", Source::Inferred, "the interpreter's name");
    } else if let Some(architecture) = named {
        toolchain.musl = Some(Musl { architecture: Some(architecture) });
        told("toolchain.musl", Source::Inferred, "the name of the loader or C library");
    } else if needed.iter().any(|name| name == "libc.so")
        // musl is one library; Android's has these beside it.
        && needed.iter().any(|name| matches!(name.as_str(), "libdl.so" | "libm.so" | "liblog.so"))
    {
        toolchain.bionic = Some(Bionic::default());
        told("toolchain.bionic", Source::Inferred, "the names of the C library and those beside it");
    } else if needed.iter().any(|name| name == "libc.so") || soname == "libc.so" {
        toolchain.musl = Some(Musl::default());
        told("toolchain.musl", Source::Inferred, "the C library's name (`libc.so`)");
    } else {
        let needs = dynamic.and_then(Dynamic::highest_glibc);
        let from = if needs.is_some() {
            Some((Source::Declared, "needed symbol versions (GLIBC_)"))
        } else if needed.iter().any(|name| name.starts_with("libc.so.6")) || soname.starts_with("libc.so.6") {
            Some((Source::Inferred, "the C library's name (`libc.so.6`)"))
        } else if loader.starts_with("ld-linux") || loader.starts_with("ld64.so") || loader == "ld.so.1" {
            Some((Source::Inferred, "the interpreter's name"))
        } else if parts.layout.sections.iter().any(|section| {
            // Sections of glibc's own that only a statically linked program has.
            let own: [&[u8]; 4] =
                [b"__libc_freeres_fn", b"__libc_atexit", b"__libc_IO_vtables", b"__libc_subfreeres"];
            own.iter().any(|name| parts.layout.is_named(section, name))
        }) {
            Some((Source::Inferred, "section names of glibc"))
        } else {
            None
        };
        if let Some((source, from)) = from {
            toolchain.glibc = Some(Glibc { needs });
            told("toolchain.glibc", source, from);
        }
    }

    let comment = parts
        .layout
        .section(b".comment")
        .map(|section| (section.sh_offset, section.sh_size.min(MOST_COMMENT)));
    if let Some((offset, len)) = comment
        && let Some(bytes) = parts.layout.bytes(parts.file, "the compilers' comment", offset, len)?
    {
        let mut compilers: Vec<String> = bytes
            .split(|byte| *byte == 0)
            .filter(|text| !text.is_empty())
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect();
        compilers.sort();
        compilers.dedup();
        if let Some(version) = compilers.iter().find_map(|text| text.strip_prefix("rustc version ")) {
            let version = version.split(' ').next().unwrap_or(version).to_owned();
            toolchain.rust = Some(Rust { version: Some(version), commit: None });
            told("toolchain.rust", Source::Declared, "the compiler's comment (.comment)");
        }
        toolchain.compilers = Some(compilers);
    }
    // Rust's own unwinder needs libgcc and never libstdc++; a static program shows neither. What is left is
    // few enough to be searched.
    let may_be_rust = toolchain.go.is_none()
        && match dynamic {
            Some(dynamic) if !dynamic.needed.is_empty() => {
                needed.iter().any(|name| name.starts_with("libgcc_s."))
                    && !needed.iter().any(|name| name.starts_with("libstdc++."))
            }
            _ => parts.layout.header.e_type != ET_REL,
        };
    if may_be_rust && toolchain.rust.as_ref().is_none_or(|rust| rust.commit.is_none()) {
        let found = rodata::search(parts)?;
        let is_library = parts.layout.header.e_type == ET_DYN && parts.interpreter.is_none();
        if is_library
            && toolchain.glibc.is_none()
            && toolchain.musl.is_none()
            && let Some(architecture) = found.musl
        {
            toolchain.musl = Some(Musl { architecture: Some(architecture) });
            told("toolchain.musl", Source::Inferred, "the loader's own message (`musl libc`)");
        }
        if let Some((version, commit)) = found.rust {
            let known = toolchain.rust.take().and_then(|rust| rust.version);
            if known.is_none() {
                told("toolchain.rust", Source::Inferred, "paths of Rust's standard library in .rodata");
            }
            toolchain.rust = Some(Rust { version: known.or(version), commit });
        }
    }
    Ok(toolchain)
}
