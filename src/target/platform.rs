//! The OCI platform triple.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The OCI platform of an image: `linux/arm/v7`.
///
/// Source: OCI image specification, "Image Index", `platform`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `GOOS`: `linux`.
    pub os: String,
    /// `GOARCH` where Go has the architecture: `arm64`, `mipsle`.
    pub architecture: String,
    /// `v7`; `None` where the architecture has no variants.
    pub variant: Option<String>,
}

/// A text is no platform.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no platform")]
pub struct PlatformError {
    text: String,
}

impl PlatformError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(
            "a platform is written `os/architecture` or `os/architecture/variant`, such as `linux/arm/v7`"
                .into(),
        )
    }
}

impl Platform {
    /// The platform of the machine that runs this program.
    #[must_use]
    pub fn host() -> Self {
        // Rust's names, which are not Go's.
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { os: std::env::consts::OS.into(), architecture: architecture.into(), variant: None }
    }

    /// The same platform under the name that registries use: `x86_64` is `amd64`, `aarch64` and `arm64/v8`
    /// are `arm64`, `i386` is `386`, `arm` without a variant is `arm/v7`.
    ///
    /// Source: containerd's `platforms` package, `normalizeArch`, which docker and podman follow.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        let (architecture, variant) = match (self.architecture.as_str(), self.variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", Some("v1") | None) => ("amd64", None),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", Some("v8" | "8") | None) => ("arm64", None),
            ("aarch64", variant) => ("arm64", variant),
            ("i386" | "i486" | "i586" | "i686" | "386", _) => ("386", None),
            ("armhf", _) | ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            (architecture, variant) => (architecture, variant),
        };
        let (architecture, variant) = (architecture.to_owned(), variant.map(str::to_owned));
        self.architecture = architecture;
        self.variant = variant;
        self
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let error = || PlatformError { text: text.into() };
        let mut parts = text.split('/');
        let mut part = || parts.next().map(str::to_owned);
        let platform =
            Self { os: part().ok_or_else(error)?, architecture: part().ok_or_else(error)?, variant: part() };
        let plain = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let variant_is_plain = platform.variant.as_deref().is_none_or(plain);
        if parts.next().is_some()
            || !plain(&platform.os)
            || !plain(&platform.architecture)
            || !variant_is_plain
        {
            return Err(error());
        }
        Ok(platform.normalized())
    }
}
