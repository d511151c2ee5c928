//! Which of a source's files are copied: `--exclude`, and the pattern of `--parents`.

use crate::containerfile::{Glob, Ignore};

/// What is taken of a folder.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    exclude: &'a Ignore,
    /// The only things that are taken, with all that is in them.
    include: Option<Include>,
}

#[derive(Debug)]
struct Include {
    /// `None` where it is no pattern: it then matches nothing.
    glob: Option<Glob>,
    /// The pattern of each folder on the way, up to the first that may stand for many.
    levels: Vec<Option<Glob>>,
    /// Whether matches may lie deeper than the pattern has levels.
    any_depth: bool,
}

/// What becomes of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is taken.
    Taken,
    /// It is not, but if it is a folder, something in it may be, and takes the folder along.
    Perhaps,
    /// Nothing of it is.
    Left,
}

impl<'a> Filter<'a> {
    /// With the patterns of `--exclude`, and a clean pattern that takes all of the rest away.
    pub(super) fn new(exclude: &'a Ignore, include: Option<&str>) -> Self {
        let include = include.filter(|pattern| !pattern.is_empty()).map(|pattern| {
            let any_depth = pattern.contains("**");
            let before = pattern.split("**").next().unwrap_or_default();
            let whole =
                if any_depth { before.rsplit_once('/').map_or("", |(folders, _)| folders) } else { before };
            let levels = whole.split('/').filter(|level| !level.is_empty());
            Include {
                glob: Glob::of_ignore(pattern).ok(),
                levels: levels.map(|level| Glob::of_ignore(level).ok()).collect(),
                any_depth,
            }
        });
        Self { exclude, include }
    }

    /// What becomes of `path`, seen from the source.
    pub(super) fn verdict(&self, path: &str) -> Verdict {
        let included = self.include.as_ref().map_or(Verdict::Taken, |include| include.verdict(path));
        if included == Verdict::Left || self.exclude.is_closed(path) {
            return Verdict::Left;
        }
        if self.exclude.is_ignored(path) { Verdict::Perhaps } else { included }
    }

    /// Whether `name`, which the source is itself, is taken.
    pub(super) fn takes_file(&self, name: &str) -> bool {
        !self.exclude.is_ignored(name)
    }
}

impl Include {
    fn verdict(&self, path: &str) -> Verdict {
        let Some(glob) = &self.glob else { return Verdict::Left };
        let mut ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        if ends.any(|end| path.get(..end).is_some_and(|folder| glob.matches(folder))) {
            return Verdict::Taken;
        }
        let mut names = path.split('/');
        for level in &self.levels {
            let Some(name) = names.next() else { return Verdict::Perhaps };
            if !level.as_ref().is_some_and(|level| level.matches(name)) {
                return Verdict::Left;
            }
        }
        if self.any_depth { Verdict::Perhaps } else { Verdict::Left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_may_hold_a_match_are_looked_into() {
        let none = Ignore::default();
        for (pattern, path, expected) in [
            ("a/b", "a", Verdict::Perhaps),
            ("a/b", "a/b", Verdict::Taken),
            ("a/b", "a/b/c/d", Verdict::Taken),
            ("a/b", "a/c", Verdict::Left),
            ("a/b", "b", Verdict::Left),
            ("a/*/c", "a/x", Verdict::Perhaps),
            ("a/*/c", "a/x/d", Verdict::Left),
            ("a/**/c", "a/x/y", Verdict::Perhaps),
            ("a/**/c", "b", Verdict::Left),
            ("a/x**", "a/y", Verdict::Perhaps),
            ("**/c", "x/c", Verdict::Taken),
            ("", "x", Verdict::Taken),
            ("[", "x", Verdict::Left),
        ] {
            assert_eq!(Filter::new(&none, Some(pattern)).verdict(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_excluded_may_have_what_is_not() {
        let exclude = Ignore::of(["*", "!keep"]).unwrap();
        let filter = Filter::new(&exclude, None);
        assert_eq!(filter.verdict("x"), Verdict::Perhaps);
        assert_eq!(filter.verdict("keep"), Verdict::Taken);
        let exclude = Ignore::of(["x"]).unwrap();
        let filter = Filter::new(&exclude, None);
        assert_eq!((filter.verdict("x"), filter.verdict("y")), (Verdict::Left, Verdict::Taken));
        assert!(!filter.takes_file("x"));
    }
}
