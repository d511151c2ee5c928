//! What an image is called in a registry.

use std::fmt;
use std::str::FromStr;

use super::super::grammar::Parts;
use super::RegistryError;
use crate::layer::Digest;

/// An image's full name: `HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The host, with its port where it has one: `docker.io`, `127.0.0.1:5000`.
    pub registry: String,
    /// The repository: `library/busybox`.
    pub repository: String,
    /// The tag. Without tag and digest, the image is `latest`.
    pub tag: Option<String>,
    /// The digest of its manifest or index.
    pub digest: Option<Digest>,
}

/// The registry of names without one.
const DOCKER: &str = "docker.io";

impl FromStr for Name {
    type Err = RegistryError;

    /// Reads what follows `docker://`; a name without a host is one of `docker.io`.
    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let wrong = |reason: String| RegistryError::Name { name: text.into(), reason };
        let parts = Parts::of(text).map_err(|reason| wrong(reason.into()))?;
        let digest = parts.digest.map(str::parse).transpose().map_err(|err| wrong(format!("{err}")))?;
        let tag = parts.tag.map(str::to_owned).or_else(|| digest.is_none().then(|| "latest".into()));
        let (registry, repository) = match parts.host {
            None | Some("docker.io" | "index.docker.io") if !parts.path.contains('/') => {
                (DOCKER, format!("library/{}", parts.path))
            }
            None | Some("index.docker.io") => (DOCKER, parts.path.into()),
            Some(host) => (host, parts.path.into()),
        };
        Ok(Self { registry: registry.into(), repository, tag, digest })
    }
}

impl Name {
    /// What its manifest is asked for by: the digest, else the tag.
    pub(super) fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".into(),
        }
    }
}

/// Whether `text` names no registry: its first part is neither a host with a dot or a port, nor `localhost`.
pub(super) fn is_short(text: &str) -> bool {
    text.split_once('/').is_none_or(|(host, _)| !host.contains(['.', ':']) && host != "localhost")
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        let full = |text: &str| text.parse::<Name>().unwrap().to_string();
        assert_eq!(full("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(full("127.0.0.1:5000/a/b:c"), "127.0.0.1:5000/a/b:c");
        let digest = Digest::of(b"");
        assert_eq!(full(&format!("r.example/a@{digest}")), format!("r.example/a@{digest}"));
        assert!("r.example/UPPER".parse::<Name>().is_err());
        assert!("r.example/a@sha512:00".parse::<Name>().is_err());
    }

    #[test]
    fn short_names_have_no_host() {
        assert!(is_short("busybox:1.2") && is_short("a/b"));
        assert!(!is_short("localhost/a") && !is_short("r.example/a") && !is_short("h:5000/a"));
    }
}
