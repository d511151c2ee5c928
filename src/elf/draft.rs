//! Facts as they are gathered, each with how it is known.

use std::collections::BTreeMap;

use serde::Serialize;

use super::layout::Layout;
use super::notes::Note;
use super::reader::Reader;

/// How a fact is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Declared or inferred.
    pub source: Source,
    /// What declares it, or what it is inferred from.
    pub from: String,
}

/// How sure a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A header field, note, attribute or flag says so.
    Declared,
    /// Concluded from something that was not written to say it.
    Inferred,
}

/// Facts as they are gathered: what is told first stands, so the surest is asked first.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) abi: Option<String>,
    pub(super) isa: Option<String>,
    pub(super) float_abi: Option<String>,
    pub(super) features: Vec<String>,
    /// Whether level and features are the most that any part has, and name a unit that such parts are often written for by hand.
    pub(super) is_most: bool,
    pub(super) evidence: BTreeMap<&'static str, Evidence>,
}

impl Draft {
    pub(super) fn abi(&mut self, value: impl Into<String>, source: Source, from: impl Into<String>) {
        fill(&mut self.abi, &mut self.evidence, "abi", value, source, from);
    }

    pub(super) fn isa(&mut self, value: impl Into<String>, source: Source, from: impl Into<String>) {
        fill(&mut self.isa, &mut self.evidence, "isa", value, source, from);
    }

    pub(super) fn float_abi(&mut self, value: impl Into<String>, source: Source, from: impl Into<String>) {
        fill(&mut self.float_abi, &mut self.evidence, "float_abi", value, source, from);
    }

    /// Features are declared always: there is nothing to infer them from.
    pub(super) fn feature(&mut self, name: &str, from: &str) {
        if !self.features.iter().any(|known| known == name) {
            self.features.push(name.to_owned());
        }
        let evidence = self
            .evidence
            .entry("features")
            .or_insert_with(|| Evidence { source: Source::Declared, from: from.to_owned() });
        if !evidence.from.split(", ").any(|known| known == from) {
            evidence.from.push_str(", ");
            evidence.from.push_str(from);
        }
    }
}

fn fill(
    slot: &mut Option<String>,
    evidence: &mut BTreeMap<&'static str, Evidence>,
    fact: &'static str,
    value: impl Into<String>,
    source: Source,
    from: impl Into<String>,
) {
    if slot.is_none() {
        *slot = Some(value.into());
        evidence.insert(fact, Evidence { source, from: from.into() });
    }
}

/// What the architectures' readers have before them.
pub(super) struct Parts<'a, 'f> {
    pub(super) layout: &'a mut Layout,
    pub(super) file: &'a mut Reader<'f>,
    pub(super) notes: &'a [Note],
    pub(super) interpreter: Option<&'a str>,
}
