//! What the host's apt is configured with: where Debian's archive is, and through which proxy.
//!
//! Sources: sources.list(5), apt.conf(5).

use std::fs;
use std::path::{Path, PathBuf};

use super::control;

/// The largest configuration file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// Debian's suites and code names. Other archives at an address that ends in `/debian` mostly have others.
const SUITES: &[&str] = &[
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "sid",
    "experimental",
    "rc-buggy",
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
];

/// What was found in apt's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Apt {
    /// The addresses under which Debian's own archive is configured, the likeliest first.
    pub mirrors: Vec<String>,
    /// The proxy for plain HTTP.
    pub http_proxy: Option<Proxy>,
    /// The proxy for HTTPS.
    pub https_proxy: Option<Proxy>,
}

/// What apt's configuration says of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proxy {
    /// `DIRECT`: none, even where the environment names one.
    Direct,
    /// Its address.
    Address(String),
}

/// One line, or paragraph, of the sources.
#[derive(Debug, Default)]
struct Entry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: String,
}

impl Apt {
    /// Reads the configuration in `root`, which is `/`, or a folder with an `etc/apt`. What cannot be read,
    /// or understood, is passed over: it is apt's, not ours.
    pub fn read(root: &Path) -> Self {
        let etc = root.join("etc/apt");
        let mut entries: Vec<Entry> = Vec::new();
        let mut files = vec![etc.join("sources.list")];
        files.extend(parts(&etc.join("sources.list.d")));
        for file in files {
            let Some(text) = text(&file) else { continue };
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("sources") => {
                    entries.extend(control::paragraphs(&text).iter().filter_map(|text| stanza(text)));
                }
                Some("list") => entries.extend(text.lines().filter_map(line)),
                _ => {}
            }
        }
        let mut configuration = Vec::new();
        for file in parts(&etc.join("apt.conf.d")) {
            // As apt does: only names without an ending, or with that of its own.
            if file.extension().is_none_or(|extension| extension == "conf") {
                configuration.extend(text(&file).map(|text| settings(&text)).unwrap_or_default());
            }
        }
        configuration.extend(text(&etc.join("apt.conf")).map(|text| settings(&text)).unwrap_or_default());
        Self {
            mirrors: mirrors(root, &entries),
            http_proxy: proxy(&configuration, "acquire::http::proxy"),
            https_proxy: proxy(&configuration, "acquire::https::proxy"),
        }
    }
}

/// The files of a folder, by name.
fn parts(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files
}

fn text(file: &Path) -> Option<String> {
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > LIMIT {
        return None;
    }
    fs::read_to_string(file).ok()
}

/// `deb [option=value …] URI SUITE COMPONENT…`.
fn line(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    // Not `deb-src`.
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    Some(Entry {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: signed_by.unwrap_or_default().to_owned(),
    })
}

/// A paragraph of a `.sources` file.
fn stanza(text: &str) -> Option<Entry> {
    let words = |name| -> Vec<String> {
        let value = control::field(text, name).unwrap_or_default();
        value.split_whitespace().map(str::to_owned).collect()
    };
    let disabled = ["no", "false", "without", "off", "disable", "0"];
    if control::field(text, "Enabled")
        .is_some_and(|value| disabled.contains(&value.to_ascii_lowercase().as_str()))
    {
        return None;
    }
    words("Types").iter().any(|kind| kind == "deb").then(|| Entry {
        uris: words("URIs"),
        suites: words("Suites"),
        components: words("Components"),
        signed_by: control::field(text, "Signed-By").unwrap_or_default().to_owned(),
    })
}

/// The addresses of Debian's own archive: those signed with Debian's keys first, then those whose path is
/// `/debian` and nothing before it, which is where mirrors have it and others rarely do.
fn mirrors(root: &Path, entries: &[Entry]) -> Vec<String> {
    let mut found: Vec<((bool, bool, bool), String)> = Vec::new();
    for entry in entries.iter().filter(|entry| is_debian(entry)) {
        for uri in &entry.uris {
            for address in addresses(root, uri) {
                let path = address
                    .split_once("://")
                    .and_then(|(_, rest)| rest.split_once('/'))
                    .map(|(_, path)| path);
                let is_archive = address.trim_end_matches('/').ends_with("/debian");
                let foreign_keys = !entry.signed_by.is_empty() && !entry.signed_by.contains("debian-archive");
                let rank = (
                    foreign_keys,
                    !is_archive,
                    path.is_some_and(|path| path.trim_end_matches('/') != "debian"),
                );
                if !address.trim_end_matches('/').ends_with("/debian-security")
                    && !found.iter().any(|(_, known)| *known == address)
                {
                    found.push((rank, address));
                }
            }
        }
    }
    // Without Debian's keys, the archive's usual path, or both, it is somebody else's.
    found.retain(|((foreign_keys, other_path, _), _)| !foreign_keys && !other_path);
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, address)| address).collect()
}

/// Whether an entry has the suites and components of Debian's main archive.
fn is_debian(entry: &Entry) -> bool {
    let is_suite = |suite: &String| {
        let name = ["-updates", "-proposed-updates", "-backports", "-backports-sloppy"]
            .iter()
            .find_map(|ending| suite.strip_suffix(ending))
            .unwrap_or(suite);
        SUITES.contains(&name)
    };
    entry.suites.iter().any(is_suite) && entry.components.iter().any(|component| component == "main")
}

/// The addresses that a URI stands for: itself, or those in the list that a `mirror+file:` names.
fn addresses(root: &Path, uri: &str) -> Vec<String> {
    if let Some(list) = uri.strip_prefix("mirror+file:") {
        let list = list.trim_start_matches('/');
        let text = text(&root.join(list)).unwrap_or_default();
        return text
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|address| is_fetched(address))
            .map(str::to_owned)
            .collect();
    }
    if is_fetched(uri) { vec![uri.to_owned()] } else { Vec::new() }
}

/// Whether the address is of a kind that we can fetch from.
fn is_fetched(address: &str) -> bool {
    ["http://", "https://", "file:"].iter().any(|scheme| address.starts_with(scheme))
}

/// The proxy that `settings` name last under `name`.
fn proxy(settings: &[(String, String)], name: &str) -> Option<Proxy> {
    let (_, value) = settings.iter().rev().find(|(key, _)| key == name)?;
    match value.as_str() {
        "" | "false" => None,
        "DIRECT" => Some(Proxy::Direct),
        address => Some(Proxy::Address(address.to_owned())),
    }
}

/// The settings of an apt.conf, as (name in lower case, value): `A::B "x";` and `A { B "x"; };` are one.
fn settings(text: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut scopes: Vec<String> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    for token in tokens(text) {
        match token {
            Token::Word(word) => words.push(word),
            Token::Open => scopes.push(words.drain(..).next().unwrap_or_default().to_ascii_lowercase()),
            Token::Close => {
                scopes.pop();
                words.clear();
            }
            Token::End => {
                let mut statement = words.drain(..);
                if let (Some(name), Some(value)) = (statement.next(), statement.next()) {
                    let mut path = scopes.clone();
                    path.push(name.to_ascii_lowercase());
                    settings.push((path.join("::"), value));
                }
            }
        }
    }
    settings
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

/// Words, quoted or not, braces and semicolons; comments are passed over.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        rest = match first {
            '{' | '}' | ';' => {
                tokens.push(match first {
                    '{' => Token::Open,
                    '}' => Token::Close,
                    _ => Token::End,
                });
                after
            }
            '"' => {
                let (word, after) = after.split_once('"').unwrap_or((after, ""));
                tokens.push(Token::Word(word.to_owned()));
                after
            }
            '#' => after.split_once('\n').map_or("", |(_, after)| after),
            '/' if after.starts_with('/') => after.split_once('\n').map_or("", |(_, after)| after),
            '/' if after.starts_with('*') => after.split_once("*/").map_or("", |(_, after)| after),
            _ => {
                let end = rest
                    .find(|c: char| c.is_whitespace() || matches!(c, '{' | '}' | ';' | '"'))
                    .unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                &rest[end..]
            }
        }
        .trim_start();
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn mirrors_of(files: &[(&str, &str)]) -> Vec<String> {
        Apt::read(root(files).path()).mirrors
    }

    #[test]
    fn one_line_sources_are_read() {
        let list = "# deb http://old.example/debian bookworm main\n\
                    deb-src http://source.example/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://a.example/debian/ bookworm main contrib\n\
                    deb http://b.example/debian bookworm-updates main # ours\n\
                    deb http://c.example/debian-security bookworm-security main\n\
                    deb http://d.example/linux/debian bookworm stable\n\
                    deb cdrom:[Debian 12]/ bookworm main\n";
        assert_eq!(
            mirrors_of(&[("etc/apt/sources.list", list)]),
            ["http://a.example/debian/", "http://b.example/debian"]
        );
    }

    #[test]
    fn deb822_sources_are_read() {
        let sources = "Types: deb deb-src\nURIs: http://a.example/debian\n https://b.example/debian\nSuites: trixie trixie-updates\n\
                       Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                       # A comment.\nEnabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: trixie\nComponents: main\n\n\
                       Types: deb\nURIs: http://vendor.example/products/debian\nSuites: trixie\nComponents: main\n\
                       Signed-By: /etc/apt/keyrings/vendor.gpg\n";
        assert_eq!(
            mirrors_of(&[("etc/apt/sources.list.d/debian.sources", sources)]),
            ["http://a.example/debian", "https://b.example/debian"]
        );
        let ignored = mirrors_of(&[("etc/apt/sources.list.d/debian.sources.save", sources)]);
        assert_eq!(ignored, [""; 0]);
    }

    #[test]
    fn a_list_of_mirrors_is_followed() {
        let files = [
            ("etc/apt/sources.list", "deb mirror+file:/etc/apt/mirrors/debian.list bookworm main\n"),
            (
                "etc/apt/mirrors/debian.list",
                "https://a.example/debian\tpriority:1\nhttp://b.example/debian\n",
            ),
        ];
        assert_eq!(mirrors_of(&files), ["https://a.example/debian", "http://b.example/debian"]);
    }

    #[test]
    fn proxies_are_read_in_each_form() {
        for text in [
            "Acquire::http::Proxy \"http://proxy.example:3142\";",
            "// Acquire::http::Proxy \"http://no.example\";\nAcquire { http { Proxy \"http://proxy.example:3142\"; }; };",
            "/* a\n b */ Acquire::HTTP { Pipeline-Depth \"0\"; proxy \"http://proxy.example:3142\"; };\n",
            "Acquire::http::Proxy http://proxy.example:3142;",
        ] {
            let apt = Apt::read(root(&[("etc/apt/apt.conf.d/90proxy", text)]).path());
            assert_eq!(apt.http_proxy, Some(Proxy::Address("http://proxy.example:3142".into())), "{text}");
            assert_eq!(apt.https_proxy, None);
        }
        let files = [
            ("etc/apt/apt.conf.d/90proxy", "Acquire::http::Proxy \"http://proxy.example\";"),
            ("etc/apt/apt.conf.d/91proxy.save", "Acquire::http::Proxy \"http://no.example\";"),
            ("etc/apt/apt.conf", "Acquire::http::Proxy \"DIRECT\";"),
        ];
        assert_eq!(Apt::read(root(&files).path()).http_proxy, Some(Proxy::Direct));
        assert_eq!(Apt::read(root(&[]).path()), Apt::default());
    }
}
