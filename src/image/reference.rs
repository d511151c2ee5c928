//! How images are named, as in containers-transports(5).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::ReferenceError;

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageRef {
    /// `oci:DIR[:TAG]`: an OCI image layout.
    Oci {
        /// The folder.
        dir: PathBuf,
        /// The name in its index; without one, the only image there.
        tag: Option<String>,
    },
    /// `docker-archive:FILE[:REF]`: a file as `docker save` writes it.
    DockerArchive {
        /// The file.
        file: PathBuf,
        /// The image's name in it, `NAME:TAG`; without one, the only image there.
        name: Option<String>,
    },
}

/// Transports of containers-transports(5) that are known, and not had yet.
const LATER: &[&str] = &["docker", "oci-archive", "dir", "containers-storage", "docker-daemon"];

impl FromStr for ImageRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let unknown = || ReferenceError::Unsupported { reference: text.into() };
        let (transport, rest) = text.split_once(':').ok_or_else(unknown)?;
        if LATER.contains(&transport) || !matches!(transport, "oci" | "docker-archive") {
            return Err(unknown());
        }
        let invalid = |reason: String| ReferenceError::Invalid { reference: text.into(), reason };
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) => (path, Some(name)),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(invalid("it names no file".into()));
        }
        if transport == "oci" {
            if let Some(tag) = name.filter(|tag| !is_tag(tag)) {
                return Err(invalid(format!("`{tag}` is no tag")));
            }
            return Ok(Self::Oci { dir: path.into(), tag: name.map(str::to_owned) });
        }
        let name = name.map(tagged).transpose().map_err(invalid)?;
        Ok(Self::DockerArchive { file: path.into(), name })
    }
}

/// The value of `org.opencontainers.image.ref.name`, by its grammar in the OCI image specification ("Annotations").
fn is_tag(tag: &str) -> bool {
    let alphanumeric = |character: char| character.is_ascii_alphanumeric();
    tag.starts_with(alphanumeric)
        && tag.ends_with(alphanumeric)
        && tag.chars().all(|character| alphanumeric(character) || "-._:@/+".contains(character))
}

/// `name` with its tag, which is `latest` where none is given.
fn tagged(name: &str) -> Result<String, String> {
    let reference: oci_spec::distribution::Reference =
        name.parse().map_err(|err| format!("`{name}` is no image name: {err}"))?;
    if reference.digest().is_some() {
        return Err(format!("`{name}` has a digest, where a file can hold only a tag"));
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    Ok(if last.contains(':') { name.to_owned() } else { format!("{name}:latest") })
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, name) = match self {
            Self::Oci { dir, tag } => ("oci", dir, tag),
            Self::DockerArchive { file, name } => ("docker-archive", file, name),
        };
        write!(f, "{transport}:{}", path.display())?;
        name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written() {
        for text in ["oci:dir", "oci:/a/b:v1.0", "docker-archive:x.tar", "docker-archive:x.tar:a.example/b:c"]
        {
            assert_eq!(text.parse::<ImageRef>().unwrap().to_string(), text);
        }
        let named: ImageRef = "docker-archive:x.tar:registry.example:5000/b".parse().unwrap();
        assert_eq!(named.to_string(), "docker-archive:x.tar:registry.example:5000/b:latest");
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in
            ["", "busybox", "docker://busybox", "oci-archive:x", "oci:", "oci::t", "oci:d:", "oci:d:-x"]
        {
            assert!(text.parse::<ImageRef>().is_err(), "{text}");
        }
        let digest = format!("docker-archive:x:b@sha256:{}", "0".repeat(64));
        assert!(digest.parse::<ImageRef>().is_err());
        assert!("docker-archive:x:UPPER".parse::<ImageRef>().is_err());
    }
}
