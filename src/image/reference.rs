//! How images are named, as in containers-transports(5).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::ReferenceError;
use super::grammar::Parts;
use super::registry;
use super::tar_file::TarFile;

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageRef {
    /// `docker://NAME`: an image in a registry.
    Docker {
        /// Its name.
        name: registry::Name,
    },
    /// `oci:DIR[:TAG]`: an OCI image layout.
    Oci {
        /// The folder.
        dir: PathBuf,
        /// The name in its index; without one, the only image there.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`: a tar file of an OCI image layout.
    OciArchive {
        /// The file.
        file: PathBuf,
        /// As of [`ImageRef::Oci`].
        tag: Option<String>,
    },
    /// A bare name: an image of the local store.
    Store {
        /// The name in full, `REGISTRY/NAME:TAG`; one that was given without a registry is of `localhost`.
        name: String,
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
const LATER: &[&str] = &["dir", "containers-storage", "docker-daemon", "sif", "ostree"];

/// The registry that names without one have in the store.
const LOCAL: &str = "localhost";

impl FromStr for ImageRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let invalid = |reason: String| ReferenceError::Invalid { reference: text.into(), reason };
        let transport = text.split_once(':').filter(|(name, rest)| {
            matches!(*name, "oci" | "oci-archive" | "docker-archive")
                || LATER.contains(name)
                || (*name == "docker" && rest.starts_with("//"))
        });
        let Some((transport, rest)) = transport else {
            return Ok(Self::Store { name: full_name(text).map_err(invalid)? });
        };
        if LATER.contains(&transport) {
            return Err(ReferenceError::Unsupported { reference: text.into() });
        }
        if transport == "docker" {
            let named = rest.trim_start_matches("//").parse::<registry::Name>();
            let name = named.map_err(|_| invalid("what follows `docker://` is no image name".into()))?;
            return Ok(Self::Docker { name });
        }
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) => (path, Some(name)),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(invalid("it names no file".into()));
        }
        if transport == "docker-archive" {
            let name = name.map(tagged).transpose().map_err(invalid)?;
            return Ok(Self::DockerArchive { file: path.into(), name });
        }
        if let Some(tag) = name.filter(|tag| !is_tag(tag)) {
            return Err(invalid(format!("`{tag}` is no tag")));
        }
        let tag = name.map(str::to_owned);
        Ok(match transport {
            "oci" => Self::Oci { dir: path.into(), tag },
            _ => Self::OciArchive { file: path.into(), tag },
        })
    }
}

impl ImageRef {
    /// What `text` names: the image in a file or folder of that name, where there is one, else as [`ImageRef::from_str`].
    ///
    /// # Errors
    /// [`ReferenceError`] where it names no image.
    pub fn find(text: &str) -> Result<Self, ReferenceError> {
        let path = Path::new(text);
        if path.is_dir() {
            if path.join("oci-layout").is_file() {
                return Ok(Self::Oci { dir: path.into(), tag: None });
            }
        } else if path.is_file()
            && let Ok(tar) = TarFile::open(path)
        {
            // An archive that is of both kinds knows more in OCI's.
            if tar.has("oci-layout") && tar.has("index.json") {
                return Ok(Self::OciArchive { file: path.into(), tag: None });
            }
            if tar.has("manifest.json") {
                return Ok(Self::DockerArchive { file: path.into(), name: None });
            }
        }
        if (text.starts_with(['/', '.']) || text.ends_with('/')) && !text.contains(':') {
            let reason = if path.exists() {
                "it holds neither an OCI image layout nor a docker archive"
            } else {
                "there is no such file or folder"
            };
            return Err(ReferenceError::Invalid { reference: text.into(), reason: reason.into() });
        }
        text.parse()
    }
}

/// A name in full: with a registry, `localhost` where it has none, and a tag, `latest` where it has neither tag nor digest.
fn full_name(name: &str) -> Result<String, String> {
    let named = Parts::of(name).map_err(|err| format!("`{name}` is no image name: {err}"))?;
    if named.digest.is_some() {
        return Err(format!("`{name}` has a digest, where the store knows images by tags"));
    }
    let tagged = tagged(name)?;
    let is_registry = |first: &str| first == LOCAL || first.contains(['.', ':']);
    Ok(match name.split_once('/') {
        Some((first, _)) if is_registry(first) => tagged,
        _ => format!("{LOCAL}/{tagged}"),
    })
}

/// Names under which the store may have what is called `name`, the best first: as podman, a name that was given without
/// a registry is a local one, else one of docker's.
pub(super) fn aliases(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    if let Some(short) = name.strip_prefix(LOCAL).and_then(|rest| rest.strip_prefix('/')) {
        let library = if short.contains('/') { "" } else { "library/" };
        names.push(format!("docker.io/{library}{short}"));
    }
    names
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
    let named = Parts::of(name).map_err(|err| format!("`{name}` is no image name: {err}"))?;
    if named.digest.is_some() {
        return Err(format!("`{name}` has a digest, where a file can hold only a tag"));
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    Ok(if last.contains(':') { name.to_owned() } else { format!("{name}:latest") })
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, name) = match self {
            Self::Docker { name } => return write!(f, "docker://{name}"),
            Self::Store { name } => return f.write_str(name),
            Self::Oci { dir, tag } => ("oci", dir, tag),
            Self::OciArchive { file, tag } => ("oci-archive", file, tag),
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
        for text in [
            "oci:dir",
            "oci:/a/b:v1.0",
            "docker-archive:x.tar",
            "docker-archive:x.tar:a.example/b:c",
            "oci-archive:x:1",
            "localhost/a:b",
            "docker://r.example:5000/a/b:c",
        ] {
            assert_eq!(text.parse::<ImageRef>().unwrap().to_string(), text);
        }
        let named: ImageRef = "docker-archive:x.tar:registry.example:5000/b".parse().unwrap();
        assert_eq!(named.to_string(), "docker-archive:x.tar:registry.example:5000/b:latest");
    }

    #[test]
    fn names_of_the_store_are_full() {
        for (text, name) in [
            ("hello", "localhost/hello:latest"),
            ("a/hello:1", "localhost/a/hello:1"),
            ("localhost/hello", "localhost/hello:latest"),
            ("registry.example/a", "registry.example/a:latest"),
            ("registry:5000/a:b", "registry:5000/a:b"),
        ] {
            assert_eq!(text.parse::<ImageRef>().unwrap().to_string(), name, "{text}");
        }
        assert_eq!(aliases("localhost/a:1"), ["localhost/a:1", "docker.io/library/a:1"]);
        assert_eq!(aliases("registry.example/a:1"), ["registry.example/a:1"]);
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            "UPPER",
            "docker://UPPER",
            "docker://",
            "oci-archive:",
            "oci:",
            "oci::t",
            "oci:d:",
            "oci:d:-x",
        ] {
            assert!(text.parse::<ImageRef>().is_err(), "{text}");
        }
        let digest = format!("docker-archive:x:b@sha256:{}", "0".repeat(64));
        assert!(digest.parse::<ImageRef>().is_err());
        assert!("docker-archive:x:UPPER".parse::<ImageRef>().is_err());
    }
}
