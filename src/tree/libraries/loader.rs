//! What a loader says of the way it searches.

use std::path::{Path, PathBuf};

use crate::tree::root::Root;

/// The largest loader that is read, in bytes; with all its debugging information one has ten times less.
const MOST: u64 = 16 << 20;

/// A loader whose rules are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loader {
    /// Where it really is.
    pub path: PathBuf,
    /// The folders that it searches in the end.
    pub folders: Vec<PathBuf>,
    /// Whose it is.
    pub kind: LoaderKind,
}

/// Whose a loader is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoaderKind {
    /// The GNU C library's.
    Glibc,
    /// musl's; the file that may name other folders.
    Musl(PathBuf),
}

impl Loader {
    /// The loader that programs name as `interpreter`, which really is at `path`; `None` where it is of neither kind.
    pub(super) fn read(root: &dyn Root, interpreter: &str, path: &Path) -> Option<Self> {
        let bytes = root.read(path, MOST).ok()?;
        let contains = |text: &[u8]| memchr::memmem::find(&bytes, text).is_some();
        // The version of the cache that it reads follows.
        if contains(b"glibc-ld.so.cache") {
            let folders = glibc_folders(&bytes)?;
            return Some(Self { path: path.into(), folders, kind: LoaderKind::Glibc });
        }
        if contains(b"musl libc (") {
            let (prefix, name) = interpreter.rsplit_once('/')?;
            let architecture = name.strip_prefix("ld-musl-")?.strip_suffix(".so.1")?;
            // Where it lies in another prefix than `/`, its settings do too.
            let prefix = prefix.strip_suffix("/lib").unwrap_or_default();
            let file = PathBuf::from(format!("{prefix}/etc/ld-musl-{architecture}.path"));
            let folders = musl_folders(&bytes).unwrap_or_else(|| split("/lib:/usr/local/lib:/usr/lib"));
            return Some(Self { path: path.into(), folders, kind: LoaderKind::Musl(file) });
        }
        None
    }

    /// Whether a library without a needed version of a symbol stops it.
    pub(super) fn checks_versions(&self) -> bool {
        self.kind == LoaderKind::Glibc
    }
}

/// `/lib/x86_64-linux-gnu/`, `/lib/` and the like stand in glibc's loader one after the other, each with a NUL at its
/// end; it may have more than one such list, of which the longest is whole.
fn glibc_folders(bytes: &[u8]) -> Option<Vec<PathBuf>> {
    let mut best: Vec<PathBuf> = Vec::new();
    let mut run: Vec<PathBuf> = Vec::new();
    for text in bytes.split(|byte| *byte == 0) {
        // A path of a folder: nothing else in a loader begins and ends with a slash.
        let is_folder = text.len() > 2
            && text.len() < 256
            && text.starts_with(b"/")
            && text.ends_with(b"/")
            && text.iter().all(u8::is_ascii_graphic);
        if is_folder {
            run.push(String::from_utf8_lossy(&text[..text.len() - 1]).into_owned().into());
            continue;
        }
        if run.len() > best.len() {
            best = std::mem::take(&mut run);
        }
        run.clear();
    }
    (!best.is_empty()).then_some(best)
}

/// `/lib:/usr/local/lib:/usr/lib` stands in musl's as one text.
fn musl_folders(bytes: &[u8]) -> Option<Vec<PathBuf>> {
    bytes
        .split(|byte| *byte == 0)
        .filter(|text| text.len() < 1024 && text.starts_with(b"/") && text.contains(&b':'))
        .filter_map(|text| std::str::from_utf8(text).ok())
        .find(|text| text.split(':').all(|part| part.starts_with('/') && part.contains("lib")))
        .map(split)
}

/// Folders with colons, or as musl's file has them with line ends, between them.
pub(super) fn split(text: &str) -> Vec<PathBuf> {
    text.split([':', '\n']).filter(|part| !part.is_empty()).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_list_of_folders_is_the_loaders() {
        let bytes = b"x\0/usr/lib/a/\0/lib/\0y\0/lib/a/\0/usr/lib/a/\0/lib/\0/usr/lib/\0/\0/proc/self\0";
        assert_eq!(
            glibc_folders(bytes).unwrap(),
            ["/lib/a", "/usr/lib/a", "/lib", "/usr/lib"].map(PathBuf::from)
        );
        assert_eq!(glibc_folders(b"none\0"), None);
        assert_eq!(
            musl_folders(b"/dev/null:\0/lib:/usr/local/lib\0").unwrap(),
            ["/lib", "/usr/local/lib"].map(PathBuf::from)
        );
    }
}
