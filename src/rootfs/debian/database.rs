//! dpkg's database for packages whose files are there, and which are not configured yet.
//!
//! Sources: dpkg(1), dpkg-query(1), deb-triggers(5); dpkg's `lib/dpkg/dbdir.c`, `infodb-format.c`, `trigdeferred.c`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::member::Member;
use super::stream::Layer;

/// Where it is.
const FOLDER: &str = "var/lib/dpkg";

/// Writes the database of `members` to `layer`.
pub(super) fn write<W: Write>(members: &[Member], layer: &mut Layer<W>) -> io::Result<()> {
    let folder = |name: &str| format!("{FOLDER}/{name}");
    for name in ["alternatives", "info", "parts", "triggers", "updates"] {
        layer.folder(&folder(name), 0o755)?;
    }
    for name in ["available", "diversions", "statoverride"] {
        layer.file(&folder(name), 0o644, b"")?;
    }
    layer.file(&folder("info/format"), 0o644, b"1\n")?;
    layer.file(&folder("status"), 0o644, status(members).as_bytes())?;
    for member in members {
        let base = folder(&format!("info/{}", member.database_name()));
        let list = member.list.join("\n") + "\n";
        layer.file(&format!("{base}.list"), 0o644, list.as_bytes())?;
        for (name, mode, content) in &member.files {
            layer.file(&format!("{base}.{name}"), *mode, content)?;
        }
    }
    for (name, text) in triggers(members) {
        layer.file(&folder(&format!("triggers/{name}")), 0o644, text.as_bytes())?;
    }
    // dpkg takes what it finds for a database of its own only with these.
    layer.file(&folder("triggers/Unincorp"), 0o644, b"")
}

/// The packages as dpkg knows them after `dpkg --unpack`.
fn status(members: &[Member]) -> String {
    let mut members: Vec<&Member> = members.iter().collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    let mut text = String::new();
    for member in members {
        text.extend(["Package: ", &member.name, "\nStatus: install ok unpacked\n"]);
        let mut is_left_out = false;
        for line in member.control.lines() {
            if !line.starts_with([' ', '\t']) {
                let name = line.split(':').next().unwrap_or_default();
                is_left_out =
                    ["package", "status", "conffiles"].contains(&name.to_ascii_lowercase().as_str());
            }
            if !is_left_out {
                text.push_str(line);
                text.push('\n');
            }
        }
        if !member.conffiles.is_empty() {
            text.push_str("Conffiles:\n");
            for path in &member.conffiles {
                text.extend([" ", path.trim(), " newconffile\n"]);
            }
        }
        text.push('\n');
    }
    text
}

/// Who is interested in which trigger: those of files in one file, the others in a file each.
fn triggers(members: &[Member]) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut of_files = String::new();
    for member in members {
        let Some(text) = member.file("triggers") else { continue };
        for line in String::from_utf8_lossy(text).lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let (Some(directive), Some(trigger)) = (words.next(), words.next()) else { continue };
            let ending = match directive {
                "interest" | "interest-await" => "",
                "interest-noawait" => "/noawait",
                _ => continue,
            };
            let who = format!("{}{ending}", member.database_name());
            if trigger.starts_with('/') {
                of_files.extend([trigger, " ", &who, "\n"]);
            } else if !trigger.contains('/') && !trigger.starts_with('.') {
                files.entry(trigger.to_owned()).or_default().extend([&who, "\n"]);
            }
        }
    }
    files.insert("File".into(), of_files);
    files
}
