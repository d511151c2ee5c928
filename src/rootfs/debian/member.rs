//! One package of a system that is being put together: what its control archive says.

use std::collections::HashSet;
use std::io::Read as _;
use std::path::Path;

use crate::debian::{Deb, DebianError, Package, clauses, control_field};
use crate::rootfs::RootfsError;

/// The most of a control archive's file that is read, in bytes.
const LIMIT: u64 = 32 << 20;

/// A package's file, and what its control archive holds.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
    pub(super) deb: Deb,
    /// The control file.
    pub(super) control: String,
    /// The others: names, modes and contents.
    pub(super) files: Vec<(String, u32, Vec<u8>)>,
    /// The files that dpkg asks about, with a slash before.
    pub(super) conffiles: Vec<String>,
    /// What dpkg lists as the package's, with a slash before.
    pub(super) list: Vec<String>,
}

impl Member {
    /// Opens the `file` of `package`.
    pub(super) fn open(package: &Package, file: &Path) -> Result<Self, RootfsError> {
        let fail = |source| RootfsError::Package { package: package.name.clone(), source: Box::new(source) };
        let wrong = |reason: String| RootfsError::Content { package: package.name.clone(), reason };
        let deb = Deb::open(file).map_err(fail)?;
        let read = |source| fail(DebianError::Read { path: file.into(), source });
        let (mut control, mut files) = (None, Vec::new());
        for entry in deb.control().map_err(fail)?.entries().map_err(read)? {
            let entry = entry.map_err(read)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = entry.path_bytes();
            let name = String::from_utf8_lossy(path.strip_prefix(b"./").unwrap_or(&path)).into_owned();
            if !is_name(&name) {
                return Err(wrong(format!(
                    "its control archive holds `{name}`, which is no name of a control file"
                )));
            }
            let mode = entry.header().mode().map_err(read)? & 0o777;
            let mut content = Vec::new();
            entry.take(LIMIT + 1).read_to_end(&mut content).map_err(read)?;
            if content.len() as u64 > LIMIT {
                return Err(wrong(format!("the control file `{name}` is larger than {LIMIT} bytes")));
            }
            if name == "control" {
                let text = String::from_utf8(content);
                control = Some(text.map_err(|_| wrong("its control file is no UTF-8".into()))?);
            } else {
                files.push((name, mode, content));
            }
        }
        files.sort();
        let control = control.ok_or_else(|| wrong("it has no control file".into()))?.trim().to_owned() + "\n";
        let field = |name| control_field(&control, name).unwrap_or_default().to_owned();
        let (name, version, architecture) = (field("Package"), field("Version"), field("Architecture"));
        // They become names of files, and words of a shell's command line.
        if name != package.name
            || !is_name(&name)
            || version != package.version.as_str()
            || !is_name(&architecture)
        {
            return Err(wrong(format!("it calls itself `{name} {version} ({architecture})`")));
        }
        if control.contains("\n\n") || control_field(&control, "Status").is_some() {
            return Err(wrong("its control file is not of one paragraph".into()));
        }
        let conffiles = files.iter().find(|(name, ..)| name == "conffiles").map(|(.., text)| {
            // A line may say `remove-on-upgrade` before the name of a file that is gone.
            String::from_utf8_lossy(text)
                .lines()
                .filter(|line| line.starts_with('/'))
                .map(str::to_owned)
                .collect()
        });
        let conffiles = conffiles.unwrap_or_default();
        Ok(Self { name, version, architecture, deb, control, files, conffiles, list: Vec::new() })
    }

    pub(super) fn field(&self, name: &str) -> &str {
        control_field(&self.control, name).unwrap_or_default()
    }

    /// What files of its database begin with: several architectures of such a package may be there at once.
    pub(super) fn database_name(&self) -> String {
        if self.field("Multi-Arch") == "same" {
            format!("{}:{}", self.name, self.architecture)
        } else {
            self.name.clone()
        }
    }

    /// Whether its programs are taken for granted by all others, so that they must be usable before they are configured.
    pub(super) fn is_base(&self) -> bool {
        self.field("Essential") == "yes" || self.field("Priority") == "required"
    }

    /// Whether its files take the places of the other's.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        let field = self.field("Replaces").replace('\n', " ");
        clauses(&field)
            .flat_map(|(_, relations)| relations)
            .any(|relation| relation.name == other.name && relation.takes(&other.version))
    }

    /// A script, or another control file.
    pub(super) fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|(known, ..)| known == name).map(|(.., content)| content.as_slice())
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-+._".contains(&byte))
}

/// The conffiles of `member` as names without a slash before.
pub(super) fn conffiles(member: &Member) -> HashSet<Vec<u8>> {
    member.conffiles.iter().map(|name| name.trim().trim_start_matches('/').as_bytes().to_vec()).collect()
}
