//! Which packages a package needs.
//!
//! Source: Debian Policy, chapter 7. What is not looked at: `Recommends`, `Conflicts`, and that `Essential` packages need not be
//! named. Of alternatives the first counts that is chosen already, else the first that there is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{DebianError, Index, Package, Version, compare};

/// How many packages one closure may have.
const MOST: usize = 4096;

/// What must be known of each package of an index.
#[derive(Debug)]
struct Known {
    version: Version,
    depends: String,
}

/// The packages of an index, as far as it takes to follow their dependencies.
#[derive(Debug, Default)]
struct Graph {
    packages: BTreeMap<String, Known>,
    /// Names that packages provide, with the version of it if they tell one.
    provides: BTreeMap<String, Vec<(String, Option<String>)>>,
}

impl Index {
    /// The packages called `names` and all that they depend on, by name, each in its latest version.
    ///
    /// # Errors
    /// [`DebianError::NoPackage`] where one of `names` is not there, [`DebianError::Unmet`] where a dependency is not; others where the index
    /// cannot be read.
    pub fn closure(&self, names: &[&str]) -> Result<Vec<Package>, DebianError> {
        let mut graph = Graph::default();
        for package in self.packages()? {
            graph.add(&package?);
        }
        if let Some(missing) = names.iter().find(|name| !graph.packages.contains_key(**name)) {
            return Err(self.none(missing));
        }
        let chosen = graph.closure(names)?;
        let chosen: Vec<&str> = chosen.iter().map(String::as_str).collect();
        let found = self.find_each(&chosen)?;
        chosen.iter().zip(found).map(|(name, found)| found.ok_or_else(|| self.none(name))).collect()
    }
}

impl Graph {
    fn add(&mut self, package: &Package) {
        if self.packages.get(&package.name).is_some_and(|known| known.version >= package.version) {
            return;
        }
        for provided in package.field("Provides").unwrap_or_default().split(',') {
            let Some(relation) = Relation::parse(provided) else { continue };
            let version = relation.version.map(|(_, version)| version.to_owned());
            self.provides.entry(relation.name.to_owned()).or_default().push((package.name.clone(), version));
        }
        let fields = ["Pre-Depends", "Depends"].map(|name| package.field(name).unwrap_or_default());
        let depends = fields.join(",").replace('\n', " ");
        self.packages.insert(package.name.clone(), Known { version: package.version.clone(), depends });
    }

    fn closure(&self, names: &[&str]) -> Result<BTreeSet<String>, DebianError> {
        let mut chosen: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut queue: VecDeque<String> = chosen.iter().cloned().collect();
        while let Some(name) = queue.pop_front() {
            let Some(known) = self.packages.get(&name) else { continue };
            for clause in known.depends.split(',').map(str::trim).filter(|clause| !clause.is_empty()) {
                let alternatives: Vec<Relation<'_>> = clause.split('|').filter_map(Relation::parse).collect();
                if alternatives.iter().any(|one| self.candidates(one).any(|name| chosen.contains(name))) {
                    continue;
                }
                let first = alternatives.iter().find_map(|one| self.candidates(one).next());
                let unmet = || DebianError::Unmet { package: name.clone(), dependency: clause.into() };
                let first = first.ok_or_else(unmet)?.to_owned();
                if chosen.len() >= MOST {
                    return Err(unmet());
                }
                chosen.insert(first.clone());
                queue.push_back(first);
            }
        }
        Ok(chosen)
    }

    /// The packages that satisfy a relation: the one of the name, then those that provide it.
    fn candidates<'a>(&'a self, relation: &'a Relation<'a>) -> impl Iterator<Item = &'a str> {
        let own = self.packages.get_key_value(relation.name);
        let own = own.filter(|(_, known)| relation.takes(known.version.as_str()));
        let providers = self.provides.get(relation.name).into_iter().flatten();
        // A relation with a version takes no provider that tells none.
        let providers = providers.filter(|(_, version)| match (relation.version, version) {
            (None, _) => true,
            (Some(_), Some(version)) => relation.takes(version),
            (Some(_), None) => false,
        });
        own.map(|(name, _)| name.as_str()).into_iter().chain(providers.map(|(name, _)| name.as_str()))
    }
}

/// `name:any (>= 1.2) [amd64]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The package, or what packages provide.
    pub name: &'a str,
    /// The operator, such as `>=`, and the version.
    pub version: Option<(&'a str, &'a str)>,
}

/// The alternatives of each clause of a field such as `Depends`, its lines joined.
pub fn clauses(field: &str) -> impl Iterator<Item = (&str, Vec<Relation<'_>>)> {
    field
        .split(',')
        .map(str::trim)
        .filter(|clause| !clause.is_empty())
        .map(|clause| (clause, clause.split('|').filter_map(Relation::parse).collect()))
}

impl<'a> Relation<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let end =
            text.find(|c: char| c.is_whitespace() || matches!(c, '(' | '[' | ':')).unwrap_or(text.len());
        let name = text.get(..end).filter(|name| !name.is_empty())?;
        let version = text.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(inner, _)| {
            let inner = inner.trim();
            let digits = inner.find(|c: char| !matches!(c, '<' | '>' | '=')).unwrap_or(inner.len());
            let (operator, version) = inner.split_at(digits);
            (operator, version.trim())
        });
        Some(Self { name, version })
    }

    /// Whether a package of this version satisfies it.
    #[must_use]
    pub fn takes(&self, version: &str) -> bool {
        let Some((operator, wanted)) = self.version else { return true };
        let order = compare(version, wanted);
        match operator {
            "<<" => order.is_lt(),
            "<=" | "<" => order.is_le(),
            "=" => order.is_eq(),
            ">=" | ">" => order.is_ge(),
            ">>" => order.is_gt(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(packages: &[(&str, &str, &str)]) -> Graph {
        let mut graph = Graph::default();
        for (name, depends, provides) in packages {
            let control = format!(
                "Package: {name}\nVersion: 2.0-1\nArchitecture: all\nDepends: {depends}\nProvides: {provides}"
            );
            graph.add(&Package::of_control(&control, "x.deb", 1, sha()).unwrap());
        }
        graph
    }

    fn sha() -> crate::debian::Sha256 {
        "0".repeat(64).parse().unwrap()
    }

    #[test]
    fn dependencies_are_followed_as_policy_has_them() {
        let graph = graph(&[
            ("a", "b (>= 1), c | d, virtual, e:any", ""),
            ("b", "a, d", ""),
            ("c", "", ""),
            ("d", "old (<< 2) | f", ""),
            ("e", "", ""),
            ("f", "versioned (= 3)", "virtual"),
            ("g", "", "virtual, versioned (= 3)"),
            ("old", "", ""),
            ("broken", "missing | also-missing", ""),
            ("late", "b (>> 2.0-1)", ""),
        ]);
        let closure =
            |name| graph.closure(&[name]).map(|names| names.into_iter().collect::<Vec<_>>().join(" "));
        // `c` comes before `d` is chosen; of the providers the first.
        assert_eq!(closure("a").unwrap(), "a b c d e f g");
        assert_eq!(closure("c").unwrap(), "c");
        for (name, clause) in [("broken", "missing | also-missing"), ("late", "b (>> 2.0-1)")] {
            let Err(DebianError::Unmet { package, dependency }) = closure(name) else { panic!("{name}") };
            assert_eq!((package.as_str(), dependency.as_str()), (name, clause));
        }
    }

    #[test]
    fn relations_are_read_with_all_that_may_be_in_them() {
        let relation = |text| Relation::parse(text).unwrap();
        assert_eq!(
            relation(" libc6 ( >= 2.36 ) "),
            Relation { name: "libc6", version: Some((">=", "2.36")) }
        );
        assert_eq!(relation("perl:any"), Relation { name: "perl", version: None });
        assert_eq!(relation("x(<<1)[amd64]"), Relation { name: "x", version: Some(("<<", "1")) });
        assert_eq!(Relation::parse("  "), None);
        assert!(!relation("x (~ 1)").takes("1"));
    }
}
