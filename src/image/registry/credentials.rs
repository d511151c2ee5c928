//! Who we are to a registry: containers-auth.json(5), docker's `config.json`, and credential helpers.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::registries::{Place, read};
use super::{RegistryError, Secret};

/// The largest file or answer that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// Where credentials come from.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// For every registry, as `--creds` gives them.
    pub given: Option<Login>,
    /// Files, the first that knows the registry counts. Those that are not there say nothing.
    pub files: Vec<PathBuf>,
}

/// What makes us known to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's name; empty where [`Login::secret`] is an identity token.
    pub user: String,
    /// The password, or an identity token.
    pub secret: Secret,
}

impl Login {
    /// Reads `USER:PASSWORD`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.split_once(':')?;
        (!user.is_empty()).then(|| Self { user: user.into(), secret: Secret::new(password) })
    }

    /// The value of `Authorization` for basic authentication.
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.secret.reveal())))
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Text {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    username: String,
    secret: String,
}

impl Credentials {
    /// Who we are at `place`; what was given is only for the registry's own place.
    pub(super) fn find(&self, place: &Place, is_own: bool) -> Result<Option<Login>, RegistryError> {
        if let Some(login) = self.given.as_ref().filter(|_| is_own) {
            return Ok(Some(login.clone()));
        }
        for path in self.files.iter().filter(|path| path.exists()) {
            if let Some(login) = in_file(path, place)? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }
}

fn in_file(path: &Path, place: &Place) -> Result<Option<Login>, RegistryError> {
    let bytes = read(path, LIMIT)?;
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    let text: Text = serde_json::from_slice(&bytes).map_err(|err| RegistryError::Credentials {
        path: path.into(),
        line: err.line(),
        column: err.column(),
    })?;
    let host = place.host.as_str();
    if let Some(helper) = text.cred_helpers.get(host) {
        return ask(helper, host);
    }
    if let Some(login) = keys(place).iter().find_map(|key| login(find(&text.auths, key)?)) {
        return Ok(Some(login));
    }
    if text.creds_store.is_empty() {
        return Ok(None);
    }
    let server = if host == "docker.io" { "https://index.docker.io/v1/" } else { host };
    ask(&text.creds_store, server)
}

/// The names under which the credentials of a repository may stand, the closest first.
fn keys(place: &Place) -> Vec<String> {
    let full = format!("{}/{}", place.host, place.repository);
    let mut keys: Vec<String> = full.match_indices('/').map(|(at, _)| full[..at].to_owned()).rev().collect();
    keys.insert(0, full);
    if place.host == "docker.io" {
        keys.extend(["index.docker.io", "registry-1.docker.io"].map(str::to_owned));
    }
    keys
}

/// The entry for `key`; docker writes some as URLs.
fn find<'a>(auths: &'a BTreeMap<String, Entry>, key: &str) -> Option<&'a Entry> {
    let plain = |name: &str| {
        let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).map(|rest| {
            // Only the host of a URL counts.
            rest.split('/').next().unwrap_or_default().to_owned()
        });
        name.is_some_and(|name| name == key)
    };
    auths.get(key).or_else(|| auths.iter().find(|(name, _)| plain(name)).map(|(_, entry)| entry))
}

fn login(entry: &Entry) -> Option<Login> {
    if !entry.identitytoken.is_empty() {
        return Some(Login { user: String::new(), secret: Secret::new(&entry.identitytoken) });
    }
    if !entry.username.is_empty() {
        return Some(Login { user: entry.username.clone(), secret: Secret::new(&entry.password) });
    }
    let decoded = STANDARD.decode(entry.auth.trim()).ok()?;
    Login::parse(String::from_utf8(decoded).ok()?.trim_end_matches('\0'))
}

/// Asks a credential helper, by docker's protocol for them.
fn ask(name: &str, server: &str) -> Result<Option<Login>, RegistryError> {
    let helper = format!("docker-credential-{name}");
    let failed =
        |reason: String| RegistryError::Helper { helper: helper.clone(), registry: server.into(), reason };
    if name.is_empty() || name.contains('/') {
        return Err(failed("this is no name of a helper".into()));
    }
    let mut child = Command::new(&helper)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|err| failed(err.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its input may still answer.
        let _ = stdin.write_all(server.as_bytes());
    }
    let mut out = Vec::new();
    let received = child.stdout.take().map_or(Ok(0), |stdout| stdout.take(LIMIT).read_to_end(&mut out));
    let status = child.wait().map_err(|err| failed(err.to_string()))?;
    received.map_err(|err| failed(err.to_string()))?;
    if !status.success() {
        // The words are those of docker's own helpers, on their standard output.
        if String::from_utf8_lossy(&out).contains("credentials not found") {
            return Ok(None);
        }
        // What else it says may be anything, a secret too.
        return Err(failed(format!("it ended with {status}")));
    }
    let given: Given =
        serde_json::from_slice(&out).map_err(|_| failed("its answer is not what a helper gives".into()))?;
    if given.secret.is_empty() {
        return Ok(None);
    }
    let user = if given.username == "<token>" { String::new() } else { given.username };
    Ok(Some(Login { user, secret: Secret::new(given.secret) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> Place {
        let (host, repository) = name.split_once('/').unwrap();
        Place { host: host.into(), repository: repository.into(), insecure: false }
    }

    fn find_in(text: &str, name: &str) -> Option<(String, String)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let credentials = Credentials { given: None, files: vec!["/nowhere".into(), file.path().into()] };
        let login = credentials.find(&place(name), true).unwrap()?;
        Some((login.user, login.secret.reveal().to_owned()))
    }

    #[test]
    fn the_closest_entry_counts() {
        let auth = |text: &str| format!(r#"{{"auth":"{}"}}"#, STANDARD.encode(text));
        let text = format!(
            r#"{{"auths":{{"r.example":{},"r.example/team":{},"https://index.docker.io/v1/":{},"t.example":{{"identitytoken":"T"}}}}}}"#,
            auth("a:1"),
            auth("b:2:3"),
            auth("c:4")
        );
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(find_in(&text, "r.example/x"), pair("a", "1"));
        assert_eq!(find_in(&text, "r.example/team/x"), pair("b", "2:3"));
        assert_eq!(find_in(&text, "r.example/teams/x"), pair("a", "1"));
        assert_eq!(find_in(&text, "docker.io/library/x"), pair("c", "4"));
        assert_eq!(find_in(&text, "t.example/x"), pair("", "T"));
        assert_eq!(find_in(&text, "other.example/x"), None);
        assert_eq!(find_in("", "other.example/x"), None);
    }

    #[test]
    fn no_secret_is_shown() {
        let login = Login::parse("user:hunter2").unwrap();
        assert!(!format!("{login:?}").contains("hunter2"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"auths":"hunter2"}"#).unwrap();
        let credentials = Credentials { given: None, files: vec![file.path().into()] };
        let err = credentials.find(&place("r.example/x"), true).unwrap_err();
        assert!(!format!("{err} {err:?}").contains("hunter2"), "{err:?}");
    }
}
