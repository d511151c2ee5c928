//! Why an image could not be named, read or written.

use std::io;
use std::path::PathBuf;

use super::RegistryError;
use crate::layer::{Digest, LayerError};

/// A text names no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Of a kind that is not to be had.
    #[error("`{reference}` is no image reference that is supported yet")]
    Unsupported {
        /// As given.
        reference: String,
    },
    /// Of a known kind, and wrong.
    #[error("`{reference}` is no image reference: {reason}")]
    Invalid {
        /// As given.
        reference: String,
        /// What is wrong.
        reason: String,
    },
}

impl ReferenceError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { .. } => Some(
                "give a name of the store, `docker://NAME`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]` or `docker-archive:FILE[:NAME]`; `skopeo copy` makes these from others".into(),
            ),
            Self::Invalid { .. } => None,
        }
    }
}

/// An image could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A file of the image, or the folder or archive that it is in.
    #[error("{doing} `{}`", path.display())]
    File {
        /// `reading` or `writing`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The OCI layout cannot be used.
    #[error("{doing} the OCI layout `{}`", path.display())]
    Layout {
        /// `reading` or `writing`.
        doing: &'static str,
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<ocidir::Error>,
    },
    /// A part of the image is not what it should be.
    #[error("the image's {part} is not right: {reason}")]
    Invalid {
        /// `index`, `manifest`, `config`, `layer 2`.
        part: String,
        /// What is wrong.
        reason: String,
    },
    /// A part of the image is no JSON of its kind.
    #[error("the image's {part} is not right")]
    Json {
        /// As in [`ImageError::Invalid`].
        part: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A part of the image is another than its digest says.
    #[error("the image's {part} does not match its digest: expected {expected}, found {found}")]
    Digest {
        /// As in [`ImageError::Invalid`].
        part: String,
        /// As the image says.
        expected: Digest,
        /// As read.
        found: Digest,
    },
    /// A blob could not be read, or is another than its digest says.
    #[error("reading the image's {part}")]
    Blob {
        /// As in [`ImageError::Invalid`].
        part: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something would change where nothing may.
    #[error("the digests cannot be preserved: {reason}")]
    Preserve {
        /// What would change.
        reason: String,
    },
    /// docker's manifests have no media type for something.
    #[error("docker's manifests know no `{kind}`")]
    Format {
        /// The media type.
        kind: String,
    },
    /// An archive of one image was asked to hold several.
    #[error("the image is of {} platforms, and a docker archive holds one", platforms.len())]
    Several {
        /// The platforms that are there.
        platforms: Vec<String>,
    },
    /// Two images of one index are for the same platform.
    #[error("`{first}` and `{second}` are both for {platform}")]
    SamePlatform {
        /// The platform.
        platform: String,
        /// The one image.
        first: String,
        /// The other.
        second: String,
    },
    /// The profile is of docker's archives.
    #[error("RouterOS's profile is one of docker archives")]
    NeedsDockerArchive,
    /// Files cannot be in a layer as it was asked for.
    #[error("the image has files that the archive's format cannot hold")]
    Unfit {
        /// Which, and why.
        #[source]
        source: LayerError,
    },
    /// Nobody said where the store is.
    #[error("there is no folder for the store")]
    NoStore,
    /// No image of that name is there.
    #[error("`{}` has no image called `{name}`", path.display())]
    NoSuchName {
        /// The folder or archive.
        path: PathBuf,
        /// The name that was asked for.
        name: String,
        /// Names that are there.
        present: Vec<String>,
    },
    /// Several images are there and none was named.
    #[error("`{}` has {count} images and none was chosen", path.display())]
    Ambiguous {
        /// The folder or archive.
        path: PathBuf,
        /// How many.
        count: usize,
        /// Names that are there.
        present: Vec<String>,
    },
    /// What an archive is to be written to is no file.
    #[error("`{}` is there and is no regular file", path.display())]
    NotFile {
        /// The path.
        path: PathBuf,
    },
    /// What is to be read is no archive.
    #[error("`{}` is no tar archive", path.display())]
    NotTar {
        /// The path.
        path: PathBuf,
    },
    /// The image is for other platforms.
    #[error("the image has nothing for {wanted}")]
    Platform {
        /// The platform that was asked for.
        wanted: String,
        /// Platforms that are there.
        present: Vec<String>,
    },
    /// A layer could not be made.
    #[error("making layer {number} of the image")]
    Layer {
        /// From 1.
        number: usize,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// A registry failed.
    #[error(transparent)]
    Registry {
        /// Why.
        source: Box<RegistryError>,
    },
}

const DAMAGED: &str = "the image is damaged; fetch or make it again";

impl ImageError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let list = |what: &str, present: &[String]| {
            (!present.is_empty()).then(|| format!("{what}: `{}`", present.join("`, `")))
        };
        match self {
            Self::Ambiguous { present, .. } => list("name one of them after a colon", present),
            Self::NoSuchName { present, .. } => list("it has", present).or_else(|| {
                let words =
                    "an image of a registry is named `docker://NAME`, and a file or folder here `./NAME`";
                Some(words.into())
            }),
            Self::Platform { present, .. } => list("it has", present),
            Self::Preserve { .. } => Some("leave `--preserve-digests` out, or what changes the image".into()),
            Self::Format { .. } => Some("leave `--format docker` out, or give `--compression gzip`".into()),
            Self::Several { platforms } => list("choose with `--platform`, one of", platforms),
            Self::SamePlatform { .. } => {
                Some("an index has one image a platform; leave one of them out".into())
            }
            Self::NotFile { .. } => Some(
                "an archive is written whole and then named: give the name of a file that is yet to be"
                    .into(),
            ),
            Self::NotTar { .. } => {
                Some("`oci:` names a folder, and a bare name an image of the store".into())
            }
            Self::NeedsDockerArchive => Some("write to `docker-archive:FILE`".into()),
            Self::NoStore => Some("set `HOME`, or `POLYARCH_DATA_DIR` to an absolute path".into()),
            Self::Digest { .. } => Some(DAMAGED.into()),
            Self::Blob { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
                ) =>
            {
                Some(DAMAGED.into())
            }
            Self::Layout { doing: "reading", .. } => {
                Some("an OCI layout is a folder with `oci-layout`, `index.json` and `blobs`".into())
            }
            Self::Registry { source } => source.hint(),
            _ => None,
        }
    }
}
