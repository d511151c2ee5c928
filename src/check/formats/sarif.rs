//! SARIF 2.1.0.
//!
//! The form: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::ser::SerializeSeq as _;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::place::{Place, uri};
use super::{Context, Report};
use crate::check::{Finding, InputKind, Level, Rule, Severity};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The fingerprint's name. A change of how it is made takes the next number.
const FINGERPRINT: &str = "polyarchFinding/v1";

/// Writes `report` as SARIF. What is unknown is a result of the kind `open`, or an error under `--strict`.
///
/// # Errors
/// Those of `out`.
pub fn sarif(out: &mut impl Write, report: &Report, context: &Context<'_>) -> io::Result<()> {
    let mut roots: BTreeMap<(&std::ffi::OsStr, Option<&str>), usize> = BTreeMap::new();
    for finding in &report.findings {
        if matches!(Place::of(finding, report, context), Place::Inside(_)) {
            let next = roots.len();
            roots.entry((&finding.input, finding.platform.as_deref())).or_insert(next);
        }
    }
    let bases: serde_json::Map<String, Value> = roots
        .iter()
        .map(|((input, platform), number)| {
            let platform = platform.map(|platform| format!(", {platform}")).unwrap_or_default();
            let text = format!("the root of the files in {}{platform}", input.to_string_lossy());
            (base(*number), json!({ "description": { "text": text } }))
        })
        .collect();
    let log = Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: tool(context),
            invocations: json!([{ "executionSuccessful": true }]),
            original_uri_base_ids: bases,
            column_kind: "unicodeCodePoints",
            results: Results { report, context, roots },
        }],
    };
    serde_json::to_writer_pretty(&mut *out, &log)?;
    writeln!(out)
}

#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Value,
    invocations: Value,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    original_uri_base_ids: serde_json::Map<String, Value>,
    column_kind: &'static str,
    results: Results<'a>,
}

/// The program and its rules, all of them, so that a rule's place in the list is its number.
fn tool(context: &Context<'_>) -> Value {
    let rules: Vec<Value> = Rule::ALL
        .into_iter()
        .map(|rule| {
            let page = rule.explanation();
            let text =
                format!("{}\n\nTo mend it: {}\n\nWhen to allow it: {}", page.why, page.mend, page.allow);
            let markdown = format!(
                "{}\n\n**To mend it:** {}\n\n**When to allow it:** {}",
                page.why, page.mend, page.allow
            );
            let is_on = context.policy.level(rule) != Level::Off;
            let severity = context.policy.severity(rule).unwrap_or_else(|| rule.severity());
            json!({
                "id": rule.as_str(),
                "shortDescription": { "text": rule.summary() },
                "fullDescription": { "text": page.holds },
                "help": { "text": text, "markdown": markdown },
                "defaultConfiguration": { "enabled": is_on, "level": level(severity) },
                "properties": { "tags": ["portability"] },
            })
        })
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    json!({ "driver": { "name": "polyarch", "version": version, "semanticVersion": version, "rules": rules } })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
        Severity::Unknown => "none",
    }
}

fn base(number: usize) -> String {
    format!("IMAGE{number}")
}

/// Written one by one, for there may be many.
struct Results<'a> {
    report: &'a Report,
    context: &'a Context<'a>,
    roots: BTreeMap<(&'a std::ffi::OsStr, Option<&'a str>), usize>,
}

impl Serialize for Results<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fingerprints = self.report.fingerprints();
        let mut list = serializer.serialize_seq(Some(self.report.findings.len()))?;
        for (finding, fingerprint) in self.report.findings.iter().zip(&fingerprints) {
            list.serialize_element(&self.result(finding, fingerprint))?;
        }
        list.end()
    }
}

impl Results<'_> {
    fn result(&self, finding: &Finding, fingerprint: &str) -> Value {
        let mut properties = serde_json::Map::new();
        let layer = finding.layer.as_ref();
        for (key, value) in [
            ("input", Some(finding.input.to_string_lossy().into_owned())),
            ("platform", finding.platform.clone()),
            ("target", finding.target.clone()),
            ("expected", finding.expected.clone()),
            ("found", finding.found.clone()),
            ("layer", layer.map(|layer| layer.diff_id.clone())),
            ("createdBy", layer.and_then(|layer| layer.created_by.clone())),
        ] {
            properties.extend(value.map(|value| (key.to_owned(), Value::from(value))));
        }
        let mut result = json!({
            "ruleId": finding.rule.as_str(),
            "ruleIndex": finding.rule as usize,
            "kind": if finding.severity == Severity::Unknown { "open" } else { "fail" },
            "level": level(finding.severity),
            "message": { "text": format!("{}\nTo do: {}", finding.message, finding.help) },
            "locations": [self.location(finding)],
            "partialFingerprints": {},
            "properties": properties,
        });
        result["partialFingerprints"][FINGERPRINT] = fingerprint.into();
        result
    }

    fn location(&self, finding: &Finding) -> Value {
        // Readers of SARIF want a line of everything, and that of what has no lines is the first.
        let region = json!({ "startLine": finding.line.unwrap_or(1) });
        let input = finding.input.to_string_lossy();
        let artifact = match Place::of(finding, self.report, self.context) {
            Place::File(path) => json!({ "uri": uri(&path) }),
            Place::Inside(path) => {
                let number = self.roots.get(&(finding.input.as_os_str(), finding.platform.as_deref()));
                json!({ "uri": uri(path), "uriBaseId": base(number.copied().unwrap_or_default()) })
            }
            Place::Image => json!({ "uri": uri(input.trim_start_matches('/').as_bytes()) }),
        };
        let is_image = self
            .report
            .inputs
            .iter()
            .any(|looked_at| looked_at.name == finding.input && looked_at.kind == InputKind::Image);
        let mut logical = Vec::new();
        if is_image {
            let platform = finding.platform.as_deref().unwrap_or("");
            let name = format!("{input} {platform}");
            let name = name.trim_end();
            match &finding.layer {
                Some(layer) => logical.push(json!({
                    "name": format!("layer {}", layer.number),
                    "fullyQualifiedName": format!("{name} {}", layer.diff_id),
                    "kind": "layer",
                })),
                None => logical.push(json!({ "name": name, "fullyQualifiedName": name, "kind": "image" })),
            }
        }
        let mut location = json!({ "physicalLocation": { "artifactLocation": artifact, "region": region } });
        if !logical.is_empty() {
            location["logicalLocations"] = logical.into();
        }
        location
    }
}
