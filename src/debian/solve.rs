//! Which packages a system is made of: those that are wanted, what they depend on, and nothing that does not go together.
//!
//! Source: Debian Policy, sections 3.7, 3.8 and chapter 7. `Recommends` and `Suggests` are not followed. Each package counts in its
//! latest version. Clauses that one package alone satisfies are followed first; of what is left the first alternative is taken that
//! goes with what is chosen, and of the packages that provide a name the one of the highest priority.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::depends::{Relation, clauses};
use super::{DebianError, Index, Package};

/// How many packages a system may have.
const MOST: usize = 8192;

/// The priorities of packages, the highest first; what is none of them comes last.
const PRIORITIES: &[&str] = &["required", "important", "standard", "optional", "extra"];

/// What a system is to be made of.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// These packages.
    pub names: &'a [String],
    /// Those that call themselves essential.
    pub essential: bool,
    /// Those of the priority `required`.
    pub required: bool,
    /// Packages that are taken where an alternative names them, wherever it does.
    pub preferred: &'a [String],
}

/// The packages of a system.
#[derive(Debug, Clone)]
pub struct Solution {
    /// All of them, by name.
    pub packages: Vec<Package>,
    /// The names of those that nothing but dependencies brought in.
    pub automatic: BTreeSet<String>,
}

/// What is known of each package.
#[derive(Debug)]
struct Known {
    package: Package,
    /// Names that it provides, with the version of it if it tells one.
    provides: Vec<(String, Option<String>)>,
    priority: usize,
}

#[derive(Debug, Default)]
struct Universe {
    packages: BTreeMap<String, Known>,
    /// By the name that is provided.
    providers: BTreeMap<String, Vec<String>>,
}

/// Finds the packages of `indexes`, which are parts of one suite, that `wanted` comes to.
///
/// # Errors
/// [`DebianError::NoPackage`] where a name is not there, [`DebianError::Unmet`] where a dependency is not, [`DebianError::Conflict`]
/// where two packages do not go together; others where an index cannot be read.
pub fn solve(indexes: &[Index], wanted: Wanted<'_>) -> Result<Solution, DebianError> {
    let mut universe = Universe::default();
    for index in indexes {
        for package in index.packages()? {
            universe.add(package?);
        }
    }
    universe.close();
    if let Some(missing) = wanted.names.iter().find(|name| !universe.packages.contains_key(*name)) {
        return Err(indexes.first().map_or_else(
            || DebianError::Unmet { package: "the system".into(), dependency: missing.clone() },
            |index| index.none(missing),
        ));
    }
    universe.solve(wanted)
}

impl Universe {
    fn add(&mut self, package: Package) {
        let is_older = |known: &Known| known.package.version >= package.version;
        if self.packages.get(&package.name).is_some_and(is_older) {
            return;
        }
        let provides = joined(&package, &["Provides"]);
        let provides = clauses(&provides).flat_map(|(_, relations)| relations).map(|relation| {
            (relation.name.to_owned(), relation.version.map(|(_, version)| version.to_owned()))
        });
        let provides = provides.collect();
        let priority = package.field("Priority").unwrap_or_default();
        let priority = PRIORITIES.iter().position(|known| *known == priority).unwrap_or(PRIORITIES.len());
        self.packages.insert(package.name.clone(), Known { package, provides, priority });
    }

    /// Lists who provides what, once all packages are known.
    fn close(&mut self) {
        self.providers.clear();
        for (name, known) in &self.packages {
            for (provided, _) in &known.provides {
                self.providers.entry(provided.clone()).or_default().push(name.clone());
            }
        }
        for names in self.providers.values_mut() {
            names.sort_by_key(|name| self.packages.get(name).map_or(usize::MAX, |known| known.priority));
            names.dedup();
        }
    }

    fn solve(&self, wanted: Wanted<'_>) -> Result<Solution, DebianError> {
        let is_root = |known: &Known| {
            (wanted.essential && known.package.field("Essential") == Some("yes"))
                || (wanted.required && known.priority == 0)
        };
        let mut roots: BTreeSet<&str> = wanted.names.iter().map(String::as_str).collect();
        roots.extend(self.packages.iter().filter(|(_, known)| is_root(known)).map(|(name, _)| name.as_str()));
        let mut chosen = roots.clone();
        let mut queue: VecDeque<&str> = roots.iter().copied().collect();
        // Clauses that several packages satisfy, and whose they are.
        let mut open: VecDeque<(&str, String)> = VecDeque::new();
        loop {
            let (owner, clause) = if let Some(name) = queue.pop_front() {
                let Some(known) = self.packages.get(name) else { continue };
                let depends = joined(&known.package, &["Pre-Depends", "Depends"]);
                // Before anything else is decided, what this package leaves no choice of.
                for (clause, alternatives) in clauses(&depends) {
                    let candidates = self.fitting(&alternatives, &chosen);
                    if candidates.iter().any(|one| chosen.contains(one)) {
                        continue;
                    }
                    match candidates[..] {
                        [] => return Err(self.unmet(name, clause, &alternatives, &chosen)),
                        [only] => take(only, &mut chosen, &mut queue, || unmet(name, clause))?,
                        _ => open.push_back((name, clause.to_owned())),
                    }
                }
                continue;
            } else if let Some(next) = open.pop_front() {
                next
            } else {
                break;
            };
            for (clause, alternatives) in clauses(&clause) {
                let candidates = self.fitting(&alternatives, &chosen);
                if candidates.iter().any(|one| chosen.contains(one)) {
                    continue;
                }
                let preferred =
                    candidates.iter().find(|one| wanted.preferred.iter().any(|name| name == *one));
                let one = preferred.or(candidates.first()).copied();
                let one = one.ok_or_else(|| self.unmet(owner, clause, &alternatives, &chosen))?;
                take(one, &mut chosen, &mut queue, || unmet(owner, clause))?;
            }
        }
        let packages: Vec<&Known> = chosen.iter().filter_map(|name| self.packages.get(*name)).collect();
        for known in &packages {
            if let Some((other, relation)) = self.clash(known, &chosen) {
                let package = known.package.name.clone();
                return Err(DebianError::Conflict { package, other: other.into(), relation });
            }
        }
        let automatic = chosen.iter().filter(|name| !roots.contains(*name)).map(|name| (*name).to_owned());
        let automatic = automatic.collect();
        Ok(Solution { packages: packages.iter().map(|known| known.package.clone()).collect(), automatic })
    }

    /// The packages that satisfy one of `alternatives` and go with what is chosen, the first alternative's first.
    fn fitting<'a>(&'a self, alternatives: &[Relation<'_>], chosen: &BTreeSet<&str>) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        for name in alternatives.iter().flat_map(|one| self.candidates(one)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.retain(|name| chosen.contains(name) || self.goes_with(name, chosen));
        names
    }

    /// The packages that satisfy a relation: the one of the name, then those that provide it.
    fn candidates<'a>(&'a self, relation: &Relation<'_>) -> Vec<&'a str> {
        let own = self.packages.get_key_value(relation.name);
        let own = own.filter(|(_, known)| relation.takes(known.package.version.as_str()));
        let own = own.map(|(name, _)| name.as_str());
        let providers = self.providers.get(relation.name).into_iter().flatten().map(String::as_str);
        let providers =
            providers.filter(|name| self.packages.get(*name).is_some_and(|known| provides(known, relation)));
        own.into_iter().chain(providers).collect()
    }

    /// Whether neither `name` nor what is chosen speaks against the other.
    fn goes_with(&self, name: &str, chosen: &BTreeSet<&str>) -> bool {
        let Some(known) = self.packages.get(name) else { return false };
        if self.clash(known, chosen).is_some() {
            return false;
        }
        let own = BTreeSet::from([name]);
        let mut others = chosen.iter().filter_map(|name| self.packages.get(*name));
        !others.any(|other| self.clash(other, &own).is_some())
    }

    /// The package of `chosen` that `known` conflicts with or breaks, and what it says.
    fn clash<'a>(&'a self, known: &Known, chosen: &BTreeSet<&'a str>) -> Option<(&'a str, String)> {
        let conflicts = joined(&known.package, &["Conflicts", "Breaks"]);
        for (clause, relations) in clauses(&conflicts) {
            for relation in relations {
                let other = self
                    .candidates(&relation)
                    .into_iter()
                    .find(|other| *other != known.package.name && chosen.contains(other));
                if let Some(other) = other {
                    return Some((other, clause.to_owned()));
                }
            }
        }
        None
    }

    /// Why a clause cannot be had: there is nothing that satisfies it, or that conflicts with what is chosen.
    fn unmet(
        &self,
        package: &str,
        clause: &str,
        alternatives: &[Relation<'_>],
        chosen: &BTreeSet<&str>,
    ) -> DebianError {
        for name in alternatives.iter().flat_map(|one| self.candidates(one)) {
            let Some(known) = self.packages.get(name) else { continue };
            if let Some((other, relation)) = self.clash(known, chosen) {
                return DebianError::Conflict { package: name.into(), other: other.into(), relation };
            }
            let own = BTreeSet::from([name]);
            for other in chosen {
                let Some(known) = self.packages.get(*other) else { continue };
                if let Some((name, relation)) = self.clash(known, &own) {
                    return DebianError::Conflict { package: (*other).into(), other: name.into(), relation };
                }
            }
        }
        unmet(package, clause)
    }
}

fn unmet(package: &str, clause: &str) -> DebianError {
    DebianError::Unmet { package: package.into(), dependency: clause.into() }
}

fn take<'a>(
    name: &'a str,
    chosen: &mut BTreeSet<&'a str>,
    queue: &mut VecDeque<&'a str>,
    err: impl FnOnce() -> DebianError,
) -> Result<(), DebianError> {
    if chosen.len() >= MOST {
        return Err(err());
    }
    if chosen.insert(name) {
        queue.push_back(name);
    }
    Ok(())
}

/// Whether a package provides what a relation names. One that names a version takes no provider that tells none.
fn provides(known: &Known, relation: &Relation<'_>) -> bool {
    known.provides.iter().any(|(name, version)| {
        name == relation.name
            && match (relation.version, version) {
                (None, _) => true,
                (Some(_), Some(version)) => relation.takes(version),
                (Some(_), None) => false,
            }
    })
}

/// The values of several fields as one list in one line.
fn joined(package: &Package, names: &[&str]) -> String {
    let fields: Vec<&str> = names.iter().filter_map(|name| package.field(name)).collect();
    fields.join(",").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn universe(text: &str) -> Universe {
        let mut universe = Universe::default();
        for stanza in text.split("\n\n").map(str::trim).filter(|stanza| !stanza.is_empty()) {
            let version = if stanza.contains("Version:") { "" } else { "\nVersion: 2.0-1" };
            let control = format!("{stanza}{version}\nArchitecture: all");
            let sha = "0".repeat(64).parse().unwrap();
            universe.add(Package::of_control(&control, "x.deb", 1, sha).unwrap());
        }
        universe.close();
        universe
    }

    fn solved(text: &str, names: &[&str], preferred: &[&str]) -> Result<String, DebianError> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (names, preferred) = (owned(names), owned(preferred));
        let wanted = Wanted { names: &names, essential: true, required: false, preferred: &preferred };
        let solution = universe(text).solve(wanted)?;
        let names: Vec<String> = solution
            .packages
            .iter()
            .map(|package| {
                let mark = if solution.automatic.contains(&package.name) { "" } else { "!" };
                format!("{mark}{}", package.name)
            })
            .collect();
        Ok(names.join(" "))
    }

    #[test]
    fn what_leaves_no_choice_is_chosen_first() {
        let text = "Package: a\nDepends: x | y, b\n\nPackage: b\nDepends: y\n\nPackage: x\n\nPackage: y";
        assert_eq!(solved(text, &["a"], &[]).unwrap(), "!a b y");
        // Alone, the first alternative counts, if no other is preferred.
        let text = "Package: a\nDepends: x | y\n\nPackage: x\n\nPackage: y";
        assert_eq!(solved(text, &["a"], &[]).unwrap(), "!a x");
        assert_eq!(solved(text, &["a"], &["y"]).unwrap(), "!a y");
    }

    #[test]
    fn essential_packages_are_there_by_themselves_and_providers_by_priority() {
        let text = "Package: base\nEssential: yes\nPre-Depends: awk\n\nPackage: gawk\nProvides: awk\nPriority: optional\n\n\
                    Package: mawk\nProvides: awk\nPriority: required\n\nPackage: other";
        assert_eq!(solved(text, &[], &[]).unwrap(), "!base mawk");
        assert_eq!(solved(text, &["gawk"], &[]).unwrap(), "!base !gawk");
    }

    #[test]
    fn versions_count_with_what_is_provided_too() {
        let text = "Package: a\nDepends: v (>= 3)\n\nPackage: one\nProvides: v\n\nPackage: two\nProvides: v (= 2)\n\n\
                    Package: three\nProvides: v (= 3)";
        assert_eq!(solved(text, &["a"], &[]).unwrap(), "!a three");
        let text = "Package: a\nVersion: 1\nDepends: no\n\nPackage: a\nVersion: 1:0\n\nPackage: a\nVersion: 9\nDepends: no";
        assert_eq!(solved(text, &["a"], &[]).unwrap(), "!a");
    }

    #[test]
    fn what_does_not_go_together_is_not_chosen() {
        let text = "Package: a\nDepends: x | y\nConflicts: x\n\nPackage: x\n\nPackage: y";
        assert_eq!(solved(text, &["a"], &[]).unwrap(), "!a y");
        let text =
            "Package: a\nDepends: x | y\n\nPackage: x\nBreaks: a (<< 3)\n\nPackage: y\nBreaks: a (<< 1)";
        assert_eq!(solved(text, &["a"], &[]).unwrap(), "!a y");
        // A package that provides what it conflicts with conflicts with others only.
        let text = "Package: a\nProvides: mta\nConflicts: mta\n\nPackage: b\nProvides: mta\nConflicts: mta";
        assert_eq!(solved(text, &["a"], &[]).unwrap(), "!a");
        let Err(DebianError::Conflict { package, other, relation }) = solved(text, &["a", "b"], &[]) else {
            panic!()
        };
        assert_eq!((package.as_str(), other.as_str(), relation.as_str()), ("a", "b", "mta"));
        let text = "Package: a\nDepends: x\nConflicts: x\n\nPackage: x";
        let Err(DebianError::Conflict { .. }) = solved(text, &["a"], &[]) else { panic!() };
    }

    #[test]
    fn what_is_not_there_is_told_with_who_wants_it() {
        let text = "Package: a\nDepends: b, c | d (>> 9)\n\nPackage: b\n\nPackage: d";
        let Err(DebianError::Unmet { package, dependency }) = solved(text, &["a"], &[]) else { panic!() };
        assert_eq!((package.as_str(), dependency.as_str()), ("a", "c | d (>> 9)"));
    }
}
