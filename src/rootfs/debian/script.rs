//! What runs in the root under emulation: the packages' first scripts, then dpkg, then the cleaning.
//!
//! dpkg would run a package's `preinst` before it unpacks the package, when those that it pre-depends on are configured. Here all files are
//! there already, since nothing runs without them, and the rest is in that order.

use std::collections::{BTreeMap, BTreeSet};

use super::member::Member;
use crate::debian::{Relation, clauses};
use crate::rootfs::Archive;

/// The folder of what is there for the time of the making only.
pub(super) const FOLDER: &str = ".polyarch";

/// What lines begin with that say how far it is.
pub(super) const STEP: &str = "polyarch: ";

/// One step on the way to configured packages.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// The `preinst` of the package of this number.
    Before(usize),
    /// These packages, by their numbers, are configured, whatever else is not.
    Configure(Vec<usize>),
}

/// The script, for a shell in the root.
pub(super) fn script(members: &[Member], archive: &Archive, time: u64) -> String {
    let dpkg = members.iter().find(|member| member.name == "dpkg");
    let dpkg = dpkg.map_or("1", |dpkg| dpkg.version.split('-').next().unwrap_or_default());
    let quote = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut lines = vec![
        "set -e".to_owned(),
        "cd /".into(),
        "umask 022".into(),
        format!("export SOURCE_DATE_EPOCH={time} DPKG_RUNNING_VERSION={}", quote(dpkg)),
    ];
    for step in steps(members, archive) {
        match step {
            Step::Before(at) => {
                let Some(member) = members.get(at) else { continue };
                lines.push(format!("echo '{STEP}{} preinst'", member.name));
                lines.push(format!(
                    "DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE={} DPKG_MAINTSCRIPT_ARCH={} \
                     DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_MAINTSCRIPT_DEBUG=0 DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= \
                     /var/lib/dpkg/info/{}.preinst install",
                    member.name,
                    member.architecture,
                    member.database_name()
                ));
            }
            Step::Configure(packages) => {
                let names = packages.iter().filter_map(|at| Some(members.get(*at)?.name.as_str()));
                let names = names.collect::<Vec<_>>().join(" ");
                lines.push(format!("dpkg --force-depends --configure {names}"));
            }
        }
    }
    lines.push("dpkg --configure --pending".into());
    lines.push(format!("echo '{STEP}cleaning'"));
    lines.push("dpkg-query -f '${db:Status-Status} ${binary:Package}\\n' -W >/.polyarch/states".into());
    if !archive.clean.is_empty() {
        lines.push(format!("rm -rf -- {}", archive.clean.join(" ")));
    }
    lines.join("\n") + "\n"
}

/// What is done before all that is left is configured at once.
fn steps(members: &[Member], archive: &Archive) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut done = BTreeSet::new();
    let known = Known::of(members);
    for name in &archive.first {
        if let Some(at) = known.names.get(name.as_str()) {
            known.before(*at, &mut steps, &mut done, &mut BTreeSet::new());
            if done.insert(*at) {
                steps.push(Step::Configure(vec![*at]));
            }
        }
    }
    let mut seen = BTreeSet::new();
    for at in 0..members.len() {
        known.before(at, &mut steps, &mut done, &mut seen);
    }
    // A `preinst` is run once.
    let mut ran = BTreeSet::new();
    steps.retain(|step| !matches!(step, Step::Before(at) if !ran.insert(*at)));
    steps
}

/// The packages, and what they depend on.
struct Known<'a> {
    members: &'a [Member],
    names: BTreeMap<&'a str, usize>,
    provided: BTreeMap<String, usize>,
}

impl<'a> Known<'a> {
    fn of(members: &'a [Member]) -> Self {
        let names = members.iter().enumerate().map(|(at, member)| (member.name.as_str(), at)).collect();
        let mut provided = BTreeMap::new();
        for (at, member) in members.iter().enumerate() {
            let field = member.field("Provides").replace('\n', " ");
            for relation in clauses(&field).flat_map(|(_, relations)| relations) {
                provided.entry(relation.name.to_owned()).or_insert(at);
            }
        }
        Self { members, names, provided }
    }

    /// The packages of the system that a field of the package of number `at` means.
    fn needed(&self, at: usize, fields: &[&str]) -> Vec<usize> {
        let Some(member) = self.members.get(at) else { return Vec::new() };
        let fields: Vec<&str> = fields.iter().map(|name| member.field(name)).collect();
        let fields = fields.join(",").replace('\n', " ");
        let find = |relation: &Relation<'_>| {
            self.names.get(relation.name).or_else(|| self.provided.get(relation.name)).copied()
        };
        let found = clauses(&fields).filter_map(|(_, alternatives)| alternatives.iter().find_map(find));
        found.filter(|other| *other != at).collect()
    }

    /// Adds the steps that lead to the `preinst` of the package of number `at`: what it pre-depends on is configured, with all that
    /// this depends on.
    fn before(
        &self,
        at: usize,
        steps: &mut Vec<Step>,
        done: &mut BTreeSet<usize>,
        seen: &mut BTreeSet<usize>,
    ) {
        let has_script = self.members.get(at).is_some_and(|member| member.file("preinst").is_some());
        if !has_script || !seen.insert(at) {
            return;
        }
        let mut closure = Vec::new();
        for other in self.needed(at, &["Pre-Depends"]) {
            self.closure(other, &mut closure);
        }
        closure.retain(|other| *other != at && !done.contains(other));
        for other in &closure {
            self.before(*other, steps, done, seen);
        }
        closure.retain(|other| !done.contains(other));
        if !closure.is_empty() {
            done.extend(&closure);
            steps.push(Step::Configure(closure));
        }
        steps.push(Step::Before(at));
    }

    /// Adds the package of number `at` and all that it depends on, those first.
    fn closure(&self, at: usize, found: &mut Vec<usize>) {
        // Dependencies are a few dozen deep at most, and each package is entered once.
        let mut seen: BTreeSet<usize> = found.iter().copied().collect();
        let mut stack = vec![(at, false)];
        while let Some((at, is_left)) = stack.pop() {
            if is_left {
                found.push(at);
            } else if seen.insert(at) {
                stack.push((at, true));
                stack.extend(
                    self.needed(at, &["Pre-Depends", "Depends"]).into_iter().map(|other| (other, false)),
                );
            }
        }
    }
}
