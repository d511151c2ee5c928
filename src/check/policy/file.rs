//! The form of a policy file.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, Visitor};
use serde_ignored::Path as KeyPath;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml::value::{Date, Datetime};

use super::{Allowance, Fault, Level, Pattern, Policy, PolicyError, Position};
use crate::check::{Rule, Severity};
use crate::target::{Catalogue, TargetError, nearest};

/// The keys at the top of a file.
const TOP: &[&str] = &["check"];
/// Those of `[check]`.
const CHECK: &[&str] = &["targets", "profile", "fail-on", "strict", "static", "baseline", "rules", "allow"];
/// Those of `[[check.allow]]`.
const ALLOW: &[&str] = &["rule", "path", "target", "reason", "expires"];
/// What a `profile` may be.
const PROFILES: &[&str] = &["routeros"];

#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default)]
    check: Check,
}

/// What is demanded is optional here, so that what is missing can be told with its place, beside all else that is wrong.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Check {
    targets: Vec<Spanned<String>>,
    profile: Option<Spanned<String>>,
    fail_on: Option<Spanned<String>>,
    strict: bool,
    #[serde(rename = "static")]
    all_static: bool,
    baseline: Option<Spanned<String>>,
    rules: BTreeMap<String, Spanned<String>>,
    allow: Vec<Spanned<Allow>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Allow {
    rule: Option<Spanned<Words>>,
    path: Option<Spanned<Words>>,
    target: Option<Spanned<Words>>,
    reason: Option<Spanned<String>>,
    expires: Option<Spanned<Datetime>>,
}

/// A string, or a list of strings.
#[derive(Debug)]
struct Words(Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Words, E> {
                Ok(Words(vec![text.into()]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(Words(words))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// What is wrong, as it is found.
struct Faults<'a> {
    text: &'a str,
    list: Vec<Fault>,
}

impl Faults<'_> {
    fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.list.push(Fault { position: Position::of(self.text, span.start), message: message.into() });
    }

    /// The value, or `None` with the fault noted.
    fn note<T>(&mut self, span: Range<usize>, value: Result<T, String>) -> Option<T> {
        value.map_err(|message| self.add(span, message)).ok()
    }
}

/// Reads the `text` of a policy file at `path`.
pub(super) fn parse(path: &Path, text: &str) -> Result<Policy, PolicyError> {
    let mut faults = Faults { text, list: Vec::new() };
    let policy = read(path, text, &mut faults);
    match policy {
        Some(policy) if faults.list.is_empty() => Ok(policy),
        _ => {
            faults.list.sort_by_key(|fault| fault.position);
            Err(PolicyError::Faults { path: path.into(), faults: faults.list })
        }
    }
}

fn read(path: &Path, text: &str, faults: &mut Faults<'_>) -> Option<Policy> {
    let mut unknown: Vec<Vec<Step>> = Vec::new();
    let failed = |err: toml::de::Error| (err.span().unwrap_or(0..0), err.message().to_owned());
    let file = toml::de::Deserializer::parse(text)
        .map_err(failed)
        .and_then(|de| serde_ignored::deserialize(de, |key| unknown.push(steps(&key))).map_err(failed));
    let file: File = match file {
        Ok(file) => file,
        Err((span, message)) => {
            // One line, and our own form.
            faults.add(span, message.lines().next().unwrap_or("it is not TOML"));
            return None;
        }
    };
    if !unknown.is_empty()
        && let Ok(table) = DeTable::parse(text)
    {
        for key in unknown {
            let span = span_of(table.get_ref(), &key).unwrap_or(0..0);
            faults.add(span, unknown_key(&key));
        }
    }
    let File { check } = file;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut targets = Vec::new();
    for target in check.targets {
        targets.extend(faults.note(target.span(), target_name(target.get_ref(), folder)));
    }
    let profile = check.profile.and_then(|profile| {
        let known = PROFILES.contains(&profile.get_ref().as_str());
        let fault = format!("there is no profile `{}`, only `{}`", profile.get_ref(), PROFILES.join("`, `"));
        faults.note(profile.span(), known.then(|| profile.get_ref().clone()).ok_or(fault))
    });
    let fail_on = check.fail_on.and_then(|word| {
        let severity = word.get_ref().parse().ok().filter(|severity| *severity != Severity::Unknown);
        let fault = format!("`fail-on` is `error`, `warning` or `note`, not `{}`", word.get_ref());
        faults.note(word.span(), severity.ok_or(fault))
    });
    let mut levels = BTreeMap::new();
    for (name, level) in &check.rules {
        let rule = faults.note(level.span(), rule(name));
        let level =
            faults.note(level.span(), level.get_ref().parse::<Level>().map_err(|err| err.to_string()));
        levels.extend(rule.zip(level));
    }
    let mut allowances = Vec::new();
    for allow in check.allow {
        let span = allow.span();
        allowances.extend(allowance(allow.into_inner(), span, faults));
    }
    Some(Policy {
        path: path.into(),
        targets,
        profile,
        fail_on,
        strict: check.strict,
        all_static: check.all_static,
        baseline: check.baseline.map(|baseline| folder.join(baseline.get_ref())),
        levels,
        allowances,
    })
}

/// One `[[check.allow]]`, which begins at `span`.
fn allowance(allow: Allow, span: Range<usize>, faults: &mut Faults<'_>) -> Option<Allowance> {
    let before = faults.list.len();
    let mut rules = Vec::new();
    match &allow.rule {
        None => faults.add(span.clone(), "an allowance needs the `rule` that may be broken"),
        Some(words) if words.get_ref().0.is_empty() => faults.add(words.span(), "`rule` names no rule"),
        Some(words) => {
            for word in &words.get_ref().0 {
                rules.extend(faults.note(words.span(), rule(word)));
            }
        }
    }
    let mut patterns = |words: &Option<Spanned<Words>>, key: &str| {
        let words = words.as_ref()?;
        if words.get_ref().0.is_empty() {
            faults.add(words.span(), format!("`{key}` names nothing"));
        }
        let mut patterns = Vec::new();
        for word in &words.get_ref().0 {
            let pattern = Pattern::new(word)
                .map_err(|reason| format!("`{}` is no pattern for a {key}: {reason}", word.escape_debug()));
            patterns.extend(faults.note(words.span(), pattern));
        }
        Some(patterns)
    };
    let paths = patterns(&allow.path, "path");
    let targets = patterns(&allow.target, "target");
    if let Some(words) = &allow.target {
        // What holds no sign of a pattern is a name, and may be mistyped.
        for word in words.get_ref().0.iter().filter(|word| !word.contains(['*', '?', '[', '\\'])) {
            faults.note(words.span(), target_known(word));
        }
    }
    let reason = match &allow.reason {
        Some(reason) if !reason.get_ref().trim().is_empty() => reason.get_ref().trim().to_owned(),
        Some(reason) => {
            faults.add(reason.span(), "`reason` is empty; say why this is allowed");
            String::new()
        }
        None => {
            faults.add(span.clone(), "an allowance needs a `reason`");
            String::new()
        }
    };
    let expires = allow.expires.and_then(|expires| {
        let day = match expires.get_ref() {
            Datetime { date, time: None, offset: None } => *date,
            _ => None,
        };
        let fault = "`expires` is a day, such as 2027-01-31, the last on which this is allowed";
        faults.note(expires.span(), day.ok_or_else(|| fault.to_owned()))
    });
    (faults.list.len() == before).then(|| Allowance {
        rules,
        paths,
        targets,
        reason,
        expires: expires.map(|Date { year, month, day }| (year, month, day)),
        position: Position::of(faults.text, span.start),
    })
}

fn rule(name: &str) -> Result<Rule, String> {
    name.parse().map_err(|_| {
        let nearest = nearest(name, Rule::ALL.iter().map(|rule| rule.as_str()));
        format!("there is no rule `{name}`{}", meant(nearest.as_deref()))
    })
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default()
}

/// A target of a policy: a name of the catalogue, `all`, or a file, whose path begins at the policy's folder.
fn target_name(name: &str, folder: &Path) -> Result<String, String> {
    let is_file = Path::new(name).extension().is_some_and(|extension| extension == "toml")
        || ["./", "../", "/"].iter().any(|prefix| name.starts_with(prefix));
    if is_file {
        let path = Path::new(name);
        // `./` keeps it a file to whoever reads the name.
        let path = if path.is_absolute() { path.into() } else { Path::new(".").join(folder).join(name) };
        return path
            .to_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("`{name}` is no UTF-8 with its folder"));
    }
    if name != "all" {
        target_known(name)?;
    }
    Ok(name.into())
}

fn target_known(name: &str) -> Result<(), String> {
    Catalogue::builtin().target(name).map(|_| ()).map_err(|err| match &err {
        TargetError::Unknown { nearest, .. } => format!("{err}{}", meant(nearest.as_deref())),
        _ => err.to_string(),
    })
}

/// One step on the way to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

fn steps(path: &KeyPath<'_>) -> Vec<Step> {
    let (parent, step) = match path {
        KeyPath::Root => return Vec::new(),
        KeyPath::Seq { parent, index } => (parent, Some(Step::Index(*index))),
        // What serde is shown in place of a value with its position is no key of the file.
        KeyPath::Map { parent, key } if key.starts_with("$__") => (parent, None),
        KeyPath::Map { parent, key } => (parent, Some(Step::Key(key.clone()))),
        KeyPath::Some { parent } | KeyPath::NewtypeStruct { parent } | KeyPath::NewtypeVariant { parent } => {
            (parent, None)
        }
    };
    let mut steps = steps(parent);
    steps.extend(step);
    steps
}

/// Where the key at the end of `steps` stands.
fn span_of(table: &DeTable<'_>, steps: &[Step]) -> Option<Range<usize>> {
    let (Step::Key(first), rest) = steps.split_first()? else { return None };
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    let mut span = key.span();
    let mut value = value.get_ref();
    for step in rest {
        match (step, value) {
            (Step::Key(name), DeValue::Table(table)) => {
                let (key, inner) = table.iter().find(|(key, _)| key.get_ref() == name)?;
                span = key.span();
                value = inner.get_ref();
            }
            (Step::Index(index), DeValue::Array(list)) => value = list.get(*index)?.get_ref(),
            _ => return None,
        }
    }
    Some(span)
}

fn unknown_key(steps: &[Step]) -> String {
    let keys: Vec<&str> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
        .collect();
    let (known, place): (&[&str], &str) = match keys.as_slice() {
        [_] => (TOP, "a policy file"),
        ["check", _] => (CHECK, "`[check]`"),
        ["check", "allow", _] => (ALLOW, "`[[check.allow]]`"),
        _ => (&[], "a policy file"),
    };
    let name = keys.last().copied().unwrap_or_default();
    if keys.len() == 1 && CHECK.contains(&name) {
        return format!("`{name}` belongs into the table `[check]`");
    }
    match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("{place} has no key `{name}`; did you mean `{nearest}`?"),
        None if known.is_empty() => format!("{place} has no key `{}`", keys.join(".")),
        None => format!("{place} has no key `{name}`, only `{}`", known.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_that_are_named_are_those_that_are_read() {
        let values = |key: &str| match key {
            "targets" => "[]",
            "strict" | "static" => "true",
            "profile" => "'routeros'",
            "fail-on" => "'warning'",
            "expires" => "2027-01-31",
            "rule" => "'size'",
            _ => "'x'",
        };
        let lines = |keys: &[&str], but: &[&str]| {
            let keys = keys.iter().filter(|key| !but.contains(key));
            keys.map(|key| format!("{key} = {}", values(key))).collect::<Vec<_>>().join("\n")
        };
        let text = format!(
            "[check]\n{}\n[check.rules]\nsize = 'off'\n[[check.allow]]\n{}\ntarget = 'linux/arm64'\n",
            lines(CHECK, &["rules", "allow"]),
            lines(ALLOW, &["target"]),
        );
        let policy = parse(Path::new("polyarch.toml"), &text).unwrap();
        assert_eq!(policy.allowances.len(), 1);
        assert!(policy.strict && policy.all_static);
    }
}
