//! Ignore files: `.dockerignore`, and the one that belongs to a Containerfile.
//!
//! Source: Docker's reference, and moby's `patternmatcher` for the order in which patterns count.

use super::glob::{Glob, GlobError};

/// The patterns of an ignore file, in order: the last one that matches a path, or a folder that it is in, decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    glob: Glob,
    /// `!`: what matches is taken after all.
    taken: bool,
}

impl Ignore {
    /// Reads an ignore file's text.
    ///
    /// # Errors
    /// The line's number and a [`GlobError`] where a pattern cannot be understood.
    pub fn parse(text: &str) -> Result<Self, (usize, GlobError)> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if !line.starts_with('#') {
                patterns.extend(pattern(line).map_err(|err| (number + 1, err))?);
            }
        }
        Ok(Self { patterns })
    }

    /// The patterns of `--exclude`.
    ///
    /// # Errors
    /// [`GlobError`].
    pub fn of<'a>(list: impl IntoIterator<Item = &'a str>) -> Result<Self, GlobError> {
        let patterns = list.into_iter().map(pattern).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { patterns: patterns.into_iter().flatten().collect() })
    }

    /// Whether the file or folder at `path`, as it is called beneath the context with no slash first, is left out.
    #[must_use]
    pub fn is_ignored(&self, path: &str) -> bool {
        let folders = path.match_indices('/').map(|(at, _)| path.get(..at).unwrap_or_default());
        let paths: Vec<&str> = folders.chain([path]).collect();
        let mut ignored = false;
        for pattern in &self.patterns {
            // What would decide the same need not be looked at.
            if pattern.taken == ignored && paths.iter().any(|path| pattern.glob.matches(path)) {
                ignored = !pattern.taken;
            }
        }
        ignored
    }

    /// Whether all that is in the folder `path` is left out, so that nobody need look: it is ignored, and no pattern takes
    /// anything out of it.
    #[must_use]
    pub fn is_closed(&self, path: &str) -> bool {
        self.is_ignored(path) && self.patterns.iter().all(|pattern| !pattern.taken)
    }

    /// Whether there is no pattern at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

/// The pattern of a line, if it holds one.
fn pattern(line: &str) -> Result<Option<Pattern>, GlobError> {
    let line = line.trim();
    let (taken, text) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
    if text.is_empty() {
        return if taken {
            Err(GlobError { pattern: line.into(), reason: "a `!` takes something, and there is nothing" })
        } else {
            Ok(None)
        };
    }
    let clean = clean(text);
    let text = if clean.len() > 1 { clean.strip_prefix('/').unwrap_or(&clean) } else { &clean };
    Ok(Some(Pattern { glob: Glob::of_ignore(text)?, taken }))
}

/// The shortest path that means the same, by its words alone.
fn clean(path: &str) -> String {
    let root = if path.starts_with('/') { "/" } else { "" };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if !root.is_empty() => {}
            part => parts.push(part),
        }
    }
    let joined = format!("{root}{}", parts.join("/"));
    if joined.is_empty() { ".".into() } else { joined }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(file: &str, paths: &[&str]) -> Vec<bool> {
        let ignore = Ignore::parse(file).unwrap();
        paths.iter().map(|path| ignore.is_ignored(path)).collect()
    }

    #[test]
    fn the_examples_of_the_reference() {
        let paths = ["a.md", "b/a.md", "README.md", "README-secret.md", "temp", "b/temp1", "b/c/temp2"];
        assert_eq!(
            ignored("# note\n*.md\n!README.md\n", &paths),
            [true, false, false, true, false, false, false]
        );
        let all = ignored("*.md\n!README*.md\nREADME-secret.md", &paths);
        assert_eq!(all, [true, false, false, true, false, false, false]);
        let all = ignored("*.md\nREADME-secret.md\n!README*.md", &paths);
        assert_eq!(all, [true, false, false, false, false, false, false]);
        assert_eq!(ignored("*/temp*", &paths), [false, false, false, false, false, true, false]);
        assert_eq!(ignored("*/*/temp*\ntemp?", &paths), [false, false, false, false, false, false, true]);
        assert_eq!(ignored("**/*.md", &paths), [true, true, true, true, false, false, false]);
    }

    #[test]
    fn a_folder_takes_all_that_is_in_it() {
        assert_eq!(
            ignored("node_modules", &["node_modules", "node_modules/a/b", "x/node_modules"]),
            [true, true, false]
        );
        assert_eq!(ignored("/a/", &["a", "a/b"]), [true, true]);
        assert_eq!(ignored("*\n!keep\n", &["x", "keep", "keep/y", "x/keep"]), [true, false, false, true]);
        assert_eq!(ignored("a\n!a/b\na/b/c", &["a/x", "a/b", "a/b/c", "a/b/d"]), [true, false, true, false]);
        assert_eq!(ignored("./a/../b\n  c  \n\n", &["a", "b", "c"]), [false, true, true]);
        assert_eq!(ignored("  # no comment\n", &["# no comment", "# no"]), [true, false]);
    }

    #[test]
    fn a_closed_folder_need_not_be_entered() {
        let ignore = Ignore::parse("target\n").unwrap();
        assert!(ignore.is_closed("target") && !ignore.is_closed("src"));
        assert!(!Ignore::parse("target\n!target/x").unwrap().is_closed("target"));
    }

    #[test]
    fn bad_patterns_are_told_with_their_line() {
        assert_eq!(Ignore::parse("a\n[b\n").unwrap_err().0, 2);
        assert_eq!(Ignore::parse("!\n").unwrap_err().0, 1);
        assert!(Ignore::of(["a", "[b"]).is_err());
    }
}
