//! Repositories that `ADD` takes files from, by the program `git`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Context;
use super::error::RemoteError;
use crate::build::taken::Match;
use crate::containerfile::Ignore;
use crate::progress::Progress;

/// The fewest digits by which a commit is known, as git shows them.
const SHORTEST: usize = 7;

/// How much of what git says is shown, in characters.
const SHOWN: usize = 600;

/// `URL#REFERENCE:FOLDER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Where it is.
    pub url: String,
    /// The branch, tag or commit; what the repository is at where nothing is said.
    pub reference: Option<String>,
    /// The only folder that is taken.
    pub folder: Option<String>,
}

impl Repository {
    /// What `source` names, if it is a repository: by its scheme, `git@HOST:PATH`, or an address that ends in `.git`.
    #[must_use]
    pub fn of(source: &str) -> Option<Self> {
        let (url, fragment) = source.split_once('#').map_or((source, None), |(url, rest)| (url, Some(rest)));
        let is_web = url.starts_with("http://") || url.starts_with("https://");
        let has_scheme = ["git://", "ssh://"].iter().any(|scheme| url.starts_with(scheme));
        let is_scp = !url.contains("://")
            && url.split_once('@').is_some_and(|(user, rest)| {
                let is_name = |text: &str| {
                    !text.is_empty()
                        && !text.starts_with('-')
                        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
                };
                is_name(user)
                    && rest.split_once(':').is_some_and(|(host, path)| is_name(host) && !path.is_empty())
            });
        let is_git = url.strip_suffix(".git").is_some();
        if !(has_scheme || is_scp || (is_web && is_git)) {
            return None;
        }
        let (reference, folder) = match fragment {
            None => (None, None),
            Some(fragment) => match fragment.split_once(':') {
                Some((reference, folder)) => (Some(reference), Some(folder)),
                None => (Some(fragment), None),
            },
        };
        let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        Some(Self { url: url.to_owned(), reference: given(reference), folder: given(folder) })
    }
}

/// Checks `repository` out into `folder`, which is empty, and gives what is there without what `exclude` leaves out.
///
/// # Errors
/// [`RemoteError`] where there is no git, or git cannot do it, or the commit is not `checksum`.
pub fn check_out(
    repository: &Repository,
    checksum: Option<&str>,
    keep_git_folder: bool,
    exclude: &Ignore,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<Vec<Match>, RemoteError> {
    let task = progress.begin(&format!("fetching {}", repository.shown()), None);
    let git = |args: &[&str]| repository.git(folder, args);
    let reference = repository.reference.as_deref().unwrap_or("HEAD");
    if reference.starts_with('-') {
        return Err(repository.failed(format!("`{reference}` is no branch, tag or commit")));
    }
    git(&["init", "--quiet", "."])?;
    // Only that commit, where the server lets us ask for it; else all that leads to it; else everything there is.
    let one = git(&["fetch", "--quiet", "--depth=1", "--no-tags", "--", &repository.url, reference]);
    let fetched = match one {
        Err(RemoteError::Git { .. }) => {
            git(&["fetch", "--quiet", "--no-tags", "--", &repository.url, reference])
        }
        other => other,
    };
    let commit = match fetched {
        Ok(_) => "FETCH_HEAD".to_owned(),
        Err(err @ RemoteError::Git { .. }) => {
            let all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
            if git(&["fetch", "--quiet", "--", &repository.url, all[0], all[1]]).is_err() {
                return Err(err);
            }
            let known = format!("{reference}^{{commit}}");
            git(&["rev-parse", "--quiet", "--verify", "--end-of-options", &known]).map_err(|_| err)?
        }
        Err(err) => return Err(err),
    };
    git(&["-c", "advice.detachedHead=false", "checkout", "--quiet", "--force", commit.trim(), "--"])?;
    let commit = git(&["rev-parse", "--verify", "HEAD"])?.trim().to_owned();
    if let Some(expected) = checksum
        && (expected.len() < SHORTEST || !expected.bytes().all(|it| it.is_ascii_hexdigit()))
    {
        let reason = format!("`--checksum` takes a commit's digest, of which `{expected}` is none");
        return Err(repository.failed(reason));
    }
    if let Some(expected) = checksum
        && !commit.starts_with(&expected.to_ascii_lowercase())
    {
        let reason = format!("it is at commit {commit}, where `--checksum` wants {expected}");
        return Err(repository.failed(reason));
    }
    if folder.join(".gitmodules").exists() {
        git(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
    }
    drop(task);
    if !keep_git_folder {
        let own = folder.join(".git");
        fs::remove_dir_all(&own).map_err(|source| RemoteError::Write { path: own, source })?;
    }
    let context = Context::open(folder, Ignore::default())?;
    Ok(context.take(repository.folder.as_deref().unwrap_or_default(), exclude)?)
}

impl Repository {
    /// Its address without a password.
    fn shown(&self) -> String {
        match self.url.split_once("://") {
            Some((scheme, rest)) => {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
                format!("{scheme}://{host}/{path}")
            }
            None => self.url.clone(),
        }
    }

    fn failed(&self, reason: String) -> RemoteError {
        RemoteError::Git { url: self.shown(), reason }
    }

    /// What git prints for `args`.
    fn git(&self, folder: &Path, args: &[&str]) -> Result<String, RemoteError> {
        let mut command = Command::new("git");
        // It asks nobody anything; it has no business with repositories that we are in; and what the other side says names no file of ours.
        command
            .args(["-c", "protocol.ext.allow=never", "-c", "protocol.file.allow=user", "-C"])
            .arg(folder)
            .args(args)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .env_remove("GIT_INDEX_FILE")
            .stdin(Stdio::null());
        let output = command.output().map_err(|source| {
            if source.kind() == std::io::ErrorKind::NotFound {
                RemoteError::NoGit
            } else {
                self.failed(format!("`git` cannot be started: {source}"))
            }
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut text: String = lines.collect::<Vec<_>>().join("; ");
        // A password stands in the address alone.
        text = text.replace(&self.url, &self.shown());
        let text = text.chars().filter(|character| !character.is_control()).take(SHOWN).collect::<String>();
        Err(self.failed(if text.is_empty() { "git does not say why".into() } else { text }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_told_from_files() {
        let of = |source: &str| {
            Repository::of(source)
                .map(|it| (it.url, it.reference.unwrap_or_default(), it.folder.unwrap_or_default()))
        };
        let some =
            |url: &str, reference: &str, folder: &str| Some((url.into(), reference.into(), folder.into()));
        assert_eq!(of("https://h/a.git"), some("https://h/a.git", "", ""));
        assert_eq!(of("https://h/a.git#v1:sub/dir"), some("https://h/a.git", "v1", "sub/dir"));
        assert_eq!(of("https://h/a.git#:sub"), some("https://h/a.git", "", "sub"));
        assert_eq!(of("git@h.example:a/b.git#main"), some("git@h.example:a/b.git", "main", ""));
        assert_eq!(of("ssh://git@h/a"), some("ssh://git@h/a", "", ""));
        assert_eq!(of("git://h/a"), some("git://h/a", "", ""));
        for other in [
            "https://h/a.tar",
            "a.git",
            "a@b",
            "dir/a@b:c",
            "-x@h:p",
            "x@-h:p",
            "https://h/a.git/x",
            "./git@h:p",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        let shown = Repository::of("https://user:pw@h/a.git").unwrap().shown();
        assert_eq!(shown, "https://h/a.git");
    }
}
