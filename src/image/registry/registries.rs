//! `registries.conf`, as containers-registries.conf(5) describes its second version.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::name::is_short;
use super::{Name, RegistryError};

/// The largest file that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// What all files of `registries.conf` say together.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    entries: BTreeMap<String, Entry>,
    search: Vec<String>,
    aliases: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Text {
    unqualified_search_registries: Option<Vec<String>>,
    #[serde(default)]
    registry: Vec<Entry>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Entry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Mirror {
    location: String,
    insecure: bool,
    #[serde(rename = "pull-from-mirror")]
    pull: Option<String>,
}

/// One place where an image may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The host, with its port where it has one.
    pub(super) host: String,
    pub(super) repository: String,
    pub(super) insecure: bool,
}

impl Registries {
    /// Reads the first of `files` that exists, and then each `*.conf` in `folders`, in the order of their names in each;
    /// what is read later counts more. Folders and files that are not there say nothing.
    ///
    /// # Errors
    /// [`RegistryError`] where a file cannot be read or is wrong.
    pub fn read(files: &[PathBuf], folders: &[PathBuf]) -> Result<Self, RegistryError> {
        let mut all: Vec<PathBuf> = files.iter().find(|path| path.exists()).into_iter().cloned().collect();
        for folder in folders {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            let is_conf = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "conf");
            let mut paths: Vec<_> =
                entries.filter_map(Result::ok).map(|entry| entry.path()).filter(is_conf).collect();
            paths.sort();
            all.extend(paths);
        }
        let mut registries = Self::default();
        for path in all {
            let bytes = read(&path, LIMIT)?;
            registries
                .add(&String::from_utf8_lossy(&bytes))
                .map_err(|source| RegistryError::Registries { path, source: Box::new(source) })?;
        }
        Ok(registries)
    }

    fn add(&mut self, text: &str) -> Result<(), toml::de::Error> {
        let text: Text = toml::from_str(text)?;
        for mut entry in text.registry {
            if entry.prefix.is_empty() {
                entry.prefix.clone_from(&entry.location);
            }
            self.entries.insert(entry.prefix.clone(), entry);
        }
        self.search = text.unqualified_search_registries.unwrap_or_else(|| std::mem::take(&mut self.search));
        self.aliases.extend(text.aliases);
        Ok(())
    }

    /// The images that `text` may stand for, the likeliest first: itself where it names a registry; else what an alias says;
    /// else the image of that name in each registry that is searched, and in `docker.io` where none is.
    ///
    /// # Errors
    /// [`RegistryError::Name`].
    pub fn named(&self, text: &str) -> Result<Vec<Name>, RegistryError> {
        if !is_short(text) {
            return Ok(vec![text.parse()?]);
        }
        let last = text.rfind('/').map_or(0, |at| at + 1);
        let end = text[last..].find([':', '@']).map_or(text.len(), |at| last + at);
        if let Some(full) = self.aliases.get(&text[..end]).filter(|full| !full.is_empty()) {
            return Ok(vec![format!("{full}{}", &text[end..]).parse()?]);
        }
        if self.search.is_empty() {
            return Ok(vec![text.parse()?]);
        }
        self.search.iter().map(|registry| format!("{registry}/{text}").parse()).collect()
    }

    /// Where the image may be read from, the mirrors first; or, to write it, its one place.
    pub(super) fn places(&self, name: &Name, is_write: bool) -> Result<Vec<Place>, RegistryError> {
        let full = format!("{}/{}", name.registry, name.repository);
        let plain =
            Place { host: name.registry.clone(), repository: name.repository.clone(), insecure: false };
        let matching =
            self.entries.values().filter_map(|entry| Some((entry, matched(&entry.prefix, &full)?)));
        let Some((entry, length)) = matching.max_by_key(|(entry, _)| entry.prefix.len()) else {
            return Ok(vec![plain]);
        };
        if entry.blocked {
            return Err(RegistryError::Blocked { name: name.to_string(), prefix: entry.prefix.clone() });
        }
        let place = |location: &str, insecure| {
            if location.is_empty() {
                return Ok(Place { insecure, ..plain.clone() });
            }
            let moved = format!("{location}{}", &full[length..]);
            let wrong = || RegistryError::Name {
                name: moved.clone(),
                reason: "`registries.conf` makes it so".into(),
            };
            let (host, repository) = moved.split_once('/').ok_or_else(wrong)?;
            // It must be a name as any other.
            let _: Name = format!("{moved}:latest").parse()?;
            Ok(Place { host: host.into(), repository: repository.into(), insecure })
        };
        let mut places = Vec::new();
        if !is_write {
            for mirror in &entry.mirror {
                let is_used = match mirror.pull.as_deref() {
                    Some("digest-only") => name.digest.is_some(),
                    Some("tag-only") => name.digest.is_none(),
                    _ => !entry.mirror_by_digest_only || name.digest.is_some(),
                };
                if is_used {
                    places.push(place(&mirror.location, mirror.insecure)?);
                }
            }
        }
        places.push(place(&entry.location, entry.insecure)?);
        Ok(places)
    }
}

/// How much of `full` the prefix covers; `None` where it is not one of it. `*.example` covers every host below it.
fn matched(prefix: &str, full: &str) -> Option<usize> {
    if let Some(suffix) = prefix.strip_prefix('*') {
        let host = full.find('/').unwrap_or(full.len());
        return full[..host].ends_with(suffix).then_some(host);
    }
    let rest = full.strip_prefix(prefix)?;
    (!prefix.is_empty() && (rest.is_empty() || rest.starts_with(['/', ':']))).then_some(prefix.len())
}

/// A file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    let whole = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    let whole = whole.and_then(|count| {
        let is_small = count as u64 <= limit;
        is_small.then_some(()).ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "it is too large"))
    });
    whole.map_err(|source| RegistryError::Read { path: path.into(), source })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registries() -> Registries {
        let mut registries = Registries::default();
        registries
            .add(
                r#"
                unqualified-search-registries = ["a.example", "b.example:5000"]
                short-name-mode = "permissive"
                [[registry]]
                prefix = "docker.io"
                location = "inner.example/hub"
                [[registry.mirror]]
                location = "mirror.example:5000/x"
                insecure = true
                [[registry.mirror]]
                location = "digests.example"
                pull-from-mirror = "digest-only"
                [[registry]]
                location = "docker.io/bad"
                blocked = true
                [[registry]]
                prefix = "*.wild.example"
                insecure = true
                "#,
            )
            .unwrap();
        registries.add("[aliases]\n\"tool\" = \"c.example/tools/tool\"").unwrap();
        registries
    }

    fn places(name: &str, is_write: bool) -> Vec<(String, String, bool)> {
        let places = registries().places(&name.parse().unwrap(), is_write).unwrap();
        places.into_iter().map(|place| (place.host, place.repository, place.insecure)).collect()
    }

    #[test]
    fn mirrors_come_first_and_are_not_written() {
        let mirror = ("mirror.example:5000".to_owned(), "x/library/busybox".to_owned(), true);
        let own = ("inner.example".to_owned(), "hub/library/busybox".to_owned(), false);
        assert_eq!(places("busybox", false), [mirror.clone(), own.clone()]);
        assert_eq!(places("busybox", true), std::slice::from_ref(&own));
        let digest = crate::layer::Digest::of(b"");
        let by_digest = ("digests.example".to_owned(), "library/busybox".to_owned(), false);
        assert_eq!(places(&format!("busybox@{digest}"), false), [mirror, by_digest, own]);
    }

    #[test]
    fn prefixes_end_where_parts_end() {
        assert!(registries().places(&"docker.io/bad/x".parse().unwrap(), false).is_err());
        assert_eq!(places("docker.io/badly/x", true)[0].1, "hub/badly/x");
        assert_eq!(places("a.wild.example/x", true), [("a.wild.example".into(), "x".into(), true)]);
        assert_eq!(places("other.example/x", false), [("other.example".into(), "x".into(), false)]);
    }

    #[test]
    fn short_names_are_looked_up() {
        let names = |text: &str| {
            let names = registries().named(text).unwrap();
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names("tool:1"), ["c.example/tools/tool:1"]);
        assert_eq!(names("x"), ["a.example/x:latest", "b.example:5000/x:latest"]);
        assert_eq!(names("d.example/x"), ["d.example/x:latest"]);
        assert_eq!(Registries::default().named("x").unwrap()[0].to_string(), "docker.io/library/x:latest");
    }
}
